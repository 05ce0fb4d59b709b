"""The difference between two states of an instance's memory, as bytes to keep and runs to copy. Pure.

A delta is, in little-endian numbers of 32 bits: the memory's pages (of 64 KiB) afterwards; how many runs there are;
for each run its first word and how many words it has; then all the runs' words. A word is 8 bytes, at a multiple of
8. Runs ascend and do not touch. runtime/capi/accelerator/guest.c reads the same.

What lies beyond the first memory's end counts as zero, as it is when a memory has just grown.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

PAGE_BYTES: Final = 64 * 1024
WORD_BYTES: Final = 8
#: Of the bytes to keep: what a top level may leave behind. It is copied for every event, and kept in memory.
MOST_BYTES: Final = 16 << 20
#: Each is looked at whenever the delta is read. A bundle of half a megabyte leaves 4,000.
MOST_RUNS: Final = 65_536
#: A memory of 32 bits.
_MOST_PAGES: Final = 65_536

_HEAD: Final = struct.Struct("<II")
_RUN: Final = struct.Struct("<II")
#: Of memory, at a time: most are as they were.
BLOCK_BYTES: Final = 4096
_ZEROS: Final = bytes(BLOCK_BYTES)
#: A run's head takes as much room as one word, so one that has not changed is carried along.
_GAP_WORDS: Final = 1
#: Of one that changed memory in very many places.
_WIDE_GAP_WORDS: Final = 8


class DeltaTooLarge(Exception):
    """A top level left more behind than may be kept. The text is for the worker's author."""


class MalformedDelta(ValueError):
    """These bytes are no delta: it was made by something else, or damaged."""


class Run(NamedTuple):
    """`size` bytes of the delta from `start` on belong at `at` of the memory."""

    at: int
    start: int
    size: int


class Delta(NamedTuple):
    memory_bytes: int
    runs: tuple[Run, ...]


class Written(NamedTuple):
    """Part of a memory: `at` and the size are multiples of BLOCK_BYTES."""

    at: int
    data: bytes


def difference(
    base: bytes, memory_bytes: int, written: Sequence[Written], most_bytes: int = MOST_BYTES
) -> bytes:
    """What makes the memory of `memory_bytes` of `base`. Raises DeltaTooLarge.

    `written` ascends, no two of them touch, and what is in none of them is as it was: more or less of what did not
    change makes the same bytes. All are whole pages, and memory never shrinks.
    """
    if memory_bytes % PAGE_BYTES or len(base) % PAGE_BYTES or len(base) > memory_bytes:
        raise ValueError(f"memories of {len(base)} and {memory_bytes} bytes")
    runs = _all_runs(base, written, _GAP_WORDS)
    if len(runs) > MOST_RUNS:
        runs = _all_runs(base, written, _WIDE_GAP_WORDS)
    if len(runs) > MOST_RUNS:
        raise DeltaTooLarge(
            f"what runs at the top level changes memory in more than {MOST_RUNS:,} places, the most that are kept:"
            " make large tables when they are first needed, or keep them in KV"
        )
    size = _HEAD.size + sum(_RUN.size + end - start for _, start, end in runs)
    if size > most_bytes:
        raise DeltaTooLarge(
            f"what runs at the top level leaves more than {most_bytes >> 20} MiB of changed memory behind, the most"
            " that is kept: make large tables when they are first needed, or keep them in KV"
        )
    heads = [
        _RUN.pack((part.at + start) // WORD_BYTES, (end - start) // WORD_BYTES) for part, start, end in runs
    ]
    data = [part.data[start:end] for part, start, end in runs]
    return b"".join((_HEAD.pack(memory_bytes // PAGE_BYTES, len(runs)), *heads, *data))


def _all_runs(base: bytes, written: Sequence[Written], gap: int) -> list[tuple[Written, int, int]]:
    """Whose each is, and its place in that; of more than are kept one more."""
    each = ((part, start, end) for part in written for start, end in _runs(base, part, gap))
    return list(itertools.islice(each, MOST_RUNS + 1))


def _runs(base: bytes, part: Written, gap: int) -> Iterator[tuple[int, int]]:
    """(first byte, the byte after the last) of each stretch of words that changed, with at most `gap` others between
    two of them.
    """
    if base.startswith(part.data, part.at):
        return
    # 0 where all is as it was, and as if more than that had been so before and after it.
    pad = (gap + 1) * WORD_BYTES
    starts = range(0, len(part.data), BLOCK_BYTES)
    changes = b"".join((bytes(pad), *(_changes(base, part, start) for start in starts), bytes(pad)))
    start = 0
    for same in re.finditer(bytes(pad) + b"\0*+", changes):
        # The first whole word of it, and where the last one ends.
        first, end = -(-same.start() // WORD_BYTES) * WORD_BYTES, same.end() // WORD_BYTES * WORD_BYTES
        if end - first >= pad:
            if start:
                yield start - pad, first - pad
            start = end


def _changes(base: bytes, part: Written, start: int) -> bytes:
    """A block xor what was there. Numbers take ten times as long as a look at whether they are needed."""
    at = part.at + start
    old = base[at : at + BLOCK_BYTES] or _ZEROS
    new = part.data[start : start + BLOCK_BYTES]
    if new == old:
        return _ZEROS
    if old == _ZEROS:
        return new
    return (int.from_bytes(old, "little") ^ int.from_bytes(new, "little")).to_bytes(BLOCK_BYTES, "little")


def memory_bytes_of(delta: bytes) -> int:
    """What the memory has afterwards, without a look at the rest. Raises MalformedDelta."""
    if len(delta) < _HEAD.size:
        raise MalformedDelta(f"a delta of {len(delta)} bytes")
    pages: int = _HEAD.unpack_from(delta)[0]
    return pages * PAGE_BYTES


def parse(delta: bytes, most_bytes: int = MOST_BYTES) -> Delta:
    """What it says, checked: every run is within its memory and within `delta`. Raises MalformedDelta."""
    if not _HEAD.size <= len(delta) <= most_bytes:
        raise MalformedDelta(f"a delta of {len(delta)} bytes")
    pages, count = _HEAD.unpack_from(delta)
    start = _HEAD.size + count * _RUN.size
    if pages > _MOST_PAGES or count > MOST_RUNS or start > len(delta):
        raise MalformedDelta(f"a delta of {len(delta)} bytes with {count} runs over {pages} pages")
    runs = []
    least = 0
    for first, words in _RUN.iter_unpack(delta[_HEAD.size : start]):
        at, size = first * WORD_BYTES, words * WORD_BYTES
        if not words or at < least or at + size > pages * PAGE_BYTES or start + size > len(delta):
            raise MalformedDelta(f"a run of {size} bytes at {at}, after {least}, in {pages} pages")
        runs.append(Run(at, start, size))
        start += size
        least = at + size + WORD_BYTES
    if start != len(delta):
        raise MalformedDelta(f"{len(delta) - start} bytes behind the last run")
    return Delta(pages * PAGE_BYTES, tuple(runs))


def apply(base: bytes, delta: bytes) -> bytes:
    """The memory that `delta` is of. Raises MalformedDelta."""
    found = parse(delta)
    if found.memory_bytes < len(base):
        raise MalformedDelta(f"a delta to {found.memory_bytes} bytes, of a memory of {len(base)}")
    memory = bytearray(base.ljust(found.memory_bytes, b"\0"))
    for at, start, size in found.runs:
        memory[at : at + size] = delta[start : start + size]
    return bytes(memory)
