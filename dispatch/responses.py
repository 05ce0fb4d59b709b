"""A worker's response, or what a visitor is shown instead of one, as ASGI messages.

The only place that writes error bodies, and the only one that decides which of a worker's headers reach the
visitor. A worker is hostile: it must not be able to frame a second response, nor to end a body early.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from dispatch.error_pages import error_response
from model.errors import PlatformError, TenantError
from model.messages import HOP_BY_HOP, Header, Headers, StreamClosed, Visitor
from model.outcome import EventOutcome

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
#: A whole response of checked headers, in one go; False, and nothing sent, when the visitor must be waited for.
Put = Callable[[int, Headers, bytes], bool]

RAY_HEADER: Final = b"x-tenantry-ray"
MAX_RESPONSE_HEADERS: Final = 256

# RFC 9110 §5.6.2 (token) and §5.5 (field values: no control bytes but the tab).
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_bad_value = _BAD_VALUE.search
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")

_PASS: Final = 0
_CONTENT_LENGTH: Final = 1
#: The host says it itself.
_DROP: Final = 2
_HOP_BY_HOP: Final = 3
_INVALID: Final = 4

# What is done with a header of this name. Workers use the same few hundred names for ever; the bound keeps
# one that invents names from filling it.
_verdicts: dict[bytes, int] = {}
_MAX_VERDICTS: Final = 4_096

# Informational responses are the server's alone, and 101 would hand over the connection.
_STATUSES: Final = frozenset(range(200, 600))
#: RFC 9110 §15.3.5, §15.3.6, §15.4.5.
_BODYLESS: Final = frozenset({204, 205, 304})


class StayingVisitor:
    """For a server that doesn't tell when a visitor has left."""

    __slots__ = ("left", "on_leave")

    def __init__(self) -> None:
        self.left = False
        self.on_leave: Callable[[], None] | None = None


class AsgiResponder:
    """A model.messages.Responder over ASGI `send`; one a request.

    TenantError: the worker's headers, status or lengths are wrong. StreamClosed: the visitor has left.
    When either comes after the start, `broken` is set and the app must return without sending more, upon
    which the server closes the connection: that is the only way left to tell the visitor.
    """

    __slots__ = (
        "_headless", "_put", "_ray", "_remaining", "_send", "_visitor",
        "broken", "bytes_out", "ended", "max_header_bytes", "started", "status",
    )  # fmt: skip

    def __init__(
        self,
        send: Send,
        method: str,
        ray_id: str,
        visitor: Visitor | None = None,
        max_header_bytes: int = 128 * 1024,
        put: Put | None = None,
    ) -> None:
        self._send = send
        self._put = put
        self._visitor: Visitor = visitor or StayingVisitor()
        self._ray: Header = (RAY_HEADER, ray_id.encode())
        #: No body is sent, whatever is written: HEAD, and the statuses that have none.
        self._headless = method == "HEAD"
        #: Names and values together; whoever answers may bring a limit of its own.
        self.max_header_bytes = max_header_bytes
        #: Body bytes that the promised content-length leaves; None when none was promised.
        self._remaining: int | None = None
        self.started = False
        self.ended = False
        self.broken = False
        #: What the visitor got; 0 before the start.
        self.status = 0
        #: Of body.
        self.bytes_out = 0

    async def start(self, status: int, headers: Headers) -> None:
        if self.started:
            raise TenantError("the response was started already; response.start may be called once")
        checked, promised = self._check(status, headers)
        if self._headless:
            promised = None
        self.started = True
        self.status = status
        self._remaining = promised
        await self._emit({"type": "http.response.start", "status": status, "headers": checked})

    async def write(self, data: bytes) -> None:
        if not self.started or self.ended:
            raise TenantError(
                "response.write after response.end" if self.ended else "response.write before response.start"
            )
        self._break_if_left()
        if not data or self._headless:
            return
        if self._remaining is not None:
            if len(data) > self._remaining:
                self.broken = True
                raise TenantError(
                    f"the body is longer than its content-length: {len(data)} bytes came, "
                    f"{self._remaining} were left"
                )
            self._remaining -= len(data)
        await self._emit({"type": "http.response.body", "body": data, "more_body": True})
        self.bytes_out += len(data)

    async def end(self) -> None:
        if not self.started:
            raise TenantError("response.end before response.start")
        if self.ended:
            return
        if self._remaining:
            self.broken = True
            raise TenantError(f"the body is {self._remaining} bytes shorter than its content-length")
        self.ended = True
        await self._emit({"type": "http.response.body", "body": b"", "more_body": False})

    async def send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        """start, write and end in one, for a response that is here already. Nothing is sent when it raises
        TenantError.
        """
        checked, body = self._check_whole(status, headers, body)
        self._break_if_left()
        self.started = True
        self.status = status
        send = self._send
        try:
            await send({"type": "http.response.start", "status": status, "headers": checked})
            await send({"type": "http.response.body", "body": body})
        except OSError as error:
            self.broken = True
            raise StreamClosed("the visitor left") from error
        self.ended = True
        self.bytes_out = len(body)

    def put_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        """As `send_whole` where the server can be told all of it at once; else False."""
        put = self._put
        if put is None:
            return False
        checked, body = self._check_whole(status, headers, body)
        self._break_if_left()
        if not put(status, checked, body):
            return False
        self.started = self.ended = True
        self.status = status
        self.bytes_out = len(body)
        return True

    def abort(self) -> None:
        """Nothing more will be sent of a response that was begun: sets `broken`."""
        if self.started and not self.ended:
            self.broken = True

    async def send_error(self, error: PlatformError | EventOutcome, accept: bytes = b"") -> None:
        """The error's page, if nothing was sent yet; otherwise `broken`. Never raises."""
        if self.started or self._visitor.left:
            self.abort()
            return
        status, headers, body = error_response(error, self._ray[1].decode(), accept)
        try:
            await self.send_whole(status, headers, body)
        except StreamClosed:
            self.broken = True

    async def _emit(self, message: MutableMapping[str, Any]) -> None:
        self._break_if_left()
        try:
            await self._send(message)
        except OSError as error:  # what ASGI has a server raise for a connection that is gone
            self.broken = True
            raise StreamClosed("the visitor left") from error
        # The server may have dropped what it was given while we waited for room. After the last message it
        # doesn't matter: the response is over.
        if not self.ended:
            self._break_if_left()

    def _break_if_left(self) -> None:
        if self._visitor.left:
            self.broken = True
            raise StreamClosed("the visitor left")

    def _check_whole(self, status: int, headers: Headers, body: bytes) -> tuple[list[Header], bytes]:
        if self.started:
            raise TenantError("the response was started already; response.start may be called once")
        checked, promised = self._check(status, headers)
        if self._headless:
            return checked, b""
        if promised is None:
            checked.append((b"content-length", b"%d" % len(body)))
        elif promised != len(body):
            raise TenantError(f"content-length is {promised}, but the body has {len(body)} bytes")
        return checked, body

    def _check(self, status: int, headers: Headers) -> tuple[list[Header], int | None]:
        """The headers to send, the ray id last, and how long a body the worker promised."""
        checked, promised = _checked(status, headers, self.max_header_bytes)
        if status in _BODYLESS:
            self._headless = True
            if promised is not None:
                checked = [header for header in checked if header[0].lower() != b"content-length"]
                promised = None
            if status == 205:
                checked.append((b"content-length", b"0"))
        checked.append(self._ray)
        return checked, promised


