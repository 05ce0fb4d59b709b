"""Compile an upload in a child process of its own, within limits.

How many at once, and in which order, is for `runtime.compile_queue` to say.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgpack

from model.errors import ProcessLost
from runtime.compile_answers import Compiled, CompileRefused, LoadedScript, read_compiled, read_loaded
from runtime.compile_job import (
    COMPILE_CPU_S,
    COMPILE_MEMORY_BYTES,
    COMPILE_WALL_S,
    JAVASCRIPT,
    MESSAGE_SIZE,
    MODULE,
)
from runtime.javascript.delta import MOST_BYTES as MOST_DELTA_BYTES
from runtime.piped_child import ChildEnded, MessageTooLarge, PipedChild

_log = logging.getLogger("tenantry.control")

T = TypeVar("T")

#: A child has imported all and made its engine by then, ten times over.
READY_S: Final = 30.0

_SPARE_AFTER_S: Final = 0.1
_NICE: Final = 10

#: What stands beside an image or a delta in an answer: names, an error's text, lines.
_TOLD_BYTES: Final = 4 << 20
#: An image is some five times its module, of at most 64 MiB; what takes more was refused for its memory.
_ANSWER_BYTES: Final = {
    MODULE: (512 << 20) + _TOLD_BYTES,
    JAVASCRIPT: MOST_DELTA_BYTES + _TOLD_BYTES,
}

#: `-m` looks there for a child's code, wherever the server was started.
_ROOT: Final = Path(__file__).parents[1]
_UNCONFINED: Final = (sys.executable, "-m", "runtime.compile_child")


def _be_nice() -> None:
    """This thread, and what it starts: requests come before uploads, also while a child imports all that it needs."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


#: Where children are started: the parent waits for the exec, some ms. It lives as long as the process, as a child that
#: ends with its parent ends with the thread that started it.
_starter: Final = ThreadPoolExecutor(1, "compile-start", _be_nice)


@dataclass(frozen=True, slots=True)
class _Child:
    process: PipedChild
    #: It has the JavaScript engine.
    javascript: bool


def _nothing(_: LoadedScript) -> None:
    pass


