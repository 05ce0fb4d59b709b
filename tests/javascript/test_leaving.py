"""When the visitor leaves before the response has ended, what was handed to `waitUntil` runs on; `request.signal` aborts, the
response's stream is cancelled, and what the handler still does matters no more. With nothing of it the event ends at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from bindings.memory import MemoryKvNamespace
from model.messages import Body, StreamClosed
from model.outcome import EventOutcome
from model.scripts import BindingKind
from runtime.capi.guest import live_guests
from runtime.metering import Ending
from tests.javascript.harness import handler, tenant
from tests.support.guests import Remembered, context, request
from tests.support.javascript_guests import JavaScriptGuests
from tests.support.visitors import Visitor

#: `began()` is what the test waits for before its visitor leaves.
TOP = """
const began = (env) => env.KV.put("began", "1");
const note = (env, key, value = "1") => env.KV.put(key, String(value));
"""
#: Far beyond what any test waits for: whatever waits so long is ended by something else.
FOREVER = "scheduler.wait(60_000)"


class Upload:
    """A body that comes until its visitor leaves."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor

    async def read(self) -> bytes:
        await self._visitor.gone.wait()
        raise StreamClosed("the visitor left")

    def close(self) -> None:
        pass


class Stage:
    def __init__(self) -> None:
        self.guests = JavaScriptGuests()
        self.kv = MemoryKvNamespace()
        self.responder = Remembered()
        self.visitor = Visitor()

    @property
    def lines(self) -> list[str]:
        return self.guests.observer.texts

    @property
    def noted(self) -> dict[str, str]:
        """What the worker put, besides that it began."""
        entries = {key.decode(): entry.value.decode() for key, entry in self.kv.entries.items()}
        entries.pop("began", None)
        return entries

    async def left(
        self, body: str, *, top: str = "", limits: Mapping[str, int] | None = None, uploads: bool = False
    ) -> Ending:
        """How it ends when the visitor leaves a handler of this `body` that has begun."""
        source = handler(body, TOP + top)
        # A busy machine takes several times the usual.
        given = {"cpu_ms": 10_000, **(limits or {})}
        worker = self.guests.deploy(
            source, bindings={"KV": (BindingKind.KV_NAMESPACE, self.kv)}, limits=given
        )
        upload: Body = Upload(self.visitor) if uploads else None
        running = asyncio.create_task(
            worker.fetch(
                request("POST" if uploads else "GET", body=upload),
                self.responder,
                context(),
                {},
                None,
                self.visitor,
            )
        )
        async with asyncio.timeout(20):
            while b"began" not in self.kv.entries:
                assert not running.done(), (running.result(), self.lines)
                await asyncio.sleep(0.001)
            self.visitor.leave()
            return await running


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    made.guests.close()
    assert live_guests() == 0


async def test_before_the_response_what_waits_runs_on_and_is_logged(stage: Stage) -> None:
    ending = await stage.left(
        f"""ctx.waitUntil((async () => {{
              await scheduler.wait(30);
              await note(env, "work", request.signal.aborted);
              console.log("worked");
            }})());
            await began(env);
            await {FOREVER};"""
    )
    assert ending.outcome is EventOutcome.CANCELED
    assert (stage.noted, stage.lines) == ({"work": "true"}, ["worked"])
    (record,) = stage.guests.observer.records
    assert (record.outcome, record.status) == (EventOutcome.CANCELED, 499)
    assert not stage.responder.started


@pytest.mark.parametrize("ends", ["return new Response('late')", "throw new Error('late')"])
async def test_what_the_handler_answers_or_throws_then_is_nobody_s(stage: Stage, ends: str) -> None:
    ending = await stage.left(
        f"""ctx.waitUntil(scheduler.wait(40).then(() => note(env, "work")));
            await began(env);
            await scheduler.wait(20);
            {ends};"""
    )
    assert (ending.outcome, stage.noted) == (EventOutcome.CANCELED, {"work": "1"})
    assert not stage.responder.started
    assert stage.lines == []


STREAM = """
const endless = (env) => new ReadableStream({
  start: (out) => out.enqueue(new Uint8Array(10)),
  pull: (out) => began(env).then(() => scheduler.wait(50_000)),
  cancel: (reason) => note(env, "cancelled", reason.name),
});
"""


async def test_in_mid_stream_it_is_cancelled_with_a_reason_and_what_waits_runs_on(stage: Stage) -> None:
    ending = await stage.left(
        """ctx.waitUntil(scheduler.wait(30).then(() => note(env, "work")));
           return new Response(endless(env));""",
        top=STREAM,
    )
    assert ending.outcome is EventOutcome.CANCELED
    assert stage.noted == {"work": "1", "cancelled": "AbortError"}
    assert (len(stage.responder.body), stage.responder.ended, stage.responder.aborted) == (10, False, True)
    assert stage.lines == []


@pytest.mark.parametrize("coded", ["", ", { headers: { 'content-encoding': 'gzip' } }"])
async def test_a_stream_is_cancelled_where_nothing_else_waits(stage: Stage, coded: str) -> None:
    ending = await stage.left(f"return new Response(endless(env){coded});", top=STREAM)
    assert (ending.outcome, stage.noted) == (EventOutcome.CANCELED, {"cancelled": "AbortError"})


async def test_whoever_writes_to_a_response_learns_that_nobody_reads(stage: Stage) -> None:
    """As it stands in the documentation of request.signal elsewhere."""
    ending = await stage.left(
        """request.signal.addEventListener("abort", () => console.log("aborted"));
           const { readable, writable } = new IdentityTransformStream();
           const writes = async () => {
             const writer = writable.getWriter();
             await writer.write(new Uint8Array(5));
             await began(env);
             for (;;) { await writer.write(new Uint8Array(5)); await scheduler.wait(1); }
           };
           ctx.waitUntil(writes().catch((error) => note(env, "writer", error.name)));
           return new Response(readable);"""
    )
    assert (ending.outcome, stage.noted) == (EventOutcome.CANCELED, {"writer": "AbortError"})
    assert stage.lines == ["aborted"]


