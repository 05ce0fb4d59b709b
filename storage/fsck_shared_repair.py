"""What workers of a platform keep in PostgreSQL, put right while other machines use it."""

from __future__ import annotations

from storage.cron_protocol import CronStore
from storage.d1.catalog import D1Catalog
from storage.fsck_contents import LONGEST_LEASE_MS
from storage.kv_protocol import KvStorage
from storage.migrations import load_queries
from storage.postgres.connection import PgDatabase, PgTransaction
from storage.postgres.cron_store import PgCronStore
from storage.postgres.kv_store import PgKvStore
from storage.postgres.queue_store import PgQueueStore
from storage.postgres.schema import POSTGRES_SQL
from storage.postgres.signals import PgSignals
from storage.queue_protocol import QueueStorage


class SharedContents:
    """Implements fsck_repair.Contents. In one running loop. The database is its owner's to close."""

    def __init__(self, database: PgDatabase) -> None:
        self._database = database
        self._sql = load_queries("fsck", POSTGRES_SQL)
        self._signals = PgSignals(database)
        self._pg_kv = PgKvStore(database, self._signals)
        self._pg_queues = PgQueueStore(database, self._signals)
        self.kv: KvStorage = self._pg_kv
        self.queues: QueueStorage = self._pg_queues
        self.cron: CronStore = PgCronStore(database)

    async def delete_database(self, database_id: str) -> None:
        """Whichever machine has it can keep nothing of it any more."""
        await D1Catalog().delete(self._database, database_id)

    async def count_keys(self, namespace_id: str) -> None:
        """They are counted when somebody asks."""

    async def count_messages(self, queue_id: str) -> None:
        async def work(tx: PgTransaction) -> None:
            await tx.execute(self._sql["queues_hold"])
            await self._count(tx, queue_id)

        await self._database.write(work, repeatable=True)

    async def give_back(self, queue_id: str) -> None:
        now = self.queues.now_ms

        async def work(tx: PgTransaction) -> None:
            await tx.execute(self._sql["queues_hold"])
            await tx.execute(self._sql["queues_give_back"], queue_id, now, now + LONGEST_LEASE_MS)
            await self._count(tx, queue_id)

        await self._database.write(work, repeatable=True)

    async def remove_lost_pieces(self) -> None:
        async def work(tx: PgTransaction) -> None:
            await tx.execute(self._sql["kv_remove_lost_pieces"])

        await self._database.write(work, repeatable=True)

    async def close(self) -> None:
        await self._pg_queues.close()
        await self._pg_kv.close()
        await self._signals.close()

    async def _count(self, tx: PgTransaction, queue_id: str) -> None:
        await tx.execute(self._sql["queues_forget_count"], queue_id)
        await tx.execute(self._sql["queues_count"], queue_id)
        await tx.execute(self._sql["queues_make_tickets"], queue_id)
