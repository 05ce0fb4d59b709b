"""What metrics show of all queues: as of the last look, and nothing while looking fails."""

from __future__ import annotations

import asyncio

from bindings.queue_memory import MemoryQueueStorage
from control.queue_gauges import QueueGauges
from model.capabilities import QueueMessage
from model.queues import QueueSettingsChange
from observability.metrics import Counters
from storage.failures import StorageLost
from storage.queue_protocol import QueueTotals
from tests.support.waiting import until


class Queues(MemoryQueueStorage):
    is_away = False

    async def totals(self) -> QueueTotals:
        if self.is_away:
            raise StorageLost("away")
        return await super().totals()


async def test_gauges_are_of_all_queues_and_missing_while_the_store_is_away() -> None:
    now = 1_000_000
    queues = Queues(lambda: now)
    await queues.send("a", [QueueMessage(b"xx", "bytes"), QueueMessage(b"y", "bytes", 3600)])
    await queues.send("paused", [QueueMessage(b"z", "bytes")])
    await queues.change_settings("paused", QueueSettingsChange(delivery_paused=True))
    now += 7_000
    await queues.send("b", [QueueMessage(b"", "bytes")])
    gauges, counters = QueueGauges(queues), Counters()
    counters.gauge("tenantry_queue_longest_wait", gauges.longest_wait_s)
    assert ("tenantry_queue_longest_wait", ()) not in counters.samples()
    looking = asyncio.create_task(gauges.run(0.01))
    await until(lambda: ("tenantry_queue_longest_wait", ()) in counters.samples())
    assert counters.samples()["tenantry_queue_longest_wait", ()] == [7.0]
    assert (gauges.messages(), gauges.size(), gauges.paused()) == (4, 4, 1)
    queues.is_away = True
    await until(lambda: ("tenantry_queue_longest_wait", ()) not in counters.samples())
    queues.is_away = False
    await until(lambda: ("tenantry_queue_longest_wait", ()) in counters.samples())
    looking.cancel()
