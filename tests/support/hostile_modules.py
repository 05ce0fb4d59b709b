"""Worker modules made to order, as text or as bytes: what compilers would never write."""

from __future__ import annotations

from tests.support.guests import wat

PAGE = 65_536
#: What `fetch` returns for the Response that every module here has at its address 0.
ANSWER = "(i64.const 10)"
_RESPONSE = '(data (i32.const 0) "\\81\\a6status\\cc\\c8")'

CALL = '(import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))'
TAKE = '(import "tenantry_v1" "take" (func $take (param i32 i32 i32) (result i32)))'
LOG = '(import "tenantry_v1" "log" (func $log (param i32 i32 i32)))'


def wasi(name: str, params: str, result: str = "(result i32)") -> str:
    return f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) {result}))'


def worker(
    fetch: str = ANSWER,
    *,
    imports: str = "",
    more: str = "",
    alloc: str = "(i32.const 1024)",
    memory: str = "2",
) -> bytes:
    """`fetch` is the handler's body, with locals $i, $j (i32), $n (i64) and $v (v128) at hand."""
    data = "" if memory.startswith("0") else _RESPONSE
    return wat(
        f"""(module {imports} (memory (export "memory") {memory}) {data} {more}
          (func (export "alloc") (param i32) (result i32) (local $i i32) {alloc})
          (func (export "fetch") (param $p i32) (param $s i32) (result i64)
            (local $i i32) (local $j i32) (local $n i64) (local $v v128) {fetch}))"""
    )


def leb(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def section(number: int, payload: bytes) -> bytes:
    return bytes([number]) + leb(len(payload)) + payload


def vector(*entries: bytes) -> bytes:
    return leb(len(entries)) + b"".join(entries)


def _name(text: bytes) -> bytes:
    return leb(len(text)) + text


HEADER = b"\0asm\1\0\0\0"
#: Types 0 to 2: () -> (), (i32) -> i32 as of `alloc`, (i32, i32) -> i64 as of a handler.
TYPES = (b"\x60\0\0", b"\x60\1\x7f\1\x7f", b"\x60\2\x7f\x7f\1\x7e")
_ALLOC_BODY = b"\0\x41\x80\x08\x0b"
_RESPONSE_BYTES = b"\x81\xa6status\xcc\xc8"


def binary(
    fetch: bytes = b"\0\x42\x0a\x0b",
    *,
    types: tuple[bytes, ...] = (),
    functions: tuple[tuple[int, bytes], ...] = (),
    table: bytes = b"",
    memory: bytes = b"\0\2",
    globals_: bytes = b"",
    element: bytes = b"",
    data_count: bytes = b"",
    data: bytes | None = None,
    start: bytes = b"",
    tail: bytes = b"",
) -> bytes:
    """A worker in binary. `fetch` is a whole body: locals, code, end. Functions 0 and 1 are `alloc` and `fetch`;
    `functions` are (type, body) of more. Other arguments are sections' payloads.
    """
    bodies = [_ALLOC_BODY, fetch, *(body for _, body in functions)]
    indices = bytes([1, 2]) + b"".join(leb(index) for index, _ in functions)
    exports = vector(_name(b"memory") + b"\2\0", _name(b"alloc") + b"\0\0", _name(b"fetch") + b"\0\1")
    if data is None:
        data = vector(b"\0\x41\0\x0b" + _name(_RESPONSE_BYTES))
    parts = [
        (1, vector(*TYPES, *types)),
        (3, leb(len(bodies)) + indices),
        (4, table),
        (5, vector(memory)),
        (6, globals_),
        (7, exports),
        (8, start),
        (9, element),
        (12, data_count),
        (10, vector(*(_name(body) for body in bodies))),
        (11, data),
    ]
    return HEADER + b"".join(section(number, payload) for number, payload in parts if payload) + tail


def name_section(*names: tuple[int, bytes]) -> bytes:
    """A custom section that names functions: what backtraces show."""
    named = vector(*(leb(index) + _name(text) for index, text in names))
    return section(0, _name(b"name") + section(1, named))
