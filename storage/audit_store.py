"""The audit of what left: one row a decision of the outbound gateway, in a file of its own, for a time.

Written in batches by control, which alone opens the file: a worker process that was broken into can't change
what it did before. A query looks at a bounded number of rows and gives a cursor to go on from, so that no
filter, however rare what it wants, holds a thread for long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from heapq import heapify, heappop, heapreplace
from operator import attrgetter
from typing import Final

from model.clock import unix_ms
from storage.database import Database, Transaction
from storage.migrations import Migrations
from storage.transaction import Row, SqlValue

#: Rows that one query looks at.
SCANNED_ROWS: Final = 50_000
#: Rows that one transaction of the pruning removes: writes wait for it.
PRUNED_ROWS: Final = 5_000
#: A record is written when its request is over, and no request takes longer.
_LONGEST_MS: Final = 3_600_000


def audit_migrations() -> Migrations:
    """What `Database.open` needs for the file that an AuditStore stands on."""
    return Migrations.load("audit")


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One decision. docs/policy.md has what each field means. `namespace` is "" for plain scripts."""

    at_ms: int
    namespace: str
    tenant: str
    script: str
    ray_id: str
    method: str
    scheme: str
    host: str
    port: int
    path: str
    result: str
    rule: str
    layer: str
    reason: str
    policy_reason: str
    policy_version: str
    address: str
    status: int
    bytes_up: int
    bytes_down: int
    duration_ms: int
    #: How many redirects were followed before this request, and how many attempts at it had failed.
    redirect: int
    retry: int
    #: JSON, or "".
    facts: str


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """None: any. `namespace` "" means plain scripts. Both times are inclusive."""

    namespace: str | None = None
    tenant: str | None = None
    script: str | None = None
    rule: str | None = None
    reason: str | None = None
    result: str | None = None
    host: str | None = None
    ray_id: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    #: Newest first, from before the cursor; or oldest first, from after it.
    ascending: bool = False
    cursor: int | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class AuditPage:
    """(id, row) in the order that was asked for. `cursor` goes on from there; None: there is no more. Ascending
    there always is one: more may come.
    """

    rows: Sequence[tuple[int, AuditRow]]
    cursor: int | None


_COLUMNS: Final = tuple(field.name for field in fields(AuditRow))
_SELECT: Final = f"SELECT id, {', '.join(_COLUMNS)} FROM egress_audit WHERE "  # noqa: S608 - names of fields
_INSERT: Final = (
    f"INSERT INTO egress_audit (recorded_at_ms, {', '.join(_COLUMNS)})"  # noqa: S608 - names of fields
    f" VALUES ({', '.join('?' * (1 + len(_COLUMNS)))})"
)
_values: Final = attrgetter(*_COLUMNS)
#: Compared for equality, by the name of the query's field.
_EQUAL: Final = ("namespace", "tenant", "script", "rule", "reason", "result", "host", "ray_id")


