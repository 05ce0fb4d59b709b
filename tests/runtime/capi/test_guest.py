"""A guest's store, future and buffers have one owner and one end, and no guest can read past its memory,
reach the host by what it does, or leave anything behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from runtime.abi.core_module.host_calls import GuestIo
from runtime.capi.accelerated_guest import open_guest
from runtime.capi.engine_store import Module
from runtime.capi.failures import CapiError, GuestTrap, PoolExhausted, TrapCode
from runtime.capi.guest import AbiViolation, Guest, live_guests
from runtime.capi.linker import HostFunction, InstancePre, Linker
from runtime.linking import make_linker
from tests.support.children import expect_ok, run_child
from tests.support.guests import engine, wat

pytestmark = pytest.mark.usefixtures("driver")

PAGE = 65_536
SECOND_NS = 1_000_000_000

RETURNS = """(module (memory (export "memory") 1 2)
  (func (export "alloc") (param i32) (result i32) (local.get 0))
  (func (export "fetch") (param i32 i32) (result i64) {body}))"""


@contextmanager
def linked(text: str, *functions: HostFunction) -> Iterator[InstancePre]:
    module: Module = engine().compile(wat(text))
    linker = Linker(engine(), functions) if functions else make_linker(engine())
    pre = linker.instantiate_pre(module)
    try:
        yield pre
    finally:
        pre.close()
        module.close()
        assert live_guests() == 0


@contextmanager
def guest_of(pre: InstancePre, memory: int = 2 * PAGE, cpu_ns: int = SECOND_NS) -> Iterator[Guest]:
    guest = open_guest(engine(), memory, cpu_ns, GuestIo(10, 1000))
    try:
        yield guest
    finally:
        guest.close()


def complete(guest: Guest) -> None:
    while not guest.poll():
        pass
    guest.finish()


def started(guest: Guest, pre: InstancePre) -> Guest:
    guest.begin_instantiate(pre)
    complete(guest)
    guest.find_exports("fetch", needs_alloc=True)
    return guest


def call(guest: Guest) -> int:
    guest.begin_call("handler", 1, 2)
    complete(guest)
    return guest.result_i64()


def test_call_answers_an_unsigned_64_bit_result() -> None:
    with linked(RETURNS.format(body="i64.const -1")) as pre, guest_of(pre) as guest:
        assert call(started(guest, pre)) == 2**64 - 1
        guest.begin_call("alloc", 0xFFFF_FFFF)
        complete(guest)
        assert guest.result_i32() == 0xFFFF_FFFF
        assert guest.cpu_ns > 0


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("unreachable", TrapCode.UNREACHABLE, "unreachable"),
        ("(i64.load (i32.const -1))", TrapCode.MEMORY_OUT_OF_BOUNDS, "out of bounds"),
        ("(i64.div_s (i64.const 1) (i64.const 0))", 7, "divide by zero"),
    ],
)
def test_trap_is_read_and_freed(body: str, code: int, words: str) -> None:
    with linked(RETURNS.format(body=body)) as pre, guest_of(pre) as guest:
        started(guest, pre)
        for _ in range(3):
            with pytest.raises(GuestTrap, match=words) as caught:
                call(guest)
            assert caught.value.code == code


def test_endless_recursion_is_a_stack_overflow() -> None:
    text = """(module (memory (export "memory") 1) (func $r (call $r) (call $r))
      (func (export "alloc") (param i32) (result i32) i32.const 0)
      (func (export "fetch") (param i32 i32) (result i64) (call $r) i64.const 0))"""
    with linked(text) as pre, guest_of(pre) as guest:
        started(guest, pre)
        with pytest.raises(GuestTrap) as caught:
            call(guest)
        assert caught.value.code == TrapCode.STACK_OVERFLOW


def test_memory_over_the_limit_is_not_given() -> None:
    grow = RETURNS.format(body="(i64.extend_i32_s (memory.grow (i32.const 1)))")
    with linked(grow) as pre:
        with guest_of(pre, memory=2 * PAGE) as guest:
            assert call(started(guest, pre)) == 1
            assert guest.memory_size() == 2 * PAGE
            assert call(guest) == 2**64 - 1
        with guest_of(pre, memory=PAGE) as guest:
            assert call(started(guest, pre)) == 2**64 - 1
            assert guest.memory_size() == PAGE


def test_module_that_wants_more_memory_at_once_fails_to_start() -> None:
    with linked(RETURNS.format(body="i64.const 0")) as pre, guest_of(pre, memory=PAGE - 1) as guest:
        guest.begin_instantiate(pre)
        with pytest.raises(GuestTrap, match="memory"):
            complete(guest)


def test_spinner_is_stopped_at_its_budget() -> None:
    text = RETURNS.format(body="(loop $l (br $l)) i64.const 0")
    with linked(text) as pre, guest_of(pre, cpu_ns=20_000_000) as guest:
        started(guest, pre)
        with pytest.raises(GuestTrap, match="stopped by the host"):
            call(guest)
        assert guest.stopped == "cpu"
        assert guest.cpu_ns >= 20_000_000


def test_doomed_guest_is_stopped_at_its_next_tick() -> None:
    with linked(RETURNS.format(body="(loop $l (br $l)) i64.const 0")) as pre, guest_of(pre) as guest:
        started(guest, pre).begin_call("handler", 0, 0)
        assert not guest.poll()
        guest.doomed = "canceled"
        assert guest.poll()
        with pytest.raises(GuestTrap):
            guest.finish()
        assert guest.stopped == "canceled"


@pytest.mark.parametrize(
    ("pointer", "size"),
    [(0, 0), (0, 1), (0, PAGE), (PAGE - 1, 1), (PAGE, 0)],
)
def test_every_byte_of_memory_can_be_read_and_written(pointer: int, size: int) -> None:
    with linked(RETURNS.format(body="i64.const 0")) as pre, guest_of(pre) as guest:
        started(guest, pre)
        data = bytes(i % 251 for i in range(size))
        guest.write(pointer, data)
        assert guest.read(pointer, size) == data


@pytest.mark.parametrize(
    ("pointer", "size"),
    [
        (PAGE, 1),
        (PAGE - 1, 2),
        (0, PAGE + 1),
        (PAGE + 1, 0),
        (2**32 - 1, 1),
        (2**32 - 1, 0),
        (0, 2**32 - 1),
        (2**32 - 1, 2**32 - 1),
        (1, 2**32 - 1),
    ],
)
def test_no_byte_outside_of_memory_can_be_read(pointer: int, size: int) -> None:
    with linked(RETURNS.format(body="i64.const 0")) as pre, guest_of(pre) as guest:
        started(guest, pre)
        with pytest.raises(AbiViolation, match="outside of memory"):
            guest.read(pointer, size)
        if size <= 2 * PAGE:
            with pytest.raises(AbiViolation, match="outside of memory"):
                guest.write(pointer, b"x" * size)


def test_bounds_are_those_of_now() -> None:
    grow = RETURNS.format(body="(i64.extend_i32_s (memory.grow (i32.const 1)))")
    with linked(grow) as pre, guest_of(pre) as guest:
        started(guest, pre)
        with pytest.raises(AbiViolation):
            guest.read(PAGE, 1)
        call(guest)
        assert guest.read(2 * PAGE - 1, 1) == b"\0"


def test_memory_of_no_pages_has_no_bytes() -> None:
    text = '(module (memory (export "memory") 0) (func (export "alloc")) (func (export "fetch")))'
    with linked(text) as pre, guest_of(pre) as guest:
        started(guest, pre)
        assert (guest.memory_size(), guest.read(0, 0)) == (0, b"")
        with pytest.raises(AbiViolation):
            guest.read(0, 1)


@pytest.mark.parametrize(
    "use",
    [
        lambda guest: guest.poll(),
        lambda guest: guest.read(0, 1),
        lambda guest: guest.write(0, b"x"),
        lambda guest: guest.memory_size(),
        lambda guest: guest.begin_call("handler", 1, 2),
        lambda guest: guest.find_exports("fetch", needs_alloc=True),
    ],
    ids=["poll", "read", "write", "memory_size", "begin_call", "find_exports"],
)
def test_closed_guest_can_not_be_used(use: Callable[[Guest], object]) -> None:
    with linked(RETURNS.format(body="i64.const 0")) as pre:
        guest = started(open_guest(engine(), PAGE, SECOND_NS), pre)
        guest.close()
        guest.close()
        with pytest.raises(ValueError, match="closed"):
            use(guest)


def test_closed_module_and_instance_pre_can_not_be_used() -> None:
    module = engine().compile(wat("(module)"))
    pre = make_linker(engine()).instantiate_pre(module)
    pre.close()
    module.close()
    with pytest.raises(ValueError, match="closed"):
        assert module.pointer
    with pytest.raises(ValueError, match="closed"):
        assert pre.pointer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('(module (func (export "alloc")) (func (export "fetch")))', "does not export `memory`"),
        ('(module (memory (export "memory") 1) (func (export "fetch")))', "does not export `alloc`"),
        ('(module (memory (export "memory") 1) (func (export "alloc")))', "does not export `fetch`"),
        ('(module (func (export "memory")) (func (export "fetch")))', "`memory` is of another kind"),
    ],
)
def test_missing_export_is_a_violation(text: str, words: str) -> None:
    with linked(text) as pre, guest_of(pre) as guest:
        guest.begin_instantiate(pre)
        complete(guest)
        with pytest.raises(AbiViolation, match=words):
            guest.find_exports("fetch", needs_alloc=True)


@pytest.mark.parametrize(
    "host_call",
    [
        "(drop (call $call (i32.const 0) (i32.const 1)))",
        "(drop (call $take (i32.const 0) (i32.const 0) (i32.const 1)))",
        "(call $log (i32.const 1) (i32.const 0) (i32.const 1))",
        "(drop (call $random (i32.const 0) (i32.const 1)))",
    ],
)
def test_start_function_that_calls_the_host_is_a_violation_and_no_abort(host_call: str) -> None:
    """The library panics when it is handed a memory that was never looked up."""
    text = f"""(module
      (import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))
      (import "tenantry_v1" "take" (func $take (param i32 i32 i32) (result i32)))
      (import "tenantry_v1" "log" (func $log (param i32 i32 i32)))
      (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
      (memory (export "memory") 1) (func $s {host_call}) (start $s))"""
    with linked(text) as pre, guest_of(pre) as guest:
        guest.begin_instantiate(pre)
        with pytest.raises(AbiViolation, match="start function"):
            complete(guest)


def test_import_that_nothing_provides_is_named() -> None:
    module = engine().compile(wat('(module (import "env" "secret_door" (func)))'))
    with pytest.raises(CapiError, match="secret_door"):
        make_linker(engine()).instantiate_pre(module)
    module.close()


@pytest.mark.parametrize("wasm", [b"", b"\0asm", b"\0asm\1\0\0\0\xff", b"x" * 1000])
def test_bytes_that_are_no_module_are_an_error(wasm: bytes) -> None:
    with pytest.raises(CapiError):
        engine().compile(wasm)


CALLS_HOST = """(module (import "h" "f" (func $f (param i32 i64) (result i32)))
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 0)
  (func (export "fetch") (param i32 i32) (result i64)
    (i64.extend_i32_u (call $f (i32.const -2) (i64.const -3)))))"""


def _host(run: Callable[..., int | None]) -> HostFunction:
    return HostFunction("h", "f", "il", True, run)


def test_host_function_gets_unsigned_arguments_and_its_result_arrives() -> None:
    got: list[tuple[int, int]] = []

    def run(_guest: Guest, a: int, b: int) -> int:
        got.append((a, b))
        return 0xFFFF_FFF0

    with linked(CALLS_HOST, _host(run)) as pre, guest_of(pre) as guest:
        assert call(started(guest, pre)) == 0xFFFF_FFF0
    assert got == [(2**32 - 2, 2**64 - 3)]


def test_suspended_guest_goes_on_with_what_it_is_answered() -> None:
    def run(guest: Guest, _a: int, _b: int) -> None:
        guest.suspend(b"wanted")

    with linked(CALLS_HOST, _host(run)) as pre, guest_of(pre) as guest, guest_of(pre) as other:
        for each in (guest, other):
            started(each, pre).begin_call("handler", 0, 0)
        for each in (guest, other):
            assert not each.poll()
            assert each.wanted == b"wanted"
            assert not each.poll(), "a poll without an answer changes nothing"
        for each, answer in ((other, 7), (guest, 8)):
            each.resume(answer)
            assert each.poll()
            each.finish()
            assert each.result_i64() == answer


@pytest.mark.parametrize(
    "error", [AbiViolation("its own"), ZeroDivisionError("ours"), RecursionError("deep")]
)
def test_exception_in_a_host_function_is_that_guests_alone(error: Exception) -> None:
    fail = True

    def run(_guest: Guest, _a: int, _b: int) -> int:
        if fail:
            raise error
        return 5

    with linked(CALLS_HOST, _host(run)) as pre, guest_of(pre) as guest, guest_of(pre) as neighbour:
        started(neighbour, pre)
        started(guest, pre)
        with pytest.raises(type(error)) as caught:
            call(guest)
        assert caught.value is error
        fail = False
        assert call(neighbour) == 5


def test_pool_without_a_free_slot_says_so_and_recovers() -> None:
    """In a child with an engine of 20 slots."""
    text = expect_ok(
        """
        from wasmtime import wat2wasm
        from runtime.capi.engine_store import EngineSettings
        from runtime.capi.failures import PoolExhausted
        from runtime.capi.accelerated_guest import open_guest
        from runtime.capi.guest import live_guests
        from runtime.engine import start_engine
        from runtime.linking import make_linker
        engine = start_engine(EngineSettings(slots=20))
        module = engine.compile(bytes(wat2wasm('(module (memory (export "memory") 1))')))
        pre = make_linker(engine).instantiate_pre(module)
        for _ in range(3):
            guests = []
            exhausted = 0
            for _ in range(25):
                guest = open_guest(engine, 1 << 20, 10**9)
                guests.append(guest)
                try:
                    guest.begin_instantiate(pre)
                    assert guest.poll()
                    guest.finish()
                except PoolExhausted:
                    exhausted += 1
            assert exhausted == 5, exhausted
            for guest in guests:
                guest.close()
            assert live_guests() == 0
        print("recovered")
        """
    )
    assert "recovered" in text


LEAK_TEST = """
    import os
    from wasmtime import wat2wasm
    from runtime.abi.core_module.host_calls import GuestIo
    from runtime.capi.engine_store import EngineSettings
    from runtime.capi.accelerated_guest import open_guest
    from runtime.capi.guest import live_guests
    from runtime.engine import start_engine
    from runtime.linking import make_linker
    engine = start_engine(EngineSettings(slots=50, accelerator="{mode}"))
    module = engine.compile(bytes(wat2wasm(r'''{wat}''')))
    pre = make_linker(engine).instantiate_pre(module)
    def once():
        guest = open_guest(engine, 1 << 20, 10**9, GuestIo(10, 1000))
        guest.begin_instantiate(pre)
        while not guest.poll():
            pass
        guest.finish()
        guest.find_exports("fetch", needs_alloc=True)
        guest.begin_call("handler", 0, 5)
        {use}
        guest.close()
    def measure():
        pages = int(open("/proc/self/statm").read().split()[1])
        maps = sum(1 for _ in open("/proc/self/maps"))
        return pages * 4096, len(os.listdir("/proc/self/fd")), maps
    for _ in range({times} // 2):
        once()
    before = measure()
    for _ in range({times} // 2):
        once()
    after = measure()
    assert live_guests() == 0
    assert after[0] - before[0] <= 2 << 20, (before, after)
    assert after[1] == before[1], (before, after)
    assert abs(after[2] - before[2]) <= 16, (before, after)
    print("flat")
"""

SUSPENDS = """(module (import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))
  (memory (export "memory") 1) (func (export "alloc") (param i32) (result i32) i32.const 0)
  (func (export "fetch") (param i32 i32) (result i64)
    (drop (call $call (local.get 0) (local.get 1))) i64.const 0))"""
TRAPS = RETURNS.format(body="unreachable")
POINTS_OUTSIDE = SUSPENDS.replace("(local.get 0) (local.get 1)", "(i32.const -1) (i32.const 9)")


@pytest.mark.parametrize(
    ("wat_text", "use", "times"),
    [
        (SUSPENDS, "assert not guest.poll() and guest.wanted is not None", 10_000),
        (SUSPENDS, "pass", 4_000),
        (TRAPS, "assert guest.poll()", 4_000),
        (POINTS_OUTSIDE, "assert guest.poll() and guest.violation is not None", 4_000),
    ],
    ids=[
        "cancelled while suspended",
        "cancelled before its first poll",
        "trapped, unread",
        "violated, unread",
    ],
)
def test_nothing_is_left_of_guests_that_are_closed_early(
    wat_text: str, use: str, times: int, driver: str
) -> None:
    code = (
        LEAK_TEST.replace("{wat}", " ".join(wat_text.split()))
        .replace("{use}", use)
        .replace("{times}", str(times))
        .replace("{mode}", "on" if driver == "accelerator" else "off")
    )
    assert "flat" in expect_ok(code)


FAULTHANDLER_FIRST = """
    import faulthandler
    from runtime.capi.engine_store import EngineSettings
    from runtime.engine import TrapsNotCaught, start_engine
    faulthandler.enable()
    try:
        start_engine(EngineSettings(slots=4))
    except TrapsNotCaught as error:
        assert "faulthandler" in str(error)
        print("refused")
"""
FAULTHANDLER_LATER = """
    import faulthandler
    from runtime.capi.engine_store import EngineSettings
    from runtime.engine import prove_traps_are_caught, start_engine
    engine = start_engine(EngineSettings(slots=4))
    prove_traps_are_caught(engine)
    print("proved", flush=True)
    faulthandler.enable()
    prove_traps_are_caught(engine)
    print("still caught")
"""


def test_engine_does_not_start_beside_faulthandler() -> None:
    assert "refused" in expect_ok(FAULTHANDLER_FIRST)


def test_faulthandler_enabled_later_turns_a_trap_into_the_end_of_the_process() -> None:
    """Why the engine comes after the last thing that touches signal handlers, and why pytest runs without
    the plug-in: the deliberate trap finds it, by ending the process that would have served.
    """
    status, text = run_child(FAULTHANDLER_LATER)
    assert "proved" in text
    assert "still caught" not in text
    assert status < 0


def test_pool_exhausted_is_an_error_of_the_library() -> None:
    assert issubclass(PoolExhausted, CapiError)
