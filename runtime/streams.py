"""Streams between a guest and whoever is on the other side, with back-pressure."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from model.messages import ByteSource, StreamClosed

#: What a pipe holds before its writer waits; and what it holds at most, for writers who don't.
PIPE_BYTES: Final = 256 * 1024
PIPE_MAX_BYTES: Final = PIPE_BYTES + (1 << 20)


class ReadBuffer:
    """A ByteSource that can be read in pieces of a wanted size; one reader at a time."""

    __slots__ = ("_at", "_closed", "_left", "_source", "busy")

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        #: The chunk being read, and how far: taking a little of a large one must not copy the rest.
        self._left = b""
        self._at = 0
        self._closed = False
        #: Somebody waits for the source, which is for one reader at a time.
        self.busy = False

    def take(self, size: int) -> bytes | None:
        """What is here already, at most `size`; None when it must be waited for."""
        left, at = self._left, self._at
        if not left:
            return None
        end = at + size
        if end < len(left):
            self._at = end
            return left[at:end]
        self._left, self._at = b"", 0
        return left[at:] if at else left

    async def read_at_most(self, size: int) -> bytes:
        """The next 1 to `size` bytes; b"" at the end."""
        if not self._left:
            self.busy = True
            try:
                self._left = await self._source.read()
            finally:
                self.busy = False
        return self.take(size) or b""

    async def read(self) -> bytes:
        """As a ByteSource again, for whoever takes the rest over."""
        return self.take(len(self._left)) or await self._source.read()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._left = b""
            self._source.close()


class HeldBytes:
    """How many bytes several pipes hold together: `now`."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0


class Pipe:
    """A ByteSource that somebody writes. The writer waits while PIPE_BYTES are unread.

    `fail(error)` breaks it off: the reader gets the error after what was written before. When the reader
    closes, the writer gets StreamClosed.
    """

    __slots__ = ("_chunks", "_closed", "_ended", "_error", "_held", "_reader", "_size", "_writers")

    def __init__(self, held: HeldBytes | None = None) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._held = held or HeldBytes()
        self._ended = False
        self._closed = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []

    @property
    def ended(self) -> bool:
        return self._ended

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises StreamClosed when the reader has gone."""
        self.put(data)
        await self.room()

    def put(self, data: bytes) -> bool:
        """Write without waiting: True when there is room for more, else `room` waits for it."""
        self._check_writable()
        if data:
            self._chunks.append(data)
            self._size += len(data)
            self._held.now += len(data)
            _wake(self._reader)
        return self._size <= PIPE_BYTES

    @property
    def full(self) -> bool:
        """A writer who does not wait has filled it to PIPE_MAX_BYTES."""
        return self._size >= PIPE_MAX_BYTES

    async def room(self) -> None:
        """Returns when less than PIPE_BYTES are unread. Raises StreamClosed when the reader has gone."""
        while self._size > PIPE_BYTES and not self._closed:
            waiter = asyncio.get_running_loop().create_future()
            self._writers.append(waiter)
            try:
                await waiter
            finally:
                self._writers.remove(waiter)
        if self._closed:
            raise StreamClosed("the reader closed the stream")

    def end(self) -> None:
        self._check_writable()
        self._ended = True
        _wake(self._reader)

    def fail(self, error: Exception) -> None:
        """The rest will never come. Does nothing when the end was written already."""
        if not self._ended:
            self._error = error
            self._ended = True
            _wake(self._reader)

    def _check_writable(self) -> None:
        if self._closed:
            raise StreamClosed("the reader closed the stream")
        if self._ended:
            raise StreamClosed("the stream has ended already")

    async def read(self) -> bytes:
        while not self._chunks:
            if self._closed:
                return b""
            if self._ended:
                if self._error is not None:
                    raise self._error
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._chunks.popleft()
        self._size -= len(data)
        self._held.now -= len(data)
        if self._size <= PIPE_BYTES:
            self._wake_writers()
        return data

    def close(self) -> None:
        self._closed = True
        self._chunks.clear()
        self._held.now -= self._size
        self._size = 0
        self._wake_writers()
        _wake(self._reader)

    def _wake_writers(self) -> None:
        for waiter in self._writers:
            _wake(waiter)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
