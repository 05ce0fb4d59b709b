"""A program in a process of its own, with pipes to it and from it.

It is started by `subprocess.Popen`, which does nothing between fork and exec that another thread's lock could stop. The
loop's own way (uvloop) is no good in a process with threads: it runs Python in the forked child, which clears away
there what threads hold, open databases among it, and waits for ever where a thread had a lock just then. The parent
waits along, for the exec.
"""

from __future__ import annotations

import asyncio
import fcntl
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from runtime.compile_job import MESSAGE_SIZE

T = TypeVar("T")

#: Each child that is spoken to has one; more than that are never spoken to at once (runtime.compile_queue).
_THREADS: Final = 16
_threads: Final = ThreadPoolExecutor(_THREADS, "compile-pipes")
#: As much as anybody may have: a delta of some MiB comes in a few pieces instead of fifty.
_PIPE_BYTES: Final = 1 << 20
#: Of what it says went wrong: the last words of a panic.
_ERROR_BYTES: Final = 64 * 1024
#: It closes its pipes as it ends; one that closed them and lives is killed.
_ENDING_S: Final = 5.0


class ChildEnded(Exception):
    """It ended, with `code`, before its message was whole. `errors`: what it wrote to stderr."""

    def __init__(self, code: int, errors: bytes) -> None:
        super().__init__(f"the child ended with {code}")
        self.code = code
        self.errors = errors


class MessageTooLarge(Exception):
    """It says that its message is larger than is taken: the program in it is not ours any more."""


class PipedChild:
    """Started by making it. Ask it for one message after the other, or `kill` it; then `wait`."""

    def __init__(self, argv: Sequence[str], cwd: Path, first: bytes) -> None:
        """`first` is written to it at once, as fast as it reads. It has no environment: no token, no path."""
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            cwd=cwd,
            close_fds=True,
        )
        process = self._process
        self._in, self._out, self._err = map(_piped, (process.stdin, process.stdout, process.stderr))
        for pipe in (self._in, self._out):
            with suppress(OSError):  # the user has too many large ones
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._last: Future[Any] = _threads.submit(self._write, first)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    async def receive(self, most_bytes: int) -> bytes:
        """Its next message. Raises ChildEnded, MessageTooLarge.

        Who is cancelled has to kill it, which ends the thread that does this.
        """
        return await self.exchange(b"", most_bytes, bytes)

    async def exchange(self, data: bytes, most_bytes: int, read: Callable[[bytes], T]) -> T:
        """Write `data`; what `read`, in a thread, makes of its next message. As `receive`; raises what `read` does."""
        exchanged = _threads.submit(self._exchange, self._last, data, most_bytes, read)
        self._last = exchanged
        return await asyncio.wrap_future(exchanged)

    def kill(self) -> None:
        self._process.kill()

    async def wait(self) -> None:
        """Of one that was killed. Our ends of its pipes are closed, too, though who waits is cancelled."""
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(_threads, self._reap))

    def _write(self, data: bytes) -> None:
        try:
            self._in.write(data)
            self._in.flush()
        except BrokenPipeError:
            pass  # it has ended: its exit code says more

    def _exchange(self, before: Future[Any], data: bytes, most_bytes: int, read: Callable[[bytes], T]) -> T:
        before.result()
        self._write(data)
        head = self._out.read(MESSAGE_SIZE.size)
        if len(head) == MESSAGE_SIZE.size:
            (size,) = MESSAGE_SIZE.unpack(head)
            if size > most_bytes:
                raise MessageTooLarge(f"a message of {size} bytes, where {most_bytes} are the most")
            message = self._out.read(size)
            if len(message) == size:
                return read(message)
        raise self._ended()

    def _ended(self) -> ChildEnded:
        try:
            code = self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return ChildEnded(code, self._err.read(_ERROR_BYTES))

    def _reap(self) -> None:
        self._process.wait()
        # With it its ends of the pipes are closed, so this comes to an end; only then are ours.
        with suppress(Exception):
            self._last.result()  # who waits for it is told
        for pipe in (self._in, self._out, self._err):
            with suppress(BrokenPipeError):  # what was not read any more
                pipe.close()


def _piped(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101 - it was asked for
    return pipe
