"""How many bytes of large KV values a process holds for its events at once: each may be 25 MiB, and 5,000 wait.

Values up to 64 KiB are bounded by the reply or the call that carries them, and are not counted.
"""

from __future__ import annotations

from typing import Final

from model.errors import OperationError, OperationErrorCode

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
