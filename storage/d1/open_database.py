"""One tenant's database, open and held to the rules: our own statements, whose turn it is to write, what is checked.

What runs tenants' statements in it is `connection`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import apsw

from model.errors import OperationError, OperationErrorCode
from storage.d1 import limits as most
from storage.d1.failures import CAUGHT, sql_error, translate
from storage.d1.guard import Asker, Guard
from storage.d1.leased_database import LeasedDatabase
from storage.d1.limits import D1Limits
from storage.d1.sandbox import NOTHING_TEMPORARY, confine
from storage.failures import StorageBusy, StorageError, from_os_error
from storage.file_lock import FileLock
from storage.transaction import Row

_BUSY_S: Final = 5.0
#: Small statements, compiled: what tenants repeat.
CACHED: Final = 24


class DatabaseGone(Exception):
    """The file was deleted while it was open."""


class OpenDatabase:
    """`close` it in any thread when nothing runs. Methods raise OperationError, StorageError, DatabaseGone."""

    def __init__(self, path: Path | None, limits: D1Limits, leased: LeasedDatabase | None = None) -> None:
        """`path` None: in memory. A file has to be there, as `storage.d1.files.create` makes it. `leased`: it is shared
        with other machines.
        """
        self.path = path
        self.leased = leased
        self.limits = limits
        self.guard = Guard(limits)
        #: Bytes, as last seen: the file's own size lags behind while its log holds more.
        self.known_size = 0
        #: The ownership under which the running request reads.
        self.epoch = 0
        self._identity = (0, 0)
        self._lock: FileLock | None = None
        self._wrote = False
        #: What is said when the database may not grow for want of room of its tenant's.
        self._no_room = ""
        try:
            if path is None:
                self.connection = apsw.Connection(":memory:", statementcachesize=CACHED)
            else:
                status = os.stat(path)
                self._identity = (status.st_dev, status.st_ino)
                self._lock = FileLock(path.with_name(f"{path.stem}.lock"))
                flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW
                self.connection = apsw.Connection(str(path), flags=flags, statementcachesize=CACHED)
        except FileNotFoundError as error:
            raise DatabaseGone from error
        except OSError as error:
            raise from_os_error(error, path or Path()) from error
        except apsw.Error as error:
            raise self.translated(error) from error
        try:
            self.connection.set_busy_handler(self._wait_while_busy)
            self._pages = pages = max(1, limits.database_bytes // most.PAGE_BYTES)
            for pragma in (
                "journal_mode = WAL",
                # What machines share is safe in PostgreSQL; the file is a copy.
                "synchronous = FULL" if leased is None else "synchronous = NORMAL",
                "foreign_keys = ON",
                "temp_store = FILE",
                "mmap_size = 0",
                "cell_size_check = ON",
                f"cache_size = -{most.CACHE_KIB}",
                f"max_page_count = {pages}",
                f"journal_size_limit = {most.WAL_LIMIT_BYTES}",
            ):
                self.connection.execute(f"PRAGMA {pragma}", can_cache=False).fetchall()
            self.sandbox = confine(self.connection, self.guard)
            self.sandbox.open = False
            if leased is not None:
                # Whatever is no write of ours changes no page: other machines would never get it.
                self.ours("PRAGMA query_only = ON")
        except apsw.Error as error:
            self.close()
            raise self.translated(error) from error

    def close(self) -> None:
        self.connection.close(True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def limit_to(self, room: tuple[int, str] | None) -> None:
        """How large it may become from now on, and what to say then; None: as large as any. What is there stays,
        and can be deleted.
        """
        most_bytes = self.limits.database_bytes
        self._no_room = ""
        if room is not None and room[0] < most_bytes:
            most_bytes, self._no_room = room
        pages = max(1, most_bytes // most.PAGE_BYTES)
        if pages == self._pages:
            return
        try:
            self.ours(f"PRAGMA max_page_count = {pages}")
            self._pages = pages
        except CAUGHT as error:
            raise self.translated(error) from error

    def begin(self, asker: Asker, seen: int | None) -> int | None:
        """A request begins. The number of the last write, where somebody wants to know it."""
        self.check_there()
        self.guard.begin(asker)
        if self.leased is not None:
            self.epoch = self.leased.begin_read()
        if self._wrote:
            # Of an event before this one it must tell nothing.
            self._wrote = False
            self.connection.set_last_insert_rowid(0)
        if seen is None:
            return None
        number = self.number()
        if seen > number:
            raise sql_error(
                OperationErrorCode.INVALID_ARGUMENT,
                "the bookmark is of a later state than this database has; it is another database's, or a"
                " backup was put back",
            )
        return number

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Our turn, and a transaction: undone unless it was committed."""
        lock = self._lock
        if lock is not None and not lock.acquire(self.guard.left_s()):
            raise StorageBusy("the database is busy: others write to it", detail=str(self.path))
        try:
            self.check_there()
            self.guard.writes = self._wrote = True
            if self.leased is not None:
                self.ours("PRAGMA query_only = OFF")
            self.ours("BEGIN IMMEDIATE")
            try:
                if self.leased is not None:
                    self.leased.begin_write()
                yield
            finally:
                if self.connection.in_transaction:
                    self.ours("ROLLBACK")
                if self.leased is not None:
                    self.ours("PRAGMA query_only = ON")
        finally:
            if lock is not None:
                lock.release()

    def commit(self, *, changed: bool) -> int:
        """Within `writing`. The number of the last write, which is this one when it `changed` something."""
        number = self.number()
        if changed:
            number += 1
            self.ours(f"PRAGMA user_version = {number}")
        leased = self.leased
        if leased is None or not changed:
            self.ours("COMMIT")
            return number
        leased.committing(number)
        try:
            self.ours("COMMIT")
        except BaseException:
            leased.failed()
            raise
        leased.keep(number)
        return number

    def check_read(self) -> None:
        """What was read may be answered. Raises NotHere."""
        if self.leased is not None:
            self.leased.check_read(self.epoch)

    def check_there(self) -> None:
        """A database that was deleted, or replaced, is gone at once, in every process."""
        if self.path is None:
            return
        try:
            status = os.stat(self.path)
        except FileNotFoundError as error:
            raise DatabaseGone from error
        except OSError as error:
            raise from_os_error(error, self.path) from error
        if (status.st_dev, status.st_ino) != self._identity:
            raise DatabaseGone
        self.known_size = max(self.known_size, status.st_size)

    def ours(self, sql: str) -> list[Row]:
        """A statement of ours: past the sandbox, and never cached, or a tenant's might be found in the cache."""
        sandbox, guard = self.sandbox, self.guard
        sandbox.open, guard.off = True, True
        try:
            return self.connection.execute(sql, can_cache=False).fetchall()
        finally:
            sandbox.open = False

    def number(self) -> int:
        return cast("int", self.ours("PRAGMA user_version")[0][0])

    def size(self) -> int:
        self.known_size = cast("int", self.ours("PRAGMA page_count")[0][0]) * most.PAGE_BYTES
        return self.known_size

    def schema_version(self) -> int:
        return cast("int", self.ours("PRAGMA schema_version")[0][0])

    def check_schema(self) -> None:
        # `CREATE TRIGGER temp.x … ON main.t` says nothing of `temp` to the authorizer.
        if self.ours("SELECT 1 FROM sqlite_temp_schema LIMIT 1"):
            raise sql_error(OperationErrorCode.DENIED, f"not authorized: {NOTHING_TEMPORARY}", "SQLITE_AUTH")
        used, _ = self.connection.status(apsw.SQLITE_DBSTATUS_SCHEMA_USED)
        if used > most.SCHEMA_BYTES:
            raise sql_error(
                OperationErrorCode.LIMIT_EXCEEDED,
                f"the schema would take {used} bytes of memory; {most.SCHEMA_BYTES} is the most",
            )

    def translated(self, error: BaseException) -> OperationError | StorageError:
        if self._no_room and isinstance(error, apsw.FullError):
            return sql_error(OperationErrorCode.LIMIT_EXCEEDED, self._no_room, "SQLITE_FULL")
        sandbox = getattr(self, "sandbox", None)
        return translate(error, self.guard, "" if sandbox is None else sandbox.why, self.limits)

    def _wait_while_busy(self, tries: int) -> bool:
        """True: look again. SQLite's own files are in somebody's hands for a moment, as while a log is recovered."""
        if self.guard.on_loop or tries * 0.005 > _BUSY_S:
            return False
        time.sleep(0.005)
        return True
