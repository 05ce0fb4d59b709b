"""Compile an upload in a child process of its own, within limits.

How many at once, and in which order, is for `runtime.compile_queue` to say.

Source of the limits: a module of 200,000 functions takes 14 s, a 12 MB engine 10 s and 300 MiB.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgpack

from runtime.javascript.delta import MalformedDelta, parse
from runtime.module_problems import ScriptError
from runtime.piped_child import PipedChild

COMPILE_CPU_S: Final = 60
COMPILE_WALL_S: Final = 120
COMPILE_MEMORY_BYTES: Final = 2 << 30
#: A module's initial memory, as data segments lay it out.
MAX_MEMORY_IMAGE_BYTES: Final = 128 << 20
#: Of the start function, as elsewhere: a worker must be ready within a second.
STARTUP_CPU_MS: Final = 1_000


#: Before each message to a child.
MESSAGE_SIZE: Final = struct.Struct("<Q")
#: Kinds of jobs.
MODULE: Final = "module"
JAVASCRIPT: Final = "javascript"

#: What whoever deploys is told of what a top level logged: lines, and characters of one.
_MOST_LINES, _LINE = 101, 16 * 1024

#: `-m` looks there for a child's code, wherever the server was started.
_ROOT: Final = Path(__file__).parents[1]
_UNCONFINED: Final = (sys.executable, "-m", "runtime.compile_child")


class CompileRefused(Exception):
    """The module does not compile or start, or takes more than a limit. The text is for the uploader."""


class ScriptRefused(CompileRefused):
    """JavaScript that does not parse, or whose top level fails."""

    def __init__(self, error: ScriptError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Compiled:
    image: bytes
    startup_us: int


@dataclass(frozen=True, slots=True)
class LoadedScript:
    """`delta` is as runtime.javascript.delta has it, and was checked; `entrypoints` are exported classes."""

    delta: bytes
    handlers: frozenset[str]
    entrypoints: tuple[str, ...]
    startup_us: int
    #: (level, text) of what the top level logged.
    lines: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Child:
    process: PipedChild
    #: It has the JavaScript engine.
    javascript: bool


class Compiler:
    """A child for each call. After `keep_spare` one is always started in advance: what takes it as long as all the
    rest is imports, the engine and its image, and those are the same for every upload. It serves one as any other
    does, and dies.
    """

    def __init__(self, wall_s: float = COMPILE_WALL_S, argv: Sequence[str] = _UNCONFINED) -> None:
        """`argv` starts a child that runs `runtime.compile_child.main`; this one alone has limits only."""
        self._argv = argv
        self._wall_s = wall_s
        self._javascript = b""
        self._keeps_spare = False
        self._spare: asyncio.Task[_Child] | None = None
        self._running = 0

    def use_javascript(self, image: bytes) -> None:
        """The image of the JavaScript engine, by this host's engine: children from now on have it."""
        self._javascript = image

    def keep_spare(self) -> None:
        """From now on, until `close`. On a running loop."""
        self._keeps_spare = True
        self._start_spare()

    async def close(self) -> None:
        self._keeps_spare = False
        spare, self._spare = self._spare, None
        if spare is not None:
            with suppress(OSError):  # it could not be started
                await _end(await spare)

    async def compile(self, wasm: bytes, memory_bytes: int) -> Compiled:
        """Raises CompileRefused naming the limit or the validator's reason."""
        answer = await self._in_child(MODULE, wasm, memory_bytes)
        image, startup_us = answer.get("image"), answer.get("startup_us")
        if not isinstance(image, bytes) or not isinstance(startup_us, int):
            raise CompileRefused(str(answer.get("error", "the compiler gave no answer")))
        return Compiled(image, startup_us)

    async def load(self, bundle: bytes, memory_bytes: int) -> LoadedScript:
        """Of an encoded bundle. Raises CompileRefused; ScriptRefused, where it is JavaScript's own error."""
        answer = await self._in_child(JAVASCRIPT, bundle, memory_bytes)
        script = answer.get("script")
        if isinstance(script, dict):
            raise ScriptRefused(ScriptError(**script | {"lines": _lines(script.get("lines"))}))
        delta, startup_us = answer.get("delta"), answer.get("startup_us")
        handlers, entrypoints = answer.get("handlers"), answer.get("entrypoints")
        if not isinstance(delta, bytes) or not isinstance(startup_us, int):
            raise CompileRefused(str(answer.get("error", "the compiler gave no answer")))
        if not isinstance(handlers, list) or not isinstance(entrypoints, list):
            raise CompileRefused("the compiler gave no answer")
        try:
            await asyncio.to_thread(parse, delta)
        except MalformedDelta as error:
            raise CompileRefused(f"the compiler gave no answer: {error}") from error
        return LoadedScript(
            delta,
            frozenset(map(str, handlers)),
            tuple(map(str, entrypoints)),
            startup_us,
            _lines(answer.get("lines")),
        )

    async def _in_child(self, kind: str, data: bytes, memory_bytes: int) -> dict[str, object]:
        job: bytes = msgpack.packb([kind, data, memory_bytes])
        self._running += 1
        try:
            out = await self._run(job, needs_javascript=kind == JAVASCRIPT)
        finally:
            self._running -= 1
            if self._keeps_spare and not self._running:
                self._start_spare()
        answer = msgpack.unpackb(out, max_bin_len=1 << 30)
        if not isinstance(answer, dict):
            raise CompileRefused("the compiler gave no answer")
        return answer

    async def _run(self, job: bytes, *, needs_javascript: bool) -> bytes:
        child = await self._take(needs_javascript)
        process = child.process
        try:
            out, errors = await asyncio.wait_for(process.communicate(_message(job)), self._wall_s)
        except TimeoutError:
            raise CompileRefused(f"compiling took longer than {self._wall_s:g} s") from None
        finally:
            await _end(child)
        if process.returncode != 0:
            raise CompileRefused(_why_it_died(process.returncode or 0, errors))
        return out

    async def _take(self, needs_javascript: bool) -> _Child:
        """The spare, where it lives and has what is needed; otherwise a fresh one."""
        spare, self._spare = self._spare, None
        if spare is not None:
            try:
                child = await asyncio.shield(spare)
            except asyncio.CancelledError:
                self._spare = self._spare or spare  # the next upload's
                raise
            except OSError:
                return await self._start()  # no process could be started then: that may be long ago
            if child.process.returncode is None and (child.javascript or not needs_javascript):
                return child
            await _end(child)
        return await self._start()

    def _start_spare(self) -> None:
        if self._spare is None:
            self._spare = asyncio.get_running_loop().create_task(self._start())

    async def _start(self) -> _Child:
        # The JavaScript engine's image goes ahead: a spare has read it when its job comes.
        return _Child(PipedChild(self._argv, _ROOT, _message(self._javascript)), bool(self._javascript))


def _lines(told: object) -> tuple[tuple[int, str], ...]:
    """A child that was taken over may say anything."""
    if not isinstance(told, list):
        return ()
    pairs = [line for line in told[:_MOST_LINES] if isinstance(line, list) and len(line) == 2]
    return tuple(
        (level, text[:_LINE])
        for level, text in pairs
        if isinstance(level, int) and 0 <= level <= 4 and isinstance(text, str)
    )


def _message(data: bytes) -> bytes:
    return MESSAGE_SIZE.pack(len(data)) + data


async def _end(child: _Child) -> None:
    """Kill it, if it lives, and reap it."""
    child.process.kill()
    await child.process.wait()


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
