"""A program in a process of its own, with pipes to it and from it.

It is started by `subprocess.Popen`, which does nothing between fork and exec that another thread's lock could stop. The
loop's own way (uvloop) is no good in a process with threads: it runs Python in the forked child, which clears away
there what threads hold, open databases among it, and waits for ever where a thread had a lock just then. The parent
waits along, for the exec.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

#: Each child that is spoken to has one; more than that are never spoken to at once (runtime.compile_queue).
_THREADS: Final = 16
_threads: Final = ThreadPoolExecutor(_THREADS, "compile-pipes")


class PipedChild:
    """Started by making it; `communicate` with it once, or `kill` it; then `wait`."""

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
        self._fed = _threads.submit(self._feed, first)
        self._exchanged: Future[tuple[bytes, bytes]] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    async def communicate(self, data: bytes) -> tuple[bytes, bytes]:
        """Write `data`, close, and read to the end: what it wrote and what it said went wrong.

        Who is cancelled has to kill it, which ends the thread that does this.
        """
        self._exchanged = _threads.submit(self._exchange, data)
        return await asyncio.wrap_future(self._exchanged)

    def kill(self) -> None:
        self._process.kill()

    async def wait(self) -> None:
        """Of one that was killed, or has closed its pipes. Its own ends of the pipes are closed, too."""
        await asyncio.get_running_loop().run_in_executor(_threads, self._reap)

    def _feed(self, first: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self._process.stdin.write(first)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: its exit code says more

    def _exchange(self, data: bytes) -> tuple[bytes, bytes]:
        self._fed.result()
        return self._process.communicate(data)

    def _reap(self) -> None:
        self._process.wait()
        # With it its ends of the pipes are closed, so these come to an end; only then are ours.
        wait([self._fed])
        if self._exchanged is not None:
            wait([self._exchanged])
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass  # what was not read any more