class AuditStore:
    """Use from one event loop. Raises StorageError subclasses when the disk fails."""

    def __init__(self, database: Database, now_ms: Callable[[], int] = unix_ms) -> None:
        self._database = database
        self._now_ms = now_ms
        self._last_ms = database.read("SELECT max(recorded_at_ms) FROM egress_audit")[0][0] or 0

    async def append(self, rows: Sequence[AuditRow]) -> None:
        """All of them, in one transaction."""
        # A clock that was set back must not put new rows before old ones.
        self._last_ms = recorded_at_ms = max(self._last_ms, self._now_ms())

        def work(tx: Transaction) -> None:
            for row in rows:
                tx.execute(_INSERT, (recorded_at_ms, *_values(row)))

        await self._database.write(work)

    async def query(self, wanted: AuditQuery) -> AuditPage:
        """A page. It may be short, or empty, and still have a cursor: there is more to look at."""
        low, high = self._bounds(wanted)
        if low > high:
            return AuditPage((), (wanted.cursor or 0) if wanted.ascending else None)
        conditions = [f"{name} = ?" for name in _EQUAL if getattr(wanted, name) is not None]
        values: list[SqlValue] = [value for name in _EQUAL if (value := getattr(wanted, name)) is not None]
        for condition, at_ms in (("at_ms >= ?", wanted.since_ms), ("at_ms <= ?", wanted.until_ms)):
            if at_ms is not None:
                conditions.append(condition)
                values.append(at_ms)
        first, last = await self._window(wanted, low, high)
        order = "ASC" if wanted.ascending else "DESC"
        sql = _SELECT + " AND ".join(["id BETWEEN ? AND ?", *conditions]) + f" ORDER BY id {order} LIMIT ?"
        rows = await self._database.read_in_thread(sql, (first, last, *values, wanted.limit))
        return AuditPage([_to_row(row) for row in rows], _cursor(wanted, rows, (first, last), (low, high)))

    async def prune(self, *, older_than_ms: int, most_bytes: int) -> int:
        """Forget rows recorded before `older_than_ms` (UNIX); then, until the file's rows have at most
        `most_bytes`, the oldest of the tenant that has the most, so that a flood of one pushes out nobody else's.
        How many were forgotten. Room in the file is used again, the file does not shrink.
        """
        rows = self._database.read(
            "SELECT max(id) FROM egress_audit WHERE recorded_at_ms = (SELECT max(recorded_at_ms) FROM egress_audit"
            " WHERE recorded_at_ms < ?)",
            (older_than_ms,),
        )
        forgotten = 0
        while removed := await self._forget("id <= ?", rows[0][0] or 0):
            forgotten += removed
        if self.used_bytes() <= most_bytes:
            return forgotten
        counts = await self._database.read_in_thread(
            "SELECT tenant, count(*) FROM egress_audit GROUP BY tenant"
        )
        held = [(-count, tenant) for tenant, count in counts]
        heapify(held)
        while held and self.used_bytes() > most_bytes:
            count, tenant = held[0]
            removed = await self._forget("tenant = ?", tenant)
            forgotten += removed
            if removed:
                heapreplace(held, (count + removed, tenant))
            else:
                heappop(held)
        return forgotten

    def used_bytes(self) -> int:
        """Of the file, without what is free in it."""
        read = self._database.read
        pages = read("PRAGMA page_count")[0][0] - read("PRAGMA freelist_count")[0][0]
        return int(pages * read("PRAGMA page_size")[0][0])

    def close(self) -> None:
        self._database.close()

    def _bounds(self, wanted: AuditQuery) -> tuple[int, int]:
        """The first and the last id that can be wanted."""
        read = self._database.read
        newest = read("SELECT max(id) FROM egress_audit")[0][0] or 0
        low, high = 1, newest
        if wanted.since_ms is not None:
            # Recorded after it was made, so none before this one was made after `since`.
            rows = read(
                "SELECT id FROM egress_audit WHERE recorded_at_ms >= ? ORDER BY recorded_at_ms, id LIMIT 1",
                (wanted.since_ms,),
            )
            low = rows[0][0] if rows else newest + 1
        if wanted.until_ms is not None:
            rows = read(
                "SELECT id FROM egress_audit WHERE recorded_at_ms <= ? ORDER BY recorded_at_ms DESC, id DESC LIMIT 1",
                (wanted.until_ms + _LONGEST_MS,),
            )
            high = rows[0][0] if rows else 0
        if wanted.cursor is not None:
            if wanted.ascending:
                low = max(low, wanted.cursor + 1)
            else:
                high = min(high, wanted.cursor - 1)
        return low, high

    async def _window(self, wanted: AuditQuery, low: int, high: int) -> tuple[int, int]:
        """The part of low…high that this query looks at: SCANNED_ROWS of the tenant's where one is named."""
        if wanted.ray_id is not None:
            return low, high
        if wanted.tenant is None:
            return (low, min(high, low + SCANNED_ROWS - 1)) if wanted.ascending else (
                max(low, high - SCANNED_ROWS + 1), high
            )  # fmt: skip
        order = "ASC" if wanted.ascending else "DESC"
        rows = await self._database.read_in_thread(
            f"SELECT id FROM egress_audit WHERE tenant = ? AND id BETWEEN ? AND ? ORDER BY id {order}"  # noqa: S608
            " LIMIT 1 OFFSET ?",
            (wanted.tenant, low, high, SCANNED_ROWS - 1),
        )
        if not rows:
            return low, high
        return (low, rows[0][0]) if wanted.ascending else (rows[0][0], high)

    async def _forget(self, condition: str, value: SqlValue) -> int:
        def work(tx: Transaction) -> int:
            tx.execute(
                "DELETE FROM egress_audit WHERE id IN"  # noqa: S608 - one of two conditions
                f" (SELECT id FROM egress_audit WHERE {condition} ORDER BY id LIMIT ?)",
                (value, PRUNED_ROWS),
            )
            return tx.changes()

        return await self._database.write(work)


def _cursor(
    wanted: AuditQuery, rows: Sequence[Row], window: tuple[int, int], bounds: tuple[int, int]
) -> int | None:
    if len(rows) == wanted.limit:
        return int(rows[-1][0])
    if wanted.ascending:
        return window[1]
    return window[0] if window[0] > bounds[0] else None


def _to_row(row: Row) -> tuple[int, AuditRow]:
    return row[0], AuditRow(*row[1:])
