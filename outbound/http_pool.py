"""The HTTP library below its session: pools of connections that `dial` made, and requests that say what they are given.

Its session would cost a third of the time of a small request: cookies, redirects, middlewares and merged headers
would have to be switched off one by one for each.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from outbound.dial import Route, dial
from outbound.target import Target

_NOWHERE = URL("http://upstream.invalid/")
_NO_INFO = aiohttp.RequestInfo(_NOWHERE, "GET", CIMultiDictProxy(CIMultiDict()), _NOWHERE)


#: Before a response's own headers: blank lines, informational responses, and the headers themselves.
MAX_HEAD_BYTES: Final = 128 * 1024
MAX_INFORMATIONAL: Final = 16
#: What may come beside a body's bytes, chunk sizes and trailers: so much, and so many times the body.
_FRAMING_BYTES: Final = 1 << 20
_FRAMING_RATIO: Final = 8
# A response of 20 bytes costs the parser 50 microseconds, and nobody can stop it inside what it was given.
_HEAD_SLICE: Final = 2 * 1024
_BODY_SLICE: Final = 64 * 1024


@dataclass(slots=True)
class Open:
    """The connections of all pools. While more than `most_kept` are open, none rests."""

    most_kept: int
    count: int = 0


class Connection(ResponseHandler):
    """Holds the other side to one answer a request, and to bytes that are worth something.

    The library's parser takes blank lines, white space, informational responses and chunk extensions without
    end, and keeps what comes while nobody asked, as the answer to whatever is asked next.
    """

    #: A request went over it before.
    used = False
    _asked = False
    _answered = False
    _received = 0
    _informational = 0
    #: How many bytes of the answer's body are certain to come one after the other.
    _plain_bytes = 0
    _counted = False

    def __init__(self, loop: asyncio.AbstractEventLoop, among: Open) -> None:
        super().__init__(loop)
        self._among = among

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._among.count += 1
        self._counted = True

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._counted:  # TLS may fail before there was a connection
            self._among.count -= 1
        super().connection_lost(exc)

    def begin(self) -> None:
        """A request is about to go over it."""
        self.used = self._asked = True
        self._answered = False
        self._received = self._informational = self._plain_bytes = 0

    def rest(self) -> None:
        """It was answered; until `begin` nothing may come."""
        self._asked = False

    def data_received(self, data: bytes) -> None:
        payload, size = self._payload, len(data)
        if not size or (
            payload is not None and payload.total_bytes + size <= self._plain_bytes and self._asked
        ):
            # The library goes on with what it has; or all of this is a body's, without framing.
            super().data_received(data)
            return
        start = 0
        while start < size:
            if not self._asked or (self._answered and self._is_over):
                self._hang_up()
                return
            end = start + (_BODY_SLICE if self._answered else _HEAD_SLICE)
            piece = data if not start and end >= size else data[start:end]
            self._received += len(piece)
            super().data_received(piece)
            if self._exception is not None:
                # The library forgets to, where a trailer was wrong.
                self._fail_body(self._exception)
                return
            if (self._received > MAX_HEAD_BYTES or self._informational) and self._is_too_much:
                self._break_off()
                return
            start = end

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        code = data[0].code
        if self._answered:
            self._hang_up()
            return
        if 100 <= code < 200 and code != 101:
            self._informational += 1
        else:
            self._answered = True
            if not data[1].is_eof():
                self._plain_bytes = _plain_bytes(data[0])
        super().feed_data(data, size)

    @property
    def _is_over(self) -> bool:
        """The answer came whole, and the request may still be on its way."""
        return self._payload is not None and self._payload.is_eof()

    @property
    def _is_too_much(self) -> bool:
        if not self._answered:
            return self._received > MAX_HEAD_BYTES or self._informational > MAX_INFORMATIONAL
        body = 0 if self._payload is None else self._payload.total_bytes
        return self._received > _FRAMING_BYTES + _FRAMING_RATIO * body

    def _hang_up(self) -> None:
        """What was asked for is there; it is not used again."""
        self.force_close()
        if self.transport is not None:
            self.transport.close()

    def _break_off(self) -> None:
        problem = HttpProcessingError(message="framing without end")
        self.set_exception(problem)
        self._fail_body(problem)
        if self.transport is not None:
            self.transport.close()

    def _fail_body(self, problem: BaseException) -> None:
        payload = self._payload
        if self._answered and payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(problem)


def _plain_bytes(message: RawResponseMessage) -> int:
    length = message.headers.get("content-length", "")
    if (
        message.chunked
        or message.code in (204, 304)
        or len(length) > 18
        or not (length.isascii() and length.isdigit())
    ):
        return 0
    return int(length)


class Request(ClientRequest):
    """One whose headers are those that it was given: the library adds framing, and nothing else."""

    _skip_auto_headers = CIMultiDict({"Content-Type": None})

    def update_headers(self, headers: Any) -> None:
        self.headers = headers

    def update_auto_headers(self, skip_auto_headers: Any) -> None:
        """Neither Accept, Accept-Encoding nor User-Agent."""

    def update_host(self, url: URL) -> None:
        """The target was parsed, and has no userinfo that would become a header."""

    def update_cookies(self, cookies: Any) -> None:
        """None but the worker's own."""

    def update_auth(self, auth: Any, trust_env: bool = False) -> None:
        """None but the worker's own, or the rule's."""

    def update_content_encoding(self, data: Any) -> None:
        """Nothing is compressed on its way."""

    def update_expect_continue(self, expect: bool = False) -> None:
        """Nothing waits for a 100: header_hygiene takes `expect` out."""

    @property
    def request_info(self) -> aiohttp.RequestInfo:
        """For the library's errors, which are to hold no header, and so no secret."""
        return _NO_INFO


