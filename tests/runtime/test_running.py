"""One sweep keeps every event's deadline and passes on its lines; a drain waits, and then ends what is left."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runtime.metering import BACKGROUND, SHUTDOWN, WALL
from runtime.running import RunningEvents
from runtime.sandbox import Sandbox


def sandbox(*, waits: bool = False) -> Any:
    """All that the sweep looks at: that there are lines to pass on, and whether the guest waits in a call."""
    lines = SimpleNamespace(lines=[(1, b"a line")])
    return SimpleNamespace(io=lines, is_waiting=waits, session=SimpleNamespace(on_resume=None))


WITH_LINES = cast(Sandbox, sandbox())


class Event:
    def __init__(self, *, broken: bool = False) -> None:
        self.doomed: list[str] = []
        self.was_doomed = asyncio.Event()
        self.was_drained = asyncio.Event()
        self.broken = broken

    def doom(self, why: str) -> None:
        self.doomed.append(why)
        self.was_doomed.set()

    def drain_lines(self) -> None:
        self.was_drained.set()
        if self.broken:
            raise ValueError("a bug in an observer")


async def within(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 60)


async def test_event_past_its_deadline_is_doomed_and_others_are_not() -> None:
    events = RunningEvents()
    events.start()
    late, early = Event(), Event()
    events.add(WITH_LINES, late, time.monotonic() - 1)
    events.add(WITH_LINES, early, time.monotonic() + 60)
    await within(late.was_doomed)
    await within(early.was_drained)
    assert late.doomed[0] == WALL
    assert early.doomed == []
    events.stop()


async def test_new_deadline_comes_with_its_own_word() -> None:
    events = RunningEvents()
    events.start()
    event = Event()
    running = events.add(WITH_LINES, event, time.monotonic() + 60)
    running.go_on(-1, BACKGROUND)
    await within(event.was_doomed)
    assert event.doomed[0] == BACKGROUND
    events.stop()


async def test_one_that_waits_is_not_looked_at_until_it_goes_on() -> None:
    events = RunningEvents()
    events.start()
    held, event = sandbox(waits=True), Event()
    running = events.add(held, event, time.monotonic() + 60)
    await within(event.was_drained)  # once: what it logged before it began to wait
    event.was_drained.clear()
    other = Event()
    events.add(WITH_LINES, other, time.monotonic() + 60)
    for _ in range(2):
        await within(other.was_drained)
        other.was_drained.clear()
    assert not event.was_drained.is_set()
    assert len(events) == 2
    assert running in list(events)
    held.is_waiting = False
    held.session.on_resume()
    assert held.session.on_resume is None  # no ring is left
    await within(event.was_drained)
    events.remove(running)
    assert len(events) == 1
    events.stop()


@pytest.mark.parametrize("by_deadline", [True, False])
async def test_one_that_waits_is_doomed_in_time(by_deadline: bool) -> None:
    """At its deadline, and at an earlier one that it is given meanwhile."""
    events = RunningEvents()
    events.start()
    event, held = Event(), sandbox(waits=True)
    deadline = time.monotonic() + (3 if by_deadline else 60)
    running = events.add(held, event, deadline)
    await within(event.was_drained)
    await asyncio.sleep(0)
    assert held.session.on_resume is not None, "it sleeps"
    if not by_deadline:
        running.go_on(-1, BACKGROUND)
    await within(event.was_doomed)
    assert not by_deadline or 0 <= time.monotonic() - deadline < 20, "it is not looked at before it wakes up"
    events.remove(running)
    assert len(events) == 0
    assert held.session.on_resume is None
    events.stop()


async def test_observer_that_fails_does_not_end_the_keeping_of_limits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = RunningEvents()
    events.start()
    broken = Event(broken=True)
    events.add(WITH_LINES, broken, time.monotonic() + 60)
    await within(broken.was_drained)
    late = Event()
    events.add(WITH_LINES, late, time.monotonic() - 1)
    await within(late.was_doomed)
    assert "a bug in an observer" in caplog.text
    events.stop()


async def test_drain_waits_for_the_last_and_says_when_it_took_too_long() -> None:
    events = RunningEvents()
    event = Event()
    assert await events.drained(0)
    running = events.add(WITH_LINES, event, time.monotonic() + 60)
    assert len(events) == 1
    assert not await events.drained(0)
    events.doom_all()
    assert event.doomed == [SHUTDOWN]
    draining = asyncio.create_task(events.drained(60))
    await asyncio.sleep(0)
    events.remove(running)
    events.remove(running)
    assert await draining
