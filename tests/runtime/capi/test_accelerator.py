"""The accelerator is ctypes in short: the same end of every event, from the same tables, or it is not used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from model.capabilities import Operation
from model.outcome import EventOutcome
from runtime.capi.accelerated_guest import LARGEST_RESULT, AcceleratedGuest, open_guest
from runtime.capi.accelerator import layout, loading
from runtime.capi.accelerator.loading import AcceleratorUnavailable, available, decide, load
from runtime.capi.guest import LARGE_STORE_BYTES, AbiViolation, Guest, live_guests
from runtime.capi.library import SIGNATURES
from runtime.linking import make_linker
from tests.support.children import ROOT, expect_ok
from tests.support.guests import Guests, engine, request, sample, wat

SOURCES = ROOT / "runtime" / "capi" / "accelerator"
PAGE = 65_536

built = pytest.mark.skipif(available() is not None, reason=f"no accelerator: {available()}")


def test_header_is_made_from_the_tables_and_the_installed_wheel() -> None:
    """To renew it: python -m runtime.capi.accelerator.layout > runtime/capi/accelerator/bindings.h"""
    assert (SOURCES / "bindings.h").read_text() == layout.header()


def test_c_calls_nothing_of_wasmtime_but_what_the_table_has() -> None:
    sources = "".join((SOURCES / name).read_text() for name in ("guest.c", "module.c", "spares.c"))
    called = set(re.findall(r"\b(wasmtime_\w+|wasm_\w+)\(", sources))
    assert called == set(layout.FUNCTIONS)
    assert called <= set(SIGNATURES)


def test_there_is_one_where_there_is_a_compiler() -> None:
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    if shutil.which("cc") is None or not header.exists():
        pytest.skip("no C compiler on this machine, or no headers of Python")
    assert available() is None


def test_one_that_was_built_for_another_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if "not built" in (available() or ""):
        pytest.skip(f"no accelerator: {available()}")
    load.cache_clear()
    monkeypatch.setattr(layout, "fingerprint", lambda: "0" * 16)
    try:
        with pytest.raises(AcceleratorUnavailable, match="build it again"):
            load()
        assert decide("auto") is False
        with pytest.raises(AcceleratorUnavailable, match="--accelerator on, but"):
            decide("on")
    finally:
        load.cache_clear()


def test_off_does_not_even_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> None:
        raise AssertionError("looked for it")

    monkeypatch.setattr(loading, "available", never)
    assert decide("off") is False


def test_without_a_compiler_the_build_goes_on_without_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            *("-c", "import setuptools; setuptools.setup()", "-q", "build_ext"),
            *("--build-lib", str(tmp_path / "lib"), "--build-temp", str(tmp_path / "temp")),
        ],
        cwd=ROOT,
        env=os.environ | {"CC": "/no/such/compiler"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "_accelerator" in done.stderr, "it says nothing of what it left out"
    assert not list(tmp_path.rglob("*.so"))


# -- both drivers, one after the other: equal in all that anybody can see --------------------------------

ANSWERS = """(module {imports} (memory (export "memory") 2 200)
  (data (i32.const 2048) "\\82\\a6status\\cc\\c8\\a4body\\a2ok")
  (func (export "alloc") (param i32) (result i32) {alloc})
  (func $start {start}) (start $start)
  (func (export "fetch") (param i32 i32) (result i64) {body}))"""
GOOD = "(i64.const 0x80000000012)"
LOG = '(import "tenantry_v1" "log" (func $log (param i32 i32 i32)))'
CALL = '(import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))'
TAKE = '(import "tenantry_v1" "take" (func $take (param i32 i32 i32) (result i32)))'


def module(
    body: str = GOOD, *, imports: str = "", alloc: str = "(i32.const 1024)", start: str = "(nop)"
) -> bytes:
    return wat(ANSWERS.format(imports=imports, body=body, alloc=alloc, start=start))


MODULES = {
    "answers": module(),
    "logs in its first slice": module(
        f"(call $log (i32.const 1) (i32.const 2048) (i32.const 4)) {GOOD}", imports=LOG
    ),
    "logs in its start function": module(
        start="(call $log (i32.const 1) (i32.const 2048) (i32.const 4))", imports=LOG
    ),
    "logs in alloc": module(
        alloc="(call $log (i32.const 1) (i32.const 2048) (i32.const 4)) (i32.const 1024)", imports=LOG
    ),
    "calls in its start function": module(
        start="(drop (call $call (i32.const 0) (i32.const 0)))", imports=CALL
    ),
    "traps in its start function": module(start="unreachable"),
    "traps in alloc": module(alloc="unreachable"),
    "traps": module("unreachable"),
    "spins": module("(loop $l (br $l)) (i64.const 0)"),
    "spins in alloc": module(alloc="(loop $l (br $l)) (i32.const 0)"),
    "spins in its start function": module(start="(loop $l (br $l))"),
    "recurses": wat(
        """(module (memory (export "memory") 1) (func (export "alloc") (param i32) (result i32) (i32.const 8))
        (func $f (export "fetch") (param i32 i32) (result i64) (call $f (local.get 0) (local.get 1)) (drop)
        (call $f (local.get 1) (local.get 0))))"""
    ),
    "has no room": module(alloc="(i32.const 0)"),
    "gives a place outside of memory": module(alloc="(i32.const -16)"),
    "gives a place that ends outside": module(alloc="(i32.const 131070)"),
    "grows": module(f"(drop (memory.grow (i32.const 150))) {GOOD}"),
    "grows over its limit": module(
        f"(drop (memory.grow (i32.const 190))) (drop (memory.grow (i32.const 190))) {GOOD}"
    ),
    "returns what is outside": module("(i64.const 0x1fff000000011)"),
    "returns more than may be": module("(i64.const 0x8007fffffff)"),
    "returns more than memory at once": module("(i64.const 0x800ffffffff)"),
    "returns no MessagePack": module("(i64.const 0x80100000002)"),
    "returns nothing": module("(i64.const 0)"),
    "returns an empty result elsewhere": module("(i64.const 0xffffffff00000000)"),
    "asks with bytes outside of memory": module(
        f"(drop (call $call (i32.const -4) (i32.const 8))) {GOOD}", imports=CALL
    ),
    "asks with too many bytes": module(
        f"(drop (call $call (i32.const 0) (i32.const -1))) {GOOD}", imports=CALL
    ),
    "asks with what is no call": module(
        f"(drop (call $call (i32.const 0) (i32.const 4))) {GOOD}", imports=CALL
    ),
    "takes without having asked": module(
        f"(drop (call $take (i32.const 0) (i32.const 0) (i32.const -1))) {GOOD}", imports=TAKE
    ),
    "takes to outside of memory": module(
        f"(drop (call $take (i32.const -1) (i32.const 0) (i32.const 8))) {GOOD}", imports=TAKE
    ),
}
#: Of those above, the ones that are answered; to the others it is their own end.
ANSWERED = {
    "answers", "logs in its first slice", "logs in alloc", "grows", "grows over its limit",
    "takes without having asked",
}  # fmt: skip
PATHS = {
    "hostile": ["/spin", "/recurse", "/trap", "/exit", "/nothing", "/lie", "/outside", "/badmsg", "/leave"],
    "hello": ["/"],
    "echo": ["/"],
}


async def _seen(wasm: bytes, path: str, *, initialize: bool = False) -> tuple[object, ...]:
    guests = Guests({"value": Operation("value", None, False, lambda _e, _l, args: args[0])})
    try:
        worker = guests.worker(wasm, limits={"cpu_ms": 40, "memory_bytes": 16 << 20})
        ending, response = await guests.fetch(worker, request(path=path))
        [record] = guests.observer.records
        numberless = re.sub(r"used \d+ ms", "used N ms", ending.message)
        lines = [re.sub(r"used \d+ ms", "used N ms", text) for text in guests.observer.texts]
        return (
            ending.outcome,
            numberless,
            lines,
            response.status,
            bytes(response.body),
            response.headers,
            record.peak_memory_bytes,
            record.subrequests,
            record.cpu_us > 0,
            live_guests(),
        )
    finally:
        guests.close()


async def _both(monkeypatch: pytest.MonkeyPatch, wasm: bytes, path: str) -> tuple[tuple[object, ...], ...]:
    seen = []
    for accelerated in (True, False):
        monkeypatch.setattr(engine(), "accelerated", accelerated)
        seen.append(await _seen(wasm, path))
    return tuple(seen)


@built
@pytest.mark.parametrize("what", MODULES)
async def test_both_drivers_end_it_alike(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short, reference = await _both(monkeypatch, MODULES[what], "/")
    assert short == reference
    assert (short[0] is EventOutcome.OK) == (what in ANSWERED), short
    assert short[-1] == 0, "a store is left"


@built
@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in PATHS.items() for path in paths])
async def test_both_drivers_end_a_sample_alike(name: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short, reference = await _both(monkeypatch, sample(name), path)
    assert short == reference


@built
async def test_first_slice_that_ends_leaves_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine(), "accelerated", True)
    guests = Guests()
    pre = guests.host.pool
    worker = guests.worker(MODULES["answers"])
    await guests.fetch(worker)
    loaded = pre.get(worker.version.module_digest)
    assert loaded is not None
    guest = open_guest(engine(), 1 << 20, 10**9)
    assert isinstance(guest, AcceleratedGuest)
    guest.first_slice(loaded.pre, "fetch", b"event", False)
    assert guest.result_bytes is not None
    assert guest.result_bytes.endswith(b"ok")
    assert (guest.result_i64(), guest.peak_memory, live_guests()) == (0x80000000012, 2 * PAGE, 0)
    guest.close()
    with pytest.raises(ValueError, match="closed already"):
        guest.memory_size()
    guests.close()


@built
@pytest.mark.parametrize(
    ("size", "pages", "at_once"),
    [
        (LARGEST_RESULT, 2, True),
        (LARGEST_RESULT + 1, 2, False),
        (17, LARGE_STORE_BYTES // PAGE, True),
        (17, LARGE_STORE_BYTES // PAGE + 1, False),
    ],
)
def test_large_results_and_memories_are_left_to_the_ordinary_end(
    size: int, pages: int, at_once: bool
) -> None:
    wasm = module(f"(drop (memory.grow (i32.const {pages - 2}))) (i64.const {1024 << 32 | size})")
    with _linked(wasm) as guest:
        assert (guest.result_bytes is not None) is at_once
        data = guest.result_bytes
        if data is None:
            guest.finish()
            assert not guest.conclude()
            assert guest.memory_size() == pages * PAGE
            data = guest.read(1024, size)
        assert data[:5] == b"event"
        assert len(data) == size


class _linked:
    """An accelerated guest that had its first slice."""

    def __init__(self, wasm: bytes) -> None:
        self.module = engine().compile(wasm)
        self.pre = make_linker(engine()).instantiate_pre(self.module)
        self.guest = AcceleratedGuest(engine(), 16 << 20, 10**9)

    def __enter__(self) -> Guest:
        self.guest.first_slice(self.pre, "fetch", b"event", False)
        return self.guest

    def __exit__(self, *_: object) -> None:
        self.guest.close()
        self.pre.close()
        self.module.close()


@built
def test_guest_of_the_reference_driver_can_have_the_accelerator_s_imports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They fall back: it is no error to mix them, as a process does that tries out a module."""
    monkeypatch.setattr(engine(), "accelerated", True)
    asks = module("(i64.extend_i32_u (call $call (i32.const 2048) (i32.const 4)))", imports=CALL)
    compiled = engine().compile(asks)
    pre = make_linker(engine()).instantiate_pre(compiled)
    guest = Guest(engine(), 1 << 20, 10**9)
    guest.begin_instantiate(pre)
    assert guest.poll()
    guest.finish()
    guest.find_exports("fetch", needs_alloc=True)
    guest.begin_call("handler", 0, 0)
    assert not guest.poll()
    assert guest.wanted == b"\x82\xa6st"
    guest.resume(7)
    assert guest.poll()
    guest.finish()
    assert guest.result_i64() == 7
    guest.close()
    pre.close()
    compiled.close()


