"""Modules that are nearly right: a seed module → its mutants, the same ones for the same number each time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from tests.support.hostile_modules import leb

Parts = list[tuple[int, bytes]]
#: Numbers around what decoders, tables and pages are bounded by.
_NUMBERS: Final = (
    0,
    1,
    2,
    9,
    63,
    64,
    127,
    128,
    255,
    1_000,
    65_535,
    65_536,
    100_000,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
#: What begins an instruction that takes indices or is off here.
_CODES: Final = bytes(
    (
        *range(6),
        *range(0x0B, 0x14),
        0x1A,
        0x1B,
        *range(0x20, 0x46),
        0x6A,
        0xA7,
        0xAD,
        0xD0,
        0xD2,
        0xFC,
        0xFD,
        0xFE,
    )
)
#: Instructions that can stand for each other: comparisons, operators, loads, stores, branches, locals.
_FAMILIES: Final = (
    bytes(range(0x46, 0x50)),
    bytes(range(0x6A, 0x79)),
    bytes(range(0x7C, 0x8B)),
    b"\x28\x2c\x2d\x2e\x2f",
    b"\x36\x3a\x3b",
    b"\x0d\x1a",
    b"\x20\x21\x22",
    bytes(range(0x00, 0x02)),
)
_CODE_SECTION: Final = 10


def _read_leb(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def parts_of(wasm: bytes) -> Parts:
    """(id, payload) of each section of a well-formed module."""
    found = []
    at = 8
    while at < len(wasm):
        number = wasm[at]
        size, at = _read_leb(wasm, at + 1)
        found.append((number, wasm[at : at + size]))
        at += size
    return found


def mutant(seeds: Sequence[bytes], number: int) -> bytes:
    """The `number`-th: one to four structured edits of one seed, or of the bytes as a whole."""
    choice = random.Random(number)
    parts = parts_of(choice.choice(seeds))
    other = parts_of(choice.choice(seeds))
    for _ in range(choice.choice((1, 1, 1, 2, 4))):
        choice.choices(_EDITS, _WEIGHTS)[0](choice, parts, other)
    wasm = b"\0asm\1\0\0\0" + b"".join(bytes([id_]) + leb(len(data)) + data for id_, data in parts)
    rough = choice.random()
    if rough < 0.02:
        return wasm[: choice.randrange(len(wasm))]
    if rough < 0.04:
        at = choice.randrange(len(wasm))
        return wasm[:at] + bytes([choice.randrange(256)]) + wasm[at + 1 :]
    return wasm


def _pick(choice: random.Random, parts: Parts) -> int:
    """A section with bytes in it; the code, three times in four."""
    full = [at for at, (_, data) in enumerate(parts) if data]
    code = [at for at in full if parts[at][0] == _CODE_SECTION]
    if not full:
        parts.append((0, b"\1x"))
        return len(parts) - 1
    return choice.choice(code if code and choice.random() < 0.75 else full)


def _replace(choice: random.Random, parts: Parts, cut: int, new: bytes | Callable[[bytes], bytes]) -> None:
    """Put `new` in place of `cut` bytes somewhere. A function's body keeps its size right, mostly."""
    at = _pick(choice, parts)
    number, data = parts[at]
    first, end = 0, len(data)
    sized = number == _CODE_SECTION and choice.random() < 0.95
    start = 0
    if sized:
        try:
            start, first, end = _body(choice, data)
        except IndexError:  # an earlier edit broke the sizes
            sized = False
    if first >= end:
        return
    place = choice.randrange(first, end)
    old = data[place : min(place + cut, end)]
    edited = data[first:place] + (new if isinstance(new, bytes) else new(old)) + data[place + len(old) : end]
    size = leb(len(edited)) if sized else b""
    parts[at] = number, data[: start if sized else first] + size + edited + data[end:]


