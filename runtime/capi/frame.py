"""The memory that C keeps addresses of while a guest's call is under way: one frame for each living guest.

`CallState` is its layout, for both drivers: the accelerator's C structure is made from it. Frames are used again.
"""

from __future__ import annotations

import ctypes
import struct
from ctypes import addressof, c_size_t, c_uint8, c_uint64, c_void_p
from typing import ClassVar, Final

from wasmtime import _bindings


class CallState(ctypes.Structure):
    _fields_ = (
        ("instance", _bindings.wasmtime_instance_t),
        ("memory", _bindings.wasmtime_extern_t),
        ("alloc", _bindings.wasmtime_extern_t),
        ("handler", _bindings.wasmtime_extern_t),
        ("args", _bindings.wasmtime_val_t * 2),
        ("results", _bindings.wasmtime_val_t * 1),
        ("error", c_void_p),
        ("trap", c_void_p),
        # What follows is the accelerator's; the ctypes driver leaves it empty.
        ("store", c_void_p),
        ("context", c_void_p),
        ("future", c_void_p),
        #: The memory's handle; NULL before exports are looked up, and after the end.
        ("memory_handle", c_void_p),
        #: Of the suspended host function.
        ("results_at", c_void_p),
        ("wanted_at", c_uint64),
        ("wanted_size", c_uint64),
        #: The reply that `take` reads: bytes that the guest's object holds.
        ("reply", c_void_p),
        ("reply_size", c_size_t),
        #: Of the slice under way, in ns of the thread's CPU time.
        ("slice_start", c_uint64),
        ("cpu_left", c_uint64),
        ("tick", c_uint64),
        ("slice_ticks", c_uint64),
        ("peak", c_uint64),
        #: Where its instance is kept when it has ended well; NULL: it is deleted.
        ("spares", c_void_p),
        #: Whose event it is, to spares.
        ("worker", c_uint64),
        ("flag", c_uint8 * 2),
        #: Set from the loop's thread while another may be polling.
        ("doomed", c_uint8),
        ("stopped", c_uint8),
        ("wants", c_uint8),
        #: It began with an instance that was kept.
        ("is_instantiated", c_uint8),
    )
    VALUE_SIZE: ClassVar[int] = ctypes.sizeof(_bindings.wasmtime_val_t)
    VALUE_OF: ClassVar[int] = _bindings.wasmtime_val_t.of.offset
    EXTERN_OF: ClassVar[int] = _bindings.wasmtime_extern_t.of.offset


OFFSET_OF: Final = {name: getattr(CallState, name).offset for name, _ in CallState._fields_}
FLAG_AT: Final = OFFSET_OF["flag"]

KIND_I32: Final = 0  # wasmtime_valkind_t
#: An i32 as a wasmtime_val_t; what follows of that is padding.
I32_RESULT: Final = struct.Struct("<B7xI")

#: The continuation's "are you ready?" is libc's strlen on a two-byte flag: "\\0" is 0, pending; "\\1\\0" is 1,
#: ready. It saves a Python callback for each poll.
_STRLEN = ctypes.cast(ctypes.CDLL(None).strlen, c_void_p).value
_CONTINUATION = struct.Struct("<QQQ")  # callback, env, finalizer


class Frame:
    """A CallState with its addresses worked out, to be used again by a later guest."""

    __slots__ = (
        "alloc",
        "args",
        "base",
        "buffer",
        "continuation",
        "error",
        "handler",
        "instance",
        "memory",
        "results",
        "state",
        "trap",
    )

    def __init__(self) -> None:
        #: The memory of `state`: bytes are read and written here several times cheaper than through ctypes.
        self.buffer = bytearray(ctypes.sizeof(CallState))
        self.state = state = CallState.from_buffer(self.buffer)
        self.base = base = addressof(state)
        self.instance = base + OFFSET_OF["instance"]
        self.memory = base + OFFSET_OF["memory"]
        self.alloc = base + OFFSET_OF["alloc"]
        self.handler = base + OFFSET_OF["handler"]
        self.args = base + OFFSET_OF["args"]
        self.results = base + OFFSET_OF["results"]
        self.error = base + OFFSET_OF["error"]
        self.trap = base + OFFSET_OF["trap"]
        self.continuation = _CONTINUATION.pack(_STRLEN or 0, base + OFFSET_OF["flag"], 0)


_free: list[Frame] = []
#: What a closed guest has in place of its own, which may be another guest's by now.
CLOSED: Final = Frame()


def take_frame() -> Frame:
    return _free.pop() if _free else Frame()


def give_back(frame: Frame) -> None:
    _free.append(frame)
