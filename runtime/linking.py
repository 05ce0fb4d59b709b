"""Which imports an artifact gets: all of `tenantry_v1` and WASI preview 1, and nothing else of any kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from runtime.abi.core_module.calls import CALL_BYTES
from runtime.abi.core_module.host_calls import CORE_FUNCTIONS
from runtime.abi.core_module.wasi import WASI_FUNCTIONS
from runtime.capi.engine_store import Engine
from runtime.capi.linker import HostFunction, Linker
from runtime.signatures import ABI_MODULE, ABI_SIGNATURES, WASI_MODULE, WASI_SIGNATURES, FunctionType

#: Those that the accelerator has too, with the most bytes that each takes at once.
_NATIVE: Final = {"call": CALL_BYTES, "take": 0}


def host_functions() -> list[HostFunction]:
    """Every import there is, with its type from the table that uploads are checked against."""
    return [
        *_with_types(ABI_MODULE, ABI_SIGNATURES, CORE_FUNCTIONS),
        *_with_types(WASI_MODULE, WASI_SIGNATURES, WASI_FUNCTIONS),
    ]


def _with_types(
    module: str, types: Mapping[str, FunctionType], functions: Mapping[str, Callable[..., int | None]]
) -> list[HostFunction]:
    letters = {"i32": "i", "i64": "l"}
    return [
        HostFunction(
            module,
            name,
            "".join(letters[p] for p in signature.params),
            bool(signature.results),
            functions[name],
            name if name in _NATIVE and module == ABI_MODULE else None,
            _NATIVE.get(name, 0),
        )
        for name, signature in types.items()
    ]


def make_linker(engine: Engine) -> Linker:
    """One for the process: it holds no state of any guest."""
    return Linker(engine, host_functions())
