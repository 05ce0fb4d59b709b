"""Deliver queues to their consumers: which batch is due, what its verdict means, and the loop that does it.

Every worker process runs one QueueDelivery over the same store. A lease keeps the others off; it is renewed
while the consumer runs, and when the process dies it ends by itself and the messages are ready again. One
query finds the queues with something ready, however many queues there are.

A process runs one batch of a queue at a time, unless its consumer says how many may run at once: then as many as
that, and the store's leases bound them over all processes. Nobody leads: whoever finds room takes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from bindings.delivery_verdict import FAILED, BatchVerdict, QueueBatch, retries_of
from model.clock import monotonic_s
from model.errors import LoadShed, OperationError, PlatformError, PlatformFault
from model.queues import ConsumerRecord
from storage.failures import StorageError
from storage.queue_protocol import DeadLettering, Lease, QueueStorage, ReadyQueue, Settled

LOG = logging.getLogger("tenantry.queues")

#: Runs the consumer on one batch. Raising a PlatformFault says that nothing has run, and uses up nothing; anything else
#: is the worker's failure.
RunBatch = Callable[[ConsumerRecord, QueueBatch], Awaitable[BatchVerdict]]

#: A settle that the disk refused is tried again: the lease keeps the messages meanwhile.
_SETTLE_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """After a kill -9 a message waits up to `lease_s` for its next delivery."""

    lease_s: float = 60.0
    #: Well under a half of `lease_s`, so that one slow renewal loses nothing.
    renew_s: float = 20.0
    #: How soon a message is seen that another process sent, or whose delay is over.
    poll_s: float = 0.2
    #: Sends so soon after the last look are looked at together: a busy producer must not mean a query a message.
    gather_s: float = 0.01
    #: Batches that run in this process at once, over all consumers.
    running: int = 32
    #: Who this process is, of all that deliver: a name that one has only when whoever had it before has died. What
    #: that one was at work on, where batches are counted, is given back at once. "": nobody is known to have died.
    holder: str = ""
    #: When what was not taken is ready again: another process may have room.
    put_back_s: int = 1
    #: For how long a queue is left alone here whose batch was not taken; twice as long each time, up to the second.
    rest_s: float = 1.0
    longest_rest_s: float = 16.0


@dataclass(frozen=True, slots=True)
class Rest:
    """A queue is left alone until `until_s` (monotonic), after a pause of `pause_s`."""

    until_s: float
    pause_s: float


def rest_after(before: Rest | None, settings: DeliverySettings, now_s: float) -> Rest:
    """Of a queue whose batch was just not taken. Batches that ended beside another one make no pause longer. Pure."""
    if before is not None and now_s < before.until_s:
        return before
    pause_s = settings.rest_s if before is None else min(2 * before.pause_s, settings.longest_rest_s)
    return Rest(now_s + pause_s, pause_s)


def by_need(ready: Sequence[ReadyQueue], running: Mapping[str, int]) -> list[ReadyQueue]:
    """Queues with the fewest batches first, and among these as they came, so that one queue's many batches never take
    the place of another's first. Pure.
    """
    return sorted(ready, key=lambda queue: running.get(queue.queue_id, 0))


class QueueDelivery:
    """`run()` in a task of its own; `stop()` ends it. `consumers` answers who consumes what, as of now."""

    def __init__(
        self,
        store: QueueStorage,
        consumers: Callable[[], Sequence[ConsumerRecord]],
        run_batch: RunBatch,
        settings: DeliverySettings = DeliverySettings(),
        on_settled: Callable[[ConsumerRecord, Settled], None] | None = None,
    ) -> None:
        self._store = store
        self._consumers = consumers
        self._run_batch = run_batch
        self._settings = settings
        self._on_settled = on_settled
        self._wake = asyncio.Event()
        #: Batches that run, by queue.
        self._running: dict[str, set[asyncio.Task[bool]]] = {}
        #: Queues of which a batch is being leased: what it takes still counts as ready, so none may begin beside it.
        self._leasing: set[str] = set()
        #: Queues whose last batch was not taken.
        self._rests: dict[str, Rest] = {}
        self._listed: Sequence[ConsumerRecord] = ()
        self._by_queue: dict[str, ConsumerRecord] = {}
        self._stopping = False
        store.on_send = self._sent

    async def run(self) -> None:
        """Until `stop()`. What fails, the disk above all, is logged and tried again at the next turn."""
        is_first = bool(self._settings.holder)
        while not self._stopping:
            self._wake.clear()
            looked = monotonic_s()
            try:
                if is_first:
                    await self._store.give_back(self._settings.holder)
                    is_first = False
                await self._start_due()
            except StorageError as error:
                LOG.warning("queues were not looked at: %s (%s)", error.message, error.detail)
            except Exception:
                # A bug in who lists the consumers must not end delivery for every queue of this process.
                LOG.exception("queues were not looked at")
            try:
                await asyncio.wait_for(self._wake.wait(), self._settings.poll_s)
            except TimeoutError:
                continue
            await asyncio.sleep(max(0.0, looked + self._settings.gather_s - monotonic_s()))

    async def stop(self, drain_s: float) -> None:
        """Start nothing new; let running batches end for `drain_s`, then cancel them.

        Their messages are delivered again once the lease is over.
        """
        self._stopping = True
        self._wake.set()
        running = [task for tasks in self._running.values() for task in tasks]
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=drain_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _sent(self, queue_id: str) -> None:
        self._wake.set()

    async def _start_due(self) -> None:
        ready = await self._store.ready_queues()
        if not ready:
            return
        listed = self._consumers()
        if listed is not self._listed:  # the same object again means that nothing changed
            self._listed, self._by_queue = listed, {consumer.queue_id: consumer for consumer in listed}
            self._rests = {each: rest for each, rest in self._rests.items() if each in self._by_queue}
        running = {queue_id: len(tasks) for queue_id, tasks in self._running.items()}
        places = self._settings.running - sum(running.values())
        for queue in by_need(ready, running):
            if self._stopping or places <= 0:
                return  # a batch that ends wakes us
            consumer = self._by_queue.get(queue.queue_id)
            if consumer is None or queue.queue_id in self._leasing or self._is_resting(queue.queue_id):
                continue
            settings = consumer.settings
            if running.get(queue.queue_id, 0) >= (settings.max_concurrency or 1):
                continue
            waited_ms = self._store.now_ms - queue.ready_since_ms
            if waited_ms < settings.max_wait_ms:
                count = await self._store.ready_count(queue.queue_id, settings.batch_size)
                if count < settings.batch_size:
                    continue
            task = asyncio.create_task(self._deliver(consumer), name=f"deliver {consumer.queue_name}")
            places -= 1
            self._leasing.add(queue.queue_id)
            self._running.setdefault(queue.queue_id, set()).add(task)
            task.add_done_callback(partial(self._ended, queue.queue_id))

    def _is_resting(self, queue_id: str) -> bool:
        rest = self._rests.get(queue_id)
        return rest is not None and monotonic_s() < rest.until_s

    def _ended(self, queue_id: str, task: asyncio.Task[bool]) -> None:
        tasks = self._running[queue_id]
        tasks.discard(task)
        if not tasks:
            del self._running[queue_id]
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            LOG.error("a delivery failed; its messages come again", exc_info=error)
        elif task.result():
            self._wake.set()  # there may be more, here or for a queue that waited for a place

    async def _deliver(self, consumer: ConsumerRecord) -> bool:
        """One batch, from lease to settling; False when another process was faster, or there was no room."""
        settings = consumer.settings
        used_up = DeadLettering(settings.max_retries + 1, settings.dead_letter_queue_id)
        lease_ms = int(self._settings.lease_s * 1000)
        try:
            lease = await self._store.lease(
                consumer.queue_id,
                settings.batch_size,
                lease_ms,
                used_up,
                settings.max_concurrency,
                self._settings.holder,
            )
        finally:
            self._leasing.discard(consumer.queue_id)
        if lease is None:
            return False
        if settings.max_concurrency is not None and settings.max_concurrency > 1:
            self._wake.set()  # there may be enough for another beside it
        renewing = asyncio.create_task(self._keep(lease))
        try:
            verdict = await self._verdict(consumer, lease)
        finally:
            renewing.cancel()
        settled = await self._end(consumer, lease, verdict, used_up)
        if self._on_settled is not None:
            self._on_settled(consumer, settled)
        return True

    async def _verdict(self, consumer: ConsumerRecord, lease: Lease) -> BatchVerdict | None:
        """None: not taken, nothing has run."""
        try:
            return await self._run_batch(consumer, QueueBatch(consumer.queue_name, lease.messages))
        except PlatformFault as fault:
            level = logging.INFO if isinstance(fault, LoadShed) else logging.WARNING
            LOG.log(level, "queue %s: not taken: %s (%s)", consumer.queue_name, fault.message, fault.detail)
            return None
        except (PlatformError, OperationError) as error:
            LOG.info("queue %s: its consumer failed: %s", consumer.queue_name, error.message)
            return FAILED
        except Exception:
            # A bug of ours in whatever runs the batch must cost a delivery, not the messages or the loop.
            LOG.exception("queue %s: running its consumer failed", consumer.queue_name)
            return FAILED

    async def _keep(self, lease: Lease) -> None:
        """Renew until cancelled. A renewal that failed is tried again at the next turn."""
        while True:
            await asyncio.sleep(self._settings.renew_s)
            try:
                await self._store.renew(lease, int(self._settings.lease_s * 1000))
            except StorageError as error:
                LOG.warning("a lease was not renewed: %s (%s)", error.message, error.detail)

    async def _end(
        self, consumer: ConsumerRecord, lease: Lease, verdict: BatchVerdict | None, used_up: DeadLettering
    ) -> Settled:
        if verdict is None:
            rest = rest_after(self._rests.get(consumer.queue_id), self._settings, monotonic_s())
            self._rests[consumer.queue_id] = rest
            return await self._insist(partial(self._store.put_back, lease, self._settings.put_back_s))
        self._rests.pop(consumer.queue_id, None)
        retried = retries_of(
            [message.id for message in lease.messages], verdict, consumer.settings.retry_delay_s
        )
        acknowledged = [message.id for message in lease.messages if message.id not in retried]
        return await self._insist(partial(self._store.settle, lease, acknowledged, retried, used_up))

    async def _insist(self, end: Callable[[], Awaitable[Settled]]) -> Settled:
        tries = 0
        while True:
            try:
                return await end()
            except StorageError:
                tries += 1
                if tries == _SETTLE_TRIES:
                    raise
                await asyncio.sleep(self._settings.poll_s)
