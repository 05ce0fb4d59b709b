"""uvicorn as a part of a process of ours: given sockets, an existing loop, and no signals.

uvicorn's own `serve` takes SIGTERM, and raises it again after its graceful stop, which would end the
process before it has flushed; and it decides which tasks run. Both are the process's to decide here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket  # noqa: TID251 - for listeners that are handed in; none is made here
import time
from collections.abc import Generator, Sequence
from email.utils import formatdate
from typing import Any, Final, Protocol, cast

import uvicorn

from edge.connection import DoorConfig
from edge.cycle import AtOnce
from edge.door import Door, DoorLimits
from edge.first_step import FirstSteps
from edge.protocol import DoorProtocol

_log = logging.getLogger("tenantry.door")

#: 16,384 connections in half a second.
_SWEPT_AT_ONCE: Final = 256
_SWEEP_PAUSE_S: Final = 0.008
#: Connections taken in one turn of the loop of those that are passed on to us.
_TAKEN_AT_ONCE: Final = 32
#: From the answer that says `Connection: close` to whoever asks, to the end of who asks nothing.
_LAST_WORD_S: Final = 0.3
#: What a listener's queue can hold.
_QUEUE: Final = 4_096


class PassedOn(Protocol):
    """Connections that somebody else accepted; readable when there is one."""

    def fileno(self) -> int: ...

    def take(self) -> socket.socket | None: ...


class DoorServer(uvicorn.Server):
    """`await start(sockets)`, … `begin_drain()`, `await drained(…)`, `close()`.

    `date_header` is off by default, though it costs but 0.4 µs a response: uvicorn would add it to the one
    that a worker passes through from its origin. Whoever receives a response may add it (RFC 9110 §6.6.1).

    `at_once`: the same app, as one that goes as far as it can without waiting: only a request that waits for something
    becomes a task. It keeps the rule of `edge.first_step`.
    """

    def __init__(
        self,
        app: Any,
        *,
        limits: DoorLimits | None = None,
        date_header: bool = False,
        at_once: AtOnce | None = None,
    ) -> None:
        config = DoorConfig(
            app,
            http=DoorProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=date_header,
        )
        self.door = config.door = Door(limits or DoorLimits())
        super().__init__(config)
        self._first_steps = config.first_steps = FirstSteps(self.server_state.tasks)
        config.at_once = at_once
        self.servers: list[asyncio.base_events.Server] = []
        self._sockets: list[socket.socket] = []
        self._passed_on: PassedOn | None = None
        #: Connections that are being made of sockets.
        self._arriving: set[asyncio.Task[Any]] = set()
        self._last_word: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._to_sweep: list[Any] = []
        bounds = self.door.limits
        shortest = min(bounds.header_timeout_s, bounds.keep_alive_s, bounds.rate_window_s, bounds.linger_s)
        self._sweep_every_s = min(1.0, shortest / 4)

    @property
    def connection_count(self) -> int:
        return len(self.server_state.connections)

    async def start(self, sockets: Sequence[socket.socket], passed_on: PassedOn | None = None) -> None:
        """Accept on listening `sockets`, which are ours to close from here on, and take from `passed_on`. Returns
        at once.
        """
        config = self.config
        if not config.loaded:
            config.load()
        self.lifespan = config.lifespan_class(config)
        await self.startup(sockets=list(sockets))
        self._sockets = list(sockets)
        if passed_on is not None:
            self._passed_on = passed_on
            asyncio.get_running_loop().add_reader(passed_on.fileno(), self._take, passed_on)
        self._sweep()

    def _take(self, passed_on: PassedOn) -> None:
        for _ in range(_TAKEN_AT_ONCE):
            sock = passed_on.take()
            if sock is None:
                return
            self._arrive(sock)

    def _arrive(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(self._protocol, sock))
        self._arriving.add(task)
        task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[Any]) -> None:
        self._arriving.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.info("a connection that was passed on broke off: %s", task.exception())

    def _protocol(self) -> DoorProtocol:
        return DoorProtocol(self.config, self.server_state, self.lifespan.state)

    def begin_drain(self) -> None:
        """Answer who waits in the queue, then accept no more; let all end with `Connection: close`. Idempotent.

        Whoever holds the listener, too, may accept on it from here on: it goes on to listen.
        """
        if self.door.draining:
            return
        self.door.draining = True
        loop = asyncio.get_running_loop()
        if self._passed_on is not None:
            loop.remove_reader(self._passed_on.fileno())
        for sock in self._sockets:
            # Else, if nobody else holds it, closing it would reset them.
            with contextlib.suppress(OSError):
                for _ in range(_QUEUE):
                    self._arrive(sock.accept()[0])
        for server in self.servers:
            server.close()
        for sock in self._sockets:
            sock.close()
        for connection in self._connections():
            connection.announce_close()
        self._last_word = loop.call_later(_LAST_WORD_S, self._close_idle)

    def _close_idle(self) -> None:
        """Not at once: who asks again meanwhile is told, and nobody's request meets a closed connection."""
        self._last_word = None
        for connection in self._connections():
            connection.shutdown()

    def _connections(self) -> list[DoorProtocol]:
        return cast("list[DoorProtocol]", list(self.server_state.connections))

    async def drained(self, timeout_s: float) -> bool:
        """True when every connection is closed and every request's task has ended; False after the time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        state = self.server_state
        while True:
            # First, so that a connection which was accepted in this turn of the loop is seen.
            await asyncio.sleep(0.02)
            busy = self._arriving or state.connections or state.tasks or self._first_steps
            if not busy:
                return True
            if loop.time() >= deadline:
                return False

    def close(self) -> None:
        """Break off whatever is left: each unfinished visitor's `on_leave` is called soon after."""
        self.begin_drain()
        if self._last_word is not None:
            self._last_word.cancel()
            self._last_word = None
        self.door.closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in self._connections():
            transport = connection.transport
            if transport is not None:
                transport.abort()

    def _sweep(self) -> None:
        """A few hundred connections a turn: thousands at once would hold every request up for 10 ms."""
        loop = asyncio.get_running_loop()
        waiting = self._to_sweep or list(self.server_state.connections)
        now = loop.time()
        for connection in waiting[:_SWEPT_AT_ONCE]:
            # Since the list was made it may have gone.
            if isinstance(connection, DoorProtocol) and connection in self.server_state.connections:
                connection.sweep(now)
        self._to_sweep = waiting[_SWEPT_AT_ONCE:]
        pause_s = _SWEEP_PAUSE_S if self._to_sweep else self._sweep_every_s
        self._sweeping = loop.call_later(pause_s, self._sweep)
        if self.config.date_header:
            date = formatdate(time.time(), usegmt=True).encode()
            self.server_state.default_headers = [(b"date", date)]

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """No handler is set and no signal raised again, even if someone calls uvicorn's `serve`."""
        yield
