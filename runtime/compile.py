"""Compile an upload in a child process of its own, within limits.

How many at once, and in which order, is for `runtime.compile_queue` to say.

Source of the limits: a module of 200,000 functions takes 14 s, a 12 MB engine 10 s and 300 MiB.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgpack

COMPILE_CPU_S: Final = 60
COMPILE_WALL_S: Final = 120
COMPILE_MEMORY_BYTES: Final = 2 << 30
#: A module's initial memory, as data segments lay it out.
MAX_MEMORY_IMAGE_BYTES: Final = 128 << 20
#: Of the start function, as elsewhere: a worker must be ready within a second.
STARTUP_CPU_MS: Final = 1_000


_ROOT: Final = Path(__file__).parents[1]
_UNCONFINED: Final = (sys.executable, "-m", "runtime.compile_child")


class CompileRefused(Exception):
    """The module does not compile or start, or takes more than a limit. The text is for the uploader."""


@dataclass(frozen=True, slots=True)
class Compiled:
    image: bytes
    startup_us: int


class Compiler:
    """A child for each call."""

    def __init__(self, wall_s: float = COMPILE_WALL_S, argv: Sequence[str] = _UNCONFINED) -> None:
        """`argv` starts a child that runs `runtime.compile_child.main`; this one alone has limits only."""
        self._argv = argv
        self._wall_s = wall_s

    async def compile(self, wasm: bytes, memory_bytes: int) -> Compiled:
        """Raises CompileRefused naming the limit or the validator's reason."""
        answer = await self._in_child(msgpack.packb([wasm, memory_bytes]))
        image, startup_us = answer.get("image"), answer.get("startup_us")
        if not isinstance(image, bytes) or not isinstance(startup_us, int):
            raise CompileRefused(str(answer.get("error", "the compiler gave no answer")))
        return Compiled(image, startup_us)

    async def _in_child(self, job: bytes) -> dict[str, object]:
        child = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={},  # nothing of ours is in its environment: no token, no path
            cwd=_ROOT,  # `-m` looks there for it, wherever the server was started
            close_fds=True,
        )
        try:
            out, errors = await asyncio.wait_for(child.communicate(job), self._wall_s)
        except TimeoutError:
            raise CompileRefused(f"compiling took longer than {self._wall_s:g} s") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode != 0:
            raise CompileRefused(_why_it_died(child.returncode or 0, errors))
        answer = msgpack.unpackb(out, max_bin_len=1 << 30)
        if not isinstance(answer, dict):
            raise CompileRefused("the compiler gave no answer")
        return answer


def _why_it_died(code: int, errors: bytes) -> str:
    text = errors.decode("utf-8", "replace")
    if code in (-24, -9):  # SIGXCPU, and the SIGKILL that follows it
        return f"compiling used more than {COMPILE_CPU_S} s of CPU time"
    if "memory allocation" in text or "MemoryError" in text or "Cannot allocate memory" in text:
        return f"compiling needed more than {COMPILE_MEMORY_BYTES >> 30} GiB of memory"
    return (
        "the compiler failed on this module: "
        + (text.strip().splitlines() or [f"it ended with {code}"])[-1][:300]
    )
