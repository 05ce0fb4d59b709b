"""Queues in PostgreSQL: the QueueStorage of many machines.

Consumers of any number of processes lease from one queue without waiting for each other (`SKIP LOCKED`), and there
is no leader: what is ready is found by tickets (`queues_0001_initial.sql` says how). A send anywhere wakes all.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from model.capabilities import QueueMessage
from model.clock import unix_ms
from storage.failures import StorageError
from storage.migrations import load_queries
from storage.postgres.connection import PgDatabase, PgRow, PgTransaction
from storage.postgres.queue_sender import QueueSender, turn_of
from storage.postgres.schema import POSTGRES_SQL, PgMigrations
from storage.postgres.signals import PgSignals
from storage.queue_protocol import (
    BACKLOG_BYTES,
    RETENTION_MS,
    SWEEP_ROWS,
    Backlog,
    DeadLettering,
    Lease,
    ReadyQueue,
    Settled,
    StoredMessage,
    nobody,
)

LOG = logging.getLogger("tenantry.queues")

TOPIC: Final = "queues"


def queue_migrations() -> PgMigrations:
    return PgMigrations.load("queues")


class PgQueueStore:
    """Use from one running event loop; `close` there. Its methods are QueueStorage's."""

    def __init__(
        self,
        database: PgDatabase,
        signals: PgSignals,
        now_ms: Callable[[], int] = unix_ms,
        *,
        retention_ms: int = RETENTION_MS,
        backlog_bytes: int = BACKLOG_BYTES,
    ) -> None:
        self._database = database
        self._signals = signals
        self._now_ms = now_ms
        self._retention_ms = retention_ms
        self._sql = load_queries("queues", POSTGRES_SQL)
        self._sender = QueueSender(database, self._sql, backlog_bytes)
        self.on_send: Callable[[str], None] = nobody
        signals.on(TOPIC, lambda: self.on_send(""))

    async def close(self) -> None:
        """What was begun is finished. The database and the signals are their owner's to close."""
        await self._sender.close()

    @property
    def now_ms(self) -> int:
        return self._now_ms()

    async def send(self, queue_id: str, messages: Sequence[QueueMessage]) -> list[str]:
        now = self._now_ms()
        ids = await self._sender.send(queue_id, messages, now, now + self._retention_ms)
        self._told(queue_id)
        return ids

    async def ready_queues(self) -> list[ReadyQueue]:
        rows = await self._database.fetch(self._sql["ready_queues"], self._now_ms())
        return [ReadyQueue(row[0], row[1]) for row in rows]

    async def ready_count(self, queue_id: str, at_most: int) -> int:
        rows = await self._database.fetch(self._sql["ready_count"], queue_id, self._now_ms(), at_most)
        return int(rows[0][0])

    async def lease(
        self, queue_id: str, count: int, lease_ms: int, used_up: DeadLettering | None = None
    ) -> Lease | None:
        now = self._now_ms()
        lease_id = uuid.uuid4()
        ends = now + lease_ms
        tried = False

        async def work(tx: PgTransaction) -> list[PgRow]:
            nonlocal tried
            taken: dict[int, PgRow] = {}
            if tried:  # it may have been committed before, and nobody was told
                taken = {row[0]: row for row in await tx.fetch(self._sql["leased"], lease_id, queue_id)}
            tried = True
            while len(taken) < count:
                found = await tx.fetch(self._sql["lease"], queue_id, now, count - len(taken), lease_id, ends)
                # Ready again though its deliveries were spent: each of them ended with its process.
                spent = [row[0] for row in found if used_up is not None and row[3] > used_up.max_attempts]
                taken |= {row[0]: row for row in found if row[0] not in spent}
                if not spent or used_up is None:
                    break
                await self._end(tx, spent, queue_id, used_up, now)
            return [taken[sequence] for sequence in sorted(taken)]

        taken = await self._database.write(work, repeatable=True)
        return Lease(lease_id.hex, queue_id, ends, tuple(map(_message, taken))) if taken else None

    async def renew(self, lease: Lease, lease_ms: int) -> int:
        ends = self._now_ms() + lease_ms

        async def work(tx: PgTransaction) -> int:
            await tx.execute(self._sql["add_tickets"], [ends], [lease.queue_id])
            return await tx.execute(self._sql["renew"], uuid.UUID(lease.id), lease.queue_id, ends)

        return await self._database.write(work, repeatable=True)

    async def settle(
        self, lease: Lease, acknowledged: Sequence[str], retried: Mapping[str, int], used_up: DeadLettering
    ) -> Settled:
        now = self._now_ms()

        async def work(tx: PgTransaction) -> Settled:
            rows = await tx.fetch(self._sql["of_lease"], uuid.UUID(lease.id), lease.queue_id)
            held = {row[1].hex: (row[0], row[2]) for row in rows}
            done = [held.pop(message_id)[0] for message_id in acknowledged if message_id in held]
            again: dict[int, int] = {}
            spent: list[int] = []
            for message_id, delay_s in retried.items():
                if message_id not in held:
                    continue
                sequence, attempts = held.pop(message_id)
                if attempts < used_up.max_attempts:
                    again[sequence] = now + delay_s * 1000
                else:
                    spent.append(sequence)
            if done:
                await tx.execute(self._sql["remove"], done)
            if again:
                await tx.execute(self._sql["retry"], list(again), list(again.values()))
                queues = [lease.queue_id] * len(again)
                await tx.execute(self._sql["add_tickets"], list(again.values()), queues)
            lettered = await self._end(tx, spent, lease.queue_id, used_up, now) if spent else False
            return Settled(
                len(done), len(again), len(spent) if lettered else 0, 0 if lettered else len(spent)
            )

        settled = await self._database.write(work, repeatable=True)
        if settled.dead_lettered and used_up.queue_id is not None:
            self._told(used_up.queue_id)
        if settled.retried:
            self._told(lease.queue_id)
        return settled

    def backlog(self, queue_id: str) -> Awaitable[Backlog]:
        return self._backlog(queue_id)

    async def stored(self, queue_id: str) -> tuple[int, int]:
        held = await self._backlog(queue_id)
        return held.messages, held.bytes

    async def _backlog(self, queue_id: str) -> Backlog:
        rows = await self._database.fetch(self._sql["backlogs"], [queue_id])
        return Backlog(rows[0][1], rows[0][2]) if rows else Backlog()

    async def peek(self, queue_id: str, count: int) -> list[StoredMessage]:
        rows = await self._database.fetch(self._sql["peek"], queue_id, self._now_ms(), count)
        return [_message(row) for row in rows]

    async def purge(self, queue_id: str) -> int:
        last = (await self._database.fetch(self._sql["last_sequence"]))[0][0]

        async def work(tx: PgTransaction) -> int:
            return await self._remove(tx, self._sql["some_of_queue"], queue_id, last, SWEEP_ROWS)

        return await self._all_of(work)

    async def delete_queue(self, queue_id: str) -> int:
        async def work(tx: PgTransaction) -> int:
            await tx.execute(self._sql["bury_turn"], turn_of(queue_id))
            await tx.execute(self._sql["bury_queue"], queue_id)
            removed = await self._remove(tx, self._sql["some_of_queue"], queue_id, (1 << 63) - 1, SWEEP_ROWS)
            if not removed:
                await tx.execute(self._sql["forget_backlog"], queue_id)
            return removed

        return await self._all_of(work)

    async def sweep(self) -> int:
        now = self._now_ms()

        async def work(tx: PgTransaction) -> int:
            await tx.execute(self._sql["prune_tickets"], now)
            return await self._remove(tx, self._sql["expired"], now, SWEEP_ROWS)

        return await self._database.write(work, repeatable=True)

    async def sweep_forever(self, interval_s: float = 60.0) -> None:
        while True:
            try:
                swept = await self.sweep()
            except StorageError as error:
                LOG.warning("messages past their retention were not swept: %s", error)
                swept = 0
            await asyncio.sleep(0 if swept == SWEEP_ROWS else interval_s)

    async def _all_of(self, work: Callable[[PgTransaction], Awaitable[int]]) -> int:
        total = 0
        while removed := await self._database.write(work, repeatable=True):
            total += removed
        return total

    async def _remove(self, tx: PgTransaction, which_sql: str, *args: object) -> int:
        sequences = [row[0] for row in await tx.fetch(which_sql, *args)]
        if sequences:
            await tx.execute(self._sql["remove"], sequences)
        return len(sequences)

    async def _end(
        self, tx: PgTransaction, spent: Sequence[int], queue_id: str, used_up: DeadLettering, now: int
    ) -> bool:
        """Dead-letter these; False when they were deleted, for want of a queue to move them to."""
        target = used_up.queue_id
        if target is not None:
            await tx.execute(self._sql["share_queues"], [turn_of(target)])
            if await tx.fetch(self._sql["deleted_of"], [target]):
                target = None
        if target is None:
            await tx.execute(self._sql["remove"], spent)
            return False
        await tx.execute(self._sql["dead_letter"], spent, target, now, now + self._retention_ms, queue_id)
        await tx.execute(self._sql["add_tickets"], [now], [target])
        return True

    def _told(self, queue_id: str) -> None:
        self.on_send(queue_id)
        self._signals.tell(TOPIC)


def _message(row: PgRow) -> StoredMessage:
    _, message_id, sent, attempts, content_type, body = row
    return StoredMessage(message_id.hex, sent, attempts, content_type, body)
