"""Queues in one SQLite file: the QueueStorage of a host by itself."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from model.capabilities import QueueMessage
from model.clock import unix_ms
from storage.database import Database, StorageError, Transaction
from storage.migrations import Migrations, load_queries
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
    backlog_full,
    deleted_queue,
    nobody,
)

LOG = logging.getLogger("tenantry.queues")

#: Ready messages that a lease checks for used-up ones before it takes up to 100 of them.
FRONT_ROWS: Final = 200


def queue_migrations() -> Migrations:
    """What `Database.open` needs for the file that a QueueStore stands on."""
    return Migrations.load("queues")


class QueueStore:
    """Use from one event loop; several processes may hold the same file. Its methods are QueueStorage's."""

    def __init__(
        self,
        database: Database,
        now_ms: Callable[[], int] = unix_ms,
        *,
        retention_ms: int = RETENTION_MS,
        backlog_bytes: int = BACKLOG_BYTES,
    ) -> None:
        self._database = database
        self._now_ms = now_ms
        self._retention_ms = retention_ms
        self._backlog_bytes = backlog_bytes
        self._sql = load_queries("queues")
        self.on_send: Callable[[str], None] = nobody

    @property
    def now_ms(self) -> int:
        return self._now_ms()

    async def send(self, queue_id: str, messages: Sequence[QueueMessage]) -> list[str]:
        now = self._now_ms()
        ids = [secrets.token_hex(16) for _ in messages]
        expires = now + self._retention_ms

        def work(tx: Transaction) -> None:
            if tx.execute(self._sql["is_deleted"], (queue_id,)):
                raise deleted_queue()
            held = _backlog(tx.execute(self._sql["backlog"], (queue_id,)))
            if held.bytes + sum(len(message.body) for message in messages) > self._backlog_bytes:
                raise backlog_full(held, self._backlog_bytes)
            for message_id, message in zip(ids, messages, strict=True):
                ready = now + message.delay_s * 1000
                tx.execute(
                    self._sql["send"],
                    (message_id, queue_id, now, expires, ready, message.content_type, message.body),
                )

        await self._database.write(work)
        self.on_send(queue_id)
        return ids

    async def ready_queues(self) -> list[ReadyQueue]:
        rows = await self._database.read_in_thread(self._sql["ready_queues"], (self._now_ms(),))
        return [ReadyQueue(cast("str", queue_id), cast("int", ready)) for queue_id, ready in rows]

    async def ready_count(self, queue_id: str, at_most: int) -> int:
        rows = await self._database.read_in_thread(
            self._sql["ready_count"], (queue_id, self._now_ms(), at_most)
        )
        return cast("int", rows[0][0])

    async def lease(
        self, queue_id: str, count: int, lease_ms: int, used_up: DeadLettering | None = None
    ) -> Lease | None:
        now = self._now_ms()
        lease_id = secrets.token_hex(16)
        ends = now + lease_ms

        def work(tx: Transaction) -> list[tuple[int, StoredMessage]]:
            touched = {queue_id}
            tx.execute(self._sql["drop_expired"], (queue_id, now, FRONT_ROWS))
            if used_up is not None:
                spent = tx.execute(self._sql["worn_out"], (queue_id, now, used_up.max_attempts, FRONT_ROWS))
                for row in spent:
                    self._dead_letter(tx, cast("int", row[0]), used_up.queue_id, now, touched)
            taken = tx.execute(self._sql["lease"], (queue_id, now, count, lease_id, ends))
            self._refresh(tx, touched)
            return [
                (
                    cast("int", sequence),
                    StoredMessage(
                        cast("str", message_id),
                        cast("int", sent),
                        cast("int", attempts),
                        cast("str", content_type),
                        cast("bytes", body),
                    ),
                )
                for sequence, message_id, sent, attempts, content_type, body in taken
            ]

        taken = await self._database.write(work)
        if not taken:
            return None
        taken.sort(key=lambda pair: pair[0])  # RETURNING promises no order
        return Lease(lease_id, queue_id, ends, tuple(message for _, message in taken))

    async def renew(self, lease: Lease, lease_ms: int) -> int:
        ends = self._now_ms() + lease_ms

        def work(tx: Transaction) -> int:
            tx.execute(self._sql["renew"], (lease.id, lease.queue_id, ends))
            kept = tx.changes()
            self._refresh(tx, {lease.queue_id})
            return kept

        return await self._database.write(work)

    async def settle(
        self, lease: Lease, acknowledged: Sequence[str], retried: Mapping[str, int], used_up: DeadLettering
    ) -> Settled:
        now = self._now_ms()

        def work(tx: Transaction) -> Settled:
            touched = {lease.queue_id}
            held = {
                cast("str", message_id): (cast("int", sequence), cast("int", attempts))
                for sequence, message_id, attempts in tx.execute(
                    self._sql["of_lease"], (lease.id, lease.queue_id)
                )
            }
            done = again = lettered = dropped = 0
            for message_id in acknowledged:
                if found := held.pop(message_id, None):
                    tx.execute(self._sql["remove"], (found[0],))
                    done += 1
            for message_id, delay_s in retried.items():
                if not (found := held.pop(message_id, None)):
                    continue
                sequence, attempts = found
                if attempts < used_up.max_attempts:
                    tx.execute(self._sql["retry"], (sequence, now + delay_s * 1000))
                    again += 1
                elif self._dead_letter(tx, sequence, used_up.queue_id, now, touched):
                    lettered += 1
                else:
                    dropped += 1
            self._refresh(tx, touched)
            return Settled(done, again, lettered, dropped)

        settled = await self._database.write(work)
        if settled.dead_lettered and used_up.queue_id is not None:
            self.on_send(used_up.queue_id)
        if settled.retried:
            self.on_send(lease.queue_id)
        return settled

    def backlog(self, queue_id: str) -> Backlog:
        """A point read, on the calling thread."""
        return _backlog(self._database.read(self._sql["backlog"], (queue_id,)))

    async def stored(self, queue_id: str) -> tuple[int, int]:
        """(messages, bytes of their bodies): as `backlog`, of whatever engine."""
        found = self.backlog(queue_id)
        return found.messages, found.bytes

    async def peek(self, queue_id: str, count: int) -> list[StoredMessage]:
        rows = await self._database.read_in_thread(self._sql["peek"], (queue_id, self._now_ms(), count))
        return [
            StoredMessage(
                cast("str", message_id),
                cast("int", sent),
                cast("int", attempts),
                cast("str", content_type),
                cast("bytes", body),
            )
            for message_id, sent, attempts, content_type, body in rows
        ]

    async def purge(self, queue_id: str) -> int:
        rows = await self._database.read_in_thread(self._sql["last_sequence"])
        return await self._remove_all(queue_id, cast("int", rows[0][0] or 0), bury=False)

    async def delete_queue(self, queue_id: str) -> int:
        return await self._remove_all(queue_id, (1 << 63) - 1, bury=True)

    async def sweep(self) -> int:
        now = self._now_ms()

        def work(tx: Transaction) -> int:
            touched: set[str] = set()
            rows = tx.execute(self._sql["expired"], (now, SWEEP_ROWS))
            for sequence, queue_id in rows:
                tx.execute(self._sql["remove"], (sequence,))
                touched.add(cast("str", queue_id))
            self._refresh(tx, touched)
            return len(rows)

        return await self._database.write(work)

    async def sweep_forever(self, interval_s: float = 60.0) -> None:
        while True:
            try:
                swept = await self.sweep()
            except StorageError as error:
                LOG.warning("messages past their retention were not swept: %s", error)
                swept = 0
            await asyncio.sleep(0 if swept == SWEEP_ROWS else interval_s)

    async def _remove_all(self, queue_id: str, last_sequence: int, *, bury: bool) -> int:
        def work(tx: Transaction) -> int:
            if bury:
                tx.execute(self._sql["bury_queue"], (queue_id,))
            tx.execute(self._sql["purge_some"], (queue_id, last_sequence, SWEEP_ROWS))
            removed = tx.changes()
            self._refresh(tx, {queue_id})
            return removed

        total = 0
        while removed := await self._database.write(work):
            total += removed
        return total

    def _dead_letter(
        self, tx: Transaction, sequence: int, to_queue_id: str | None, now_ms: int, touched: set[str]
    ) -> bool:
        """Move one message; False when it was deleted, for want of a queue to move it to."""
        rows = tx.execute(self._sql["take"], (sequence,))
        if not rows or to_queue_id is None or tx.execute(self._sql["is_deleted"], (to_queue_id,)):
            return False
        message_id, sent, content_type, body = rows[0]
        tx.execute(
            self._sql["send"],
            (message_id, to_queue_id, sent, now_ms + self._retention_ms, now_ms, content_type, body),
        )
        touched.add(to_queue_id)
        return True

    def _refresh(self, tx: Transaction, touched: set[str]) -> None:
        """Bring the heads of these queues up to date: the last thing of every work that moved a message."""
        for queue_id in touched:
            tx.execute(self._sql["refresh_head"], (queue_id,))


def _backlog(rows: Sequence[Sequence[object]]) -> Backlog:
    return Backlog(cast("int", rows[0][0]), cast("int", rows[0][1])) if rows else Backlog()
