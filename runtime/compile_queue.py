"""Whose upload is compiled next: one at a time for each owner, owners in turn.

A module that takes minutes to compile (or is made to) holds one slot; its owner's other uploads wait behind
it, and everybody else's go on in the slots that are left.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from model.errors import LoadShed

#: Uploads that may wait; and of one owner.
MAX_WAITING: Final = 64
MAX_WAITING_OF_ONE: Final = 8


class FairQueue:
    """`slots` turns at once, one an owner; at most `waiting` wait, of one owner at most `waiting_of_one`."""

    def __init__(
        self, slots: int, waiting: int = MAX_WAITING, waiting_of_one: int = MAX_WAITING_OF_ONE
    ) -> None:
        self._free = slots
        self._waiting = waiting
        self._waiting_of_one = waiting_of_one
        self._running: set[str] = set()
        #: Owners that wait, the one whose turn was longest ago first.
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Hold a slot. Raises LoadShed when too many wait already."""
        if self._free and owner not in self._running:
            self._take(owner)
        else:
            await self._wait(owner)
        try:
            yield
        finally:
            self._running.discard(owner)
            self._free += 1
            self._next()

    def _take(self, owner: str) -> None:
        self._free -= 1
        self._running.add(owner)

    async def _wait(self, owner: str) -> None:
        queue = self._queues.get(owner)
        if self.waiting >= self._waiting or (queue is not None and len(queue) >= self._waiting_of_one):
            raise LoadShed(
                f"{self.waiting} uploads wait to be compiled; try again when the earlier ones are done",
                retry_after_s=5,
            )
        if queue is None:
            queue = self._queues[owner] = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The slot was given in the same moment: pass it on.
                self._running.discard(owner)
                self._free += 1
                self._next()
            else:
                self._forget(owner, turn)
            raise

    def _forget(self, owner: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues[owner]
        queue.remove(turn)
        if not queue:
            del self._queues[owner]

    def _next(self) -> None:
        for owner in list(self._queues):
            if not self._free:
                return
            if owner in self._running:
                continue
            queue = self._queues[owner]
            turn = queue.popleft()
            if queue:
                self._queues.move_to_end(owner)
            else:
                del self._queues[owner]
            self._take(owner)
            turn.set_result(None)
