"""A module that stands where the JavaScript engine does, small enough to read: what it does is the last letter of what
it is given. So the host's side is tested without the engine's.

`js_compile` of `e` is a syntax error, of `s` it spins, of `t` it traps; any other letter is the bytecode. `js_load`
leaves WORD in memory, in a page that was there and in one that it grows, or fails, by the letter. `fetch` answers
WORD, which it changes on the way: whoever sees another word was given another request's memory.
"""

from __future__ import annotations

import functools
from typing import Final

import msgpack

from tests.support.guests import wat

WORD: Final = b"TENANT-0"
#: In memory; the second lies in the page that loading grows.
AT, GROWN_AT = 0x4000, 0x20000

SYNTAX_ERROR: Final = {
    "error": {
        "kind": "SyntaxError",
        "message": "unexpected token",
        "file": "worker.js",
        "line": 3,
        "column": 5,
        "stack": "at worker.js:3:5",
    }
}
_ANSWERS: Final = {
    "compile error": SYNTAX_ERROR,
    "load error": {
        "error": {"kind": "TypeError", "message": "x is not a function", "file": "worker.js", "line": 7}
    },
    "loaded": {"ok": {"handlers": ["fetch", "email"], "entrypoints": ["Api"]}},
    "nothing": {"ok": {"handlers": [], "entrypoints": []}},
}
_CALL: Final = {"ops": [], "wait": "all"}
#: `{body: bin of 8}` without its bytes, which follow.
_RESPONSE: Final = b"\x81\xa4body\xc4\x08"
#: `{ok: {code: bin of 1}}` without its byte.
_CODE: Final = b"\x81\xa2ok\x81\xa4code\xc4\x01"


@functools.cache
def toy_engine() -> bytes:
    answers = {name: msgpack.packb(value) for name, value in _ANSWERS.items()}
    answers["call"] = msgpack.packb(_CALL)
    answers["garbage"] = b"\xc1"
    where: dict[str, tuple[int, int]] = {}
    at = 0x100
    data = []
    for name, packed in answers.items():
        where[name] = at, len(packed)
        data.append(f'(data (i32.const {at}) "{_escaped(packed)}")')
        at += 0x100

    def give(name: str) -> str:
        start, size = where[name]
        return f"(return (i64.const {start << 32 | size}))"

    call_at, call_size = where["call"]
    last = "(i32.load8_u (i32.sub (i32.add (local.get $p) (local.get $n)) (i32.const 1)))"

    def on(letter: str, body: str) -> str:
        return f"(if (i32.eq (local.get $l) (i32.const {ord(letter)})) (then {body}))"

    return wat(f"""(module
      (import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))
      (import "tenantry_v1" "log" (func $log (param i32 i32 i32)))
      (memory (export "memory") 2)
      (data (i32.const 0x3000) "{_escaped(_CODE)}")
      (data (i32.const 0x3080) "{_escaped(_RESPONSE)}")
      {"".join(data)}
      (func (export "alloc") (param i32) (result i32) (i32.const 0x8000))
      (func $deep (param i32) (result i32)
        (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
      (func (export "js_compile") (param $p i32) (param $n i32) (result i64) (local $l i32)
        (local.set $l {last})
        {on("e", give("compile error"))}
        {on("s", "(loop $l (br $l))")}
        {on("t", "unreachable")}
        (i32.store8 (i32.const {0x3000 + len(_CODE)}) (local.get $l))
        (i64.const {0x3000 << 32 | len(_CODE) + 1}))
      (func (export "js_load") (param $p i32) (param $n i32) (result i64) (local $l i32)
        (local.set $l {last})
        (memory.fill (i32.const 0x8000) (i32.const 0) (local.get $n))
        {on("E", give("load error"))}
        {on("S", "(loop $l (br $l))")}
        {on("T", "unreachable")}
        {on("R", "(drop (call $deep (i32.const 0)))")}
        {on("N", give("nothing"))}
        {on("G", give("garbage"))}
        {on("O", "(return (i64.const -1))")}
        {on("C", f"(drop (call $call (i32.const {call_at}) (i32.const {call_size})))")}
        {on("L", "(call $log (i32.const 1) (i32.const 0x4000) (i32.const 8))")}
        {
        on(
            "B",
            "(drop (memory.grow (i32.const 300)))"
            "(memory.fill (i32.const 0x20000) (i32.const 1) (i32.const 0x1010000))",
        )
    }
        {on("M", "(if (i32.eq (memory.grow (i32.const 3000)) (i32.const -1)) (then unreachable))")}
        (i64.store (i32.const {AT}) (i64.const {int.from_bytes(WORD, "little")}))
        (drop (memory.grow (i32.const 1)))
        (i64.store (i32.const {GROWN_AT}) (i64.const {int.from_bytes(WORD, "little")}))
        {give("loaded")})
      (func (export "fetch") (param $p i32) (param $n i32) (result i64)
        (i64.store (i32.const {0x3080 + len(_RESPONSE)}) (i64.load (i32.const {AT})))
        (if (i64.ne (i64.load (i32.const {AT})) (i64.load (i32.const {GROWN_AT}))) (then unreachable))
        (i64.store (i32.const {AT}) (i64.const -1))
        (i64.store (i32.const {GROWN_AT}) (i64.const -1))
        (i64.const {0x3080 << 32 | len(_RESPONSE) + 8})))""")


def _escaped(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)
