"""Many exchanges at once over one connection between two processes; either side may open them.

The other process may be in a tenant's hands: its frames are bounded and checked, and one that breaks the rules
ends the link. What payloads mean is not known here.

Frame, big-endian:  length u32 | kind u8 | exchange u32 | payload
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

from model.errors import ProcessLost
from processes.exchange import FROM_OPENER, Exchange, Kind, wake

_log = logging.getLogger("tenantry.links")

_HEADER: Final = struct.Struct("!IBI")
_HEADER_BYTES: Final = _HEADER.size
#: Of one payload: a request's headers and its body up to half a MiB fit.
MAX_PAYLOAD_BYTES: Final = 1 << 20
#: Frames heard in one turn of the loop, so that a peer that floods leaves time for the rest: a read may hold 28,000.
FRAMES_A_TURN: Final = 256
#: Exchanges that the peer has opened and that are not over: more than any process runs.
MAX_ANSWERING: Final = 8_192
#: A peer that has left so much unread will not read at all.
_UNREAD_BYTES: Final = 64 << 20


class Link(asyncio.Protocol):
    """`await connect(sock)`. `name` is the peer's, for the log. `on_open(exchange, question)` answers, in a task
    of its own; `on_change(link)` is told when `ready`, `draining` or `lost` changes.
    """

    def __init__(
        self, name: str, on_open: Callable[[Exchange, bytes], None], on_change: Callable[[Link], None]
    ) -> None:
        self.name = name
        #: What the peer has said of itself.
        self.ready = False
        self.draining = False
        self.lost = False
        #: The transport holds much that the peer has not read.
        self.is_full = False
        self._on_open = on_open
        self._on_change = on_change
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._next = 0
        self._opened: dict[int, Exchange] = {}
        self._answering: dict[int, Exchange] = {}
        self._waiting: list[asyncio.Future[None]] = []
        #: Frames of this turn of the loop. Sent together, they wake the other process once.
        self._unsent: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    async def connect(self, sock: socket.socket) -> None:
        """`sock` is ours from here on. Raises OSError."""
        await self._loop.create_unix_connection(lambda: self, sock=sock)

    @property
    def open_count(self) -> int:
        """Exchanges that were opened here and are not over."""
        return len(self._opened)

    @property
    def is_idle(self) -> bool:
        return not self._opened and not self._answering

    def open(self, question: bytes) -> Exchange:
        """Raises ProcessLost, ValueError when the question is too long."""
        if self.lost or self._transport is None:
            raise ProcessLost("the other process has ended")
        if len(question) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"a question of {len(question)} bytes; at most {MAX_PAYLOAD_BYTES} fit")
        self._next = (self._next + 1) & 0xFFFFFFFF
        exchange = self._opened[self._next] = Exchange(self, self._next, True)
        self.send(Kind.OPEN | FROM_OPENER, self._next, question)
        return exchange

    def say(self, kind: Kind) -> None:
        """READY or DRAINING."""
        self.send(kind, 0, b"")

    def close(self) -> None:
        """After what was sent has gone out."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    # -- of exchanges --------------------------------------------------------------------------------

    def send(self, kind: int, number: int, payload: bytes) -> None:
        if self._transport is None or self.lost:
            return
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(_HEADER.pack(len(payload), kind, number))
        if payload:
            self._unsent.append(payload)

    def forget(self, exchange: Exchange, number: int) -> None:
        (self._opened if exchange.opened_here else self._answering).pop(number, None)
        if self.draining and self.is_idle:
            self._on_change(self)

    def wait_for_room(self, waiter: asyncio.Future[None]) -> None:
        self._waiting.append(waiter)

    # -- asyncio.Protocol ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(1 << 20)

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            wake(waiter)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        frames = 0
        while size - at >= _HEADER_BYTES:
            if frames == FRAMES_A_TURN:
                self._go_on_later(data[at:])
                return
            frames += 1
            length, kind, number = _HEADER.unpack_from(data, at)
            if length > MAX_PAYLOAD_BYTES:
                self._break(f"a frame of {length} bytes")
                return
            end = at + _HEADER_BYTES + length
            if end > size:
                break
            if not self._heard(kind, number, data[at + _HEADER_BYTES : end]):
                self._break(f"a frame of kind {kind:#x} out of place")
                return
            at = end
        self._rest = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.resume_writing()
        for exchange in [*self._opened.values(), *self._answering.values()]:
            exchange.lost()
        self._opened.clear()
        self._answering.clear()
        self._on_change(self)

    def _heard(self, kind: int, number: int, payload: bytes) -> bool:
        if kind & FROM_OPENER:
            kind &= ~FROM_OPENER
            if kind == Kind.OPEN:
                if number in self._answering or len(self._answering) >= MAX_ANSWERING:
                    return False
                exchange = self._answering[number] = Exchange(self, number, False)
                self._on_open(exchange, payload)
                return True
            known = self._answering.get(number)
        elif kind in (Kind.READY, Kind.DRAINING):
            self.ready = True
            self.draining = self.draining or kind == Kind.DRAINING
            self._on_change(self)
            return True
        else:
            known = self._opened.get(number)
        # An exchange that is over here may still be spoken of there.
        return known is None or known.heard(kind, payload)

    def _go_on_later(self, rest: bytes) -> None:
        self._rest = rest
        if self._transport is not None:
            self._transport.pause_reading()
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        transport = self._transport
        if transport is not None and not self.lost and not transport.is_closing():
            transport.resume_reading()
            self.data_received(b"")

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        transport = self._transport
        if transport is None or self.lost or not unsent:
            return
        transport.write(b"".join(unsent))
        if self.is_full and transport.get_write_buffer_size() > _UNREAD_BYTES:
            self._break("it does not read")

    def _break(self, why: str) -> None:
        _log.error("the link to %s is broken off: %s", self.name, why)
        if self._transport is not None:
            self._transport.abort()
