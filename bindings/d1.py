"""D1: what a guest may ask of its SQL database, and the rules that the control API shares.

Shapes, messages and limits are Cloudflare's D1's, as far as MessagePack has them: integers keep their 64 bits, blobs
are bytes. `prepare(…).bind(…)` is the SDK's; what crosses is the statement with its parameters. There is one primary,
so every read is of the newest state, and a session's bookmark is only checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from bindings.arguments import check_count, parse_options, type_name, utf8_size
from bindings.failures import unavailable
from model.capabilities import Charge, GuestEvent, OperationResult, SqlDatabase, free
from model.errors import OperationError, OperationErrorCode
from model.sql import SqlExecuted, SqlMeta, SqlResult, SqlScalar, SqlStatement
from storage.d1.limits import BATCH_STATEMENTS, PARAMETERS, SQL_BYTES
from storage.d1.store import D1Store
from storage.failures import StorageBusy, StorageError

MODES: Final = ("all", "raw", "first")
#: What a session may begin with instead of a bookmark.
SESSION_STARTS: Final = ("first-primary", "first-unconstrained")
_QUERY_OPTIONS: Final = frozenset({"mode", "column", "session"})
_BATCH_OPTIONS: Final = frozenset({"mode", "session"})
_BOOKMARK: Final = re.compile(r"[0-9a-f]{16}")
_COLUMN_BYTES: Final = 1024


class StoredSqlDatabase:
    """A SqlDatabase over the store: the one that a binding names."""

    __slots__ = ("_id", "_store")

    def __init__(self, store: D1Store, database_id: str) -> None:
        self._store = store
        self._id = database_id

    def query_now(self, statement: SqlStatement, seen: int | None = None) -> SqlResult | None:
        return self._store.query_now(self._id, statement, seen)

    async def query(
        self, statement: SqlStatement, tenant: str, seen: int | None = None, charge: Charge = free
    ) -> SqlResult:
        return await self._store.query(self._id, statement, tenant, seen, charge)

    async def batch(
        self, statements: Sequence[SqlStatement], tenant: str, seen: int | None = None, charge: Charge = free
    ) -> list[SqlResult]:
        return await self._store.batch(self._id, statements, tenant, seen, charge)

    async def exec(self, script: str, tenant: str, charge: Charge = free) -> SqlExecuted:
        return await self._store.exec(self._id, script, tenant, charge)


# Rules that the control API shares. Each raises OperationError(invalid_argument | limit_exceeded).


def parse_statement(sql: object, params: object, where: str = "") -> SqlStatement:
    """`where` is a prefix for messages: "statements[3].", or nothing."""
    return SqlStatement(parse_sql(sql, where), _parse_params(params, where))


def parse_sql(sql: object, where: str = "") -> str:
    """At most 100,000 bytes."""
    if not isinstance(sql, str):
        raise _wrong(f"{where}sql: {type_name(sql)}; a string is right")
    if "\0" in sql:
        raise _wrong(f"{where}sql: holds a NUL; bind it as a parameter")
    size = utf8_size(f"{where}sql", sql)
    if size > SQL_BYTES:
        raise OperationError(
            OperationErrorCode.LIMIT_EXCEEDED,
            f"D1_ERROR: {where}sql: {size} bytes; at most {SQL_BYTES} are allowed: SQLITE_TOOBIG",
        )
    return sql


def parse_session(value: object) -> int | None:
    """The number of the write that has to be seen; None without a session."""
    if value is None:
        return None
    if value in SESSION_STARTS:
        return 0
    if isinstance(value, str) and _BOOKMARK.fullmatch(value):
        return int(value, 16)
    raise _wrong(f"session: {' and '.join(SESSION_STARTS)} are right, and a bookmark that an answer gave")


def show_bookmark(number: int) -> str:
    """Text that sorts as the numbers do."""
    return f"{number:016x}"


def show_meta(meta: SqlMeta) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "served_by": "tenantry",
        "served_by_region": "local",
        "served_by_primary": True,
        "timings": {"sql_duration_ms": meta.duration_ms},
        "duration": meta.duration_ms,
        "changes": meta.changes,
        "last_row_id": meta.last_row_id,
        "changed_db": meta.changed_db,
        "size_after": meta.size_after,
        "rows_read": meta.rows_read,
        "rows_written": meta.rows_written,
    }
    if meta.bookmark is not None:
        shown["bookmark"] = show_bookmark(meta.bookmark)
    return shown


def show_result(result: SqlResult, mode: str) -> dict[str, Any]:
    """`mode` is "all" (rows as maps; of columns of one name the last counts) or "raw"."""
    if mode == "raw":
        return {
            "success": True,
            "columns": result.columns,
            "rows": result.rows,
            "meta": show_meta(result.meta),
        }
    columns = result.columns
    rows = [dict(zip(columns, row, strict=True)) for row in result.rows]
    return {"success": True, "results": rows, "meta": show_meta(result.meta)}


# The operations: docs/bindings.md gives their shapes.


def d1_query(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    """At once where the store can tell it at once: then no task is made for it, and no thread asked."""
    check_count("d1.query", args, 1, 3, "sql, params?, options?")
    statement = parse_statement(args[0], args[1] if len(args) > 1 else None)
    options = parse_options("d1.query", args[2] if len(args) > 2 else None, _QUERY_OPTIONS)
    mode = _parse_mode(options, MODES)
    column = options.get("column")
    if column is not None:
        if mode != "first" or not isinstance(column, str):
            raise _wrong("column: a string, with the mode first, is right")
        utf8_size("column", column)
    seen = parse_session(options.get("session"))
    database = cast("SqlDatabase", lent)
    result = database.query_now(statement, seen)
    if result is None:
        return _query(event, database, statement, seen, mode, column)
    return _shown(result, mode, column)


async def _query(
    event: GuestEvent,
    database: SqlDatabase,
    statement: SqlStatement,
    seen: int | None,
    mode: str,
    column: str | None,
) -> object:
    try:
        result = await database.query(statement, _tenant(event), seen, event.charge)
    except StorageError as error:
        raise _failed(error) from error
    return _shown(result, mode, column)


def _shown(result: SqlResult, mode: str, column: str | None) -> object:
    return _first(result, column) if mode == "first" else show_result(result, mode)


async def d1_batch(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("d1.batch", args, 1, 2, "statements, options?")
    statements = parse_batch(args[0])
    options = parse_options("d1.batch", args[1] if len(args) > 1 else None, _BATCH_OPTIONS)
    mode = _parse_mode(options, MODES[:2])
    seen = parse_session(options.get("session"))
    try:
        results = await cast("SqlDatabase", lent).batch(statements, _tenant(event), seen, event.charge)
    except StorageError as error:
        raise _failed(error) from error
    return [show_result(result, mode) for result in results]


async def d1_exec(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("d1.exec", args, 1, 1, "sql")
    script = parse_sql(args[0])
    try:
        executed = await cast("SqlDatabase", lent).exec(script, _tenant(event), event.charge)
    except StorageError as error:
        raise _failed(error) from error
    return {"count": executed.count, "duration": executed.duration_ms}


def parse_batch(value: object) -> list[SqlStatement]:
    """`[[sql, params?]…]`."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= BATCH_STATEMENTS:
        raise _wrong(f"statements: an array of 1 to {BATCH_STATEMENTS} arrays [sql, params?] is right")
    statements = []
    for number, one in enumerate(value):
        where = f"statements[{number}]"
        if not isinstance(one, list | tuple) or not 1 <= len(one) <= 2:
            raise _wrong(f"{where}: {type_name(one)}; an array [sql, params?] is right")
        statements.append(parse_statement(one[0], one[1] if len(one) == 2 else None, f"{where}."))
    return statements


