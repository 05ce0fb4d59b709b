"""Each request of a JavaScript worker begins with the memory that its own top level left, whoever was in the slot
before; by both drivers.
"""

from __future__ import annotations

import asyncio
import struct
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from model.identity import TenantId
from model.outcome import EventOutcome
from runtime.artifact import read_artifact
from runtime.capi.accelerated_guest import AcceleratedGuest, open_guest
from runtime.capi.guest import DeltaDoesNotFit, Guest, live_guests
from runtime.capi.linker import DeltaPre
from runtime.javascript.bundle import Module, ModuleType, encode, make
from runtime.javascript.delta import MOST_BYTES, PAGE_BYTES, MalformedDelta, Written, apply, difference
from runtime.linking import make_linker
from runtime.worker import Worker
from tests.support.guests import Guests, engine, sample
from tests.support.toy_engine import AT, GROWN_AT, WORD, toy_engine


def worker(letter: str, note: str = "") -> bytes:
    modules = [Module("worker.js", ModuleType.ESM, letter.encode())]
    if note:
        modules.append(Module("worker.js.map", ModuleType.SOURCE_MAP, note.encode()))
    return encode(make("worker.js", modules))


@pytest.fixture
async def guests(driver: str) -> AsyncIterator[Guests]:
    made = Guests(javascript=toy_engine())
    yield made
    made.close()
    assert live_guests() == 0


async def test_each_request_has_the_heap_that_the_top_level_left(guests: Guests) -> None:
    javascript, wasm = guests.worker(worker("a")), guests.worker(sample("hello"))
    for _ in range(20):
        ending, answer = await guests.fetch(javascript)
        assert (ending.outcome, bytes(answer.body)) == (EventOutcome.OK, WORD)
        assert (await guests.fetch(wasm))[0].outcome is EventOutcome.OK
    assert {record.peak_memory_bytes for record in guests.observer.records} >= {3 * PAGE_BYTES}


async def test_engine_is_made_once_and_shared(guests: Guests) -> None:
    first, second = guests.worker(worker("a")), guests.worker(worker("a", "another version"))
    assert first.version.module_digest != second.version.module_digest
    for javascript in (first, second, first):
        assert (await guests.fetch(javascript))[0].outcome is EventOutcome.OK
    assert [digest for digest, _ in guests.recompiled] == [guests.cache.javascript]
    pool = guests.host.pool
    loaded = [pool.get(each.version.module_digest) for each in (first, second)]
    assert all(each is not None and each.is_javascript for each in loaded)
    assert len({each.pre.pointer for each in loaded if each is not None}) == 1


async def test_one_tenants_deltas_push_out_no_other_tenants(guests: Guests) -> None:
    size = guests.cache.read_delta(guests.worker(worker("a")).version.module_digest).size
    guests = Guests(javascript=toy_engine(), delta_bytes=16 * size)
    try:
        made = [guests.worker(worker("a", f"version {number}")) for number in range(30)]
        theirs, *many = (each.version.module_digest for each in made)
        other = Worker(guests.host, replace(made[0].version, tenant=TenantId("other")), made[0].env)
        for each in (other, *made[1:]):
            assert (await guests.fetch(each))[0].outcome is EventOutcome.OK
        pool = guests.host.pool
        assert pool.get(theirs) is not None
        assert sum(pool.get(digest) is not None for digest in many) == 15
    finally:
        guests.close()


async def test_missing_delta_is_made_again_from_the_bundle(guests: Guests) -> None:
    javascript = guests.worker(worker("a"))
    digest = javascript.version.module_digest
    guests.cache.remove_stale(digest, -1.0)
    outcomes = await asyncio.gather(*(guests.fetch(javascript) for _ in range(5)))
    assert {ending.outcome for ending, _ in outcomes} == {EventOutcome.OK}
    assert sorted(made for made, _ in guests.recompiled) == sorted([digest, guests.cache.javascript])


async def test_memory_limit_below_what_the_top_level_left_ends_the_request(guests: Guests) -> None:
    javascript = guests.worker(worker("a"), limits={"memory_bytes": 2 * PAGE_BYTES})
    ending, _ = await guests.fetch(javascript)
    assert ending.outcome is EventOutcome.EXCEEDED_MEMORY
    assert "before its first line runs" in ending.message


