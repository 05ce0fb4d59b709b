"""Tenants take turns in the pool lane: a hundred hogs of one cannot keep the slice of another waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from model.outcome import EventOutcome
from runtime.pool_lane import Job, PoolLane
from tests.support.guests import Guests, request, sample


class Hog:
    """Holds the lane's one thread until it is let go, so that a test can fill the queues behind it."""

    def __init__(self, lane: PoolLane) -> None:
        self._let_go = threading.Event()
        self.job = lane.submit("hog", lambda: self._let_go.wait(10))

    def let_go(self) -> None:
        self._let_go.set()


def noting(order: list[str], name: str) -> Callable[[], bool]:
    def work() -> bool:
        order.append(name)
        return True

    return work


async def test_owners_take_turns_in_the_order_in_which_they_came() -> None:
    lane = PoolLane(1)
    hog = Hog(lane)
    order: list[str] = []
    jobs: list[Job] = []
    for name in ("a1", "a2", "a3", "a4", "b1", "c1", "c2"):
        jobs.append(lane.submit(name[0], noting(order, name)))
    assert lane.waiting == 7
    hog.let_go()
    assert await hog.job.done is True
    assert all(await asyncio.gather(*(job.done for job in jobs)))
    assert order == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]
    lane.close()


async def test_deletions_go_ahead_of_slices_and_every_second_job_is_a_slice() -> None:
    """Else a deletion waits until everybody has grown; a tenant whose guests are deleted pays with its turn."""
    lane = PoolLane(1)
    hog = Hog(lane)
    order: list[str] = []
    jobs = [lane.submit(name[0], noting(order, name)) for name in ("a1", "a2", "b1", "b2")]
    jobs += [lane.submit("a", noting(order, name), deletes=True) for name in ("d1", "d2", "d3", "d4", "d5")]
    assert lane.waiting == 9
    hog.let_go()
    await asyncio.gather(*(job.done for job in jobs))
    assert order == ["d1", "b1", "d2", "b2", "d3", "a1", "d4", "a2", "d5"]
    lane.close()


async def test_a_job_that_waits_can_be_withdrawn_and_one_that_runs_cannot() -> None:
    lane = PoolLane(1)
    hog = Hog(lane)
    order: list[str] = []
    first, second = lane.submit("a", noting(order, "first")), lane.submit("b", noting(order, "second"))
    assert not lane.withdraw(hog.job)
    assert lane.withdraw(first)
    assert not lane.withdraw(first)
    hog.let_go()
    await second.done
    assert order == ["second"]
    assert first.done.cancelled()
    lane.close()


async def test_a_failure_belongs_to_its_job_and_the_thread_goes_on() -> None:
    lane = PoolLane(1)

    def fail() -> bool:
        raise ValueError("in a thread")

    with pytest.raises(ValueError, match="in a thread"):
        await lane.submit("a", fail).done
    assert await lane.submit("a", lambda: True).done is True
    lane.close()


async def test_a_script_that_held_the_loop_up_begins_off_the_loop_next_time(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`memory.fill` cannot be interrupted: one that fills 64 MiB is one poll, far longer than a tick."""
    worker = guests.worker(sample("hostile"), limits={"cpu_ms": 100})
    assert worker.off_loop_until_s == 0.0
    ending, _ = await guests.fetch(worker, request(path="/fill"))
    assert ending.outcome is EventOutcome.EXCEEDED_CPU
    assert worker.off_loop_until_s > 0.0
    threads = set()
    pool_poll = guests.host.lanes.poll_in_pool

    async def watched(guest: object, tenant: str) -> bool:
        threads.add(tenant)
        return await pool_poll(guest, tenant)  # type: ignore[arg-type]

    monkeypatch.setattr(guests.host.lanes, "poll_in_pool", watched)
    _, response = await guests.fetch(worker, request(path="/log?lines=1000"))
    assert response.status == 200
    assert threads == {"tenant"}
    assert [line.text for line in guests.observer.lines].count("one more line") > 0


async def test_a_script_that_only_computes_is_not_sent_off_the_loop(guests: Guests) -> None:
    worker = guests.worker(sample("hostile"), limits={"cpu_ms": 50})
    await guests.fetch(worker, request(path="/spin"))
    assert worker.off_loop_until_s == 0.0
