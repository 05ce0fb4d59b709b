"""A child is started whatever other threads are in the middle of, and nothing of ours runs in it."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from pathlib import Path

import pytest
import uvloop

from runtime.compile_job import MESSAGE_SIZE
from runtime.piped_child import ChildEnded, MessageTooLarge, PipedChild


def message(data: bytes) -> bytes:
    return MESSAGE_SIZE.pack(len(data)) + data


#: Answers a message with it, twice.
ECHO = (
    sys.executable,
    "-c",
    """
import struct, sys
read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
while head := read(8):
    data = read(*struct.unpack("<Q", head))
    write(struct.pack("<Q", 2 * len(data)) + data + data)
    sys.stdout.flush()
""",
)
WAIT = (sys.executable, "-c", "import time; time.sleep(600)")


async def test_messages_come_back_whole_one_after_the_other(tmp_path: Path) -> None:
    first, then = os.urandom(300_000), os.urandom(1_000_000)
    child = PipedChild(ECHO, tmp_path, message(first))
    assert await child.receive(600_000) == first * 2
    assert await child.exchange(message(then), 2_000_000, bytes) == then * 2
    assert await child.exchange(message(b""), 0, bytes) == b""
    child.kill()
    await child.wait()


async def test_message_beyond_what_is_taken_is_not_read(tmp_path: Path) -> None:
    """Whoever took a compile child over could fill control's memory with one."""
    endless = """
import struct, sys
sys.stdout.buffer.write(struct.pack("<Q", 1 << 62))
while True:
    sys.stdout.buffer.write(bytes(65536))
"""
    for argv, sent in ((ECHO, message(b"x")), ((sys.executable, "-c", endless), b"")):
        child = PipedChild(argv, tmp_path, sent)
        with pytest.raises(MessageTooLarge):
            await child.receive(1)
        child.kill()
        await child.wait()


async def test_one_that_is_killed_in_the_middle_leaves_no_descriptor(tmp_path: Path) -> None:
    gc.collect()  # so that nothing that others left is closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        child = PipedChild(
            WAIT, tmp_path, b"x" * 300_000
        )  # more than a pipe holds: it is being fed when it ends
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(child.receive(1), 0.05)
        child.kill()
        await child.wait()
        assert child.returncode == -9
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("code", "status", "errors"),
    [
        ("raise SystemExit(3)", 3, b""),
        (
            "import sys; sys.stderr.write('x' * 60_000); sys.stdout.write('half'); sys.exit(4)",
            4,
            b"x" * 60_000,
        ),
        ("import os; os.close(1); os.kill(os.getpid(), 9)", -9, b""),
    ],
)
async def test_one_that_ends_without_an_answer_says_how(
    tmp_path: Path, code: str, status: int, errors: bytes
) -> None:
    child = PipedChild((sys.executable, "-c", code), tmp_path, b"x" * 300_000)
    with pytest.raises(ChildEnded) as caught:
        await child.exchange(b"more", 100, bytes)
    assert (caught.value.code, caught.value.errors) == (status, errors)
    await child.wait()
    assert child.returncode == status


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
        async with asyncio.timeout(60):
            child = PipedChild(ECHO, tmp_path, message(b"x"))
            assert await child.receive(2) == b"xx"
            child.kill()
            await child.wait()
        return child.returncode

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert runner.run(start()) == -9
    finally:
        done.set()
        thread.join()
