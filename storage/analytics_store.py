"""Data points of workers, in a file of their own, for a time: telemetry, of which a crash may take the last second.

Written in batches by control, which alone opens the file. A dataset is its owner's: a tenant's of a dispatch namespace,
or the account's. Nobody makes one: it is there from its first point to its last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from model.analytics import BLOBS, DOUBLES
from model.clock import unix_ms
from model.errors import OperationError, OperationErrorCode
from storage.analytics_query import Answer, Scope, run
from storage.d1.limits import D1Limits
from storage.database import Database, Transaction
from storage.migrations import Migrations, load_queries
from storage.transaction import SqlValue

#: Of one owner; the points of more are dropped.
DATASETS: Final = 100
#: Rows that one transaction of the pruning removes: writes wait for it.
PRUNED_ROWS: Final = 2_000
#: Queries that run at once, and that wait for it; more are refused.
QUERIES: Final = 2
WAITING_QUERIES: Final = 16
QUERY_LIMITS: Final = D1Limits(query_s=10.0)
#: What a point takes beside its values, about.
_ROW_BYTES: Final = 100
#: Of a point's number in its dataset, in its id.
_NUMBER_BITS: Final = 40
#: After any timestamp.
_EVER: Final = "9999"

_COLUMNS: Final = (
    "id", "dataset_id", "timestamp", "size", "index1",
    *(f"blob{n}" for n in range(1, BLOBS + 1)),
    *(f"double{n}" for n in range(1, DOUBLES + 1)),
)  # fmt: skip
_INSERT: Final = f"INSERT INTO points ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - our names
_NO_BLOBS: Final = ("",) * BLOBS
_NO_DOUBLES: Final = (0.0,) * DOUBLES


def analytics_migrations() -> Migrations:
    """What `Database.open` needs for the file that an AnalyticsStore stands on."""
    return Migrations.load("analytics")


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """One point, and whose it is; `namespace` and `tenant` "": the account's. `size` is what its texts take."""

    namespace: str
    tenant: str
    dataset: str
    at_ms: int
    index: str
    blobs: tuple[str, ...]
    doubles: tuple[float, ...]
    size: int


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """`oldest` and `newest` are timestamps as a query has them."""

    namespace: str
    tenant: str
    name: str
    points: int
    bytes: int
    made_at_ms: int
    oldest: str | None
    newest: str | None


@dataclass(slots=True)
class _Growing:
    """A dataset, and what one transaction adds to it. `last` is the number of its last point."""

    id: int
    last: int
    points: int = 0
    bytes: int = 0

    def grow(self, size: int) -> None:
        self.last += 1
        self.points += 1
        self.bytes += size


