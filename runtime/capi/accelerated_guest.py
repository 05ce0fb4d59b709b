"""A guest whose usual way is one call of C: see runtime.capi.accelerator. Whatever it doesn't do is its parent's.

It has the same state in the same frame. What only C would know while it is under way is read from there: host
functions and ticks see the guest as it is in that moment.
"""

from __future__ import annotations

import struct
from typing import Final

from runtime.capi.accelerator.loading import load
from runtime.capi.engine_store import Engine
from runtime.capi.frame import OFFSET_OF, CallState
from runtime.capi.guest import LARGE_STORE_BYTES, Guest, live_guests, polling
from runtime.capi.linker import InstancePre

#: Of a result that is copied at once, before anybody asks for it; a larger one is read as without the accelerator.
LARGEST_RESULT: Final = 64 * 1024
#: Instances that are kept in a process: spares.c has the same number.
MOST_SPARES: Final = 16

_DONE, _WANTS, _STOPPED, _FAILED, _STATUS_BITS = 1, 2, 4, 8, 4
_MEMORY_HANDLE_AT: Final = OFFSET_OF["memory_handle"]
_DOOMED_AT: Final = OFFSET_OF["doomed"]
_IS_INSTANTIATED_AT: Final = OFFSET_OF["is_instantiated"]
_PEAK_AT: Final = OFFSET_OF["peak"]
_VALUE_AT: Final = OFFSET_OF["results"] + CallState.VALUE_OF
_U64: Final = struct.Struct("<Q")


