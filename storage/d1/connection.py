"""Requests of one tenant's database, in one thread at a time: statements in, rows and figures out.

A statement that only reads runs in a snapshot and waits for nobody. One that writes first takes its turn on a side
file (`storage.file_lock`: processes go even) and has a transaction, which also counts the write: the number stands in
the file's header (`user_version`) and so follows the data. Whatever fails leaves the database as it was.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import apsw

from model.errors import OperationError, OperationErrorCode
from model.sql import SqlExecuted, SqlMeta, SqlResult, SqlStatement
from storage.d1 import limits as most
from storage.d1.failures import CAUGHT, sql_error
from storage.d1.guard import STEPS, Asker
from storage.d1.leased_database import LeasedDatabase, NotHere
from storage.d1.limits import D1Limits
from storage.d1.open_database import DatabaseGone, OpenDatabase
from storage.d1.quick_reads import ON_LOOP_STEPS, ON_LOOP_VALUE_BYTES, QuickReads
from storage.d1.rows import bytes_of_row, size_of, take_rows, too_much
from storage.d1.sql import first_words, is_blank, split_exec, split_statements
from storage.failures import StorageError, StorageLost

_CHANGE_ROWS: Final = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"})


#: SQLite takes it for a read, though it may write statistics.
_OPTIMIZE: Final = re.compile(r"\s*PRAGMA\b.*\boptimize\b", re.IGNORECASE | re.DOTALL)


class D1Connection:
    """`close` it in any thread when nothing runs. Methods raise OperationError, StorageError, DatabaseGone."""

    def __init__(self, path: Path | None, limits: D1Limits, leased: LeasedDatabase | None = None) -> None:
        """As OpenDatabase. With `leased` its methods raise NotHere, too."""
        self._open = OpenDatabase(path, limits, leased)
        self._quick = QuickReads()
        self._steps: dict[str, Any] = {}
        #: The request has run a statement that is no mere read.
        self._writes = False
        self._open.connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._profiled)

    def close(self) -> None:
        self._open.close()

    def limit_to(self, room: tuple[int, str] | None) -> None:
        """How large it may become from now on, and what to say then; None: as large as any."""
        self._open.limit_to(room)

    # -- requests --------------------------------------------------------------------------------------

    def query(self, statement: SqlStatement, asker: Asker, seen: int | None = None) -> SqlResult:
        """One statement, by itself. `seen`: the number of a write that it has to see."""
        number = self._open.begin(asker, seen)
        try:
            began = time.thread_time()
            result = self._step(statement, only_read=True)
            if result is None:
                with self._open.writing():
                    return self._write_one(statement)
            self._open.check_read()
            self._quick.ran(self._open.connection, statement, time.thread_time() - began)
            return _numbered(result, number)
        except CAUGHT as error:
            raise self._open.translated(error) from error

    def query_now(self, statement: SqlStatement, seen: int | None = None) -> SqlResult | None:
        """As `query`, on the event loop. None: it is for a thread, which also says what may be wrong with it."""
        sql = statement.sql
        if sql not in self._quick:
            return None
        database = self._open
        connection, guard = database.connection, database.guard
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, ON_LOOP_VALUE_BYTES)
        connection.set_progress_handler(guard.progress, ON_LOOP_STEPS)
        guard.on_loop = True
        try:
            number = database.begin(Asker(), seen)
            result = self._step(statement, only_read=True)
            if database.leased is not None and not database.leased.may_answer(database.epoch):
                result = None
        except (OperationError, StorageError, DatabaseGone, NotHere, *CAUGHT):
            result = None
        finally:
            is_long = guard.took_long()
            guard.on_loop = False
            connection.limit(apsw.SQLITE_LIMIT_LENGTH, most.VALUE_BYTES)
            connection.set_progress_handler(guard.progress, STEPS)
        if is_long:
            self._quick.bar(sql)
        elif result is None:
            self._quick.forget(sql)
        return None if result is None else _numbered(result, number)

    def batch(
        self, statements: Sequence[SqlStatement], asker: Asker, seen: int | None = None
    ) -> list[SqlResult]:
        """All in one transaction, or none."""
        self._open.begin(asker, seen)
        try:
            with self._open.writing():
                return self._write_all(statements)
        except CAUGHT as error:
            raise self._open.translated(error) from error

    def script(self, sql: str, asker: Asker) -> SqlExecuted:
        """Each statement by itself, one after another; what ran before one that fails stays."""
        self._open.begin(asker, None)
        began = time.perf_counter()
        count = 0
        for part in split_exec(sql):
            statement = SqlStatement(part.text)
            try:
                if self._step(statement, only_read=True) is None:
                    with self._open.writing():
                        self._write_one(statement)
                else:
                    self._open.check_read()
            except NotHere:
                if not count:
                    raise
                raise StorageLost(
                    f"the database went to another machine before line {part.line}: what ran before it stays"
                ) from None
            except (OperationError, *CAUGHT) as error:
                failed = error if isinstance(error, OperationError) else self._open.translated(error)
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
        self._open.begin(asker, None)
        began = time.perf_counter()
        count = line = rows_read = rows_written = number = last_row_id = 0
        # A dump has values written out: a blob takes twice its size.
        self._open.connection.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, 5 * most.VALUE_BYTES)
        try:
            with self._open.writing():
                self._open.ours("PRAGMA defer_foreign_keys = ON")
                for part in split_statements(script):
                    line = part.line
                    if _is_around_a_dump(part.text):
                        continue
                    result = self._step(SqlStatement(part.text))
                    if result is not None:
                        rows_read += result.meta.rows_read
                        rows_written += result.meta.rows_written
                        last_row_id = result.meta.last_row_id
                    count += 1
                line = 0
                self._open.check_schema()
                number = self._open.commit(changed=True)
            size = self._open.size()
        except CAUGHT as error:
            failed = self._open.translated(error)
            if line and isinstance(failed, OperationError):
                failed = OperationError(failed.code, f"line {line}: {failed.message}")
            raise failed from error
        finally:
            self._open.connection.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, most.SQL_BYTES)
        took = (time.perf_counter() - began) * 1000
        return SqlExecuted(count, took, rows_read, rows_written, last_row_id, size, number)

    def bookmark(self) -> int:
        """The number of the last write."""
        leased = self._open.leased
        epoch = 0 if leased is None else leased.begin_read()
        try:
            number = self._open.number()
            if leased is not None:
                leased.check_read(epoch)
            return number
        except CAUGHT as error:
            raise self._open.translated(error) from error

    # -- one statement ---------------------------------------------------------------------------------

    def _step(self, statement: SqlStatement, *, only_read: bool = False) -> SqlResult | None:
        """Run it. None when it would write, and `only_read` forbids that: nothing was done then."""
        database = self._open
        connection, guard, sandbox = database.connection, database.guard, database.sandbox
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
            if not cursor.is_readonly or _OPTIMIZE.match(sql):
                self._writes = would_write = True
                if only_read:
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
            size_after=database.known_size,
            rows_read=max(scanned, len(rows)),
            rows_written=changes,
        )
        return SqlResult(columns, rows, meta)

    def _write_one(self, statement: SqlStatement) -> SqlResult:
        return self._write_all([statement])[0]

    def _write_all(self, statements: Sequence[SqlStatement]) -> list[SqlResult]:
        """In the transaction that is open, which is committed at the end."""
        changed = self._writes = False
        results: list[SqlResult] = []
        room = most.RESULT_BYTES
        for number, statement in enumerate(statements):
            # Of inserts and the like the rows tell; of the rest (CREATE, ALTER…) the schema's own count.
            tells = (first_words(statement.sql, 1) or ("",))[0] in _CHANGE_ROWS
            schema = 0 if tells else self._open.schema_version()
            result = self._step(statement)
            if result is None:
                raise AssertionError("a statement in a transaction was not run")
            if not tells:
                self._open.check_schema()
            if not tells and self._open.schema_version() != schema:
                result = replace(result, meta=replace(result.meta, changed_db=True))
            changed = changed or result.meta.changed_db
            room -= size_of(result)
            if room < 0 and number:
                raise too_much()
            results.append(result)
        # What changes no row may change pages, which other machines have to get.
        changed = changed or (self._writes and self._open.leased is not None)
        number = self._open.commit(changed=changed)
        size = self._open.size()
        return [
            replace(result, meta=replace(result.meta, bookmark=number, size_after=size)) for result in results
        ]

    def _profiled(self, event: dict[str, Any]) -> None:
        if not self._open.sandbox.open:
            self._steps = event["stmt_status"]


def _numbered(result: SqlResult, number: int | None) -> SqlResult:
    return result if number is None else replace(result, meta=replace(result.meta, bookmark=number))


def _several() -> OperationError:
    return sql_error(
        OperationErrorCode.INVALID_ARGUMENT,
        "there is more than one statement in it; use a batch, or exec",
    )


def _is_around_a_dump(statement: str) -> bool:
    words = first_words(statement)
    return words[:1] in (("BEGIN",), ("COMMIT",), ("END",)) or words == ("PRAGMA", "FOREIGN_KEYS")