class AnalyticsStore:
    """Use from one event loop. Raises StorageError subclasses when the disk fails."""

    def __init__(self, database: Database, now_ms: Callable[[], int] = unix_ms) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("analytics")
        self._queries = ThreadPoolExecutor(QUERIES, "analytics-query")
        self._asked = 0

    async def append(self, points: Sequence[StoredPoint]) -> int:
        """All in one transaction, but for those whose owner has too many datasets; how many were written."""
        now_ms = self._now_ms()

        def work(tx: Transaction) -> int:
            datasets: dict[tuple[str, str, str], _Growing | None] = {}
            for point in points:
                key = (point.namespace, point.tenant, point.dataset.lower())
                if key not in datasets:
                    datasets[key] = self._dataset(tx, (*key[:2], point.dataset), now_ms)
                dataset = datasets[key]
                if dataset is None:
                    continue
                size = _ROW_BYTES + point.size + 8 * len(point.doubles)
                dataset.grow(size)
                blobs, doubles = point.blobs, point.doubles
                tx.execute(
                    _INSERT,
                    (
                        dataset.id << _NUMBER_BITS | dataset.last,
                        dataset.id,
                        timestamp(point.at_ms),
                        size,
                        point.index,
                        *blobs,
                        *_NO_BLOBS[len(blobs) :],
                        *doubles,
                        *_NO_DOUBLES[len(doubles) :],
                    ),
                )
            grown = [dataset for dataset in datasets.values() if dataset is not None]
            for dataset in grown:
                tx.execute(self._sql["grow"], (dataset.id, dataset.points, dataset.bytes, dataset.last))
            return sum(dataset.points for dataset in grown)

        return await self._database.write(work)

    async def query(self, sql: str, scope: Scope) -> Answer:
        """Run one SELECT over the datasets of `scope`. Raises OperationError."""
        if self._asked >= QUERIES + WAITING_QUERIES:
            raise OperationError(
                OperationErrorCode.LOAD_SHED, "too many queries of data points wait; try again"
            )
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._queries, run, self._database.path, sql, scope, QUERY_LIMITS
            )
        finally:
            self._asked -= 1

    async def datasets(
        self, namespace: str | None, tenant: str | None, limit: int, offset: int
    ) -> tuple[list[DatasetInfo], int]:
        """A page by owner and name, and how many there are. `namespace` "": the account's; None: of anybody."""
        read, which = self._database.read_in_thread, (namespace, tenant)
        rows = await read(self._sql["page"], (*which, limit, offset))
        total = await read(self._sql["count"], which)
        return [DatasetInfo(*row) for row in rows], total[0][0]

    async def owners(self) -> list[tuple[str, str, int]]:
        """Tenants that have a dataset: (namespace, tenant, when the first of it was made, in UNIX ms)."""
        rows = await self._database.read_in_thread(self._sql["owners"])
        return [(row[0], row[1], row[2]) for row in rows]

    async def forget(self, namespace: str, tenant: str) -> None:
        """All of a tenant's. Idempotent."""
        for (dataset_id,) in self._database.read(self._sql["datasets_of_owner"], (namespace, tenant)):
            await self._remove_older(dataset_id, _EVER)
        await self._remove_empty()

    async def prune(self, *, older_than_ms: int, most_bytes: int) -> int:
        """Forget points from before `older_than_ms` (UNIX); then, until the file holds at most `most_bytes`, the oldest
        of the owner that has the most, so that a flood of one pushes out nobody else's. How many were forgotten.
        """
        before = timestamp(older_than_ms)
        forgotten = 0
        for (dataset_id,) in await self._database.read_in_thread(self._sql["with_older"], (before,)):
            forgotten += await self._remove_older(dataset_id, before)
        while self.used_bytes() > most_bytes:
            largest = await self._database.read_in_thread(self._sql["largest"])
            removed = await self._remove_some(largest[0][0], _EVER) if largest else 0
            if not removed:
                break
            forgotten += removed
        if forgotten:
            await self._remove_empty()
        return forgotten

    def used_bytes(self) -> int:
        """Of the file, without what is free in it."""
        read = self._database.read
        pages = read("PRAGMA page_count")[0][0] - read("PRAGMA freelist_count")[0][0]
        return int(pages * read("PRAGMA page_size")[0][0])

    def close(self) -> None:
        self._queries.shutdown()
        self._database.close()

    def _dataset(self, tx: Transaction, place: tuple[str, str, str], now_ms: int) -> _Growing | None:
        """None when the owner may have no more."""
        found = tx.execute(self._sql["dataset"], place)
        if not found:
            if tx.execute(self._sql["count_of_owner"], place[:2])[0][0] >= DATASETS:
                return None
            found = tx.execute(self._sql["make_dataset"], (*place, now_ms))
        return _Growing(*found[0])

    async def _remove_older(self, dataset_id: int, before: str) -> int:
        forgotten = 0
        while removed := await self._remove_some(dataset_id, before):
            forgotten += removed
        return forgotten

    async def _remove_some(self, dataset_id: int, before: str) -> int:
        def work(tx: Transaction) -> int:
            wanted: tuple[SqlValue, ...] = (dataset_id, before, PRUNED_ROWS)
            sizes = [row[0] for row in tx.execute(self._sql["remove_older"], wanted)]
            tx.execute(self._sql["grow"], (dataset_id, -len(sizes), -sum(sizes), 0))
            return len(sizes)

        return await self._database.write(work)

    async def _remove_empty(self) -> None:
        def work(tx: Transaction) -> None:
            tx.execute(self._sql["remove_empty"])

        await self._database.write(work)


def timestamp(at_ms: int) -> str:
    """As SQLite's `datetime` writes it, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
