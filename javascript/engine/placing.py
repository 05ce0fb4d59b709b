"""Which of the prelude's blocks lie side by side: those that events write to. Pure.

glue/placing.c has the other half.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

#: In which written memory is looked at: blocks begin and end at multiples of it.
UNIT: Final = 8
_PAGE: Final = 4_096
#: A larger block fills pages of its own wherever it is.
_MOST_BYTES: Final = 2_048


@dataclass(frozen=True, slots=True)
class Block:
    """What an allocation got: where, and how many bytes, its header included."""

    address: int
    size: int


def read_blocks(data: bytes) -> list[Block]:
    """As the engine wrote them down, in the order of their allocation."""
    return [Block(address, size) for address, size in struct.iter_unpack("<II", data)]


def written_units(before: bytes, after: bytes) -> set[int]:
    """Where `after` differs, in units, as far as `before` reaches."""
    found: set[int] = set()
    for page in range(0, len(before), _PAGE):
        old, new = before[page : page + _PAGE], after[page : page + _PAGE]
        if old != new:
            found.update(
                (page + at) // UNIT
                for at in range(0, len(old), UNIT)
                if old[at : at + UNIT] != new[at : at + UNIT]
            )
    return found


def table(blocks: Sequence[Block], written: Iterable[set[int]]) -> bytes:
    """The table for glue/placing.c. `written` are the units that each of some runs wrote to: the blocks that most
    of them wrote to come first.
    """
    owners = _owners(blocks)
    heat: Counter[int] = Counter()
    for units in written:
        heat.update({owners[unit] for unit in units if unit < len(owners)})
    chosen = [number for number in heat if number and blocks[number - 1].size <= _MOST_BYTES]
    offset = 0
    places = []
    for number in sorted(chosen, key=lambda number: (-heat[number], number)):
        places.append((number - 1, offset))
        offset += blocks[number - 1].size
    rows = b"".join(struct.pack("<II", *place) for place in sorted(places))
    return struct.pack("<II", offset, len(places)) + rows


def _owners(blocks: Sequence[Block]) -> array[int]:
    """For each unit of memory: 1 + the last allocation that got it; 0 for none.

    A block's header is in the unit before.
    """
    owners = array("I", bytes(4 * max(-(-(block.address + block.size) // UNIT) for block in blocks)))
    for number, block in enumerate(blocks, 1):
        first, count = block.address // UNIT, block.size // UNIT
        owners[first : first + count] = array("I", [number]) * count
    return owners