class AcceleratedGuest(Guest):
    __slots__ = ("_c", "_doomed", "_failed", "_reply", "_result", "_spares", "_worker")

    def __init__(
        self,
        engine: Engine,
        memory_bytes: int,
        cpu_budget_ns: int,
        data: object = None,
        spares_of: InstancePre | None = None,
    ) -> None:
        #: It begins with one of its spares, if there are any, and leaves its instance there. Held, for C has their
        #: address.
        self._spares = None if spares_of is None else spares_of.spares
        self._worker = id(spares_of)
        super().__init__(engine, memory_bytes, cpu_budget_ns, data)

    def _open(self, engine: Engine, memory_bytes: int) -> None:
        self._c = load()
        self._result = 0
        self._failed = 0
        if live_guests() + MOST_SPARES >= engine.settings.slots:
            self._c.let_go()  # a slot each, and guests come first
        self._store, self._context = self._c.open(
            self._frame.base,
            engine.pointer,
            memory_bytes,
            engine.settings.table_elements,
            0 if self._spares is None else self._spares.handle,
            self._worker,
        )

    @property
    def begins_with_a_spare(self) -> bool:
        return bool(self._frame.buffer[_IS_INSTANTIATED_AT])

    def spares(self) -> int:
        """See runtime.capi.spares."""
        handle: int = self._c.spares(self._open_frame().base)
        return handle

    # -- what C reads and writes too -----------------------------------------------------------------

    @property
    def _memory(self) -> int:
        handle: int = _U64.unpack_from(self._frame.buffer, _MEMORY_HANDLE_AT)[0]
        return handle

    @_memory.setter
    def _memory(self, handle: int) -> None:
        _U64.pack_into(self._frame.buffer, _MEMORY_HANDLE_AT, handle)

    @property
    def doomed(self) -> str | None:
        return self._doomed

    @doomed.setter
    def doomed(self, why: str | None) -> None:
        self._doomed = why
        if why is not None and self._store is not None:
            self._frame.buffer[_DOOMED_AT] = 1

    @property
    def reply(self) -> bytes:
        return self._reply

    @reply.setter
    def reply(self, data: bytes) -> None:
        if self._store is not None:
            self._c.offer(self._frame.base, data)
        self._reply = data  # the frame has its address: it lives as long as that

    # -- calls ---------------------------------------------------------------------------------------

    def first_slice(self, pre: InstancePre, handler: str, event: bytes, initialize: bool) -> int:
        polling.guest = self
        self.sync_calls = 0
        stage: int
        stage, status, left = self._c.first_slice(
            self._open_frame().base,
            pre.pointer,
            initialize,
            handler.encode(),
            event,
            max(0, self.cpu_budget_ns - self.cpu_ns),
            self.slice_ticks,
            self.tick_ns,
            LARGEST_RESULT,
            LARGE_STORE_BYTES,
            pre.delta,
        )
        self._charge(status)
        if status & _WANTS:
            self.wanted = self._c.wanted(self._frame.base)
        if stage % 2:
            self._future = left
        elif left is not None:
            self._concluded(left)
        return stage

    def poll(self) -> bool:
        future = self._future
        if future is None:
            raise ValueError("nothing was begun in this guest, or it is closed already")
        polling.guest = self
        self.sync_calls = 0
        status: int = self._c.poll(
            self._frame.base,
            future,
            max(0, self.cpu_budget_ns - self.cpu_ns),
            self.slice_ticks,
            self.tick_ns,
        )
        self._charge(status)
        if status & _WANTS:
            self.wanted = self._c.wanted(self._frame.base)
        if status & _DONE:
            self._future = None
            return True
        return False

    def go_on(self, reply: bytes) -> bool:
        future = self._future
        if future is None or self._results:
            return super().go_on(reply)
        polling.guest = self
        self.sync_calls = 0
        # Answered: an import of Python's that is called meanwhile takes what stands here for its own.
        self.wanted = None
        self._reply = reply
        status, has = self._c.go_on(
            self._frame.base,
            future,
            reply,
            max(0, self.cpu_budget_ns - self.cpu_ns),
            self.slice_ticks,
            self.tick_ns,
            LARGEST_RESULT,
            LARGE_STORE_BYTES,
        )
        self._charge(status)
        self.wanted = has if status & _WANTS else None
        if not status & _DONE:
            return False
        self._future = None
        if has is not None:
            self._concluded(has)
        return True

    def _charge(self, status: int) -> None:
        spent = status >> _STATUS_BITS
        self._failed = status & _FAILED
        self.cpu_ns += spent
        if spent > self.longest_ns and not self.in_pool:
            self.longest_ns = spent
        if status & _STOPPED and self.stopped is None:
            self.stopped = self._doomed or "cpu"

    def restore(self, delta: bytes) -> None:
        if not self._memory or not self._c.restore(self._open_frame().base, delta):
            super().restore(delta)  # which says why not

    def finish(self) -> None:
        if self._failed:
            self._failed = 0
            super().finish()

    def resume(self, result: int) -> None:
        results, self._results = self._results, 0
        self._c.resume(self._frame.base, results, result)
        self.wanted = None

    def conclude(self) -> bool:
        result = self._c.conclude(self._open_frame().base, LARGEST_RESULT, LARGE_STORE_BYTES)
        if result is None:
            return False
        self._concluded(result)
        return True

    def _concluded(self, result: bytes) -> None:
        self._result = _U64.unpack_from(self._frame.buffer, _VALUE_AT)[0]
        self.peak_memory = _U64.unpack_from(self._frame.buffer, _PEAK_AT)[0]
        self.result_bytes = result
        self._store = None
        self._store_is_gone()

    def result_i64(self) -> int:
        return self._result if self._store is None else super().result_i64()


def open_guest(
    engine: Engine,
    memory_bytes: int,
    cpu_budget_ns: int,
    data: object = None,
    spares_of: InstancePre | None = None,
) -> Guest:
    """A guest by the driver that this process uses. With `spares_of` it begins with a spare of that, if there is one,
    and is to be begun by `first_slice`.
    """
    if engine.accelerated:
        return AcceleratedGuest(engine, memory_bytes, cpu_budget_ns, data, spares_of)
    return Guest(engine, memory_bytes, cpu_budget_ns, data)
