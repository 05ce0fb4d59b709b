"""No byte that one event wrote can be read by the next, of the same tenant or of another.

In a child with one slot for sandboxes, so that each event gets what the one before it had.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Final

import msgpack

from model.capabilities import WorkerEnv
from model.outcome import EventOutcome
from runtime.capi.engine_store import EngineSettings
from runtime.engine import start_engine
from tests.support import guests as support
from tests.support.children import expect_ok
from tests.support.guests import Guests, wat

#: What a module finds, by the status that it answers.
CLEAN: Final = 200
FOUND: Final = {
    501: "bytes in the memory that it starts with",
    502: "bytes in pages that it grew",
    503: "another value in a global",
    504: "an element in its table",
    505: "an element in the part of the table that it grew",
    506: "a reply that it has not asked for",
    507: "variables of another worker",
    508: "its data changed",
}
_PAGES: Final = 1_500
_ANSWER_BYTES: Final = 11


def looks_then_writes(pages: int, table: int, variables: int) -> bytes:
    """A worker that looks for anything that is not its own, and then writes to whatever it can reach: memory up
    to 94 MiB, a table of 2,000, globals, its data segment, standard output, streams, a reply of the host.
    """
    answers = "".join(
        f'(data (i32.const {16 * n}) "\\81\\a6status\\cd\\{status >> 8:02x}\\{status & 0xFF:02x}")'
        for n, status in enumerate((CLEAN, *FOUND))
    )
    asks = msgpack.packb({"ops": [[1, "stream.open", None], [2, "sleep", None, 0]]})
    escaped = "".join(f"\\{byte:02x}" for byte in asks)

    def found(number: int) -> str:
        return f"(then (return (i64.const {16 * number << 32 | _ANSWER_BYTES})))"

    def is_zero(number: int) -> str:
        return f"""(local.set $end (i32.mul (memory.size) (i32.const 65536)))
          (loop $look
            (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) {found(number)})
            (br_if $look (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (local.get $end))))"""

    def is_null(number: int) -> str:
        return f"""(loop $null
            (if (i32.eqz (ref.is_null (table.get $t (local.get $el)))) {found(number)})
            (br_if $null (i32.lt_u (local.tee $el (i32.add (local.get $el) (i32.const 1))) (table.size $t))))"""

    return wat(
        f"""(module
          (import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))
          (import "tenantry_v1" "take" (func $take (param i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env (param i32 i32) (result i32)))
          (memory (export "memory") {pages})
          (table $t {table} funcref) (elem declare func $alloc)
          (global $i (mut i32) (i32.const 7)) (global $v (mut v128) (v128.const i64x2 1 2))
          (global $f (mut funcref) (ref.null func))
          {answers} (data (i32.const 512) "{escaped}") (data $own "its own")
          (func $alloc (export "alloc") (param i32) (result i32) (i32.const 4096))
          (func (export "fetch") (param $p i32) (param $s i32) (result i64)
            (local $at i32) (local $end i32) (local $el i32)
            (local.set $at (i32.const 32768))
            {is_zero(1)}
            (drop (memory.grow (i32.const {_PAGES - pages})))
            {is_zero(2)}
            (if (i32.ne (global.get $i) (i32.const 7)) {found(3)})
            (if (i64.ne (i64x2.extract_lane 1 (global.get $v)) (i64.const 2)) {found(3)})
            (if (i32.eqz (ref.is_null (global.get $f))) {found(3)})
            {is_null(4)}
            (drop (table.grow $t (ref.null func) (i32.const {2_000 - table})))
            {is_null(5)}
            (if (call $take (i32.const 40000) (i32.const 0) (i32.const 4096)) {found(6)})
            (drop (call $env (i32.const 1024) (i32.const 1028)))
            (if (i32.ne (i32.load (i32.const 1024)) (i32.const {variables})) {found(7)})
            (memory.init $own (i32.const 1040) (i32.const 0) (i32.const 7))
            (if (i32.ne (i32.load (i32.const 1040)) (i32.const 0x20737469)) {found(8)})

            (global.set $i (i32.const 8)) (global.set $v (v128.const i64x2 8 8))
            (global.set $f (ref.func $alloc))
            (table.fill $t (i32.const 0) (ref.func $alloc) (i32.const 2000))
            (data.drop $own)
            (i32.store (i32.const 1056) (i32.const 0)) (i32.store (i32.const 1060) (i32.const 64))
            (drop (call $write (i32.const 1) (i32.const 1056) (i32.const 1) (i32.const 1064)))
            (drop (call $call (i32.const 512) (i32.const {len(asks)})))
            (memory.fill (i32.const 32768) (i32.const 0xaa) (i32.sub (local.get $end) (i32.const 32768)))
            (i64.const {_ANSWER_BYTES})))"""
    )


async def look_and_write(order: Sequence[int]) -> None:
    """Events of three workers, in this order, in one slot."""
    support.engine = functools.cache(lambda: start_engine(EngineSettings(slots=1)))
    guests = Guests()
    limits = {"cpu_ms": 20_000}
    secret = WorkerEnv(vars={"SECRET": "of the first", "OTHER": "too"})
    workers = [
        guests.worker(looks_then_writes(1, 10, 2), env=secret, limits=limits, name="first"),
        guests.worker(looks_then_writes(40, 1_999, 0), limits=limits, name="second"),
        guests.worker(looks_then_writes(1, 10, 0), limits=limits, name="third"),
    ]
    for number in order:
        ending, response = await guests.fetch(workers[number])
        assert ending.outcome is EventOutcome.OK, ending.message
        assert response.status == CLEAN, f"worker {number} found {FOUND.get(response.status)}"
    guests.close()


def test_nothing_written_by_an_event_is_found_by_the_next_in_its_place() -> None:
    """Each worker after each other one, and after itself."""
    order = [number for pair in itertools.product(range(3), repeat=2) for number in pair]
    expect_ok(
        f"""
        import asyncio
        from tests.security.test_isolation import look_and_write
        asyncio.run(look_and_write({order}))
        """
    )


def _answers_with_reply(call: dict[str, object]) -> bytes:
    """A worker whose Response's body is the host's reply to `call`."""
    packed = msgpack.packb(call)
    escaped = "".join(f"\\{byte:02x}" for byte in packed)
    return wat(
        f"""(module
          (import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))
          (import "tenantry_v1" "take" (func $take (param i32 i32 i32) (result i32)))
          (memory (export "memory") 3) (data (i32.const 0) "\\81\\a4body\\c5") (data (i32.const 70000) "{escaped}")
          (func (export "alloc") (param i32) (result i32) (i32.const 140000))
          (func (export "fetch") (param i32 i32) (result i64) (local $n i32)
            (local.set $n (call $call (i32.const 70000) (i32.const {len(packed)})))
            (local.set $n (call $take (i32.const 9) (i32.const 0) (local.get $n)))
            (i32.store8 (i32.const 7) (i32.shr_u (local.get $n) (i32.const 8)))
            (i32.store8 (i32.const 8) (local.get $n))
            (i64.extend_i32_u (i32.add (local.get $n) (i32.const 9)))))"""
    )


async def test_streams_and_operations_of_one_event_do_not_exist_in_the_next() -> None:
    """Ids are small numbers, the same ones in each event: they must name nothing of another."""
    guests = Guests()
    opens = guests.worker(
        _answers_with_reply({"ops": [[1, "stream.open", None], [2, "stream.write", None, 1, b"x"]]})
    )
    reads = guests.worker(_answers_with_reply({"ops": [[3, "stream.read", None, 1, 9]], "cancel": [1, 2]}))
    for _ in range(3):
        _, response = await guests.fetch(opens)
        assert msgpack.unpackb(bytes(response.body))["done"] == [[1, {"ok": 1}], [2, {"ok": None}]]
        _, response = await guests.fetch(reads)
        reply = msgpack.unpackb(bytes(response.body))
        assert [id_ for id_, _ in reply["done"]] == [3]
        assert reply["done"][0][1]["error"]["code"] == "closed_stream"
        assert reply["pending"] == 0
    guests.close()


async def test_unfinished_line_of_one_event_is_not_the_beginning_of_anothers() -> None:
    text = """(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "\\81\\a6status\\cc\\c8") (data (i32.const 16) "no end")
      (func (export "alloc") (param i32) (result i32) (i32.const 1024))
      (func (export "fetch") (param i32 i32) (result i64)
        (i32.store (i32.const 64) (i32.const 16)) (i32.store (i32.const 68) (i32.const 6))
        (drop (call $write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 72)))
        (i64.const 10)))"""
    guests = Guests()
    worker = guests.worker(wat(text))
    for _ in range(3):
        await guests.fetch(worker)
    guests.close()
    assert guests.observer.texts == ["no end"] * 3
