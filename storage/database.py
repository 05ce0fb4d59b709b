"""SQLite through apsw: one file, one process's view of it. Nothing else knows apsw or its exceptions.

Reads run on the calling thread with a connection of that thread (WAL: they never wait for writers). Writes
are works, functions over a Transaction, queued to one writer thread (`storage.group_commit`): a work may be
run a second time if a neighbour broke the transaction, so its only effects are its statements. Every file
has a side file `<name>.lock` that writers of all processes take turns on.
"""

from __future__ import annotations

import array
import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import apsw

from storage.failures import (
    ConstraintViolated,
    DiskFull,
    SchemaMismatch,
    StorageBusy,
    StorageClosed,
    StorageError,
    StorageLost,
    StorageReadOnly,
    ValueTooLarge,
    from_os_error,
)
from storage.file_lock import FileLock
from storage.group_commit import GroupCommitter, Job, TransactionLost
from storage.migrations import Migrations
from storage.transaction import CommitHook, Row, SqlValue, Transaction

__all__ = [
    "ConstraintViolated",
    "Database",
    "DiskFull",
    "Row",
    "SchemaMismatch",
    "SqlValue",
    "StorageBusy",
    "StorageClosed",
    "StorageError",
    "StorageLost",
    "StorageReadOnly",
    "Transaction",
    "ValueTooLarge",
]

T = TypeVar("T")

#: A C int, for SQLite to read: its file controls take the address of one.
_ONE = array.array("i", [1])

#: How long a write waits for a file that somebody else keeps. Reads wait only while another process
#: recovers the log after a crash, and they do so on the loop.
BUSY_TIMEOUT_S = 5.0
READ_BUSY_TIMEOUT_S = 1.0
#: Threads for scans: a scan keeps the GIL little, and more than this many only fight for the disk.
SCAN_THREADS = 2
#: After a burst the log file is cut back to this many bytes.
WAL_SIZE_LIMIT = 64 << 20
#: Below this a file system counts as full, before the first write fails.
LEAST_FREE_BYTES = 1 << 20


