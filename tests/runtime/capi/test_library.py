"""The table of C symbols agrees with wasmtime-py's generated prototypes: same count, size and kind of each."""

from __future__ import annotations

import ctypes

import pytest
from wasmtime import _bindings

from runtime.capi import library
from runtime.capi.library import SIGNATURES, UnsupportedWasmtime, bind, check_version


def _kind(ctype: object) -> str:
    """What the calling convention sees of a type."""
    if ctype is None:
        return "void"
    assert isinstance(ctype, type)
    if ctype is ctypes.c_bool:
        return "bool"
    size = ctypes.sizeof(ctype)
    code = getattr(ctype, "_type_", None)
    if issubclass(ctype, ctypes._Pointer) or hasattr(ctype, "_argtypes_") or code in ("P", "z"):
        return f"pointer of {size}"
    assert isinstance(code, str), f"{ctype} is passed by value"
    return f"integer of {size}"


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_signature_is_the_generated_one(name: str) -> None:
    generated = getattr(_bindings, f"_{name}")
    result, arguments, _ = SIGNATURES[name]
    assert [_kind(a) for a in arguments] == [_kind(a) for a in generated.argtypes]
    assert _kind(result) == _kind(generated.restype)


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_symbol_is_in_the_library_and_bound_anew(name: str) -> None:
    ours = bind(name)
    assert ours is not getattr(_bindings, f"_{name}")
    assert len(ours.argtypes) == len(SIGNATURES[name][1])


def test_whatever_runs_guest_code_lets_other_threads_go_on() -> None:
    runs_guest_code = {name for name, (_, _, runs) in SIGNATURES.items() if runs}
    assert {"wasmtime_call_future_poll", "wasmtime_call_future_delete"} <= runs_guest_code
    keeps_gil = getattr(ctypes, "_FUNCFLAG_PYTHONAPI", 4)
    for name in SIGNATURES:
        assert bool(bind(name)._flags_ & keeps_gil) == (name not in runs_guest_code)
    assert not bind("wasmtime_store_delete", drop_gil=True)._flags_ & keeps_gil


def test_installed_version_is_the_supported_one() -> None:
    check_version()


@pytest.mark.parametrize("version", ["49.0.0", "51.0.0", "5.0.0", "500.0.1"])
def test_another_major_version_is_refused_before_any_pointer_is_made(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "WASMTIME_VERSION", version)
    with pytest.raises(UnsupportedWasmtime, match=f"wasmtime {version} is installed"):
        check_version()
