"""Put right what can be without losing what anybody could reach. For a folder that no host serves.

Of a platform of several machines the others go on: what is changed for all of them goes through the log, as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from storage.cache_store import CacheStore, cache_migrations
from storage.changes import ChangeSequence
from storage.control_records import to_ref
from storage.control_store import ControlStore
from storage.cron_protocol import CronStore
from storage.cron_store import SqliteCronStore, cron_migrations
from storage.d1 import files
from storage.data_files import D1, present
from storage.database import Database, Replication
from storage.fsck_contents import LONGEST_LEASE_MS
from storage.fsck_findings import Finding, Repair
from storage.hostname_index import refresh_pattern
from storage.kv_protocol import KvStorage
from storage.kv_store import KvStore, kv_migrations
from storage.queue_protocol import QueueStorage
from storage.queue_store import QueueStore, queue_migrations
from storage.transaction import Transaction


class Contents(Protocol):
    """What workers keep, of a data folder or of a platform; `close` it. Methods raise StorageError."""

    kv: KvStorage
    queues: QueueStorage
    cron: CronStore

    async def delete_database(self, database_id: str) -> None:
        """For all machines. Idempotent."""

    async def count_keys(self, namespace_id: str) -> None: ...

    async def count_messages(self, queue_id: str) -> None:
        """And have those found that wait."""

    async def give_back(self, queue_id: str) -> None:
        """Messages that are lent for longer than any lease is."""

    async def remove_lost_pieces(self) -> None:
        """Of large values that no key has."""

    async def close(self) -> None: ...


class FileContents:
    """Implements Contents."""

    def __init__(self, data: Path) -> None:
        self._databases = data / D1
        self._kv = Database.open(data / "kv.db", kv_migrations())
        self._queues = Database.open(data / "queues.db", queue_migrations())
        self._cron = Database.open(data / "cron.db", cron_migrations())
        self.kv: KvStorage = KvStore(self._kv)
        self.queues: QueueStorage = QueueStore(self._queues)
        self.cron: CronStore = SqliteCronStore(self._cron)

    async def delete_database(self, database_id: str) -> None:
        _delete_files(self._databases, database_id)

    async def count_keys(self, namespace_id: str) -> None:
        await self._kv.write(lambda tx: _count_keys(tx, namespace_id))

    async def count_messages(self, queue_id: str) -> None:
        await self._queues.write(lambda tx: _count_messages(tx, queue_id))

    async def give_back(self, queue_id: str) -> None:
        now = self.queues.now_ms
        await self._queues.write(lambda tx: _give_back(tx, queue_id, now))

    async def remove_lost_pieces(self) -> None:
        """A value is in its row."""

    async def close(self) -> None:
        for closing in (self._kv, self._queues, self._cron):
            closing.close()


class Repairs:
    """`close` it; the contents are their owner's to close. Methods raise StorageError."""

    def __init__(
        self,
        data: Path,
        remove_image: Callable[[str], None],
        contents: Contents,
        replication: Replication | None = None,
    ) -> None:
        """`remove_image` is given an image's digest. `replication`: of control.db, where it is a replica."""
        self._data = data
        self._remove_image = remove_image
        self._contents = contents
        self._sequence = ChangeSequence(data / "changes.seq")
        # Opening it stores the number of the newest change: that repairs the sequence.
        self._control = ControlStore.open(data / "control.db", self._sequence, replication=replication)

    async def repair(self, finding: Finding) -> None:
        subject, contents = finding.subject, self._contents
        match finding.repair:
            case Repair.ORPHAN_KV:
                await contents.kv.delete_namespace(subject)
            case Repair.ORPHAN_QUEUE:
                await contents.queues.delete_queue(subject)
            case Repair.ORPHAN_DATABASE:
                _delete_files(self._data / D1, subject)
            case Repair.ORPHAN_SHARED_DATABASE:
                await contents.delete_database(subject)
            case Repair.RESPONSES:
                namespace, _, tenant = subject.partition("/")
                await self._forget_responses(namespace, tenant)
            case Repair.DELETIONS:
                await self._finish_deletions()
            case Repair.KV_USAGE:
                await contents.count_keys(subject)
            case Repair.KV_PIECES:
                await contents.remove_lost_pieces()
            case Repair.QUEUE_HEADS | Repair.QUEUE_TICKETS:
                await contents.count_messages(subject)
            case Repair.LEASES:
                await contents.give_back(subject)
            case Repair.CRON:
                namespace, _, script = subject.partition("/")
                await contents.cron.forget(to_ref(namespace, script))
            case Repair.CRON_RUNS:
                await contents.cron.abandon(None)
            case Repair.HOSTNAME_RECORD:
                await self._control.database.write(lambda tx: refresh_pattern(tx, subject))
            case Repair.IMAGE:
                self._remove_image(subject)
            case Repair.CACHE:
                for end in ("", "-wal", "-shm", "-journal"):
                    (self._data / f"{subject}{end}").unlink(missing_ok=True)
            case Repair.SEQUENCE | None:
                pass

    def close(self) -> None:
        for closing in (self._control, self._sequence):
            closing.close()

    async def _finish_deletions(self) -> None:
        for owner in self._control.tenants.deletions():
            while await self._control.tenants.remove_some(owner):
                pass
            if "cache.db" in present(self._data):
                await self._forget_responses(owner.namespace or "", owner.tenant or "")
        for kind, resource_id in self._control.pending_deletions.all():
            if kind == "kv":
                await self._contents.kv.delete_namespace(resource_id)
            elif kind == "queue":
                await self._contents.queues.delete_queue(resource_id)
            else:
                await self._contents.delete_database(resource_id)
                _delete_files(self._data / D1, resource_id)
            await self._control.pending_deletions.forget(kind, resource_id)

    async def _forget_responses(self, namespace: str, tenant: str) -> None:
        database = Database.open(self._data / "cache.db", cache_migrations())
        try:
            await CacheStore(database).forget(namespace, tenant)
        finally:
            database.close()


def _delete_files(folder: Path, database_id: str) -> None:
    """There is no folder where no host ever started."""
    if folder.exists():
        files.delete(folder, database_id)


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


def _give_back(tx: Transaction, queue_id: str, now_ms: int) -> None:
    tx.execute(
        "UPDATE queue_messages SET lease_id = NULL, ready_at_ms = ?"
        " WHERE queue_id = ? AND lease_id IS NOT NULL AND ready_at_ms > ?",
        (now_ms, queue_id, now_ms + LONGEST_LEASE_MS),
    )
    _count_messages(tx, queue_id)