class Database:
    """One SQLite file. Use from any thread; `write` from a running loop."""

    def __init__(
        self, path: Path, *, read_only: bool, busy_timeout_s: float, hook: CommitHook | None
    ) -> None:
        """For `open` only."""
        self.path = path
        self.read_only = read_only
        self._connections: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._readers: _Reader
        self._scans: concurrent.futures.ThreadPoolExecutor | None = None
        self._writer: GroupCommitter | None = None
        self._identity = (0, 0)
        self._closed = False
        if not read_only:
            try:
                # SQLite gives its log and index files the mode of the main file.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                lock = FileLock(path.with_name(path.name + ".lock"))
            except OSError as error:
                raise from_os_error(error, path) from error
            self._writer = GroupCommitter(_SqliteEngine(path, busy_timeout_s, hook), lock, busy_timeout_s)

    @staticmethod
    def open(
        path: Path,
        migrations: Migrations,
        *,
        read_only: bool = False,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        on_commit: CommitHook | None = None,
    ) -> Database:
        """Open `path`, make it (0600) and bring its schema up to date, under the file's lock.

        With `read_only` nothing is made or migrated: SchemaMismatch if the schema is not up to date.
        `on_commit` is called on the writer's thread after each COMMIT of this process, still under the lock
        between processes, before any work of the batch is acknowledged; the transaction it gets is for
        reading. It is also called once here. Raises StorageError subclasses.
        """
        database = Database(path, read_only=read_only, busy_timeout_s=busy_timeout_s, hook=on_commit)
        try:
            if not read_only:
                database.write_blocking(migrations.apply)
            try:
                database._readers = _Reader(database)
            except apsw.Error as error:
                raise _translate(error, path) from error
            if read_only:
                migrations.require_current(database.read)
            status = os.stat(path)
            database._identity = (status.st_dev, status.st_ino)
        except BaseException:
            database.close()
            raise
        return database

    def read(self, sql: str, params: Sequence[SqlValue] = ()) -> list[Row]:
        """All rows, on the calling thread: for point reads under 64 KiB. Sees all that is committed."""
        try:
            return self._readers.cursor.execute(sql, params).fetchall()
        except apsw.Error as error:
            raise self._translated(error) from error

    async def read_in_thread(self, sql: str, params: Sequence[SqlValue] = ()) -> list[Row]:
        """All rows, in a thread of our own: for scans and large values."""
        if self._closed:
            raise StorageClosed("the database is closed")
        if self._scans is None:
            self._scans = concurrent.futures.ThreadPoolExecutor(SCAN_THREADS, "storage-scan")
        return await asyncio.get_running_loop().run_in_executor(self._scans, self.read, sql, params)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """What `work` returned, once it is committed and on the disk.

        `work` runs on the writer's thread, in a savepoint; what it raises is raised here and its statements
        are undone, and nobody else's. Cancelling the await does not undo the write: once submitted it
        completes. Raises StorageError subclasses, and StorageReadOnly for a `read_only` database.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._require_writer().submit(Job(work, future, loop))
        return cast("T", await future)

    def write_blocking(self, work: Callable[[Transaction], T]) -> T:
        """As `write`, for the command line and start-up: the calling thread waits."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._require_writer().submit(Job(work, future, None))
        return cast("T", future.result())

    def probe(self) -> None:
        """For readiness. Raise StorageLost if the file was removed or replaced, or can't be read; where this
        process writes it, DiskFull when there is hardly room for a write, StorageReadOnly.
        """
        try:
            status = os.stat(self.path)
            room = os.statvfs(self.path)
        except OSError as error:
            raise from_os_error(error, self.path) from error
        if (status.st_dev, status.st_ino) != self._identity:
            raise StorageLost("a database file was replaced while it was open", detail=str(self.path))
        if not self.read_only:
            if room.f_flag & os.ST_RDONLY:
                raise StorageReadOnly("the storage can only be read", detail=str(self.path))
            if room.f_bavail * room.f_frsize < LEAST_FREE_BYTES:
                raise DiskFull("the storage is full", detail=f"{self.path}: {room.f_bavail} blocks are free")
        self.read("SELECT count(*) FROM schema_migrations")

    def close(self) -> None:
        """Finish what was submitted, then let go of the file. Idempotent."""
        self._closed = True
        if self._writer is not None:
            self._writer.close()
        if self._scans is not None:
            self._scans.shutdown()
        for connection in list(self._connections):
            connection.close()

    def _require_writer(self) -> GroupCommitter:
        if self._writer is None:
            raise StorageReadOnly("the database was opened for reading only", detail=str(self.path))
        return self._writer

    def _open_reader(self) -> apsw.Cursor:
        if self._closed:
            raise StorageClosed("the database is closed")
        connection = _connect(self.path, READ_BUSY_TIMEOUT_S, read_only=self.read_only)
        self._connections.add(connection)
        connection.execute("PRAGMA query_only = 1")
        return connection.cursor()

    def _translated(self, error: apsw.Error) -> StorageError:
        if self._closed:
            return StorageClosed("the database is closed")
        return _translate(error, self.path)


class _Reader(threading.local):
    """A cursor for each thread, opened when the thread first asks; the connection goes with its thread."""

    def __init__(self, database: Database) -> None:
        self.cursor = database._open_reader()


class _SqliteTransaction:
    """Speaks for the writer's connection while a work runs."""

    __slots__ = ("_connection", "_path")

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection: apsw.Connection | None = connection
        self._path = path

    def execute(self, sql: str, params: Sequence[SqlValue] = ()) -> list[Row]:
        if self._connection is None:
            raise StorageError("a transaction was used after its work had returned")
        try:
            return self._connection.execute(sql, params).fetchall()
        except apsw.Error as error:
            raise _translate(error, self._path) from error

    def changes(self) -> int:
        if self._connection is None:
            raise StorageError("a transaction was used after its work had returned")
        return self._connection.changes()

    def end(self) -> None:
        self._connection = None


