"""A visitor's connection at the door: how long it may last, what it is refused, and how it ends.

The rules of this file:
- Timeouts are a time stamp that `sweep` reads, never a timer per request.
- A refusal never overtakes the answer to an earlier, pipelined request: a visitor would take it for that.
- What is refused ends the connection: after bytes that we did not understand, nothing can be trusted
  to start a request.

Source: RFC 9112 (§9.3 pipelining, §9.6 lingering close).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NoReturn, cast

import uvicorn
from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from edge.cycle import AtOnce
from edge.door import Door, Visitor
from edge.first_step import FirstSteps
from edge.pace import Pace, break_off, moved_bytes
from edge.readiness import Signal

#: Of what a refused visitor goes on sending, read and dropped so that the refusal reaches it: closing
#: with unread bytes makes the kernel send a reset, which discards what the visitor has not yet read.
LINGER_BYTES: Final = 1 << 20
#: The same of an upload that a worker has answered before its end: its visitor did nothing wrong.
EARLY_ANSWER_BYTES: Final = 256 << 20
#: Of nearly all connections; stays empty.
NO_PIPELINE: Final[deque[tuple[RequestResponseCycle, ASGI3Application]]] = deque(maxlen=0)


class DoorConfig(uvicorn.Config):
    """uvicorn's configuration, and the door's."""

    door: Door
    first_steps: FirstSteps
    #: None: each request has a task of its own.
    at_once: AtOnce | None = None


class Refused(Exception):
    """Stops the parser; the protocol holds the answer."""


class DoorConnection(HttpToolsProtocol):
    """What of a connection is not about reading requests from it: `edge.protocol` is that."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        if not isinstance(config, DoorConfig):
            raise TypeError("DoorProtocol runs under DoorServer, whose configuration carries the limits")
        self._door = config.door
        limits = config.door.limits
        self._limits = limits
        self._header_bytes = limits.header_bytes
        self._header_count = limits.header_count
        self._pipelined = limits.pipelined
        self._first_steps = config.first_steps
        self._at_once = config.at_once
        #: The cycle that the visitor waits for now. `self.cycle` is the latest whose headers came, which
        #: is another one when requests are pipelined.
        self._running: RequestResponseCycle | None = None
        #: Made when the first pipelined request comes.
        self.pipeline = NO_PIPELINE
        #: What every request's scope has; it gets a copy.
        self._new_scope: Callable[[], HTTPScope]
        #: Of the head that is being parsed.
        self._host: bytes | None = None
        self._coding: bytes | None = None
        #: Bytes of an unfinished head, the chunk being parsed left out.
        self._head = 0
        self._chunk = 0
        self._body_came = False
        self._overhead = 0
        #: When the present wait began: the head, the silence, or the lingering (loop time).
        self._since = self.loop.time()
        #: Of a response that waits to be taken, and of a body that is waited for.
        self._taking: Pace | None = None
        self._giving: Pace | None = None
        #: Set: nothing more is parsed, and this is the answer to it (b"": none).
        self._refusal: bytes | None = None
        self._lingering = False
        self._dropped = 0
        self._may_drop = LINGER_BYTES

    # -- transport ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            # Of each request: here for the room.
            **dict.fromkeys(("headers", "method", "path", "raw_path", "query_string", "extensions")),
        }
        self._new_scope = scope.copy
        self.flow._is_writable_event = cast(asyncio.Event, Signal(is_set=True))
        if self._door.closed:
            transport.abort()
        elif len(self.connections) > self._limits.connections:
            self._door.refused[503] += 1
            transport.write(_page(503, "Too many connections; try again shortly\n", b"retry-after: 1\r\n"))
            self._refusal = b""
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.pipeline.clear()
        running, self._running = self._running, None
        if running is not None and not running.response_complete:
            _leave(running)

    def announce_close(self) -> None:
        """Say `Connection: close` with the last response that is due, if one is."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and cycle.keep_alive:
            cycle.keep_alive = False
            cycle.transport = cast("asyncio.Transport", ClosingTransport(self, cycle))

    def shutdown(self) -> None:
        """Close, now if nothing is due, else after the last response.

        A visitor whose head has not come whole is waited for, since its request is under way: `sweep`.
        """
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            self.announce_close()
        elif cycle is not None and self.scope is cycle.scope and not self._lingering:
            self.transport.close()

    # -- time --------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Show out whoever has waited too long. `now` is the loop's time; called about once a second."""
        limits = self._limits
        waited = now - self._since
        running = self._running
        if self._lingering:
            if waited > limits.linger_s:
                self.transport.abort()
            return
        cycle = self.cycle
        if self._refusal is None and (cycle is None or self.scope is not cycle.scope):
            # While draining, whoever has sent nothing for a second had no request under way.
            patience = min(1.0, limits.header_timeout_s) if self._door.draining else limits.header_timeout_s
            if waited > patience:
                self._head_late()
            return
        if not self._keeps_up(now) or (running is not None and not running.response_complete):
            return  # else its time is the event's wall limit
        if self._taking is not None:
            self._since = now
        elif waited > (limits.linger_s if cycle is not None and cycle.more_body else limits.keep_alive_s):
            self.transport.close()

    def _keeps_up(self, now: float) -> bool:
        """Whether the visitor takes what waits for it and sends what it has promised fast enough; if not, this
        ends it. While there is nothing to send, or nobody to take what it sends, no time counts.
        """
        cycle = self.cycle
        behind = self.transport.get_write_buffer_size() > 0
        owing = cycle is not None and cycle.more_body and self._refusal is None
        # It was answered already, it may wait to be asked, or it has sent as much as we read ahead.
        if owing and (cycle.response_complete or cycle.waiting_for_100_continue or self.flow.read_paused):
            owing = False
        moved = moved_bytes(self.transport) if behind or owing else None
        if moved is None:
            self._taking = self._giving = None
            return True
        taken, given = moved
        self._taking = (self._taking or Pace(now, taken)) if behind else None
        self._giving = (self._giving or Pace(now, given)) if owing else None
        if self._taking is not None and not self._taking.is_kept(now, taken, self._limits):
            self._door.too_slow("response")
            break_off(self.transport)
            return False
        if self._giving is not None and not self._giving.is_kept(now, given, self._limits):
            self._door.too_slow("request")
            self._refuse(408, "The request's body came too slowly\n")
            self._end_input()
            return False
        return True

    def _head_late(self) -> None:
        if self._head:
            self._refuse(408, "The request's headers did not come in time\n")
            self._end_input()
        else:
            self._refusal = b""
            self.transport.close()

    # -- refusals ----------------------------------------------------------------------------------

    def _head_unfinished(self) -> None:
        if not self._head and self.cycle is not None:
            self._since = self.loop.time()
        self._head += self._chunk
        if self._head > self._header_bytes:
            self._refuse(431, f"Headers are longer than {self._header_bytes} bytes\n")
            self._end_input()

    def _body_unfinished(self) -> None:
        """Chunk extensions and trailers are no body: httptools gathers a trailer until it ends."""
        if self._body_came:
            self._body_came, self._overhead = False, 0
            return
        self._overhead += self._chunk
        if self._overhead > 2 * self._header_bytes:
            self._refuse(431, f"Trailers are longer than {self._header_bytes} bytes\n")
            self._end_input()

    def _weigh_head(self) -> None:
        """The chunk may hold body or other requests too, so this counts what was parsed."""
        size = len(self.url) + 14 + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._header_bytes:
            self._stop(431, f"Headers are longer than {self._header_bytes} bytes\n")

    def _stop(self, status: int, message: str) -> NoReturn:
        """Refuse from within a parser's call-back; the parser is stopped by raising."""
        self._refuse(status, message)
        raise Refused

    def _refuse(self, status: int, message: str) -> None:
        self._door.refused[status] += 1
        self._refusal = _page(status, message)

    def _end_input(self) -> None:
        """Answer the refusal as soon as nothing that came before it is unanswered."""
        cycle = self.cycle
        if cycle is not None and self.scope is cycle.scope and cycle.more_body:
            # The broken bytes are in the body of the latest request: it can never be whole.
            if cycle.response_complete or cycle.response_started:
                self._refusal = b""
            if cycle is self._running:
                self._running = None
                if not cycle.response_complete:
                    _leave(cycle)
            else:
                self.pipeline.popleft()
        if self._running is None or self._running.response_complete:
            self._answer_refusal()

    def _answer_refusal(self) -> None:
        if not self._refusal or not self.transport.can_write_eof():
            self.transport.write(self._refusal or b"")
            self.transport.close()
            return
        self.transport.write(self._refusal)
        self.transport.write_eof()
        self._lingering = True
        self._since = self.loop.time()
        self.flow.resume_reading()

    def linger(self) -> None:
        """Our side is closed; take what still comes of an upload that was answered early, and throw it away.

        Closing with bytes unread would reset the connection, and the reset can overtake the answer
        (RFC 9112 §9.6).
        """
        self._refusal = b""
        self._may_drop = EARLY_ANSWER_BYTES
        self.transport.write_eof()
        self._lingering = True
        self._since = self.loop.time()
        self.flow.resume_reading()

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._lingering and self._dropped > self._may_drop:
            self.transport.abort()


class ClosingTransport:
    """The transport of a response after which the connection is closed: an early answer lingers first."""

    def __init__(self, protocol: DoorConnection, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol.transport, name)

    def close(self) -> None:
        transport = self._protocol.transport
        answered_early = self._cycle.response_complete and self._cycle.more_body
        if answered_early and not transport.is_closing() and transport.can_write_eof():
            self._protocol.linger()
        else:
            transport.close()


def _leave(cycle: RequestResponseCycle) -> None:
    cycle.disconnected = True
    cycle.message_event.set()
    visitor: Visitor = cycle.scope["extensions"]["tenantry.visitor"]  # type: ignore[assignment]
    visitor.left = True
    on_leave, visitor.on_leave = visitor.on_leave, None
    if on_leave is not None:
        on_leave()


def _page(status: int, message: str, extra: bytes = b"") -> bytes:
    body = message.encode()
    head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n" % len(
        body
    )
    return STATUS_LINE[status] + head + extra + b"\r\n" + body
