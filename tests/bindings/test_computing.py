"""Computations of an event that go to threads: they take turns, and don't crowd out those of other events."""

from __future__ import annotations

import asyncio
import functools
import threading

import pytest

from bindings import computing
from bindings.memory import MemoryEvent
from model.errors import OperationError, OperationErrorCode


async def test_more_computations_than_may_wait_all_end_when_one_event_asks_for_them() -> None:
    event = MemoryEvent()
    asked = [computing.elsewhere(event, functools.partial(abs, at)) for at in range(300)]
    assert await asyncio.gather(*asked) == list(range(300))


async def test_an_event_with_many_computations_leaves_room_for_another_s() -> None:
    gate = threading.Event()
    crowd = [asyncio.ensure_future(computing.elsewhere(MemoryEvent(), gate.wait))]
    event = MemoryEvent()
    crowd += [asyncio.ensure_future(computing.elsewhere(event, gate.wait)) for _ in range(200)]
    try:
        other = asyncio.ensure_future(computing.elsewhere(MemoryEvent(), lambda: "mine"))
        await asyncio.sleep(0)
        assert not other.done()  # it waits for a thread, and is not refused
        gate.set()
        assert await other == "mine"
    finally:
        gate.set()
        await asyncio.gather(*crowd)


async def test_too_many_events_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computing, "_WAITING", 2)
    gate = threading.Event()
    crowd = [asyncio.ensure_future(computing.elsewhere(MemoryEvent(), gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    try:
        with pytest.raises(OperationError, match="too many computations") as refused:
            await computing.elsewhere(MemoryEvent(), lambda: None)
        assert refused.value.code == OperationErrorCode.LOAD_SHED
    finally:
        gate.set()
        await asyncio.gather(*crowd)


async def test_what_an_event_left_behind_is_forgotten() -> None:
    event = MemoryEvent()
    gone = asyncio.ensure_future(computing.elsewhere(event, lambda: None))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, computing.elsewhere(event, lambda: None), return_exceptions=True)
    assert event not in computing._turns
