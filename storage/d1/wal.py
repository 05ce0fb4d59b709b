"""Which pages a transaction changed, read from SQLite's write-ahead log after its commit.

Formats: https://sqlite.org/fileformat2.html (the log), https://sqlite.org/walformat.html (its index, `-shm`). Whoever
calls holds the lock of the database's writers and has it open, so nobody adds to the log or starts it anew meanwhile.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.d1.limits import PAGE_BYTES
from storage.failures import StorageLost, from_os_error

_INDEX_HEADER: Final = 48
_LOG_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_FRAME: Final = _FRAME_HEADER + PAGE_BYTES


@dataclass(frozen=True, slots=True)
class LogEnd:
    """How far the log goes: frames since it was last started anew, which its salt tells."""

    salt: bytes
    frames: int


@dataclass(frozen=True, slots=True)
class ChangedPages:
    """`offsets`: page → where in the log its last content is. `pages`: of the whole database, afterwards."""

    log: Path
    offsets: dict[int, int]
    pages: int

    def packed(self, at_most: int) -> Iterator[tuple[list[int], list[bytes]]]:
        """Pages, deflated, at most so many at once."""
        numbers = sorted(self.offsets)
        with self.log.open("rb") as log:
            for start in range(0, len(numbers), at_most):
                part = numbers[start : start + at_most]
                yield part, [pack(os.pread(log.fileno(), PAGE_BYTES, self.offsets[n])) for n in part]


def pack(page: bytes) -> bytes:
    return zlib.compress(page, 1)


def unpack(data: bytes) -> bytes:
    """Raises StorageLost."""
    try:
        page = zlib.decompress(data)
    except zlib.error as error:
        raise StorageLost("a page of a database is damaged", detail=str(error)) from error
    if len(page) != PAGE_BYTES:
        raise StorageLost("a page of a database is damaged", detail=f"{len(page)} bytes")
    return page


def log_end(path: Path) -> LogEnd:
    """Of the database `path`, which somebody has open. Raises StorageLost."""
    index = path.with_name(f"{path.name}-shm")
    try:
        descriptor = os.open(index, os.O_RDONLY | os.O_CLOEXEC)
        try:
            both = os.pread(descriptor, 2 * _INDEX_HEADER, 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise from_os_error(error, index) from error
    first, second = both[:_INDEX_HEADER], both[_INDEX_HEADER:]
    if first != second or len(second) != _INDEX_HEADER:
        raise StorageLost("the log of a database can't be read", detail=f"{index}: its headers differ")
    (frames,) = struct.unpack_from("=I", first, 16)
    return LogEnd(first[32:40], int(frames))


def changed_since(path: Path, before: LogEnd) -> ChangedPages | None:
    """What was committed since; None: nothing. Raises StorageLost."""
    after = log_end(path)
    if after == before:
        return None
    first = before.frames if after.salt == before.salt else 0
    log = path.with_name(f"{path.name}-wal")
    offsets: dict[int, int] = {}
    pages = 0
    try:
        with log.open("rb") as file:
            for number in range(first, after.frames):
                at = _LOG_HEADER + number * _FRAME
                head = os.pread(file.fileno(), _FRAME_HEADER, at)
                if len(head) < _FRAME_HEADER or head[8:16] != after.salt:
                    raise StorageLost("the log of a database can't be read", detail=f"{log}: frame {number}")
                page, pages = struct.unpack_from(">II", head)
                offsets[page] = at + _FRAME_HEADER
    except OSError as error:
        raise from_os_error(error, log) from error
    if not pages:
        raise StorageLost("the log of a database can't be read", detail=f"{log}: it ends without a commit")
    return ChangedPages(log, {page: at for page, at in offsets.items() if page <= pages}, pages)
