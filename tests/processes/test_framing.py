"""Rule: what was encoded comes out again, whole; anything else is a FrameError or nothing, and what comes
after it is not lost.
"""

from __future__ import annotations

import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.framing import (
    MAX_MESSAGE_BYTES,
    PACKET_BYTES,
    PART_BYTES,
    Assembler,
    FrameError,
    Message,
    MessageTooLarge,
    MessageType,
    encode,
)


def note(payload: object) -> Message:
    return Message(MessageType.NOTIFICATION, 0, "k", payload)


OVERHEAD = len(msgpack.packb([0, 0, "k", b"x" * PART_BYTES])) - PART_BYTES


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (0, 1),
        (PART_BYTES - OVERHEAD, 1),
        (PART_BYTES - OVERHEAD + 1, 2),
        (2 * PART_BYTES - OVERHEAD, 2),
        (MAX_MESSAGE_BYTES - OVERHEAD - 2, 256),  # a length above 65,535 takes two bytes more
    ],
)
def test_a_message_is_cut_into_parts_and_put_together(size: int, parts: int) -> None:
    message = note(b"x" * size)
    packets = encode(message, 7, 1)
    assembler = Assembler()
    results = [assembler.feed(packet) for packet in packets]
    assert len(packets) == parts
    assert all(len(packet) <= PACKET_BYTES for packet in packets)
    assert (results[:-1], results[-1]) == ([None] * (parts - 1), message)


@pytest.mark.parametrize("payload", [b"x" * MAX_MESSAGE_BYTES, object(), 1 << 64, {1: {2: {3}}}])
def test_what_does_not_fit_is_refused_where_it_is_sent(payload: object) -> None:
    with pytest.raises(MessageTooLarge):
        encode(note(payload), 7, 1)


def packet(body: bytes, magic: int = 0x7431, part: int = 0, parts: int = 1) -> bytes:
    return struct.pack("!HQIHH", magic, 7, 1, part, parts) + body


GARBAGE = [
    ("empty", b""),
    ("short", b"\x74\x31"),
    ("too long", packet(b"x" * (PART_BYTES + 1))),
    ("another magic", packet(msgpack.packb([0, 0, "k", 1]), magic=1)),
    ("part beyond parts", packet(b"", part=1)),
    ("no parts", packet(b"", parts=0)),
    ("more parts than a message may have", packet(b"", parts=257)),
    ("begins in the middle", packet(b"", part=1, parts=2)),
    ("no MessagePack", packet(b"\xc1")),
    ("cut MessagePack", packet(b"\x94\x00")),
    ("bytes after it", packet(msgpack.packb([0, 0, "k", 1]) + b"\x00")),
    ("nested too deep", packet(b"\x91" * 30_000)),
    ("claims a huge array", packet(b"\xdd\xff\xff\xff\xff")),
    ("not UTF-8", packet(b"\x94\x00\x00\xa1\xff\x00")),
    ("an array as a key", packet(b"\x94\x00\x00\xa1k\x81\x90\x00")),
    ("no array", packet(msgpack.packb({"a": 1}))),
    ("too few", packet(msgpack.packb([0, 0, "k"]))),
    ("a type that is none", packet(msgpack.packb([4, 0, "k", 1]))),
    ("a negative type", packet(msgpack.packb([-1, 0, "k", 1]))),
    ("a kind that is no text", packet(msgpack.packb([0, 0, b"k", 1]))),
    ("an id that is no number", packet(msgpack.packb([1, "x", "k", 1]))),
]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in GARBAGE])
def test_garbage_is_refused_and_the_next_message_is_read(data: bytes) -> None:
    assembler = Assembler()
    with pytest.raises(FrameError):
        assembler.feed(data)
    assert assembler.feed(encode(note(1), 7, 2)[0]) == note(1)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_no_bytes_do_more_than_be_refused(chunks: list[bytes]) -> None:
    assembler = Assembler()
    for chunk in chunks:
        try:
            assembler.feed(packet(chunk))
        except FrameError:
            pass


def test_a_message_cut_by_a_death_is_dropped_when_the_successor_speaks() -> None:
    assembler = Assembler()
    for part in encode(note(b"x" * 100_000), 7, 1)[:2]:
        assert assembler.feed(part) is None
    assert assembler.feed(encode(note("next"), 8, 1)[0]) == note("next")
    assert assembler.torn == 1


def test_the_rest_of_another_message_does_not_complete_one() -> None:
    assembler = Assembler()
    first, second = encode(note(b"a" * 50_000), 7, 1), encode(note(b"b" * 50_000), 7, 2)
    assembler.feed(first[0])
    with pytest.raises(FrameError):
        assembler.feed(second[1])
    with pytest.raises(FrameError):
        assembler.feed(first[1])
