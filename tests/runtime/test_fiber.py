"""A guest goes between two lanes, no poll is ever abandoned, and nobody polls a doomed guest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable

import pytest

from runtime.abi.core_module.host_calls import GuestIo
from runtime.capi.accelerated_guest import AcceleratedGuest
from runtime.capi.failures import GuestTrap
from runtime.capi.guest import Guest, live_guests
from runtime.capi.linker import SYNC_CALLS_IN_POOL, InstancePre
from runtime.fiber import FIRST_SLICES, Lanes, Stopped, drive
from runtime.linking import make_linker
from tests.support.children import expect_ok
from tests.support.guests import engine, wat

SPIN = """(module (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 0)
  (func (export "fetch") (param i32 i32) (result i64) (loop $l (br $l)) i64.const 0))"""
COUNTS = """(module (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 0)
  (func (export "fetch") (param i32 i32) (result i64) (local $n i64)
    (loop $l (br_if $l (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1)))
      (i64.extend_i32_u (local.get 0))))) (local.get $n)))"""
LOGS = """(module (import "tenantry_v1" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 0)
  (func (export "fetch") (param i32 i32) (result i64)
    (loop $l (call $log (i32.const 1) (i32.const 0) (i32.const 1)) (br $l)) i64.const 0))"""
ASKS = """(module (import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 0)
  (func (export "fetch") (param i32 i32) (result i64)
    (i64.extend_i32_u (call $call (i32.const 0) (i32.const 0)))))"""


class Watching(Guest):
    """Remembers where each of its slices ran."""

    def __init__(self, cpu_ms: int = 60_000) -> None:
        super().__init__(engine(), 1 << 20, cpu_ms * 1_000_000, GuestIo(10, 1000))
        self.lanes: list[str] = []
        self.polled_doomed = 0
        self.in_a_thread = threading.Event()
        self.reached_pool = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def poll(self) -> bool:
        in_loop = threading.current_thread() is threading.main_thread()
        self.lanes.append("loop" if in_loop else "pool")
        self.polled_doomed += self.doomed is not None
        if not in_loop:
            self.loop.call_soon_threadsafe(self.reached_pool.set)
        return super().poll()


class Watched(Watching):
    """With ctypes."""


class WatchedAccelerated(Watching, AcceleratedGuest):
    pass


class Track:
    """Lanes of the test's own, and guests that are closed at its end."""

    def __init__(self) -> None:
        self.lanes = Lanes(1)
        self.guests: list[Watching] = []
        self.pres: list[InstancePre] = []

    def guest(self, text: str, cpu_ms: int = 60_000, argument: int = 0) -> Watching:
        module = engine().compile(wat(text))
        pre = make_linker(engine()).instantiate_pre(module)
        module.close()
        self.pres.append(pre)
        guest = WatchedAccelerated(cpu_ms) if engine().accelerated else Watched(cpu_ms)
        self.guests.append(guest)
        guest.begin_instantiate(pre)
        while not guest.poll():
            pass
        guest.lanes.clear()
        guest.finish()
        guest.find_exports("fetch", needs_alloc=True)
        guest.begin_call("handler", argument, 0)
        return guest

    async def run(self, guest: Watching) -> None:
        if not guest.poll():
            await drive(guest, self.lanes, "tenant", self.answer)
        guest.finish()

    def answer(self, _request: bytes) -> Awaitable[bytes] | bytes:
        return b"answer"


@pytest.fixture
async def track(driver: str) -> AsyncIterator[Track]:
    made = Track()
    yield made
    for guest in made.guests:
        guest.close()
    for pre in made.pres:
        pre.close()
    made.lanes.close()
    assert live_guests() == 0


async def test_guest_has_its_first_slices_on_the_loop_and_goes_on_in_the_pool(track: Track) -> None:
    guest = track.guest(SPIN, cpu_ms=1_000)  # a slice is longer when the ticker is late
    with pytest.raises(GuestTrap):
        await track.run(guest)
    assert guest.stopped == "cpu"
    first_in_pool = guest.lanes.index("pool")
    assert first_in_pool == 1 + FIRST_SLICES
    assert set(guest.lanes[first_in_pool:]) == {"pool"}
    assert not guest.in_pool


