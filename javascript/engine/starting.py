"""Run the engine while it is built: the prelude is compiled in one instance, and evaluated in another, whose memory
is the engine's from then on.

Nothing of this machine gets in: the clock stands at 1970 (glue/clock.c), and there is no randomness.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from javascript.engine.placing import read_blocks, table
from javascript.engine.snapshot import snapshot
from javascript.engine.training import written_by_workers
from runtime.abi.core_module.host_calls import GuestIo
from runtime.capi.engine_store import Engine, EngineSettings
from runtime.capi.guest import Guest
from runtime.capi.linker import InstancePre
from runtime.linking import make_linker

_MEMORY_BYTES: Final = 64 << 20
_CPU_NS: Final = 60_000_000_000
#: glue/build.c: what begins so is a message.
_FAILURE: Final = b"!"


class PreludeFailed(Exception):
    """The prelude does not compile, or threw: its message and stack."""


def start_engine_image(raw: bytes, prelude: str, exports: Collection[str]) -> bytes:
    """The memory of an instance of `raw` after `prelude` was evaluated in it. Raises PreludeFailed.

    It is evaluated twice: what workers write to in the engine that comes out first decides where blocks lie in the
    second.
    """
    engine = Engine(EngineSettings(slots=2, accelerator="off"))
    with _ready(engine, raw) as pre:
        with _instance(engine, pre) as guest:
            bytecode = _call(guest, "build_compile", prelude.encode())
        memory, blocks = _started(engine, pre, bytecode, None)
        with _ready(engine, snapshot(raw, memory, exports)) as first:
            written = written_by_workers(lambda: _instance(engine, first, is_finished=True), _call)
        return _started(engine, pre, bytecode, table(read_blocks(blocks), written))[0]


@contextmanager
def _ready(engine: Engine, wasm: bytes) -> Iterator[InstancePre]:
    module = engine.compile(wasm)
    pre = make_linker(engine).instantiate_pre(module)
    try:
        yield pre
    finally:
        pre.close()
        module.close()


def _started(engine: Engine, pre: InstancePre, bytecode: bytes, places: bytes | None) -> tuple[bytes, bytes]:
    """The memory, and the blocks that it was cut into, unless they got places."""
    with _instance(engine, pre) as guest:
        if places is not None:
            _raw_call(guest, "build_place", places)
        before = _stack_pointer(guest)
        _call(guest, "build_start", bytecode)
        if _stack_pointer(guest) != before:
            raise PreludeFailed("the shadow stack does not end where it began")
        memory = guest.read(0, guest.memory_size())
        return memory, _call(guest, "build_blocks", b"") if places is None else b""


@contextmanager
def _instance(engine: Engine, pre: InstancePre, *, is_finished: bool = False) -> Iterator[Guest]:
    guest = Guest(engine, _MEMORY_BYTES, _CPU_NS, GuestIo(1_000, 1 << 20))
    try:
        guest.begin_instantiate(pre)
        _finish(guest)
        if not is_finished:
            guest.find_exports("_initialize", needs_alloc=False)
            guest.begin_call("start")
            _finish(guest)
        yield guest
    finally:
        guest.close()


def _finish(guest: Guest) -> None:
    while not guest.poll():
        if guest.wanted is not None:
            raise PreludeFailed("the prelude asks for something of the host while it is evaluated")
    guest.finish()


def _raw_call(guest: Guest, export: str, argument: bytes) -> int:
    guest.find_exports(export, needs_alloc=True)
    guest.begin_call("alloc", len(argument))
    _finish(guest)
    pointer = guest.result_i32()
    guest.write(pointer, argument)
    guest.begin_call("handler", pointer, len(argument))
    _finish(guest)
    return guest.result_i64()


def _call(guest: Guest, export: str, argument: bytes) -> bytes:
    result = _raw_call(guest, export, argument)
    answer = guest.read(result >> 32, result & 0xFFFF_FFFF)
    if answer.startswith(_FAILURE):
        raise PreludeFailed(answer[1:].decode("utf-8", "replace"))
    return answer


def _stack_pointer(guest: Guest) -> int:
    return _raw_call(guest, "build_stack_pointer", b"")
