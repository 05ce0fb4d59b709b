"""A module and what its memory holds after it ran → the module that begins with that memory. Pure.

The idea is Wizer's. It is sound for this module alone, and what it rests on is checked: the one mutable global is the
shadow stack's pointer, which is where it was; the table can't change, since nothing emits `table.set`; memory is
all that is left, and it becomes the data section. Instances of it that are used again rest on the same
(docs/decisions/0020): the pointer is exported for them, and no data is passive.
Source: WebAssembly Core Specification, binary format.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

_MAGIC: Final = b"\0asm\1\0\0\0"
_CUSTOM, _MEMORY, _GLOBAL, _EXPORT, _START, _DATA, _DATA_COUNT = 0, 5, 6, 7, 8, 11, 12
_I32_CONST, _END, _MUTABLE = 0x41, 0x0B, 1
_WASM_PAGE: Final = 65_536
#: Memory is looked through in blocks of this size: a block of zeros needs no data segment.
_BLOCK: Final = 4_096


class NotSnapshottable(Exception):
    """The module has state that its memory does not hold."""


def snapshot(module: bytes, memory: bytes, exports: Collection[str]) -> bytes:
    """`module` with `memory` for its data and `exports` alone; without a start section and names."""
    runs = list(_runs(memory))
    out = bytearray(_MAGIC)
    for section, body in _sections(module):
        match section:
            case _section if _section in (_CUSTOM, _START):
                continue
            case _section if _section == _MEMORY:
                new = _with_minimum(body, len(memory) // _WASM_PAGE)
            case _section if _section == _EXPORT:
                new = _with_exports(body, exports)
            case _section if _section == _DATA_COUNT:
                new = _unsigned(len(runs))
            case _section if _section == _DATA:
                new = _data(runs)
            case _:
                if section == _GLOBAL:
                    _check_globals(body)
                new = body
        out += bytes([section]) + _unsigned(len(new)) + new
    return bytes(out)


def _runs(memory: bytes) -> Iterator[tuple[int, bytes]]:
    """Where memory is not zero: (address, bytes), rising."""
    zeros = bytes(_BLOCK)
    start = None
    for at in range(0, len(memory) + _BLOCK, _BLOCK):
        block = memory[at : at + _BLOCK]
        if block and block != zeros[: len(block)]:
            start = at if start is None else start
        elif start is not None:
            held = memory[start:at]
            trimmed = held.lstrip(b"\0")
            yield start + len(held) - len(trimmed), trimmed.rstrip(b"\0")
            start = None


def _data(runs: list[tuple[int, bytes]]) -> bytes:
    segments = [
        b"\0" + bytes([_I32_CONST]) + _signed(address) + bytes([_END]) + _unsigned(len(data)) + data
        for address, data in runs
    ]
    return _unsigned(len(segments)) + b"".join(segments)


def _with_minimum(body: bytes, pages: int) -> bytes:
    count, at = _read_unsigned(body, 0)
    flags = body[at]
    if count != 1 or flags not in (0, 1):
        raise NotSnapshottable("one memory of 32 bits, not shared, is expected")
    _, at = _read_unsigned(body, at + 1)
    return bytes([1, flags]) + _unsigned(pages) + body[at:]


def _with_exports(body: bytes, wanted: Collection[str]) -> bytes:
    count, at = _read_unsigned(body, 0)
    kept, found = bytearray(), set()
    for _ in range(count):
        start = at
        size, at = _read_unsigned(body, at)
        name = body[at : at + size].decode()
        _, at = _read_unsigned(body, at + size + 1)  # after the kind's byte
        if name in wanted:
            kept += body[start:at]
            found.add(name)
    missing = set(wanted) - found
    if missing:
        raise NotSnapshottable(f"the module does not export {', '.join(sorted(missing))}")
    return _unsigned(len(found)) + bytes(kept)


def _check_globals(body: bytes) -> None:
    count, at = _read_unsigned(body, 0)
    mutable = 0
    for _ in range(count):
        mutable += body[at + 1] == _MUTABLE
        if body[at + 2] != _I32_CONST:
            raise NotSnapshottable("a global is not begun with a plain i32")
        _, at = _read_unsigned(body, at + 3)  # a signed number has the same length
        at += 1
    if mutable != 1:
        raise NotSnapshottable(f"{mutable} mutable globals; the shadow stack's pointer alone is expected")


def _sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    if module[:8] != _MAGIC:
        raise NotSnapshottable("this is no core module")
    at = 8
    while at < len(module):
        section = module[at]
        size, at = _read_unsigned(module, at + 1)
        yield section, module[at : at + size]
        at += size


def _unsigned(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _signed(number: int) -> bytes:
    out = bytearray()
    while not -64 <= number < 64:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number & 127])


def _read_unsigned(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at
