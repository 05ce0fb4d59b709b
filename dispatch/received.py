"""From an ASGI scope to a model.messages.IncomingRequest: what the visitor said, freed of what only a proxy
or the host itself may say.

Two steps, since a body's limit is known only when the script is: `receive_request` before routing, which
never waits, and `take_body` after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Final

from dispatch.trusted_proxies import TrustedProxies, forwarded_for, plain_ip
from model.errors import UpstreamError, VisitorError
from model.hostname import InvalidHostname, parse_host
from model.messages import HOP_BY_HOP, Client, Header, Headers, IncomingRequest, StreamClosed
from model.tasks import in_task

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: A body with a Content-Length up to this is waited for and handed over as bytes.
SMALL_BODY_BYTES: Final = 64 * 1024
#: The time a visitor has to send a small body; a larger one streams inside the event's own limits.
SMALL_BODY_S: Final = 30.0

#: Codes of the pages for requests that no worker gets to see.
BAD_REQUEST: Final = 1120
BODY_TOO_LARGE: Final = 1121
BODY_TOO_SLOW: Final = 1122

_KEEP: Final = 0
_DROP: Final = 1
#: Says where a request came from, or is for the host: only a trusted proxy may send it.
_FORWARDING: Final = 2
_HOST: Final = 3
_CONTENT_LENGTH: Final = 4
_TRANSFER_ENCODING: Final = 5
_CONNECTION: Final = 6
_FORWARDED_FOR: Final = 7
_FORWARDED_PROTO: Final = 8
_HOP: Final = 9

_FORWARDING_NAMES: Final = frozenset(
    {
        b"forwarded",
        b"x-real-ip",
        b"true-client-ip",
        b"cloudflare-workers-version-overrides",
    }
)
_SPECIAL: Final = {
    b"host": _HOST,
    b"content-length": _CONTENT_LENGTH,
    b"transfer-encoding": _TRANSFER_ENCODING,
    b"connection": _CONNECTION,
    b"x-forwarded-for": _FORWARDED_FOR,
    b"x-forwarded-proto": _FORWARDED_PROTO,
    b"tenantry-hop": _HOP,
    # Ours, from anyone: they are set below.
    b"cf-connecting-ip": _DROP,
    b"expect": _DROP,  # answered by the server
}
# Names of headers that are kept as they are; bounded, since visitors may invent names.
_plain: set[bytes] = set()
_MAX_PLAIN: Final = 4_096
_NO_NAMES: Final[frozenset[bytes]] = frozenset()


class ReceivedRequest(IncomingRequest, kw_only=True):
    """`body` is None or an AsgiBody until `take_body`."""

    #: Value of the hop header, which no worker sees. Signed by the gateway: to be verified, not believed.
    hop: bytes | None


class AsgiBody:
    """A ByteSource over ASGI `receive`, held to `limit_bytes` once `take_body` has set it."""

    __slots__ = ("_ended", "_receive", "bytes_in", "failure", "limit_bytes")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False
        self.limit_bytes = 0
        self.bytes_in = 0
        #: Once the limit was passed: what the visitor is to be shown, if the worker has not answered.
        self.failure: VisitorError | None = None

    async def read(self) -> bytes:
        """The next chunk. Raises StreamClosed when the visitor left, UpstreamError past the limit, then and
        at each later read; `failure` holds the 413.
        """
        if self.failure is not None:
            raise UpstreamError(self.failure.message)
        while not self._ended:
            message = await self._receive()
            if message["type"] != "http.request":
                raise StreamClosed("the visitor left before the end of the request's body")
            if not message.get("more_body", False):
                self._ended = True
            data: bytes = message.get("body", b"")
            if data:
                self.bytes_in += len(data)
                if self.bytes_in > self.limit_bytes:
                    self._ended = True
                    self.failure = _too_large(self.limit_bytes)
                    raise UpstreamError(self.failure.message)
                return data
        return b""

    def close(self) -> None:
        """The server throws away what still comes, so that the connection can serve its next request."""
        self._ended = True


def receive_request(
    scope: Mapping[str, Any], receive: Receive, ray_id: str, trusted: TrustedProxies
) -> ReceivedRequest:
    """The request in the shape that routing and workers know. Never waits.

    Removed: hop-by-hop headers and those that Connection names, and, unless the peer is a trusted proxy,
    whatever claims to know where the request came from. Set: x-forwarded-for, x-forwarded-proto,
    cf-connecting-ip, x-tenantry-ray. Raises VisitorError (400).
    """
    client = scope.get("client")
    peer = client[0] if client else ""
    is_trusted = trusted.some and trusted.contains(peer)
    headers: list[Header] = scope["headers"]
    host: bytes | None = None
    content_length: int | None = None
    is_chunked = False
    said_for = said_proto = hop = None
    dropped = _NO_NAMES
    for name, value in [header for header in headers if header[0] not in _plain]:
        verdict = _SPECIAL.get(name) or _judge(name)
        if verdict == _HOST:
            if host is not None:
                raise _bad_request("more than one Host header; exactly one is right")
            host = value
        elif verdict == _CONTENT_LENGTH:
            if content_length is not None:
                raise _bad_request("more than one Content-Length header")
            content_length = _parse_length(value)
        elif verdict == _CONNECTION:
            dropped |= _named(value) - _NEVER_NAMED | {name}
        elif verdict != _KEEP and not (verdict == _FORWARDING and is_trusted):
            dropped |= {name}
            if verdict == _TRANSFER_ENCODING:
                is_chunked = True
            elif verdict == _HOP:
                hop = value
            elif is_trusted and verdict == _FORWARDED_FOR:
                said_for = value if said_for is None else said_for + b", " + value
            elif is_trusted and verdict == _FORWARDED_PROTO:
                said_proto = value
    if host is None:
        raise _bad_request("no Host header; exactly one is right")
    if is_chunked and content_length is not None:
        raise _bad_request("both Content-Length and Transfer-Encoding (RFC 9112 §6.1)")
    kept = [header for header in headers if header[0] not in dropped] if dropped else headers

    scheme: str = scope["scheme"]
    if said_proto in (b"http", b"https"):
        scheme = said_proto.decode()
    try:
        hostname, origin = _origin(scheme, host)
    except InvalidHostname as error:
        raise _bad_request(str(error)) from None
    ip, chain = plain_ip(peer), None
    if said_for is not None:
        ip, chain = forwarded_for(said_for, ip, trusted)
    ray = (b"x-tenantry-ray", ray_id.encode())

    try:
        path = scope["raw_path"].decode("ascii")
        query = scope["query_string"].decode("ascii")
    except UnicodeDecodeError:
        raise _bad_request("the request target has a byte that is not ASCII; percent-encode it") from None
    if not path.startswith("/"):
        raise _bad_request("the request target is no path")
    url = f"{origin}{path}?{query}" if query else f"{origin}{path}"
    return ReceivedRequest(
        scope["method"],
        url,
        hostname,
        path,
        [*kept, *_set_by_us(ip, chain, scheme), ray],
        AsgiBody(receive) if is_chunked or content_length else None,
        content_length,
        Client(
            ip,
            scheme == "https",
            ray_id,
            "" if is_trusted else _PROTOCOLS.get(scope.get("http_version", ""), ""),
        ),
        hop=hop,
    )


#: By the version that ASGI says.
_PROTOCOLS: Final = {"1.0": "HTTP/1.0", "1.1": "HTTP/1.1"}


@lru_cache(maxsize=65_536)
def _origin(scheme: str, host: bytes) -> tuple[str, str]:
    """A Host header's name, and what a URL there begins with. Raises InvalidHostname."""
    parsed = parse_host(host)
    authority = parsed.name if ":" not in parsed.name else f"[{parsed.name}]"
    if parsed.port is not None:
        authority = f"{authority}:{parsed.port}"
    return parsed.name, f"{scheme}://{authority}"


