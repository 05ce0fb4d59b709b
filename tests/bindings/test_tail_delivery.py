"""Traces reach whom they are for, in batches and at most once; what has no room is dropped and counted, and whoever
left a trace never waits for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from bindings.tail_delivery import TailDelivery, TailSettings, consumer_of
from bindings.trace_items import Item, weight_of
from model.errors import PlatformFault
from model.identity import DEFAULT_ACCOUNT, AccountId, NamespaceName, ScriptName, TenantId, VersionId
from model.scripts import ScriptRef, ScriptVersion
from tests.bindings.traces import trace

OWN = ScriptRef(NamespaceName("prod"), ScriptName("tail"))
PLAIN = ScriptRef(None, ScriptName("tail"))


def version(
    ref: ScriptRef, tenant: str = "acme", account: str = DEFAULT_ACCOUNT, handler: str = "tail"
) -> ScriptVersion:
    return ScriptVersion(
        AccountId(account), ref, TenantId(tenant), VersionId("1"), "0" * 64, frozenset({handler})
    )


@pytest.mark.parametrize(
    ("scripts", "found"),
    [
        ([version(OWN)], OWN),
        ([version(PLAIN, "platform")], PLAIN),
        ([version(OWN), version(PLAIN)], OWN),  # as a service is looked up
        ([version(OWN, "rival")], None),  # who took the name meanwhile is told nothing
        ([version(OWN, "rival"), version(PLAIN)], None),
        ([version(PLAIN, account="another")], None),
        ([version(OWN, handler="fetch")], None),
        ([], None),
    ],
)
def test_a_consumer_is_the_tenant_s_own_or_a_plain_script(
    scripts: list[ScriptVersion], found: ScriptRef | None
) -> None:
    there = {each.ref: each for each in scripts}
    told = trace().context
    assert consumer_of(there.get, told.account, told.namespace, told.tenant, "tail") == found


class Bench:
    """One consumer, and what it was given."""

    def __init__(self, **settings: Any) -> None:
        self.batches: list[list[object]] = []
        self.hops: list[int] = []
        self.told: Counter[str] = Counter()
        self.fails: Exception | bool = False
        self.consumer = OWN
        self.blocked = asyncio.Event()
        self.blocked.set()
        self.delivery = TailDelivery(
            {OWN: version(OWN)}.get, self.run, self.count, TailSettings(**({"wait_s": 0.0} | settings))
        )

    def count(self, result: str, count: int) -> None:
        self.told[result] += count

    async def run(self, ref: ScriptRef, items: Sequence[Item], hops: int) -> bool:
        await self.blocked.wait()
        assert ref == self.consumer
        self.batches.append([item["eventTimestamp"] for item in items])
        self.hops.append(hops)
        if isinstance(self.fails, Exception):
            raise self.fails
        return not self.fails

    async def settled(self) -> None:
        async with asyncio.timeout(60):
            while tasks := list(self.delivery._tasks.values()):
                await asyncio.wait(tasks)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench(batch=10)
    yield made
    await made.delivery.stop(0)


async def test_traces_come_in_batches_and_once(bench: Bench) -> None:
    for hops in range(25):
        bench.delivery.offer(trace(hops=hops))
    await bench.settled()
    assert [len(batch) for batch in bench.batches] == [10, 10, 5]
    assert bench.hops == [9, 19, 24]  # what is behind any of them
    assert bench.told == {"delivered": 25}


async def test_a_batch_is_given_when_its_oldest_has_waited() -> None:
    bench = Bench(wait_s=0.5)
    bench.delivery.offer(trace())
    await asyncio.sleep(0)
    bench.delivery.offer(trace())
    assert bench.batches == []
    await bench.settled()
    assert [len(batch) for batch in bench.batches] == [2]


@pytest.mark.parametrize(
    ("fails", "result"),
    [(True, "failed"), (ValueError("a bug"), "failed"), (PlatformFault("nobody"), "dropped")],
)
async def test_a_batch_that_fails_is_not_given_again(
    bench: Bench, fails: Exception | bool, result: str
) -> None:
    bench.fails = fails
    bench.delivery.offer(trace())
    await bench.settled()
    assert (len(bench.batches), bench.told) == (1, {result: 1})
    bench.fails = False
    bench.delivery.offer(trace())
    await bench.settled()
    assert bench.told == {result: 1, "delivered": 1}


@pytest.mark.parametrize("bound", ["consumer_bytes", "tenant_bytes", "total_bytes"])
async def test_what_has_no_room_is_dropped_and_counted(bound: str) -> None:
    weight = weight_of(trace((1, "x" * 1_000)))
    bench = Bench(**{bound: 3 * weight})
    bench.blocked.clear()
    for _ in range(2):
        bench.delivery.offer(trace((1, "x" * 1_000)))
        await asyncio.sleep(0.01)  # the first is with its consumer, who is slow
    for _ in range(5):
        bench.delivery.offer(trace((1, "x" * 1_000)))
    assert bench.delivery.waiting_bytes <= 3 * weight
    bench.blocked.set()
    await bench.settled()
    assert bench.told["delivered"] + bench.told["dropped"] == 7
    assert bench.told["dropped"] == 3


async def test_a_tenant_that_says_much_leaves_room_for_others() -> None:
    weight = weight_of(trace((1, "x" * 1_000)))
    bench = Bench(tenant_bytes=3 * weight)
    bench.delivery._lookup = {PLAIN: version(PLAIN, "platform")}.get
    bench.consumer = PLAIN
    bench.blocked.clear()
    for _ in range(9):
        bench.delivery.offer(trace((1, "x" * 1_000)))
    bench.delivery.offer(trace((1, "x" * 1_000), tenant="rival"))
    bench.blocked.set()
    await bench.settled()
    assert bench.told == {"delivered": 4, "dropped": 6}
    assert not bench.delivery._bytes_of


async def test_slow_consumers_of_one_tenant_leave_turns_for_others() -> None:
    names = ("a", "b", "c", "d")
    scripts = {(ref := ScriptRef(NamespaceName("prod"), ScriptName(name))): version(ref) for name in names}
    scripts[OWN] = version(OWN, "rival")
    running: set[ScriptRef] = set()
    done, others = asyncio.Event(), asyncio.Event()
    told: Counter[str] = Counter()

    async def run(ref: ScriptRef, items: Sequence[Item], hops: int) -> bool:
        running.add(ref)
        if ref == OWN:
            others.set()
        else:
            await done.wait()
        return True

    def count(result: str, number: int) -> None:
        told[result] += number

    settings = TailSettings(wait_s=0.0, running=4, tenant_running=3)
    delivery = TailDelivery(scripts.get, run, count, settings)
    delivery.offer(trace(consumers=names))
    delivery.offer(trace(tenant="rival"))
    async with asyncio.timeout(60):
        await others.wait()
    assert len(running) == 4  # three of the four, and the other tenant's
    done.set()
    await delivery.stop(10)
    assert told == {"delivered": 5}
    assert not delivery._turns


async def test_what_waits_is_not_told_to_who_takes_the_name_and_asks_as_well() -> None:
    scripts = {OWN: version(OWN)}
    bench = Bench(wait_s=0.02)
    bench.delivery._lookup = scripts.get
    bench.delivery.offer(trace((1, "acme's")))
    scripts[OWN] = version(OWN, "rival")
    bench.delivery.offer(trace((1, "rival's"), tenant="rival"))
    await bench.settled()
    assert [len(batch) for batch in bench.batches] == [1]
    assert bench.told == {"dropped": 1, "delivered": 1}


async def test_a_trace_for_nobody_is_dropped(bench: Bench) -> None:
    bench.delivery.offer(trace(consumers=("tail", "gone"), tenant="acme"))
    bench.delivery.offer(trace(tenant="rival"))
    await bench.settled()
    assert bench.told == {"delivered": 1, "dropped": 2}


async def test_who_takes_a_consumer_s_name_meanwhile_is_told_nothing() -> None:
    scripts = {OWN: version(OWN)}
    bench = Bench(wait_s=0.02)
    bench.delivery._lookup = scripts.get
    bench.delivery.offer(trace())
    scripts[OWN] = version(OWN, "rival")
    await bench.settled()
    assert (bench.batches, bench.told) == ([], {"dropped": 1})


async def test_a_fault_of_ours_costs_a_trace_and_not_the_event(bench: Bench) -> None:
    bench.delivery._lookup = lambda _ref: 1 / 0  # type: ignore[assignment, return-value]
    bench.delivery.offer(trace())
    assert bench.told == {"dropped": 1}


async def test_what_waits_is_given_at_the_end_and_nothing_more_is_taken() -> None:
    bench = Bench(wait_s=60.0)
    bench.delivery.offer(trace())
    await asyncio.sleep(0)
    await bench.delivery.stop(5.0)
    assert bench.told == {"delivered": 1}
    bench.delivery.offer(trace())
    assert bench.told == {"delivered": 1, "dropped": 1}
    slow = Bench()
    slow.blocked.clear()
    slow.delivery.offer(trace())
    await slow.delivery.stop(0.01)
    assert slow.delivery.waiting_bytes == 0
    assert not slow.delivery._tasks
