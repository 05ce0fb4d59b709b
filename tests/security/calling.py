"""Guests that make given calls one after another and answer 200: hostile workers without a compiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgpack

from tests.support.guests import wat

Ops = Sequence[Sequence[object]]
_ANSWER = {"status": 200, "headers": [], "body": b"ok"}


def call(*ops: Sequence[object], wait: str = "all", **more: object) -> Mapping[str, object]:
    """The map that `call` takes."""
    return {"ops": ops, "wait": wait, **more}


def caller(
    *calls: Mapping[str, object] | bytes,
    answers: bool = True,
    handler: str = "fetch",
    padding: bytes = b"",
    returns: object = _ANSWER,
) -> bytes:
    """Module bytes. With `answers` the handler returns `returns`, else 0. `padding` makes them different."""
    response = msgpack.packb(returns)
    offset = 65_536
    data, code = [(offset, response)], []
    offset += len(response)
    for one in calls:
        packed = one if isinstance(one, bytes) else msgpack.packb(one)
        data.append((offset, packed))
        code.append(f"(drop (call $call (i32.const {offset}) (i32.const {len(packed)})))")
        offset += len(packed)
    data.append((offset, padding))
    pages = (offset + len(padding) >> 16) + 2
    segments = "\n".join(
        f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in text)}")' for at, text in data
    )
    result = (65_536 << 32 | len(response)) if answers else 0
    return wat(
        f"""(module
          (import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))
          (memory (export "memory") {pages})
          {segments}
          (func (export "alloc") (param i32) (result i32) (i32.const 1024))
          (func (export "{handler}") (param i32 i32) (result i64)
            {" ".join(code)}
            (i64.const {result})))"""
    )