@lru_cache(maxsize=4_096)
def _set_by_us(ip: str, chain: bytes | None, scheme: str) -> tuple[Header, ...]:
    """`chain` is what trusted proxies said of the way to `ip`; None: nobody did."""
    return (
        (b"x-forwarded-for", ip.encode() if chain is None else chain),
        (b"x-forwarded-proto", scheme.encode()),
        (b"cf-connecting-ip", ip.encode()),
    )


async def take_body(request: ReceivedRequest, limit_bytes: int, timeout_s: float = SMALL_BODY_S) -> None:
    """Hold the body to `limit_bytes`, and wait for it when it is small (Content-Length up to 64 KiB), so
    that `request.body` is bytes, a source, or None. Not to be called where `body` is None already.

    Call it before a permit is taken: a slow upload then holds no place. Raises VisitorError 413 (at once
    when the Content-Length says so, without asking for the body), 408, StreamClosed.
    """
    body = request.body
    if not isinstance(body, AsgiBody):
        return
    length = request.content_length
    if length is not None and length > limit_bytes:
        raise _too_large(limit_bytes, length)
    body.limit_bytes = limit_bytes
    if length is None or length > SMALL_BODY_BYTES:
        return
    await in_task()
    try:
        async with asyncio.timeout(timeout_s):
            data = await body.read()
            if len(data) < length:
                parts = [data]
                while chunk := await body.read():
                    parts.append(chunk)
                data = b"".join(parts)
    except TimeoutError:
        raise VisitorError(
            f"the request's body of {length} bytes did not come within {timeout_s:g} s",
            status=408,
            code=BODY_TOO_SLOW,
        ) from None
    if len(data) != length:
        raise _bad_request(f"Content-Length is {length}, but {len(data)} bytes came")
    request.body = data


def accept_header(headers: Headers) -> bytes:
    """The Accept header, for error pages; b"" when there is none."""
    for name, value in headers:
        if name == b"accept":
            return value
    return b""


#: A visitor can't have these taken off by naming them in Connection.
_NEVER_NAMED: Final = frozenset({b"host", b"content-length"})


def _judge(name: bytes) -> int:
    """What is done with a header that is none of `_SPECIAL`."""
    if name in HOP_BY_HOP or name.startswith(b"x-tenantry-"):
        return _DROP
    if name in _FORWARDING_NAMES or name.startswith(b"x-forwarded-"):
        return _FORWARDING
    if len(name) <= 64 and len(_plain) < _MAX_PLAIN:
        _plain.add(name)
    return _KEEP


def _named(connection: bytes) -> frozenset[bytes]:
    """Names of headers that are for this connection alone (RFC 9110 §7.6.1)."""
    lower = connection.lower()
    if lower in (b"keep-alive", b"close"):
        return _NO_NAMES
    return frozenset(token.strip() for token in lower.split(b",")) - {b"keep-alive", b"close", b""}


def _parse_length(value: bytes) -> int:
    if not value.isdigit() or len(value) > 15:
        raise _bad_request("Content-Length is no number of 1 to 15 digits")
    return int(value)


def _bad_request(message: str) -> VisitorError:
    return VisitorError(message, status=400, code=BAD_REQUEST)


def _too_large(limit_bytes: int, length: int | None = None) -> VisitorError:
    came = "" if length is None else f" of {length} bytes"
    return VisitorError(
        f"the request's body{came} is too large: {limit_bytes} bytes is the limit",
        status=413,
        code=BODY_TOO_LARGE,
    )
