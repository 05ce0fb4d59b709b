"""Whose turn it is to write, between processes: `flock` on a side file, with a time limit.

SQLite's own busy handler polls, so that writers of several processes starve one another (measured: 5,320
against 170 writes a second); waiters in `flock` are even. The kernel has no `flock` with a time limit, so a
contended lock is waited for in a helper thread, which gives it back at once if nobody wants it any more.
The kernel drops the lock when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path


class FileLock:
    """For one user at a time (the writer thread). The file stays: removing it would split the queue."""

    def __init__(self, path: Path) -> None:
        """Opens or makes `path` (0600). Raises OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._state = threading.Condition()
        self._held = False
        self._wanted = False
        self._waiter: threading.Thread | None = None

    def acquire(self, timeout_s: float) -> bool:
        """True once it is ours; False after `timeout_s` seconds."""
        with self._state:
            if self._waiter is None:
                try:
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._waiter = threading.Thread(target=self._wait, name="storage-lock", daemon=True)
                    self._waiter.start()
                else:
                    self._held = True
                    return True
            self._wanted = True
            self._state.wait_for(lambda: self._held, timeout_s)
            self._wanted = False
            return self._held

    def release(self) -> None:
        with self._state:
            self._held = False
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Only when not held. A waiter that still hangs on a stopped process keeps the descriptor."""
        with self._state:
            if self._waiter is None:
                os.close(self._descriptor)

    def _wait(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._state:
            self._waiter = None
            if self._wanted:
                self._held = True
                self._state.notify_all()
            else:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
