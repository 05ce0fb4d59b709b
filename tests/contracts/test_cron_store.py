"""The contract of CronStore, held by the public fake, by SQLite and by PostgreSQL alike: a due time is begun once,
whoever asks, and what became of it is kept, so much of it and so long.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import pytest

from bindings.cron_memory import MemoryCronStore
from model.cron import MINUTE_MS
from model.identity import NamespaceName, ScriptName, TenantId
from model.schedules import UNKNOWN, DueRun, RunEnd, Schedule
from model.scripts import ScriptRef
from storage.cron_protocol import LONGEST_RUN_MS, LOST, RUNS_PER_SCRIPT, CronStore
from storage.cron_store import SqliteCronStore, cron_migrations
from storage.database import Database
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase, PgTransaction
from storage.postgres.cron_store import PgCronStore
from storage.postgres.schema import PgMigrations

T = TypeVar("T")
#: 2026-11-26 06:00
NOW = 1_795_672_800_000


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Machines:
    """Stores over the same place, as several machines (or control processes) have them."""

    def __init__(self, stores: list[CronStore]) -> None:
        self.stores = stores

    @property
    def store(self) -> CronStore:
        return self.stores[0]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def machines(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> AsyncIterator[Machines]:
    async with AsyncExitStack() as stack:
        stores: list[CronStore] = []
        if request.param == "memory":
            stores = [MemoryCronStore(clock)] * 3
        elif request.param == "sqlite":
            for _ in range(3):
                database = Database.open(tmp_path / "cron.db", cron_migrations())
                stack.callback(database.close)
                stores.append(SqliteCronStore(database, clock))
        else:
            address: DatabaseAddress = request.getfixturevalue("database_address")
            for _ in range(3):
                connections = PgDatabase(address)
                stack.push_async_callback(connections.close)
                await PgMigrations.load("cron").apply(connections)
                stores.append(PgCronStore(connections, clock))
        yield Machines(stores)


def schedule(
    name: str = "report", cron: str = "*/5 * * * *", created_at_ms: int = NOW - 3_600_000
) -> Schedule:
    return Schedule(ScriptRef(NamespaceName("prod"), ScriptName(name)), cron, created_at_ms, TenantId("acme"))


def ended(at_ms: int = NOW + 1_000, outcome: str = "ok", error: str = "") -> RunEnd:
    return RunEnd(outcome, error, at_ms, 1_234)


async def test_a_due_time_is_begun_once(machines: Machines) -> None:
    due = DueRun(schedule(), NOW)
    assert len(await machines.stores[0].begin([due], "a")) == 1
    assert await machines.stores[1].begin([due], "b") == []
    assert await machines.stores[0].begin([due], "a") == []
    assert await machines.store.claimed() == {(due.schedule.ref, "*/5 * * * *"): NOW}


async def test_an_earlier_due_time_is_not_begun_after_a_later_one(machines: Machines) -> None:
    assert await machines.store.begin([DueRun(schedule(), NOW)], "a")
    assert await machines.store.begin([DueRun(schedule(), NOW - 5 * MINUTE_MS)], "a") == []
    assert await machines.store.begin([DueRun(schedule(), NOW + 5 * MINUTE_MS)], "a")


async def test_each_expression_of_a_script_is_due_for_itself(machines: Machines) -> None:
    plain = Schedule(ScriptRef(None, ScriptName("report")), "*/5 * * * *", NOW - 1, TenantId("report"))
    due = [DueRun(schedule(), NOW), DueRun(schedule(cron="0 * * * *"), NOW), DueRun(plain, NOW)]
    begun = await machines.store.begin(due, "a")
    assert {run.due for run in begun} == set(due)
    assert len({run.id for run in begun}) == 3


async def test_many_machines_share_what_is_due(machines: Machines) -> None:
    due = [DueRun(schedule(f"s{number}"), NOW) for number in range(60)]

    async def take(store: CronStore, machine: str) -> list[str]:
        taken: list[str] = []
        for at in range(0, len(due), 7):
            taken += [run.due.schedule.ref.script for run in await store.begin(due[at : at + 7], machine)]
        return taken

    taken = await asyncio.gather(*(take(store, f"m{at}") for at, store in enumerate(machines.stores)))
    assert Counter(name for names in taken for name in names) == Counter(f"s{number}" for number in range(60))


async def test_missed_due_times_are_counted_since_the_last_run_or_the_schedule_was_made(
    machines: Machines,
) -> None:
    made = schedule(created_at_ms=NOW - 12 * MINUTE_MS)
    # :50 and :55 came and went; :45 was before it was made.
    assert (await machines.store.begin([DueRun(made, NOW)], "a"))[0].missed == 2
    assert (await machines.store.begin([DueRun(made, NOW + 5 * MINUTE_MS)], "a"))[0].missed == 0
    assert (await machines.store.begin([DueRun(made, NOW + 30 * MINUTE_MS)], "b"))[0].missed == 4
    # Made anew: what came before is not its.
    again = schedule(created_at_ms=NOW + 58 * MINUTE_MS)
    assert (await machines.store.begin([DueRun(again, NOW + 60 * MINUTE_MS)], "b"))[0].missed == 0


async def test_history_tells_how_it_went_newest_first(machines: Machines, clock: Clock) -> None:
    store = machines.store
    clock.now = NOW + 250
    first = (await store.begin([DueRun(schedule(), NOW)], "a"))[0]
    assert first.late_ms == 250
    clock.now = NOW + 5 * MINUTE_MS
    second = (await store.begin([DueRun(schedule(), clock.now)], "b"))[0]
    await store.end(first.id, ended(outcome="exception", error="x" * 10_000))
    await store.end(first.id, ended(outcome="ok"))  # too late: it is known already
    newest, oldest = await store.runs(schedule().ref, None, 10)
    assert (newest.id, newest.machine, newest.end) == (second.id, "b", None)
    assert (oldest.id, oldest.due_ms, oldest.started_at_ms, oldest.missed) == (first.id, NOW, NOW + 250, 11)
    assert oldest.end == ended(outcome="exception", error="x" * 500)
    assert await store.runs(schedule().ref, None, 1) == [newest]
    assert await store.runs(schedule().ref, "0 0 * * *", 10) == []
    assert len(await store.runs(schedule().ref, "*/5 * * * *", 10)) == 2


async def test_an_error_may_hold_any_text(machines: Machines) -> None:
    run = (await machines.store.begin([DueRun(schedule(), NOW)], "a"))[0]
    await machines.store.end(run.id, ended(outcome="exception", error="a\0b\n\u00fc\U0001f600"))
    (record,) = await machines.store.runs(schedule().ref, None, 10)
    assert record.end is not None
    assert record.end.error.replace("\0", "") == "ab\n\u00fc\U0001f600"


async def test_what_a_machine_left_open_is_ended_as_unknown(machines: Machines, clock: Clock) -> None:
    store = machines.store
    ours = (await store.begin([DueRun(schedule("ours"), NOW)], "a"))[0]
    theirs = (await store.begin([DueRun(schedule("theirs"), NOW)], "b"))[0]
    done = (await store.begin([DueRun(schedule("done"), NOW)], "a"))[0]
    await store.end(done.id, ended())
    assert await store.abandon("a") == 1
    (lost,) = await store.runs(ours.due.schedule.ref, None, 10)
    assert lost.end == RunEnd(UNKNOWN, LOST, NOW, None)
    (running,) = await store.runs(theirs.due.schedule.ref, None, 10)
    assert running.end is None
    clock.now += LONGEST_RUN_MS
    assert await store.abandon(None) == 0  # it may just have ended
    clock.now += 1
    assert await store.abandon(None) == 1


async def test_history_of_a_script_is_bounded(machines: Machines, clock: Clock) -> None:
    store = machines.store
    every = schedule(cron="* * * * *")
    still = (await store.begin([DueRun(every, NOW)], "a"))[0]
    for minute in range(1, RUNS_PER_SCRIPT + 10):
        clock.now = NOW + minute * MINUTE_MS
        (run,) = await store.begin([DueRun(every, clock.now)], "a")
        await store.end(run.id, ended(clock.now))
    found = await store.runs(every.ref, None, 1_000)
    # What still runs is kept beyond: its end will be wanted.
    assert len(found) == RUNS_PER_SCRIPT + 1
    assert found[0].due_ms == clock.now
    assert found[-1].id == still.id


async def test_old_runs_are_swept_and_a_due_time_stays_begun(machines: Machines) -> None:
    store = machines.store
    old = (await store.begin([DueRun(schedule(), NOW)], "a"))[0]
    assert await store.sweep(NOW + 1) == 0  # it still runs
    await store.end(old.id, ended())
    assert await store.sweep(NOW) == 0  # begun just then
    assert await store.sweep(NOW + 1) == 1
    assert await store.runs(schedule().ref, None, 10) == []
    assert await store.begin([DueRun(schedule(), NOW)], "a") == []


async def test_a_script_is_forgotten_with_all_it_had(machines: Machines) -> None:
    store = machines.store
    await store.begin([DueRun(schedule(), NOW), DueRun(schedule(cron="1 * * * *"), NOW)], "a")
    await store.begin([DueRun(schedule("other"), NOW)], "a")
    both = [schedule("other").ref, schedule().ref]
    assert await store.scripts(None, 10) == both
    assert await store.scripts(None, 1) == both[:1]
    assert await store.scripts(both[0], 10) == both[1:]
    await store.forget(schedule().ref, keep=["*/5 * * * *"])
    assert await store.claimed() == {(ref, "*/5 * * * *"): NOW for ref in both}
    assert len(await store.runs(schedule().ref, None, 10)) == 2
    await store.forget(schedule().ref)
    assert await store.scripts(None, 10) == both[:1]
    assert await store.runs(schedule().ref, None, 10) == []


async def test_a_begin_whose_commit_was_not_heard_of_keeps_its_runs(
    database_address: DatabaseAddress, clock: Clock
) -> None:
    """The connection is lost after the commit was made: the work runs again, and finds that all is begun."""
    database = PgDatabase(database_address)
    await PgMigrations.load("cron").apply(database)
    write_once = database._write_once
    runs = 0

    async def twice(work: Callable[[PgTransaction], Awaitable[T]]) -> T:
        nonlocal runs
        runs += 1
        await write_once(work)
        return await write_once(work)

    database._write_once = twice  # type: ignore[method-assign]
    due = [DueRun(schedule(f"s{number}"), NOW) for number in range(5)]
    begun = await PgCronStore(database, clock).begin(due, "a")
    assert runs == 1
    assert {run.due for run in begun} == set(due)
    await database.close()