@built
def test_guest_that_waits_for_nothing_is_not_resumed() -> None:
    guest = AcceleratedGuest(engine(), 1 << 20, 10**9)
    with pytest.raises(ValueError, match="does not wait"):
        guest.resume(0)
    with pytest.raises(ValueError, match="does not wait"):
        guest.go_on(b"a reply")
    guest.close()


#: Refused at upload; a guest is safe from them all the same.
WRONG_EXPORTS = {
    "memory is a function": wat(
        """(module (func (export "memory")) (func (export "alloc") (param i32) (result i32) (i32.const 8))
        (func (export "fetch") (param i32 i32) (result i64) (i64.const 0)))"""
    ),
    "alloc is a memory": wat(
        """(module (memory (export "memory") (export "alloc") 1)
        (func (export "fetch") (param i32 i32) (result i64) (i64.const 0)))"""
    ),
    "has no alloc": wat(
        """(module (memory (export "memory") 1)
        (func (export "fetch") (param i32 i32) (result i64) (i64.const 0)))"""
    ),
}


@built
@pytest.mark.parametrize("what", WRONG_EXPORTS)
def test_wrong_exports_are_found_by_both(what: str) -> None:
    with _linked(WRONG_EXPORTS[what]) as guest:
        assert guest.result_bytes is None
        guest.finish()
        with pytest.raises(AbiViolation, match=r"the export|does not export"):
            guest.find_exports("fetch", needs_alloc=True)


