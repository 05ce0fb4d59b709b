"""Queues in one SQLite file: the QueueStorage of a host by itself."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from model.capabilities import QueueMessage
from model.clock import unix_ms
from model.queues import QueueSettings, QueueSettingsChange
from storage.database import Database, StorageError, Transaction
from storage.migrations import Migrations, load_queries
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
    backlog_full,
    changed,
    nobody,
)
from storage.queue_rows import QueueRows, to_backlog, to_message

LOG = logging.getLogger("tenantry.queues")

_REF: Final = re.compile(r"([0-9]{1,18})-([0-9a-f]{32})")


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
        """`retention_ms`: where a queue says nothing."""
        self._database = database
        self._now_ms = now_ms
        self._backlog_bytes = backlog_bytes
        self._sql = load_queries("queues")
        self._rows = QueueRows(self._sql, retention_ms)
        self.on_send: Callable[[str], None] = nobody

    @property
    def now_ms(self) -> int:
        return self._now_ms()

    async def send(self, queue_id: str, messages: Sequence[QueueMessage]) -> list[str]:
        now = self._now_ms()
        ids = [secrets.token_hex(16) for _ in messages]

        def work(tx: Transaction) -> None:
            self._rows.require_queue(tx, queue_id)
            held = to_backlog(tx.execute(self._sql["backlog"], (queue_id,)))
            if held.bytes + sum(len(message.body) for message in messages) > self._backlog_bytes:
                raise backlog_full(held, self._backlog_bytes)
            settings = self._rows.settings(tx, queue_id)
            expires = now + settings.retention_s * 1000
            for message_id, message in zip(ids, messages, strict=True):
                delay_s = settings.delivery_delay_s if message.delay_s is None else message.delay_s
                ready = now + delay_s * 1000
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
        self,
        queue_id: str,
        count: int,
        lease_ms: int,
        used_up: DeadLettering | None = None,
        at_most: int | None = None,
        holder: str = "",
    ) -> Lease | None:
        now = self._now_ms()
        lease_id = secrets.token_hex(16)
        ends = now + lease_ms
        if at_most is not None:
            # Who only looks for room does not take the file's turn for it.
            running = self._database.read(self._sql["count_leases"], (queue_id, now))[0][0]
            if cast("int", running) >= at_most:
                return None

        def work(tx: Transaction) -> list[tuple[int, StoredMessage]]:
            if self._rows.settings(tx, queue_id).delivery_paused:
                return []
            if at_most is not None and self._rows.leases(tx, queue_id, now) >= at_most:
                return []
            taken = self._rows.take(tx, queue_id, lease_id, count, now, ends, used_up)
            if taken and at_most is not None:
                self._rows.count_lease(tx, lease_id, queue_id, now, ends, holder)
            return taken

        taken = await self._database.write(work)
        if not taken:
            return None
        return Lease(lease_id, queue_id, ends, tuple(message for _, message in taken), at_most is not None)

    async def give_back(self, holder: str) -> int:
        now = self._now_ms()
        queues = await self._database.write(lambda tx: self._rows.give_back(tx, holder, now))
        for queue_id in set(queues):
            self.on_send(queue_id)
        return len(queues)

    async def renew(self, lease: Lease, lease_ms: int) -> int:
        ends = self._now_ms() + lease_ms

        def work(tx: Transaction) -> int:
            tx.execute(self._sql["renew"], (lease.id, lease.queue_id, ends))
            kept = tx.changes()
            self._rows.refresh(tx, (lease.queue_id,))
            if lease.counted:
                tx.execute(self._sql["renew_lease"], (lease.id, ends))
            return kept

        return await self._database.write(work)

    async def settle(
        self, lease: Lease, acknowledged: Sequence[str], retried: Mapping[str, int], used_up: DeadLettering
    ) -> Settled:
        now = self._now_ms()

        def work(tx: Transaction) -> Settled:
            if lease.counted:
                tx.execute(self._sql["end_lease"], (lease.id,))
            held = self._rows.of_lease(tx, lease.id, lease.queue_id)
            return self._rows.settle(tx, lease.queue_id, held, acknowledged, retried, used_up, now)

        settled = await self._database.write(work)
        self._settled(lease.queue_id, settled, used_up)
        return settled

    async def put_back(self, lease: Lease, delay_s: int) -> Settled:
        ready = self._now_ms() + delay_s * 1000

        def work(tx: Transaction) -> Settled:
            if lease.counted:
                tx.execute(self._sql["end_lease"], (lease.id,))
            tx.execute(self._sql["put_back"], (lease.id, lease.queue_id, ready))
            put = tx.changes()
            self._rows.refresh(tx, (lease.queue_id,))
            return Settled(not_taken=put)

        return await self._database.write(work)

    async def pull(
        self, queue_id: str, count: int, lease_ms: int, used_up: DeadLettering
    ) -> list[PulledMessage]:
        if not await self.ready_count(queue_id, 1):
            return []  # who asks again and again does not take the file's turn for it
        now = self._now_ms()
        ids = [secrets.token_hex(16) for _ in range(count)]

        def work(tx: Transaction) -> list[StoredMessage]:
            if self._rows.settings(tx, queue_id).delivery_paused:
                return []
            taken = self._rows.take(tx, queue_id, ids[0], count, now, now + lease_ms, used_up)
            self._rows.own_leases(tx, [sequence for sequence, _ in taken], ids[: len(taken)])
            return [message for _, message in taken]

        pulled = await self._database.write(work)
        return [PulledMessage(*pair) for pair in zip(ids, pulled, strict=False)]

    async def settle_pulled(
        self, queue_id: str, acknowledged: Sequence[str], retried: Mapping[str, int], used_up: DeadLettering
    ) -> PullsSettled:
        now = self._now_ms()
        named = list(dict.fromkeys([*acknowledged, *retried]))

        def work(tx: Transaction) -> PullsSettled:
            held = self._rows.of_pulls(tx, named, queue_id)
            late = tuple(each for each in named if each in held and held[each].ready_at_ms <= now)
            not_held = tuple(each for each in named if each not in held)
            settled = self._rows.settle(tx, queue_id, held, acknowledged, retried, used_up, now)
            return PullsSettled(settled, late, not_held)

        found = await self._database.write(work)
        self._settled(queue_id, found.settled, used_up)
        return found

    async def settings(self, queue_ids: Sequence[str]) -> dict[str, QueueSettings]:
        rows = await self._database.read_in_thread(self._sql["settings_of"], (json.dumps(list(queue_ids)),))
        return self._rows.settings_of(rows, queue_ids)

    async def change_settings(self, queue_id: str, change: QueueSettingsChange) -> QueueSettings:
        def work(tx: Transaction) -> QueueSettings:
            self._rows.require_queue(tx, queue_id)
            settings = changed(self._rows.settings(tx, queue_id), change)
            tx.execute(
                self._sql["put_settings"],
                (
                    queue_id,
                    settings.delivery_paused,
                    settings.delivery_delay_s,
                    settings.retention_s,
                ),
            )
            return settings

        settings = await self._database.write(work)
        self.on_send(queue_id)
        return settings

    async def totals(self) -> QueueTotals:
        rows = await self._database.read_in_thread(self._sql["totals"])
        return QueueTotals(*cast("tuple[int, int, int]", rows[0]))

    def backlog(self, queue_id: str) -> Backlog:
        """A point read, on the calling thread."""
        return to_backlog(self._database.read(self._sql["backlog"], (queue_id,)))

    async def stored(self, queue_id: str) -> tuple[int, int]:
        """(messages, bytes of their bodies): as `backlog`, of whatever engine."""
        found = self.backlog(queue_id)
        return found.messages, found.bytes

    async def peek(self, queue_id: str, count: int) -> list[StoredMessage]:
        rows = await self._database.read_in_thread(self._sql["peek"], (queue_id, self._now_ms(), count))
        return [to_message(row, f"{row[0]}-{row[1]}") for row in rows]

    async def remove(self, queue_id: str, refs: Sequence[str]) -> list[str]:
        wanted = {ref: match for ref in refs if (match := _REF.fullmatch(ref))}

        def work(tx: Transaction) -> list[str]:
            removed: list[str] = []
            for ref, match in wanted.items():
                tx.execute(self._sql["remove_one"], (int(match[1]), queue_id, match[2]))
                if tx.changes():
                    removed.append(ref)
            self._rows.refresh(tx, (queue_id,))
            return removed

        return await self._database.write(work)

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
            self._rows.refresh(tx, touched)
            tx.execute(self._sql["sweep_leases"], (now,))
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
                for statement in ("bury_queue", "forget_settings", "forget_leases"):
                    tx.execute(self._sql[statement], (queue_id,))
            tx.execute(self._sql["purge_some"], (queue_id, last_sequence, SWEEP_ROWS))
            removed = tx.changes()
            self._rows.refresh(tx, (queue_id,))
            return removed

        total = 0
        while removed := await self._database.write(work):
            total += removed
        return total

    def _settled(self, queue_id: str, settled: Settled, used_up: DeadLettering) -> None:
        if settled.dead_lettered and used_up.queue_id is not None:
            self.on_send(used_up.queue_id)
        if settled.retried:
            self.on_send(queue_id)
