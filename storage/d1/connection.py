"""One connection to one tenant's database, for one thread at a time: a request in, rows and figures out.

A statement that only reads runs in a snapshot and waits for nobody. One that writes first takes its turn on a side
file (`storage.file_lock`: processes go even) and has a transaction, which also counts the write: the number stands in
the file's header (`user_version`) and so follows the data. Whatever fails leaves the database as it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import apsw

from model.errors import OperationError, OperationErrorCode
from model.sql import SqlExecuted, SqlMeta, SqlResult, SqlStatement
from storage.d1 import limits as most
from storage.d1.failures import CAUGHT, sql_error, translate
from storage.d1.guard import Asker, Guard
from storage.d1.limits import D1Limits
from storage.d1.rows import bytes_of_row, size_of, take_rows, too_much
from storage.d1.sandbox import NOTHING_TEMPORARY, confine
from storage.d1.sql import first_words, is_blank, split_statements
from storage.failures import StorageBusy, StorageError, from_os_error
from storage.file_lock import FileLock
from storage.transaction import Row

_BUSY_MS: Final = 5_000
#: Small statements, compiled: what tenants repeat.
_CACHED: Final = 24
_CHANGE_ROWS: Final = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"})


class DatabaseGone(Exception):
    """The file was deleted while it was open."""


class D1Connection:
    """`close` it in any thread when nothing runs. Methods raise OperationError, StorageError, DatabaseGone."""

    def __init__(self, path: Path | None, limits: D1Limits) -> None:
        """`path` None: in memory. A file has to be there, as `storage.d1.files.create` makes it."""
        self._path = path
        self._limits = limits
        self._guard = Guard(limits)
        self._identity = (0, 0)
        self._lock: FileLock | None = None
        self._wrote = False
        #: Bytes, as last seen: the file's own size lags behind while its log holds more.
        self._known_size = 0
        #: What is said when the database may not grow for want of room of its tenant's.
        self._no_room = ""
        try:
            if path is None:
                self._connection = apsw.Connection(":memory:", statementcachesize=_CACHED)
            else:
                status = os.stat(path)
                self._identity = (status.st_dev, status.st_ino)
                self._lock = FileLock(path.with_name(f"{path.stem}.lock"))
                flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW
                self._connection = apsw.Connection(str(path), flags=flags, statementcachesize=_CACHED)
        except FileNotFoundError as error:
            raise DatabaseGone from error
        except OSError as error:
            raise from_os_error(error, path or Path()) from error
        except apsw.Error as error:
            raise self._translated(error) from error
        try:
            self._connection.set_busy_timeout(_BUSY_MS)
            self._pages = pages = max(1, limits.database_bytes // most.PAGE_BYTES)
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "foreign_keys = ON",
                "temp_store = FILE",
                "mmap_size = 0",
                "cell_size_check = ON",
                f"cache_size = -{most.CACHE_KIB}",
                f"max_page_count = {pages}",
                f"journal_size_limit = {most.WAL_LIMIT_BYTES}",
            ):
                self._connection.execute(f"PRAGMA {pragma}", can_cache=False).fetchall()
            self._sandbox = confine(self._connection, self._guard)
            self._sandbox.open = False
            self._steps: dict[str, Any] = {}
            self._connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._profiled)
        except apsw.Error as error:
            self.close()
            raise self._translated(error) from error

    def close(self) -> None:
        self._connection.close(True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def limit_to(self, room: tuple[int, str] | None) -> None:
        """How large it may become from now on, and what to say then; None: as large as any. What is there stays,
        and can be deleted. Raises OperationError, StorageError.
        """
        most_bytes = self._limits.database_bytes
        self._no_room = ""
        if room is not None and room[0] < most_bytes:
            most_bytes, self._no_room = room
        pages = max(1, most_bytes // most.PAGE_BYTES)
        if pages == self._pages:
            return
        try:
            self._ours(f"PRAGMA max_page_count = {pages}")
            self._pages = pages
        except CAUGHT as error:
            raise self._translated(error) from error

    # -- requests --------------------------------------------------------------------------------------

    def query(self, statement: SqlStatement, asker: Asker, seen: int | None = None) -> SqlResult:
        """One statement, by itself. `seen`: the number of a write that it has to see."""
        number = self._begin(asker, seen)
        try:
            result = self._step(statement, only_read=True)
            if result is None:
                with self._writing():
                    return self._write_one(statement)
            if number is None:
                return result
            return replace(result, meta=replace(result.meta, bookmark=number))
        except CAUGHT as error:
            raise self._translated(error) from error

    def batch(
        self, statements: Sequence[SqlStatement], asker: Asker, seen: int | None = None
    ) -> list[SqlResult]:
        """All in one transaction, or none."""
        self._begin(asker, seen)
        try:
            with self._writing():
                return self._write_all(statements)
        except CAUGHT as error:
            raise self._translated(error) from error

    def script(self, sql: str, asker: Asker) -> SqlExecuted:
        """Each statement by itself, one after another; what ran before one that fails stays."""
        self._begin(asker, None)
        began = time.perf_counter()
        count = 0
        for part in split_statements(sql):
            statement = SqlStatement(part.text)
            try:
                if self._step(statement, only_read=True) is None:
                    with self._writing():
                        self._write_one(statement)
            except (OperationError, *CAUGHT) as error:
                failed = error if isinstance(error, OperationError) else self._translated(error)
                if isinstance(failed, StorageError):
                    raise failed from error
                words = failed.message.removeprefix("D1_ERROR: ")
                raise OperationError(
                    failed.code, f"D1_EXEC_ERROR: Error in line {part.line}: {words}"
                ) from error
            count += 1
        return SqlExecuted(count, (time.perf_counter() - began) * 1000)

    def load(self, script: str, asker: Asker) -> SqlExecuted:
        """A dump, in one transaction. What dumps have around it (BEGIN, COMMIT, foreign_keys off) is passed over."""
        self._begin(asker, None)
        began = time.perf_counter()
        count = 0
        line = 0
        # A dump has values written out: a blob takes twice its size.
        self._connection.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, 5 * most.VALUE_BYTES)
        try:
            with self._writing():
                self._ours("PRAGMA defer_foreign_keys = ON")
                for part in split_statements(script):
                    line = part.line
                    if _is_around_a_dump(part.text):
                        continue
                    self._step(SqlStatement(part.text))
                    count += 1
                line = 0
                self._check_schema()
                self._commit(changed=True)
        except CAUGHT as error:
            failed = self._translated(error)
            if line and isinstance(failed, OperationError):
                failed = OperationError(failed.code, f"line {line}: {failed.message}")
            raise failed from error
        finally:
            self._connection.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, most.SQL_BYTES)
        return SqlExecuted(count, (time.perf_counter() - began) * 1000)

    def bookmark(self) -> int:
        """The number of the last write."""
        try:
            return cast("int", self._ours("PRAGMA user_version")[0][0])
        except CAUGHT as error:
            raise self._translated(error) from error

    # -- one statement ---------------------------------------------------------------------------------

    def _step(self, statement: SqlStatement, *, only_read: bool = False) -> SqlResult | None:
        """Run it. None when it would write, and `only_read` forbids that: nothing was done then."""
        connection, guard, sandbox = self._connection, self._guard, self._sandbox
        sql = statement.sql
        if is_blank(sql):
            raise sql_error(OperationErrorCode.INVALID_ARGUMENT, "there is no statement in it")
        columns: tuple[str, ...] = ()
        begun = would_write = False
        more: OperationError | None = None

        def before(cursor: apsw.Cursor, text: str, _: object) -> bool:
            nonlocal columns, begun, would_write, more
            if begun:
                more = _several()
                return False
            begun = True
            if len(text) < len(sql) and not is_blank(sql[len(text) :]):
                more = _several()
                return False
            if any(name is not None and not name.isdigit() for name in cursor.bindings_names):
                more = sql_error(
                    OperationErrorCode.INVALID_ARGUMENT, "named parameters are not supported; ? and ?1 are"
                )
                return False
            guard.runs()
            if only_read and not cursor.is_readonly:
                would_write = True
                return False
            columns = tuple(name for name, _ in cursor.get_description())
            return True

        sandbox.why = ""
        guard.begin_statement()
        guard.off = False
        self._steps = {}
        changes_before = connection.total_changes()
        cursor = connection.cursor()
        cursor.exec_trace = before
        began = time.perf_counter()
        try:
            running = cursor.execute(sql, statement.params)
            rows = take_rows(running, bytes_of_row(columns))
        except apsw.ExecTraceAbort:
            if more is not None:
                raise more from None
            if would_write:
                return None
            raise
        finally:
            guard.off = True
            cursor.close(True)
        took = (time.perf_counter() - began) * 1000
        changes = connection.total_changes() - changes_before
        scanned = cast("int", self._steps.get("SQLITE_STMTSTATUS_FULLSCAN_STEP", 0))
        meta = SqlMeta(
            duration_ms=took,
            changes=changes,
            last_row_id=connection.last_insert_rowid(),
            changed_db=changes > 0,
            size_after=self._known_size,
            rows_read=max(scanned, len(rows)),
            rows_written=changes,
        )
        return SqlResult(columns, rows, meta)

    def _write_one(self, statement: SqlStatement) -> SqlResult:
        return self._write_all([statement])[0]

    def _write_all(self, statements: Sequence[SqlStatement]) -> list[SqlResult]:
        """In the transaction that is open, which is committed at the end."""
        changed = False
        results: list[SqlResult] = []
        room = most.RESULT_BYTES
        for number, statement in enumerate(statements):
            # Of inserts and the like the rows tell; of the rest (CREATE, ALTER…) the schema's own count.
            tells = (first_words(statement.sql, 1) or ("",))[0] in _CHANGE_ROWS
            schema = 0 if tells else self._schema_version()
            result = self._step(statement)
            if result is None:
                raise AssertionError("a statement in a transaction was not run")
            if not tells:
                self._check_schema()
            if not tells and self._schema_version() != schema:
                result = replace(result, meta=replace(result.meta, changed_db=True))
            changed = changed or result.meta.changed_db
            room -= size_of(result)
            if room < 0 and number:
                raise too_much()
            results.append(result)
        number = self._commit(changed=changed)
        size = self._size()
        return [
            replace(result, meta=replace(result.meta, bookmark=number, size_after=size)) for result in results
        ]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Our turn, and a transaction: undone unless it was committed."""
        lock = self._lock
        if lock is not None and not lock.acquire(self._guard.left_s()):
            raise StorageBusy("the database is busy: others write to it", detail=str(self._path))
        try:
            self._check_there()
            self._guard.writes = self._wrote = True
            self._ours("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._ours("ROLLBACK")
        finally:
            if lock is not None:
                lock.release()

    def _commit(self, *, changed: bool) -> int:
        number = cast("int", self._ours("PRAGMA user_version")[0][0])
        if changed:
            number += 1
            self._ours(f"PRAGMA user_version = {number}")
        self._ours("COMMIT")
        return number

    # -- around ----------------------------------------------------------------------------------------

    def _begin(self, asker: Asker, seen: int | None) -> int | None:
        """The number of the last write, where somebody wants to know it."""
        self._check_there()
        self._guard.begin(asker)
        if self._wrote:
            # Of an event before this one it must tell nothing.
            self._wrote = False
            self._connection.set_last_insert_rowid(0)
        if seen is None:
            return None
        number = self.bookmark()
        if seen > number:
            raise sql_error(
                OperationErrorCode.INVALID_ARGUMENT,
                "the bookmark is of a later state than this database has; it is another database's, or a"
                " backup was put back",
            )
        return number

    def _check_there(self) -> None:
        """A database that was deleted, or replaced, is gone at once, in every process."""
        if self._path is None:
            return
        try:
            status = os.stat(self._path)
        except FileNotFoundError as error:
            raise DatabaseGone from error
        except OSError as error:
            raise from_os_error(error, self._path) from error
        if (status.st_dev, status.st_ino) != self._identity:
            raise DatabaseGone
        self._known_size = max(self._known_size, status.st_size)

    def _ours(self, sql: str) -> list[Row]:
        """A statement of ours: past the sandbox, and never cached, or a tenant's might be found in the cache."""
        sandbox, guard = self._sandbox, self._guard
        sandbox.open, guard.off = True, True
        try:
            return self._connection.execute(sql, can_cache=False).fetchall()
        finally:
            sandbox.open = False

    def _size(self) -> int:
        self._known_size = cast("int", self._ours("PRAGMA page_count")[0][0]) * most.PAGE_BYTES
        return self._known_size

    def _schema_version(self) -> int:
        return cast("int", self._ours("PRAGMA schema_version")[0][0])

    def _check_schema(self) -> None:
        # `CREATE TRIGGER temp.x … ON main.t` says nothing of `temp` to the authorizer.
        if self._ours("SELECT 1 FROM sqlite_temp_schema LIMIT 1"):
            raise sql_error(OperationErrorCode.DENIED, f"not authorized: {NOTHING_TEMPORARY}", "SQLITE_AUTH")
        used, _ = self._connection.status(apsw.SQLITE_DBSTATUS_SCHEMA_USED)
        if used > most.SCHEMA_BYTES:
            raise sql_error(
                OperationErrorCode.LIMIT_EXCEEDED,
                f"the schema would take {used} bytes of memory; {most.SCHEMA_BYTES} is the most",
            )

    def _profiled(self, event: dict[str, Any]) -> None:
        if not self._sandbox.open:
            self._steps = event["stmt_status"]

    def _translated(self, error: BaseException) -> OperationError | StorageError:
        if self._no_room and isinstance(error, apsw.FullError):
            return sql_error(OperationErrorCode.LIMIT_EXCEEDED, self._no_room, "SQLITE_FULL")
        sandbox = getattr(self, "_sandbox", None)
        return translate(error, self._guard, "" if sandbox is None else sandbox.why, self._limits)


def _several() -> OperationError:
    return sql_error(
        OperationErrorCode.INVALID_ARGUMENT,
        "there is more than one statement in it; use a batch, or exec",
    )


def _is_around_a_dump(statement: str) -> bool:
    words = first_words(statement)
    return words[:1] in (("BEGIN",), ("COMMIT",), ("END",)) or words == ("PRAGMA", "FOREIGN_KEYS")
