"""Whatever a worker or its visitor does, it is that one event's end, under a name, and nothing is left."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest

from dispatch.responses import AsgiResponder
from model.capabilities import WorkerEnv
from model.errors import OperationError, OperationErrorCode, UpstreamError
from model.messages import StreamClosed
from model.outcome import EventOutcome
from runtime.capi.guest import live_guests
from runtime.metering import Ending
from runtime.worker import Worker
from tests.support.children import expect_ok
from tests.support.guests import Guests, OpenPermit, Remembered, context, request, sample, wat
from tests.support.visitors import Finished, Slow, Visitor

OK, EXCEPTION = EventOutcome.OK, EventOutcome.EXCEPTION


class Parking(OpenPermit):
    """A permit that tells when a guest of its tree waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = asyncio.Event()

    def park(self) -> None:
        super().park()
        self.waits.set()


async def answered(guests: Guests) -> None:
    _, response = await guests.fetch(guests.worker(sample("hello"), name="hello"))
    assert response.status == 200


def escaped(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)


def asking(call: dict[str, Any], *, then: str = "i64.const 0", more: str = "") -> bytes:
    """A module that makes one `call`, and returns what `then` gives."""
    data = msgpack.packb(call)
    return wat(
        f"""(module (import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))
          (memory (export "memory") 2) (data (i32.const 0) "{escaped(data)}") {more}
          (func (export "alloc") (param i32) (result i32) i32.const 65536)
          (func (export "fetch") (param i32 i32) (result i64)
            (drop (call $call (i32.const 0) (i32.const {len(data)}))) {then}))"""
    )


def returning(value: object, *, more: str = "") -> bytes:
    data = msgpack.packb(value)
    return wat(
        f"""(module (memory (export "memory") 2) (data (i32.const 0) "{escaped(data)}") {more}
          (func (export "alloc") (param i32) (result i32) i32.const 65536)
          (func (export "fetch") (param i32 i32) (result i64) i64.const {len(data)}))"""
    )


@pytest.mark.parametrize(
    ("path", "outcome", "words"),
    [
        ("/stdout", EventOutcome.EXCEEDED_CPU, "CPU"),
        ("/sleeps", EventOutcome.EXCEPTION, None),
        ("/fill", EventOutcome.EXCEEDED_CPU, "CPU"),
        ("/exit", EXCEPTION, "proc_exit(7)"),
        ("/error", EXCEPTION, "out_of_cheese: there is no cheese left"),
        ("/recurse?exit", EXCEPTION, None),
        ("/recurse?depth=10&exit", EXCEPTION, "proc_exit(7)"),
        ("/bad-call?what=pointer", EXCEPTION, "outside of memory"),
        ("/bad-call?what=large", EXCEPTION, "at most 1048576"),
        ("/bad-call?what=msgpack", EXCEPTION, "MessagePack"),
        ("/bad-call?what=take", EXCEPTION, "outside of memory"),
        ("/bad-call?what=log", EXCEPTION, "outside of memory"),
        ("/bad-call?what=nested", EXCEPTION, "MessagePack"),
        ("/bad-call?what=many", EXCEPTION, "64"),
        ("/bad-call?what=twice", EXCEPTION, "in use"),
        ("/smuggle?name=transfer-encoding&value=chunked", EXCEPTION, "transfer-encoding"),
        ("/smuggle?name=connection&value=close", EXCEPTION, "connection"),
        ("/smuggle?name=a%20b&value=c", None, None),
    ],
)
async def test_hostile_path_ends_its_own_event(
    guests: Guests, path: str, outcome: EventOutcome | None, words: str | None
) -> None:
    ending, response = await guests.fetch(guests.worker(sample("hostile")), _request(path))
    if path == "/sleeps":
        # 1,000 operations, then the guest's own answer to limit_exceeded.
        assert ending.outcome in (OK, EventOutcome.EXCEEDED_CPU)
    elif outcome is not None:
        assert ending.outcome is outcome, ending.message
        assert not response.started
    if words is not None:
        assert words in ending.message
    assert live_guests() == 0
    await answered(guests)


