"""An upstream's response body as a ByteSource: read as fast as the guest takes it, counted, let go once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from model.errors import UpstreamError
from outbound.reasons import Reason


class _Content(Protocol):
    async def readany(self) -> bytes: ...


class HttpResponse(Protocol):
    """What is needed of the HTTP library's response."""

    @property
    def content(self) -> _Content: ...

    def close(self) -> None:
        """Drop the connection unless the body has been read to its end. Idempotent."""


class UpstreamBody:
    """`on_end(bytes, reason)` is called exactly once: at the end (None), at a failure, or when closed early.

    After a failure every read raises it again: nobody can take a cut-off body for a whole one.
    """

    __slots__ = ("_failure", "_max_bytes", "_on_end", "_response", "_timeout_ms", "received")

    def __init__(
        self,
        response: HttpResponse,
        max_bytes: int,
        timeout_ms: int,
        on_end: Callable[[int, Reason | None], None],
    ) -> None:
        self._response: HttpResponse | None = response
        self._max_bytes = max_bytes
        self._timeout_ms = timeout_ms
        self._on_end = on_end
        self._failure: str | None = None
        self.received = 0

    async def read(self) -> bytes:
        """As ByteSource. Raises UpstreamError when the upstream breaks off, is silent or sends too much."""
        response = self._response
        if response is None:
            if self._failure is not None:
                raise UpstreamError(self._failure)
            return b""
        try:
            piece = await response.content.readany()
        except TimeoutError as error:
            raise self._fail(
                Reason.UPSTREAM_TIMEOUT, f"the upstream sent nothing for {self._timeout_ms} ms"
            ) from error
        except Exception as error:  # the library's own kinds, not imported here; a read fails no other way
            raise self._fail(
                Reason.UPSTREAM_FAILED, "the upstream broke off before the response's end"
            ) from error
        self.received += len(piece)
        if self.received > self._max_bytes:
            raise self._fail(Reason.RESPONSE_TOO_LARGE, too_large(self._max_bytes))
        if not piece:
            self._end(None)
        return piece

    def close(self) -> None:
        if self._response is not None:
            self._end(Reason.CANCELLED)

    def fail_too_large(self) -> None:
        """End it before a byte was read: its headers promise more than may come."""
        self._fail(Reason.RESPONSE_TOO_LARGE, too_large(self._max_bytes))

    def abandon(self) -> None:
        """Close without telling `on_end`."""
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def _fail(self, reason: Reason, message: str) -> UpstreamError:
        self._failure = message
        self._end(reason)
        return UpstreamError(message)

    def _end(self, reason: Reason | None) -> None:
        self.abandon()
        self._on_end(self.received, reason)


def too_large(max_bytes: int) -> str:
    return f"the response is larger than {max_bytes} bytes, the egress policy's max_response_bytes"
