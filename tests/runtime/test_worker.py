"""A worker answers an event in a sandbox of its own, and however it ends the host has a name for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NoReturn

import pytest

from model.capabilities import Binding, GuestEvent, Operation, WorkerEnv
from model.errors import PlatformFault
from model.messages import Headers
from model.outcome import EventOutcome
from runtime.aot_cache import ImageUnavailable
from runtime.capi.guest import live_guests
from runtime.metering import Ending
from tests.support.guests import Guests, Remembered, context, request, sample, wat


class Upload:
    """A visitor's body that comes in chunks."""

    def __init__(self, chunks: int, size: int) -> None:
        self.left = chunks
        self.chunk = b"x" * size
        self.closed = False

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        if self.left == 0:
            return b""
        self.left -= 1
        return self.chunk

    def close(self) -> None:
        self.closed = True


async def test_hello_answers_from_a_fresh_sandbox(guests: Guests) -> None:
    ending, response = await guests.fetch(guests.worker(sample("hello")))
    assert ending.outcome is EventOutcome.OK
    assert (response.status, bytes(response.body)) == (200, b"Hello from C!\n")
    [record] = guests.observer.records
    assert record.outcome is EventOutcome.OK
    assert record.cpu_us > 0
    assert record.peak_memory_bytes >= 65_536


class Receiver(Remembered):
    """Takes a whole response at once."""

    def put_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        self.started = True
        self.status = status
        self.body += body
        return True


async def test_what_needs_not_wait_has_ended_when_it_has_begun(guests: Guests, driver: str) -> None:
    worker = guests.worker(sample("hello"))
    await guests.fetch(worker)  # now its module is here
    receiver = Receiver()
    begun = worker.begin_fetch(request(), receiver, context(), {})
    assert isinstance(begun, Ending) is (driver == "accelerator"), "ctypes goes by steps"
    ending = begun if isinstance(begun, Ending) else await begun
    assert (ending.outcome, receiver.status) == (EventOutcome.OK, 200)
    assert len(guests.observer.records) == 2
    assert not len(guests.host.running)
    assert not live_guests()


async def test_a_host_call_that_is_answered_at_once_is_not_waited_for(driver: str) -> None:
    calls: list[object] = []

    def get(_event: GuestEvent, _lent: object, args: Sequence[object]) -> object:
        calls.append(args[0])
        return {"value": b"kept", "metadata": None, "expiration": None}

    guests = Guests({"kv.get": Operation("kv.get", "kv_namespace", True, get)})
    env = WorkerEnv(bindings={"STORE": Binding("kv_namespace", None)})
    worker = guests.worker(sample("kv_read"), env=env)
    await guests.fetch(worker, request(path="/first"))
    receiver = Receiver()
    begun = worker.begin_fetch(request(path="/key"), receiver, context(), {})
    assert isinstance(begun, Ending) is (driver == "accelerator")
    ending = begun if isinstance(begun, Ending) else await begun
    assert (ending.outcome, bytes(receiver.body)) == (EventOutcome.OK, b"kept")
    assert calls == ["/first", "/key"]
    assert [record.subrequests for record in guests.observer.records] == [1, 1]
    assert not live_guests()
    guests.close()


async def test_zig_worker_greets_with_its_variable(guests: Guests) -> None:
    worker = guests.worker(sample("hello_zig"), env=WorkerEnv(vars={"GREETING": "Bonjour"}))
    _, response = await guests.fetch(worker)
    assert b"Bonjour" in response.body


async def test_spinner_ends_at_its_cpu_limit_while_a_neighbour_is_answered(guests: Guests) -> None:
    spinner = guests.worker(sample("hostile"), limits={"cpu_ms": 600})
    hello = guests.worker(sample("hello"), name="hello")
    spinning = asyncio.create_task(guests.fetch(spinner, request(path="/spin")))
    answered = 0
    while not spinning.done():
        ending, _ = await guests.fetch(hello)
        assert ending.outcome is EventOutcome.OK
        answered += 1
        await asyncio.sleep(0)
    ending, response = await spinning
    assert ending.outcome is EventOutcome.EXCEEDED_CPU
    assert "600 ms" in ending.message
    assert not response.started
    assert answered > 5
    ending, _ = await guests.fetch(spinner, request(path="/none-of-them"))
    assert ending.outcome is EventOutcome.OK


