"""What is due is found once, whatever was added or removed meanwhile; and who begins first is settled by turns."""

from __future__ import annotations

from collections import Counter

import pytest

from control.cron_index import CronIndex
from control.cron_turns import CronTurns, has_room
from model.cron import MINUTE_MS
from model.identity import NamespaceName, ScriptName, TenantId
from model.schedules import DueRun, Schedule
from model.scripts import ScriptRef

#: 2026-11-26 06:00
NOW = 1_795_672_800_000


def schedule(name: str, cron: str = "*/5 * * * *", tenant: str = "acme", created_at_ms: int = 0) -> Schedule:
    return Schedule(ScriptRef(NamespaceName("prod"), ScriptName(name)), cron, created_at_ms, TenantId(tenant))


def names(due: list[DueRun]) -> list[tuple[str, int]]:
    return sorted((run.schedule.ref.script, (run.due_ms - NOW) // MINUTE_MS) for run in due)


def test_each_due_time_is_taken_once() -> None:
    index = CronIndex()
    every, hourly = schedule("every", created_at_ms=NOW), schedule("hourly", "0 * * * *", created_at_ms=NOW)
    assert index.replace(every.ref, [every], NOW) == []
    assert index.replace(hourly.ref, [hourly], NOW) == []
    assert index.next_ms == NOW + 5 * MINUTE_MS
    assert index.take_due(NOW + 5 * MINUTE_MS - 1) == []
    assert names(index.take_due(NOW + 5 * MINUTE_MS)) == [("every", 5)]
    assert index.take_due(NOW + 5 * MINUTE_MS) == []
    assert index.take_due(NOW + 10 * MINUTE_MS - 1) == []
    assert names(index.take_due(NOW + 60 * MINUTE_MS)) == [("every", 60), ("hourly", 60)]  # :10 to :55 as one


def test_a_schedule_is_not_due_for_times_before_it_was_made() -> None:
    index = CronIndex()
    old = schedule("old")
    index.replace(old.ref, [old], NOW - MINUTE_MS)
    # Made in the due minute itself, of an expression that others have already.
    young = schedule("young", created_at_ms=NOW + 1)
    assert index.replace(young.ref, [young], NOW + 2) == []
    assert names(index.take_due(NOW + 3)) == [("old", 0)]
    assert names(index.take_due(NOW + 5 * MINUTE_MS)) == [("old", 5), ("young", 5)]


def test_one_that_is_seen_late_is_due_at_once_unless_somebody_began_it() -> None:
    index = CronIndex()
    seen_late = schedule("late", created_at_ms=NOW - 1)
    assert names(index.replace(seen_late.ref, [seen_late], NOW + 10)) == [("late", 0)]
    begun = schedule("begun", created_at_ms=NOW - 1)
    assert index.replace(begun.ref, [begun], NOW + 10, lambda s: NOW) == []
    missed = schedule("missed", created_at_ms=NOW - 1)
    assert names(index.replace(missed.ref, [missed], NOW + 10, lambda s: NOW - 5 * MINUTE_MS)) == [
        ("missed", 0)
    ]


def test_a_schedule_that_stays_is_not_due_anew() -> None:
    index = CronIndex()
    stays = schedule("s", created_at_ms=NOW - MINUTE_MS)
    assert names(index.replace(stays.ref, [stays], NOW)) == [("s", 0)]
    moved = schedule("s", created_at_ms=NOW - MINUTE_MS, tenant="other")
    added = schedule("s", "* * * * *", created_at_ms=NOW)
    assert index.replace(stays.ref, [moved, added], NOW) == []
    assert stays in index  # the same schedule, whoever the script belongs to now
    assert names(index.take_due(NOW + 5 * MINUTE_MS)) == [("s", 5), ("s", 5)]


def test_what_was_removed_is_due_no_more() -> None:
    index = CronIndex()
    gone, stays = schedule("gone"), schedule("stays")
    for added in (gone, stays):
        index.replace(added.ref, [added], NOW)
    index.replace(gone.ref, [], NOW)
    assert gone not in index
    assert index.scripts() == [stays.ref]
    assert names(index.take_due(NOW + 5 * MINUTE_MS)) == [("stays", 5)]
    index.replace(stays.ref, [], NOW)
    assert index.take_due(NOW + 10 * MINUTE_MS) == []
    assert index.next_ms is None
    # And made anew.
    index.replace(gone.ref, [gone], NOW + 11 * MINUTE_MS, lambda s: NOW + 10 * MINUTE_MS)
    assert names(index.take_due(NOW + 15 * MINUTE_MS)) == [("gone", 15)]


@pytest.mark.parametrize(
    ("owner", "running", "most", "room"),
    [
        (0, 0, 128, True),
        (31, 0, 128, True),
        (32, 0, 128, False),  # a quarter of what is free
        (1, 120, 128, True),
        (2, 120, 128, False),  # (128 - 120) // 4
        (1, 127, 128, True),  # the least that anybody may
        (2, 127, 128, False),
        (0, 128, 128, False),
    ],
)
def test_room_of_an_owner(owner: int, running: int, most: int, room: bool) -> None:
    assert has_room(owner, running, most) is room


def test_owners_take_turns() -> None:
    turns = CronTurns(most=16)
    turns.add(DueRun(schedule(f"big{n}", tenant="big"), NOW) for n in range(1_000))
    turns.add(DueRun(schedule(f"{tenant}{n}", tenant=tenant), NOW) for tenant in ("a", "b") for n in range(2))
    taken = turns.take(100)
    count = Counter(str(run.schedule.tenant) for run in taken)
    assert count["a"] == count["b"] == 2
    assert 2 <= count["big"] <= 4
    assert turns.running == len(taken)
    # One that comes later finds room, however much waits.
    turns.add([DueRun(schedule("c", tenant="c"), NOW)])
    assert [run.schedule.tenant for run in turns.take(100)] == ["c"]
    for run in taken:
        turns.ended(run.schedule)
    assert {run.schedule.tenant for run in turns.take(100)} == {"big"}


def test_a_later_due_time_takes_the_place_of_one_that_waits() -> None:
    turns = CronTurns()
    turns.add([DueRun(schedule("s"), NOW)])
    turns.add([DueRun(schedule("s"), NOW + 5 * MINUTE_MS)])
    turns.add([DueRun(schedule("s"), NOW)])
    assert turns.waiting == 1
    (run,) = turns.take(10)
    assert run.due_ms == NOW + 5 * MINUTE_MS
    assert (turns.waiting, turns.running) == (0, 1)
