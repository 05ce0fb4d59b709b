"""A request's body on its way up: counted, held against what was declared, one piece at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol

from model.errors import UpstreamError
from model.messages import Body, ByteSource, StreamClosed
from outbound.reasons import Reason
from outbound.upstream_body import ByteMeter

#: Bodies up to here go out with the headers, and again if a kept connection turns out dead.
WHOLE_BYTES: Final = 64 * 1024


class BodyRefused(Exception):
    """The body can't be sent on: too large, not as long as declared, or its own source broke off."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Silenced(Protocol):
    """A connection that can be told that its other side was silent for too long."""

    def set_exception(self, exc: BaseException) -> None: ...


class SilenceClock:
    """Ends a wait after `silence_s`; starts anew with each sign of life, stands still while a guest is waited for."""

    __slots__ = ("_connection", "_handle", "_loop", "_silence_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: Silenced, silence_s: float) -> None:
        self._loop = loop
        self._connection = connection
        self._silence_s = silence_s
        self._handle = loop.call_later(silence_s, self._expire)

    def stop(self) -> None:
        self._handle.cancel()

    def restart(self) -> None:
        self._handle.cancel()
        self._handle = self._loop.call_later(self._silence_s, self._expire)

    def _expire(self) -> None:
        self._connection.set_exception(TimeoutError())


class Upload:
    """One request's body. `declared` is the guest's own content-length, or None. Raises BodyRefused when
    bytes that are here already break a rule; what shows only later is left in `refused`.
    """

    def __init__(
        self, body: Body, declared: int | None, max_bytes: int, meter: ByteMeter | None = None
    ) -> None:
        self._max_bytes = max_bytes
        self._meter = meter
        self._source: ByteSource | None = None
        self._whole: bytes | None = None
        #: Bytes given to the connection.
        self.sent = 0
        #: Why the upload broke off, if it was not the upstream's doing.
        self.refused: BodyRefused | None = None
        #: Set while response headers are waited for.
        self.clock: SilenceClock | None = None
        #: For the content-length header; None: chunked, or no body.
        self.length: int | None
        if body is None or isinstance(body, bytes):
            self._whole = body
            length = len(body) if body is not None else 0
            if declared is not None and declared != length:
                raise BodyRefused(
                    Reason.REQUEST_BODY,
                    f"content-length says {declared} but the body has {length} bytes; leave the header out",
                )
            # Without a body the HTTP library says `content-length: 0` where the method wants one.
            self.length = length or None
        else:
            self._source = body
            self.length = declared
        if self.length is not None and self.length > max_bytes:
            self.close()
            raise self._too_large(self.length)

    def data(self) -> bytes | AsyncIterator[bytes] | None:
        """What the HTTP library is given. Once an attempt; a stream can be given once only."""
        if self._whole is not None and len(self._whole) <= WHOLE_BYTES:
            self.sent = len(self._whole)
            if self.sent and self._meter is not None:
                self._meter.pass_bytes(self.sent)  # they are here, and small: what comes next is held
            return self._whole or None
        if self._whole is not None:
            return self._slices(self._whole)
        if self._source is not None:
            return self._stream(self._source)
        return None

    @property
    def is_repeatable(self) -> bool:
        """`data` may be asked for again."""
        return self._source is None

    def take(self, piece: bytes) -> None:
        """Count what goes up next. Raises BodyRefused when it must not."""
        self.sent += len(piece)
        if self.sent > self._max_bytes:
            raise self._too_large(self.sent)
        if self.length is not None and self.sent > self.length:
            raise self._differs(f"more than {self.length}")
        if self._meter is not None and not self._meter.pass_bytes(len(piece)):
            raise BodyRefused(Reason.LIMIT_QUOTA_BYTES, self._meter.message)

    def close(self) -> None:
        """Let the source go. Idempotent."""
        if self._source is not None:
            self._source.close()

    async def _slices(self, whole: bytes) -> AsyncIterator[bytes]:
        self.sent = 0
        for start in range(0, len(whole), WHOLE_BYTES):
            piece = whole[start : start + WHOLE_BYTES]
            self._alive()
            try:
                self.take(piece)
            except BodyRefused as error:
                self.refused = error
                raise
            yield piece

    async def _stream(self, source: ByteSource) -> AsyncIterator[bytes]:
        try:
            while True:
                if self.clock is not None:
                    self.clock.stop()
                piece = await source.read()
                self._alive()
                if not piece:
                    break
                self.take(piece)
                yield piece
            if self.length is not None and self.sent != self.length:
                raise self._differs(str(self.sent))
        except BodyRefused as error:
            self.refused = error
            raise
        except (StreamClosed, UpstreamError) as error:
            self.refused = BodyRefused(Reason.REQUEST_BODY, "the request's body broke off before its end")
            raise self.refused from error
        finally:
            source.close()

    def _alive(self) -> None:
        if self.clock is not None:
            self.clock.restart()

    def _too_large(self, size: int) -> BodyRefused:
        return BodyRefused(
            Reason.REQUEST_TOO_LARGE,
            f"the body has {size} bytes or more; the egress policy's max_request_bytes is {self._max_bytes}",
        )

    def _differs(self, sent: str) -> BodyRefused:
        return BodyRefused(
            Reason.REQUEST_BODY, f"content-length says {self.length} but the body has {sent} bytes"
        )
