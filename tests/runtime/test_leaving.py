"""A worker that asks to be told of its visitor's leaving goes on when that comes about, in the background and no longer
than work after a response; any other is ended. What it answers is nobody's any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgpack
import pytest

from model.capabilities import GuestEvent, Operation
from model.messages import Body
from model.outcome import EventOutcome
from runtime.capi.guest import live_guests
from runtime.metering import Ending
from tests.security.calling import call, caller
from tests.support.guests import Guests, Remembered, context, request
from tests.support.hostile_modules import ANSWER, CALL, worker
from tests.support.visitors import Finished, Slow, Visitor

ASKS: Sequence[object] = [1, "visitor.left", None]
WAITS: Sequence[object] = [2, "waits", None]
DONE = call([9, "done", None])


class Stage:
    """Operations: `waits` for ever, and says that it was asked; `done` counts."""

    def __init__(self) -> None:
        self.done = 0
        self.waiting = asyncio.Event()
        self.guests = Guests(
            {
                "waits": Operation("waits", None, False, self._wait),
                "done": Operation("done", None, False, self._count),
            }
        )

    async def _wait(self, _event: GuestEvent, _lent: object, _args: object) -> None:
        self.waiting.set()
        await asyncio.Event().wait()

    def _count(self, _event: GuestEvent, _lent: object, _args: object) -> None:
        self.done += 1

    async def left(
        self,
        wasm: bytes,
        when: Callable[[], Any] | None = None,
        *,
        limits: Mapping[str, int] | None = None,
        responder: Remembered | None = None,
        body: Body = None,
    ) -> Ending:
        """How it ends for a visitor who leaves `when` that is there; else when the guest waits."""
        visitor, given = Visitor(), request("GET" if body is None else "POST", body=body)
        made = self.guests.worker(wasm, limits=limits)
        running = asyncio.create_task(
            made.fetch(given, responder or Remembered(), context(), {}, None, visitor)
        )
        async with asyncio.timeout(20):
            await (self.waiting.wait() if when is None else when())
            assert visitor.on_leave is not None or (responder is not None and responder.ended)
            visitor.leave()
            ending = await running
        assert visitor.on_leave is None
        return ending


@pytest.fixture
async def stage(driver: str) -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    made.guests.close()
    assert live_guests() == 0


async def test_who_asked_is_told_and_goes_on_and_its_answer_is_nobody_s(stage: Stage) -> None:
    responder = Remembered()
    ending = await stage.left(caller(call(ASKS, WAITS, wait="any"), DONE), responder=responder)
    assert (ending.outcome, stage.done) == (EventOutcome.CANCELED, 1)
    assert not responder.started
    (record,) = stage.guests.observer.records
    assert (record.outcome, record.status) == (EventOutcome.CANCELED, 499)


async def test_who_did_not_ask_or_took_it_back_is_ended(stage: Stage) -> None:
    for calls in (
        [call(WAITS, wait="any")],
        [call(ASKS, wait="none"), call(wait="none", cancel=[1]), call(WAITS, wait="all")],
    ):
        stage.waiting.clear()
        ending = await stage.left(caller(*calls, DONE))
        assert (ending.outcome, stage.done) == (EventOutcome.CANCELED, 0)


async def test_who_began_to_answer_is_told_and_the_answer_is_broken_off(stage: Stage) -> None:
    responder = Remembered()
    starts = call([3, "response.start", None, 200, []], [4, "response.write", None, "half"])
    rest = call([5, "response.write", None, "of it"], [6, "response.end", None])
    wasm = caller(starts, call(ASKS, WAITS, wait="any"), rest, DONE, answers=False)
    ending = await stage.left(wasm, responder=responder)
    assert (ending.outcome, stage.done) == (EventOutcome.CANCELED, 1)
    assert bytes(responder.body) == b"half"
    assert (responder.ended, responder.aborted) == (False, True)


async def test_who_goes_on_has_as_long_as_work_after_a_response(stage: Stage) -> None:
    wasm = caller(call(ASKS, WAITS, wait="any"), call([3, "sleep", None, 60_000]))
    ending = await stage.left(wasm, limits={"background_ms": 80})
    assert ending.outcome is EventOutcome.EXCEEDED_WALL_TIME
    assert "0.08 s after its visitor had left" in ending.message
    assert any(ending.message in text for text in stage.guests.observer.texts)


async def test_wall_time_counts_no_more_and_background_time_only_once(stage: Stage) -> None:
    """The last part of the response goes out while the visitor leaves: that is no second end."""
    responder = Slow()
    parts = call([3, "response.start", None, 200, []], [4, "response.write", None, "x"], wait="none")
    wasm = caller(call(ASKS, wait="none"), parts, call([5, "sleep", None, 60_000]), answers=False)
    limits = {"wall_ms": 60_000, "background_ms": 80}
    ending = await stage.left(wasm, responder.waiting.wait, limits=limits, responder=responder)
    assert ending.outcome is EventOutcome.EXCEEDED_WALL_TIME
    assert "0.08 s" in ending.message


async def test_who_spins_when_told_is_ended_by_its_limit_of_cpu_time(stage: Stage) -> None:
    asks = _pack(call(ASKS, WAITS, wait="any"))
    wasm = worker(
        f"(drop (call $call (i32.const 512) (i32.const {len(asks)}))) (loop $l (br $l)) {ANSWER}",
        imports=CALL,
        more=f'(data (i32.const 512) "{_text(asks)}")',
    )
    ending = await stage.left(wasm, limits={"cpu_ms": 20})
    assert ending.outcome is EventOutcome.EXCEEDED_CPU


async def test_who_computes_in_a_thread_is_told_by_its_next_call(stage: Stage) -> None:
    busy = (
        "(local.set $n (i64.const 60000000)) (loop $l (br_if $l (i64.ne (local.tee $n (i64.sub (local.get $n)"
    )
    asks, done = _pack(call([*ASKS], [3, "began", None], wait="none")), _pack(DONE)
    wasm = worker(
        f"(drop (call $call (i32.const 512) (i32.const {len(asks)})))"
        f"{busy} (i64.const 1))) (i64.const 0))))"
        f"(drop (call $call (i32.const 768) (i32.const {len(done)}))) {ANSWER}",
        imports=CALL,
        more=f'(data (i32.const 512) "{_text(asks)}") (data (i32.const 768) "{_text(done)}")',
    )
    began = asyncio.Event()

    def begin(_event: GuestEvent, _lent: object, _args: object) -> None:
        asyncio.get_running_loop().call_soon(began.set)

    stage.guests.host.operations = {
        **stage.guests.host.operations,
        "began": Operation("began", None, False, begin),
    }
    ending = await stage.left(wasm, began.wait, limits={"cpu_ms": 20_000})
    assert (ending.outcome, stage.done) == (EventOutcome.CANCELED, 1)


async def test_body_that_is_passed_on_ends_with_its_visitor_whoever_asked(stage: Stage) -> None:
    class Endless:
        closed = False

        async def read(self) -> bytes:
            return b"x" * 1000

        def close(self) -> None:
            self.closed = True

    body, responder = Endless(), Slow()
    wasm = caller(call(ASKS, wait="none"), returns={"status": 200, "headers": [], "body_stream": 1})
    ending = await stage.left(wasm, responder.waiting.wait, responder=responder, body=body)
    assert ending.outcome is EventOutcome.CANCELED
    assert body.closed
    assert responder.aborted


async def test_after_the_response_nobody_can_leave_any_more(stage: Stage) -> None:
    responder = Finished()
    answers = call([3, "response.start", None, 200, []], [4, "response.end", None])
    wasm = caller(call(ASKS, wait="none"), answers, call([5, "sleep", None, 50]), DONE, answers=False)

    ending = await stage.left(wasm, responder.over.wait, responder=responder)
    assert (ending.outcome, stage.done) == (EventOutcome.OK, 1)
    assert not responder.aborted


async def test_shutdown_ends_who_goes_on(stage: Stage) -> None:
    visitor = Visitor()
    made = stage.guests.worker(caller(call(ASKS, WAITS, wait="any"), call([3, "waits", None])))
    running = asyncio.create_task(made.fetch(request(), Remembered(), context(), {}, None, visitor))
    async with asyncio.timeout(20):
        await stage.waiting.wait()
        stage.waiting.clear()
        visitor.leave()
        await stage.waiting.wait()
        stage.guests.host.running.doom_all()
        ending = await running
    assert ending.outcome is EventOutcome.CANCELED
    assert "restarted" in ending.message


def _pack(value: Mapping[str, object]) -> bytes:
    return bytes(msgpack.packb(value))


def _text(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)