@pytest.mark.parametrize(
    ("path", "outcome", "words"),
    [
        ("/trap", EventOutcome.EXCEPTION, "unreachable"),
        ("/memory", EventOutcome.EXCEEDED_MEMORY, "128 MiB"),
        ("/bad-pointer", EventOutcome.EXCEPTION, "outside of memory"),
        ("/bad-msgpack", EventOutcome.EXCEPTION, "MessagePack"),
        ("/no-response", EventOutcome.EXCEPTION, "without having started"),
        ("/log", EventOutcome.EXCEEDED_CPU, "CPU"),
        ("/clock", EventOutcome.EXCEEDED_CPU, "CPU"),
        ("/calls", EventOutcome.EXCEEDED_CPU, "CPU"),
    ],
)
async def test_hostile_behaviour_ends_its_own_event_only(
    guests: Guests, path: str, outcome: EventOutcome, words: str
) -> None:
    # Touching 128 MiB of memory takes CPU time as well, on a busy machine more than the default allows.
    worker = guests.worker(sample("hostile"), limits={"cpu_ms": 1_000})
    ending, response = await guests.fetch(worker, request(path=path))
    assert ending.outcome is outcome
    assert words in ending.message
    assert not response.started
    ending, response = await guests.fetch(guests.worker(sample("hello"), name="hello"))
    assert response.status == 200


async def test_deep_recursion_into_every_import_leaves_the_host_standing(guests: Guests) -> None:
    """A host callback runs on the guest's stack: with too little room below, Python overflows it and the
    process ends. The guest recurses as deep as it can and calls each import there.
    """
    ending, _ = await guests.fetch(guests.worker(sample("hostile")), request(path="/recurse"))
    assert ending.outcome in (EventOutcome.OK, EventOutcome.EXCEPTION)
    _, response = await guests.fetch(guests.worker(sample("hello"), name="hello"))
    assert response.status == 200


async def test_wall_limit_ends_a_waiting_event(guests: Guests) -> None:
    worker = guests.worker(sample("background"), limits={"wall_ms": 30_000, "background_ms": 100})
    ending, response = await guests.fetch(worker, request(path="/?ms=5000"))
    assert response.ended
    assert ending.outcome in (EventOutcome.EXCEEDED_WALL_TIME, EventOutcome.OK)


async def test_upload_is_summed_in_a_guest_loop(guests: Guests) -> None:
    body = Upload(chunks=50, size=64 * 1024)
    worker = guests.worker(sample("upload_sum"), limits={"cpu_ms": 2_000, "operations": 10_000})
    ending, response = await guests.fetch(worker, request("POST", body=body))
    assert ending.outcome is EventOutcome.OK, ending.message
    assert str(50 * 64 * 1024).encode() in response.body
    assert body.closed


async def test_body_is_passed_through_without_the_guest(guests: Guests) -> None:
    body = Upload(chunks=20, size=64 * 1024)
    worker = guests.worker(sample("echo"))
    ending, response = await guests.fetch(worker, request("POST", path="/?pass", body=body))
    assert ending.outcome is EventOutcome.OK, ending.message
    assert len(response.body) == 20 * 64 * 1024
    assert response.ended


class Leaving:
    """A visitor that can leave."""

    def __init__(self) -> None:
        self.left = False
        self.on_leave: Callable[[], None] | None = None

    def leave(self) -> None:
        self.left = True
        if self.on_leave is not None:
            self.on_leave()


@pytest.mark.parametrize("path", ["/spin", "/wait?ms=60000"])
async def test_visitor_who_leaves_ends_the_event(guests: Guests, path: str) -> None:
    """Both while the guest computes, in the loop lane or a thread, and while it waits."""
    worker = guests.worker(sample("hostile"), limits={"cpu_ms": 20_000})
    visitor = Leaving()
    responder = Remembered()
    running = asyncio.create_task(worker.fetch(request(path=path), responder, context(), {}, None, visitor))
    await asyncio.sleep(0.05)
    visitor.leave()
    ending = await asyncio.wait_for(running, 60)
    assert ending.outcome is EventOutcome.CANCELED
    assert live_guests() == 0


