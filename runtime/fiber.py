"""Drive a guest to the end of its call, in two lanes, without ever abandoning a poll.

The loop lane runs slices of a tick on the event loop: new guests at once, a preempted one when its turn at
the gate comes, one a turn of the loop. A guest that uses up its slices there goes on in the pool lane: threads
at nice 19 with longer slices. Host calls are answered on the loop, so a guest that loops on them comes back
to the loop lane: in a thread it would fight the loop for the GIL.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final

from runtime.capi.guest import Guest
from runtime.pool_lane import Job, PoolLane

#: Slices that a guest has on the loop before it moves to the pool; after a host call; after it was sent back
#: from the pool because it calls the host in a loop.
FIRST_SLICES: Final = 3
SLICES_AFTER_HOST_CALL: Final = 3
SLICES_OF_A_SPINNER: Final = 16
POOL_SLICE_TICKS: Final = 5
#: For a guest that may not come back to the loop and yet calls the host in a loop: so many calls a pause.
_PAUSE_S: Final = 0.001


def frozen_clock_ns() -> int:
    """The time in whole ms, as an untrusted guest sees it until its next host operation."""
    return time.time_ns() // 1_000_000 * 1_000_000


class Stopped(Exception):
    """The host ended the guest: `why` is "cpu", or the word it was doomed with."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Lanes:
    """The gate of the loop lane and the threads of the pool lane; one for each process."""

    def __init__(self, threads: int | None = None) -> None:
        count = max(1, (os.cpu_count() or 2) - 1) if threads is None else threads
        self._gate = asyncio.Lock()
        self._pool = PoolLane(count)
        #: The slice in the pool of each guest that has one.
        self._slices: dict[Guest, Job] = {}

    async def poll_at_gate(self, guest: Guest) -> bool:
        """One slice on the loop, when this guest's turn comes: so one preempted slice a turn of the loop."""
        async with self._gate:
            await asyncio.sleep(0)
            if guest.doomed is not None:
                raise Stopped(guest.doomed)
            return guest.poll()

    async def poll_in_pool(self, guest: Guest, tenant: str) -> bool:
        """One slice in a thread, when `tenant`'s turn comes. Cancelled or not, it returns only when no thread
        has the guest.
        """
        return await self.work_in_pool(guest, tenant, guest.poll)

    async def work_in_pool(self, guest: Guest, tenant: str, work: Callable[[], bool]) -> bool:
        """As `poll_in_pool`, of other work on the guest; False also when it was doomed before."""
        guest.in_pool = True
        guest.slice_ticks = POOL_SLICE_TICKS
        job = self._pool.submit(tenant, lambda: guest.doomed is None and work())
        self._slices[guest] = job
        try:
            return await asyncio.shield(job.done)
        except asyncio.CancelledError:
            guest.doomed = guest.doomed or "canceled"
            if not self._pool.withdraw(job):
                await _settle(job.done)
            raise
        finally:
            del self._slices[guest]
            guest.in_pool = False
            guest.slice_ticks = 1

    def is_polled_in_pool(self, guest: Guest) -> bool:
        """A thread has it: nobody else may look at it."""
        job = self._slices.get(guest)
        return job is not None and job.begun

    def doomed(self, guest: Guest) -> None:
        """Behind a hundred others it would keep its memory until its turn comes."""
        job = self._slices.get(guest)
        if job is not None:
            self._pool.skip(job)

    async def delete_in_pool(self, delete: Callable[[], None], tenant: str) -> None:
        """Free a large store of `tenant`'s in a thread, ahead of guests' slices. Cancelled or not, it is done when
        this returns.
        """

        def run() -> bool:
            delete()
            return True

        job = self._pool.submit(tenant, run, deletes=True)
        try:
            await asyncio.shield(job.done)
        except asyncio.CancelledError:
            await _settle(job.done)
            raise

    def close(self) -> None:
        self._pool.close()


async def _settle(done: asyncio.Future[bool]) -> None:
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError:
            continue


Answer = Callable[[bytes], Awaitable[bytes] | bytes]


def answer_at_once(guest: Guest, answer: Answer) -> tuple[bool, Awaitable[bytes] | None]:
    """Answer the guest's host calls for as long as the replies are here and its first turn on the loop lasts.

    Whether its call has ended; else `drive` brings it there, with the reply that is to be waited for, if one is.
    """
    while guest.wanted is not None and guest.doomed is None and guest.cpu_ns < guest.tick_ns:
        reply = answer(guest.wanted)
        if not isinstance(reply, bytes):
            return False, reply
        if guest.doomed is not None:
            raise Stopped(guest.doomed)
        if guest.go_on(reply):
            return True, None
    return False, None


async def drive(
    guest: Guest,
    lanes: Lanes,
    tenant: str,
    answer: Answer,
    *,
    off_loop: bool = False,
    reply: Awaitable[bytes] | None = None,
) -> None:
    """Bring the call that `guest` has begun to its end. Its first slice has been polled on the loop, and was not
    enough; or, `off_loop`, it is never polled there: it is known for slices that cannot be preempted.

    `answer(request)` gives the reply to a host call: at once, or as an awaitable; `reply` is the one that has been
    asked for already. Raises Stopped when the host ended the guest; the call's own failure comes from
    `guest.finish()`.
    The clock of a guest that sees a frozen one goes on when it has waited.
    """
    slices = FIRST_SLICES
    turn_started_ns = 0
    while True:
        if guest.doomed is not None:
            raise Stopped(guest.doomed)
        wanted = guest.wanted
        if wanted is not None:
            asked, reply = reply or answer(wanted), None
            if isinstance(asked, bytes):
                answered = asked
            else:
                answered = await asked
                if guest.clock_ns is not None:
                    guest.clock_ns = frozen_clock_ns()
                turn_started_ns = guest.cpu_ns
            if guest.doomed is not None:
                raise Stopped(guest.doomed)
            slices = max(slices, SLICES_AFTER_HOST_CALL)
            if off_loop:
                guest.resume_with(answered)
                done = await lanes.poll_in_pool(guest, tenant)
            elif guest.cpu_ns - turn_started_ns < guest.tick_ns:
                done = guest.go_on(answered)
            else:
                guest.resume_with(answered)
                # It loops on host calls that are ready at once: each poll is short, all together are not.
                if guest.cpu_ns >= guest.cpu_budget_ns:
                    raise Stopped("cpu")
                done = await lanes.poll_at_gate(guest)
                turn_started_ns = guest.cpu_ns
        elif guest.yielded:
            guest.resume_yielded()
            if off_loop:
                await asyncio.sleep(_PAUSE_S)
                done = await lanes.poll_in_pool(guest, tenant)
            else:
                slices = SLICES_OF_A_SPINNER
                done = await lanes.poll_at_gate(guest)
                turn_started_ns = guest.cpu_ns
        elif slices > 0 and not off_loop:
            slices -= 1
            done = await lanes.poll_at_gate(guest)
            turn_started_ns = guest.cpu_ns
        else:
            done = await lanes.poll_in_pool(guest, tenant)
            turn_started_ns = guest.cpu_ns
        if done:
            if guest.doomed is not None:  # while a thread ran its last slice
                raise Stopped(guest.doomed)
            return