async def test_with_nothing_pending_the_event_ends_at_once(stage: Stage) -> None:
    ending = await stage.left(
        f"""await began(env);
            await scheduler.wait(20);
            await note(env, "went on");
            await {FOREVER};"""
    )
    assert (ending.outcome, stage.noted, stage.lines) == (EventOutcome.CANCELED, {}, [])


async def test_work_that_was_done_before_keeps_nothing_going(stage: Stage) -> None:
    ending = await stage.left(
        f"""ctx.waitUntil(Promise.resolve());
            await began(env);
            await scheduler.wait(20);
            await note(env, "went on");
            await {FOREVER};"""
    )
    assert (ending.outcome, stage.noted) == (EventOutcome.CANCELED, {})


async def test_the_signal_aborts_with_a_reason_and_its_listeners_may_hand_over_work(stage: Stage) -> None:
    ending = await stage.left(
        f"""request.signal.addEventListener("abort", () => {{
              const {{ reason }} = request.signal;
              ctx.waitUntil(scheduler.wait(10).then(() => note(env, "work", `${{reason instanceof DOMException}} ${{reason.name}}`)));
            }});
            scheduler.wait(50_000, {{ signal: request.signal }}).catch((error) => console.log(error.name));
            await began(env);
            await {FOREVER};"""
    )
    assert (ending.outcome, stage.noted) == (EventOutcome.CANCELED, {"work": "true AbortError"})
    assert stage.lines == ["AbortError"]


async def test_a_request_that_is_made_of_the_visitor_s_is_not_aborted_unless_it_is_asked_for(
    stage: Stage,
) -> None:
    """A subrequest of what runs on would be ended too."""
    ending = await stage.left(
        f"""request.signal;
            const others = [new Request(request), request.clone(), new Request(request, {{ signal: request.signal }})];
            ctx.waitUntil(scheduler.wait(20).then(() => note(env, "aborted", others.map((one) => one.signal.aborted))));
            await began(env);
            await {FOREVER};"""
    )
    assert (ending.outcome, stage.noted) == (EventOutcome.CANCELED, {"aborted": "false,false,true"})


async def test_a_read_of_the_request_s_body_fails(stage: Stage) -> None:
    ending = await stage.left(
        """ctx.waitUntil(request.text().catch((error) => note(env, "read", error.code)));
           await began(env);
           await request.signal.onabort;
           await new Promise(() => {});""",
        uploads=True,
    )
    assert (ending.outcome, stage.noted) == (EventOutcome.CANCELED, {"read": "closed_stream"})


async def test_work_that_outlives_its_time_is_ended_and_told(stage: Stage) -> None:
    ending = await stage.left(
        f"ctx.waitUntil({FOREVER}); await began(env); await {FOREVER};", limits={"background_ms": 100}
    )
    assert ending.outcome is EventOutcome.EXCEEDED_WALL_TIME
    (line,) = stage.lines
    assert "more than 0.1 s after its visitor had left" in line


async def test_work_that_computes_without_end_is_ended_by_its_cpu_time(stage: Stage) -> None:
    ending = await stage.left(
        f"ctx.waitUntil(scheduler.wait(5).then(() => {{ for (;;); }})); await began(env); await {FOREVER};",
        limits={"cpu_ms": 400},
    )
    assert ending.outcome is EventOutcome.EXCEEDED_CPU


async def test_work_that_hands_over_more_of_it_is_waited_for(stage: Stage) -> None:
    ending = await stage.left(
        f"""ctx.waitUntil(scheduler.wait(10).then(() => {{
              ctx.waitUntil(scheduler.wait(20).then(() => note(env, "second")));
            }}));
            await began(env);
            await {FOREVER};"""
    )
    assert (ending.outcome, stage.noted) == (EventOutcome.CANCELED, {"second": "1"})


async def test_work_that_can_never_end_is_not_waited_for(stage: Stage) -> None:
    ending = await stage.left(
        "ctx.waitUntil(new Promise(() => {})); await began(env); await scheduler.wait(30);"
    )
    assert ending.outcome is EventOutcome.CANCELED


async def test_who_has_hung_is_told_so_though_it_would_be_told_of_its_visitor(stage: Stage) -> None:
    worker = stage.guests.deploy(
        handler("ctx.waitUntil(new Promise(() => {})); request.signal; await new Promise(() => {});")
    )
    ending, _ = await stage.guests.fetch(worker)
    assert (ending.outcome, "hung" in ending.message) == (EventOutcome.EXCEPTION, True)


async def test_to_be_told_costs_no_crossing() -> None:
    for body, calls, operations in (
        ("return new Response('x');", 0, 0),
        ("request.signal; return new Response('x');", 0, 0),
        ("ctx.waitUntil(Promise.resolve()); return new Response('x');", 1, 3),
        ("return new Response(new ReadableStream({ start: (out) => out.close() }));", 2, 3),
    ):
        answer = await tenant(handler(body)).get()
        assert (answer.calls, answer.operations) == (calls, operations), body


async def test_events_without_a_visitor_ask_for_nothing() -> None:
    source = "export default { scheduled(event, env, ctx) { ctx.waitUntil(scheduler.wait(1)); } };"
    answer = await tenant(source).background("scheduled", {"cron": "* * * * *", "scheduled_time_ms": 0})
    assert (answer.error, answer.operations) == (None, 1)