async def test_body_is_closed_when_its_visitor_left_before_the_guest_began(guests: Guests) -> None:
    worker, visitor, body = guests.worker(sample("upload_sum")), Leaving(), Upload(1, 1)
    visitor.leave()
    ending = await worker.fetch(request("POST", body=body), Remembered(), context(), {}, None, visitor)
    assert ending.outcome is EventOutcome.CANCELED
    assert body.closed


async def test_body_is_closed_when_the_code_can_not_be_loaded(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, body = guests.worker(sample("upload_sum")), Upload(1, 1)

    async def load(_digest: str, _tenant: str) -> NoReturn:
        raise ImageUnavailable("it is gone")

    pool = guests.host.pool
    monkeypatch.setattr(pool, "load_small", lambda _digest, _tenant: None)
    monkeypatch.setattr(pool, "load", load)
    with pytest.raises(PlatformFault):
        await worker.fetch(request("POST", body=body), Remembered(), context(), {})
    assert body.closed


async def test_cancelling_while_a_thread_polls_waits_for_the_thread(guests: Guests) -> None:
    """Deleting a future that a thread still polls ends the process, so a cancel must wait for it."""
    worker = guests.worker(sample("hostile"), limits={"cpu_ms": 60_000})
    for _ in range(30):
        running = asyncio.create_task(guests.fetch(worker, request(path="/spin")))
        await asyncio.sleep(0.012)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert live_guests() == 0


async def test_an_operation_on_a_missing_binding_is_unknown_binding() -> None:
    table = {"kv.get": Operation("kv.get", "kv_namespace", False, lambda _event, _lent, _args: b"1")}
    guests = Guests(table)
    worker = guests.worker(sample("kv_counter"))
    ending, response = await guests.fetch(worker)
    guests.close()
    assert ending.outcome is EventOutcome.OK, ending.message
    assert response.status >= 500
    assert b"unknown_binding" in response.body


async def test_a_bug_in_an_operation_is_internal_for_the_guest_and_logged_for_us(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_event: GuestEvent, _lent: object, _args: object) -> object:
        raise ZeroDivisionError("ours")

    table = {"kv.get": Operation("kv.get", "kv_namespace", False, broken)}
    guests = Guests(table)
    env = WorkerEnv(bindings={"COUNTER": Binding("kv_namespace", object())})
    _, response = await guests.fetch(guests.worker(sample("kv_counter"), env=env))
    assert b"internal" in response.body
    assert b"ours" not in response.body
    assert "ZeroDivisionError" in caplog.text
    guests.close()


async def test_start_function_that_spins_is_ended_like_any_guest(guests: Guests) -> None:
    text = """(module (memory (export "memory") 1)
      (func $s (loop $l (br $l))) (start $s)
      (func (export "alloc") (param i32) (result i32) i32.const 0)
      (func (export "fetch") (param i32 i32) (result i64) i64.const 0))"""
    ending, _ = await guests.fetch(guests.worker(wat(text), limits={"cpu_ms": 20}))
    assert ending.outcome is EventOutcome.EXCEEDED_CPU


async def test_no_byte_of_one_event_is_seen_by_the_next(guests: Guests) -> None:
    """Memory is filled by one event; the next, in the same slot, finds zeros."""
    text = r"""(module (memory (export "memory") 16) (data (i32.const 16) "\81\a6status\cc\c8")
      (data (i32.const 48) "\81\a6status\cd\01\f4")
      (global $seen (mut i32) (i32.const 0))
      (func (export "alloc") (param i32) (result i32) i32.const 65536)
      (func (export "fetch") (param i32 i32) (result i64) (local $at i32)
        (local.set $at (i32.const 131072))
        (loop $look
          (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 0))
            (then (return (i64.or (i64.shl (i64.const 48) (i64.const 32)) (i64.const 11)))))
          (br_if $look (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 64))) (i32.const 1048576))))
        (memory.fill (i32.const 131072) (i32.const 255) (i32.const 917504))
        (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 10))))"""
    worker = guests.worker(wat(text))
    for _ in range(20):
        ending, response = await guests.fetch(worker)
        assert ending.outcome is EventOutcome.OK, ending.message
        assert response.status == 200
