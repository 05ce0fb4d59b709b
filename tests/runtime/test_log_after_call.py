"""A guest goes on after a host call, whatever it imports then: one that logs was once taken for one that waits."""

from __future__ import annotations

import msgpack

from model.capabilities import Operation
from model.outcome import EventOutcome
from tests.support.guests import Guests, wat

CALL = msgpack.packb({"ops": [[1, "test.answer", None]], "wait": "all"})
RESPONSE = msgpack.packb({"body": b"done"})


def _text(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)


LOGS_AFTER = wat(f"""(module
  (import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))
  (import "tenantry_v1" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "{_text(CALL)}") (data (i32.const 512) "{_text(RESPONSE)}") (data (i32.const 768) "a line")
  (func (export "alloc") (param i32) (result i32) i32.const 4096)
  (func (export "fetch") (param i32 i32) (result i64)
    (drop (call $call (i32.const 0) (i32.const {len(CALL)})))
    (call $log (i32.const 1) (i32.const 768) (i32.const 6))
    (drop (call $call (i32.const 0) (i32.const {len(CALL)})))
    (call $log (i32.const 1) (i32.const 768) (i32.const 6))
    (i64.const {512 << 32 | len(RESPONSE)})))""")


async def test_guest_that_logs_after_a_host_call_goes_on(driver: str) -> None:
    async def later(*_: object) -> int:
        return 1

    for run in (lambda *_: 1, later):
        guests = Guests({"test.answer": Operation("test.answer", None, False, run)})
        try:
            ending, answer = await guests.fetch(guests.worker(LOGS_AFTER, limits={"wall_ms": 5_000}))
            assert (ending.outcome, bytes(answer.body)) == (EventOutcome.OK, b"done")
            assert guests.observer.texts == ["a line", "a line"]
        finally:
            guests.close()
