"""Messages, leases and settings as rows of PostgreSQL: what `queue_store` does inside its transactions."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from model.queues import QueueSettings
from storage.postgres.connection import PgRow, PgTransaction
from storage.postgres.queue_sender import turn_of
from storage.queue_protocol import DeadLettering, Settled, StoredMessage, is_lease_id


@dataclass(frozen=True, slots=True)
class Held:
    """A message that a lease has."""

    sequence: int
    attempts: int
    #: The end of its lease.
    ready_at_ms: int


class PgQueueRows:
    """Statements over one PgTransaction at a time."""

    def __init__(self, sql: Mapping[str, str], retention_ms: int) -> None:
        self._sql = sql
        self.defaults = QueueSettings(retention_s=retention_ms // 1000)

    def settings_of(self, rows: Iterable[PgRow], queue_ids: Sequence[str]) -> dict[str, QueueSettings]:
        found = {row[0]: to_settings(row) for row in rows}
        return {queue_id: found.get(queue_id, self.defaults) for queue_id in queue_ids}

    async def has_room(
        self, tx: PgTransaction, lease_id: uuid.UUID, queue_id: str, now_ms: int, at_most: int
    ) -> bool:
        """Whether another lease may hold. Nobody else counts until the transaction ends."""
        await tx.execute(self._sql["take_turn"], turn_of(f"leases of {queue_id}"))
        await tx.execute(self._sql["drop_leases"], queue_id, now_ms)
        rows = await tx.fetch(self._sql["count_leases"], queue_id, now_ms, lease_id)
        return int(rows[0][0]) < at_most

    async def take(
        self,
        tx: PgTransaction,
        queue_id: str,
        lease_id: uuid.UUID,
        count: int,
        now_ms: int,
        ends_at_ms: int,
        used_up: DeadLettering | None,
    ) -> list[PgRow]:
        """Lease up to `count` messages, oldest first."""
        taken: dict[int, PgRow] = {}
        while len(taken) < count:
            wanted = count - len(taken)
            found = await tx.fetch(self._sql["lease"], queue_id, now_ms, wanted, lease_id, ends_at_ms)
            # Ready again though its deliveries were spent: each of them ended with its process.
            spent = [row[0] for row in found if used_up is not None and row[3] > used_up.max_attempts]
            taken |= {row[0]: row for row in found if row[0] not in spent}
            if not spent or used_up is None:
                break
            await self._end(tx, spent, queue_id, used_up, now_ms)
        return [taken[sequence] for sequence in sorted(taken)]

    async def of_lease(self, tx: PgTransaction, lease_id: str, queue_id: str) -> dict[str, Held]:
        """By message id."""
        rows = await tx.fetch(self._sql["of_lease"], uuid.UUID(lease_id), queue_id)
        return {row[1].hex: Held(row[0], row[2], 0) for row in rows}

    async def of_pulls(self, tx: PgTransaction, lease_ids: Iterable[str], queue_id: str) -> dict[str, Held]:
        """By lease id."""
        wanted = [uuid.UUID(lease_id) for lease_id in lease_ids if is_lease_id(lease_id)]
        rows = await tx.fetch(self._sql["of_pulls"], wanted, queue_id)
        return {row[1].hex: Held(row[0], row[2], row[3]) for row in rows}

    async def settle(
        self,
        tx: PgTransaction,
        queue_id: str,
        held: dict[str, Held],
        acknowledged: Sequence[str],
        retried: Mapping[str, int],
        used_up: DeadLettering,
        now_ms: int,
    ) -> Settled:
        """By the keys of `held`; those that it lacks are passed over."""
        done = [held.pop(key).sequence for key in acknowledged if key in held]
        again: dict[int, int] = {}
        spent: list[int] = []
        for key, delay_s in retried.items():
            if key not in held:
                continue
            found = held.pop(key)
            if found.attempts < used_up.max_attempts:
                again[found.sequence] = now_ms + delay_s * 1000
            else:
                spent.append(found.sequence)
        if done:
            await tx.execute(self._sql["remove"], done)
        if again:
            await tx.execute(self._sql["retry"], list(again), list(again.values()))
            await tx.execute(self._sql["add_tickets"], list(again.values()), [queue_id] * len(again))
        lettered = await self._end(tx, spent, queue_id, used_up, now_ms) if spent else False
        return Settled(len(done), len(again), len(spent) if lettered else 0, 0 if lettered else len(spent))

    async def put_back(
        self, tx: PgTransaction, queue_id: str, held: dict[str, Held], ready_at_ms: int
    ) -> Settled:
        if held:
            await tx.execute(self._sql["put_back"], [found.sequence for found in held.values()], ready_at_ms)
            await tx.execute(self._sql["add_tickets"], [ready_at_ms], [queue_id])
        return Settled(not_taken=len(held))

    async def is_deleted(self, tx: PgTransaction, queue_id: str) -> bool:
        """It will not be deleted before the transaction ends either, unless it is already."""
        await tx.execute(self._sql["share_queues"], [turn_of(queue_id)])
        return bool(await tx.fetch(self._sql["deleted_of"], [queue_id]))

    async def _end(
        self, tx: PgTransaction, spent: Sequence[int], queue_id: str, used_up: DeadLettering, now_ms: int
    ) -> bool:
        """Dead-letter these; False when they were deleted, for want of a queue to move them to."""
        target = used_up.queue_id
        if target is None or await self.is_deleted(tx, target):
            await tx.execute(self._sql["remove"], spent)
            return False
        rows = await tx.fetch(self._sql["settings"], [target])
        expires = now_ms + self.settings_of(rows, [target])[target].retention_s * 1000
        await tx.execute(self._sql["dead_letter"], spent, target, now_ms, expires, queue_id)
        await tx.execute(self._sql["add_tickets"], [now_ms], [target])
        return True


def to_settings(row: PgRow) -> QueueSettings:
    return QueueSettings(row[1], row[2], row[3])


def to_message(row: PgRow, ref: str = "") -> StoredMessage:
    """Of (sequence, id, sent, attempts, content type, body, …)."""
    return StoredMessage(row[1].hex, row[2], row[3], row[4], row[5], ref)
