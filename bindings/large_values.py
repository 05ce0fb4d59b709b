"""Large values on their way between guests and stores: what a process holds of them, and for how long.

A value up to 1 MiB is held in memory while it is read or written, and counted: all of a process's together have a
limit. A larger one is in a file without a name (`storage.scratch`), which is counted, too, and passes through memory in
pieces. Values up to 64 KiB are bounded by the reply or the call that carries them, and are not counted.
"""

from __future__ import annotations

import asyncio
from typing import Final

from model.capabilities import StoredBytes
from model.errors import OperationError, OperationErrorCode, UpstreamError
from storage.failures import StorageError
from storage.kv_protocol import LARGE_BYTES
from storage.scratch import SCRATCH, ScratchFile

MOST_BYTES: Final = 256 << 20
PIECE_BYTES: Final = 256 * 1024


class LargeValues:
    """For one thread, the loop's."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.held = 0

    def take(self, size: int) -> None:
        """Raises OperationError(load_shed) when there is no room for `size` bytes more."""
        if self.held + size > self.most_bytes:
            raise OperationError(
                OperationErrorCode.LOAD_SHED,
                f"{self.held} bytes of large values are being read and written in this process, of"
                f" {self.most_bytes}; try again later",
            )
        self.held += size

    def give(self, size: int) -> None:
        self.held -= size


#: The process's.
LARGE_VALUES: Final = LargeValues()


class LargeValue:
    """A ByteSource over one value, in pieces; it is counted whole until all of it is read, or it is closed."""

    __slots__ = ("_at", "_data", "_values")

    def __init__(self, data: bytes, values: LargeValues) -> None:
        """Raises OperationError(load_shed)."""
        values.take(len(data))
        self._data = data
        self._at = 0
        self._values = values

    async def read(self) -> bytes:
        start, self._at = self._at, self._at + PIECE_BYTES
        piece = self._data[start : self._at]
        if self._at >= len(self._data):
            self.close()
        return piece

    def close(self) -> None:
        data, self._data = self._data, b""
        self._values.give(len(data))


class StoredValue:
    """A ByteSource over a value that is in a file: closed when all of it is read, or before."""

    __slots__ = ("_at", "_stored")

    def __init__(self, stored: StoredBytes) -> None:
        self._stored = stored
        self._at = 0

    async def read(self) -> bytes:
        if self._at >= self._stored.size:
            return b""
        try:
            piece = await asyncio.to_thread(self._stored.read_at, self._at, PIECE_BYTES)
        except StorageError as error:
            raise UpstreamError(error.message) from error
        self._at += len(piece)
        if self._at >= self._stored.size:
            self._stored.close()
        return piece

    def close(self) -> None:
        self._at = self._stored.size
        self._stored.close()


class Upload:
    """A value as it comes. Close it, whatever becomes of it: what came of one that broke off is gone then."""

    __slots__ = ("_file", "_held", "_parts", "_values", "size")

    def __init__(self, values: LargeValues) -> None:
        self._values = values
        self._parts: list[bytes] = []
        self._held = 0
        self._file: ScratchFile | None = None
        self.size = 0

    async def add(self, chunk: bytes) -> None:
        """Raises OperationError(load_shed), StorageError."""
        self._values.take(len(chunk))
        self._held += len(chunk)
        self.size += len(chunk)
        self._parts.append(chunk)
        if self._held > LARGE_BYTES:
            await self._flush()

    async def value(self) -> bytes | ScratchFile:
        """All that came; the file until this is closed. Raises as `add`."""
        if self._file is None:
            return b"".join(self._parts)
        await self._flush()
        return self._file

    def close(self) -> None:
        """Idempotent."""
        self._let_go()
        if self._file is not None:
            self._file.close()

    async def _flush(self) -> None:
        if self._file is None:
            self._file = SCRATCH.new()
        for part in self._parts:
            await asyncio.to_thread(self._file.append, part)
        self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, 0
        self._parts = []
        self._values.give(held)