class _SqliteEngine:
    """The writer's connection: opened at the first work, and again after the disk failed."""

    def __init__(self, path: Path, busy_timeout_s: float, hook: CommitHook | None) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._hook = hook
        self._connection: apsw.Connection | None = None

    def begin(self) -> None:
        try:
            if self._connection is None:
                self._connection = _connect_writer(self._path, self._busy_timeout_s)
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            failure = _translate(error, self._path)
            if isinstance(failure, StorageLost):
                self.close()
            raise failure from error

    def run(self, work: Callable[[Any], object]) -> object:
        connection = self._opened()
        connection.execute("SAVEPOINT work")
        transaction = _SqliteTransaction(connection, self._path)
        try:
            value = work(transaction)
        except BaseException as error:
            if not connection.in_transaction:
                raise TransactionLost from error
            connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
            raise
        finally:
            transaction.end()
        if not connection.in_transaction:
            # The work caught the error of a statement that had undone everything: it can't have succeeded.
            raise TransactionLost from StorageError("the engine undid the transaction during a work")
        connection.execute("RELEASE work")
        return value

    def commit(self) -> None:
        try:
            self._opened().execute("COMMIT")
        except apsw.Error as error:
            raise _translate(error, self._path) from error

    def committed(self) -> None:
        if self._hook is not None:
            transaction = _SqliteTransaction(self._opened(), self._path)
            try:
                self._hook(transaction)
            finally:
                transaction.end()

    def abandon(self) -> None:
        connection = self._opened()
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except apsw.Error:
                self.close()  # the next batch opens the file anew

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close(True)
            self._connection = None

    def _opened(self) -> apsw.Connection:
        if self._connection is None:
            raise StorageError("the writer has no connection; begin comes first")
        return self._connection


def _connect(path: Path, busy_timeout_s: float, *, read_only: bool) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    connection = apsw.Connection(str(path), flags=flags, statementcachesize=256)
    connection.set_busy_timeout(int(busy_timeout_s * 1000))
    # No SQL of a tenant's comes here, but a damaged or planted file might: it may not run functions.
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    # Log and index stay when the last connection closes: a confined worker process may open them, not make
    # them (processes.profiles). What was in the log is in the database then.
    connection.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, _ONE.buffer_info()[0])
    return connection


def _connect_writer(path: Path, busy_timeout_s: float) -> apsw.Connection:
    connection = _connect(path, busy_timeout_s, read_only=False)
    # FULL: a COMMIT returns after fsync, so what was acknowledged survives a power loss. Checkpoints run
    # in COMMIT, on this thread, without the GIL, and wait for no reader (passive).
    connection.execute(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
        f" PRAGMA journal_size_limit = {WAL_SIZE_LIMIT}"
    ).fetchall()
    return connection


_FAMILIES: tuple[tuple[type[apsw.Error], type[StorageError], str], ...] = (
    (apsw.FullError, DiskFull, "the storage is full"),
    (apsw.BusyError, StorageBusy, "the storage is busy"),
    (apsw.LockedError, StorageBusy, "the storage is busy"),
    (apsw.ReadOnlyError, StorageReadOnly, "the storage can only be read"),
    (apsw.TooBigError, ValueTooLarge, "a value is larger than the storage can hold"),
    (apsw.IOError, StorageLost, "the storage failed to read or write"),
    (apsw.CorruptError, StorageLost, "the storage is damaged"),
    (apsw.NotADBError, StorageLost, "the storage is damaged: not a database"),
    (apsw.CantOpenError, StorageLost, "the storage can't be opened"),
    (apsw.PermissionsError, StorageReadOnly, "the storage may not be accessed"),
    (apsw.ConnectionClosedError, StorageClosed, "the database is closed"),
)

_CONSTRAINTS = {
    apsw.SQLITE_CONSTRAINT_UNIQUE: "unique",
    apsw.SQLITE_CONSTRAINT_PRIMARYKEY: "unique",
    apsw.SQLITE_CONSTRAINT_ROWID: "unique",
    apsw.SQLITE_CONSTRAINT_FOREIGNKEY: "foreign_key",
    apsw.SQLITE_CONSTRAINT_CHECK: "check",
    apsw.SQLITE_CONSTRAINT_NOTNULL: "not_null",
}


def _translate(error: apsw.Error, path: Path) -> StorageError:
    detail = f"{path}: {type(error).__name__}: {error}"
    if isinstance(error, apsw.ConstraintError):
        violated = ConstraintViolated("a row breaks a rule of the schema", detail=detail)
        violated.kind = _CONSTRAINTS.get(getattr(error, "extendedresult", 0), "other")
        return violated
    for family, failure, message in _FAMILIES:
        if isinstance(error, family):
            return failure(message, detail=detail)
    return StorageError("the storage refused a statement", detail=detail)
