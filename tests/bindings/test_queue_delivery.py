"""When a batch goes, what its verdict does to each message, and that one bad consumer holds up nobody."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bindings.delivery_verdict import ALL_ACKNOWLEDGED, FAILED, BatchVerdict, QueueBatch
from bindings.queue_delivery import DeliverySettings, QueueDelivery, Rest, by_need, rest_after
from model.capabilities import QueueMessage
from model.errors import LoadShed, OperationError, OperationErrorCode, PlatformFault, TenantError
from model.identity import ScriptName
from model.queues import ConsumerRecord, ConsumerSettings, QueueSettingsChange
from model.scripts import ScriptRef
from storage.database import Database
from storage.failures import StorageBusy
from storage.queue_protocol import Backlog, DeadLettering, Lease, ReadyQueue, Settled
from storage.queue_store import QueueStore, queue_migrations
from tests.support.waiting import until

Answer = Callable[[QueueBatch], BatchVerdict]


class World:
    """One store, one delivery, and consumers that answer by a function and are written down."""

    def __init__(self, store: QueueStore, settings: DeliverySettings) -> None:
        self.store = store
        self.consumers: list[ConsumerRecord] = []
        self.answers: dict[str, Answer] = {}
        self.delivered: list[tuple[str, list[tuple[str, int]]]] = []
        self.running = 0
        self.most_running = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.settled: list[Settled] = []
        self.delivery = QueueDelivery(
            store,
            lambda: self.consumers,
            self.run_batch,
            settings,
            lambda consumer, settled: self.settled.append(settled),
        )
        self.task = asyncio.create_task(self.delivery.run())

    def consume(
        self,
        queue_id: str,
        answer: Answer = lambda batch: ALL_ACKNOWLEDGED,
        settings: ConsumerSettings = ConsumerSettings(max_wait_ms=0),  # noqa: B008
    ) -> None:
        script = ScriptRef(None, ScriptName("consumer"))
        self.consumers = [*self.consumers, ConsumerRecord(queue_id, queue_id, script, settings)]
        self.answers[queue_id] = answer

    async def run_batch(self, consumer: ConsumerRecord, batch: QueueBatch) -> BatchVerdict:
        self.delivered.append(
            (batch.queue, [(message.body.decode(), message.attempts) for message in batch.messages])
        )
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.hold.wait()
            return self.answers[consumer.queue_id](batch)
        finally:
            self.running -= 1

    async def send(self, queue_id: str, *bodies: str) -> None:
        await self.store.send(queue_id, [QueueMessage(body.encode(), "text") for body in bodies])

    async def until(self, fact: Callable[[], bool]) -> None:
        await until(fact)

    async def until_empty(self, queue_id: str) -> None:
        await self.until(lambda: self.store.backlog(queue_id) == Backlog())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database.open(tmp_path / "queues.db", queue_migrations())
    world = World(
        QueueStore(database),
        DeliverySettings(lease_s=2, renew_s=0.5, poll_s=0.02, running=2, put_back_s=0, rest_s=0.02),
    )
    yield world
    world.hold.set()
    await world.delivery.stop(60)
    await world.task
    database.close()


async def test_full_batch_goes_at_once(world: World) -> None:
    world.consume("q", settings=ConsumerSettings(batch_size=3, max_wait_ms=60_000))
    await world.send("q", "a", "b")
    await asyncio.sleep(0.2)
    assert world.delivered == []
    await world.send("q", "c", "d")
    await world.until(lambda: len(world.delivered) == 1)
    assert world.delivered == [("q", [("a", 1), ("b", 1), ("c", 1)])]
    await asyncio.sleep(0.1)
    assert world.store.backlog("q").messages == 1  # "d" waits for two more


async def test_partial_batch_goes_when_the_oldest_has_waited(world: World) -> None:
    world.consume("q", settings=ConsumerSettings(batch_size=10, max_wait_ms=2_000))
    await world.send("q", "a")
    await world.send("q", "b")
    began = time.monotonic()
    await world.until_empty("q")
    assert time.monotonic() - began > 1.5
    assert world.delivered == [("q", [("a", 1), ("b", 1)])]


async def test_explicit_retry_comes_again_and_the_rest_does_not(world: World) -> None:
    def answer(batch: QueueBatch) -> BatchVerdict:
        return BatchVerdict(retry={m.id: 0 for m in batch.messages if m.body == b"b" and m.attempts < 3})

    world.consume("q", answer)
    await world.send("q", "a", "b", "c")
    await world.until_empty("q")
    assert world.delivered == [("q", [("a", 1), ("b", 1), ("c", 1)]), ("q", [("b", 2)]), ("q", [("b", 3)])]


def _raise(error: Exception) -> Answer:
    def answer(batch: QueueBatch) -> BatchVerdict:
        raise error

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        lambda batch: FAILED,
        _raise(TenantError("trap")),
        _raise(OperationError(OperationErrorCode.INVALID_ARGUMENT, "ack: a number")),
        _raise(KeyError("a bug of ours")),
    ],
    ids=["failed", "worker's error", "wrong return", "bug"],
)
@pytest.mark.parametrize("dead_letter_queue", ["dlq", None])
async def test_failing_worker_gets_its_retries_and_then_no_more(
    world: World, caplog: pytest.LogCaptureFixture, answer: Answer, dead_letter_queue: str | None
) -> None:
    caplog.set_level(logging.CRITICAL, "tenantry.queues")
    world.consume(
        "q", answer, ConsumerSettings(max_wait_ms=0, max_retries=2, dead_letter_queue_id=dead_letter_queue)
    )
    await world.send("q", "a", "b")
    await world.until_empty("q")
    await world.until(lambda: len(world.settled) == 3)
    assert world.delivered == [("q", [("a", attempt), ("b", attempt)]) for attempt in (1, 2, 3)]
    dead = await world.store.peek("dlq", 10)
    assert [message.body for message in dead] == ([b"a", b"b"] if dead_letter_queue else [])
    last = Settled(dead_lettered=2) if dead_letter_queue else Settled(dropped=2)
    assert world.settled == [Settled(retried=2), Settled(retried=2), last]


@pytest.mark.parametrize(
    "fault",
    [LoadShed("no room"), PlatformFault("the worker's code can't be loaded now"), StorageBusy("busy")],
    ids=["no room", "no code", "storage"],
)
@pytest.mark.parametrize("dead_letter_queue", ["dlq", None])
async def test_batch_that_was_not_taken_uses_up_nothing(
    world: World, caplog: pytest.LogCaptureFixture, fault: PlatformFault, dead_letter_queue: str | None
) -> None:
    caplog.set_level(logging.CRITICAL, "tenantry.queues")
    settings = ConsumerSettings(max_wait_ms=0, max_retries=0, dead_letter_queue_id=dead_letter_queue)
    world.consume("q", _raise(fault), settings)
    await world.send("q", "a", "b")
    await world.until(lambda: len(world.settled) >= 3)
    assert world.store.backlog("q").messages == 2
    assert world.store.backlog("dlq") == Backlog()
    world.answers["q"] = lambda batch: ALL_ACKNOWLEDGED
    await world.until_empty("q")
    await world.until(lambda: world.settled[-1] == Settled(acknowledged=2))
    assert world.settled[:-1] == [Settled(not_taken=2)] * (len(world.settled) - 1)
    assert world.delivered == [("q", [("a", 1), ("b", 1)])] * len(world.settled)


async def test_queue_that_is_not_taken_is_left_alone_for_a_while_and_others_go_on(world: World) -> None:
    """However many of its messages are ready: none of them is leased only to be put back."""
    world.delivery._settings = replace(world.delivery._settings, rest_s=600)
    world.consume("q", _raise(LoadShed("no room")), ConsumerSettings(batch_size=1, max_wait_ms=0))
    world.consume("other")
    await world.send("q", *"abcdefgh")
    await world.until(lambda: len(world.settled) == 1)
    await world.send("other", "x")
    await world.until_empty("other")
    assert world.delivered == [("q", [("a", 1)]), ("other", [("x", 1)])]


def test_rest_doubles_up_to_a_longest_and_not_for_batches_of_one_time() -> None:
    settings = DeliverySettings(rest_s=1, longest_rest_s=3)
    rest = rest_after(None, settings, 10)
    assert rest == Rest(11, 1)
    assert rest_after(rest, settings, 10.9) == rest
    rest = rest_after(rest, settings, 11)
    assert rest == Rest(13, 2)
    assert rest_after(rest, settings, 20) == Rest(23, 3)


async def test_dead_letter_queue_can_have_a_consumer(world: World) -> None:
    world.consume(
        "q", lambda batch: FAILED, ConsumerSettings(max_wait_ms=0, max_retries=0, dead_letter_queue_id="dlq")
    )
    world.consume("dlq")
    await world.send("q", "a")
    await world.until(lambda: ("dlq", [("a", 1)]) in world.delivered)
    await world.until_empty("dlq")


async def test_consumers_own_retry_delay_is_kept(world: World) -> None:
    world.consume("q", lambda batch: FAILED, ConsumerSettings(max_wait_ms=0, retry_delay_s=3600))
    await world.send("q", "a")
    await world.until(lambda: len(world.settled) == 1)
    await asyncio.sleep(0.1)
    assert len(world.delivered) == 1


async def test_lease_is_renewed_while_the_consumer_runs(tmp_path: Path, world: World) -> None:
    world.consume("q")
    world.hold.clear()
    await world.send("q", "a")
    await world.until(lambda: world.running == 1)
    await asyncio.sleep(2.5)  # longer than the lease
    assert await world.store.lease("q", 1, 1000) is None
    world.hold.set()
    await world.until_empty("q")


async def test_one_batch_a_consumer_and_a_bound_for_all(world: World) -> None:
    settings = ConsumerSettings(batch_size=1, max_wait_ms=0)
    for queue_id in ("p", "q", "r"):
        world.consume(queue_id, settings=settings)
    world.hold.clear()
    for queue_id in ("p", "q", "r"):
        await world.send(queue_id, "a", "b")
    await world.until(lambda: world.running == 2)
    await asyncio.sleep(0.1)
    assert world.most_running == 2  # two places
    assert len({queue for queue, _ in world.delivered}) == 2  # of different consumers
    world.hold.set()
    for queue_id in ("p", "q", "r"):
        await world.until_empty(queue_id)


async def test_queue_without_a_consumer_waits_until_it_has_one(world: World) -> None:
    await world.send("q", "a")
    await asyncio.sleep(0.1)
    assert world.delivered == []
    world.consume("q")
    await world.until_empty("q")


async def test_failure_to_list_consumers_does_not_end_delivery(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broken = world.delivery._consumers

    def fail() -> list[ConsumerRecord]:
        raise KeyError("a bug")

    world.delivery._consumers = fail
    await world.send("q", "a")
    await world.until(lambda: "queues were not looked at" in caplog.text)
    world.delivery._consumers = broken
    world.consume("q")
    await world.until_empty("q")


async def test_stop_lets_a_running_batch_end_and_starts_no_other(world: World) -> None:
    world.consume("q", settings=ConsumerSettings(batch_size=1, max_wait_ms=0))
    world.hold.clear()
    await world.send("q", "a", "b")
    await world.until(lambda: world.running == 1)
    stopping = asyncio.create_task(world.delivery.stop(5))
    await asyncio.sleep(0.05)
    world.hold.set()
    await stopping
    assert world.settled == [Settled(acknowledged=1)]
    assert world.store.backlog("q").messages == 1


async def test_stop_does_not_wait_for_ever(world: World) -> None:
    world.consume("q")
    world.hold.clear()
    await world.send("q", "a")
    await world.until(lambda: world.running == 1)
    await world.delivery.stop(0.05)
    assert world.running == 0
    assert world.store.backlog("q").messages == 1  # to be delivered again


async def test_thousands_of_idle_queues_are_not_looked_at_one_by_one(world: World) -> None:
    for number in range(2000):
        world.consume(f"idle{number}")
    await world.store.send("idle7", [QueueMessage(b"later", "text", 3600)])
    counts: list[str] = []
    ready_count = world.store.ready_count

    async def counted(queue_id: str, at_most: int) -> int:
        counts.append(queue_id)
        return await ready_count(queue_id, at_most)

    world.store.ready_count = counted  # type: ignore[method-assign]
    world.consume("busy", settings=ConsumerSettings(batch_size=2, max_wait_ms=60_000))
    await world.send("busy", "a")
    await world.send("busy", "b")
    await world.until_empty("busy")
    assert set(counts) <= {"busy"}


async def test_consumer_that_may_have_several_batches_at_once_gets_them(world: World) -> None:
    world.consume("q", settings=ConsumerSettings(batch_size=1, max_wait_ms=0, max_concurrency=2))
    world.hold.clear()
    await world.send("q", "a", "b", "c")
    await world.until(lambda: world.running == 2)
    assert world.store.backlog("q").messages == 3
    world.hold.set()
    await world.until_empty("q")
    assert world.most_running == 2
    assert sorted(messages[0][0] for _, messages in world.delivered) == ["a", "b", "c"]


async def test_no_batch_begins_beside_one_that_is_being_leased(world: World) -> None:
    """What is being leased counts as ready: another would find less than a batch, before its time."""
    go, asked = asyncio.Event(), 0
    lease = world.store.lease

    async def slow(
        queue_id: str,
        count: int,
        lease_ms: int,
        used_up: DeadLettering | None = None,
        at_most: int | None = None,
        holder: str = "",
    ) -> Lease | None:
        nonlocal asked
        asked += 1
        await go.wait()
        return await lease(queue_id, count, lease_ms, used_up, at_most, holder)

    world.store.lease = slow  # type: ignore[method-assign]
    world.consume("q", settings=ConsumerSettings(batch_size=3, max_wait_ms=60_000, max_concurrency=2))
    await world.send("q", "a", "b", "c")
    await world.until(lambda: asked == 1)
    await world.send("q", "d")
    await asyncio.sleep(0.2)
    assert asked == 1
    go.set()
    await world.until(lambda: len(world.settled) == 1)
    assert world.delivered == [("q", [("a", 1), ("b", 1), ("c", 1)])]
    assert world.store.backlog("q").messages == 1


async def test_paused_queue_is_not_delivered_and_its_resumption_wakes_delivery(world: World) -> None:
    world.consume("q")
    await world.store.change_settings("q", QueueSettingsChange(delivery_paused=True))
    await world.send("q", "a")
    await asyncio.sleep(0.2)
    assert world.delivered == []
    await world.store.change_settings("q", QueueSettingsChange(delivery_paused=False))
    await world.until_empty("q")
    assert world.delivered == [("q", [("a", 1)])]


async def test_who_comes_after_one_that_died_gives_back_what_it_held(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "queues.db", queue_migrations())
    store = QueueStore(database)
    await store.send("q", [QueueMessage(b"a", "text")])
    assert await store.lease("q", 1, 3_600_000, at_most=1, holder="machine/worker-0") is not None
    world = World(store, DeliverySettings(poll_s=0.02, holder="machine/worker-0"))
    try:
        world.consume("q", settings=ConsumerSettings(max_wait_ms=0, max_concurrency=1))
        await world.until_empty("q")
        assert world.delivered == [("q", [("a", 2)])]
    finally:
        await world.delivery.stop(5)
        await world.task
        database.close()


def test_queue_with_many_batches_comes_after_those_with_fewer() -> None:
    ready = [ReadyQueue("busy", 1), ReadyQueue("idle", 2), ReadyQueue("other", 3), ReadyQueue("new", 4)]
    ordered = by_need(ready, {"busy": 5, "other": 1})
    assert [queue.queue_id for queue in ordered] == ["idle", "new", "other", "busy"]
