"""The engine has the features on the allow-list and no others, and proves that traps are caught."""

from __future__ import annotations

import pytest

from runtime.capi import engine_store
from runtime.capi.engine_store import HOST_STACK, MAX_WASM_STACK, fingerprint
from runtime.capi.failures import CapiError
from runtime.engine import prove_traps_are_caught
from tests.support.children import run_child
from tests.support.guests import engine, wat


def test_deliberate_trap_is_caught_and_leaves_nothing() -> None:
    for _ in range(3):
        prove_traps_are_caught(engine())


@pytest.mark.parametrize(
    "text",
    [
        "(module (global (mut i32) (i32.const 0)))",
        "(module (func (param i32) (result i32) (i32.extend8_s (local.get 0))))",
        "(module (func (param f32) (result i32) (i32.trunc_sat_f32_s (local.get 0))))",
        "(module (func (result i32 i32) (i32.const 1) (i32.const 2)))",
        "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1))))",
        "(module (table 1 funcref) (func (table.set (i32.const 0) (ref.null func))))",
        "(module (func (result v128) (v128.const i64x2 0 0)))",
        "(module (func $f (return_call $f)))",
    ],
    ids=["mutable global", "sign", "saturating", "multi-value", "bulk", "reference", "simd", "tail call"],
)
def test_allowed_feature_compiles(text: str) -> None:
    engine().compile(wat(text)).close()


@pytest.mark.parametrize(
    "text",
    [
        "(module (memory 1 1 shared))",
        "(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))",
        "(module (memory i64 1))",
        "(module (memory 1) (memory 1))",
        "(module (type (struct)))",
        "(module (tag) (func (throw 0)))",
        "(module (type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0))))",
        "(module (func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1))))",
        "(module (func (param i64 i64 i64 i64) (result i64 i64) "
        "(i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3))))",
        "(module (memory 1 (pagesize 1)))",
        "(module (table 1 externref))",
        "(component)",
    ],
    ids=[
        "shared memory",
        "atomics",
        "memory64",
        "two memories",
        "gc",
        "exceptions",
        "function references",
        "relaxed simd",
        "wide arithmetic",
        "page sizes",
        "externref, which takes a garbage collector",
        "component",
    ],
)
def test_any_other_feature_is_refused(text: str) -> None:
    with pytest.raises(CapiError):
        engine().compile(wat(text))


def test_two_tables_are_refused() -> None:
    with pytest.raises(CapiError, match="table"):
        engine().compile(wat("(module (table 1 funcref) (table 1 funcref))"))


def test_host_has_room_below_the_deepest_guest() -> None:
    assert HOST_STACK >= 1_500 * 1024
    assert engine_store._CONFIG["async_stack_size"] == MAX_WASM_STACK + HOST_STACK


@pytest.mark.parametrize("change", ["WASMTIME_VERSION", "_FEATURES", "_CONFIG", "_cpu_features", "machine"])
def test_fingerprint_differs_with_whatever_makes_images_unfit(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint()
    assert before == fingerprint()
    assert len(before) == 16
    if change == "WASMTIME_VERSION":
        monkeypatch.setattr(engine_store, change, "50.99.0")
    elif change == "_cpu_features":
        monkeypatch.setattr(engine_store, change, lambda: "avx9")
    elif change == "machine":
        monkeypatch.setattr("platform.machine", lambda: "pdp11")
    else:
        monkeypatch.setitem(getattr(engine_store, change), "more", True)
    assert fingerprint() != before


@pytest.mark.parametrize("options", [("-X", "faulthandler"), ("-X", "dev")])
def test_interpreter_with_faulthandler_does_not_serve(options: tuple[str, ...]) -> None:
    status, text = run_child("from runtime.engine import start_engine; start_engine()", options=options)
    assert status == 1
    assert "TrapsNotCaught: faulthandler is enabled" in text
