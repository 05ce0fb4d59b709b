"""Everything that one event owns: a guest, its lines, its session with the host; and the way it ends.

A sandbox runs one handler of one module, once. Whatever happens, `close` deletes all of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from time import thread_time_ns
from typing import Any

from model.capabilities import EventContext, OperationTable, WorkerEnv
from model.limits import Limits
from model.messages import Responder
from runtime.abi.core_module.host_calls import GuestIo
from runtime.abi.core_module.session import Session
from runtime.abi.core_module.wasi import flush
from runtime.capi.accelerated_guest import open_guest
from runtime.capi.engine_store import Engine
from runtime.capi.guest import (
    ALLOCATED,
    ALLOCATING,
    HANDLED,
    HANDLING,
    INITIALIZED,
    INSTANTIATED,
    INSTANTIATING,
    LARGE_STORE_BYTES,
    AbiViolation,
)
from runtime.capi.linker import InstancePre
from runtime.fiber import Lanes, Stopped, answer_at_once, drive, frozen_clock_ns

_SessionOf = tuple[
    EventContext, WorkerEnv, OperationTable, Limits, Responder | None, Callable[[], None]
]  # Session's arguments


class Sandbox:
    """Owns the guest and its session. `doom(why)` ends it from outside; `close` must be called at the end."""

    __slots__ = (
        "_closed", "_engine", "_has_memory", "_is_large", "_lanes", "_off_loop", "_session", "_session_of",
        "_tenant", "guest", "io", "limits", "peak_memory", "touched",
    )  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        lanes: Lanes,
        limits: Limits,
        context: EventContext,
        env: WorkerEnv,
        variables: tuple[bytes, ...],
        table: OperationTable,
        responder: Responder | None,
        on_response_end: Callable[[], None],
        trusted: bool,
        spares_of: InstancePre | None = None,
        off_loop: bool = False,
    ) -> None:
        self._engine = engine
        self._lanes = lanes
        self._off_loop = off_loop
        self._closed = False
        self._has_memory = False
        self._is_large = False
        self.limits = limits
        self.io = GuestIo(limits.log_lines, limits.log_bytes, variables)
        self._tenant = context.tenant
        self._session: Session | None = None
        #: What it is made of when the guest first calls the host: most never do.
        self._session_of: _SessionOf | None = (context, env, table, limits, responder, on_response_end)
        self.guest = open_guest(
            engine, limits.memory_bytes, limits.cpu_ms * 1_000_000, self.io, None if off_loop else spares_of
        )
        self.guest.clock_ns = None if trusted else frozen_clock_ns()
        self.peak_memory = 0
        #: Of a large store, when it has been deleted: bytes of memory that were resident.
        self.touched = 0

    def doom(self, why: str) -> None:
        """End it at its next tick, or now when it waits. From the loop only; the first word counts."""
        if self.guest.doomed is None:
            self.guest.doomed = why
            if self._session is not None:
                self._session.stop_waiting()
            if self.guest.in_pool:
                self._lanes.doomed(self.guest)

    def tell_visitor_left(self) -> bool:
        """Whether the guest asked to be told when the visitor leaves, and so goes on."""
        return self._session is not None and self._session.tell_visitor_left()

    @property
    def session(self) -> Session:
        """What the guest has asked of the host, and is lent by it."""
        session = self._session
        if session is None:
            if self._session_of is None:
                raise ValueError("this sandbox is closed already")
            session = self._session = Session(*self._session_of, self.guest)
        return session

    @property
    def is_waiting(self) -> bool:
        """The guest waits in a call."""
        return self._session is not None and self._session.is_waiting

    @property
    def subrequests(self) -> int:
        return 0 if self._session is None else self._session.subrequests

    def begin(
        self, pre: InstancePre, handler: str, event: bytes, *, initialize: bool
    ) -> int | Coroutine[Any, Any, int]:
        """Instantiate, hand the event over, run the handler: its i64 result, or what is to be awaited for it, at once.

        Both raise Stopped, GuestTrap, AbiViolation, PoolExhausted, GuestExit.
        """
        guest = self.guest
        reply: Awaitable[bytes] | None = None
        try:
            if self._off_loop:
                guest.begin_instantiate(pre)
                stage = INSTANTIATING
            else:
                stage = guest.first_slice(pre, handler, event, initialize)
                self._has_memory = stage >= ALLOCATING
                if stage == HANDLING:
                    done, reply = answer_at_once(guest, self._answer)
                    if done:
                        stage = HANDLED
                if stage == HANDLED:
                    return self._result()
        except Exception as failure:
            self._raise_stop(failure)
            raise
        if stage > ALLOCATED:
            event = b""  # the guest has it: who waits need not keep it, too
        return self._go_on(pre, handler, event, initialize, stage, reply)

    async def _go_on(
        self,
        pre: InstancePre,
        handler: str,
        event: bytes,
        initialize: bool,
        stage: int,
        reply: Awaitable[bytes] | None,
    ) -> int:
        guest = self.guest
        poll = guest.poll
        off_loop = self._off_loop
        try:
            if stage % 2:
                await self._drive(reply)
            if stage <= INSTANTIATED and initialize:
                guest.finish()
                guest.find_exports("_initialize", needs_alloc=False)
                guest.begin_call("start")
                if off_loop or not poll():
                    await self._drive()
            if stage <= INITIALIZED:
                guest.finish()
                guest.find_exports(handler, needs_alloc=True)
                self._has_memory = True
                if pre.delta:
                    await self._restore(pre.delta)
                guest.begin_call("alloc", len(event))
                if off_loop or not poll():
                    await self._drive()
            if stage <= ALLOCATED:
                guest.finish()
                pointer = guest.result_i32()
                if pointer == 0:
                    raise AbiViolation(f"`alloc` had no room for the event's {len(event)} bytes")
                guest.write(pointer, event)
                guest.begin_call("handler", pointer, len(event))
                event = b""
                if off_loop or not poll():
                    await self._drive()
            return self._result()
        except Exception as failure:
            self._raise_stop(failure)
            raise

    async def _restore(self, delta: bytes) -> None:
        """It takes up to some tens of milliseconds, and can't be preempted: it is the worker's CPU time."""
        guest = self.guest

        def restore() -> bool:
            started = thread_time_ns()
            guest.restore(delta)
            guest.cpu_ns += thread_time_ns() - started
            return True

        if not self._off_loop:
            restore()
        elif not await self._lanes.work_in_pool(guest, self._tenant, restore):
            raise Stopped(guest.doomed or "canceled")

    def _result(self) -> int:
        """The handler has ended."""
        guest = self.guest
        if guest.result_bytes is None:
            guest.finish()
            guest.conclude()
        if guest.result_bytes is not None:
            self._guest_is_gone()
        return guest.result_i64()

    def _raise_stop(self, failure: Exception) -> None:
        """What the host stopped fails in a way of its own."""
        if self.guest.stopped is not None and not isinstance(failure, Stopped):
            raise Stopped(self.guest.stopped) from failure

    def _drive(self, reply: Awaitable[bytes] | None = None) -> Coroutine[Any, Any, None]:
        return drive(
            self.guest, self._lanes, self._tenant, self._answer, off_loop=self._off_loop, reply=reply
        )

    def _answer(self, request: bytes) -> Awaitable[bytes] | bytes:
        guest = self.guest
        started = thread_time_ns()
        reply = self.session.answer(request)
        # Decoding and encoding for a guest is its own CPU time; waiting is not.
        guest.cpu_ns += thread_time_ns() - started
        if guest.clock_ns is not None and isinstance(reply, bytes):
            guest.clock_ns = frozen_clock_ns()
        return reply

    def read_result(self, result: int, limit: int) -> bytes:
        """The bytes that a handler's `pointer << 32 | length` names. Raises AbiViolation."""
        pointer, size = result >> 32, result & 0xFFFF_FFFF
        if size > limit:
            raise AbiViolation(
                f"the handler returned {size} bytes; at most {limit} whole, stream larger ones"
            )
        copied = self.guest.result_bytes
        return self.guest.read(pointer, size) if copied is None else copied

    def take_lines(self) -> list[tuple[int, bytes]]:
        """The lines written since the last time, finished ones only until the end."""
        lines, self.io.lines = self.io.lines, []
        return lines

    @property
    def cpu_us(self) -> int:
        """The guest's, with what others spent for it: what is counted, and more than what the limit is about."""
        session = self._session  # none was made for a guest that asked for nothing
        return (self.guest.cpu_ns + (0 if session is None else session.charged_ns)) // 1000

    @property
    def tenant(self) -> str:
        return self._tenant

    def memory_estimate(self) -> int:
        """What it holds now, for somebody else's look: while a thread runs the guest it may not be touched, and
        counts as what it may have.
        """
        if self._closed:
            return 0
        is_polled = self.guest.in_pool and self._lanes.is_polled_in_pool(self.guest)
        return self.limits.memory_bytes if is_polled else self.memory_now()

    def memory_now(self) -> int:
        """Bytes of linear memory; 0 before there is an instance, the peak after it."""
        if self._closed:
            return self.peak_memory
        return self.guest.memory_size() if self._has_memory else 0

    async def close_guest(self) -> None:
        """Delete the store, keeping the session: a body that the host passes on needs no guest any more."""
        if not self._close_small():
            self._is_large = False  # from here on it is being deleted, whatever happens to who waits for it
            await self._lanes.delete_in_pool(self._delete_large, self._tenant)

    def _close_small(self) -> bool:
        """False when there is a large store left, to be deleted off the loop."""
        if not self._closed:
            flush(self.io)
            self.peak_memory = self.memory_now()
            self._closed = True
            self._is_large = self.peak_memory > LARGE_STORE_BYTES
            if not self._is_large:
                self.guest.close()
        return not self._is_large

    def _delete_large(self) -> None:
        """In a thread."""
        self.touched = self.guest.give_back_memory()
        self.guest.close(off_loop=True)

    def _guest_is_gone(self) -> None:
        """Its last call copied the result and deleted the store."""
        flush(self.io)
        self.peak_memory = self.guest.peak_memory
        self._closed = True

    def close_at_once(self) -> bool:
        """Delete all of it, where nobody has to wait for that; else False, and `close` is to be awaited."""
        self._close_session()
        return self._close_small()

    async def close(self) -> None:
        """Delete all of it. Idempotent; returns when everything is gone."""
        try:
            self._close_session()
        finally:
            await self.close_guest()

    def _close_session(self) -> None:
        self._session_of = None
        if self._session is not None:
            self._session.close()