@pytest.mark.parametrize(
    "path",
    [
        "/spin?ms=1",
        "/memory?mib=3",
        "/log?lines=20",
        "/stdout?lines=20",
        "/clock?times=100",
        "/calls?times=100",
        "/sleeps?times=20",
        "/wait?ms=1",
        "/recurse?depth=100",
        "/bad-call",
        "/bad-call?what=unknown",
        "/bad-call?what=binding",
    ],
)
async def test_hostile_path_that_stops_in_time_is_answered(guests: Guests, path: str) -> None:
    ending, response = await guests.fetch(guests.worker(sample("hostile")), _request(path))
    assert ending.outcome is OK, ending.message
    assert response.status == 200
    if path.startswith("/bad-call?what=unknown"):
        assert b"unknown_operation" in response.body
    if path.startswith("/clock"):
        assert bytes(response.body) in (b"0\n", b"1\n"), "the clock stands still between host operations"


def _request(path: str) -> Any:
    return request(path=path)


async def test_half_an_answer_is_aborted_and_never_taken_for_the_whole(guests: Guests) -> None:
    ending, response = await guests.fetch(guests.worker(sample("hostile")), _request("/half"))
    assert ending.outcome is EXCEPTION
    assert (response.started, response.ended, response.aborted) == (True, False, True)
    assert bytes(response.body) == b"the first half\n"


async def test_answer_without_end_is_ended_when_the_visitor_leaves(guests: Guests) -> None:
    visitor, responder = Visitor(), Slow()
    worker = guests.worker(sample("hostile"))
    running = asyncio.create_task(worker.fetch(_request("/endless"), responder, context(), {}, None, visitor))
    await asyncio.wait_for(responder.waiting.wait(), 60)
    visitor.leave()
    ending = await asyncio.wait_for(running, 60)
    assert ending.outcome is EventOutcome.CANCELED
    assert responder.aborted
    assert live_guests() == 0


async def test_visitor_who_leaves_in_mid_upload_ends_the_event_and_the_body_is_closed(guests: Guests) -> None:
    class Stalled:
        closed = False

        def __init__(self) -> None:
            self.reading = asyncio.Event()

        async def read(self) -> bytes:
            self.reading.set()
            await asyncio.Event().wait()
            return b""

        def close(self) -> None:
            self.closed = True

    for name, path in (("upload_sum", "/"), ("echo", "/"), ("echo", "/?pass")):
        body, visitor = Stalled(), Visitor()
        worker = guests.worker(sample(name))
        running = asyncio.create_task(
            worker.fetch(request("POST", path, body=body), Remembered(), context(), {}, None, visitor)
        )
        await asyncio.wait_for(body.reading.wait(), 60)
        visitor.leave()
        ending = await asyncio.wait_for(running, 60)
        assert ending.outcome is EventOutcome.CANCELED
        assert body.closed
        assert visitor.on_leave is None


async def test_visitor_who_leaves_in_mid_download_of_a_passed_on_body_ends_it(guests: Guests) -> None:
    class Endless:
        closed = False

        async def read(self) -> bytes:
            return b"x" * 1000

        def close(self) -> None:
            self.closed = True

    body, visitor, responder = Endless(), Visitor(), Slow()
    worker = guests.worker(sample("echo"))
    running = asyncio.create_task(
        worker.fetch(request("POST", "/?pass", body=body), responder, context(), {}, None, visitor)
    )
    await asyncio.wait_for(responder.waiting.wait(), 60)
    assert live_guests() == 0, "no guest is needed to pass a body on"
    visitor.leave()
    assert (await asyncio.wait_for(running, 60)).outcome is EventOutcome.CANCELED
    assert body.closed
    assert responder.aborted


@pytest.mark.parametrize("whole", [True, False])
async def test_wall_limit_ends_an_answer_that_the_visitor_does_not_take(guests: Guests, whole: bool) -> None:
    class NeverTakes(Slow):
        async def send_whole(self, status: int, headers: Any, body: bytes) -> None:
            await self.gate.wait()

    responder = NeverTakes()
    worker = guests.worker(sample("hello" if whole else "hostile"), limits={"wall_ms": 60})
    ending = await asyncio.wait_for(
        worker.fetch(_request("/endless"), responder, context(), {}, None, Visitor()), 60
    )
    assert ending.outcome is EventOutcome.EXCEEDED_WALL_TIME
    assert "0.06 s" in ending.message


async def test_wall_limit_ends_a_guest_that_waits(guests: Guests) -> None:
    worker = guests.worker(sample("hostile"), limits={"wall_ms": 60})
    ending, response = await guests.fetch(worker, _request("/wait?ms=60000"))
    assert ending.outcome is EventOutcome.EXCEEDED_WALL_TIME
    assert not response.started


