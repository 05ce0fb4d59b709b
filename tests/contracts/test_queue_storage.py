"""The contract of QueueStorage, held by the public fake, by SQLite and by PostgreSQL alike.

A message is durable when sent, leased by one at a time, and leaves only when it was acknowledged, used up,
purged or past its retention. What a lease has lost, its holder can't settle.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bindings.queue_memory import MemoryQueueStorage
from model.capabilities import QueueMessage
from model.errors import OperationError, OperationErrorCode
from model.queues import QueueSettings, QueueSettingsChange
from storage.database import Database
from storage.queue_protocol import (
    Backlog,
    DeadLettering,
    PulledMessage,
    PullsSettled,
    QueueStorage,
    QueueTotals,
    ReadyQueue,
    Settled,
)
from storage.queue_store import QueueStore, queue_migrations
from tests.support.postgres import migrate
from tests.support.postgres_stores import PgMachine

FOUR = DeadLettering(max_attempts=4)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> AsyncIterator[QueueStorage]:
    if request.param == "memory":
        yield MemoryQueueStorage(clock, retention_ms=1_000_000)
        return
    if request.param == "sqlite":
        database = Database.open(tmp_path / "queues.db", queue_migrations())
        yield QueueStore(database, clock, retention_ms=1_000_000)
        database.close()
        return
    address = request.getfixturevalue("database_address")
    await migrate(address)
    async with PgMachine(address, now_ms=clock, retention_ms=1_000_000) as machine:
        yield machine.queues


async def backlog(store: QueueStorage, queue_id: str) -> Backlog:
    held = store.backlog(queue_id)
    return held if isinstance(held, Backlog) else await held


async def send(
    store: QueueStorage, *bodies: str, queue_id: str = "q", delay_s: int | None = None
) -> list[str]:
    return await store.send(queue_id, [QueueMessage(body.encode(), "text", delay_s) for body in bodies])


async def leased(store: QueueStorage, count: int = 100, queue_id: str = "q") -> list[str]:
    lease = await store.lease(queue_id, count, 1000)
    return [] if lease is None else [message.body.decode() for message in lease.messages]


async def test_lease_gives_the_oldest_first_and_what_was_sent(store: QueueStorage, clock: Clock) -> None:
    ids = await send(store, "a", "b", "c")
    lease = await store.lease("q", 2, 1000)
    assert lease is not None
    assert [message.id for message in lease.messages] == ids[:2]
    assert [(m.body, m.attempts, m.sent_at_ms, m.content_type) for m in lease.messages] == [
        (b"a", 1, clock.now, "text"),
        (b"b", 1, clock.now, "text"),
    ]
    assert await leased(store) == ["c"]


@pytest.mark.parametrize(("passed_ms", "ready"), [(999, False), (1000, True)])
async def test_nobody_gets_a_message_while_its_lease_holds(
    store: QueueStorage, clock: Clock, passed_ms: int, ready: bool
) -> None:
    await send(store, "a")
    assert await leased(store) == ["a"]
    clock.now += passed_ms
    assert await leased(store) == (["a"] if ready else [])


@pytest.mark.parametrize(("passed_ms", "ready"), [(9_999, False), (10_000, True)])
async def test_delay_is_kept(store: QueueStorage, clock: Clock, passed_ms: int, ready: bool) -> None:
    await send(store, "a", delay_s=10)
    clock.now += passed_ms
    assert await leased(store) == (["a"] if ready else [])


async def test_renewed_lease_holds_longer(store: QueueStorage, clock: Clock) -> None:
    await send(store, "a")
    lease = await store.lease("q", 1, 1000)
    assert lease is not None
    clock.now += 900
    assert await store.renew(lease, 1000) == 1
    clock.now += 999
    assert await leased(store) == []
    clock.now += 1
    assert await leased(store) == ["a"]
    assert await store.renew(lease, 1000) == 0  # another has it now


async def test_acknowledged_message_never_comes_again(store: QueueStorage, clock: Clock) -> None:
    (message_id,) = await send(store, "a")
    lease = await store.lease("q", 1, 1000)
    assert lease is not None
    assert await store.settle(lease, [message_id], {}, FOUR) == Settled(acknowledged=1)
    clock.now += 10_000
    assert await leased(store) == []
    assert await backlog(store, "q") == Backlog()


async def test_retry_counts_attempts_and_keeps_its_delay(store: QueueStorage, clock: Clock) -> None:
    (message_id,) = await send(store, "a")
    lease = await store.lease("q", 1, 1000)
    assert lease is not None
    assert await store.settle(lease, [], {message_id: 5}, FOUR) == Settled(retried=1)
    clock.now += 4_999
    assert await store.lease("q", 1, 1000) is None
    clock.now += 1
    again = await store.lease("q", 1, 1000)
    assert again is not None
    assert again.messages[0].attempts == 2


async def test_late_acknowledgement_counts_until_another_leased_it(store: QueueStorage, clock: Clock) -> None:
    a, b = await send(store, "a", "b")
    late = await store.lease("q", 2, 1000)
    assert late is not None
    clock.now += 5_000
    assert await leased(store, 1) == ["a"]
    assert await store.settle(late, [a, b], {}, FOUR) == Settled(acknowledged=1)  # b alone
    assert (await backlog(store, "q")).messages == 1


async def test_settling_twice_changes_nothing_the_second_time(store: QueueStorage) -> None:
    (message_id,) = await send(store, "a")
    lease = await store.lease("q", 1, 1000)
    assert lease is not None
    assert (await store.settle(lease, [], {message_id: 0}, FOUR)).retried == 1
    assert await store.settle(lease, [message_id], {}, FOUR) == Settled()
    assert await leased(store) == ["a"]


@pytest.mark.parametrize(
    ("dead_letter_queue", "settled", "dead"),
    [
        ("dlq", Settled(dead_lettered=1), ["a"]),
        (None, Settled(dropped=1), []),
        ("deleted", Settled(dropped=1), []),
    ],
)
async def test_used_up_message_goes_to_the_dead_letter_queue_or_is_deleted(
    store: QueueStorage, dead_letter_queue: str | None, settled: Settled, dead: list[str]
) -> None:
    await store.delete_queue("deleted")
    used_up = DeadLettering(2, dead_letter_queue)
    (message_id,) = await send(store, "a")
    for expected in (Settled(retried=1), settled):
        lease = await store.lease("q", 1, 1000, used_up)
        assert lease is not None
        assert await store.settle(lease, [], {message_id: 0}, used_up) == expected
    assert await backlog(store, "q") == Backlog()
    assert await leased(store, queue_id="dlq") == dead


async def test_message_that_kills_its_deliverers_is_used_up_too(store: QueueStorage, clock: Clock) -> None:
    used_up = DeadLettering(2, "dlq")
    await send(store, "killer", "other")
    for _ in range(2):
        assert await store.lease("q", 1, 1000, used_up) is not None  # and never settled
        clock.now += 1000
        assert await store.lease("q", 1, 1000, used_up) is not None
        clock.now += 1000
    assert await store.lease("q", 2, 1000, used_up) is None
    assert sorted(await leased(store, queue_id="dlq")) == ["killer", "other"]
    dead = await store.peek("dlq", 10)
    assert {message.attempts for message in dead} == {1}  # counted anew there


@pytest.mark.parametrize("dead_letter_queue", ["dlq", None])
@pytest.mark.parametrize("at_most", [None, 1])
async def test_what_is_put_back_is_never_counted_dead_lettered_or_dropped(
    store: QueueStorage, clock: Clock, dead_letter_queue: str | None, at_most: int | None
) -> None:
    used_up = DeadLettering(1, dead_letter_queue)
    await send(store, "a", "b")
    for _ in range(5):
        lease = await store.lease("q", 2, 1000, used_up, at_most)
        assert lease is not None
        assert [(each.body, each.attempts) for each in lease.messages] == [(b"a", 1), (b"b", 1)]
        assert await store.put_back(lease, 2) == Settled(not_taken=2)
        assert await backlog(store, "q") == Backlog(2, 2)
        clock.now += 1_999
        assert await store.lease("q", 2, 1000, used_up, at_most) is None
        assert await store.ready_queues() == []
        clock.now += 1
        assert await store.ready_queues() == [ReadyQueue("q", clock.now)]
    assert await leased(store, queue_id="dlq") == []
    lease = await store.lease("q", 2, 1000, used_up, at_most)
    assert lease is not None
    ids = [each.id for each in lease.messages]
    assert (await store.settle(lease, ids, {}, used_up)).acknowledged == 2


async def test_putting_back_keeps_the_attempts_before_and_leaves_alone_what_another_has(
    store: QueueStorage, clock: Clock
) -> None:
    await send(store, "a", "b")
    late = await store.lease("q", 2, 1000)
    assert late is not None
    clock.now += 1000
    taken = await store.lease("q", 1, 60_000)  # of "a", whose deliverer died
    assert taken is not None
    assert await store.put_back(late, 0) == Settled(not_taken=1)
    assert await store.put_back(late, 0) == Settled()
    assert await store.put_back(taken, 0) == Settled(not_taken=1)
    lease = await store.lease("q", 2, 1000)
    assert lease is not None
    assert [(each.body, each.attempts) for each in lease.messages] == [(b"a", 2), (b"b", 1)]


async def test_ready_queues_are_those_with_work_the_longest_waiting_first(
    store: QueueStorage, clock: Clock
) -> None:
    await send(store, "x", queue_id="late", delay_s=10)
    await send(store, "x", queue_id="leased")
    await store.lease("leased", 1, 60_000)
    await send(store, "x", "y", queue_id="older")
    started = clock.now
    clock.now += 5
    await send(store, "x", queue_id="newer")
    assert await store.ready_queues() == [ReadyQueue("older", started), ReadyQueue("newer", clock.now)]
    assert await store.ready_count("older", 10) == 2
    assert await store.ready_count("older", 1) == 1
    clock.now = started + 10_000
    assert ReadyQueue("late", clock.now) in await store.ready_queues()


async def test_backlog_counts_messages_and_bytes_through_every_change(store: QueueStorage) -> None:
    assert await backlog(store, "q") == Backlog(0, 0)
    ids = await send(store, "aa", "bbb", "c")
    assert await backlog(store, "q") == Backlog(3, 6)
    lease = await store.lease("q", 2, 1000)
    assert lease is not None
    assert await backlog(store, "q") == Backlog(3, 6)
    await store.settle(lease, [ids[0]], {ids[1]: 0}, FOUR)
    assert await backlog(store, "q") == Backlog(2, 4)


async def test_peek_shows_without_leasing(store: QueueStorage) -> None:
    await send(store, "a", "b", "c")
    assert [message.body for message in await store.peek("q", 2)] == [b"a", b"b"]
    assert await leased(store) == ["a", "b", "c"]


async def test_purge_empties_one_queue_and_leaves_it_usable(store: QueueStorage) -> None:
    for _ in range(6):
        await send(store, *(["x"] * 100))
    await send(store, "kept", queue_id="other")
    assert await store.purge("q") == 600
    assert await leased(store) == []
    assert await leased(store, queue_id="other") == ["kept"]
    await send(store, "again")
    assert await leased(store) == ["again"]


async def test_deleted_queue_takes_nothing_more(store: QueueStorage) -> None:
    await send(store, "a")
    assert await store.delete_queue("q") == 1
    with pytest.raises(OperationError, match="deleted") as caught:
        await send(store, "b")
    assert caught.value.code is OperationErrorCode.NOT_FOUND
    assert await store.ready_queues() == []


async def test_past_its_retention_a_message_is_neither_delivered_nor_in_the_way(
    store: QueueStorage, clock: Clock
) -> None:
    await send(store, *(["old"] * 250))
    clock.now += 1_000_000
    await send(store, "new")
    assert await leased(store, 1) == ["new"]
    while await store.sweep():
        pass
    assert (await backlog(store, "q")).messages == 1


async def test_on_send_tells_of_sends_retries_and_dead_letters(store: QueueStorage) -> None:
    told: list[str] = []
    store.on_send = told.append
    (message_id,) = await send(store, "a")
    lease = await store.lease("q", 1, 1000)
    assert lease is not None
    await store.settle(lease, [], {message_id: 0}, FOUR)
    lease = await store.lease("q", 1, 1000)
    assert lease is not None
    await store.settle(lease, [], {message_id: 0}, DeadLettering(2, "dlq"))
    assert [queue_id for queue_id in told if queue_id] == ["q", "q", "dlq"]


async def pulled(store: QueueStorage, count: int = 100, queue_id: str = "q") -> list[PulledMessage]:
    return await store.pull(queue_id, count, 1000, FOUR)


async def test_what_is_pulled_has_a_lease_each(store: QueueStorage, clock: Clock) -> None:
    ids = await send(store, "a", "b", "c")
    first = await pulled(store, 2)
    assert [(each.message.id, each.message.body, each.message.attempts) for each in first] == [
        (ids[0], b"a", 1),
        (ids[1], b"b", 1),
    ]
    assert [each.message.body for each in await pulled(store)] == [b"c"]
    assert len({each.lease_id for each in first}) == 2
    acknowledged, retried = first[0].lease_id, first[1].lease_id
    done = await store.settle_pulled("q", [acknowledged], {retried: 5}, FOUR)
    assert done == PullsSettled(Settled(acknowledged=1, retried=1))
    assert (await backlog(store, "q")).messages == 2
    clock.now += 5_000
    again = await pulled(store)
    assert [(each.message.body, each.message.attempts) for each in again] == [(b"b", 2), (b"c", 2)]
    assert {each.lease_id for each in again}.isdisjoint({acknowledged, retried})


@pytest.mark.parametrize(("passed_ms", "ready"), [(999, []), (1000, [(b"a", 2)])])
async def test_pulled_message_comes_again_when_its_lease_is_over(
    store: QueueStorage, clock: Clock, passed_ms: int, ready: list[tuple[bytes, int]]
) -> None:
    await send(store, "a")
    assert len(await pulled(store)) == 1
    clock.now += passed_ms
    assert [(each.message.body, each.message.attempts) for each in await pulled(store)] == ready


async def test_late_acknowledgement_of_a_pull_is_told(store: QueueStorage, clock: Clock) -> None:
    await send(store, "a", "b")
    a, b = [each.lease_id for each in await pulled(store)]
    clock.now += 1000
    (again,) = await pulled(store, 1)  # a, with another lease
    assert await store.settle_pulled("q", [a, b], {}, FOUR) == PullsSettled(
        Settled(acknowledged=1), late=(b,), not_held=(a,)
    )
    assert (await store.settle_pulled("q", [again.lease_id], {}, FOUR)).late == ()
    assert await store.settle_pulled("q", [again.lease_id], {}, FOUR) == PullsSettled(
        Settled(), not_held=(again.lease_id,)
    )


async def test_lease_of_a_pull_is_of_no_use_for_another_queue_and_can_not_be_made_up(
    store: QueueStorage,
) -> None:
    await send(store, "a")
    await send(store, "b", queue_id="other")
    (mine,) = await pulled(store)
    (other,) = await pulled(store, queue_id="other")
    forged = (other.lease_id, other.message.id, mine.message.id, "0" * 32, "", "' OR 1=1", "\0", "ä" * 32)
    found = await store.settle_pulled("q", forged, {mine.lease_id.upper() + " ": 0}, FOUR)
    assert found.settled == Settled()
    assert set(forged) <= set(found.not_held)
    assert await pulled(store) == []
    assert (await store.settle_pulled("other", [other.lease_id], {}, FOUR)).settled.acknowledged == 1


async def test_pulled_message_is_used_up_by_retries_and_by_leases_that_ended(
    store: QueueStorage, clock: Clock
) -> None:
    used_up = DeadLettering(2, "dlq")
    await send(store, "retried", "left")
    first = await store.pull("q", 2, 1000, used_up)
    await store.settle_pulled("q", [], {first[0].lease_id: 0}, used_up)
    clock.now += 1000
    second = await store.pull("q", 2, 1000, used_up)
    retried = next(each.lease_id for each in second if each.message.body == b"retried")
    settled = (await store.settle_pulled("q", [], {retried: 0}, used_up)).settled
    assert settled == Settled(dead_lettered=1)
    clock.now += 1000
    assert await store.pull("q", 2, 1000, used_up) == []
    assert sorted(await leased(store, queue_id="dlq")) == ["left", "retried"]
    assert await backlog(store, "q") == Backlog()


async def test_paused_queue_delivers_nothing_takes_sends_and_loses_nothing(
    store: QueueStorage, clock: Clock
) -> None:
    await send(store, "a", "b")
    lease = await store.lease("q", 1, 60_000)
    assert lease is not None
    await store.change_settings("q", QueueSettingsChange(delivery_paused=True))
    await send(store, "c")
    clock.now += 1000
    assert await store.ready_queues() == []
    assert await store.lease("q", 10, 1000) is None
    assert await pulled(store) == []
    assert await store.totals() == QueueTotals(3, 3, paused=1)
    # What was being delivered may end.
    assert (await store.settle(lease, [lease.messages[0].id], {}, FOUR)).acknowledged == 1
    told: list[str] = []
    store.on_send = told.append
    await store.change_settings("q", QueueSettingsChange(delivery_paused=False))
    assert "q" in told
    assert [ready.queue_id for ready in await store.ready_queues()] == ["q"]
    assert await leased(store) == ["b", "c"]
    assert (await store.totals()).paused == 0


async def test_settings_change_one_by_one(store: QueueStorage) -> None:
    nothing_set = QueueSettings(retention_s=1000)
    assert await store.settings(["q", "other"]) == {"q": nothing_set, "other": nothing_set}
    changed = await store.change_settings("q", QueueSettingsChange(delivery_delay_s=7))
    assert changed == QueueSettings(False, 7, 1000)
    changed = await store.change_settings("q", QueueSettingsChange(delivery_paused=True, retention_s=60))
    assert changed == QueueSettings(True, 7, 60)
    assert await store.settings(["q", "other"]) == {"q": changed, "other": nothing_set}
    await store.delete_queue("q")
    assert await store.settings(["q"]) == {"q": nothing_set}
    with pytest.raises(OperationError, match="deleted"):
        await store.change_settings("q", QueueSettingsChange(delivery_paused=True))


async def test_queues_delay_holds_for_messages_without_their_own(store: QueueStorage, clock: Clock) -> None:
    await store.change_settings("q", QueueSettingsChange(delivery_delay_s=10))
    await send(store, "queue's")
    await send(store, "at once", delay_s=0)
    await send(store, "own", delay_s=5)
    assert await leased(store) == ["at once"]
    clock.now += 5_000
    assert "own" in await leased(store)
    clock.now += 5_000
    assert "queue's" in await leased(store)


async def test_queues_retention_holds_for_what_is_sent_and_dead_lettered_from_then_on(
    store: QueueStorage, clock: Clock
) -> None:
    await send(store, "before")
    for queue_id in ("q", "dlq"):
        await store.change_settings(queue_id, QueueSettingsChange(retention_s=60))
    await send(store, "after")
    lease = await store.lease("q", 1, 1000)
    assert lease is not None
    once = DeadLettering(1, "dlq")
    await store.settle(lease, [], {lease.messages[0].id: 0}, once)
    clock.now += 59_999
    assert [message.body for message in await store.peek("q", 9)] == [b"after"]
    assert [message.body for message in await store.peek("dlq", 9)] == [b"before"]
    clock.now += 1
    assert await leased(store) == []
    assert await leased(store, queue_id="dlq") == []


async def test_no_more_leases_hold_at_once_than_are_allowed(store: QueueStorage, clock: Clock) -> None:
    await send(store, "a", "b", "c", "d")
    first = await store.lease("q", 1, 1000, at_most=2)
    second = await store.lease("q", 1, 1000, at_most=2)
    assert first is not None
    assert second is not None
    assert await store.lease("q", 1, 1000, at_most=2) is None
    await store.settle(first, [first.messages[0].id], {}, FOUR)
    third = await store.lease("q", 1, 1000, at_most=2)
    assert third is not None
    assert await store.lease("q", 1, 1000, at_most=2) is None
    clock.now += 900
    await store.renew(third, 1000)
    clock.now += 100
    # The second's holder has died; the third's goes on.
    fourth = await store.lease("q", 1, 1000, at_most=2)
    assert fourth is not None
    assert await store.lease("q", 1, 1000, at_most=2) is None
    assert await store.lease("other", 1, 1000, at_most=2) is None
    await send(store, "x", queue_id="other")
    assert await store.lease("other", 1, 1000, at_most=1) is not None


async def test_bound_holds_among_those_who_ask_at_once(store: QueueStorage) -> None:
    await send(store, *"abcdefgh")
    leases = await asyncio.gather(*(store.lease("q", 1, 1000, at_most=3) for _ in range(8)))
    assert len([lease for lease in leases if lease is not None]) == 3


async def test_none_of_those_who_pull_at_once_gets_what_another_has(store: QueueStorage) -> None:
    ids = await send(store, *(["x"] * 60))
    got: list[str] = []

    async def take_all() -> None:
        while messages := await pulled(store, 7):
            got.extend(each.message.id for each in messages)

    await asyncio.gather(*(take_all() for _ in range(4)))
    await take_all()  # what another had in hand for the moment of its pull is passed over
    assert sorted(got) == sorted(ids)


async def test_what_a_dead_holder_had_is_given_back_at_once_and_nobody_elses(store: QueueStorage) -> None:
    await send(store, "a", "b", "c", "d")
    for holder in ("dead", "alive"):
        assert await store.lease("q", 1, 60_000, at_most=2, holder=holder) is not None
    assert await store.lease("q", 1, 60_000, at_most=2, holder="next") is None
    told: list[str] = []
    store.on_send = told.append
    assert await store.give_back("dead") == 1
    assert "q" in told
    assert await store.give_back("dead") == 0
    assert await store.give_back("nobody") == 0
    again = await store.lease("q", 3, 60_000, at_most=2, holder="next")
    assert again is not None
    assert [(each.body, each.attempts) for each in again.messages] == [(b"a", 2), (b"c", 1), (b"d", 1)]
    assert await store.lease("q", 1, 60_000, at_most=2, holder="next") is None


async def test_lease_that_got_nothing_counts_for_nothing(store: QueueStorage) -> None:
    assert await store.lease("q", 1, 1000, at_most=1) is None
    await send(store, "a")
    assert await store.lease("q", 1, 1000, at_most=1) is not None


async def test_peeked_messages_are_removed_by_their_references(store: QueueStorage) -> None:
    await send(store, "a", "b", "c")
    await send(store, "x", queue_id="other")
    a, _, c = [message.ref for message in await store.peek("q", 3)]
    (x,) = [message.ref for message in await store.peek("other", 1)]
    assert sorted(await store.remove("q", [a, c, x, a, "", "' OR 1=1", "9" * 40])) == sorted([a, c])
    assert [message.body for message in await store.peek("q", 3)] == [b"b"]
    assert await backlog(store, "q") == Backlog(1, 1)
    assert (await backlog(store, "other")).messages == 1