TICKER_CHILD = """
    import os, threading, time
    from runtime.capi.engine_store import EngineSettings
    from runtime.capi.accelerated_guest import open_guest
    from runtime.engine import start_engine
    from runtime.linking import make_linker
    from wasmtime import wat2wasm
    engine = start_engine(EngineSettings(slots=4, accelerator="{mode}"))
    assert ("epoch-ticker" in [thread.name for thread in threading.enumerate()]) is {has_python_ticker}
    assert len(os.listdir("/proc/self/task")) == 2
    text = '''(module (memory (export "memory") 1) (func $start (loop $l (br $l))) (start $start))'''
    pre = make_linker(engine).instantiate_pre(engine.compile(bytes(wat2wasm(text))))
    guest = open_guest(engine, 1 << 20, 10**9)
    guest.begin_instantiate(pre)
    assert not guest.poll()
    assert guest.cpu_ns < 200_000_000, guest.cpu_ns
    guest.close()
    print("preempted")
"""


@pytest.mark.parametrize(
    ("mode", "has_python_ticker"),
    [pytest.param("on", False, marks=built), pytest.param("off", True)],
)
def test_epoch_moves_without_the_gil(mode: str, has_python_ticker: bool) -> None:
    """In a child, since a process has one engine: there is one ticker, and it preempts a guest that spins."""
    code = TICKER_CHILD.replace("{mode}", mode).replace("{has_python_ticker}", str(has_python_ticker))
    assert "preempted" in expect_ok(code)
