"""The difference between two states of an instance's memory, as bytes to keep and runs to copy. Pure.

A delta is, in little-endian numbers of 32 bits: the memory's pages (of 64 KiB) afterwards; how many runs there are;
for each run its first word and how many words it has; then all the runs' words. A word is 8 bytes, at a multiple of
8. Runs ascend and do not touch. runtime/capi/accelerator/guest.c reads the same.

What lies beyond the first memory's end counts as zero, as it is when a memory has just grown.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

PAGE_BYTES: Final = 64 * 1024
WORD_BYTES: Final = 8
#: Of the bytes to keep: what a top level may leave behind. It is copied for every event, and kept in memory.
MOST_BYTES: Final = 16 << 20
#: A memory of 32 bits.
_MOST_PAGES: Final = 65_536

_HEAD: Final = struct.Struct("<II")
_RUN: Final = struct.Struct("<II")
_BLOCK_BYTES: Final = 4096
_PIECE_BYTES: Final = 128
#: A run's head takes as much room as one word, so one that has not changed is carried along.
_GAP_WORDS: Final = 1


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
    runs: list[int] = []
    data: list[bytes] = []
    size = _HEAD.size
    for first, end in _changed(base, memory):
        runs += (first, end - first)
        data.append(memory[first * WORD_BYTES : end * WORD_BYTES])
        size += _RUN.size + (end - first) * WORD_BYTES
        if size > most_bytes:
            raise DeltaTooLarge(
                f"what runs at the top level leaves more than {most_bytes >> 20} MiB of changed memory behind, the most"
                " that is kept: make large tables when they are first needed, or keep them in KV"
            )
    heads = struct.pack(f"<{len(runs)}I", *runs)
    return b"".join((_HEAD.pack(len(memory) // PAGE_BYTES, len(data)), heads, *data))


def _changed(base: bytes, memory: bytes) -> Iterator[tuple[int, int]]:
    """(first word, the word after the last) of each run."""
    first = end = -1 - _GAP_WORDS
    for word in _changed_words(base, memory):
        if word <= end + _GAP_WORDS:
            end = word + 1
            continue
        if end > 0:
            yield first, end
        first, end = word, word + 1
    if end > 0:
        yield first, end


def _changed_words(base: bytes, memory: bytes) -> Iterator[int]:
    """In pieces that get smaller: to compare large ones costs next to nothing, and most are equal."""
    zeros = bytes(_BLOCK_BYTES)
    for at in range(0, len(memory), _BLOCK_BYTES):
        new = memory[at : at + _BLOCK_BYTES]
        old = base[at : at + _BLOCK_BYTES] or zeros
        if new == old:
            continue
        for piece in range(0, _BLOCK_BYTES, _PIECE_BYTES):
            a, b = new[piece : piece + _PIECE_BYTES], old[piece : piece + _PIECE_BYTES]
            if a != b:
                word = (at + piece) // WORD_BYTES
                pairs = enumerate(zip(_words(a), _words(b), strict=True), word)
                yield from [index for index, (x, y) in pairs if x != y]


_words: Final = struct.Struct(f"<{_PIECE_BYTES // WORD_BYTES}Q").unpack


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
    if pages > _MOST_PAGES or start > len(delta):
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
