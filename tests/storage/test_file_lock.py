"""The lock has one holder among processes, and whoever gave up waiting never holds it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from storage.file_lock import FileLock


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire(1)
    assert not second.acquire(0.01)
    first.release()
    assert second.acquire(5)
    second.release()
    first.close()
    second.close()


def test_waiter_gets_it_when_the_holder_lets_go(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire(1)
    assert not second.acquire(0.01)
    first.release()
    for _ in range(3):
        assert second.acquire(5)
        second.release()
    first.close()
    second.close()


def test_lock_given_up_waiting_for_is_not_kept(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    descriptor = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert not lock.acquire(0.01)
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    ends_at = time.monotonic() + 10
    while True:  # its helper thread may have it for a moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            assert time.monotonic() < ends_at
            time.sleep(0.001)
    os.close(descriptor)
    lock.close()
