"""HTTP/1.1 at the door: uvicorn's httptools protocol, and the holes that it leaves open closed.

The rules of this file:
- It does nothing per request that could be done per connection or per second; timeouts are a time stamp
  that `sweep` reads, never a timer per request.
- A refusal never overtakes the answer to an earlier, pipelined request: a visitor would take it for that.
- What is refused ends the connection: after bytes that we did not understand, nothing can be trusted
  to start a request.

Source: RFC 9112 (§3.2 target and Host, §6.1 Transfer-Encoding, §9.3 pipelining, §9.6 lingering close).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, NoReturn, cast
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from edge.cycle import DoorCycle, UntilCloseCycle
from edge.door import Door, Visitor
from edge.first_step import FirstSteps
from edge.pace import Pace, break_off, moved_bytes
from edge.readiness import Signal
from edge.target import BadTarget, origin_form
from model.hostname import InvalidHostname, parse_host

#: Of what a refused visitor goes on sending, read and dropped so that the refusal reaches it: closing
#: with unread bytes makes the kernel send a reset, which discards what the visitor has not yet read.
LINGER_BYTES: Final = 1 << 20
#: The same of an upload that a worker has answered before its end: its visitor did nothing wrong.
EARLY_ANSWER_BYTES: Final = 256 << 20
_SLASH: Final = ord("/")
#: Of nearly all connections; stays empty.
_NO_PIPELINE: Final[deque[tuple[RequestResponseCycle, ASGI3Application]]] = deque(maxlen=0)


class DoorConfig(uvicorn.Config):
    """uvicorn's configuration, and the door's."""

    door: Door
    #: None: each request has a task of its own.
    first_steps: FirstSteps | None = None


class _Refused(Exception):
    """Stops the parser; the protocol holds the answer."""


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
            raise _Refused


class DoorProtocol(HttpToolsProtocol):
    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        if not isinstance(config, DoorConfig):
            raise TypeError("DoorProtocol runs under DoorServer, whose configuration carries the limits")
        self._door = config.door
        limits = config.door.limits
        self._limits = limits
        self._header_bytes = limits.header_bytes
        self._header_count = limits.header_count
        self._pipelined = limits.pipelined
        self._first_steps = config.first_steps
        #: The cycle that the visitor waits for now. `self.cycle` is the latest whose headers came, which
        #: is another one when requests are pipelined.
        self._running: RequestResponseCycle | None = None
        #: Made when the first pipelined request comes.
        self.pipeline = _NO_PIPELINE
        #: Bytes of an unfinished head, the chunk being parsed left out.
        self._head = 0
        self._chunk = 0
        self._body_came = False
        self._overhead = 0
        #: When the present wait began: the head, the silence, or the lingering (loop time).
        self._since = self.loop.time()
        #: Of a response that waits to be taken, and of a body that is waited for.
        self._taking: Pace | None = None
        self._giving: Pace | None = None
        #: Set: nothing more is parsed, and this is the answer to it (b"": none).
        self._refusal: bytes | None = None
        self._lingering = False
        self._dropped = 0
        self._may_drop = LINGER_BYTES

    # -- transport ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow._is_writable_event = cast(asyncio.Event, Signal(is_set=True))
        if self._door.closed:
            transport.abort()
        elif len(self.connections) > self._limits.connections:
            self._door.refused[503] += 1
            transport.write(_page(503, "Too many connections; try again shortly\n", b"retry-after: 1\r\n"))
            self._refusal = b""
            transport.close()

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

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.pipeline.clear()
        running, self._running = self._running, None
        if running is not None and not running.response_complete:
            _leave(running)

    # -- parser ------------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        headers = self.headers
        host = coding = None
        for name, value in headers:
            if name == b"host":
                if host is not None:
                    self._stop(400, "Two Host headers; exactly one is right\n")
                host = value
            elif name == b"transfer-encoding":
                coding = value
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
        if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
            # Hop-by-hop headers are not passed on, so a guest could not tell that its body is gzip.
            self._stop(501, "Transfer-Encoding may only be chunked, in HTTP/1.1\n")
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
        if len(self.pipeline) >= self._pipelined:
            self._stop(400, f"More than {self._pipelined} requests without waiting for a response\n")

        cycle = self._begin_cycle(version, Visitor(hostname))
        self.headers = _Trailers(self._header_count) if coding is not None else headers
        running = self._running
        if running is None or running.response_complete:
            self._running = cycle
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            if self.pipeline is _NO_PIPELINE:
                self.pipeline = deque()
            self.pipeline.appendleft((cycle, self.app))

    def _begin_cycle(self, version: str, visitor: Visitor) -> DoorCycle:
        """As uvicorn's `on_headers_complete`, for a target that was checked."""
        parser, scope = self.parser, self.scope
        raw_path, _, query = self.url.partition(b"?")
        path = raw_path.decode("ascii")
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        kind = DoorCycle if version == "1.1" else UntilCloseCycle
        cycle = self.cycle = kind(
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            self.access_log,
            self.server_state.default_headers,
            cast(asyncio.Event, Signal()),
            self.expect_100_continue,
            version == "1.1"
            and parser.should_keep_alive()
            and not (self._door.draining or parser.should_upgrade()),
            self.on_response_complete,
        )
        extensions: Any = {"tenantry.visitor": visitor, "tenantry.put_whole": cycle.put_whole}
        scope["extensions"] = extensions
        if not cycle.keep_alive:
            cycle.transport = cast("asyncio.Transport", _ClosingTransport(self, cycle))
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

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._first_steps is None:
            super()._start_asgi_task(cycle, app)
        else:
            self._first_steps.add(cycle.run_asgi(app), self.loop)

    def announce_close(self) -> None:
        """Say `Connection: close` with the last response that is due, if one is."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and cycle.keep_alive:
            cycle.keep_alive = False
            cycle.transport = cast("asyncio.Transport", _ClosingTransport(self, cycle))

    def shutdown(self) -> None:
        """Close, now if nothing is due, else after the last response.

        A visitor whose head has not come whole is waited for, since its request is under way: `sweep`.
        """
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            self.announce_close()
        elif cycle is not None and self.scope is cycle.scope and not self._lingering:
            self.transport.close()

    # -- time --------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Show out whoever has waited too long. `now` is the loop's time; called about once a second."""
        limits = self._limits
        waited = now - self._since
        running = self._running
        if self._lingering:
            if waited > limits.linger_s:
                self.transport.abort()
            return
        cycle = self.cycle
        if self._refusal is None and (cycle is None or self.scope is not cycle.scope):
            # While draining, whoever has sent nothing for a second had no request under way.
            patience = min(1.0, limits.header_timeout_s) if self._door.draining else limits.header_timeout_s
            if waited > patience:
                self._head_late()
            return
        if not self._keeps_up(now) or (running is not None and not running.response_complete):
            return  # else its time is the event's wall limit
        if self._taking is not None:
            self._since = now
        elif waited > (limits.linger_s if cycle is not None and cycle.more_body else limits.keep_alive_s):
            self.transport.close()

    def _keeps_up(self, now: float) -> bool:
        """Whether the visitor takes what waits for it and sends what it has promised fast enough; if not, this
        ends it. While there is nothing to send, or nobody to take what it sends, no time counts.
        """
        cycle = self.cycle
        behind = self.transport.get_write_buffer_size() > 0
        owing = cycle is not None and cycle.more_body and self._refusal is None
        # It was answered already, it may wait to be asked, or it has sent as much as we read ahead.
        if owing and (cycle.response_complete or cycle.waiting_for_100_continue or self.flow.read_paused):
            owing = False
        moved = moved_bytes(self.transport) if behind or owing else None
        if moved is None:
            self._taking = self._giving = None
            return True
        taken, given = moved
        self._taking = (self._taking or Pace(now, taken)) if behind else None
        self._giving = (self._giving or Pace(now, given)) if owing else None
        if self._taking is not None and not self._taking.is_kept(now, taken, self._limits):
            self._door.too_slow("response")
            break_off(self.transport)
            return False
        if self._giving is not None and not self._giving.is_kept(now, given, self._limits):
            self._door.too_slow("request")
            self._refuse(408, "The request's body came too slowly\n")
            self._end_input()
            return False
        return True

    def _head_late(self) -> None:
        if self._head:
            self._refuse(408, "The request's headers did not come in time\n")
            self._end_input()
        else:
            self._refusal = b""
            self.transport.close()

    # -- refusals ----------------------------------------------------------------------------------

    def _head_unfinished(self) -> None:
        if not self._head and self.cycle is not None:
            self._since = self.loop.time()
        self._head += self._chunk
        if self._head > self._header_bytes:
            self._refuse(431, f"Headers are longer than {self._header_bytes} bytes\n")
            self._end_input()

    def _body_unfinished(self) -> None:
        """Chunk extensions and trailers are no body: httptools gathers a trailer until it ends."""
        if self._body_came:
            self._body_came, self._overhead = False, 0
            return
        self._overhead += self._chunk
        if self._overhead > 2 * self._header_bytes:
            self._refuse(431, f"Trailers are longer than {self._header_bytes} bytes\n")
            self._end_input()

    def _weigh_head(self) -> None:
        """The chunk may hold body or other requests too, so this counts what was parsed."""
        size = len(self.url) + 14 + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._header_bytes:
            self._stop(431, f"Headers are longer than {self._header_bytes} bytes\n")

    def _stop(self, status: int, message: str) -> NoReturn:
        """Refuse from within a parser's call-back; the parser is stopped by raising."""
        self._refuse(status, message)
        raise _Refused

    def _refuse(self, status: int, message: str) -> None:
        self._door.refused[status] += 1
        self._refusal = _page(status, message)

    def _end_input(self) -> None:
        """Answer the refusal as soon as nothing that came before it is unanswered."""
        cycle = self.cycle
        if cycle is not None and self.scope is cycle.scope and cycle.more_body:
            # The broken bytes are in the body of the latest request: it can never be whole.
            if cycle.response_complete or cycle.response_started:
                self._refusal = b""
            if cycle is self._running:
                self._running = None
                if not cycle.response_complete:
                    _leave(cycle)
            else:
                self.pipeline.popleft()
        if self._running is None or self._running.response_complete:
            self._answer_refusal()

    def _answer_refusal(self) -> None:
        if not self._refusal or not self.transport.can_write_eof():
            self.transport.write(self._refusal or b"")
            self.transport.close()
            return
        self.transport.write(self._refusal)
        self.transport.write_eof()
        self._lingering = True
        self._since = self.loop.time()
        self.flow.resume_reading()

    def linger(self) -> None:
        """Our side is closed; take what still comes of an upload that was answered early, and throw it away.

        Closing with bytes unread would reset the connection, and the reset can overtake the answer
        (RFC 9112 §9.6).
        """
        self._refusal = b""
        self._may_drop = EARLY_ANSWER_BYTES
        self.transport.write_eof()
        self._lingering = True
        self._since = self.loop.time()
        self.flow.resume_reading()

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._lingering and self._dropped > self._may_drop:
            self.transport.abort()


class _ClosingTransport:
    """The transport of a response after which the connection is closed: an early answer lingers first."""

    def __init__(self, protocol: DoorProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol.transport, name)

    def close(self) -> None:
        transport = self._protocol.transport
        answered_early = self._cycle.response_complete and self._cycle.more_body
        if answered_early and not transport.is_closing() and transport.can_write_eof():
            self._protocol.linger()
        else:
            transport.close()


def _leave(cycle: RequestResponseCycle) -> None:
    cycle.disconnected = True
    cycle.message_event.set()
    visitor: Visitor = cycle.scope["extensions"]["tenantry.visitor"]  # type: ignore[assignment]
    visitor.left = True
    on_leave, visitor.on_leave = visitor.on_leave, None
    if on_leave is not None:
        on_leave()


def _page(status: int, message: str, extra: bytes = b"") -> bytes:
    body = message.encode()
    head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n" % len(
        body
    )
    return STATUS_LINE[status] + head + extra + b"\r\n" + body
