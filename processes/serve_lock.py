"""One `serve` a data folder: two would each believe that they alone write it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyServing(Exception):
    """Another process holds the lock; the message names the file and, if it is known, the process."""


@contextmanager
def serve_lock(path: Path) -> Iterator[None]:
    """Hold `path` (made when missing) until the block ends or the process dies. Raises AlreadyServing.

    Not inherited by children, so that a platform can start again although one of them still ends. The
    file stays: removing it would let two hold two files of the same name.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
            who = f"process {holder}" if holder.isdecimal() else "another process"
            raise AlreadyServing(f"{path} is held by {who}; one serve runs on a data folder") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