def _body(choice: random.Random, data: bytes) -> tuple[int, int, int]:
    """Where one function's size, its body and its end are in a code section."""
    count, at = _read_leb(data, 0)
    for _ in range(choice.randrange(min(count, 100_000)) if count else 0):
        size, at = _read_leb(data, at)
        at += size
    size, first = _read_leb(data, at)
    return at, first, min(first + size, len(data))


def _flip(choice: random.Random, parts: Parts, _other: Parts) -> None:
    _replace(choice, parts, 1, lambda old: bytes([old[0] ^ (1 << choice.randrange(8))]))


def _number(choice: random.Random, parts: Parts, _other: Parts) -> None:
    _replace(choice, parts, choice.choice((0, 1, 1, 1, 5)), leb(choice.choice(_NUMBERS)))


def _long_number(choice: random.Random, parts: Parts, _other: Parts) -> None:
    _replace(choice, parts, 1, b"\x80" * choice.randrange(1, 12) + b"\0")


def _instruction(choice: random.Random, parts: Parts, _other: Parts) -> None:
    _replace(choice, parts, choice.choice((0, 1, 1)), bytes([choice.choice(_CODES)]))


def _constant(choice: random.Random, parts: Parts, _other: Parts) -> None:
    """Another number after an i32.const or i64.const: a mutant that is valid, and goes elsewhere."""
    at = _pick(choice, parts)
    number, data = parts[at]
    places = [n for n in range(len(data) - 1) if data[n] in b"\x41\x42" and data[n + 1] < 0x80]
    if places:
        place = choice.choice(places) + 1
        parts[at] = (
            number,
            data[:place] + bytes([choice.choice((0, 1, 2, 8, 63, 64, 127))]) + data[place + 1 :],
        )


def _sibling(choice: random.Random, parts: Parts, _other: Parts) -> None:
    """Another instruction of the same type in place of one."""
    at = _pick(choice, parts)
    number, data = parts[at]
    family = choice.choice(_FAMILIES)
    places = [n for n in range(len(data)) if data[n] in family]
    if places:
        place = choice.choice(places)
        parts[at] = number, data[:place] + bytes([choice.choice(family)]) + data[place + 1 :]


def _insert(choice: random.Random, parts: Parts, _other: Parts) -> None:
    _replace(choice, parts, 0, choice.randbytes(choice.randrange(1, 9)))


def _remove(choice: random.Random, parts: Parts, _other: Parts) -> None:
    _replace(choice, parts, choice.randrange(1, 9), b"")


def _repeat(choice: random.Random, parts: Parts, _other: Parts) -> None:
    _replace(choice, parts, 40, lambda old: old * choice.randrange(2, 20))


def _swap(choice: random.Random, parts: Parts, _other: Parts) -> None:
    a, b = _pick(choice, parts), _pick(choice, parts)
    parts[a], parts[b] = parts[b], parts[a]


def _drop(choice: random.Random, parts: Parts, _other: Parts) -> None:
    del parts[_pick(choice, parts)]


def _twice(choice: random.Random, parts: Parts, _other: Parts) -> None:
    at = _pick(choice, parts)
    parts.insert(at, parts[at])


def _take_over(choice: random.Random, parts: Parts, other: Parts) -> None:
    """A section of another module, in place of this one's."""
    at = _pick(choice, parts)
    same = [part for part in other if part[0] == parts[at][0]]
    if same:
        parts[at] = choice.choice(same)


def _splice(choice: random.Random, parts: Parts, other: Parts) -> None:
    """Bytes of another module's section amid this one's."""
    data = other[_pick(choice, other)][1]
    start = choice.randrange(len(data))
    _replace(choice, parts, choice.randrange(30), data[start : start + choice.randrange(1, 60)])


_EDITS: Final[list[Callable[[random.Random, Parts, Parts], None]]] = [
    _constant,
    _sibling,
    _flip,
    _number,
    _instruction,
    _splice,
    _insert,
    _remove,
    _repeat,
    _take_over,
    _long_number,
    _swap,
    _drop,
    _twice,
]
_WEIGHTS: Final = (30, 30, 20, 20, 15, 8, 5, 5, 3, 3, 2, 1, 1, 1)
