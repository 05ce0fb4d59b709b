"""Messages as packets of a SOCK_SEQPACKET socket, and back. Pure: bytes in, values out.

A packet arrives whole or not at all, so a process that dies or starts in mid-conversation never leaves
half a packet; but a message may be several packets, so each names its sender's incarnation and the
message's number, and a message whose rest never comes is dropped when the next begins.

Packet, big-endian:  magic u16 | incarnation u64 | message u32 | part u16 | parts u16 | bytes
Message, MessagePack: [type, id, kind, payload]
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import msgpack

_HEADER: Final = struct.Struct("!HQIHH")
_MAGIC: Final = 0x7431
#: Bytes of a message in one packet: well under the kernel's default send buffer (208 KiB).
PART_BYTES: Final = 32 * 1024
PACKET_BYTES: Final = _HEADER.size + PART_BYTES
#: Of one message. Decoding may need some 60 times as much, when a peer sends nothing but tiny lists.
MAX_MESSAGE_BYTES: Final = 8 << 20


class FrameError(ValueError):
    """These bytes are no packet, or no message, of ours."""


class MessageTooLarge(ValueError):
    """A payload of ours is over MAX_MESSAGE_BYTES, or MessagePack can't hold it."""


class MessageType(IntEnum):
    NOTIFICATION = 0
    REQUEST = 1
    REPLY = 2
    FAILURE = 3


@dataclass(frozen=True, slots=True)
class Message:
    """`id` ties a reply or failure to its request, and is 0 in a notification."""

    type: MessageType
    id: int
    kind: str
    payload: Any


def encode(message: Message, incarnation: int, number: int) -> list[bytes]:
    """The packets of one message, in order. Raises MessageTooLarge."""
    try:
        data: bytes = msgpack.packb([int(message.type), message.id, message.kind, message.payload])
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageTooLarge(f"{message.kind}: MessagePack cannot hold this payload: {error}") from error
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(f"{message.kind}: {len(data)} bytes; at most {MAX_MESSAGE_BYTES} fit")
    parts = max(1, -(-len(data) // PART_BYTES))
    return [
        _HEADER.pack(_MAGIC, incarnation, number & 0xFFFFFFFF, part, parts)
        + data[part * PART_BYTES : (part + 1) * PART_BYTES]
        for part in range(parts)
    ]


class Assembler:
    """Puts packets of one peer together again. Holds at most one unfinished message."""

    def __init__(self) -> None:
        #: Of the peer that spoke last; None before it ever did.
        self.incarnation: int | None = None
        #: Messages whose rest never came: their sender died, most likely.
        self.torn = 0
        self._parts: list[bytes] = []
        self._expected = (0, 0)

    def feed(self, packet: bytes) -> Message | None:
        """The message that this packet completes. Raises FrameError, after which all may go on."""
        if not _HEADER.size <= len(packet) <= PACKET_BYTES:
            raise FrameError("not the size of a packet")
        magic, incarnation, number, part, parts = _HEADER.unpack_from(packet)
        if magic != _MAGIC or part >= parts or parts > MAX_MESSAGE_BYTES // PART_BYTES:
            raise FrameError("not a packet")
        if self._parts and (incarnation != self.incarnation or part == 0):
            self._parts = []
            self.torn += 1
        self.incarnation = incarnation
        if part != len(self._parts) or (part and (number, parts) != self._expected):
            self._parts = []
            raise FrameError("a part out of order")
        self._expected = (number, parts)
        body = packet[_HEADER.size :]
        if parts > 1:
            self._parts.append(body)
            if len(self._parts) < parts:
                return None
            body = b"".join(self._parts)
            self._parts = []
        return _decode(body)


def _decode(body: bytes) -> Message:
    try:
        fields = msgpack.unpackb(body)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise FrameError(f"no MessagePack: {error}") from error
    match fields:
        case [int(number), int(identifier), str(kind), payload] if 0 <= number <= 3:
            return Message(MessageType(number), identifier, kind, payload)
    raise FrameError("no message")
