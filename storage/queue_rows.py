"""Messages, leases and settings as rows of SQLite: what `queue_store` does inside its transactions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from model.queues import QueueSettings
from storage.queue_protocol import (
    Backlog,
    DeadLettering,
    Settled,
    StoredMessage,
    deleted_queue,
    is_lease_id,
)
from storage.transaction import Row, Transaction

#: Ready messages that a lease checks for used-up ones before it takes up to 100 of them.
FRONT_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class Held:
    """A message that a lease has."""

    sequence: int
    attempts: int
    #: The end of its lease.
    ready_at_ms: int


class QueueRows:
    """Statements over one Transaction at a time. Heads are brought up to date by `refresh`, as a work's last step."""

    def __init__(self, sql: Mapping[str, str], retention_ms: int) -> None:
        self._sql = sql
        self._defaults = QueueSettings(retention_s=retention_ms // 1000)

    def settings(self, tx: Transaction, queue_id: str) -> QueueSettings:
        rows = tx.execute(self._sql["settings"], (queue_id,))
        return self.to_settings(rows[0]) if rows else self._defaults

    def settings_of(self, rows: Iterable[Row], queue_ids: Sequence[str]) -> dict[str, QueueSettings]:
        found = {cast("str", row[0]): self.to_settings(row[1:]) for row in rows}
        return {queue_id: found.get(queue_id, self._defaults) for queue_id in queue_ids}

    @staticmethod
    def to_settings(row: Sequence[object]) -> QueueSettings:
        return QueueSettings(bool(row[0]), cast("int", row[1]), cast("int", row[2]))

    def require_queue(self, tx: Transaction, queue_id: str) -> None:
        """Raises OperationError: not_found."""
        if tx.execute(self._sql["is_deleted"], (queue_id,)):
            raise deleted_queue()

    def count_lease(
        self, tx: Transaction, lease_id: str, queue_id: str, now_ms: int, ends_at_ms: int, holder: str
    ) -> None:
        tx.execute(self._sql["drop_leases"], (queue_id, now_ms))
        tx.execute(self._sql["add_lease"], (lease_id, queue_id, ends_at_ms, holder))

    def give_back(self, tx: Transaction, holder: str, now_ms: int) -> list[str]:
        """The queues of the leases, one for each."""
        queues: list[str] = []
        for lease_id, queue_id in tx.execute(self._sql["leases_of"], (holder,)):
            tx.execute(self._sql["end_lease"], (lease_id,))
            tx.execute(self._sql["give_back"], (lease_id, queue_id, now_ms))
            queues.append(cast("str", queue_id))
        self.refresh(tx, set(queues))
        return queues

    def leases(self, tx: Transaction, queue_id: str, now_ms: int) -> int:
        return cast("int", tx.execute(self._sql["count_leases"], (queue_id, now_ms))[0][0])

    def take(
        self,
        tx: Transaction,
        queue_id: str,
        lease_id: str,
        count: int,
        now_ms: int,
        ends_at_ms: int,
        used_up: DeadLettering | None,
    ) -> list[tuple[int, StoredMessage]]:
        """Lease up to `count` messages, oldest first: (sequence, message)."""
        touched = {queue_id}
        tx.execute(self._sql["drop_expired"], (queue_id, now_ms, FRONT_ROWS))
        if used_up is not None:
            spent = tx.execute(self._sql["worn_out"], (queue_id, now_ms, used_up.max_attempts, FRONT_ROWS))
            for row in spent:
                self._dead_letter(tx, cast("int", row[0]), used_up.queue_id, now_ms, touched)
        rows = tx.execute(self._sql["lease"], (queue_id, now_ms, count, lease_id, ends_at_ms))
        self.refresh(tx, touched)
        # RETURNING promises no order
        return sorted(((cast("int", row[0]), to_message(row)) for row in rows), key=lambda pair: pair[0])

    def own_leases(self, tx: Transaction, sequences: Sequence[int], lease_ids: Sequence[str]) -> None:
        """Give each message that was just taken a lease of its own."""
        for sequence, lease_id in zip(sequences, lease_ids, strict=True):
            tx.execute(self._sql["own_lease"], (sequence, lease_id))

    def of_lease(self, tx: Transaction, lease_id: str, queue_id: str) -> dict[str, Held]:
        """By message id."""
        rows = tx.execute(self._sql["of_lease"], (lease_id, queue_id))
        return {cast("str", row[1]): Held(cast("int", row[0]), cast("int", row[2]), 0) for row in rows}

    def of_pulls(self, tx: Transaction, lease_ids: Iterable[str], queue_id: str) -> dict[str, Held]:
        """By lease id."""
        wanted = json.dumps([lease_id for lease_id in lease_ids if is_lease_id(lease_id)])
        rows = tx.execute(self._sql["of_pulls"], (wanted, queue_id))
        return {cast("str", row[0]): Held(*cast("tuple[int, int, int]", row[1:])) for row in rows}

    def settle(
        self,
        tx: Transaction,
        queue_id: str,
        held: dict[str, Held],
        acknowledged: Sequence[str],
        retried: Mapping[str, int],
        used_up: DeadLettering,
        now_ms: int,
    ) -> Settled:
        """By the keys of `held`; those that it lacks are passed over."""
        touched = {queue_id}
        done = again = lettered = dropped = 0
        for key in acknowledged:
            if found := held.pop(key, None):
                tx.execute(self._sql["remove"], (found.sequence,))
                done += 1
        for key, delay_s in retried.items():
            if not (found := held.pop(key, None)):
                continue
            if found.attempts < used_up.max_attempts:
                tx.execute(self._sql["retry"], (found.sequence, now_ms + delay_s * 1000))
                again += 1
            elif self._dead_letter(tx, found.sequence, used_up.queue_id, now_ms, touched):
                lettered += 1
            else:
                dropped += 1
        self.refresh(tx, touched)
        return Settled(done, again, lettered, dropped)

    def refresh(self, tx: Transaction, touched: Iterable[str]) -> None:
        """Bring the heads of these queues up to date: the last thing of every work that moved a message."""
        for queue_id in touched:
            tx.execute(self._sql["refresh_head"], (queue_id,))

    def _dead_letter(
        self, tx: Transaction, sequence: int, to_queue_id: str | None, now_ms: int, touched: set[str]
    ) -> bool:
        """Move one message; False when it was deleted, for want of a queue to move it to."""
        rows = tx.execute(self._sql["take"], (sequence,))
        if not rows or to_queue_id is None or tx.execute(self._sql["is_deleted"], (to_queue_id,)):
            return False
        message_id, sent, content_type, body = rows[0]
        expires = now_ms + self.settings(tx, to_queue_id).retention_s * 1000
        tx.execute(self._sql["send"], (message_id, to_queue_id, sent, expires, now_ms, content_type, body))
        touched.add(to_queue_id)
        return True


def to_message(row: Sequence[object], ref: str = "") -> StoredMessage:
    """Of (sequence, id, sent, attempts, content type, body)."""
    _, message_id, sent, attempts, content_type, body = row
    return StoredMessage(
        cast("str", message_id),
        cast("int", sent),
        cast("int", attempts),
        cast("str", content_type),
        cast("bytes", body),
        ref,
    )


def to_backlog(rows: Sequence[Sequence[object]]) -> Backlog:
    return Backlog(cast("int", rows[0][0]), cast("int", rows[0][1])) if rows else Backlog()
