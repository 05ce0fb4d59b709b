"""What a guest may import: host functions behind C callbacks, and modules linked with them.

Callbacks run on the guest's fiber stack: they copy bytes, count, and note what is wanted. Decoding, checking
and logging happen in whoever polls. No exception crosses into C: it is kept on *its own* guest and raised
after the poll.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from ctypes import c_void_p, memmove, string_at
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import wasmtime

from runtime.capi.accelerator.loading import load
from runtime.capi.engine_store import Engine, Module
from runtime.capi.failures import CapiError, raise_error
from runtime.capi.frame import FLAG_AT, I32_RESULT, KIND_I32, CallState
from runtime.capi.guest import Guest, polling
from runtime.capi.library import FUNC_ASYNC_CALLBACK, bind

if TYPE_CHECKING:
    from runtime.capi.spares import Spares

_pre_delete = bind("wasmtime_instance_pre_delete")
_linker_new = bind("wasmtime_linker_new")
_linker_define = bind("wasmtime_linker_define_async_func")
_linker_instantiate_pre = bind("wasmtime_linker_instantiate_pre")
_trap_new = bind("wasmtime_trap_new")
_POINTER = struct.Struct("<Q")

#: Synchronous host calls that one slice off the loop may make: each takes the GIL from the loop.
SYNC_CALLS_IN_POOL: Final = 64


@dataclass(frozen=True, slots=True)
class HostFunction:
    """One import. `run(guest, *arguments)` gets unsigned 32-bit integers (64-bit ones where `params` says so)
    and answers the i32 result, or None when it has none, or has called `guest.suspend`. It runs on the fiber
    stack: no decoding, no logging, no Python deeper than a few frames. AbiViolation becomes a trap.
    """

    module: str
    name: str
    params: str  # one letter each: "i" for i32, "l" for i64
    has_result: bool
    run: Callable[..., int | None]
    #: The accelerator's import that does the same, and calls `run` for what is unusual; and the size it takes.
    native: str | None = None
    native_limit: int = 0


class _Import(ctypes.Structure):
    """guest.h has the same."""

    _fields_ = (("fallback", FUNC_ASYNC_CALLBACK), ("limit", ctypes.c_uint64))


def _trampoline(function: HostFunction) -> Any:
    """The C callback of one import; the returned object must live as long as any instance."""
    layout = "<" + "".join("8xI20x" if letter == "i" else "8xQ16x" for letter in function.params)
    unpack = struct.Struct(layout).unpack
    size = len(function.params) * CallState.VALUE_SIZE
    run = function.run
    has_result = function.has_result

    def call(
        _data: int,
        _caller: int,
        args: int,
        _nargs: int,
        results: int,
        _nresults: int,
        trap: int,
        continuation: int,
    ) -> None:
        guest: Guest = polling.guest
        try:
            flag = guest._frame.buffer
            flag[FLAG_AT] = 1
            memmove(continuation, guest._frame.continuation, 24)
            result = run(guest, *unpack(string_at(args, size)))
            if guest.wanted is not None:
                guest._results = results
                flag[FLAG_AT] = 0
                return
            if has_result:
                memmove(results, I32_RESULT.pack(KIND_I32, result), I32_RESULT.size)
            if guest.in_pool:
                guest.sync_calls += 1
                if guest.sync_calls > SYNC_CALLS_IN_POOL:
                    guest.yielded = True
                    flag[FLAG_AT] = 0
        except BaseException as error:
            guest.violation = error
            guest.wanted = None
            memmove(trap, _POINTER.pack(_trap_new(b"host function", 13)), 8)

    return FUNC_ASYNC_CALLBACK(call)


class Linker:
    """Owns a wasmtime_linker_t with our host functions, which live as long as the engine: instances call them
    when this object is long gone.
    """

    def __init__(self, engine: Engine, functions: Sequence[HostFunction]) -> None:
        self._pointer: int = _linker_new(engine.pointer)
        types = {"i": wasmtime.ValType.i32, "l": wasmtime.ValType.i64}
        for function in functions:
            results = [wasmtime.ValType.i32()] if function.has_result else []
            signature = wasmtime.FuncType([types[letter]() for letter in function.params], results)
            callback = _trampoline(function)
            data = None
            engine.callbacks.append(callback)
            if engine.accelerated and function.native is not None:
                fallback = _Import(callback, function.native_limit)
                engine.callbacks.append(fallback)
                data = ctypes.addressof(fallback)
                callback = FUNC_ASYNC_CALLBACK(load().imports()[function.native])
            module, name = function.module.encode(), function.name.encode()
            raise_error(
                _linker_define(
                    self._pointer, module, len(module), name, len(name), signature.ptr(), callback, data, None
                )
            )

    def instantiate_pre(self, module: Module) -> InstancePre:
        """Resolve the module's imports once. Raises CapiError naming the import that nothing provides."""
        out = c_void_p()
        raise_error(_linker_instantiate_pre(self._pointer, module.pointer, ctypes.byref(out)))
        if out.value is None:
            raise CapiError("the linker gave no instance")
        return InstancePre(out.value)


class InstancePre:
    """Owns a wasmtime_instance_pre_t: a module with its imports resolved, ready to be instantiated."""

    #: What is copied into each instance's memory before anything runs in it (runtime.javascript.delta); b"": nothing.
    delta: bytes = b""
    #: Where its instances are kept for the next event when one has ended well; None: each is deleted.
    spares: Spares | None = None

    def __init__(self, pointer: int) -> None:
        self._pointer: int | None = pointer

    @property
    def pointer(self) -> int:
        """Borrowed until close()."""
        if self._pointer is None:
            raise ValueError("instance-pre already closed")
        return self._pointer

    def close(self) -> None:
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            _pre_delete(pointer)


class DeltaPre(InstancePre):
    """Another's instance-pre, borrowed for as long as that one is not closed, with a delta of its own."""

    def __init__(self, base: InstancePre, delta: bytes) -> None:
        super().__init__(base.pointer)
        self.delta = delta
        self.spares = base.spares

    def close(self) -> None:
        """Lets go of what is borrowed."""
        self._pointer = None
