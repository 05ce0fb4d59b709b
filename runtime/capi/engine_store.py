"""The one engine of a process, and the ticker that moves its epoch.

An engine reserves address space for its whole pool (slots × 4 GiB); a second one in a process can fail, and
the library panics there. So: one, sized with care, made before anything is served and after the last thing
that touches SIGSEGV, SIGILL, SIGFPE or SIGBUS handlers.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wasmtime import _bindings

from runtime.capi.accelerator.loading import decide, load
from runtime.capi.failures import CapiError, take_error
from runtime.capi.library import WASMTIME_VERSION, bind, bind_setter, check_version

_config_new = bind("wasm_config_new")
_engine_new = bind("wasm_engine_new_with_config")
_increment_epoch = bind("wasmtime_engine_increment_epoch")
_module_new = bind("wasmtime_module_new")
_module_serialize = bind("wasmtime_module_serialize")
_module_deserialize = bind("wasmtime_module_deserialize")
_module_deserialize_file = bind("wasmtime_module_deserialize_file")
_module_delete = bind("wasmtime_module_delete")
_vec_delete = bind("wasm_byte_vec_delete")

KIB = 1 << 10
MIB = 1 << 20

#: What guest code may use of the stack. The JavaScript engine ends recursion itself, with a RangeError, at 256 KiB of
#: the stack in its memory: for that its calls, native ones among them, need up to 0.9 MiB of this one. Pages that
#: nobody touches cost address space alone; those that a guest touched stay resident, since wasmtime's pool gives no
#: stack back: with 4 MiB, 100 guests that wait deep in recursion held 266 MiB.
MAX_WASM_STACK: Final = MIB
#: Host callbacks run on the guest's fiber stack, below its frames: Python needs room there even when the
#: guest has used all of its own. With 128 KiB a nested `repr` ended the process; 1.5 MiB never did.
HOST_STACK: Final = 1536 * KIB


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """`slots` is how many sandboxes can exist at once in this process."""

    slots: int = 2_000
    memory_bytes: int = 128 * MIB
    table_elements: int = 100_000
    #: How much of a slot's memory stays resident (and is zeroed by memset instead of madvise) between guests.
    keep_resident_bytes: int = 64 * KIB
    tick_s: float = 0.001
    #: One of accelerator.MODES.
    accelerator: str = "auto"


#: Features a module may use. Everything else is off: no threads or shared memory (a clock to measure a
#: neighbour with), no memory64, GC or exceptions (large, young code), one memory (the limiter is per memory).
_FEATURES: Final[dict[str, bool]] = {
    "wasm_bulk_memory": True,
    "wasm_reference_types": True,
    "wasm_multi_value": True,
    "wasm_simd": True,
    "wasm_tail_call": True,
    "wasm_threads": False,
    "shared_memory": False,
    "wasm_memory64": False,
    "wasm_multi_memory": False,
    "wasm_relaxed_simd": False,
    "wasm_gc": False,
    "gc_support": False,
    "wasm_function_references": False,
    "wasm_exceptions": False,
    "wasm_stack_switching": False,
    "wasm_wide_arithmetic": False,
    "wasm_custom_page_sizes": False,
    "wasm_component_model": False,
    "wasm_component_model_async": False,
}

_CONFIG: Final[dict[str, int | bool]] = {
    "epoch_interruption": True,
    "max_wasm_stack": MAX_WASM_STACK,
    "async_stack_size": MAX_WASM_STACK + HOST_STACK,
    "parallel_compilation": False,
    "concurrency_support": False,
    # For debuggers alone: wasmtime walks a guest's frames and unwinds from its traps without it.
    "native_unwind_info": False,
    "memory_init_cow": True,
    "cranelift_nan_canonicalization": True,
}


def fingerprint() -> bytes:
    """16 bytes that differ whenever an AOT image of ours must not be loaded here: wasmtime's version, our
    settings, the machine's architecture and CPU features.
    """
    parts = [
        WASMTIME_VERSION,
        platform.machine(),
        repr(sorted(_FEATURES.items())),
        repr(sorted(_CONFIG.items())),
    ]
    parts.append(_cpu_features())
    return hashlib.sha256("\0".join(parts).encode()).digest()[:16]


def _cpu_features() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return " ".join(sorted(line.partition(":")[2].split()))
    except OSError:
        pass
    return platform.processor()


def _make_config(settings: EngineSettings) -> int:
    """An owned wasm_config_t: the only place that makes one, so that images and engines always agree."""
    config: int = _config_new()
    pointer = ctypes.cast(config, ctypes.POINTER(_bindings.wasm_config_t))
    for name, value in (_FEATURES | _CONFIG).items():
        bind_setter(f"wasmtime_config_{name}_set")(pointer, value)
    pool = _bindings.wasmtime_pooling_allocation_config_new()
    for name, size in {
        "total_core_instances": settings.slots,
        "total_memories": settings.slots,
        "total_tables": settings.slots,
        "total_stacks": settings.slots,
        "max_memories_per_module": 1,
        "max_tables_per_module": 1,
        "max_memory_size": settings.memory_bytes,
        "table_elements": settings.table_elements,
        "linear_memory_keep_resident": settings.keep_resident_bytes,
        # An unbounded number of warm slots would keep every slot ever used resident.
        "max_unused_warm_slots": 100,
        # What a guest leaves behind is given back in batches: 16 would keep 2 GiB of dead guests resident, 1 costs
        # 3 µs an event.
        "decommit_batch_size": 4,
        "max_core_instance_size": 4 * MIB,
    }.items():
        bind_setter(f"wasmtime_pooling_allocation_config_{name}_set")(pool, size)
    bind_setter("wasmtime_pooling_allocation_strategy_set")(pointer, pool)
    bind_setter("wasmtime_pooling_allocation_config_delete")(pool)
    return config


class Engine:
    """Owns the wasm_engine_t for the process's life: it is never deleted, since guests may still run while
    the interpreter exits, and the kernel takes the memory back anyway.
    """

    def __init__(self, settings: EngineSettings) -> None:
        check_version()
        self.settings = settings
        #: Whether its guests have the short way through C.
        self.accelerated = decide(settings.accelerator)
        # The default of 5 ms would let the loop hold the GIL for five ticks before the ticker gets it.
        sys.setswitchinterval(0.0002)
        self.pointer: int = _engine_new(_make_config(settings))  # consumes the config
        if not self.pointer:
            raise CapiError("wasmtime could not make an engine with these settings")
        #: C callbacks that some instance may still call: kept as long as the engine, which is for ever.
        self.callbacks: list[object] = []
        if self.accelerated:
            # One that never asks for the GIL.
            load().start_ticker(self.pointer, int(settings.tick_s * 1e9))
        else:
            threading.Thread(target=self._tick, name="epoch-ticker", daemon=True).start()

    def _tick(self) -> None:
        sleep, tick_s, increment, engine = time.sleep, self.settings.tick_s, _increment_epoch, self.pointer
        while True:
            sleep(tick_s)
            increment(engine)

    def compile(self, wasm: bytes) -> Module:
        """Compile module bytes. Raises CapiError with the validator's words."""
        out = ctypes.c_void_p()
        message = take_error(_module_new(self.pointer, wasm, len(wasm), ctypes.byref(out)))
        if message is not None:
            raise CapiError(message)
        return Module(out.value or 0)

    def image_from_bytes(self, image: bytes) -> Module:
        """As `load_image`, of bytes that were authenticated; they are copied."""
        out = ctypes.c_void_p()
        message = take_error(_module_deserialize(self.pointer, image, len(image), ctypes.byref(out)))
        if message is not None:
            raise CapiError(message)
        return Module(out.value or 0)

    def load_image(self, path: str) -> Module:
        """Map an AOT image. It is native code: `path` must name bytes that were authenticated just now."""
        out = ctypes.c_void_p()
        message = take_error(_module_deserialize_file(self.pointer, path.encode(), ctypes.byref(out)))
        if message is not None:
            raise CapiError(message)
        return Module(out.value or 0)


class Module:
    """Owns a wasmtime_module_t."""

    def __init__(self, pointer: int) -> None:
        self._pointer: int | None = pointer

    @property
    def pointer(self) -> int:
        """Borrowed until close()."""
        if self._pointer is None:
            raise ValueError("module already closed")
        return self._pointer

    def image(self) -> bytes:
        """The AOT image, as Engine.load_image takes it from a file."""
        vector = _bindings.wasm_byte_vec_t()
        message = take_error(_module_serialize(self.pointer, ctypes.byref(vector)))
        if message is not None:
            raise CapiError(message)
        data = ctypes.string_at(vector.data, vector.size)
        _vec_delete(ctypes.byref(vector))
        return data

    def close(self) -> None:
        """Idempotent. Instances made from it keep what they need."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            _module_delete(pointer)
