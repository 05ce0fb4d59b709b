"""Whether a visitor keeps up the least rate at which it must take a response, or send a body.

Counted by the kernel and read once a second, of those connections alone that have something to move: writing
and reading cost nothing more. Source: tcp(7), struct tcp_info of linux/tcp.h (Linux 4.1 and later).
"""

from __future__ import annotations

import asyncio
import struct
from typing import Final

from edge.door import DoorLimits

_IPPROTO_TCP: Final = 6
_TCP_INFO: Final = 11
#: tcpi_bytes_acked and tcpi_bytes_received.
_COUNTS: Final = struct.Struct("=120xQQ")
_SOL_SOCKET: Final = 1
_SO_LINGER: Final = 13
_NOT_AT_ALL: Final = struct.pack("=ii", 1, 0)


class Pace:
    """One direction of one connection, from when there was something to move."""

    __slots__ = ("_moved", "_since")

    def __init__(self, now: float, moved: int) -> None:
        self._since = now
        self._moved = moved

    def is_kept(self, now: float, moved: int, limits: DoorLimits) -> bool:
        """False when a window has passed in which too little moved. `moved` is the connection's count."""
        passed = now - self._since
        if passed < limits.rate_window_s:
            return True
        kept = moved - self._moved >= limits.min_rate * passed
        self._since, self._moved = now, moved
        return kept


def moved_bytes(transport: asyncio.Transport) -> tuple[int, int] | None:
    """What the other side's kernel has taken, and what ours has received; None where nobody counts."""
    try:
        told = transport.get_extra_info("socket").getsockopt(_IPPROTO_TCP, _TCP_INFO, _COUNTS.size)
    except (OSError, AttributeError):
        return None
    if len(told) < _COUNTS.size:
        return None
    taken, given = _COUNTS.unpack(told)
    return taken, given


def break_off(transport: asyncio.Transport) -> None:
    """Close at once, and have the kernel drop what it still holds for a visitor who does not take it: else that
    would be megabytes, for as long as the visitor likes.
    """
    try:
        transport.get_extra_info("socket").setsockopt(_SOL_SOCKET, _SO_LINGER, _NOT_AT_ALL)
    except (OSError, AttributeError):
        pass  # closed already, or no socket of TCP
    transport.abort()
