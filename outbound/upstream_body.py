"""An upstream's response body as a ByteSource: read as fast as the guest takes it, counted, let go once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

from model.clock import monotonic_s
from model.errors import UpstreamError
from outbound.reasons import Reason


class Bounds(NamedTuple):
    """Of one request on the wire. `until_s` is monotonic: the end of everything, `total_ms` after its start."""

    connect_s: float
    #: The longest silence of the upstream.
    silence_s: float
    until_s: float
    total_ms: int
    max_response_bytes: int


class ByteMeter(Protocol):
    """Who counts a tenant's bytes."""

    #: Why bytes may not go on; "" while they may.
    @property
    def message(self) -> str: ...

    def pass_bytes(self, count: int) -> bool:
        """Count bytes that passed. False: what comes after must not pass."""


class _Content(Protocol):
    async def readany(self) -> bytes: ...

    def at_eof(self) -> bool: ...


class HttpResponse(Protocol):
    """What is needed of the HTTP library's response."""

    @property
    def content(self) -> _Content: ...

    def close(self) -> None:
        """Drop the connection unless the body has been read to its end. Idempotent."""


class UpstreamBody:
    """`on_end(bytes, reason)` is called exactly once: at the end (None), at a failure, or when closed early.

    After a failure every read raises it again: nobody can take a cut-off body for a whole one. At `bounds.until_s` it
    fails, whether or not anybody reads.
    """

    __slots__ = ("_bounds", "_failure", "_meter", "_on_end", "_response", "_timer", "received")

    def __init__(
        self,
        response: HttpResponse,
        bounds: Bounds,
        on_end: Callable[[int, Reason | None], None],
        meter: ByteMeter | None = None,
    ) -> None:
        self._response: HttpResponse | None = response
        self._bounds = bounds
        self._on_end = on_end
        self._meter = meter
        self._failure: str | None = None
        left_s = max(0.0, bounds.until_s - monotonic_s())
        self._timer = asyncio.get_running_loop().call_later(left_s, self._expire)
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
        except TimeoutError:
            raise self._fail(
                Reason.UPSTREAM_TIMEOUT,
                f"the upstream sent nothing for {self._bounds.silence_s * 1_000:.0f} ms",
            ) from None
        except Exception:
            # The HTTP library's errors of a body are of no one family; reading a stream fails no other way. They
            # hold bytes of the upstream's, which may be a secret that it was sent, and go no further.
            if self._failure is not None:  # the connection was dropped under this read: by `_expire`
                raise UpstreamError(self._failure) from None
            raise self._fail(
                Reason.UPSTREAM_FAILED, "the upstream broke off before the response's end"
            ) from None
        self.received += len(piece)
        if self.received > self._bounds.max_response_bytes:
            raise self._fail(Reason.RESPONSE_TOO_LARGE, too_large(self._bounds.max_response_bytes))
        if self._meter is not None and piece and not self._meter.pass_bytes(len(piece)):
            raise self._fail(Reason.LIMIT_QUOTA_BYTES, self._meter.message)
        if not piece or response.content.at_eof():
            self._end(None)
        return piece

    def close(self) -> None:
        if self._response is not None:
            self._end(Reason.CANCELLED)

    def fail_too_large(self) -> None:
        """End it before a byte was read: its headers promise more than may come."""
        self._fail(Reason.RESPONSE_TOO_LARGE, too_large(self._bounds.max_response_bytes))

    def _expire(self) -> None:
        if self._response is not None:
            self._fail(Reason.UPSTREAM_TIMEOUT, out_of_time(self._bounds.total_ms))

    def _fail(self, reason: Reason, message: str) -> UpstreamError:
        self._failure = message
        self._end(reason)
        return UpstreamError(message)

    def _end(self, reason: Reason | None) -> None:
        response, self._response = self._response, None
        self._timer.cancel()
        if response is not None:
            response.close()
            self._on_end(self.received, reason)


def too_large(max_bytes: int) -> str:
    return f"the response is larger than {max_bytes} bytes, the egress policy's max_response_bytes"


def out_of_time(total_ms: int) -> str:
    return f"the request was not over within {total_ms} ms, the egress policy's total_ms"
