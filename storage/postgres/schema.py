"""Numbered SQL files of `storage/sql/postgres` → the schema, while old and new hosts use it.

Several machines share a database and are upgraded one after another, so for a while the release before runs
against the schema of this one. The rule: **a migration may take nothing away that the release before uses.** It
adds tables, columns with defaults and indexes; what has become useless goes one release later. A step that must
break older code says so in its first line, `-- :oldest N`: only code that knows step N of the stream may use the
database from then on. Older code refuses to, and says which release it needs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.failures import SchemaMismatch
from storage.migrations import SQL_FOLDER, Migration, Migrations
from storage.postgres.connection import PgDatabase, PgTransaction

POSTGRES_SQL: Final = SQL_FOLDER / "postgres"
#: What a host's stores stand on there: whichever process of it migrates takes the steps of these.
STREAMS: Final = ("kv", "queues", "cron", "databases")
#: And what makes several machines one platform, which whoever joins it takes first.
PLATFORM_STREAMS: Final = (*STREAMS, "replication")
_OLDEST: Final = re.compile(r"-- :oldest ([0-9]{1,4})\s*\n")
#: Whoever migrates takes this lock first: "tenantry", as a number.
_LOCK: Final = int.from_bytes(b"tenantry") >> 1
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    stream text NOT NULL,
    number integer NOT NULL,
    sha256 text NOT NULL,
    oldest integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, number)
)
"""
_FOUND: Final = "SELECT stream, number, sha256, oldest FROM schema_migrations WHERE stream = ANY($1)"


@dataclass(frozen=True, slots=True)
class Applied:
    """A step that a database has, as it remembers it."""

    stream: str
    number: int
    sha256: str
    #: Which step code must know to use the database since.
    oldest: int


@dataclass(frozen=True, slots=True)
class PgMigrations:
    """All steps of some streams, in order."""

    steps: tuple[Migration, ...]

    @staticmethod
    def load(*streams: str, folder: Path = POSTGRES_SQL) -> PgMigrations:
        """Raises InvalidSqlFile for a gap, a double, or no file at all."""
        return PgMigrations(Migrations.load(*streams, folder=folder).steps)

    @property
    def streams(self) -> list[str]:
        return sorted({step.stream for step in self.steps})

    def pending(self, applied: Sequence[Applied]) -> list[Migration]:
        """Steps still to be taken. Pure.

        Raises SchemaMismatch when a step was changed afterwards, or when newer code took one that this code may
        not meet. Steps of newer code are no error otherwise.
        """
        known = {(step.stream, step.number): step.sha256 for step in self.steps}
        newest = {step.stream: step.number for step in self.steps}
        for step in applied:
            expected = known.get((step.stream, step.number))
            if expected is not None and expected != step.sha256:
                raise SchemaMismatch(
                    f"migration {step.stream} {step.number} was changed after it had been applied"
                )
            if step.oldest > newest.get(step.stream, 0):
                raise SchemaMismatch(
                    f"the database has migration {step.stream} {step.number}, which code that does not know"
                    f" {step.stream} {step.oldest} can't use: upgrade this host"
                )
        done = {(step.stream, step.number) for step in applied}
        return [step for step in self.steps if (step.stream, step.number) not in done]

    async def apply(self, database: PgDatabase) -> list[str]:
        """Take the steps that are missing, all or none; the names of those. Two at once wait for each other.

        Raises SchemaMismatch, StorageError.
        """

        async def work(tx: PgTransaction) -> list[str]:
            await tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await tx.execute(_TABLE)
            pending = self.pending(_applied(await tx.fetch(_FOUND, self.streams)))
            for step in pending:
                await tx.execute(step.sql)
                await tx.execute(
                    "INSERT INTO schema_migrations (stream, number, sha256, oldest) VALUES ($1, $2, $3, $4)",
                    step.stream,
                    step.number,
                    step.sha256,
                    oldest_code(step),
                )
            return [f"{step.stream} {step.number}" for step in pending]

        return await database.write(work, repeatable=True)

    async def missing(self, database: PgDatabase) -> list[str]:
        """Steps that the database lacks. Raises as `apply`, and changes nothing."""
        there = await database.fetch("SELECT to_regclass('schema_migrations') IS NOT NULL")
        found = await database.fetch(_FOUND, self.streams) if there[0][0] else []
        return [f"{step.stream} {step.number}" for step in self.pending(_applied(found))]


def oldest_code(step: Migration) -> int:
    """Which step of the stream code must know to meet this one: 0, any code, unless its first line says more."""
    match = _OLDEST.match(step.sql)
    return 0 if match is None else int(match[1])


def _applied(rows: Sequence[Sequence[object]]) -> list[Applied]:
    return [Applied(str(row[0]), int(str(row[1])), str(row[2]), int(str(row[3]))) for row in rows]
