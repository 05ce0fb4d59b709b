"""HTTP messages as they travel inside the host.

Header names are lower-case bytes; order and repeats are kept. Hop-by-hop headers never get this far in
an incoming request, and never leave in an outgoing one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

import msgspec

Header = tuple[bytes, bytes]
Headers = Sequence[Header]

#: RFC 9110 §7.6.1, and the names that frame a message: never passed on in either direction.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class StreamClosed(Exception):
    """The other side of a stream went away before its end."""


class ByteSource(Protocol):
    """Bytes that come over time, for one reader at a time."""

    async def read(self) -> bytes:
        """The next chunk, of any size above zero; `b""` at the end, and again after it.

        Raises StreamClosed when the sender broke off, UpstreamError when a limit or a peer failed.
        Cancelling a read loses no bytes.
        """

    def close(self) -> None:
        """No more will be read. Idempotent, never waits; what the source holds is let go."""


Body = bytes | ByteSource | None


class Client(msgspec.Struct):
    """Who asked, as far as the connection tells."""

    ip: str
    tls: bool
    ray_id: str
    #: As `HTTP/1.1`; "" where who asked is behind a proxy, and so nobody knows.
    protocol: str = ""


class Entry(msgspec.Struct, frozen=True):
    """Where in a worker in JavaScript a service binding leads."""

    #: An export's name; None: the default one.
    name: str | None = None
    #: JSON of an object, for `ctx.props`.
    props: str | None = None
    #: A method to be called: the request's body are its arguments, the response's is what became of it. None: `fetch`.
    call: str | None = None


class IncomingRequest(msgspec.Struct):
    """A visitor's request, or one that another worker made through a service or dispatch binding."""

    method: str
    #: Absolute; the authority is the validated Host.
    url: str
    #: Normalised, without port: what routes are compared with.
    hostname: str
    #: As sent, without query; begins with "/".
    path: str
    headers: Headers
    body: Body
    #: None when there is no body, or it is chunked.
    content_length: int | None
    client: Client
    #: None: the `fetch` handler, as for a visitor's.
    entry: Entry | None = None


@dataclass(slots=True)
class OutgoingRequest:
    """A subrequest: what a worker asks of the internet or of another worker. `url` is not yet parsed."""

    method: str
    url: str
    headers: Headers = ()
    body: Body = None


@dataclass(slots=True)
class Response:
    status: int
    headers: Headers = field(default_factory=tuple)
    body: Body = None


class Responder(Protocol):
    """Where a worker's response goes: a visitor's connection, or another worker's stream.

    Calls come in the order start, write…, end. A `content-length` header given to `start` is held to
    the bytes written.
    """

    #: `start` or `send_whole` went through.
    started: bool
    #: What the receiver was given; 0 before the start.
    status: int
    #: Of body.
    bytes_out: int

    async def start(self, status: int, headers: Headers) -> None: ...

    async def write(self, data: bytes) -> None:
        """Returns when the receiver took it: this is the back-pressure. Raises StreamClosed."""

    async def end(self) -> None: ...

    async def send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        """start, write and end in one, for a body that is here already."""

    def put_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        """`send_whole` without waiting: False, and nothing was done, when it would have to wait."""

    def abort(self) -> None:
        """The response cannot be completed: break it off, so that nobody takes what came for the whole."""


@dataclass(frozen=True, slots=True)
class RequestChanges:
    """What an outbound worker changes of a request that it lets go on; None: it stays as it is.

    In `headers`, lower-case names → new values, in order and with repeats: they replace all of their name, and of
    its spelling with underscores, which CGI and its like read as the same. None for a value removes the name.
    """

    method: str | None = None
    url: str | None = None
    headers: Sequence[tuple[bytes, bytes | None]] = ()

    def of(self, request: OutgoingRequest) -> OutgoingRequest:
        """`request` with these changes, and with its body."""
        headers = request.headers
        if self.headers:
            changed = {name.replace(b"_", b"-") for name, _ in self.headers}
            new = [(name, value) for name, value in self.headers if value is not None]
            headers = [*(header for header in headers if header[0].replace(b"_", b"-") not in changed), *new]
        return OutgoingRequest(self.method or request.method, self.url or request.url, headers, request.body)


@runtime_checkable
class OutboundResponder(Responder, Protocol):
    """Where an outbound worker's answer goes: instead of a response it may be what to do with the request."""

    def go_on(self, changes: RequestChanges) -> None:
        """In the place of `start`: let the request go on. The body that came with it goes along unread."""


class Visitor(Protocol):
    """The connection of a visitor, as whoever answers sees it."""

    left: bool
    #: Called once when the visitor leaves; None when nobody minds any more.
    on_leave: Callable[[], None] | None


@dataclass(slots=True)
class BytesSource:
    """A ByteSource over bytes that are here already."""

    data: bytes

    async def read(self) -> bytes:
        data, self.data = self.data, b""
        return data

    def close(self) -> None:
        self.data = b""
