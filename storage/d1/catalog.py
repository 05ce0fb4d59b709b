"""SQL databases in the PostgreSQL that machines share: whose each is, what it holds. Coroutines for PostgresThread.

The epoch is the fence: whatever writes names the epoch under which it owns the database, and where that is no longer
the newest, nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from storage.d1.wal import ChangedPages
from storage.migrations import load_queries
from storage.postgres.connection import PgDatabase, PgTransaction
from storage.postgres.schema import POSTGRES_SQL

#: How long a database is an owner's without another word.
TERM_S: Final = 10.0
#: Number of an empty database: `files.create` gives it to its file.
FIRST: Final = 1
#: Pages of one statement.
PART: Final = 256
#: Of how many owners before it is remembered up to where they came.
_KEPT_EPOCHS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Head:
    """A database as it is there. `tag` is of the owner that made the last write."""

    owner: str | None
    epoch: int
    seq: int
    tag: int
    pages: int


@dataclass(frozen=True, slots=True)
class Write:
    """What one write makes of a database: `before` is the number of the one that it follows."""

    epoch: int
    before: int
    number: int
    tag: int
    changed: ChangedPages
    #: The database had more pages than it has now.
    shrinks: bool


class D1Catalog:
    """Every method may raise StorageError."""

    @cached_property
    def _sql(self) -> dict[str, str]:
        return dict(load_queries("databases", POSTGRES_SQL))

    async def create(self, database: PgDatabase, database_id: str, seq: int = FIRST, tag: int = 0) -> None:
        """An empty one. Idempotent."""
        await self._run(database, "create", database_id, seq, tag)

    async def head(self, database: PgDatabase | PgTransaction, database_id: str) -> Head | None:
        rows = await database.fetch(self._sql["head"], database_id)
        return Head(*rows[0]) if rows else None

    async def take(self, database: PgDatabase, database_id: str, machine: str) -> Head | None:
        """It is `machine`'s for TERM_S from now, under a new epoch; None: another's, or it does not exist."""

        async def work(tx: PgTransaction) -> Head | None:
            rows = await tx.fetch(self._sql["take"], database_id, machine, TERM_S)
            if not rows:
                return None
            head = Head(machine, *rows[0])
            if head.epoch % _KEPT_EPOCHS == 0:
                await tx.execute(self._sql["prune_tags"], database_id, head.epoch - _KEPT_EPOCHS)
            return head

        return await database.write(work, repeatable=True)

    async def want(self, database: PgDatabase, database_id: str, machine: str) -> str | None:
        """Ask its owner for it: whose that is."""

        async def work(tx: PgTransaction) -> str | None:
            rows = await tx.fetch(self._sql["want"], database_id, machine)
            return str(rows[0][0]) if rows else None

        return await database.write(work, repeatable=True)

    async def wanted(self, database: PgDatabase, machine: str) -> list[tuple[str, int]]:
        """Ids, with their epochs, of those of `machine`'s that another one has asked for."""
        return [(str(row[0]), int(row[1])) for row in await database.fetch(self._sql["wanted"], machine)]

    async def renew(self, database: PgDatabase, database_id: str, epoch: int) -> bool:
        """Whether it is still its owner's, for TERM_S from now."""

        async def work(tx: PgTransaction) -> bool:
            return bool(await tx.fetch(self._sql["renew"], database_id, epoch, TERM_S))

        return await database.write(work, repeatable=True)

    async def release(self, database: PgDatabase, database_id: str, epoch: int) -> None:
        await self._run(database, "release", database_id, epoch)

    async def tag_seq(self, database: PgDatabase, database_id: str, tag: int) -> int:
        """The last write of the owner with this tag; 0: there was none."""
        rows = await database.fetch(self._sql["tag_seq"], database_id, tag)
        return int(rows[0][0]) if rows else 0

    async def write(self, database: PgDatabase, database_id: str, write: Write) -> bool:
        """Keep one write. False: the database is another's now, or this one is there already (`is_kept` tells)."""
        parts = write.changed.packed(PART)
        numbers, pages = next(parts)
        head = (write.epoch, write.before, write.number, write.tag, write.changed.pages, TERM_S)
        if len(write.changed.offsets) <= PART and not write.shrinks:
            # In one statement, so in one round trip: most are small.
            return await self._count(database, database_id, *head, numbers, pages) == 1

        async def work(tx: PgTransaction) -> bool:
            rows = await tx.fetch(self._sql["write"], database_id, *head, numbers, pages)
            if rows[0][0] != 1:
                return False
            for more, content in parts:
                await tx.execute(self._sql["write_pages"], database_id, write.number, more, content)
            if write.shrinks:
                await tx.execute(self._sql["cut_pages"], database_id, write.changed.pages)
            return True

        return await database.write(work)

    async def adopt(self, database: PgDatabase, database_id: str, machine: str, write: Write) -> bool:
        """All of a database that was one machine's alone, which owns it. False: there is one of this id."""

        async def work(tx: PgTransaction) -> bool:
            head = (write.number, write.tag, write.changed.pages)
            if not await tx.fetch(self._sql["adopt"], database_id, machine, TERM_S, *head):
                return False
            await tx.execute(self._sql["add_tag"], database_id, write.tag, write.epoch, write.number)
            for numbers, pages in write.changed.packed(PART):
                await tx.execute(self._sql["write_pages"], database_id, write.number, numbers, pages)
            return True

        return await database.write(work)

    async def is_kept(self, database: PgDatabase, database_id: str, write: Write) -> bool | None:
        """Whether it was, though nobody saw the end of it. None: the database was deleted."""
        head = await self.head(database, database_id)
        if head is None:
            return None
        return (head.epoch, head.seq, head.tag) == (write.epoch, write.number, write.tag)

    async def pages(
        self, database: PgDatabase | PgTransaction, database_id: str, since: int, after: int
    ) -> Sequence[tuple[int, bytes]]:
        """Pages that changed after the write `since`, deflated, in order, those after page `after`: PART of them."""
        rows = await database.fetch(self._sql["read_pages"], database_id, since, after, PART)
        return [(int(row[0]), row[1]) for row in rows]

    async def delete(self, database: PgDatabase, database_id: str) -> None:
        """Idempotent. Whoever owns it can keep nothing any more."""
        await self._run(database, "delete", database_id)

    async def gone(self, database: PgDatabase, database_ids: Sequence[str]) -> list[str]:
        """Those of them that do not exist."""
        rows = await database.fetch(self._sql["gone"], list(database_ids))
        return [str(row[0]) for row in rows]

    async def _count(self, database: PgDatabase, *args: object) -> int:
        return int((await database.fetch(self._sql["write"], *args))[0][0])

    async def _run(self, database: PgDatabase, query: str, *args: object) -> None:
        async def work(tx: PgTransaction) -> None:
            await tx.execute(self._sql[query], *args)

        await database.write(work, repeatable=True)
