"""uvicorn as a part of a process of ours: given sockets, an existing loop, and no signals.

uvicorn's own `serve` takes SIGTERM, and raises it again after its graceful stop, which would end the
process before it has flushed; and it decides which tasks run. Both are the process's to decide here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket  # noqa: TID251 - for listeners that are handed in; none is made here
import time
from collections.abc import Generator, Sequence
from email.utils import formatdate
from typing import Any, Final

import uvicorn

from edge.door import Door, DoorLimits
from edge.first_step import FirstSteps
from edge.protocol import DoorConfig, DoorProtocol

#: 16,384 connections in half a second.
_SWEPT_AT_ONCE: Final = 256
_SWEEP_PAUSE_S: Final = 0.008


class DoorServer(uvicorn.Server):
    """`await start(sockets)`, … `begin_drain()`, `await drained(…)`, `close()`.

    `date_header` is off by default, though it costs but 0.4 µs a response: uvicorn would add it to the one
    that a worker passes through from its origin. Whoever receives a response may add it (RFC 9110 §6.6.1).

    `at_once`: only a request that waits for something becomes a task. For an app that keeps the rule of
    `edge.first_step`.
    """

    def __init__(
        self,
        app: Any,
        *,
        limits: DoorLimits | None = None,
        date_header: bool = False,
        at_once: bool = False,
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
        self._first_steps = FirstSteps(self.server_state.tasks)
        if at_once:
            config.first_steps = self._first_steps
        self.servers: list[asyncio.base_events.Server] = []
        self._sweeping: asyncio.TimerHandle | None = None
        self._to_sweep: list[Any] = []
        bounds = self.door.limits
        shortest = min(bounds.header_timeout_s, bounds.keep_alive_s, bounds.rate_window_s, bounds.linger_s)
        self._sweep_every_s = min(1.0, shortest / 4)

    @property
    def connection_count(self) -> int:
        return len(self.server_state.connections)

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on listening `sockets`, which are ours to close from here on. Returns at once."""
        config = self.config
        if not config.loaded:
            config.load()
        self.lifespan = config.lifespan_class(config)
        await self.startup(sockets=list(sockets))
        self._sockets = list(sockets)
        self._sweep()

    def begin_drain(self) -> None:
        """Accept no more; close what is idle; let the rest end with `Connection: close`. Idempotent."""
        if self.door.draining:
            return
        self.door.draining = True
        for sock in self._sockets:
            # The supervisor holds this listener too: closing our copy alone would leave it listening, and
            # its connections waiting for nobody. A successor makes it listen again.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)
        for server in self.servers:
            server.close()
        for sock in self._sockets:
            sock.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()

    async def drained(self, timeout_s: float) -> bool:
        """True when every connection is closed and every request's task has ended; False after the time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        state = self.server_state
        while True:
            # First, so that a connection which was accepted in this turn of the loop is seen.
            await asyncio.sleep(0.02)
            if not (state.connections or state.tasks or self._first_steps):
                return True
            if loop.time() >= deadline:
                return False

    def close(self) -> None:
        """Break off whatever is left: each unfinished visitor's `on_leave` is called soon after."""
        self.begin_drain()
        self.door.closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in list(self.server_state.connections):
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