async def test_work_after_the_response_is_not_cancelled_by_leaving_but_bounded(guests: Guests) -> None:
    visitor, responder = Visitor(), Finished()
    worker = guests.worker(sample("background"), limits={"background_ms": 1_500, "wall_ms": 1_000})
    running = asyncio.create_task(
        worker.fetch(_request("/?ms=60000"), responder, context(), {}, None, visitor)
    )
    await asyncio.wait_for(responder.over.wait(), 60)
    visitor.leave()
    ending = await asyncio.wait_for(running, 60)
    assert ending.outcome is EventOutcome.EXCEEDED_WALL_TIME
    assert "1.5 s after its response" in ending.message.replace("for more than ", "").replace("went on ", "")
    assert not responder.aborted


async def test_shutdown_dooms_what_runs(guests: Guests) -> None:
    worker = guests.worker(sample("hostile"))
    whose = context()
    whose.permit = permit = Parking()
    running = asyncio.create_task(worker.fetch(_request("/wait?ms=60000"), Remembered(), whose, {}))
    await asyncio.wait_for(permit.waits.wait(), 60)
    guests.host.running.doom_all()
    ending = await asyncio.wait_for(running, 60)
    assert ending.outcome is EventOutcome.CANCELED
    assert "restarted" in ending.message
    assert permit.parked == 0
    assert await guests.host.running.drained(60)


@pytest.mark.parametrize(
    ("alloc", "words"),
    [
        ("i32.const 0", "`alloc` had no room"),
        ("i32.const -1", "outside of memory"),
        ("i32.const 65535", "outside of memory"),
        ("i32.const 65536", "outside of memory"),
        ("unreachable", "unreachable"),
    ],
)
async def test_alloc_that_fails_or_lies_is_caught(guests: Guests, alloc: str, words: str) -> None:
    module = f"""(module (memory (export "memory") 1)
      (func (export "alloc") (param i32) (result i32) {alloc})
      (func (export "fetch") (param i32 i32) (result i64) i64.const 0))"""
    ending, _ = await guests.fetch(guests.worker(wat(module)))
    assert ending.outcome is EXCEPTION
    assert words in ending.message


async def test_alloc_that_spins_is_charged(guests: Guests) -> None:
    module = """(module (memory (export "memory") 1)
      (func (export "alloc") (param i32) (result i32) (loop $l (br $l)) i32.const 0)
      (func (export "fetch") (param i32 i32) (result i64) i64.const 0))"""
    ending, _ = await guests.fetch(guests.worker(wat(module), limits={"cpu_ms": 20}))
    assert ending.outcome is EventOutcome.EXCEEDED_CPU


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"error": {"code": "a", "message": "b"}}, "a: b"),
        ({"body_stream": 77}, "stream 77 is not open"),
        ({"body_stream": True}, "body_stream"),
        ({"status": 99}, "status 99"),
        ({"status": 2**40}, "status"),
        ({"headers": [["content-length", "5"], ["content-length", "5"]], "body": b"12345"}, "content-length"),
        ({"headers": [["x", "a\r\nset-cookie: b"]]}, "control byte"),
        ({"headers": [["x\r\ny", "a"]]}, "header name"),
        ({"headers": [["Transfer-Encoding", "chunked"]]}, "frames the connection"),
        ({"headers": [["x", "a" * 60_000]] * 3}, None),
        ([1, 2], "no map"),
    ],
)
async def test_answer_that_is_none_is_an_exception(guests: Guests, value: object, words: str | None) -> None:
    ending, response = await guests.fetch(guests.worker(returning(value)))
    if words is not None:
        assert ending.outcome is EXCEPTION
        assert words in ending.message
        assert not response.started
    await answered(guests)


def starts(*more: list[object]) -> dict[str, Any]:
    return {"ops": [[1, "response.start", None, 200, []], *more]}


async def test_response_started_twice_fails_the_second_start_only(guests: Guests) -> None:
    module = asking(starts([2, "response.start", None, 500, []], [3, "response.write", None, b"whole"]))
    ending, response = await guests.fetch(guests.worker(module))
    assert ending.outcome is OK, ending.message
    assert (response.status, bytes(response.body), response.ended) == (200, b"whole", True)


