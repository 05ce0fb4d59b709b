"""What all queues hold together, looked at now and then: for metrics, which may name no queue of its own."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from storage.failures import StorageError, StorageLost
from storage.queue_protocol import QueueTotals, ReadyQueue

_log = logging.getLogger("tenantry.queues")

INTERVAL_S: Final = 5.0


class QueueState(Protocol):
    """What is needed of a queue store."""

    @property
    def now_ms(self) -> int: ...

    async def totals(self) -> QueueTotals: ...

    async def ready_queues(self) -> list[ReadyQueue]: ...


class QueueGauges:
    """As of the last look; its readers raise StorageLost while looking fails, so that no old number is shown."""

    def __init__(self, queues: QueueState) -> None:
        self._queues = queues
        self._seen: tuple[QueueTotals, float] | None = None

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Until cancelled."""
        while True:
            try:
                self._seen = await self._look()
            except StorageError as error:
                self._seen = None
                _log.debug("queues were not looked at: %s (%s)", error.message, error.detail)
            await asyncio.sleep(interval_s)

    def messages(self) -> int:
        return self._last()[0].messages

    def size(self) -> int:
        return self._last()[0].bytes

    def paused(self) -> int:
        return self._last()[0].paused

    def longest_wait_s(self) -> float:
        return self._last()[1]

    async def _look(self) -> tuple[QueueTotals, float]:
        ready = await self._queues.ready_queues()
        waited_ms = self._queues.now_ms - ready[0].ready_since_ms if ready else 0
        return await self._queues.totals(), max(0, waited_ms) / 1000

    def _last(self) -> tuple[QueueTotals, float]:
        if self._seen is None:
            raise StorageLost("queues were not looked at")
        return self._seen
