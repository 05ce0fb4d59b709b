"""Work of the host's processor for an event: at once when it is short, else on one of a few threads.

Either way its CPU time is the event's, and held against its limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from model.capabilities import GuestEvent, OperationResult
from model.errors import OperationError, OperationErrorCode

_THREADS: Final = 2
_WAITING: Final = 64
#: Of one event at once; its others take turns, and are no one else's: how many they may be is the event's own limit.
_EACH: Final = 4
_Result = TypeVar("_Result")
_threads: ThreadPoolExecutor | None = None
_waiting = 0


@dataclass(slots=True)
class _Turns:
    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_EACH))
    users: int = 0


_turns: dict[GuestEvent, _Turns] = {}


def computed(event: GuestEvent, is_short: bool, compute: Callable[[], object]) -> OperationResult:
    """What `compute` returns, or an awaitable of it. It may raise OperationError, and nothing else."""
    event.check_computing()
    if not is_short:
        return elsewhere(event, compute)
    started = time.thread_time_ns()
    try:
        return compute()
    finally:
        event.charge_computing(time.thread_time_ns() - started)


async def elsewhere(event: GuestEvent, compute: Callable[[], _Result]) -> _Result:
    """On a thread. Raises what `compute` does, and OperationError(load_shed) when too many events wait for one."""
    async with _turn(event):
        event.check_computing()  # the others before it may have used up the limit
        return await _on_thread(event, compute)


@asynccontextmanager
async def _turn(event: GuestEvent) -> AsyncIterator[None]:
    turns = _turns.setdefault(event, _Turns())
    turns.users += 1
    try:
        async with turns.free:
            yield
    finally:
        turns.users -= 1
        if turns.users == 0:
            _turns.pop(event, None)


async def _on_thread(event: GuestEvent, compute: Callable[[], _Result]) -> _Result:
    global _threads, _waiting
    if _waiting >= _WAITING:
        raise OperationError(OperationErrorCode.LOAD_SHED, "too many computations wait; try again later")
    if _threads is None:
        _threads = ThreadPoolExecutor(_THREADS, "tenantry-computing")

    cpu_ns = 0

    def timed() -> _Result:
        nonlocal cpu_ns
        started = time.thread_time_ns()
        try:
            return compute()
        finally:
            cpu_ns = time.thread_time_ns() - started

    def settle(done: asyncio.Future[_Result]) -> None:
        global _waiting
        _waiting -= 1
        event.charge_computing(cpu_ns)
        done.exception()  # who asked may be gone

    _waiting += 1
    running = asyncio.get_running_loop().run_in_executor(_threads, timed)
    running.add_done_callback(settle)
    # Who cancels pays as well, and what was begun occupies its thread to the end.
    return await asyncio.shield(running)
