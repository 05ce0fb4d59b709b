"""Other ways to run a guest in a fresh sandbox for each request, from Python: Extism, and wasmtime-py's classes.

Each does the least that answers: the event's bytes are made once, nothing is routed, counted, logged or bounded
in CPU time, and no guest can wait for anything. Runs in the child of benchmarks/raw_server.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Final

import wasmtime
from wasmtime import _bindings

from benchmarks.host import sample
from model.messages import Client, IncomingRequest
from runtime.abi.core_module import codec

_HEADERS: Final = [
    (b"host", b"hello.localhost"),
    (b"user-agent", b"tenantry-bench"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip"),
]
_SLOTS: Final = 100


def _event() -> bytes:
    url, host = "http://hello.localhost/", "hello.localhost"
    client = Client("127.0.0.1", False, "0" * 16)
    return codec.encode_request(
        IncomingRequest("GET", url, host, "/", _HEADERS, None, None, client), {}, {}, None
    )


def wasmtime_classes(body: bytes) -> Callable[[], bytes]:
    """Store, InstancePre, Func and Memory of wasmtime-py, on the pooling allocator. The guest is our hello."""
    config = wasmtime.Config()
    config.epoch_interruption = True
    pool = _bindings.wasmtime_pooling_allocation_config_new()
    for name, value in {
        "total_core_instances": _SLOTS,
        "total_memories": _SLOTS,
        "total_tables": _SLOTS,
        "total_stacks": _SLOTS,
        "max_memory_size": 128 << 20,
        "linear_memory_keep_resident": 64 << 10,
        "max_unused_warm_slots": _SLOTS,
    }.items():
        getattr(_bindings, f"wasmtime_pooling_allocation_config_{name}_set")(pool, value)
    _bindings.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    _bindings.wasmtime_pooling_allocation_config_delete(pool)
    engine = wasmtime.Engine(config)
    module = wasmtime.Module(engine, sample("hello"))
    pre = wasmtime.Linker(engine).instantiate_pre(module)
    event = _event()
    size = len(event)

    def run() -> bytes:
        store = wasmtime.Store(engine)
        store.set_limits(memory_size=128 << 20, instances=1, tables=1, memories=1)
        store.set_epoch_deadline(1_000)
        exports = pre.instantiate(store).exports(store)
        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        pointer = exports["alloc"](store, size)  # type: ignore[operator]
        memory.write(store, event, pointer)
        result = exports["fetch"](store, pointer, size)  # type: ignore[operator]
        start = result >> 32 & 0xFFFF_FFFF
        data = bytes(memory.read(store, start, start + (result & 0xFFFF_FFFF)))
        store.close()
        return codec.decode_response(data).body

    return _checked(run, body)


def extism_plugin(body: bytes) -> Callable[[], bytes]:
    """A compiled plugin, instantiated for each request: Extism's own way to be fresh and fast."""
    extism = importlib.import_module("extism.extism")  # the package does not pass CompiledPlugin on
    compiled = extism.CompiledPlugin(_extism_hello(body), functions=[])
    event = _event()

    def run() -> bytes:
        answer: bytes = extism.Plugin(compiled).call("fetch", event)
        return answer

    return _checked(run, body)


def _extism_hello(body: bytes) -> bytes:
    """A plugin that answers `body`, whatever it is asked."""
    stores = "".join(
        f"(call $store_u8 (i64.add (local.get $to) (i64.const {at})) (i32.const {byte}))"
        for at, byte in enumerate(body)
    )
    text = f"""(module
        (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
        (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
        (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
        (memory (export "memory") 1)
        (func (export "fetch") (result i32) (local $to i64)
            (local.set $to (call $alloc (i64.const {len(body)})))
            {stores}
            (call $output_set (local.get $to) (i64.const {len(body)}))
            (i32.const 0)))"""
    return bytes(wasmtime.wat2wasm(text))


def _checked(run: Callable[[], bytes], body: bytes) -> Callable[[], bytes]:
    answer = run()
    if answer != body:
        raise ValueError(f"the sandbox answered {answer[:100]!r} instead of {body!r}")
    return run


SANDBOXES: Final[Mapping[str, Callable[[bytes], Callable[[], bytes]]]] = {
    "extism": extism_plugin,
    "wasmtime_py": wasmtime_classes,
}
