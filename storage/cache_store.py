"""Responses that workers keep, in one SQLite file of a machine: bounded for each tenant, and together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from model.clock import unix_s
from storage.database import Database, Transaction
from storage.failures import StorageError
from storage.migrations import Migrations, load_queries
from storage.transaction import Row

LOG = logging.getLogger("tenantry.cache")

#: Responses under one URL, for different headers.
VARIANTS: Final = 16
SWEEP_ROWS: Final = 200
SWEEP_S: Final = 60.0
_EVICT_ROWS: Final = 8

#: (namespace, tenant, since when something of it is kept, in UNIX ms) → those of them that are gone.
Gone = Callable[[Sequence[tuple[str, str, int]]], Collection[tuple[str, str]]]


def cache_migrations() -> Migrations:
    """What `Database.open` needs for the file that a CacheStore stands on."""
    return Migrations.load("cache")


@dataclass(frozen=True, slots=True)
class CacheBounds:
    """The oldest go first."""

    tenant_bytes: int = 64 << 20
    tenant_entries: int = 10_000
    #: Beyond it, whoever holds most gives way.
    total_bytes: int = 1 << 30
    #: Nothing is kept for longer.
    most_age_s: float = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class CachePlace:
    """A URL of one cache of one tenant. `since_s`: what was stored before was not this one's."""

    owner: str
    cache: str
    url: str
    since_s: float


def owner_of(namespace: str, tenant: str) -> str:
    """As a place names them. `namespace` is empty for the account's own scripts."""
    return f"{namespace}/{tenant}"


def tenant_of(row: Row) -> tuple[str, str, int]:
    """(owner, since when something of it is kept) → (namespace, tenant, since UNIX ms)."""
    namespace, _, tenant = cast("str", row[0]).partition("/")
    return namespace, tenant, int(cast("float", row[1]) * 1000)


class CacheStore:
    """Implements bindings.cache.CacheStorage. Use from one event loop; several processes may hold the same file."""

    def __init__(
        self, database: Database, bounds: CacheBounds = CacheBounds(), now_s: Callable[[], float] = unix_s
    ) -> None:
        self._database = database
        self.bounds = bounds
        self._now_s = now_s
        self._sql = load_queries("cache")

    def find(self, place: CachePlace) -> list[bytes]:
        wanted = (place.owner, place.cache, place.url, place.since_s, VARIANTS)
        return [cast("bytes", row[0]) for row in self._database.read(self._sql["find"], wanted)]

    async def body(self, entry_id: str) -> bytes | None:
        rows = await self._database.read_in_thread(self._sql["body"], (entry_id,))
        return cast("bytes", rows[0][0]) if rows else None

    async def put(
        self, place: CachePlace, entry_id: str, record: bytes, varied: bytes, at_s: float, body: bytes
    ) -> None:
        size = len(record) + len(varied) + len(place.url) + len(body)
        row = (entry_id, place.owner, place.cache, place.url, record, varied, at_s, size, body)

        def work(tx: Transaction) -> None:
            tx.execute(self._sql["replace"], (place.owner, place.cache, place.url, varied))
            tx.execute(self._sql["insert"], row)
            tx.execute(self._sql["too_many"], (place.owner, place.cache, place.url, VARIANTS))
            self._make_room(tx, place.owner)

        await self._database.write(work)

    async def delete(self, place: CachePlace) -> bool:
        def work(tx: Transaction) -> bool:
            tx.execute(self._sql["delete"], (place.owner, place.cache, place.url, place.since_s))
            deleted = tx.changes() > 0
            tx.execute(self._sql["delete_before"], (place.owner, place.cache, place.url))
            return deleted

        return await self._database.write(work)

    async def forget(self, namespace: str, tenant: str) -> None:
        """All that is a tenant's, some at once. Idempotent."""
        owner = owner_of(namespace, tenant)

        def work(tx: Transaction) -> int:
            tx.execute(self._sql["oldest_of"], (owner, SWEEP_ROWS))
            return tx.changes()

        while await self._database.write(work) == SWEEP_ROWS:
            pass

    async def forget_gone(self, gone: Gone) -> None:
        """What is of tenants that were deleted, here or on another machine, and what was kept too late for that."""
        rows = await self._database.read_in_thread(self._sql["tenants"])
        for namespace, tenant in gone([tenant_of(row) for row in rows]):
            await self.forget(namespace, tenant)

    async def sweep(self) -> int:
        """Remove some of what is too old; how many, SWEEP_ROWS when there may be more."""
        before_s = self._now_s() - self.bounds.most_age_s

        def work(tx: Transaction) -> int:
            tx.execute(self._sql["sweep"], (before_s, SWEEP_ROWS))
            return tx.changes()

        return await self._database.write(work)

    async def sweep_forever(self, gone: Gone) -> None:
        while True:
            try:
                await self.forget_gone(gone)
                swept = await self.sweep()
            except StorageError as error:
                LOG.warning(
                    "old responses, and those of deleted tenants, were not swept: %s (%s)",
                    error.message,
                    error.detail,
                )
                swept = 0
            await asyncio.sleep(0 if swept == SWEEP_ROWS else SWEEP_S)

    def _make_room(self, tx: Transaction, owner: str) -> None:
        held = partial(self._held, tx)
        while (of_owner := held(owner))[0] > self.bounds.tenant_entries or of_owner[
            1
        ] > self.bounds.tenant_bytes:
            tx.execute(self._sql["oldest_of"], (owner, 1 if of_owner[0] < 100 else _EVICT_ROWS))
        while held("")[1] > self.bounds.total_bytes:
            largest = tx.execute(self._sql["largest"])[0][0]
            tx.execute(self._sql["oldest_of"], (largest, _EVICT_ROWS))

    def _held(self, tx: Transaction, owner: str) -> tuple[int, int]:
        rows = tx.execute(self._sql["held"], (owner,))
        return (cast("int", rows[0][0]), cast("int", rows[0][1])) if rows else (0, 0)
