"""The difference between two states of an instance's memory, as bytes to keep and runs to copy. Pure.

A delta is, in little-endian numbers of 32 bits: the memory's pages (of 64 KiB) afterwards; how many runs there are;
for each run its first word and how many words it has; then all the runs' words. A word is 8 bytes, at a multiple of
8. Runs ascend and do not touch. runtime/capi/accelerator/guest.c reads the same.

What lies beyond the first memory's end counts as zero, as it is when a memory has just grown.
"""

from __future__ import annotations

import re
import struct
from operator import ne
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
_BLOCK_BYTES: Final = 4096
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


def difference(base: bytes, memory: bytes, most_bytes: int = MOST_BYTES) -> bytes:
    """What makes `memory` of `base`; the same two make the same bytes. Raises DeltaTooLarge.

    Both are whole pages, and memory never shrinks.
    """
    if len(memory) % PAGE_BYTES or len(base) % PAGE_BYTES or len(base) > len(memory):
        raise ValueError(f"memories of {len(base)} and {len(memory)} bytes")
    changed = _changed_words(base, memory)
    runs = _runs(changed, _GAP_WORDS)
    if len(runs) > MOST_RUNS:
        runs = _runs(changed, _WIDE_GAP_WORDS)
    if len(runs) > MOST_RUNS:
        raise DeltaTooLarge(
            f"what runs at the top level changes memory in {len(runs):,} places, and {MOST_RUNS:,} are kept at most:"
            " make large tables when they are first needed, or keep them in KV"
        )
    size = _HEAD.size + sum(_RUN.size + (end - first) * WORD_BYTES for first, end in runs)
    if size > most_bytes:
        raise DeltaTooLarge(
            f"what runs at the top level leaves more than {most_bytes >> 20} MiB of changed memory behind, the most"
            " that is kept: make large tables when they are first needed, or keep them in KV"
        )
    heads = [_RUN.pack(first, end - first) for first, end in runs]
    data = [memory[first * WORD_BYTES : end * WORD_BYTES] for first, end in runs]
    return b"".join((_HEAD.pack(len(memory) // PAGE_BYTES, len(runs)), *heads, *data))


def _runs(changed: bytes, gap: int) -> list[tuple[int, int]]:
    """(first word, the word after the last) of each stretch of changed words; at most `gap` others are in between."""
    # Nothing that was taken is given back: a run of a million words takes no memory while it is found.
    pattern = re.compile(rb"\x01++(?:\x00{1,%d}+\x01++)*+" % gap)
    runs = []
    at = changed.find(1)
    while at >= 0:
        found = pattern.match(changed, at)
        assert found is not None  # noqa: S101 - it begins with a word that has changed
        runs.append(found.span())
        at = changed.find(1, found.end())
    return runs


def _changed_words(base: bytes, memory: bytes) -> bytes:
    """A byte for each word, 1 where it has changed. Whole blocks are compared first: most are equal."""
    zeros, same = bytes(_BLOCK_BYTES), bytes(_BLOCK_BYTES // WORD_BYTES)
    found = []
    for at in range(0, len(memory), _BLOCK_BYTES):
        new = memory[at : at + _BLOCK_BYTES]
        old = base[at : at + _BLOCK_BYTES] or zeros
        found.append(same if new == old else bytes(map(ne, _words(new), _words(old))))
    return b"".join(found)


_words: Final = struct.Struct(f"<{_BLOCK_BYTES // WORD_BYTES}Q").unpack


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
