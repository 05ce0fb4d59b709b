"""Numbered SQL files → the schema; named SQL statements → a mapping. Both are read from `storage/sql`.

A migration is `<stream>_<NNNN>_<what>.sql` (`control_0001_initial.sql`), numbered from 1 without gaps. A
file may hold several streams (`Migrations.load("changes", "control")`), each with its own numbers. A
migration that was released never changes: its SHA-256 is kept in the database and compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from storage.failures import SchemaMismatch
from storage.transaction import Row, Transaction

SQL_FOLDER = Path(__file__).parent / "sql"

_MIGRATION = re.compile(r"([a-z]+(?:_[a-z]+)*)_([0-9]{4})_([a-z0-9_]+)\.sql")
_NAME_LINE = re.compile(r"-- :name ([a-z][a-z0-9_]*)\s*")

#: Where a database remembers what was applied.
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    stream TEXT NOT NULL,
    number INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (stream, number)
) WITHOUT ROWID
"""
_APPLIED = "SELECT stream, number, sha256 FROM schema_migrations"


class InvalidSqlFile(ValueError):
    """A file of `storage/sql` breaks its grammar; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Migration:
    stream: str
    number: int
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Migrations:
    """All migrations of one database file, in the order in which they are to be applied."""

    steps: tuple[Migration, ...]

    @staticmethod
    def load(*streams: str, folder: Path = SQL_FOLDER) -> Migrations:
        """Read the files of these streams. Raises InvalidSqlFile for a gap, a double, or no file at all."""
        steps: list[Migration] = []
        for stream in streams:
            found = [
                Migration(stream, int(match[2]), path.read_text())
                for path in sorted(folder.glob(f"{stream}_*.sql"))
                if (match := _MIGRATION.fullmatch(path.name)) and match[1] == stream
            ]
            numbers = [step.number for step in found]
            if not found or numbers != list(range(1, len(found) + 1)):
                raise InvalidSqlFile(
                    f"migrations {stream!r} are numbered {numbers}; 1, 2, 3… without gaps is right"
                )
            steps += found
        return Migrations(tuple(steps))

    def pending(self, applied: Sequence[tuple[str, int, str]]) -> list[Migration]:
        """Which steps are still to be applied, given (stream, number, sha256) of those that were.

        Pure. Raises SchemaMismatch when the database knows a step that we don't (a newer release made it)
        or one with another text.
        """
        known = {(step.stream, step.number): step.sha256 for step in self.steps}
        for stream, number, sha256 in applied:
            expected = known.get((stream, number))
            if expected is None:
                raise SchemaMismatch(
                    f"the database has migration {stream} {number}, which this release does not know;"
                    " a newer release made it"
                )
            if expected != sha256:
                raise SchemaMismatch(f"migration {stream} {number} was changed after it had been applied")
        done = {(stream, number) for stream, number, _ in applied}
        return [step for step in self.steps if (step.stream, step.number) not in done]

    def apply(self, tx: Transaction) -> None:
        """Bring the schema up to date. Raises SchemaMismatch, StorageError."""
        tx.execute(_TABLE)
        for step in self.pending(tx.execute(_APPLIED)):
            tx.execute(step.sql)
            tx.execute(
                "INSERT INTO schema_migrations VALUES (?, ?, ?)", (step.stream, step.number, step.sha256)
            )

    def require_current(self, read: Callable[[str], list[Row]]) -> None:
        """Raises SchemaMismatch unless every step was applied."""
        if not read("SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'"):
            raise SchemaMismatch("the database is empty; open it for writing once")
        for step in self.pending(read(_APPLIED)):
            raise SchemaMismatch(
                f"the database lacks migration {step.stream} {step.number}; open it for writing once with"
                " this release"
            )


@cache
def load_queries(name: str, folder: Path = SQL_FOLDER) -> Mapping[str, str]:
    """The named statements of `storage/sql/<name>.sql`.

    Each begins with a line `-- :name get_script` and goes on to the next such line; other comment lines
    are for the reader. Raises InvalidSqlFile for text before the first name, a double or an empty one.
    """
    path = folder / f"{name}.sql"
    queries: dict[str, str] = {}
    current: str | None = None
    lines: list[str] = []

    def finish() -> None:
        if current is None:
            return
        statement = "\n".join(lines).strip().rstrip(";").strip()
        if not statement:
            raise InvalidSqlFile(f"{path.name}: query {current!r} is empty")
        queries[current] = statement

    for number, line in enumerate(path.read_text().splitlines(), 1):
        if match := _NAME_LINE.fullmatch(line):
            finish()
            current, lines = match[1], []
            if current in queries:
                raise InvalidSqlFile(f"{path.name}:{number}: query {current!r} is there twice")
        elif line.lstrip().startswith("--") or not line.strip():
            continue
        elif current is None:
            raise InvalidSqlFile(f"{path.name}:{number}: a statement without a '-- :name' line before it")
        else:
            lines.append(line)
    finish()
    return MappingProxyType(queries)
