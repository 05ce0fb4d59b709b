"""In the compile child: the modules of a bundle → bytecode → a loaded instance → its delta.

Each step has a fresh instance of the JavaScript engine, so that nothing of the parser stays in the delta. Bytecode is
made and read inside the sandbox alone. The top level is tenant code: it has limits on CPU time and memory, and no host
operation is answered.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, NoReturn

import msgpack

from runtime.abi.core_module.host_calls import GuestIo
from runtime.abi.core_module.wasi import GuestExit
from runtime.capi.engine_store import Engine, Module
from runtime.capi.failures import CapiError, GuestTrap, TrapCode
from runtime.capi.guest import AbiViolation, Guest
from runtime.capi.guest_pages import PageMap
from runtime.javascript.bundle import Bundle
from runtime.javascript.delta import DeltaTooLarge, Written, difference
from runtime.javascript.warming import cold_notice, warm_up_event, why_unanswered
from runtime.linking import make_linker
from runtime.module_problems import ScriptError

#: Parsing 10 MB takes a second or two.
COMPILE_CPU_MS: Final = 10_000
#: Of the top level, as elsewhere.
LOAD_CPU_MS: Final = 1_000
#: What it may log meanwhile: whoever deploys is told.
_LINES, _LINE_BYTES = 100, 16 * 1024
#: A fresh engine alone.
_ENGINE_MEMORY_BYTES: Final = 128 << 20
#: A bundle's bytecode comes out of the sandbox in one piece.
_ANSWER_BYTES: Final = 64 << 20
_TEXT: Final = 2_000
#: Of exported classes: how many, and how long a name is.
_MOST_NAMES, _NAME = 1_000, 512

#: Levels of lines: of one that is ours, and of the highest that its readers know.
_WARNING: Final = 3
_ERROR: Final = 4

_HANDLERS: Final = frozenset({"fetch", "queue", "scheduled", "tail"})


class LoadFailed(Exception):
    """The bundle can't be a worker: `error` is for the tenant."""

    def __init__(self, error: ScriptError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Loaded:
    delta: bytes
    handlers: frozenset[str]
    #: Exported classes by name.
    entrypoints: tuple[str, ...]
    #: CPU time of the top level.
    startup_us: int
    #: (level, text) of what the top level logged; the last says how many more there were.
    lines: tuple[tuple[int, str], ...]


class JavaScript:
    """The engine's module with its first memory. `image` was made by `engine`, and is trusted. With `pages` only those
    of a memory are looked at that were written to.
    """

    def __init__(self, engine: Engine, image: bytes, pages: PageMap | None = None) -> None:
        """Raises CapiError for an image of another engine, AbiViolation for a module that is no JavaScript engine."""
        self._engine = engine
        self._pages = pages
        self._module: Module = engine.image_from_bytes(image)
        self._pre = make_linker(engine).instantiate_pre(self._module)
        fresh = self._instance(_ENGINE_MEMORY_BYTES, 1_000, GuestIo(0, 0))
        try:
            fresh.find_exports("js_load", needs_alloc=True)
            self._base = fresh.read(0, fresh.memory_size())
        finally:
            fresh.close()

    def load(self, bundle: Bundle, seed: bytes, memory_bytes: int) -> Loaded:
        """Raises LoadFailed."""
        modules = [[module.name, module.type.value, module.data] for module in bundle.code]
        wanted = {"flags": list(bundle.flags), "main": bundle.main, "modules": modules}
        compiled = _Step("compiling", "js_compile", memory_bytes, COMPILE_CPU_MS)
        code = self._run(compiled, wanted).told.get("code")
        if not isinstance(code, bytes):
            _fail("the JavaScript engine gave no bytecode")
        loading = _Step("the top level", "js_load", memory_bytes, LOAD_CPU_MS)
        told, memory, warmed, startup_ns, lines = self._run(
            loading, {"seed": seed, "code": code}, with_memory=True, warm_up=bundle.warm_up
        )
        handlers = frozenset(_names(told.get("handlers"))) & _HANDLERS
        entrypoints = tuple(sorted(_names(told.get("entrypoints"))))
        if not handlers and not entrypoints:
            _fail(
                "the worker has no handler: `export default { async fetch(request, env, ctx) { … } }` is right, or"
                " `queue`, `scheduled` or `tail`"
            )
        delta, why = self._delta(memory, warmed)
        if why:
            lines = (*lines, (_WARNING, cold_notice(bundle.warm_up, why)))
        return Loaded(delta, handlers, entrypoints, startup_ns // 1000, lines)

    def _delta(self, memory: _Memory, warmed: _Warmed | None) -> tuple[bytes, str]:
        """And why it is not of the warmed memory, where there should be one."""
        why = "" if warmed is None else warmed.why
        try:
            if warmed is not None and not why:
                try:
                    return difference(self._base, *warmed.memory), ""
                except DeltaTooLarge as error:
                    why = str(error)
            return difference(self._base, *memory), why
        except DeltaTooLarge as error:
            _fail(str(error))

    def _instance(self, memory_bytes: int, cpu_ms: int, io: GuestIo) -> Guest:
        guest = Guest(self._engine, memory_bytes, cpu_ms * 1_000_000, io)
        try:
            guest.begin_instantiate(self._pre)
            while not guest.poll():
                pass
            guest.finish()
        except BaseException:
            guest.close()
            raise
        return guest

    def _run(self, step: _Step, argument: object, *, with_memory: bool = False, warm_up: str = "") -> _Ran:
        """Call one export in an instance of its own; then, with `warm_up`, have that answer a request."""
        io = GuestIo(_LINES, _LINE_BYTES)
        guest = self._instance(step.memory_bytes, step.cpu_ms, io)
        try:
            ran = self._run_in(guest, step, argument, with_memory)
            if not warm_up:
                return ran
            warmed = self._warm(guest, step, warm_up)
            return ran._replace(warmed=warmed, lines=_lines(io))
        except LoadFailed as failed:
            raise LoadFailed(replace(failed.error, lines=_lines(io))) from failed
        finally:
            guest.close()

    def _run_in(self, guest: Guest, step: _Step, argument: object, with_memory: bool) -> _Ran:
        try:
            guest.find_exports(step.export, needs_alloc=True)
            data: bytes = msgpack.packb(argument)
            started = time.thread_time_ns()
            told = _ask(guest, step, data)
            spent = time.thread_time_ns() - started
            memory = self._memory(guest) if with_memory else _NO_MEMORY
            return _Ran(told, memory, None, spent, _lines(guest.data))
        except (GuestTrap, AbiViolation, GuestExit, CapiError) as failure:
            _fail(_why(step, guest, failure))

    def _memory(self, guest: Guest) -> _Memory:
        return _Memory(guest.memory_size(), guest.written(self._pages))

    def _warm(self, guest: Guest, step: _Step, path: str) -> _Warmed:
        """In a loaded instance, within what is left of its CPU time. It never fails: cold, a worker is only slower."""
        step = replace(step, name="the warm-up request", export="js_warm")
        try:
            guest.find_exports(step.export, needs_alloc=True)
            told = _ask(guest, step, msgpack.packb(warm_up_event(path)))
            if told.get("answered") is True:
                return _Warmed(self._memory(guest), "")
            return _Warmed(_NO_MEMORY, why_unanswered(told))
        except LoadFailed as failed:
            return _Warmed(_NO_MEMORY, str(failed.error))
        except (GuestTrap, AbiViolation, GuestExit, CapiError) as failure:
            return _Warmed(_NO_MEMORY, _why(step, guest, failure))


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    export: str
    memory_bytes: int
    cpu_ms: int


class _Memory(NamedTuple):
    """Its size, and what differs from a fresh instance's, with some that does not."""

    size: int
    written: list[Written]


_NO_MEMORY: Final = _Memory(0, [])


class _Warmed(NamedTuple):
    """The memory after a request that was answered; else why it was not."""

    memory: _Memory
    why: str


class _Ran(NamedTuple):
    """What an export answered, the memory afterwards where that was wanted, what became of a warm-up request, ns of CPU
    time, and what was logged.
    """

    told: dict[str, Any]
    memory: _Memory
    warmed: _Warmed | None
    spent_ns: int
    lines: tuple[tuple[int, str], ...]


def _ask(guest: Guest, step: _Step, data: bytes) -> dict[str, Any]:
    """What the export says to `data`."""
    _call(guest, "alloc", len(data))
    pointer = guest.result_i32()
    if pointer == 0:
        _fail(f"{step.name} needs more memory than the {step.memory_bytes >> 20} MiB that a worker has")
    guest.write(pointer, data)
    _call(guest, "handler", pointer, len(data))
    result = guest.result_i64()
    return _answer(guest, result >> 32, result & 0xFFFF_FFFF)


def _call(guest: Guest, what: str, *arguments: int) -> None:
    guest.begin_call(what, *arguments)
    while not guest.poll():
        if guest.wanted is not None:
            # The engine refuses it with an error that names the line; this is the wall behind that.
            _fail("the top level called the host; it may only set up what handlers use")
    guest.finish()


def _answer(guest: Guest, pointer: int, size: int) -> dict[str, Any]:
    """What is in `{ok: …}`. Raises LoadFailed for `{error: …}`."""
    if size > _ANSWER_BYTES:
        _fail(f"the JavaScript engine answered {size} bytes")
    try:
        told = msgpack.unpackb(guest.read(pointer, size), max_bin_len=_ANSWER_BYTES)
    except AbiViolation:
        raise
    except Exception:
        _fail("the JavaScript engine gave no answer")
    if isinstance(told, dict) and isinstance(told.get("ok"), dict):
        return dict(told["ok"])
    error = told.get("error") if isinstance(told, dict) else None
    raise LoadFailed(read_error(error))


def _lines(io: object) -> tuple[tuple[int, str], ...]:
    if not isinstance(io, GuestIo):
        return ()
    lines = [(min(level, _ERROR), text.decode("utf-8", "replace")) for level, text in io.lines]
    if io.dropped:
        lines.append((_WARNING, f"{io.dropped} more lines were dropped"))
    return tuple(lines)


def read_error(error: object) -> ScriptError:
    """What came out of a sandbox, made harmless."""
    if not isinstance(error, dict):
        return ScriptError("Error", "the JavaScript engine gave no answer")
    kind, message, file, stack = (
        str(error.get(key) or "")[:_TEXT] for key in ("kind", "message", "file", "stack")
    )
    line, column = (_number(error.get(key)) for key in ("line", "column"))
    return ScriptError(kind or "Error", message, file, line, column, stack)


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else 0


def _names(value: object) -> list[str]:
    """Longer ones nobody can refer to, and they are kept beside the delta, whose size alone is bounded."""
    found = value if isinstance(value, list) else []
    return [name for name in found if isinstance(name, str) and len(name) <= _NAME][:_MOST_NAMES]


def _why(step: _Step, guest: Guest, failure: Exception) -> str:
    if guest.stopped == "cpu":
        return f"{step.name} used more than {step.cpu_ms} ms of CPU time"
    if isinstance(failure, GuestTrap) and failure.code == TrapCode.STACK_OVERFLOW:
        return f"{step.name} exhausted the call stack: nested or recursive too deep"
    cause = str(failure).rsplit("Caused by:", 1)[-1].strip().splitlines()
    return f"{step.name} failed: {(cause or ['trap'])[-1].strip()[:500]}"


def _fail(message: str) -> NoReturn:
    raise LoadFailed(ScriptError("Error", message))
