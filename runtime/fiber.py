"""Drive a guest to the end of its call, in two lanes, without ever abandoning a poll.

The loop lane runs slices of a tick on the event loop: new guests at once, a preempted one when its turn at
the gate comes, one a turn of the loop. A guest that uses up its slices there goes on in the pool lane: threads
at nice 19 with longer slices. Host calls are answered on the loop, so a guest that loops on them comes back
to the loop lane: in a thread it would fight the loop for the GIL.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from runtime.capi.guest import Guest

#: Slices that a guest has on the loop before it moves to the pool; after a host call; after it was sent back
#: from the pool because it calls the host in a loop.
FIRST_SLICES: Final = 3
SLICES_AFTER_HOST_CALL: Final = 3
SLICES_OF_A_SPINNER: Final = 16
POOL_SLICE_TICKS: Final = 5


class Stopped(Exception):
    """The host ended the guest: `why` is "cpu", or the word it was doomed with."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def _be_nice() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


class Lanes:
    """The gate of the loop lane and the threads of the pool lane; one for each process."""

    def __init__(self, threads: int | None = None) -> None:
        count = max(1, (os.cpu_count() or 2) - 1) if threads is None else threads
        self._gate = asyncio.Lock()
        self._pool = ThreadPoolExecutor(count, "pool-lane", initializer=_be_nice)

    async def poll_at_gate(self, guest: Guest) -> bool:
        """One slice on the loop, when this guest's turn comes: so one preempted slice a turn of the loop."""
        async with self._gate:
            await asyncio.sleep(0)
            if guest.doomed is not None:
                raise Stopped(guest.doomed)
            return guest.poll()

    async def poll_in_pool(self, guest: Guest) -> bool:
        """One slice in a thread. Cancelled or not, it returns only when the thread has let go of the guest."""
        guest.in_pool = True
        guest.slice_ticks = POOL_SLICE_TICKS
        polled = asyncio.get_running_loop().run_in_executor(self._pool, guest.poll)
        try:
            return await asyncio.shield(polled)
        except asyncio.CancelledError:
            guest.doomed = guest.doomed or "canceled"
            await _settle(polled)
            raise
        finally:
            guest.in_pool = False
            guest.slice_ticks = 1

    async def in_pool(self, work: Callable[[], None]) -> None:
        """Run something slow that has nothing to do with the loop, and wait for it even when cancelled."""
        done = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            await _settle(done)
            raise

    def close(self) -> None:
        self._pool.shutdown(wait=True)


async def _settle(future: asyncio.Future[bool] | asyncio.Future[None]) -> None:
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue


async def drive(guest: Guest, lanes: Lanes, answer: Callable[[bytes], Awaitable[bytes] | bytes]) -> None:
    """Bring the call that `guest` has begun to its end; its first slice has been polled, and was not enough.

    `answer(request)` gives the reply to a host call: at once, or as an awaitable. Raises Stopped when the host
    ended the guest; the call's own failure comes from `guest.finish()`.
    """
    slices = FIRST_SLICES
    turn_started_ns = 0
    while True:
        if guest.doomed is not None:
            raise Stopped(guest.doomed)
        wanted = guest.wanted
        if wanted is not None:
            reply = answer(wanted)
            if not isinstance(reply, bytes):
                reply = await reply
                turn_started_ns = guest.cpu_ns
            if guest.doomed is not None:
                raise Stopped(guest.doomed)
            guest.reply = reply
            guest.resume(len(reply))
            slices = max(slices, SLICES_AFTER_HOST_CALL)
            if guest.cpu_ns - turn_started_ns < guest.tick_ns:
                done = guest.poll()
            else:
                # It loops on host calls that are ready at once: each poll is short, all together are not.
                if guest.cpu_ns >= guest.cpu_budget_ns:
                    raise Stopped("cpu")
                done = await lanes.poll_at_gate(guest)
                turn_started_ns = guest.cpu_ns
        elif guest.yielded:
            guest.resume_yielded()
            slices = SLICES_OF_A_SPINNER
            done = await lanes.poll_at_gate(guest)
            turn_started_ns = guest.cpu_ns
        elif slices > 0:
            slices -= 1
            done = await lanes.poll_at_gate(guest)
            turn_started_ns = guest.cpu_ns
        else:
            done = await lanes.poll_in_pool(guest)
            turn_started_ns = guest.cpu_ns
        if done:
            return