def _parse_params(value: object, where: str) -> tuple[SqlScalar, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise _wrong(f"{where}params: {type_name(value)}; an array is right")
    if len(value) > PARAMETERS:
        raise OperationError(
            OperationErrorCode.LIMIT_EXCEEDED,
            f"D1_ERROR: {where}params: {len(value)}; at most {PARAMETERS} are allowed",
        )
    return tuple(_scalar(one, f"{where}params[{number}]") for number, one in enumerate(value))


def _scalar(value: object, where: str) -> SqlScalar:
    if value is None or isinstance(value, float | bytes):
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise _wrong(f"{where}: an integer beyond 64 bits with a sign", "D1_TYPE_ERROR")
        return value
    if isinstance(value, str):
        utf8_size(where, value)
        return value
    raise _wrong(
        f"{where}: {type_name(value)}; nil, a boolean, a number, a string or bytes is right", "D1_TYPE_ERROR"
    )


def _parse_mode(options: Mapping[str, Any], modes: Sequence[str]) -> str:
    mode = options.get("mode")
    if mode is None:
        return "all"
    if mode not in modes:
        raise _wrong(f"mode: {' and '.join(modes)} are right")
    return str(mode)


def _first(result: SqlResult, column: str | None) -> object:
    """The first row as a map, or its one column; nil without a row."""
    if column is not None and column not in result.columns:
        # As elsewhere: nothing to look in is no missing column.
        if not result.rows:
            return None
        raise _wrong(f"D1_COLUMN_NOTFOUND: the result has no column {column[:_COLUMN_BYTES]!r}")
    if not result.rows:
        return None
    row = dict(zip(result.columns, result.rows[0], strict=True))
    return row if column is None else row[column]


def _tenant(event: GuestEvent) -> str:
    """Whose threads the work takes: a tenant's name is its own within its namespace."""
    return f"{event.context.namespace or ''}/{event.context.tenant}"


def _failed(error: StorageError) -> OperationError:
    failed = unavailable(error)
    if isinstance(error, StorageBusy):
        return OperationError(OperationErrorCode.LOAD_SHED, f"D1_ERROR: {failed.message}: SQLITE_BUSY")
    return OperationError(failed.code, f"D1_ERROR: {failed.message}")


def _wrong(message: str, prefix: str = "D1_ERROR") -> OperationError:
    return OperationError(OperationErrorCode.INVALID_ARGUMENT, f"{prefix}: {message}")