async def test_long_guest_ends_with_its_result_in_the_pool(track: Track) -> None:
    guest = track.guest(COUNTS, argument=40_000_000)
    await track.run(guest)
    assert guest.result_i64() == 40_000_000
    assert guest.lanes[-1] == "pool"


async def test_guest_that_loops_on_host_calls_comes_back_to_the_loop(track: Track) -> None:
    guest = track.guest(LOGS, cpu_ms=150)
    with pytest.raises((GuestTrap, Stopped)):
        await track.run(guest)
    at = guest.lanes.index("pool")
    assert "loop" in guest.lanes[at:]
    assert guest.lanes.count("loop") > guest.lanes.count("pool")


async def test_host_calls_in_a_thread_are_counted_and_then_it_yields(track: Track) -> None:
    guest = track.guest(LOGS)
    guest.in_pool = True
    guest.slice_ticks = 5
    while not guest.yielded:
        assert not guest.poll()
    assert guest.sync_calls == SYNC_CALLS_IN_POOL + 1
    guest.in_pool = False
    guest.slice_ticks = 1
    guest.resume_yielded()
    assert not guest.poll()
    assert not guest.yielded


async def test_neighbour_of_spinners_is_answered(track: Track) -> None:
    spinners = [track.guest(SPIN) for _ in range(3)]
    running = [asyncio.create_task(track.run(guest)) for guest in spinners]
    await asyncio.wait_for(spinners[0].reached_pool.wait(), 60)
    for _ in range(20):
        neighbour = track.guest(ASKS)
        await track.run(neighbour)
        assert neighbour.result_i64() == len(b"answer")
    for guest in spinners:
        guest.doomed = "canceled"
    ended = await asyncio.wait_for(asyncio.gather(*running, return_exceptions=True), 60)
    assert all(isinstance(error, (Stopped, GuestTrap)) for error in ended)


async def test_guest_doomed_at_the_gate_is_not_polled(track: Track) -> None:
    guest = track.guest(SPIN)
    running = asyncio.create_task(track.run(guest))
    await asyncio.sleep(0)
    assert guest.lanes == ["loop"]
    guest.doomed = "canceled"
    with pytest.raises(Stopped, match="canceled"):
        await running
    assert guest.lanes == ["loop"]


async def test_guest_cancelled_at_the_gate_lets_the_next_one_through(track: Track) -> None:
    first, second = track.guest(SPIN), track.guest(COUNTS, argument=10_000_000)
    running = asyncio.create_task(track.run(first))
    await asyncio.sleep(0)
    after = asyncio.create_task(track.run(second))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(after, 60)
    assert second.result_i64() == 10_000_000


async def test_guest_doomed_while_it_waits_is_not_polled_with_its_answer(track: Track) -> None:
    guest = track.guest(ASKS)
    gate = asyncio.get_running_loop().create_future()

    async def later() -> bytes:
        await gate
        return b"late"

    assert not guest.poll()
    running = asyncio.create_task(drive(guest, track.lanes, "tenant", lambda _: later()))
    await asyncio.sleep(0)
    guest.doomed = "wall"
    gate.set_result(None)
    with pytest.raises(Stopped, match="wall"):
        await running
    assert guest.polled_doomed == 0


async def test_guest_doomed_before_it_asks_is_not_answered(track: Track) -> None:
    guest = track.guest(ASKS)
    assert not guest.poll()
    guest.doomed = "wall"
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return b""

    with pytest.raises(Stopped):
        await drive(guest, track.lanes, "tenant", answer)
    assert (asked, guest.polled_doomed) == ([], 0)


async def test_guest_doomed_while_a_thread_polls_ends_at_its_next_tick(track: Track) -> None:
    guest = track.guest(SPIN)
    running = asyncio.create_task(track.run(guest))
    await asyncio.wait_for(guest.reached_pool.wait(), 60)
    guest.doomed = "canceled"
    with pytest.raises((GuestTrap, Stopped)):
        await asyncio.wait_for(running, 60)
    assert guest.polled_doomed == 0


async def test_cancelling_while_a_thread_polls_waits_until_it_has_let_go(track: Track) -> None:
    guest = track.guest(SPIN)
    running = asyncio.create_task(track.run(guest))
    await asyncio.wait_for(guest.reached_pool.wait(), 60)
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert guest.doomed == "canceled"
    assert not guest.in_pool
    guest.close()


