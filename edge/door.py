"""What the connections of one server share: their limits, and whether they are being shown out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from model.hostname import Hostname


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """What one connection may do. Bounds are inclusive; times are seconds."""

    #: Request line and header fields together, as sent; a chunked body's trailers again as much.
    header_bytes: int = 64 * 1024
    header_count: int = 128
    #: From the connection, or a later request's first byte, to the end of its headers.
    header_timeout_s: float = 10.0
    #: Between two requests. Longer than the 60 s that load balancers keep theirs, so that it is they who
    #: close first and none sends a request into a connection that is being closed.
    keep_alive_s: float = 75.0
    #: Bytes a second, at least, that a visitor takes of a response that waits for it, and sends of a body that
    #: is waited for: the mean over a window of time.
    min_rate: int = 500
    rate_window_s: float = 30.0
    #: How long the rest of a refused request, or of a body that nobody wants, is read and dropped.
    linger_s: float = 5.0
    #: Requests waiting behind one that is being answered; a 256 KiB read could hold 9,000.
    pipelined: int = 32
    #: Open connections of this process; above it a new one gets 503.
    connections: int = 16_384


_log = logging.getLogger("tenantry.door")


class Visitor:
    """Who waits for one request's response: `scope["extensions"]["tenantry.visitor"]`.

    `on_leave` is the app's to set: called once, on the loop, when the connection is lost before the
    response was complete; `left` is true from then on. After the response nobody is told.
    """

    __slots__ = ("hostname", "left", "on_leave")

    def __init__(self, hostname: Hostname) -> None:
        #: What the Host header says, parsed.
        self.hostname = hostname
        self.left = False
        self.on_leave: Callable[[], None] | None = None


class Door:
    """What all connections of one server share."""

    def __init__(self, limits: DoorLimits) -> None:
        self.limits = limits
        #: Once true, every response says `Connection: close`.
        self.draining = False
        #: Once true, a connection that the kernel had already handed over is broken off, too.
        self.closed = False
        #: By HTTP status: what was refused here, so that no app has counted it.
        self.refused: Counter[int] = Counter()
        #: By "response" and "request": visitors that took the one, or sent the other, too slowly.
        self.slow: Counter[str] = Counter()

    def too_slow(self, direction: str) -> None:
        self.slow[direction] += 1
        _log.info(
            "a visitor moved fewer than %d bytes/s of its %s for %g s: it is ended",
            self.limits.min_rate,
            direction,
            self.limits.rate_window_s,
        )
