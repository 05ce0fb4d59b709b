"""The process that compiles one upload and dies: `python -m runtime.compile_child`.

Two messages come in by stdin: the image of the JavaScript engine (empty where there is none), which is ours, and the
job, which is a tenant's. Two go out by stdout: an empty one when it is ready for its job, and the answer. All are
MessagePack, with their size before them. It may be long between the two: a child that was started in advance has done
all that takes time, also once what it will do for JavaScript: the first time takes three times as long.

It holds no key, opens no file, and has limits on memory and files before it reads the first byte, and on CPU time
before it looks at the job. It instantiates the module once, because a start function is tenant code, which control must
never run; of a JavaScript worker it runs the top level.
"""

from __future__ import annotations

import hashlib
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace

import msgpack

from model.limits import FETCH_LIMITS
from runtime.abi.core_module.wasi import GuestExit
from runtime.capi.engine_store import Engine, EngineSettings
from runtime.capi.failures import CapiError, GuestTrap
from runtime.capi.guest import AbiViolation, Guest
from runtime.capi.guest_pages import PageMap
from runtime.compile_job import (
    COMPILE_CPU_S,
    COMPILE_MEMORY_BYTES,
    MAX_MEMORY_IMAGE_BYTES,
    MESSAGE_SIZE,
    MODULE,
    STARTUP_CPU_MS,
)
from runtime.javascript import bundle
from runtime.javascript.loading import JavaScript, LoadFailed
from runtime.linking import make_linker


def _limit_itself() -> None:
    # Private writable memory; RLIMIT_AS would count the address space that the engine only reserves.
    resource.setrlimit(resource.RLIMIT_DATA, (COMPILE_MEMORY_BYTES, COMPILE_MEMORY_BYTES))
    # Not 0: a module's initial memory is kept in a memfd, which counts as a file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_MEMORY_IMAGE_BYTES, MAX_MEMORY_IMAGE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))


def _limit_cpu() -> None:
    """From now on, not from the start: one that was kept waiting for hours has used some, by the engine's ticks."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime) + COMPILE_CPU_S
    # SIGXCPU, by which whoever reaps it knows why; the SIGKILL that follows may also come from elsewhere.
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + 2))


def compile_and_try(engine: Engine, wasm: bytes, memory_bytes: int) -> dict[str, object]:
    """`{image, startup_us}` or `{error}`, whose text is for whoever uploaded the module."""
    try:
        module = engine.compile(wasm)
        pre = make_linker(engine).instantiate_pre(module)
    except CapiError as error:
        return {"error": f"the module is not valid here: {error}"}
    guest = Guest(engine, memory_bytes, STARTUP_CPU_MS * 1_000_000)
    started = time.thread_time_ns()
    try:
        guest.begin_instantiate(pre)
        while not guest.poll():
            if guest.wanted is not None or guest.yielded:
                return {"error": "the start function calls the host; it may only set up memory"}
        guest.finish()
    except (GuestTrap, AbiViolation, GuestExit) as error:
        if guest.stopped == "cpu":
            return {"error": f"the start function used more than {STARTUP_CPU_MS} ms of CPU time"}
        return {"error": f"the module failed when it was instantiated: {str(error).splitlines()[-1].strip()}"}
    finally:
        guest.close()
    startup_us = (time.thread_time_ns() - started) // 1000
    return {"image": module.image(), "startup_us": startup_us}


def load(javascript: JavaScript | None, data: bytes, memory_bytes: int) -> dict[str, object]:
    """`{delta, handlers, entrypoints, startup_us, lines}`, or `{script}`: what JavaScript says, or `{error}`."""
    if javascript is None:
        return {"error": "there is no JavaScript engine in this compile child"}
    try:
        # Of the bundle alone, so that the same one leaves the same behind.
        loaded = javascript.load(bundle.decode(data), hashlib.sha256(data).digest(), memory_bytes)
    except LoadFailed as failed:
        return {"script": asdict(failed.error)}
    return {
        "delta": loaded.delta,
        "handlers": sorted(loaded.handlers),
        "entrypoints": list(loaded.entrypoints),
        "startup_us": loaded.startup_us,
        "lines": loaded.lines,
    }


def main(confine: Callable[[], object] = lambda: None) -> None:
    """`confine` gives up what a compile doesn't need, before the first byte is read."""
    _limit_itself()
    pages = _page_map()
    confine()
    # Limits are counted in seconds here, and one that waits for its upload should cost nothing: ticks are seldom.
    engine = Engine(replace(EngineSettings(), slots=2, tick_s=0.02, accelerator="off"))
    image = _read()
    javascript = _practised(JavaScript(engine, image, pages)) if image else None
    _write(b"")
    job = _read()
    if not job:
        return  # nobody needs it any more
    _limit_cpu()
    kind, data, memory_bytes = msgpack.unpackb(job, max_bin_len=1 << 30)
    answer = (
        compile_and_try(engine, data, memory_bytes)
        if kind == MODULE
        else load(javascript, data, memory_bytes)
    )
    _write(msgpack.packb(answer))
    # Whoever waits for the end waits for nothing more: taking everything down in order takes 20 ms.
    os._exit(0)


def _page_map() -> PageMap | None:
    """Of this process alone; None without /proc: then memories are compared whole."""
    with suppress(OSError):
        return PageMap()
    return None


def _practised(javascript: JavaScript) -> JavaScript:
    """It has loaded a worker of ours: code, pages and caches are where they will be needed."""
    worker = bundle.Module("worker.js", bundle.ModuleType.ESM, b"export default { fetch() {} };")
    with suppress(LoadFailed):
        javascript.load(bundle.make(worker.name, [worker]), bytes(32), FETCH_LIMITS.memory_bytes)
    return javascript


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(MESSAGE_SIZE.pack(len(data)))
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _read() -> bytes:
    """The next message, with its size before it; b"" at the end of all."""
    size = sys.stdin.buffer.read(MESSAGE_SIZE.size)
    return sys.stdin.buffer.read(*MESSAGE_SIZE.unpack(size)) if size else b""


if __name__ == "__main__":
    main()
