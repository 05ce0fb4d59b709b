"""Stores on PostgreSQL as one process of a machine has them: several in a test are several processes."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from model.clock import unix_ms, unix_s
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase
from storage.postgres.kv_store import PgKvStore
from storage.postgres.queue_store import PgQueueStore
from storage.postgres.signals import PgSignals
from storage.queue_protocol import BACKLOG_BYTES, RETENTION_MS


class PgMachine:
    """`async with PgMachine(address) as machine`: connected, listening, following changes."""

    def __init__(
        self,
        address: DatabaseAddress,
        *,
        now_s: Callable[[], float] = unix_s,
        now_ms: Callable[[], int] = unix_ms,
        retention_ms: int = RETENTION_MS,
        backlog_bytes: int = BACKLOG_BYTES,
    ) -> None:
        self.database = PgDatabase(address)
        self.signals = PgSignals(self.database)
        self.kv = PgKvStore(self.database, self.signals, now_s)
        self.queues = PgQueueStore(
            self.database, self.signals, now_ms, retention_ms=retention_ms, backlog_bytes=backlog_bytes
        )

    async def __aenter__(self) -> Self:
        self.signals.start()
        self.kv.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.queues.close()
        await self.kv.close()
        await self.signals.close()
        await self.database.close()
