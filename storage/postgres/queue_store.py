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
from model.queues import QueueSettings, QueueSettingsChange
from storage.failures import StorageError
from storage.migrations import load_queries
from storage.postgres.connection import PgDatabase, PgRow, PgTransaction
from storage.postgres.queue_rows import Held, PgQueueRows, to_message, to_settings
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
    PulledMessage,
    PullsSettled,
    QueueTotals,
    ReadyQueue,
    Settled,
    StoredMessage,
    deleted_queue,
    is_lease_id,
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
        """`retention_ms`: where a queue says nothing."""
        self._database = database
        self._signals = signals
        self._now_ms = now_ms
        self._sql = load_queries("queues", POSTGRES_SQL)
        self._rows = PgQueueRows(self._sql, retention_ms)
        self._sender = QueueSender(database, self._sql, self._rows.defaults, backlog_bytes)
        self.on_send: Callable[[str], None] = nobody
        signals.on(TOPIC, lambda: self.on_send(""))

    async def close(self) -> None:
        """What was begun is finished. The database and the signals are their owner's to close."""
        await self._sender.close()

    @property
    def now_ms(self) -> int:
        return self._now_ms()

    async def send(self, queue_id: str, messages: Sequence[QueueMessage]) -> list[str]:
        ids = await self._sender.send(queue_id, messages, self._now_ms())
        self._told(queue_id)
        return ids

    async def ready_queues(self) -> list[ReadyQueue]:
        rows = await self._database.fetch(self._sql["ready_queues"], self._now_ms())
        return [ReadyQueue(row[0], row[1]) for row in rows]

    async def ready_count(self, queue_id: str, at_most: int) -> int:
        rows = await self._database.fetch(self._sql["ready_count"], queue_id, self._now_ms(), at_most)
        return int(rows[0][0])

    async def lease(
        self,
        queue_id: str,
        count: int,
        lease_ms: int,
        used_up: DeadLettering | None = None,
        at_most: int | None = None,
        holder: str = "",
    ) -> Lease | None:
        now = self._now_ms()
        lease_id = uuid.uuid4()
        ends = now + lease_ms
        if at_most is not None:
            # Who only looks for room does not wait for those who take it.
            rows = await self._database.fetch(self._sql["count_leases"], queue_id, now, lease_id)
            if int(rows[0][0]) >= at_most:
                return None
        tried = False

        async def work(tx: PgTransaction) -> list[PgRow]:
            nonlocal tried
            if tried:  # it may have been committed before, and nobody was told
                taken = await tx.fetch(self._sql["leased"], lease_id, queue_id)
                if taken:
                    return sorted(taken, key=lambda row: int(row[0]))
            tried = True
            if at_most is not None and not await self._rows.has_room(tx, lease_id, queue_id, now, at_most):
                return []
            taken = await self._rows.take(tx, queue_id, lease_id, count, now, ends, used_up)
            if taken and at_most is not None:
                await tx.execute(self._sql["add_lease"], lease_id, queue_id, ends, holder)
            return taken

        taken = await self._database.write(work, repeatable=True)
        if not taken:
            return None
        return Lease(lease_id.hex, queue_id, ends, tuple(map(to_message, taken)), at_most is not None)

    async def give_back(self, holder: str) -> int:
        now = self._now_ms()

        async def work(tx: PgTransaction) -> list[str]:
            ended = await tx.fetch(self._sql["end_leases_of"], holder)
            for lease_id, queue_id in ended:
                await tx.execute(self._sql["give_back"], lease_id, queue_id, now)
            queues = [str(row[1]) for row in ended]
            if queues:
                await tx.execute(self._sql["add_tickets"], [now] * len(queues), queues)
            return queues

        queues = await self._database.write(work, repeatable=True)
        for queue_id in set(queues):
            self._told(queue_id)
        return len(queues)

    async def renew(self, lease: Lease, lease_ms: int) -> int:
        ends = self._now_ms() + lease_ms

        async def work(tx: PgTransaction) -> int:
            if lease.counted:
                await tx.execute(self._sql["renew_lease"], uuid.UUID(lease.id), ends)
            await tx.execute(self._sql["add_tickets"], [ends], [lease.queue_id])
            return await tx.execute(self._sql["renew"], uuid.UUID(lease.id), lease.queue_id, ends)

        return await self._database.write(work, repeatable=True)

    async def settle(
        self, lease: Lease, acknowledged: Sequence[str], retried: Mapping[str, int], used_up: DeadLettering
    ) -> Settled:
        now = self._now_ms()

        async def work(tx: PgTransaction, held: dict[str, Held]) -> Settled:
            return await self._rows.settle(tx, lease.queue_id, held, acknowledged, retried, used_up, now)

        settled = await self._end(lease, work)
        self._settled(lease.queue_id, settled, used_up)
        return settled

    async def put_back(self, lease: Lease, delay_s: int) -> Settled:
        ready = self._now_ms() + delay_s * 1000

        async def work(tx: PgTransaction, held: dict[str, Held]) -> Settled:
            return await self._rows.put_back(tx, lease.queue_id, held, ready)

        return await self._end(lease, work)

    async def pull(
        self, queue_id: str, count: int, lease_ms: int, used_up: DeadLettering
    ) -> list[PulledMessage]:
        if not await self.ready_count(queue_id, 1):
            return []  # who asks again and again costs one statement
        now = self._now_ms()
        ids = [uuid.uuid4() for _ in range(count)]
        tried = False

        async def work(tx: PgTransaction) -> list[tuple[uuid.UUID, PgRow]]:
            nonlocal tried
            if tried:
                pulled = await tx.fetch(self._sql["pulled"], ids, queue_id)
                if pulled:
                    return [(row[6], row[:6]) for row in pulled]
            tried = True
            taken = await self._rows.take(tx, queue_id, ids[0], count, now, now + lease_ms, used_up)
            if taken:
                await tx.execute(self._sql["own_leases"], [row[0] for row in taken], ids[: len(taken)])
            return list(zip(ids, taken, strict=False))

        pulled = await self._database.write(work, repeatable=True)
        return [PulledMessage(lease_id.hex, to_message(row)) for lease_id, row in pulled]

    async def settle_pulled(
        self, queue_id: str, acknowledged: Sequence[str], retried: Mapping[str, int], used_up: DeadLettering
    ) -> PullsSettled:
        now = self._now_ms()
        named = list(dict.fromkeys([*acknowledged, *retried]))
        before: PullsSettled | None = None

        async def work(tx: PgTransaction) -> PullsSettled:
            nonlocal before
            held = await self._rows.of_pulls(tx, named, queue_id)
            if before is not None and not held:
                return before
            late = tuple(each for each in named if each in held and held[each].ready_at_ms <= now)
            not_held = tuple(each for each in named if each not in held)
            settled = await self._rows.settle(tx, queue_id, held, acknowledged, retried, used_up, now)
            before = PullsSettled(settled, late, not_held)
            return before

        found = await self._database.write(work, repeatable=True)
        self._settled(queue_id, found.settled, used_up)
        return found

    async def settings(self, queue_ids: Sequence[str]) -> dict[str, QueueSettings]:
        rows = await self._database.fetch(self._sql["settings"], list(queue_ids))
        return self._rows.settings_of(rows, queue_ids)

    async def change_settings(self, queue_id: str, change: QueueSettingsChange) -> QueueSettings:
        async def work(tx: PgTransaction) -> PgRow | None:
            if await self._rows.is_deleted(tx, queue_id):
                return None
            rows = await tx.fetch(
                self._sql["change_settings"],
                queue_id,
                change.delivery_paused,
                change.delivery_delay_s,
                change.retention_s,
                self._rows.defaults.retention_s,
            )
            return rows[0]

        row = await self._database.write(work, repeatable=True)
        if row is None:
            raise deleted_queue()
        self._told(queue_id)
        return to_settings(row)

    async def totals(self) -> QueueTotals:
        return QueueTotals(*(await self._database.fetch(self._sql["totals"]))[0])

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
        return [to_message(row, row[1].hex) for row in rows]

    async def remove(self, queue_id: str, refs: Sequence[str]) -> list[str]:
        wanted = [uuid.UUID(ref) for ref in dict.fromkeys(refs) if is_lease_id(ref)]

        async def work(tx: PgTransaction) -> list[str]:
            rows = await tx.fetch(self._sql["of_refs"], wanted, queue_id)
            if rows:
                await tx.execute(self._sql["remove"], [row[0] for row in rows])
            return [row[1].hex for row in rows]

        return await self._database.write(work, repeatable=True)

    async def purge(self, queue_id: str) -> int:
        last = (await self._database.fetch(self._sql["last_sequence"]))[0][0]

        async def work(tx: PgTransaction) -> int:
            return await self._remove(tx, self._sql["some_of_queue"], queue_id, last, SWEEP_ROWS)

        return await self._all_of(work)

    async def delete_queue(self, queue_id: str) -> int:
        async def work(tx: PgTransaction) -> int:
            await tx.execute(self._sql["take_turn"], turn_of(queue_id))
            for statement in ("bury_queue", "forget_settings", "forget_leases"):
                await tx.execute(self._sql[statement], queue_id)
            removed = await self._remove(tx, self._sql["some_of_queue"], queue_id, (1 << 63) - 1, SWEEP_ROWS)
            if not removed:
                await tx.execute(self._sql["forget_backlog"], queue_id)
            return removed

        return await self._all_of(work)

    async def sweep(self) -> int:
        now = self._now_ms()

        async def work(tx: PgTransaction) -> int:
            # First, as whoever settles: the other way round the two could wait for each other.
            await tx.execute(self._sql["sweep_leases"], now)
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

    async def _end(
        self, lease: Lease, end: Callable[[PgTransaction, dict[str, Held]], Awaitable[Settled]]
    ) -> Settled:
        """`end` what the lease has, by message id."""
        before: Settled | None = None

        async def work(tx: PgTransaction) -> Settled:
            nonlocal before
            if lease.counted:
                await tx.execute(self._sql["end_lease"], uuid.UUID(lease.id))
            held = await self._rows.of_lease(tx, lease.id, lease.queue_id)
            if before is not None and not held:
                return before  # it was committed, and nobody was told
            before = await end(tx, held)
            return before

        settled = await self._database.write(work, repeatable=True)
        if lease.counted:
            self._signals.tell(TOPIC)  # there is room for another
        return settled

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

    def _settled(self, queue_id: str, settled: Settled, used_up: DeadLettering) -> None:
        if settled.dead_lettered and used_up.queue_id is not None:
            self._told(used_up.queue_id)
        if settled.retried:
            self._told(queue_id)

    def _told(self, queue_id: str) -> None:
        self.on_send(queue_id)
        self._signals.tell(TOPIC)
