"""Rule: a Signal wakes whoever waits, as often as it is set, and forgets who was cancelled."""

from __future__ import annotations

import asyncio

import pytest

from edge.readiness import Signal


async def test_all_who_wait_are_woken_and_later_ones_do_not_wait() -> None:
    signal = Signal()
    waiting = [asyncio.ensure_future(signal.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not signal.is_set()
    signal.set()
    signal.set()
    assert await asyncio.gather(*waiting) == [True] * 3
    assert await signal.wait()
    signal.clear()
    again = asyncio.ensure_future(signal.wait())
    await asyncio.sleep(0)
    assert not again.done()
    signal.set()
    assert await again


async def test_one_that_is_set_and_cleared_in_one_turn_wakes_all_the_same() -> None:
    signal = Signal()
    waiting = asyncio.ensure_future(signal.wait())
    await asyncio.sleep(0)
    signal.set()
    signal.clear()
    assert await waiting


async def test_who_is_cancelled_is_forgotten() -> None:
    signal = Signal()
    waiting = [asyncio.ensure_future(signal.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    signal.set()
    assert await waiting[1]