class Pool(aiohttp.BaseConnector):
    """The connections of one key."""

    def __init__(self, route: Route, limit: int, idle_s: float, among: Open) -> None:
        super().__init__(limit=limit, keepalive_timeout=idle_s)
        self._route = route
        self._among = among
        self.in_use = 0
        # In the library's own URL form: the request line of plain HTTP through a proxy has the whole URL.
        proxied = route.proxy is not None and route.tls is None
        self.proxy_url = URL.build(scheme="http", host="proxy.invalid") if proxied else None

    async def shut(self) -> None:
        await self.close()

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        crowded = self._among.count > self._among.most_kept
        super()._release(key, protocol, should_close=should_close or crowded)
        protocol.rest()

    async def _create_connection(self, req: ClientRequest, traces: Any, timeout: Any) -> ResponseHandler:
        loop, among = asyncio.get_running_loop(), self._among
        return await dial(self._route, lambda: Connection(loop, among), timeout.sock_connect)

    def _update_proxy_auth_header_and_build_proxy_req(self, req: ClientRequest) -> ClientRequest:
        return req  # what the proxy is to know stands in the request's headers already


@lru_cache(maxsize=256)
def timeouts(wait_s: float, connect_s: float) -> aiohttp.ClientTimeout:
    """`wait_s` is for one of a pool's connections to become free, and to be made."""
    return aiohttp.ClientTimeout(connect=wait_s, sock_connect=connect_s)


def url_of(target: Target) -> URL:
    if len(target.path) + len(target.query) <= 512:
        return _remembered(target)
    return build_url(target, target.host)


def build_url(target: Target, host: str) -> URL:
    """For the HTTP library, which must change nothing of it."""
    return URL.build(
        scheme=target.scheme,
        host=f"[{host}]" if ":" in host else host,
        port=target.port,
        path=target.path,
        query_string=target.query,
        encoded=True,
    )


@lru_cache(maxsize=4_096)
def _remembered(target: Target) -> URL:
    return build_url(target, target.host)
