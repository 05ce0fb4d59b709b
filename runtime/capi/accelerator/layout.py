"""What the C module has to know of wasmtime and of a guest's frame, as a C header made from our own tables.

`python -m runtime.capi.accelerator.layout > runtime/capi/accelerator/bindings.h` writes it. A test holds the two
equal, and a module that was compiled against another layout is refused when it is loaded: `fingerprint`.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from typing import Any, Final

from runtime.capi.frame import CallState
from runtime.capi.library import FUNC_ASYNC_CALLBACK, SIGNATURES, WASMTIME_VERSION, address_of

#: The functions that the C module calls, in the order in which it is handed their addresses.
FUNCTIONS: Final = (
    "wasmtime_engine_increment_epoch",
    "wasmtime_store_new",
    "wasmtime_store_delete",
    "wasmtime_store_context",
    "wasmtime_store_limiter",
    "wasmtime_store_epoch_deadline_callback",
    "wasmtime_context_set_epoch_deadline",
    "wasmtime_context_get_data",
    "wasmtime_context_set_data",
    "wasmtime_caller_context",
    "wasmtime_instance_pre_instantiate_async",
    "wasmtime_instance_export_get",
    "wasmtime_func_call_async",
    "wasmtime_call_future_poll",
    "wasmtime_call_future_delete",
    "wasmtime_memory_data",
    "wasmtime_memory_data_size",
    "wasmtime_memory_grow",
    "wasmtime_global_get",
    "wasmtime_error_new",
    "wasmtime_error_delete",
)

_C_TYPES: Final[dict[Any, str]] = {
    None: "void",
    ctypes.c_void_p: "void *",
    ctypes.c_char_p: "const void *",
    ctypes.c_bool: "bool",
    ctypes.c_size_t: "size_t",
    ctypes.c_uint64: "uint64_t",
    ctypes.c_int64: "int64_t",
}


def _c_type(ctype: Any) -> str:
    # A callback is handed over as the address that it is.
    return "void *" if hasattr(ctype, "_argtypes_") else _C_TYPES[ctype]


def _member(name: str, ctype: Any) -> str:
    if ctype in _C_TYPES:
        return f"{_C_TYPES[ctype]} {name};".replace("* ", "*")
    if ctype is ctypes.c_uint8:
        return f"uint8_t {name};"
    return f"_Alignas({ctypes.alignment(ctype)}) uint8_t {name}[{ctypes.sizeof(ctype)}];"


def _body() -> str:
    lines = ["struct frame {"]
    lines += [f"    {_member(name, ctype)}" for name, ctype in CallState._fields_]
    lines += ["};", ""]
    lines += [
        f'_Static_assert(offsetof(struct frame, {name}) == {getattr(CallState, name).offset}, "{name}");'
        for name, _ in CallState._fields_
    ]
    lines += [
        f'_Static_assert(sizeof(struct frame) == {ctypes.sizeof(CallState)}, "frame");',
        "",
        f"#define VALUE_SIZE {CallState.VALUE_SIZE}",
        f"#define VALUE_OF {CallState.VALUE_OF}",
        f"#define EXTERN_OF {CallState.EXTERN_OF}",
        "",
        "/* X(result, name, arguments) */",
        "#define WASMTIME_FUNCTIONS(X) \\",
    ]
    for name in FUNCTIONS:
        result, arguments, _ = SIGNATURES[name]
        given = ", ".join(map(_c_type, arguments))
        lines.append(f"    X({_c_type(result)}, {name}, ({given})) \\")
    callback = ", ".join(map(_c_type, FUNC_ASYNC_CALLBACK._argtypes_))
    lines += ["", f"typedef void host_function({callback});"]
    return "\n".join(lines)


def fingerprint() -> str:
    """Of all that the compiled module relies on, as the installed wheel has it."""
    major = WASMTIME_VERSION.partition(".")[0]
    return hashlib.sha256(f"{major}\n{_body()}".encode()).hexdigest()[:16]


def header() -> str:
    return (
        "/* Made by `python -m runtime.capi.accelerator.layout`: do not edit. */\n"
        "#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n\n"
        f'#define LAYOUT "{fingerprint()}"\n\n{_body()}\n'
    )


def addresses() -> tuple[int, ...]:
    return tuple(map(address_of, FUNCTIONS))


if __name__ == "__main__":
    sys.stdout.write(header())
