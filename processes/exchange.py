"""One question to another process and its answer, with a body each way, as frames that a link carries.

Each exchange has a window of bytes in either direction, so that a slow reader holds up its own exchange and no
other. Whatever the peer sends is checked: `heard` says when it breaks the rules.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final, Protocol

from model.errors import ProcessLost, UpstreamError
from model.messages import StreamClosed

_WINDOW: Final = struct.Struct("!I")
#: Of one DATA frame.
CHUNK_BYTES: Final = 64 * 1024
#: What may be on its way to a reader, or wait for it, in one direction of one exchange.
WINDOW_BYTES: Final = 256 * 1024

#: Set in the kind of what the opener of an exchange sends, so that either side may count its own.
FROM_OPENER: Final = 0x80


class Kind(IntEnum):
    #: The question.
    OPEN = 1
    #: The answer's beginning, before its body.
    HEAD = 2
    DATA = 3
    END = 4
    #: So many bytes more may be sent to the one who says this.
    WINDOW = 5
    #: The body of the question will never be whole; why, as text.
    BROKEN = 6
    #: How it ended: the last frame of an exchange.
    RESULT = 7
    #: Whoever asked has left. The result comes all the same.
    CANCEL = 8
    #: Of the link: exchanges may be opened; and: open none any more.
    READY = 16
    DRAINING = 17


class Carrier(Protocol):
    """What an exchange asks of its link."""

    @property
    def is_full(self) -> bool:
        """Much is on its way that the peer has not read."""

    def wait_for_room(self, waiter: asyncio.Future[None]) -> None:
        """Wake `waiter` when `is_full` is over, or the link is lost."""

    def send(self, kind: int, number: int, payload: bytes) -> None: ...

    def forget(self, exchange: Exchange, number: int) -> None:
        """It is over."""


class Exchange:
    """One end of one exchange. `opened_here` says which: the asking one has `head` and `result`, the answering
    one `send_head`, `finish` and `on_cancel`; both have `read`, `write` and `end`. One reader, one writer.
    """

    __slots__ = (
        "_broken", "_chunks", "_closed", "_credit_in", "_credit_out", "_ended_in", "_error", "_head", "_held", "_link",
        "_number", "_reader", "_result", "_writer", "bytes_in", "cancelled", "on_cancel", "opened_here",
    )  # fmt: skip

    def __init__(self, link: Carrier, number: int, opened_here: bool) -> None:
        self._link = link
        self._number = number
        self.opened_here = opened_here
        self._chunks: deque[bytes] = deque()
        self._held = 0
        #: Of the body, read.
        self.bytes_in = 0
        # A question's body is asked for by its first read: many are never wanted.
        self._credit_in = WINDOW_BYTES if opened_here else 0
        self._credit_out = 0 if opened_here else WINDOW_BYTES
        self._ended_in = False
        self._closed = False
        #: The link is lost: nothing more comes or goes.
        self._error: Exception | None = None
        #: The rest of the body that comes in never will; what goes out still does.
        self._broken: Exception | None = None
        self._head: bytes | None = None
        self._result: bytes | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        #: Nobody waits for the answer any more: it was cancelled there, or the link is lost.
        self.cancelled = False
        self.on_cancel: Callable[[], None] | None = None

    # -- asking --------------------------------------------------------------------------------------

    async def head(self) -> bytes | None:
        """The answer's beginning; None when it ended without one. Raises ProcessLost."""
        while self._head is None and self._result is None:
            await self._heard_more()
        return self._head

    async def result(self) -> bytes:
        """How it ended. Raises ProcessLost."""
        while self._result is None:
            await self._heard_more()
        return self._result

    def cancel(self) -> None:
        """The answer is not wanted any more. Its result comes all the same, unless nobody waits for that."""
        if not self.cancelled and self._result is None:
            self.cancelled = True
            self._send(Kind.CANCEL)

    def lose(self) -> None:
        """Wait no more: whoever does gets ProcessLost."""
        self.cancel()
        self._fail(ProcessLost("the process that ran this worker did not answer in time"))

    @property
    def is_here(self) -> bool:
        """The whole of the answer's body has come."""
        return self._ended_in

    def take(self) -> bytes:
        """All of the body that has come and was not read."""
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._held = 0
        return data

    # -- answering -----------------------------------------------------------------------------------

    def send_head(self, payload: bytes) -> None:
        self._send(Kind.HEAD, payload)

    def finish(self, payload: bytes) -> None:
        """The last word. Nothing more is sent or heard."""
        self._send(Kind.RESULT, payload)
        self._link.forget(self, self._number)

    # -- a body each way -----------------------------------------------------------------------------

    async def wanted(self) -> None:
        """Returns when the other side takes more. Raises StreamClosed when it won't."""
        self._check_wanted()
        while self._credit_out <= 0 or self._link.is_full:
            self._writer = asyncio.get_running_loop().create_future()
            if self._credit_out > 0:
                self._link.wait_for_room(self._writer)
            try:
                await self._writer
            finally:
                self._writer = None
            self._check_wanted()

    async def write(self, data: bytes) -> None:
        """Returns when there was room for it. Raises StreamClosed when the other side wants no more."""
        for at in range(0, len(data), CHUNK_BYTES):
            piece = data[at : at + CHUNK_BYTES] if len(data) > CHUNK_BYTES else data
            await self.wanted()
            self._credit_out -= len(piece)
            self._send(Kind.DATA, piece)

    def end(self) -> None:
        """The body is whole."""
        self._send(Kind.END)

    def break_off(self, why: str) -> None:
        """The body of the question won't be whole."""
        self._send(Kind.BROKEN, why.encode()[:1000])

    async def read(self) -> bytes:
        """The next chunk; b"" at the end. Raises StreamClosed, UpstreamError, ProcessLost when the rest never comes."""
        self._grant()
        while not self._chunks:
            if self._ended_in or self._closed:
                return b""
            if self._broken is not None:
                raise self._broken
            if self._result is not None:
                raise StreamClosed("the answer was broken off")
            if self.cancelled and not self.opened_here:
                raise StreamClosed("whoever asked has left")
            await self._heard_more()
        chunk = self._chunks.popleft()
        self._held -= len(chunk)
        self.bytes_in += len(chunk)
        return chunk

    def close(self) -> None:
        """No more is read."""
        self._closed = True
        self._chunks.clear()

    # -- inside --------------------------------------------------------------------------------------

    def _send(self, kind: Kind, payload: bytes = b"") -> None:
        self._link.send(kind | FROM_OPENER if self.opened_here else kind, self._number, payload)

    def _check_wanted(self) -> None:
        if self.cancelled or self._error is not None or self._result is not None:
            raise StreamClosed("the other side of this exchange has left")

    def _grant(self) -> None:
        if self._ended_in or self._closed or self._error is not None:
            return
        missing = WINDOW_BYTES - self._credit_in - self._held
        if missing >= WINDOW_BYTES // 2:
            self._credit_in += missing
            self._send(Kind.WINDOW, _WINDOW.pack(missing))

    async def _heard_more(self) -> None:
        if self._error is not None:
            raise self._error
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        wake(self._reader)
        wake(self._writer)

    def heard(self, kind: int, payload: bytes) -> bool:
        """One frame of the peer's; False when it breaks the rules."""
        if kind == Kind.DATA:
            if self._credit_in <= 0 or len(payload) > CHUNK_BYTES or self._ended_in:
                return False
            self._credit_in -= len(payload)
            if not self._closed and payload:
                self._chunks.append(payload)
                self._held += len(payload)
        elif kind == Kind.END:
            self._ended_in = True
        elif kind == Kind.WINDOW:
            if len(payload) != _WINDOW.size:
                return False
            self._credit_out = min(self._credit_out + _WINDOW.unpack(payload)[0], WINDOW_BYTES)
            wake(self._writer)
            return True
        elif self.opened_here and kind == Kind.HEAD and self._head is None:
            self._head = payload
        elif self.opened_here and kind == Kind.RESULT:
            self._result = payload
            self._link.forget(self, self._number)
            wake(self._writer)
        elif not self.opened_here and kind == Kind.CANCEL:
            self.left()
            return True
        elif not self.opened_here and kind == Kind.BROKEN:
            self._broken = UpstreamError(payload.decode("utf-8", "replace"))
        else:
            return False
        wake(self._reader)
        return True

    def left(self) -> None:
        """Nobody waits for the answer any more."""
        self.cancelled = True
        wake(self._reader)
        wake(self._writer)
        on_cancel, self.on_cancel = self.on_cancel, None
        if on_cancel is not None:
            on_cancel()

    def lost(self) -> None:
        if self.opened_here:
            self._fail(ProcessLost("the process that ran this worker has ended"))
        else:
            self._fail(StreamClosed("the process of whoever asked has ended"))
            self.left()


def wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