async def test_response_returned_after_one_was_started_is_an_exception(guests: Guests) -> None:
    ending, response = await guests.fetch(guests.worker(asking(starts(), then="i64.const 9")))
    assert ending.outcome is EXCEPTION
    assert response.aborted


async def test_writes_that_nobody_waited_for_reach_the_visitor(guests: Guests) -> None:
    writes: list[list[object]] = [[n, "response.write", None, b"%d," % n] for n in range(2, 9)]
    module = asking({**starts(*writes), "wait": "none"})
    ending, response = await guests.fetch(guests.worker(module))
    assert ending.outcome is OK, ending.message
    assert bytes(response.body) == b"2,3,4,5,6,7,8,"
    assert response.ended


@pytest.mark.parametrize(
    ("promised", "written", "ended"),
    [
        ("5", b"12345", True),
        ("5", b"1234", False),
        ("5", b"123456", False),
        ("0", b"", True),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_content_length_is_held_to_the_bytes_written(
    guests: Guests, promised: str, written: bytes, ended: bool, streamed: bool
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [["content-length", promised]]
    if streamed:
        start = [1, "response.start", None, 200, headers]
        module = asking({"ops": [start, [2, "response.write", None, written], [3, "response.end", None]]})
    else:
        module = returning({"headers": headers, "body": written})
    responder = AsgiResponder(send, "GET", "ray")
    ending = await guests.worker(module).fetch(request(), responder, context(), {})
    assert responder.ended is ended
    assert (ending.outcome is OK) is ended, ending.message
    if streamed:
        assert responder.broken is not ended, "a visitor must not take what came for the whole"
    else:
        assert bool(sent) is ended, "nothing was sent of what was wrong from the start"


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (UpstreamError("the body is over its limit"), EXCEPTION),
        (StreamClosed("broke off"), EventOutcome.RESPONSE_STREAM_DISCONNECTED),
        (OperationError(OperationErrorCode.UPSTREAM_FAILED, "reset"), EXCEPTION),
    ],
)
async def test_passed_on_body_that_breaks_off_has_a_name(
    guests: Guests, failure: Exception, outcome: EventOutcome
) -> None:
    class Broken:
        chunks = 2

        async def read(self) -> bytes:
            self.chunks -= 1
            if self.chunks < 0:
                raise failure
            return b"x"

        def close(self) -> None:
            pass

    ending, response = await guests.fetch(
        guests.worker(sample("echo")), request("POST", "/?pass", body=Broken())
    )
    assert ending.outcome is outcome
    assert (bytes(response.body), response.ended, response.aborted) == (b"xx", False, True)


async def test_operations_over_the_limit_are_refused_to_the_guest(guests: Guests) -> None:
    """A guest that makes 5,000 operations: the host counts, and the worker reads limit_exceeded."""
    worker = guests.worker(sample("hostile"), limits={"cpu_ms": 5_000})
    ending, response = await guests.fetch(worker, _request("/sleeps?times=5000"))
    assert ending.outcome is OK
    assert response.status == 500
    assert b"limit_exceeded" in response.body
    raised = guests.worker(sample("hostile"), limits={"cpu_ms": 5_000, "operations": 5_000})
    _, response = await guests.fetch(raised, _request("/sleeps?times=2000"))
    assert response.status == 200


COUNTING = """(module (memory (export "memory") 1) (global $runs (mut i32) (i32.const 0))
  (table 2 funcref) (elem (i32.const 0) $init)
  (data (i32.const 0) "\\81\\a6status\\cc\\c8") (data (i32.const 16) "\\81\\a6status\\cd\\01\\f4")
  (func $init (export "_initialize") (global.set $runs (i32.add (global.get $runs) (i32.const 1))))
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "fetch") (param i32 i32) (result i64)
    (if (i32.or (i32.ne (global.get $runs) (i32.const 1)) (ref.is_null (table.get (i32.const 0))))
      (then (return (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 11)))))
    (global.set $runs (i32.const 99))
    (table.set (i32.const 0) (ref.null func))
    (i64.const 10)))"""


async def test_initialize_runs_once_in_each_fresh_instance_with_fresh_globals_and_table(
    guests: Guests,
) -> None:
    worker = guests.worker(wat(COUNTING))
    for _ in range(20):
        ending, response = await guests.fetch(worker)
        assert ending.outcome is OK, ending.message
        assert response.status == 200


async def test_request_carries_variables_and_parameters(guests: Guests) -> None:
    """The guest answers with the bytes of the event that it was handed, as the Response's body."""
    text = """(module (memory (export "memory") 2)
      (data (i32.const 0) "\\81\\a4body\\c5")
      (func (export "alloc") (param i32) (result i32) i32.const 9)
      (func (export "fetch") (param i32 i32) (result i64)
        (i32.store8 (i32.const 7) (i32.shr_u (local.get 1) (i32.const 8)))
        (i32.store8 (i32.const 8) (local.get 1))
        (i64.extend_i32_u (i32.add (local.get 1) (i32.const 9)))))"""
    worker: Worker = guests.worker(wat(text), env=WorkerEnv(vars={"NAME": "ü"}))
    responder = Remembered()
    ending = await worker.fetch(
        request("PUT", "/p?q", [(b"x-a", b"1"), (b"x-a", b"\xff")], b"body"), responder, context(), {"p": "1"}
    )
    assert ending.outcome is OK, ending.message
    seen = msgpack.unpackb(bytes(responder.body))
    assert seen["vars"] == {"NAME": "ü"}
    assert seen["params"] == {"p": "1"}
    assert seen["method"] == "PUT"
    assert seen["url"] == "http://a.example.com/p?q"
    assert seen["headers"] == [["host", "a.example.com"], ["x-a", "1"], ["x-a", b"\xff"]]
    assert seen["body"] == b"body"


async def test_limits_of_a_call_lower_the_plans_and_never_raise_them(guests: Guests) -> None:
    worker = guests.worker(sample("hostile"), limits={"cpu_ms": 40})
    for given, limit in (
        ({"cpu_ms": 15}, "15 ms"),
        ({"cpu_ms": 10_000}, "40 ms"),
        ({"nonsense": 1}, "40 ms"),
    ):
        ending = await worker.fetch(_request("/spin"), Remembered(), context(), {}, given)
        assert f"limit is {limit}" in ending.message


@pytest.mark.parametrize(
    ("data", "outcome", "answer"),
    [
        (None, OK, None),
        ({"ack": ["1"], "retry": []}, OK, {"ack": ["1"], "retry": []}),
        ({"error": {"code": "c"}}, EXCEPTION, {"error": {"code": "c"}}),
        ({"error": "no", "ack": ["1"]}, EXCEPTION, {"error": "no", "ack": ["1"]}),
        ("anything", OK, "anything"),
    ],
)
async def test_background_events_answer_any_value_or_an_error(
    guests: Guests, data: object, outcome: EventOutcome, answer: object
) -> None:
    packed = b"" if data is None else msgpack.packb(data)
    text = f"""(module (memory (export "memory") 2) (data (i32.const 0) "{escaped(packed)}")
      (func (export "alloc") (param i32) (result i32) i32.const 65536)
      (func (export "scheduled") (param i32 i32) (result i64) i64.const {len(packed)}))"""
    worker = guests.worker(wat(text))
    ending: Ending
    ending, got = await worker.background("scheduled", {"cron": "* * * * *"}, context())
    assert (ending.outcome, got) == (outcome, answer)


def test_every_import_can_be_called_from_the_deepest_recursion_a_guest_can_reach() -> None:
    """In a child, whose exit status is the verdict: a host callback that overflows the guest's stack ends the
    process. The depth is found by halving; then every import is called from there and the levels around it.
    """
    text = expect_ok(
        """
        import asyncio
        from model.outcome import EventOutcome
        from tests.support.guests import Guests, request, sample
        async def main():
            guests = Guests()
            worker = guests.worker(sample("hostile"), limits={"cpu_ms": 5_000})
            async def reaches(depth):
                ending, response = await guests.fetch(worker, request(path=f"/recurse?depth={depth}"))
                assert ending.outcome in (EventOutcome.OK, EventOutcome.EXCEPTION), ending
                if ending.outcome is EventOutcome.OK:
                    assert b"imports called" in response.body
                else:
                    assert "recursion" in ending.message, ending
                return ending.outcome is EventOutcome.OK
            low, high = 0, 1 << 20
            assert await reaches(low) and not await reaches(high)
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if await reaches(middle) else (low, middle)
            for depth in range(low - 20, low + 5):
                await reaches(depth)
            guests.close()
            print("deepest", low)
        asyncio.run(main())
        """
    )
    assert int(text.split()[-1]) > 1_000
