"""Put right what can be without losing what anybody could reach. For a folder that no host serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.d1 import files
from storage.data_files import D1
from storage.database import Database
from storage.fsck_findings import Finding, Repair
from storage.hostname_index import refresh_pattern
from storage.kv_store import KvStore, kv_migrations
from storage.queue_store import QueueStore, queue_migrations
from storage.transaction import Transaction


class Repairs:
    """`close` it. Methods raise StorageError."""

    def __init__(self, data: Path, remove_image: Callable[[str], None]) -> None:
        """`remove_image` is given an image's digest."""
        self._data = data
        self._remove_image = remove_image
        self._sequence = ChangeSequence(data / "changes.seq")
        # Opening it stores the number of the newest change: that repairs the sequence.
        self._control = ControlStore.open(data / "control.db", self._sequence)
        self._kv = Database.open(data / "kv.db", kv_migrations())
        self._queues = Database.open(data / "queues.db", queue_migrations())

    async def repair(self, finding: Finding) -> None:
        subject = finding.subject
        match finding.repair:
            case Repair.ORPHAN_KV:
                await KvStore(self._kv).delete_namespace(subject)
            case Repair.ORPHAN_QUEUE:
                await QueueStore(self._queues).delete_queue(subject)
            case Repair.ORPHAN_DATABASE:
                files.delete(self._data / D1, subject)
            case Repair.DELETIONS:
                await self._finish_deletions()
            case Repair.KV_USAGE:
                await self._kv.write(lambda tx: _count_keys(tx, subject))
            case Repair.QUEUE_HEADS:
                await self._queues.write(lambda tx: _count_messages(tx, subject))
            case Repair.HOSTNAME_RECORD:
                await self._control.database.write(lambda tx: refresh_pattern(tx, subject))
            case Repair.IMAGE:
                self._remove_image(subject)
            case Repair.SEQUENCE | None:
                pass

    def close(self) -> None:
        for closing in (self._control, self._kv, self._queues, self._sequence):
            closing.close()

    async def _finish_deletions(self) -> None:
        for owner in self._control.tenants.deletions():
            while await self._control.tenants.remove_some(owner):
                pass
        for kind, resource_id in self._control.pending_deletions.all():
            if kind == "kv":
                await KvStore(self._kv).delete_namespace(resource_id)
            elif kind == "queue":
                await QueueStore(self._queues).delete_queue(resource_id)
            else:
                files.delete(self._data / D1, resource_id)
            await self._control.pending_deletions.forget(kind, resource_id)


def _count_keys(tx: Transaction, namespace_id: str) -> None:
    tx.execute("DELETE FROM kv_usage WHERE namespace_id = ?", (namespace_id,))
    tx.execute(
        "INSERT INTO kv_usage SELECT namespace_id, count(*), sum(size) FROM kv_entries WHERE namespace_id = ?"
        " GROUP BY namespace_id",
        (namespace_id,),
    )


def _count_messages(tx: Transaction, queue_id: str) -> None:
    tx.execute("DELETE FROM queue_heads WHERE queue_id = ?", (queue_id,))
    tx.execute(
        "INSERT INTO queue_heads (queue_id, messages, bytes, next_ready_at_ms) SELECT queue_id, count(*),"
        " sum(length(body)), min(ready_at_ms) FROM queue_messages WHERE queue_id = ? GROUP BY queue_id",
        (queue_id,),
    )
