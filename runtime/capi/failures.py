"""Read and free what C gives back when something went wrong.

Every `wasmtime_error_t*` and `wasm_trap_t*` passes through here: one that is dropped unread leaks, and one
that is ignored becomes a panic of the library later.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum

from wasmtime import _bindings

from runtime.capi.library import bind

_error_message = bind("wasmtime_error_message")
_error_delete = bind("wasmtime_error_delete")
_trap_message = bind("wasm_trap_message")
_trap_code = bind("wasmtime_trap_code")
_trap_delete = bind("wasm_trap_delete")
_vec_delete = bind("wasm_byte_vec_delete")

#: A guest can put its own text (function names) into a message; more than this helps nobody.
_MESSAGE_LIMIT = 4096


class TrapCode(IntEnum):
    """wasmtime/trap.h; only those that we tell apart."""

    NONE = -1
    STACK_OVERFLOW = 0
    MEMORY_OUT_OF_BOUNDS = 1
    UNREACHABLE = 9


class CapiError(Exception):
    """An error of the library that no guest code caused: settings, linking, a full pool."""


class PoolExhausted(CapiError):
    """All slots of the instance pool are taken."""


class GuestTrap(Exception):
    """Guest code trapped, or a host function or epoch callback ended it. `code` is a wasmtime trap code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _read(pointer: int, read_message: Callable[..., None]) -> str:
    vector = _bindings.wasm_byte_vec_t()
    read_message(pointer, ctypes.byref(vector))
    size = min(vector.size, _MESSAGE_LIMIT)
    text = ctypes.string_at(vector.data, size) if size else b""
    _vec_delete(ctypes.byref(vector))
    return text.rstrip(b"\0").decode("utf-8", "replace")


def take_error(error: int | None) -> str | None:
    """The message of an owned error, which is deleted; None when there is none."""
    if not error:
        return None
    text = _read(error, _error_message)
    _error_delete(error)
    return text


def raise_error(error: int | None) -> None:
    """Raise CapiError for an owned error pointer; does nothing for NULL."""
    text = take_error(error)
    if text is None:
        return
    if "maximum concurrent" in text:
        raise PoolExhausted(text)
    raise CapiError(text)


def raise_failure(error: int | None, trap: int | None) -> None:
    """Raise what an asynchronous call ended with, reading and freeing both."""
    if trap:
        code = ctypes.c_uint8(0)
        known = _trap_code(trap, ctypes.byref(code))
        text = _read(trap, _trap_message)
        _trap_delete(trap)
        take_error(error)
        raise GuestTrap(text, code.value if known else TrapCode.NONE)
    text_or_none = take_error(error)
    if text_or_none is None:
        return
    if "maximum concurrent" in text_or_none:
        raise PoolExhausted(text_or_none)
    raise GuestTrap(text_or_none, TrapCode.NONE)
