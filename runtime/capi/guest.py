"""One guest: a store, an instance in it, and the call that runs there as a fiber.

What C keeps an address of (arguments, results, error and trap slots, the continuation's flag) lives in a
`CallState` that outlives the fiber; the order of deletion is always future, store, state. One thread at a
time may touch a guest; it may be another thread each time.

Callbacks run on the guest's fiber stack (runtime.capi.linker has those of imports). No exception crosses into C: it
is kept on *its own* guest and raised after the poll.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable
from ctypes import c_uint8, memmove, string_at
from time import thread_time_ns
from typing import TYPE_CHECKING, Final

from runtime.capi.engine_store import Engine
from runtime.capi.failures import raise_failure, take_error
from runtime.capi.frame import (
    CLOSED,
    FLAG_AT,
    I32_RESULT,
    KIND_I32,
    OFFSET_OF,
    CallState,
    Frame,
    give_back,
    take_frame,
)
from runtime.capi.guest_pages import PageMap
from runtime.capi.guest_pages import give_back as give_back_pages
from runtime.capi.library import EPOCH_CALLBACK, bind
from runtime.javascript.delta import PAGE_BYTES, Written, memory_bytes_of, parse

if TYPE_CHECKING:
    from runtime.capi.linker import InstancePre

_store_new = bind("wasmtime_store_new")
_store_delete = bind("wasmtime_store_delete")
#: madvise of a large memory takes up to 146 ms: with the GIL kept, a thread would hold the loop up as well.
_store_delete_slowly = bind("wasmtime_store_delete", drop_gil=True)
_store_context = bind("wasmtime_store_context")
_store_limiter = bind("wasmtime_store_limiter")
_epoch_callback = bind("wasmtime_store_epoch_deadline_callback")
_set_epoch_deadline = bind("wasmtime_context_set_epoch_deadline")
_pre_instantiate = bind("wasmtime_instance_pre_instantiate_async")
_export_get = bind("wasmtime_instance_export_get")
_call_async = bind("wasmtime_func_call_async")
_poll = bind("wasmtime_call_future_poll")
_future_delete = bind("wasmtime_call_future_delete")
#: A future that is done has nothing left to run: no need to hand the GIL to whoever waits for it.
_done_future_delete = bind("wasmtime_call_future_delete", drop_gil=False)
_memory_data = bind("wasmtime_memory_data")
_memory_size = bind("wasmtime_memory_data_size")
_memory_grow = bind("wasmtime_memory_grow")
_error_new: Callable[[bytes], int] = bind("wasmtime_error_new")

_EXTERN_FUNC, _EXTERN_MEMORY = 0, 3
_YIELD, _CONTINUE = 1, 0  # wasmtime_update_deadline_kind_t
_VAL_SIZE: Final = CallState.VALUE_SIZE
_OF: Final = CallState.EXTERN_OF
#: A call's i32 arguments, by their number.
_I32_ARGS: Final = tuple(struct.Struct("<" + f"B7xI{_VAL_SIZE - 12}x" * count) for count in range(3))
_I32: Final = struct.Struct("<I")
_I64: Final = struct.Struct("<Q")

#: A store with more memory than this is deleted off the loop: madvise of 120 MB takes up to 146 ms.
LARGE_STORE_BYTES: Final = 8 << 20


class AbiViolation(Exception):
    """The guest broke the ABI: a pointer out of range, bytes that are no MessagePack. Its own bug."""


class DeltaDoesNotFit(AbiViolation):
    """The memory that a worker begins with is more than its limit allows."""


_ARGS_AT: Final = OFFSET_OF["args"]
_VALUE_AT: Final = OFFSET_OF["results"] + CallState.VALUE_OF

#: How far the calls of an event have come: an odd number has one under way, an even one has one that ended, and
#: is to be finished. The accelerator (guest.h) has the same numbers.
INSTANTIATING, INSTANTIATED = 1, 2
INITIALIZING, INITIALIZED = 3, 4
ALLOCATING, ALLOCATED = 5, 6
HANDLING, HANDLED = 7, 8

polling = threading.local()
_live = 0


def live_guests() -> int:
    """Guests whose store is not deleted yet: a leak shows here first."""
    return _live


class Guest:
    """Owns a store and everything in it. Use: begin_…, poll until done, finish; close at last, always.

    `memory_bytes` bounds linear memory, `cpu_budget_ns` the guest's CPU time over all calls.
    """

    __slots__ = (
        "_context",
        "_frame",
        "_future",
        "_memory",
        "_results",
        "_store",
        "clock_ns",
        "cpu_budget_ns",
        "cpu_ns",
        "data",
        "doomed",
        "in_pool",
        "longest_ns",
        "peak_memory",
        "reply",
        "result_bytes",
        "slice_start",
        "slice_ticks",
        "stopped",
        "sync_calls",
        "tick_ns",
        "violation",
        "wanted",
        "yielded",
    )

    def __init__(self, engine: Engine, memory_bytes: int, cpu_budget_ns: int, data: object = None) -> None:
        global _live
        self._future: int | None = None
        self._results = 0
        self._frame = take_frame()
        self._store: int | None = None
        self._context: int
        #: CPU used so far; the poller adds to it. Limits are checked against it at each tick.
        self.cpu_ns = 0
        self.cpu_budget_ns = cpu_budget_ns
        #: The longest it kept the loop in one poll.
        self.longest_ns = 0
        self.slice_start = 0
        self.slice_ticks = 1
        self.tick_ns = int(engine.settings.tick_s * 1e9)
        #: A word that ends the guest at its next tick, and never lets it be polled again.
        self.doomed: str | None = None
        #: Why a tick ended it: "cpu" or the word in `doomed`.
        self.stopped: str | None = None
        self.violation: BaseException | None = None
        #: What the guest asked for when it suspended itself; the poller takes it and answers with `resume`.
        self.wanted: bytes | None = None
        #: It suspended only to give the loop a turn.
        self.yielded = False
        self.in_pool = False
        self.sync_calls = 0
        self.reply = b""
        #: See `conclude`.
        self.result_bytes: bytes | None = None
        #: Bytes of memory when the store was deleted by `conclude`.
        self.peak_memory = 0
        #: What the guest's clocks say, UNIX ns; None: the real time.
        self.clock_ns: int | None = 0
        self.data = data
        self._open(engine, memory_bytes)
        _live += 1

    def _open(self, engine: Engine, memory_bytes: int) -> None:
        """Make the store, and bound it."""
        #: Address of the memory's handle; 0 while there is none: before `find_exports`, and after `close`.
        #: The library panics, and so ends the process, when it is handed another store's.
        self._memory = 0
        self._store = store = _store_new(engine.pointer, None, None)
        self._context = _store_context(store)
        _store_limiter(store, memory_bytes, engine.settings.table_elements, 1, 1, 1)
        _epoch_callback(store, _on_epoch, None, None)
        _set_epoch_deadline(self._context, 1)

    # -- calls ---------------------------------------------------------------------------------------

    def begin_instantiate(self, pre: InstancePre) -> None:
        frame = self._open_frame()
        self._future = _pre_instantiate(pre.pointer, self._context, frame.instance, frame.trap, frame.error)

    @property
    def begins_with_a_spare(self) -> bool:
        """Its instance is there already: one that was kept (runtime.capi.spares). Never here."""
        return False

    def first_slice(self, pre: InstancePre, handler: str, event: bytes, initialize: bool) -> int:
        """Begin the event, and go as far as can be gone in one call of C: how far that is.

        Here it is the first poll of the instantiation; what follows is the caller's.
        """
        self.begin_instantiate(pre)
        return INSTANTIATED if self.poll() else INSTANTIATING

    def conclude(self) -> bool:
        """After the handler has ended well: whether its result's bytes are in `result_bytes`, and the store is deleted
        already. Never here: `read` and `close` follow.
        """
        return False

    def begin_call(self, export: str, *args: int) -> None:
        """Call an export found by `find_exports`: "alloc" or "handler", with i32 arguments."""
        frame = self._open_frame()
        count = len(args)
        if count == 2:
            _I32_ARGS[2].pack_into(frame.buffer, _ARGS_AT, KIND_I32, args[0], KIND_I32, args[1])
        elif count:
            _I32_ARGS[1].pack_into(frame.buffer, _ARGS_AT, KIND_I32, args[0])
        function = frame.alloc if export == "alloc" else frame.handler
        results = 0 if export == "start" else 1
        self._future = _call_async(
            self._context,
            function + _OF,
            frame.args,
            count,
            frame.results,
            results,
            frame.trap,
            frame.error,
        )

    def poll(self) -> bool:
        """Run the fiber until it ends (True), suspends or is preempted (False). Charges `cpu_ns`."""
        future = self._future
        if future is None:
            raise ValueError("nothing was begun in this guest, or it is closed already")
        polling.guest = self
        self.sync_calls = 0
        self.slice_start = start = thread_time_ns()
        done: bool = _poll(future)
        spent = thread_time_ns() - start
        self.cpu_ns += spent
        if spent > self.longest_ns and not self.in_pool:
            self.longest_ns = spent
        return done

    def finish(self) -> None:
        """After poll() said True: free the future and raise what the call ended with.

        Raises GuestTrap, AbiViolation, PoolExhausted, or what a host function raised.
        """
        future, self._future = self._future, None
        if future is not None:
            _done_future_delete(future)
        state = self._frame.state
        error, trap = state.error, state.trap
        if error or trap:
            # Empty again for the next call, and for the next guest that gets this frame.
            state.error = state.trap = None
            violation = self.violation
            if violation is not None:
                try:
                    raise_failure(error, trap)
                except Exception as trapped:
                    raise violation from trapped
            raise_failure(error, trap)

    def result_i32(self) -> int:
        return int(_I32.unpack_from(self._frame.buffer, _VALUE_AT)[0])

    def result_i64(self) -> int:
        return int(_I64.unpack_from(self._frame.buffer, _VALUE_AT)[0])

    def suspend(self, wanted: bytes) -> None:
        """From a host function: park the fiber until `resume`. Its result is what `resume` gives."""
        self.wanted = wanted

    def resume(self, result: int) -> None:
        """Answer the suspended host function; the next poll goes on from there."""
        memmove(self._results, I32_RESULT.pack(KIND_I32, result), I32_RESULT.size)
        self.wanted = None
        self._frame.buffer[FLAG_AT] = 1

    def resume_with(self, reply: bytes) -> None:
        """As `resume`, with the reply that `take` reads."""
        self.reply = reply
        self.resume(len(reply))

    def go_on(self, reply: bytes) -> bool:
        """`resume_with` and `poll`."""
        self.resume_with(reply)
        return self.poll()

    def resume_yielded(self) -> None:
        self.yielded = False
        self._frame.buffer[FLAG_AT] = 1

    # -- exports and memory --------------------------------------------------------------------------

    def find_exports(self, handler: str, *, needs_alloc: bool) -> None:
        """Look up memory, `alloc` and the handler. Raises AbiViolation when one is missing."""
        frame = self._open_frame()
        self._export(b"memory", frame.memory, _EXTERN_MEMORY)
        self._memory = frame.memory + _OF
        if needs_alloc:
            self._export(b"alloc", frame.alloc, _EXTERN_FUNC)
        self._export(handler.encode(), frame.handler, _EXTERN_FUNC)

    def _export(self, name: bytes, into: int, kind: int) -> None:
        if not _export_get(self._context, self._frame.instance, name, len(name), into):
            raise AbiViolation(f"the module does not export `{name.decode()}`")
        if self._frame.buffer[into - self._frame.base] != kind:
            raise AbiViolation(f"the export `{name.decode()}` is of another kind")

    def memory_size(self) -> int:
        """Bytes of linear memory now. Memory never shrinks, so at the end this is the peak."""
        size: int = _memory_size(self._context, self._memory or self._no_memory())
        return size

    def read(self, pointer: int, size: int) -> bytes:
        """Copy guest memory. Raises AbiViolation when any byte of it is out of bounds as they are now."""
        memory = self._memory or self._no_memory()
        if pointer + size > _memory_size(self._context, memory):
            raise AbiViolation(f"{size} bytes at {pointer} are outside of memory")
        return string_at(_memory_data(self._context, memory) + pointer, size)

    def written(self, pages: PageMap | None) -> list[Written]:
        """Copies of all that is not as it was mapped, and of some that is; without `pages` of the whole memory."""
        memory = self._memory or self._no_memory()
        size: int = _memory_size(self._context, memory)
        base: int = _memory_data(self._context, memory)
        stretches = [(0, size)] if pages is None else pages.written(base, size)
        return [Written(at, string_at(base + at, length)) for at, length in stretches]

    def write(self, pointer: int, data: bytes) -> None:
        memory = self._memory or self._no_memory()
        if pointer + len(data) > _memory_size(self._context, memory):
            raise AbiViolation(f"{len(data)} bytes at {pointer} are outside of memory")
        memmove(_memory_data(self._context, memory) + pointer, data, len(data))

    def restore(self, delta: bytes) -> None:
        """Make the memory of a fresh instance what `delta` says, also when it has been tried before.

        Raises DeltaDoesNotFit, and MalformedDelta.
        """
        memory = self._memory or self._no_memory()
        # Before anything else: a delta may have a million runs, and this can be so for each of a worker's events.
        wanted = memory_bytes_of(delta)
        missing = wanted - _memory_size(self._context, memory)
        if missing > 0:
            before = ctypes.c_uint64()
            grow = missing // PAGE_BYTES
            if take_error(_memory_grow(self._context, memory, grow, ctypes.byref(before))) is not None:
                raise DeltaDoesNotFit(
                    f"the worker needs {wanted >> 20} MiB of memory before its first line runs, for what its top level"
                    " left behind; its limit is below that"
                )
        runs = parse(delta).runs
        base = _memory_data(self._context, memory)
        for at, start, size in runs:
            memmove(base + at, delta[start : start + size], size)

    def give_back_memory(self) -> int:
        """The bytes of memory that it had touched. They are gone: it can't run again, and is to be closed."""
        memory, context = self._memory, self._context
        return give_back_pages(_memory_data(context, memory), _memory_size(context, memory)) if memory else 0

    def _no_memory(self) -> int:
        if self._store is None:
            raise ValueError("this guest is closed already")
        raise AbiViolation("the start function called the host, which may be called only from an export")

    # -- the end -------------------------------------------------------------------------------------

    def close(self, *, off_loop: bool = False) -> None:
        """Delete future, store and state, in that order. Idempotent. Nobody may be polling.

        `off_loop`: from a thread, for a store that takes long to delete.
        """
        store, self._store = self._store, None
        if store is None:
            return
        self._memory = 0
        self._drop_future()
        state = self._frame.state
        if state.error or state.trap:
            error, trap = state.error, state.trap
            state.error = state.trap = None
            try:
                raise_failure(error, trap)
            except Exception:  # noqa: S110 - read only to free it: the event ended otherwise already
                pass
        (_store_delete_slowly if off_loop else _store_delete)(store)
        self._store_is_gone()

    def _store_is_gone(self) -> None:
        global _live
        _live -= 1
        frame, self._frame = self._frame, CLOSED
        give_back(frame)

    def _drop_future(self) -> None:
        future, self._future = self._future, None
        if future is not None:
            _future_delete(future)

    def _open_frame(self) -> Frame:
        if self._store is None:
            raise ValueError("this guest is closed already")
        return self._frame


@EPOCH_CALLBACK  # type: ignore[untyped-decorator]  # a ctypes prototype has no type
def _on_epoch(
    _context: int, _data: int, delta: ctypes._Pointer[ctypes.c_uint64], kind: ctypes._Pointer[c_uint8]
) -> int:
    try:
        guest: Guest = polling.guest
        in_slice = thread_time_ns() - guest.slice_start
        if guest.doomed is not None or guest.cpu_ns + in_slice >= guest.cpu_budget_ns:
            guest.stopped = guest.doomed or "cpu"
            return _error_new(b"stopped by the host")
        delta[0] = guest.slice_ticks
        # A guest that has waited finds its deadline long past: it has not had its slice yet.
        kind[0] = _CONTINUE if in_slice < guest.tick_ns // 2 else _YIELD
        return 0
    except BaseException:
        return _error_new(b"the host's epoch callback failed")
