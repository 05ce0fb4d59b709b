"""The prelude's blocks that events write to lie side by side: each page that an event writes to is copied for it."""

from __future__ import annotations

import struct

from javascript.engine.placing import Block, read_blocks, table, written_units
from tests.javascript.harness import handler, instance, load, tenant

PAGE = 4096


def places(data: bytes) -> tuple[int, dict[int, int]]:
    """The arena's size, and allocation → offset."""
    size, count = struct.unpack_from("<II", data)
    rows = dict(struct.iter_unpack("<II", data[8:]))
    assert len(rows) == count
    return size, rows


def test_written_units_are_those_that_differ_as_far_as_there_was_memory() -> None:
    before = bytes(2 * PAGE)
    after = bytearray(3 * PAGE)
    after[8] = after[PAGE + 17] = after[2 * PAGE] = 1
    assert written_units(before, bytes(after)) == {1, PAGE // 8 + 2}


def test_blocks_that_more_runs_write_to_come_first_and_others_get_no_place() -> None:
    blocks = [Block(1000, 24), Block(1024, 32), Block(1056, 16), Block(1072, 4096)]
    size, rows = places(table(blocks, [{128}, {128, 132}, {132, 128, 140}]))
    assert rows == {1: 0, 2: 32}  # the first was never written to, the last fills a page wherever it lies
    assert size == 48


def test_a_place_belongs_to_the_last_allocation_that_got_the_memory() -> None:
    blocks = [Block(1024, 64), Block(2048, 16), Block(1024, 32)]  # the first was freed, and cut again
    assert places(table(blocks, [{128}]))[1] == {2: 0}
    assert places(table(blocks, [{132}]))[1] == {0: 0}


def test_blocks_are_read_in_the_order_of_their_allocation() -> None:
    assert read_blocks(struct.pack("<IIII", 1, 2, 3, 4)) == [Block(1, 2), Block(3, 4)]


async def test_a_small_worker_and_its_event_write_to_few_pages() -> None:
    worker = tenant(handler("return new Response(new URL(request.url).pathname);"))
    with instance() as guest:
        guest.find_exports("js_load", needs_alloc=True)
        engine = guest.read(0, guest.memory_size())
        load(guest, worker.code)
        loaded = guest.read(0, guest.memory_size())
    memory = (await worker.get("/")).memory
    assert memory is not None

    def pages(before: bytes, after: bytes) -> int:
        return len({unit * 8 // PAGE for unit in written_units(before.ljust(len(after), b"\0"), after)})

    assert pages(engine, loaded) <= 18, "36 where they lie as they were allocated"
    assert pages(loaded, memory) <= 15, "22 where they lie as they were allocated"
