"""Every C symbol that we use, with its signature, bound once.

Two ways into the same library: `KEEP_GIL` for calls that are short and never run guest code, `DROP_GIL` for
those that do, so that the epoch ticker and the other threads go on. `bind` makes new function objects: the
prototypes that wasmtime-py set on its own are left alone.
Source: wasm.h, wasmtime.h and the headers it includes, wasmtime 50.
"""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, PyDLL, c_bool, c_char_p, c_int64, c_size_t, c_uint8, c_uint64, c_void_p
from importlib.metadata import version
from typing import Any, Final

from wasmtime import _bindings, _ffi

WASMTIME_VERSION: Final[str] = version("wasmtime")
#: The one major version whose headers the table below was written from.
SUPPORTED_MAJOR: Final = 50

P = c_void_p
EPOCH_CALLBACK: Final = CFUNCTYPE(c_size_t, P, P, POINTER(c_uint64), POINTER(c_uint8))
#: wasmtime_func_async_callback_t, with every pointer as an address: no ctypes object is made a call.
FUNC_ASYNC_CALLBACK: Final = CFUNCTYPE(None, P, P, P, c_size_t, P, c_size_t, P, P)

#: name → (result, arguments, runs guest code). tests/runtime/capi holds it against wasmtime-py's generated
#: prototypes: a changed signature in a new wheel fails there, before it can corrupt memory.
SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...], bool]]] = {
    # settings and engine
    "wasm_config_new": (P, (), False),
    "wasm_engine_new_with_config": (P, (P,), False),
    "wasm_engine_delete": (None, (P,), False),
    "wasmtime_engine_increment_epoch": (None, (P,), False),
    # modules
    "wasmtime_module_new": (P, (P, c_char_p, c_size_t, P), True),
    "wasmtime_module_serialize": (P, (P, P), True),
    "wasmtime_module_deserialize": (P, (P, c_char_p, c_size_t, P), False),
    "wasmtime_module_deserialize_file": (P, (P, c_char_p, P), False),
    "wasmtime_module_delete": (None, (P,), False),
    # linking
    "wasmtime_linker_new": (P, (P,), False),
    "wasmtime_linker_delete": (None, (P,), False),
    "wasmtime_linker_define_async_func": (
        P,
        (P, c_char_p, c_size_t, c_char_p, c_size_t, P, FUNC_ASYNC_CALLBACK, P, P),
        False,
    ),
    "wasmtime_linker_instantiate_pre": (P, (P, P, P), False),
    "wasmtime_instance_pre_delete": (None, (P,), False),
    "wasmtime_instance_pre_instantiate_async": (P, (P, P, P, P, P), False),
    # stores
    "wasmtime_store_new": (P, (P, P, P), False),
    "wasmtime_store_delete": (None, (P,), False),
    "wasmtime_store_context": (P, (P,), False),
    "wasmtime_store_limiter": (None, (P, c_int64, c_int64, c_int64, c_int64, c_int64), False),
    "wasmtime_store_epoch_deadline_callback": (None, (P, EPOCH_CALLBACK, P, P), False),
    "wasmtime_context_set_epoch_deadline": (None, (P, c_uint64), False),
    "wasmtime_context_get_data": (P, (P,), False),
    "wasmtime_context_set_data": (None, (P, P), False),
    # calls
    "wasmtime_func_call_async": (P, (P, P, P, c_size_t, P, c_size_t, P, P), False),
    "wasmtime_call_future_poll": (c_bool, (P,), True),
    "wasmtime_call_future_delete": (None, (P,), True),
    "wasmtime_caller_context": (P, (P,), False),
    # instances
    "wasmtime_instance_export_get": (c_bool, (P, P, c_char_p, c_size_t, P), False),
    "wasmtime_memory_data": (P, (P, P), False),
    "wasmtime_memory_data_size": (c_size_t, (P, P), False),
    "wasmtime_memory_grow": (P, (P, P, c_uint64, P), False),
    "wasmtime_global_get": (None, (P, P, P), False),
    # failures
    "wasmtime_error_new": (P, (c_char_p,), False),
    "wasmtime_error_message": (None, (P, P), False),
    "wasmtime_error_delete": (None, (P,), False),
    "wasmtime_trap_new": (P, (c_char_p, c_size_t), False),
    "wasmtime_trap_code": (c_bool, (P, P), False),
    "wasm_trap_message": (None, (P, P), False),
    "wasm_trap_delete": (None, (P,), False),
    "wasm_byte_vec_delete": (None, (P,), False),
}

KEEP_GIL: Final = PyDLL(str(_ffi.filename))
DROP_GIL: Final = ctypes.CDLL(str(_ffi.filename))


class UnsupportedWasmtime(Exception):
    """The installed wheel is not the version that this table was written for."""


def check_version() -> None:
    """Raise UnsupportedWasmtime before any pointer is made."""
    if int(WASMTIME_VERSION.partition(".")[0]) != SUPPORTED_MAJOR:
        raise UnsupportedWasmtime(
            f"wasmtime {WASMTIME_VERSION} is installed, but Tenantry is bound to {SUPPORTED_MAJOR}.x: "
            f"install the locked requirements (make setup)"
        )


def bind(name: str, *, drop_gil: bool | None = None) -> Any:
    """The C function `name` with the signature of the table. A missing symbol raises here, at import.

    `drop_gil`: True for a call that may take long although it runs no guest code, False for one that runs none
    although its function may.
    """
    result, arguments, runs_guest_code = SIGNATURES[name]
    function = (DROP_GIL if (runs_guest_code if drop_gil is None else drop_gil) else KEEP_GIL)[name]
    function.restype = result
    function.argtypes = arguments
    return function


def address_of(name: str) -> int:
    """Where the C function `name` is."""
    if name not in SIGNATURES:
        raise KeyError(name)
    return ctypes.cast(KEEP_GIL[name], c_void_p).value or 0


def bind_setter(name: str) -> Any:
    """A `…_set` function of a config object, with wasmtime-py's own prototype: used once, at start."""
    return getattr(_bindings, name)
