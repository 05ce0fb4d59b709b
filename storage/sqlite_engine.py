"""The writer's side of one SQLite file: connections as we want them, transactions, and what its errors mean."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from storage.failures import (
    ConstraintViolated,
    DiskFull,
    StorageBusy,
    StorageClosed,
    StorageError,
    StorageLost,
    StorageReadOnly,
    ValueTooLarge,
)
from storage.group_commit import TransactionLost
from storage.transaction import CommitHook, Row, SqlValue

#: A C int, for SQLite to read: its file controls take the address of one.
_ONE = array.array("i", [1])

#: After a burst the log file is cut back to this many bytes.
WAL_SIZE_LIMIT = 64 << 20


class SqliteTransaction:
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
            raise translate(error, self._path) from error

    def changes(self) -> int:
        if self._connection is None:
            raise StorageError("a transaction was used after its work had returned")
        return self._connection.changes()

    def end(self) -> None:
        self._connection = None


class SqliteEngine:
    """The writer's connection: opened at the first work, and again after the disk failed."""

    def __init__(self, path: Path, busy_timeout_s: float, hook: CommitHook | None) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._hook = hook
        self._connection: apsw.Connection | None = None

    def connection(self) -> apsw.Connection:
        """The writer's, for whoever holds the file's lock. Raises StorageError."""
        try:
            if self._connection is None:
                self._connection = connect_writer(self._path, self._busy_timeout_s)
        except apsw.Error as error:
            raise translate(error, self._path) from error
        return self._connection

    def begin(self) -> None:
        try:
            if self._connection is None:
                self._connection = connect_writer(self._path, self._busy_timeout_s)
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            failure = translate(error, self._path)
            if isinstance(failure, StorageLost):
                self.close()
            raise failure from error

    def run(self, work: Callable[[Any], object]) -> object:
        connection = self._opened()
        connection.execute("SAVEPOINT work")
        transaction = SqliteTransaction(connection, self._path)
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
            raise translate(error, self._path) from error

    def committed(self) -> None:
        if self._hook is not None:
            transaction = SqliteTransaction(self._opened(), self._path)
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


def connect(path: Path, busy_timeout_s: float, *, read_only: bool) -> apsw.Connection:
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


def connect_writer(path: Path, busy_timeout_s: float) -> apsw.Connection:
    connection = connect(path, busy_timeout_s, read_only=False)
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


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors become StorageError."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, path) from error


def translate(error: apsw.Error, path: Path) -> StorageError:
    detail = f"{path}: {type(error).__name__}: {error}"
    if isinstance(error, apsw.ConstraintError):
        violated = ConstraintViolated("a row breaks a rule of the schema", detail=detail)
        violated.kind = _CONSTRAINTS.get(getattr(error, "extendedresult", 0), "other")
        return violated
    for family, failure, message in _FAMILIES:
        if isinstance(error, family):
            return failure(message, detail=detail)
    return StorageError("the storage refused a statement", detail=detail)