async def test_a_guest_doomed_while_it_waits_for_a_thread_ends_now(track: Track) -> None:
    """Behind a hundred others it would keep its memory until its turn comes."""
    entered, leave = threading.Event(), threading.Event()

    def holds_the_thread() -> None:
        entered.set()
        leave.wait(10)

    lanes = Lanes(1)
    holding = asyncio.create_task(lanes.delete_in_pool(holds_the_thread, "other"))
    await asyncio.to_thread(entered.wait, 10)
    guest = track.guest(SPIN)
    running = asyncio.create_task(drive(guest, lanes, "tenant", lambda request: b"", off_loop=True))
    await asyncio.sleep(0.01)
    assert guest.in_pool
    assert not lanes.is_polled_in_pool(guest)
    guest.doomed = "memory"
    lanes.doomed(guest)
    with pytest.raises(Stopped, match="memory"):
        await asyncio.wait_for(running, 60)
    leave.set()
    await holding
    lanes.close()
    guest.close()


async def test_slow_work_is_waited_for_even_when_cancelled(track: Track) -> None:
    entered, leave = threading.Event(), threading.Event()
    done: list[int] = []

    def work() -> None:
        entered.set()
        leave.wait(10)
        done.append(1)

    running = asyncio.create_task(track.lanes.delete_in_pool(work, "tenant"))
    await asyncio.to_thread(entered.wait, 10)
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert done == [1]


async def test_failure_of_the_answer_ends_the_guest(track: Track) -> None:
    guest = track.guest(ASKS)
    assert not guest.poll()

    def answer(_request: bytes) -> bytes:
        raise ValueError("bad call")

    with pytest.raises(ValueError, match="bad call"):
        await drive(guest, track.lanes, "tenant", answer)


def test_10_000_cancels_while_threads_poll_leave_nothing(driver: str) -> None:
    """In a child: a future that is deleted under a thread's hands would end the process. Twelve guests at a
    time on three threads, each cancelled within its slice there or while it waits for one.
    """
    text = expect_ok(
        """
        import asyncio, os
        from wasmtime import wat2wasm
        from runtime.capi.engine_store import EngineSettings
        from runtime.capi.accelerated_guest import open_guest
        from runtime.capi.guest import live_guests
        from runtime.engine import start_engine
        from runtime.fiber import Lanes
        from runtime.linking import make_linker
        engine = start_engine(EngineSettings(slots=50, accelerator="{mode}"))
        text = '''(module (memory (export "memory") 1) (func (export "fetch") (param i32 i32) (result i64)
          (loop $l (br $l)) i64.const 0))'''
        pre = make_linker(engine).instantiate_pre(engine.compile(bytes(wat2wasm(text))))
        lanes = Lanes(3)
        async def one():
            guest = open_guest(engine, 1 << 20, 10**12)
            try:
                guest.begin_instantiate(pre)
                while not guest.poll():
                    pass
                guest.finish()
                guest.find_exports("fetch", needs_alloc=False)
                guest.begin_call("handler", 0, 0)
                while True:
                    await lanes.poll_in_pool(guest, "tenant")
            finally:
                guest.close()
        def measure():
            return int(open("/proc/self/statm").read().split()[1]) * 4096, len(os.listdir("/proc/self/fd"))
        async def main():
            cancelled, before = 0, None
            while cancelled < 10_000:
                tasks = [asyncio.create_task(one()) for _ in range(12)]
                await asyncio.sleep(0)
                for number, task in enumerate(tasks):
                    task.cancel()
                    if number % 4 == 3:
                        await asyncio.sleep(0)
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(r, asyncio.CancelledError) for r in results), results
                cancelled += len(tasks)
                if before is None and cancelled > 5_000:
                    before = measure()
            after = measure()
            assert live_guests() == 0
            assert after[0] - before[0] <= 2 << 20 and after[1] == before[1], (before, after)
            print("cancelled", cancelled)
        asyncio.run(main())
        lanes.close()
        """.replace("{mode}", "on" if driver == "accelerator" else "off"),
    )
    assert int(text.split()[-1]) >= 10_000
