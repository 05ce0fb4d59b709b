"""Whole SQLite files, whatever is in them: copied while others write, checked, read by whoever looks after them.

No statement of a tenant's runs here, though some of these files are tenants': pages are copied as they are, and a
check leaves out what would evaluate expressions of theirs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import apsw

from storage.failures import StorageLost, from_os_error
from storage.sqlite_engine import translated
from storage.transaction import Row, SqlValue

_BUSY_MS: Final = 10_000
#: Of one step of a copy: between two of them others may have the GIL and the disk.
_PAGES: Final = 4_096
#: A file that a tenant made may be slow to check on purpose. Of SQLite's instructions, some 20 million a second.
_CHECK_STEPS: Final = 10_000_000
_CHECK_CALLS: Final = 600
MOST_PROBLEMS: Final = 20


class ReadOnlyFile:
    """One connection that reads. Use in one thread."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    def read(self, sql: str, params: Sequence[SqlValue] = ()) -> list[Row]:
        """All rows. Raises StorageError."""
        with translated(self.path):
            return self._connection.execute(sql, params).fetchall()

    def has_table(self, name: str) -> bool:
        return bool(self.read("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,)))

    def applied(self) -> list[tuple[str, int, str]]:
        """(stream, number, sha256) of the migrations that the file has had."""
        if not self.has_table("schema_migrations"):
            return []
        rows = self.read("SELECT stream, number, sha256 FROM schema_migrations ORDER BY stream, number")
        return [(str(row[0]), int(row[1]), str(row[2])) for row in rows]

    def problems(self, *, thorough: bool) -> list[str]:
        """What SQLite finds wrong, in its words; none: all is well. `thorough` compares indexes with their tables."""
        calls = 0

        def too_long() -> bool:
            nonlocal calls
            calls += 1
            return calls > _CHECK_CALLS

        try:
            self._connection.set_progress_handler(too_long, _CHECK_STEPS)
            self._connection.execute("PRAGMA ignore_check_constraints = ON").fetchall()
            check = "integrity_check" if thorough else "quick_check"
            rows = self._connection.execute(f"PRAGMA {check}({MOST_PROBLEMS})").fetchall()
        except apsw.InterruptError:
            return ["the check took too long and was given up"]
        except apsw.Error as error:
            return [f"{type(error).__name__}: {error}"]
        finally:
            self._connection.set_progress_handler(None)
        return [str(row[0]) for row in rows if row[0] != "ok"]

    def broken_references(self) -> list[str]:
        """Tables with rows whose foreign key leads nowhere."""
        rows = self.read("PRAGMA foreign_key_check")
        return sorted({f"{row[0]} → {row[2]}" for row in rows})


@contextmanager
def opened(path: Path) -> Iterator[ReadOnlyFile]:
    """To read, beside whoever writes. Raises StorageError."""
    with translated(path):
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW
        connection = apsw.Connection(str(path), flags=flags)
    try:
        connection.set_busy_timeout(_BUSY_MS)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        yield ReadOnlyFile(connection, path)
    finally:
        connection.close(True)


def copy(source: Path, target: Path) -> None:
    """What was committed when the copy began, as a new file (0600); writers go on meanwhile. Raises StorageError."""
    if not source.exists():
        raise StorageLost("a database file is not there", detail=str(source))
    try:
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise from_os_error(error, target) from error
    with opened(source) as reading, translated(target):
        # A reader's transaction: a copy in steps begins anew each time somebody commits in between.
        reading.read("BEGIN")
        reading.read("SELECT count(*) FROM sqlite_schema")
        connection = apsw.Connection(str(target), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.execute(
                "PRAGMA synchronous = OFF"
            ).fetchall()  # who asked syncs the file that it goes into
            with connection.backup("main", reading._connection, "main") as backup:
                while not backup.done:
                    backup.step(_PAGES)
        finally:
            connection.close(True)
        reading.read("COMMIT")


def newest_change(file: ReadOnlyFile) -> int:
    return cast("int", file.read("SELECT coalesce(max(seq), 0) FROM changes")[0][0])
