"""A child is started whatever other threads are in the middle of, and nothing of ours runs in it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest
import uvloop

from runtime.piped_child import PipedChild

ECHO = (sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())")
WAIT = (sys.executable, "-c", "import time; time.sleep(600)")


async def test_what_is_written_first_and_then_comes_back_whole(tmp_path: Path) -> None:
    first, then = os.urandom(300_000), os.urandom(1_000_000)
    child = PipedChild(ECHO, tmp_path, first)
    assert await child.communicate(then) == (first + then, b"")
    await child.wait()
    assert child.returncode == 0


async def test_one_that_is_killed_in_the_middle_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        child = PipedChild(
            WAIT, tmp_path, b"x" * 300_000
        )  # more than a pipe holds: it is being fed when it ends
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(child.communicate(b""), 0.05)
        child.kill()
        await child.wait()
        assert child.returncode == -9
    assert len(os.listdir("/proc/self/fd")) == before


async def test_one_that_ends_without_reading_says_so(tmp_path: Path) -> None:
    child = PipedChild((sys.executable, "-c", "raise SystemExit(3)"), tmp_path, b"x" * 300_000)
    assert await child.communicate(b"more") == (b"", b"")
    await child.wait()
    assert child.returncode == 3


class Held(threading.local):
    """What a thread has, and what takes a lock when it goes: as a connection to a database does."""

    def __init__(self, lock: threading.Lock) -> None:
        self.at_end = _TakesLock(lock)


class _TakesLock:
    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._pid = os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self._pid:
            self._lock.acquire()  # in a forked child, for ever: who has it is not there


def test_what_threads_hold_is_not_torn_down_on_the_way_to_the_program(tmp_path: Path) -> None:
    """On the loop that control has."""
    lock = threading.Lock()
    held = Held(lock)
    ready, done = threading.Event(), threading.Event()

    def other() -> None:
        assert held.at_end
        with lock:
            ready.set()
            done.wait(60)

    async def start() -> int | None:
        async with asyncio.timeout(30):
            child = PipedChild(ECHO, tmp_path, b"")
            await child.communicate(b"")
            await child.wait()
        return child.returncode

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert runner.run(start()) == 0
    finally:
        done.set()
        thread.join()
