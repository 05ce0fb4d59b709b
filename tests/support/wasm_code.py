"""The instructions of a module's functions. Source: WebAssembly Core Specification, binary format; SIMD included."""

from __future__ import annotations

from typing import Final

from javascript.engine.snapshot import _read_unsigned, _sections

_CODE: Final = 10
_END: Final = 0x0B
_EMPTY_OR_VALUE: Final = frozenset((0x40, 0x6F, 0x70, *range(0x7B, 0x80)))
#: How many numbers (LEB128) follow an instruction; of those that are not here, none does.
_NUMBERS: Final = {
    **dict.fromkeys((0x0C, 0x0D, 0x10, 0x12, *range(0x20, 0x27), 0x3F, 0x40, 0x41, 0x42, 0xD0, 0xD2), 1),
    **dict.fromkeys((0x11, 0x13, *range(0x28, 0x3F)), 2),
}
#: As above, after the prefix 0xFC.
_NUMBERS_OF_FC: Final = {8: 2, 9: 1, 10: 2, 11: 1, 12: 2, 13: 1, 14: 2, 15: 1, 16: 1, 17: 1}


def instructions(module: bytes) -> set[tuple[int, int]]:
    """Which it has: (opcode, the number after a prefix or 0). AssertionError where they can't be read to the end."""
    found: set[tuple[int, int]] = set()
    for section, code in _sections(module):
        if section == _CODE:
            count, at = _read_unsigned(code, 0)
            for _ in range(count):
                size, at = _read_unsigned(code, at)
                _read_function(code[at : at + size], found)
                at += size
            assert at == len(code)
    return found


def _read_function(code: bytes, found: set[tuple[int, int]]) -> None:
    groups, at = _read_unsigned(code, 0)
    for _ in range(groups):
        _, at = _read_unsigned(code, at)
        at += 1
    while at < len(code):
        opcode, number = code[at], 0
        at += 1
        if opcode in (0xFC, 0xFD):
            number, at = _read_unsigned(code, at)
        found.add((opcode, number))
        at = _after_immediates(code, at, opcode, number)
    assert at == len(code)
    assert code[-1] == _END


def _after_immediates(code: bytes, at: int, opcode: int, number: int) -> int:
    match opcode:
        case 0x02 | 0x03 | 0x04 if code[at] in _EMPTY_OR_VALUE:
            return at + 1
        case 0x02 | 0x03 | 0x04:
            return _after_numbers(code, at, 1)
        case 0x0E | 0x1C:
            count, at = _read_unsigned(code, at)
            return _after_numbers(code, at, count + (opcode == 0x0E))
        case 0x43:
            return at + 4
        case 0x44:
            return at + 8
        case 0xFC:
            return _after_numbers(code, at, _NUMBERS_OF_FC.get(number, 0))
        case 0xFD:
            return _after_vector_immediates(code, at, number)
        case _:
            return _after_numbers(code, at, _NUMBERS.get(opcode, 0))


def _after_vector_immediates(code: bytes, at: int, number: int) -> int:
    if number <= 11 or 92 <= number <= 93:
        return _after_numbers(code, at, 2)
    if number <= 13:
        return at + 16
    if 21 <= number <= 34:
        return at + 1
    return _after_numbers(code, at, 2) + 1 if 84 <= number <= 91 else at


def _after_numbers(code: bytes, at: int, count: int) -> int:
    for _ in range(count):
        _, at = _read_unsigned(code, at)
    return at
