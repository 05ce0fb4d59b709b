"""SQLite through apsw: one file, one process's view of it.

Reads run on the calling thread with a connection of that thread (WAL: they never wait for writers). Writes
are works, functions over a Transaction, queued to one writer thread (`storage.group_commit`): a work may be
run a second time if a neighbour broke the transaction, so its only effects are its statements. Every file
has a side file `<name>.lock` that writers of all processes take turns on.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

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
from storage.group_commit import Engine, GroupCommitter, Job
from storage.migrations import Migrations
from storage.sqlite_engine import SqliteEngine, connect, translate
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

#: How long a write waits for a file that somebody else keeps. Reads wait only while another process
#: recovers the log after a crash, and they do so on the loop.
BUSY_TIMEOUT_S = 5.0
READ_BUSY_TIMEOUT_S = 1.0
#: Threads for scans: a scan keeps the GIL little, and more than this many only fight for the disk.
SCAN_THREADS = 2
#: Below this a file system counts as full, before the first write fails.
LEAST_FREE_BYTES = 1 << 20


class Replication(Protocol):
    """What keeps a file equal to other machines': storage.replication.replicated_file.ReplicatedFile."""

    def engine_over(self, engine: SqliteEngine, path: Path, migrations: Migrations, /) -> Engine:
        """What the writer's thread is to use."""

    def prepare(self) -> None:
        """Bring the file up to what the others have, its schema too. Raises StorageError subclasses."""

    def close(self) -> None:
        """Idempotent. The writer ends after it."""


class Database:
    """One SQLite file. Use from any thread; `write` from a running loop."""

    def __init__(
        self,
        path: Path,
        migrations: Migrations,
        *,
        read_only: bool,
        busy_timeout_s: float,
        hook: CommitHook | None,
        replication: Replication | None,
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
        self._replication = replication
        if not read_only:
            try:
                # SQLite gives its log and index files the mode of the main file.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                lock = FileLock(path.with_name(path.name + ".lock"))
            except OSError as error:
                raise from_os_error(error, path) from error
            sqlite = SqliteEngine(path, busy_timeout_s, hook)
            engine: Engine = sqlite
            if replication is not None:
                engine = replication.engine_over(sqlite, path, migrations)
            self._writer = GroupCommitter(engine, lock, busy_timeout_s)

    @staticmethod
    def open(
        path: Path,
        migrations: Migrations,
        *,
        read_only: bool = False,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        on_commit: CommitHook | None = None,
        replication: Replication | None = None,
    ) -> Database:
        """Open `path`, make it (0600) and bring its schema up to date, under the file's lock.

        With `read_only` nothing is made or migrated: SchemaMismatch if the schema is not up to date.
        `on_commit` is called on the writer's thread after each COMMIT of this process, still under the lock
        between processes, before any work of the batch is acknowledged; the transaction it gets is for
        reading. It is also called once here. `replication`: the file is one of several machines' replicas.
        Raises StorageError subclasses.
        """
        database = Database(
            path,
            migrations,
            read_only=read_only,
            busy_timeout_s=busy_timeout_s,
            hook=on_commit,
            replication=replication,
        )
        try:
            if replication is not None:
                replication.prepare()
            elif not read_only:
                database.write_blocking(partial(_open_own, migrations))
            try:
                database._readers = _Reader(database)
            except apsw.Error as error:
                raise translate(error, path) from error
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
        return await self.in_thread(partial(self.read, sql, params))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """What `work`, which reads, returned: in a thread of our own, of which there are few."""
        if self._closed:
            raise StorageClosed("the database is closed")
        if self._scans is None:
            self._scans = concurrent.futures.ThreadPoolExecutor(SCAN_THREADS, "storage-scan")
        return await asyncio.get_running_loop().run_in_executor(self._scans, work)

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
        if self._replication is not None:
            self._replication.close()
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
        connection = connect(self.path, READ_BUSY_TIMEOUT_S, read_only=self.read_only)
        self._connections.add(connection)
        connection.execute("PRAGMA query_only = 1")
        return connection.cursor()

    def _translated(self, error: apsw.Error) -> StorageError:
        if self._closed:
            return StorageClosed("the database is closed")
        return translate(error, self.path)


def _open_own(migrations: Migrations, tx: Transaction) -> None:
    # What is written to a replica alone would part it from the others.
    if tx.execute("SELECT 1 FROM sqlite_schema WHERE name = 'replication'") and tx.execute(
        "SELECT 1 FROM replication WHERE joined"
    ):
        raise StorageReadOnly(
            "this data folder is a machine of a platform that several share: name its database with --database"
        )
    migrations.apply(tx)


class _Reader(threading.local):
    """A cursor for each thread, opened when the thread first asks; the connection goes with its thread."""

    def __init__(self, database: Database) -> None:
        self.cursor = database._open_reader()
