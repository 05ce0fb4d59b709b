"""A delta and the memory that it is of make the other memory, byte for byte, and nothing else passes for one."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.javascript.delta import (
    BLOCK_BYTES,
    MOST_BYTES,
    MOST_RUNS,
    PAGE_BYTES,
    DeltaTooLarge,
    MalformedDelta,
    Written,
    apply,
    difference,
    parse,
)


def memory(pages: int, pokes: list[tuple[int, bytes]]) -> bytes:
    made = bytearray(pages * PAGE_BYTES)
    for at, data in pokes:
        at %= len(made)
        made[at : at + len(data)] = data[: len(made) - at]
    return bytes(made)


def whole(base: bytes, changed: bytes) -> bytes:
    """The difference where all of the memory may have been written to."""
    return difference(base, len(changed), [Written(0, changed)])


pokes = st.lists(st.tuples(st.integers(0, 3 * PAGE_BYTES), st.binary(min_size=1, max_size=40)), max_size=30)


@given(base=pokes, changed=pokes, base_pages=st.integers(0, 2), more=st.integers(0, 1))
@settings(max_examples=300, deadline=None)
def test_difference_applied_is_the_other_memory(
    base: list[tuple[int, bytes]], changed: list[tuple[int, bytes]], base_pages: int, more: int
) -> None:
    before = memory(base_pages, base) if base_pages else b""
    after = bytearray(before.ljust((base_pages + more) * PAGE_BYTES, b"\0"))
    for at, data in changed:
        if after:
            at %= len(after)
            after[at : at + len(data)] = data[: len(after) - at]
    delta = whole(before, bytes(after))
    assert apply(before, delta) == bytes(after)
    # Whatever is known of where it was written to: the same bytes.
    assert delta == difference(before, len(after), written_blocks(before, bytes(after), base_pages))
    runs = parse(delta).runs
    assert all(later.at > earlier.at + earlier.size for earlier, later in itertools.pairwise(runs))


def written_blocks(base: bytes, changed: bytes, salt: int) -> list[Written]:
    """The blocks that differ, and every third of those that do not; what touches is one part."""
    parts: list[Written] = []
    for at in range(0, len(changed), BLOCK_BYTES):
        block = changed[at : at + BLOCK_BYTES]
        if block == base[at : at + BLOCK_BYTES].ljust(BLOCK_BYTES, b"\0") and (at // BLOCK_BYTES + salt) % 3:
            continue
        if parts and parts[-1].at + len(parts[-1].data) == at:
            parts[-1] = Written(parts[-1].at, parts[-1].data + block)
        else:
            parts.append(Written(at, block))
    return parts


def every_word(step: int, words: int) -> bytes:
    """A memory of which each `step`th word is not zero, `words` of them."""
    data = (b"\1" + bytes(8 * step - 1)) * words
    return data.ljust(-(-len(data) // PAGE_BYTES) * PAGE_BYTES, b"\0")


@pytest.mark.parametrize(
    ("step", "runs"),
    [
        (2, 1),  # one word between two of them is carried along
        (3, MOST_RUNS),
    ],
)
def test_words_that_did_not_change_are_carried_along_one_at_a_time(step: int, runs: int) -> None:
    assert len(parse(whole(b"", every_word(step, MOST_RUNS))).runs) == runs


@pytest.mark.parametrize(
    ("step", "runs"),
    [
        (3, 1),
        (9, 1),  # eight words between two of them
    ],
)
def test_memory_changed_in_more_places_than_are_kept_has_wider_runs(step: int, runs: int) -> None:
    after = every_word(step, MOST_RUNS + 1)
    delta = whole(b"", after)
    assert len(parse(delta).runs) == runs
    assert apply(b"", delta) == after


def test_memory_changed_in_too_many_places_is_refused() -> None:
    assert len(parse(whole(b"", every_word(10, MOST_RUNS))).runs) == MOST_RUNS
    with pytest.raises(DeltaTooLarge, match="more than 65,536 places"):
        whole(b"", every_word(10, MOST_RUNS + 1))


@pytest.mark.parametrize("at", [0, 1, 7, 8, BLOCK_BYTES - 1, BLOCK_BYTES, PAGE_BYTES - 1])
@pytest.mark.parametrize("before", [0, 0xFF])
def test_one_byte_is_one_word_wherever_it_is(at: int, before: int) -> None:
    base = bytes([before]) * PAGE_BYTES
    after = bytearray(base)
    after[at] ^= 0x10
    delta = whole(base, bytes(after))
    assert [(run.at, run.size) for run in parse(delta).runs] == [(at // 8 * 8, 8)]
    assert apply(base, delta) == bytes(after)


def test_delta_is_as_small_as_what_changed() -> None:
    before = memory(4, [(0, b"x" * 1000)])
    after = memory(4, [(0, b"x" * 1000), (100_000, b"y"), (100_016, b"z"), (200_000, b"w")])
    # Words 12,500 and 12,502 are one run, with the word between; 25,000 is another.
    assert [(run.at, run.size) for run in parse(whole(before, after)).runs] == [
        (100_000, 24),
        (200_000, 8),
    ]
    assert len(whole(before, after)) == 8 + 2 * 8 + 4 * 8
    assert len(whole(before, before)) == 8


def test_memory_that_only_grew_is_eight_bytes() -> None:
    delta = whole(bytes(PAGE_BYTES), bytes(3 * PAGE_BYTES))
    assert (len(delta), parse(delta).memory_bytes) == (8, 3 * PAGE_BYTES)


def test_what_a_top_level_may_leave_behind_is_bounded() -> None:
    full = b"\1" * (MOST_BYTES - 16)
    size = -(-len(full) // PAGE_BYTES) * PAGE_BYTES
    assert len(whole(b"", full.ljust(size, b"\0"))) == MOST_BYTES
    with pytest.raises(DeltaTooLarge, match="more than 16 MiB"):
        whole(b"", (full + b"\1").ljust(size, b"\0"))


def head(pages: int, *runs: tuple[int, int]) -> bytes:
    return struct.pack("<II", pages, len(runs)) + b"".join(struct.pack("<II", *run) for run in runs)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        head(1)[:7],
        head(1) + b"\0",  # a byte behind the last run
        head(65_537),
        head(1, (0, 1)),  # no words
        head(1, (0, 1)) + b"\0" * 7,
        head(1, (0, 1)) + b"\0" * 9,
        head(1, (8192, 1)) + b"\0" * 8,  # the first word behind the memory
        head(1, (8191, 2)) + b"\0" * 16,
        head(1, (0xFFFF_FFFF, 1)) + b"\0" * 8,
        head(1, (0, 0xFFFF_FFFF)) + b"\0" * 8,
        head(1, (0, 0)),
        head(1, (4, 1), (4, 1)) + b"\0" * 16,
        head(1, (4, 1), (0, 1)) + b"\0" * 16,
        head(1, (0, 1), (1, 1)) + b"\0" * 16,  # two that touch are one
        struct.pack("<II", 1, 0xFFFF_FFFF),
    ],
)
def test_what_is_no_delta_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedDelta):
        parse(data)


def test_edges_of_what_is_one() -> None:
    assert parse(head(0)).runs == ()
    assert parse(head(65_536)).memory_bytes == 1 << 32
    assert parse(head(1, (8191, 1)) + b"\0" * 8).runs[0].at == PAGE_BYTES - 8
    with pytest.raises(MalformedDelta):
        parse(head(1) + b"\0" * MOST_BYTES)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_delta_or_refused(data: bytes) -> None:
    try:
        found = parse(data)
    except MalformedDelta:
        return
    assert all(
        run.start + run.size <= len(data) and run.at + run.size <= found.memory_bytes for run in found.runs
    )


def test_delta_to_a_smaller_memory_is_refused() -> None:
    with pytest.raises(MalformedDelta, match="of a memory of"):
        apply(bytes(2 * PAGE_BYTES), head(1))