class Compiler:
    """A child for each call. After `keep_spare` one is always started in advance: what takes it as long as all the
    rest is imports, the engine and its image, and those are the same for every upload. It serves one as any other
    does, and dies.
    """

    def __init__(
        self,
        wall_s: float = COMPILE_WALL_S,
        argv: Sequence[str] = _UNCONFINED,
        ready_s: float = READY_S,
    ) -> None:
        """`argv` starts a child that runs `runtime.compile_child.main`; this one alone has limits only."""
        self._argv = argv
        self._wall_s = wall_s
        self._ready_s = ready_s
        self._javascript = b""
        self._keeps_spare = False
        self._spare: asyncio.Task[_Child] | None = None
        self._starting_soon: asyncio.TimerHandle | None = None
        self._running = 0
        #: Of children that have done their work, or failed.
        self._ending: set[asyncio.Task[None]] = set()

    def use_javascript(self, image: bytes) -> None:
        """The image of the JavaScript engine, by this host's engine: children from now on have it."""
        self._javascript = image

    def keep_spare(self) -> None:
        """From now on, until `close`. On a running loop."""
        self._keeps_spare = True
        self._start_spare()

    async def close(self) -> None:
        self._keeps_spare = False
        if self._starting_soon is not None:
            self._starting_soon.cancel()
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.cancel()
            await self._end_spare(spare)
        while self._ending:
            await asyncio.wait(self._ending)

    async def compile(self, wasm: bytes, memory_bytes: int) -> Compiled:
        """Raises CompileRefused naming the limit or the validator's reason."""
        return await self._in_child(MODULE, wasm, memory_bytes, read_compiled)

    async def load(
        self, bundle: bytes, memory_bytes: int, keep: Callable[[LoadedScript], object] = _nothing
    ) -> LoadedScript:
        """Of an encoded bundle. Raises CompileRefused; ScriptRefused, where it is JavaScript's own error; what `keep`
        raises.

        `keep` is called with it first, in the thread that heard it: a way to the loop and to another thread takes as
        long as what is done there with a small one.
        """

        def read(out: bytes) -> LoadedScript:
            loaded = read_loaded(out)
            keep(loaded)
            return loaded

        return await self._in_child(JAVASCRIPT, bundle, memory_bytes, read)

    async def _in_child(self, kind: str, data: bytes, memory_bytes: int, read: Callable[[bytes], T]) -> T:
        job: bytes = msgpack.packb([kind, data, memory_bytes])
        self._running += 1
        try:
            return await self._run(kind, job, read)
        finally:
            self._running -= 1
            if self._keeps_spare and not self._running:
                self._start_spare_soon()

    async def _run(self, kind: str, job: bytes, read: Callable[[bytes], T]) -> T:
        child = await self._take(needs_javascript=kind == JAVASCRIPT)
        try:
            exchanged = child.process.exchange(_message(job), _ANSWER_BYTES[kind], read)
            return await asyncio.wait_for(exchanged, self._wall_s)
        except TimeoutError:
            raise CompileRefused(f"compiling took longer than {self._wall_s:g} s") from None
        except ChildEnded as ended:
            raise CompileRefused(_why_it_died(ended.code, ended.errors)) from ended
        except MessageTooLarge as error:
            _log.warning("a compile child answered with %s", error)
            raise CompileRefused("what the module compiles to is larger than is kept") from error
        finally:
            ending = self._end(child.process)
            if not self._keeps_spare:
                await asyncio.wait([ending])  # nobody is going to `close`

    async def _take(self, *, needs_javascript: bool) -> _Child:
        """The spare, where it lives and has what is needed; otherwise a fresh one."""
        spare, self._spare = self._spare, None
        if spare is not None:
            try:
                child = await asyncio.shield(spare)
            except asyncio.CancelledError:
                kept = self._spare = self._spare or spare  # the next upload's
                if kept is not spare:
                    self._remember(asyncio.get_running_loop().create_task(self._end_spare(spare)))
                raise
            except (OSError, ProcessLost):
                return await self._start()  # none could be started then: that may be long ago
            if child.process.returncode is None and (child.javascript or not needs_javascript):
                return child
            self._end(child.process)
        return await self._start()

    def _start_spare_soon(self) -> None:
        """A start takes a processor for 0.3 s, and what follows a compile, to the first answer, 20 ms."""
        if self._starting_soon is not None:
            self._starting_soon.cancel()
        self._starting_soon = asyncio.get_running_loop().call_later(_SPARE_AFTER_S, self._start_spare)

    def _start_spare(self) -> None:
        if self._spare is None:
            self._spare = asyncio.get_running_loop().create_task(self._start())

    async def _start(self) -> _Child:
        """One that waits for its job. Raises OSError, ProcessLost."""
        # The JavaScript engine's image goes ahead: a spare has read it when its job comes.
        process = await self._start_process(_message(self._javascript))
        child = _Child(process, bool(self._javascript))
        try:
            await asyncio.wait_for(process.receive(0), self._ready_s)
        except (TimeoutError, ChildEnded, MessageTooLarge) as error:
            await asyncio.wait([self._end(process)])
            why = (
                _last_line(error.errors)
                if isinstance(error, ChildEnded)
                else f"not within {self._ready_s:g} s"
            )
            _log.error("a compile child did not become ready: %s", why)
            raise ProcessLost("the compiler could not be started; try again", detail=why) from error
        except BaseException:
            await asyncio.wait([self._end(process)])
            raise
        return child

    async def _start_process(self, first: bytes) -> PipedChild:
        starting = asyncio.get_running_loop().run_in_executor(_starter, PipedChild, self._argv, _ROOT, first)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._remember(asyncio.get_running_loop().create_task(self._end_when_started(starting)))
            raise

    async def _end_when_started(self, starting: asyncio.Future[PipedChild]) -> None:
        with suppress(OSError):  # then there is nothing to end
            process = await starting
            process.kill()
            await process.wait()

    async def _end_spare(self, spare: asyncio.Task[_Child]) -> None:
        # It could not be started, or is not yet.
        with suppress(asyncio.CancelledError, OSError, ProcessLost):
            self._end((await spare).process)

    def _end(self, process: PipedChild) -> asyncio.Task[None]:
        """Kill it, if it lives, and have it reaped. An answer doesn't wait for that: its memory takes a while to go."""
        process.kill()
        return self._remember(asyncio.get_running_loop().create_task(process.wait()))

    def _remember(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """`close` waits for it."""
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task


def _message(data: bytes) -> bytes:
    return MESSAGE_SIZE.pack(len(data)) + data


def _last_line(errors: bytes) -> str:
    return (errors.decode("utf-8", "replace").strip().splitlines() or [""])[-1][:300]


def _why_it_died(code: int, errors: bytes) -> str:
    text = errors.decode("utf-8", "replace")
    if code == -signal.SIGXCPU:
        return f"compiling used more than {COMPILE_CPU_S} s of CPU time"
    if code == -signal.SIGKILL:
        return (
            "the compiler was killed before it was done: the host had no memory left for it, or somebody ended it;"
            " try again"
        )
    if "memory allocation" in text or "MemoryError" in text or "Cannot allocate memory" in text:
        return f"compiling needed more than {COMPILE_MEMORY_BYTES >> 30} GiB of memory"
    return f"the compiler failed on this module: {_last_line(errors) or f'it ended with {code}'}"