def check_headers(status: int, headers: Headers, max_header_bytes: int = 128 * 1024) -> list[Header]:
    """A worker's headers as another worker may get them. Raises TenantError, as AsgiResponder.start."""
    return _checked(status, headers, max_header_bytes)[0]


def _checked(status: int, headers: Headers, max_header_bytes: int) -> tuple[list[Header], int | None]:
    """The headers that pass, and the content-length among them."""
    if type(status) is not int or status not in _STATUSES:
        raise TenantError(f"status {status!r:.20}: a worker may answer 200 to 599")
    if len(headers) > MAX_RESPONSE_HEADERS:
        raise TenantError(f"{len(headers)} response headers: {MAX_RESPONSE_HEADERS} is the limit")
    checked: list[Header] = []
    promised: int | None = None
    size = 0
    for header in headers:
        name, value = header
        size += len(name) + len(value)
        verdict = _verdicts.get(name)
        if verdict is None:
            verdict = _judge(name)
        if _bad_value(value):
            raise TenantError(
                f"response header {_shown(name)}: its value has a control byte (CR, LF, NUL, …)"
            )
        if verdict == _PASS:
            checked.append(header)
        elif verdict == _CONTENT_LENGTH:
            if promised is not None or not _LENGTH.fullmatch(value):
                raise TenantError(f"content-length {_shown(value)}: one, of 1 to 15 digits, is right")
            promised = int(value)
            checked.append(header)
        elif verdict != _DROP:
            raise _refusal(name, verdict)
    if size > max_header_bytes:
        raise TenantError(f"response headers of {size} bytes: the platform's limit is {max_header_bytes}")
    return checked, promised


def _judge(name: bytes) -> int:
    lower = name.lower()
    if not _TOKEN.fullmatch(name):
        verdict = _INVALID
    elif lower == b"content-length":
        verdict = _CONTENT_LENGTH
    elif lower in HOP_BY_HOP:
        verdict = _HOP_BY_HOP
    elif lower.startswith(b"x-tenantry-"):
        verdict = _DROP
    else:
        verdict = _PASS
    if len(name) <= 64 and len(_verdicts) < _MAX_VERDICTS:
        _verdicts[name] = verdict
    return verdict


def _refusal(name: bytes, verdict: int) -> TenantError:
    if verdict == _HOP_BY_HOP:
        return TenantError(
            f"response header {_shown(name)} frames the connection, which is the host's; leave it out"
        )
    return TenantError(f"response header name {_shown(name)}: letters, digits and !#$%&'*+-.^_`|~ are right")


def _shown(text: bytes) -> str:
    return repr(text[:80].decode("latin-1"))
