"""HTTP/1.1 at the door: uvicorn's httptools protocol, and the holes that it leaves open closed.

It does nothing per request that could be done per connection or per second.

Source: RFC 9112 (§3.2 target and Host, §6.1 Transfer-Encoding).
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from edge.connection import NO_PIPELINE, ClosingTransport, DoorConnection, Refused
from edge.cycle import DoorCycle, UntilCloseCycle
from edge.door import Visitor
from edge.target import BadTarget, origin_form
from model.hostname import InvalidHostname, parse_host

_SLASH: Final = ord("/")
#: Headers that say where a request goes and how it is framed.
_FRAMING: Final = frozenset({b"host", b"transfer-encoding", b"expect"})


class _Trailers(list[tuple[bytes, bytes]]):
    """Swallows the fields after a chunked body. httptools reports them as headers, and uvicorn would add
    them to a scope that was checked already: a second Host, a forwarded address.
    """

    __slots__ = ("left",)

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    def append(self, field: tuple[bytes, bytes], /) -> None:
        self.left -= 1
        if self.left < 0:
            raise Refused


class DoorProtocol(DoorConnection):
    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            self._drop(len(data))
            return
        self._chunk = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as an ordinary request; what follows is in a protocol that we don't speak.
            self._refusal = b""
            return
        except httptools.HttpParserError:
            if self._refusal is None:
                self._refuse(400, "This is not a well-formed HTTP/1.1 request\n")
            self._end_input()
            return
        cycle = self.cycle
        if cycle is None or self.scope is not cycle.scope:
            self._head_unfinished()
        elif cycle.more_body:
            self._body_unfinished()

    # -- parser ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self._host = self._coding = None
        headers: list[tuple[bytes, bytes]] = []
        self.headers = headers
        self.scope = scope = self._new_scope()
        scope["headers"] = headers

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _FRAMING:
            self._frame(name, value)
        self.headers.append((name, value))

    def _frame(self, name: bytes, value: bytes) -> None:
        if type(self.headers) is _Trailers:
            return
        if name == b"host":
            if self._host is not None:
                self._stop(400, "Two Host headers; exactly one is right\n")
            self._host = value
        elif name == b"transfer-encoding":
            self._coding = value
        elif value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        headers, host, coding = self.headers, self._host, self._coding
        if host is None:
            self._stop(400, "No Host header; exactly one is right\n")
        if len(headers) > self._header_count:
            self._stop(431, f"{len(headers)} headers; at most {self._header_count} are right\n")
        if self._head + self._chunk > self._header_bytes:
            self._weigh_head()
        self._head = 0
        version = self.parser.get_http_version()
        if version != "1.1" and version != "1.0":
            self._stop(400, "HTTP/1.1 is spoken here, and HTTP/1.0\n")
        if coding is not None:
            if coding.lower() != b"chunked" or version == "1.0":
                # Hop-by-hop headers are not passed on, so a guest could not tell that its body is gzip.
                self._stop(501, "Transfer-Encoding may only be chunked, in HTTP/1.1\n")
            self.headers = _Trailers(self._header_count)
        try:
            hostname = parse_host(host)
        except InvalidHostname as error:
            self._stop(400, f"{error}\n")
        url = self.url
        if url[0] != _SLASH or b"#" in url:
            try:
                self.url = origin_form(url, hostname)
            except BadTarget as error:
                self._stop(400, f"{error}\n")
        if self.pipeline and len(self.pipeline) >= self._pipelined:
            self._stop(400, f"More than {self._pipelined} requests without waiting for a response\n")

        cycle = self._begin_cycle(version, Visitor(hostname))
        running = self._running
        if running is None or running.response_complete:
            self._running = cycle
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            if self.pipeline is NO_PIPELINE:
                self.pipeline = deque()
            self.pipeline.appendleft((cycle, self.app))

    def _begin_cycle(self, version: str, visitor: Visitor) -> DoorCycle:
        """As uvicorn's `on_headers_complete`, for a target that was checked."""
        parser, scope = self.parser, self.scope
        raw_path, _, query = self.url.partition(b"?")
        path = raw_path.decode("ascii")
        scope["method"] = parser.get_method().decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        if version == "1.1":
            keep_alive = parser.should_keep_alive() and not (self._door.draining or parser.should_upgrade())
            cycle = DoorCycle(self, keep_alive)
        else:
            scope["http_version"] = version
            cycle = UntilCloseCycle(self, False)
        self.cycle = cycle
        extensions: Any = {"tenantry.visitor": visitor, "tenantry.put_whole": cycle.put_whole}
        scope["extensions"] = extensions
        if not cycle.keep_alive:
            cycle.transport = cast("asyncio.Transport", ClosingTransport(self, cycle))
        return cycle

    def on_body(self, body: bytes) -> None:
        self._body_came = True
        cycle = self.cycle
        if cycle.response_complete:
            if not self.flow.read_paused:
                # The loop reads up to 32 times in one turn from whoever sends fast; a body of tiny chunks would
                # hold it up for 100 ms, though nobody wants it.
                self.flow.pause_reading()
                self.loop.call_soon(self.flow.resume_reading)
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        cycle = self.cycle
        cycle.more_body = False
        if not cycle.response_complete:
            cycle.message_event.set()

    # -- responses ---------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._since = self.loop.time()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._running = cycle
            self._start_asgi_task(cycle, app)
        elif self._refusal is not None:
            self._answer_refusal()

    def _start_asgi_task(self, cycle: Any, app: ASGI3Application) -> None:
        if self._at_once is None:
            super()._start_asgi_task(cycle, app)
        else:
            self._first_steps.add(partial(cycle.begin, self._at_once), self.loop)
