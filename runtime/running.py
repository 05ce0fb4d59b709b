"""The events that run now, their deadlines, and one sweeper for all of them.

A timer for each event would cost two heap operations a request; a sweep looks at each running event 20 times
a second instead, so a wall limit is kept to 50 ms. The sweep also passes on what long events have logged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final, Protocol

from runtime.metering import SHUTDOWN, WALL
from runtime.sandbox import Sandbox

_log = logging.getLogger("tenantry.runtime")

_SWEEP_S: Final = 0.05


class Doomable(Protocol):
    def doom(self, why: str) -> None: ...

    def drain_lines(self) -> None: ...


class Running:
    """One event under way. `deadline_s` is monotonic."""

    __slots__ = ("deadline_s", "event", "sandbox", "why")

    def __init__(self, sandbox: Sandbox, event: Doomable, deadline_s: float) -> None:
        self.sandbox = sandbox
        self.event = event
        self.deadline_s = deadline_s
        self.why = WALL

    def give_until(self, deadline_s: float, why: str) -> None:
        """A new deadline, and the word for it: after the response has ended, the wall limit counts no more."""
        self.deadline_s = deadline_s
        self.why = why


class RunningEvents:
    def __init__(self) -> None:
        self._running: set[Running] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._running)

    def add(self, sandbox: Sandbox, event: Doomable, deadline_s: float) -> Running:
        running = Running(sandbox, event, deadline_s)
        self._running.add(running)
        return running

    def remove(self, running: Running) -> None:
        self._running.discard(running)

    def start(self) -> None:
        """Begin to sweep, on the running loop."""
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            for running in list(self._running):
                if now > running.deadline_s:
                    running.event.doom(running.why)
                try:
                    running.event.drain_lines()
                except Exception:
                    # Whatever an observer does, wall limits must go on being kept.
                    _log.exception("passing on an event's log lines failed")

    def doom_all(self) -> None:
        """The drain is over: what still runs is ended."""
        for running in list(self._running):
            running.event.doom(SHUTDOWN)

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing runs; False when something still does after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while self._running:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.01)
        return True

    def stop(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
