"""Bytes on their way that are too many to be held: in files without a name, which are gone when they are closed, and
when the process ends, however it does.

They are where SQLite puts what doesn't fit into memory. They are not durable and need not be: nobody was told of them.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from pathlib import Path
from typing import Final

from model.errors import OperationError, OperationErrorCode
from storage.failures import StorageError, from_os_error

#: Of all files of a process: eighty values of 25 MiB.
MOST_BYTES: Final = 2 << 30
#: What is read or written at once, and so what each file costs in memory while it is used.
PIECE_BYTES: Final = 1 << 20


class Scratch:
    """How much of it there is, in one process. Use from any thread."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.held = 0
        self.files = 0
        self._guard = threading.Lock()

    def new(self) -> ScratchFile:
        """Close it. Raises StorageError."""
        folder = Path(os.environ.get("SQLITE_TMPDIR") or tempfile.gettempdir())
        try:
            return ScratchFile(self, _open_nameless(folder), folder)
        except OSError as error:
            raise from_os_error(error, folder) from error

    def take(self, size: int) -> None:
        """Raises OperationError(load_shed) when there is no room for `size` bytes more."""
        with self._guard:
            if self.held + size > self.most_bytes:
                raise OperationError(
                    OperationErrorCode.LOAD_SHED,
                    f"{self.held} bytes of large values are being read and written in this process, of"
                    f" {self.most_bytes}; try again later",
                )
            self.held += size

    def give(self, size: int) -> None:
        with self._guard:
            self.held -= size

    def count(self, files: int) -> None:
        with self._guard:
            self.files += files


#: The process's.
SCRATCH: Final = Scratch()


class ScratchFile:
    """Written at its end, read anywhere. It may be closed while another thread uses it: it goes when that is done."""

    __slots__ = ("_closing", "_descriptor", "_folder", "_guard", "_scratch", "_users", "size")

    def __init__(self, scratch: Scratch, descriptor: int, folder: Path) -> None:
        """For Scratch.new."""
        self._scratch = scratch
        self._descriptor = descriptor
        self._folder = folder
        self._guard = threading.Lock()
        self._users = 0
        self._closing = False
        self.size = 0
        scratch.count(1)

    def append(self, data: bytes) -> None:
        """Raises OperationError(load_shed), DiskFull, StorageError. Blocks for as long as the disk does."""
        self._begin()
        try:
            self._scratch.take(len(data))
            self.size += len(data)
            left = memoryview(data)
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            raise from_os_error(error, self._folder) from error
        finally:
            self._end()

    def read_at(self, offset: int, size: int) -> bytes:
        """Fewer bytes than `size` only at the end. Raises StorageError. Blocks, as `append`."""
        self._begin()
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise from_os_error(error, self._folder) from error
        finally:
            self._end()

    def whole(self) -> bytes:
        """All of it in memory: for who has to."""
        parts = [self.read_at(at, PIECE_BYTES) for at in range(0, self.size, PIECE_BYTES)]
        return b"".join(parts)

    def clear(self) -> None:
        """Begin anew."""
        self._begin()
        try:
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            size, self.size = self.size, 0
            self._scratch.give(size)
        except OSError as error:
            raise from_os_error(error, self._folder) from error
        finally:
            self._end()

    def close(self) -> None:
        """Idempotent; never waits."""
        with self._guard:
            if self._closing:
                return
            self._closing = True
            if self._users:
                return
        self._let_go()

    def __del__(self) -> None:
        """For who was cancelled between being given it and taking it."""
        self.close()

    def _begin(self) -> None:
        with self._guard:
            if self._closing:
                raise StorageError("a value's bytes were closed before they were used")
            self._users += 1

    def _end(self) -> None:
        with self._guard:
            self._users -= 1
            if self._users or not self._closing:
                return
        self._let_go()

    def _let_go(self) -> None:
        os.close(self._descriptor)
        self._scratch.give(self.size)
        self._scratch.count(-1)


def _open_nameless(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EOPNOTSUPP):  # some file systems have none such
            raise
    descriptor, name = tempfile.mkstemp(prefix="value-", dir=folder)
    os.unlink(name)
    return descriptor