async def test_worker_that_starts_off_the_loop_is_restored_there_too(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    javascript = guests.worker(worker("a"))
    assert (await guests.fetch(javascript))[0].outcome is EventOutcome.OK
    javascript.off_loop_until_s = float("inf")
    for kind in (Guest, AcceleratedGuest):

        def restore(
            guest: Guest, delta: bytes, original: Callable[[Guest, bytes], None] = kind.restore
        ) -> None:
            assert threading.current_thread() is not threading.main_thread()
            original(guest, delta)

        monkeypatch.setattr(kind, "restore", restore)
    ending, answer = await guests.fetch(javascript)
    assert (ending.outcome, bytes(answer.body)) == (EventOutcome.OK, WORD)


# -- restoring, by itself ----------------------------------------------------------------------------


def memory_of(guest: Guest) -> bytes:
    return guest.read(0, guest.memory_size())


@pytest.mark.usefixtures("driver")
def test_restored_memory_is_what_apply_says() -> None:
    module = engine().compile(toy_engine())
    pre = make_linker(engine()).instantiate_pre(module)
    try:
        fresh = open_guest(engine(), 8 << 20, 10**9)
        fresh.begin_instantiate(pre)
        assert fresh.poll()
        fresh.finish()
        fresh.find_exports("js_load", needs_alloc=True)
        base = memory_of(fresh)
        wanted = bytearray(base.ljust(5 * PAGE_BYTES, b"\0"))
        for at in range(0, len(wanted), 40_000):
            wanted[at : at + 24] = struct.pack("<QQQ", at, 7, at)
        wanted[-8:] = b"the end."
        delta = difference(base, len(wanted), [Written(0, bytes(wanted))])
        fresh.restore(delta)
        assert memory_of(fresh) == apply(base, delta) == bytes(wanted)
        # As the other driver may have done half of it.
        fresh.restore(delta)
        assert memory_of(fresh) == bytes(wanted)
        fresh.close()
    finally:
        pre.close()
        module.close()
    assert live_guests() == 0


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("delta", "refusal"),
    [
        (struct.pack("<II", 4000, 0), DeltaDoesNotFit),
        (struct.pack("<IIII", 3, 1, 3 * 8192, 1) + bytes(8), MalformedDelta),
        (struct.pack("<IIII", 0, 1, 3 * 8192, 1) + bytes(8), MalformedDelta),
        (struct.pack("<IIII", 3, 1, 0xFFFF_FFFF, 0xFFFF_FFFF), MalformedDelta),
        (struct.pack("<II", 3, 0xFFFF_FFFF), MalformedDelta),
        (struct.pack("<IIII", 3, 1, 0, 2) + bytes(8), MalformedDelta),
        (b"\1\2\3", MalformedDelta),
        (bytes(MOST_BYTES + 1), MalformedDelta),
    ],
)
def test_delta_beyond_the_memory_writes_nothing_outside_and_is_refused(
    delta: bytes, refusal: type[Exception]
) -> None:
    """Through the first slice, whose C must leave it to the reference."""
    module = engine().compile(toy_engine())
    pre = make_linker(engine()).instantiate_pre(module)
    guest = open_guest(engine(), 3 * PAGE_BYTES, 10**9)
    try:
        stage = guest.first_slice(DeltaPre(pre, delta), "fetch", b"event", False)
        assert stage <= 4
        guest.finish()
        guest.find_exports("fetch", needs_alloc=True)
        with pytest.raises(refusal):
            guest.restore(delta)
    finally:
        guest.close()
        pre.close()
        module.close()
    assert live_guests() == 0


@pytest.mark.usefixtures("driver")
def test_memory_that_is_refused_costs_no_look_at_the_runs() -> None:
    """A top level can leave a million runs, and each event of a worker with too little memory comes here."""
    runs = b"".join(struct.pack("<II", 3 * number, 1) for number in range(200_000))
    delta = struct.pack("<II", 4000, 200_000) + runs + bytes(8 * 200_000)
    module = engine().compile(toy_engine())
    pre = make_linker(engine()).instantiate_pre(module)
    guest = open_guest(engine(), 3 * PAGE_BYTES, 10**9)
    tracemalloc.start()
    try:
        guest.first_slice(DeltaPre(pre, delta), "fetch", b"event", False)
        guest.finish()
        guest.find_exports("fetch", needs_alloc=True)
        with pytest.raises(DeltaDoesNotFit):
            guest.restore(delta)
        assert tracemalloc.get_traced_memory()[1] < len(runs) // 4
    finally:
        tracemalloc.stop()
        guest.close()
        pre.close()
        module.close()


def test_toy_leaves_what_it_says() -> None:
    assert read_artifact(worker("a")).kind == "javascript"
    assert (AT // PAGE_BYTES, GROWN_AT // PAGE_BYTES) == (0, 2)
