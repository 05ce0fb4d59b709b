"""The events that run now, their deadlines, and one sweeper for all of them.

A timer for each event would cost two heap operations a request; a sweep looks at each event that is awake 20 times a
second instead, so a wall limit is kept to 50 ms. The sweep also passes on what long events have logged. An event that
waits for a host operation logs nothing: it sleeps, and is looked at again when it goes on, or its last second has
come. So 5,000 that wait cost the loop nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from model.tree_budget import TreeBudget
from runtime.memory_budget import NONE, SHED_ABOVE, decide, resident_bytes
from runtime.metering import MEMORY, SHUTDOWN, WALL
from runtime.sandbox import Sandbox

_log = logging.getLogger("tenantry.runtime")

_SWEEP_S: Final = 0.05
#: Of one that sleeps: it doesn't.
_AWAKE: Final = -1


class Doomable(Protocol):
    def doom(self, why: str) -> None: ...

    def drain_lines(self) -> None: ...


class Running:
    """One event under way. `deadline_s` is monotonic."""

    __slots__ = ("budget", "deadline_s", "ends", "event", "events", "sandbox", "second", "why")

    def __init__(self, events: RunningEvents, sandbox: Sandbox, event: Doomable, deadline_s: float) -> None:
        self.events = events
        self.sandbox = sandbox
        self.event = event
        self.deadline_s = deadline_s
        self.why = WALL
        #: What it has together with those that called it.
        self.budget: TreeBudget | None = None
        #: It was told to, for its memory.
        self.ends = False
        #: While it sleeps: the second in which it is to be looked at.
        self.second = _AWAKE

    def go_on(self, time_s: float, why: str) -> None:
        """Nobody waits for it any more: from now on it has so much time, once, instead of the wall limit. `why` is the
        word for its end.
        """
        if self.why != WALL:
            return
        self.wake()
        self.why = why
        self.deadline_s = time.monotonic() + time_s
        if self.budget is not None:
            self.deadline_s = min(self.deadline_s, self.budget.ends_at_s)

    def wake(self) -> None:
        """It goes on, or something else about it has changed."""
        if self.second != _AWAKE:
            self.events.wake(self)


class RunningEvents:
    """`memory_share_bytes`: what this process may have resident; None: no budget is kept. `on_shed` is told,
    when it changes, which tenants are to get no new events; `on_unexplained`, that the process holds too much that
    no running event accounts for (with the bytes), at every look.
    """

    def __init__(
        self,
        memory_share_bytes: int | None = None,
        on_shed: Callable[[frozenset[str]], None] = lambda tenants: None,
        on_unexplained: Callable[[int], None] = lambda resident: None,
    ) -> None:
        self._awake: set[Running] = set()
        #: Those that wait, by the second before their deadline.
        self._asleep: dict[int, set[Running]] = {}
        self._sleeping = 0
        self._sweeper: asyncio.Task[None] | None = None
        self._memory_share_bytes = memory_share_bytes
        self._on_shed = on_shed
        self._on_unexplained = on_unexplained
        self._shed: frozenset[str] = frozenset()
        #: Bytes of events that have ended and are being deleted, kept while memory is short.
        self._leaving: dict[Running, int] = {}
        self._is_short = False

    def __len__(self) -> int:
        return len(self._awake) + self._sleeping

    def __iter__(self) -> Iterator[Running]:
        return itertools.chain(self._awake, *self._asleep.values())

    def add(self, sandbox: Sandbox, event: Doomable, deadline_s: float) -> Running:
        running = Running(self, sandbox, event, deadline_s)
        self._awake.add(running)
        return running

    def remove(self, running: Running) -> None:
        """It has ended. Its sandbox is not deleted yet: `gone` comes when it is."""
        running.wake()
        self._awake.discard(running)
        if self._is_short:
            self._leaving[running] = running.sandbox.memory_estimate()

    def gone(self, running: Running) -> None:
        if self._leaving:
            self._leaving.pop(running, None)

    def start(self) -> None:
        """Begin to sweep, on the running loop."""
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            for second in [second for second in self._asleep if second <= now]:
                for running in list(self._asleep[second]):
                    self.wake(running)
            for running in list(self._awake):
                if now > running.deadline_s:
                    running.event.doom(running.why)
                if running.budget is not None:
                    running.budget.settle()
                if running.sandbox.io.lines:
                    try:
                        running.event.drain_lines()
                    except Exception:
                        # Whatever an observer does, wall limits must go on being kept.
                        _log.exception("passing on an event's log lines failed")
                if running.sandbox.is_waiting:
                    self._put_to_sleep(running, now)
            if self._memory_share_bytes is not None:
                self._keep_to_budget(self._memory_share_bytes)

    def _put_to_sleep(self, running: Running, now: float) -> None:
        second = int(running.deadline_s) - 1
        if second <= now:
            return
        self._awake.discard(running)
        self._asleep.setdefault(second, set()).add(running)
        self._sleeping += 1
        running.second = second
        running.sandbox.session.on_resume = running.wake

    def wake(self, running: Running) -> None:
        sleepers = self._asleep[running.second]
        sleepers.remove(running)
        if not sleepers:
            del self._asleep[running.second]
        self._sleeping -= 1
        running.second = _AWAKE
        running.sandbox.session.on_resume = None
        self._awake.add(running)

    def _keep_to_budget(self, share_bytes: int) -> None:
        resident = resident_bytes()
        pressure = NONE
        self._is_short = resident > SHED_ABOVE * share_bytes
        sizes: dict[Running, int] = {}
        if self._is_short:
            held: Counter[str] = Counter()
            leaving = sum(self._leaving.values())
            for running in self:
                size = running.sandbox.memory_estimate()
                if running.ends:
                    leaving += size
                else:
                    sizes[running] = size
                    held[running.sandbox.tenant] += size
            pressure = decide(resident, share_bytes, held, leaving)
        if pressure.shed != self._shed:
            self._shed = pressure.shed
            self._on_shed(pressure.shed)
        if pressure.unexplained:
            self._on_unexplained(resident)
        if pressure.excess:
            self._end_largest(sizes, pressure.excess, resident, share_bytes)

    def _end_largest(self, sizes: dict[Running, int], excess: int, resident: int, share_bytes: int) -> None:
        """One a look would not do: hundreds of events that began at once fill gigabytes in the meantime."""
        ended: Counter[str] = Counter()
        for running in sorted(sizes, key=lambda running: sizes[running], reverse=True):
            if excess <= 0:
                break
            excess -= sizes[running]
            running.ends = True
            running.event.doom(MEMORY)
            ended[running.sandbox.tenant] += 1
        _log.warning(
            "%d MiB resident of a share of %d: ended the %d largest events, of %d tenants (%s most)",
            resident >> 20,
            share_bytes >> 20,
            ended.total(),
            len(ended),
            ended.most_common(1)[0][0] if ended else "none",
        )

    def doom_all(self) -> None:
        """The drain is over: what still runs is ended."""
        for running in list(self):
            running.event.doom(SHUTDOWN)

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing runs; False when something still does after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while len(self):
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.01)
        return True

    def stop(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
