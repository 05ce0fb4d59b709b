"""What an event keeps in the host beside its own memory is bounded, and nothing of it outlives the event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import msgpack
import pytest

from model.capabilities import GuestEvent, Operation, WorkerEnv
from model.errors import OperationError
from model.limits import Limits
from model.messages import BytesSource
from runtime.abi.core_module.event_streams import GIVEN_BYTES, STREAMS
from runtime.abi.core_module.session import UNTAKEN_BYTES, Session
from runtime.capi.guest import AbiViolation
from tests.support.guests import Remembered, context

MIB = 1 << 20


class Event:
    """A session with `gate` (waits for ever), `large` (answers so many bytes) and `lent` (waits, then lends)."""

    def __init__(self, responder: Remembered | None = None) -> None:
        self.gate = asyncio.Event()
        self.source = BytesSource(b"borrowed")
        self.closed_sources = 0
        self.inner_ran = 0
        table = {
            "gate": Operation("gate", None, False, lambda _e, _l, _a: self._wait()),
            "large": Operation("large", None, False, lambda _e, _l, args: b"x" * int(args[0])),  # type: ignore[call-overload]
            "lent": Operation("lent", None, False, lambda e, _l, _a: self._lend(e)),
            "outer": Operation("outer", None, False, lambda _e, _l, _a: self._outer(self._inner())),
        }
        limits = Limits(operations=100_000)
        self.session = Session(context(), WorkerEnv(), table, limits, responder, lambda: None)

    async def _wait(self) -> None:
        await self.gate.wait()

    async def _lend(self, event: GuestEvent) -> int:
        # As an operation whose source came in the very turn in which it was cancelled.
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            pass
        event.close_later(self._count_close)
        return event.lend_stream(self.source)

    def _count_close(self) -> None:
        self.closed_sources += 1

    async def _outer(self, inner: Awaitable[None]) -> None:
        await inner

    async def _inner(self) -> None:
        self.inner_ran += 1
        await self.gate.wait()

    async def call(self, *ops: Sequence[object], wait: str = "none") -> list[Any]:
        answer = self.session.answer(msgpack.packb({"ops": ops, "wait": wait}))
        reply = msgpack.unpackb(answer if isinstance(answer, bytes) else await answer)
        return [result for _, result in reply["done"]]


async def turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def codes(results: list[Any]) -> set[str]:
    return {result["error"]["code"] for result in results if "error" in result}


async def test_streams_of_its_own_hold_8_mib_together_and_all_128_no_more() -> None:
    event = Event()
    for first in range(0, STREAMS, 64):
        await event.call(*[[first + n, "stream.open", None] for n in range(64)])
    accepted = refused = 0
    for stream in range(1, STREAMS + 1):
        [result] = await event.call([stream, "stream.write", None, stream, b"x" * 250_000])
        accepted += "error" not in result
        refused += "error" in result
    assert accepted == GIVEN_BYTES // 250_000
    assert refused == STREAMS - accepted
    # Reading makes room again.
    await event.call([1, "stream.read", None, 1, 250_000], wait="all")
    [result] = await event.call([2, "stream.write", None, 60, b"x" * 250_000])
    assert "error" not in result
    event.session.close()
    await turns()


async def test_arguments_of_pending_operations_are_held_to_the_same_bytes() -> None:
    event = Event()
    for number in range(7):
        assert await event.call([number, "gate", None, {"nested": [b"x" * MIB]}]) == []
    await event.call([7, "gate", None, b"x" * (MIB - 500)])
    assert codes(await event.call([8, "gate", None, b"x" * (MIB - 500)])) == {"limit_exceeded"}
    event.gate.set()
    await turns()
    event.gate.clear()
    await event.call()
    assert await event.call([9, "gate", None, b"x" * (MIB - 500)]) == []
    event.session.close()
    await turns()
    assert event.session._given.now == 0


async def test_results_that_nobody_takes_stop_further_operations_until_they_are_taken() -> None:
    event = Event()
    refused: set[str] = set()
    for number in range(40):
        refused |= codes(await event.call(*[[number * 64 + n, "large", None, 250_000] for n in range(64)]))
        assert event.session._untaken < UNTAKEN_BYTES + 2 * MIB
    assert refused == {"limit_exceeded"}
    while event.session._ready:
        await event.call()
    assert event.session._untaken == 0
    assert await event.call([1, "large", None, 3]) == [{"ok": b"xxx"}]
    event.session.close()


async def test_operation_cancelled_before_its_first_step_leaves_no_coroutine_behind() -> None:
    """A coroutine that was handed to an operation and is never awaited is a warning, hence a failure here."""
    event = Event()
    with pytest.raises(AbiViolation, match="in use"):
        await event.call([1, "outer", None], [1, "outer", None])
    event.session.close()
    await turns()
    assert event.inner_ran == 1
    event = Event()
    await event.call([1, "outer", None])
    answer = event.session.answer(msgpack.packb({"ops": [], "wait": "none", "cancel": [1]}))
    assert not isinstance(answer, bytes)
    [(_, result)] = msgpack.unpackb(await answer)["done"]
    assert result["error"]["code"] == "cancelled"
    event.session.close()


async def test_stream_lent_to_an_event_that_has_ended_is_closed() -> None:
    event = Event()
    await event.call([1, "lent", None])
    await turns()
    event.session.close()
    await turns()
    assert event.closed_sources == 1
    with pytest.raises(OperationError, match="ended"):
        event.session.lend_stream(BytesSource(b""))


async def test_response_asked_for_in_a_call_that_breaks_the_abi_is_not_given_afterwards() -> None:
    responder = Remembered()
    event = Event(responder)
    with pytest.raises(AbiViolation):
        await event.call(
            [1, "response.start", None, 200, []],
            [2, "response.write", None, b"too late"],
            [3, "response.end", None],
            [3, "response.end", None],
        )
    event.session.close()
    await turns()
    assert (responder.started, bytes(responder.body)) == (False, b"")
