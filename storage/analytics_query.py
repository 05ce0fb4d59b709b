"""One SELECT over data points: under the rules that tenants' SQL runs under, and with nothing to read but its datasets.

Rules of this file: a query has a connection of its own, which can't write. Each dataset that it may read is a view of
the dataset's name, over a second one, whose name is drawn when the query is there already: the authorizer lets that one
name read the file's tables, and no query can hold a name that did not exist when it was sent.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from model.analytics import BLOBS, DOUBLES
from model.errors import OperationError, OperationErrorCode
from storage.d1.failures import CAUGHT, translate
from storage.d1.guard import Asker, Guard
from storage.d1.limits import D1Limits
from storage.d1.rows import bytes_of_row, take_rows
from storage.d1.sandbox import Sandbox, confine
from storage.d1.sql import is_blank, split_statements
from storage.migrations import load_queries
from storage.transaction import Row

#: Names of one query's datasets that are looked for in its text.
_MOST_NAMES: Final = 10_000
_CACHE_KIB: Final = 8 * 1024
_BUSY_MS: Final = 1_000
#: What Cloudflare's clients write at the end. The one format there is.
_FORMAT: Final = re.compile(r"\s+FORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)
_SHOW_TABLES: Final = re.compile(r"\s*SHOW\s+TABLES\s*;?\s*", re.IGNORECASE)
_COLUMNS: Final = ", ".join(
    [
        "p.timestamp",
        "d.name AS dataset",
        "1 AS _sample_interval",
        "p.index1",
        *(f"p.blob{n}" for n in range(1, BLOBS + 1)),
        *(f"p.double{n}" for n in range(1, DOUBLES + 1)),
        "d.tenant",
    ]
)
_ONLY: Final = "a query reads its datasets, and nothing else"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose datasets a query reads: by default the account's. `tenant` None: those of all tenants of `namespace`;
    datasets with the same name are one table then.
    """

    namespace: str = ""
    tenant: str | None = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """`types` are ClickHouse's names, one a column."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Sequence[Row]


def run(path: Path, sql: str, scope: Scope, limits: D1Limits) -> Answer:
    """Blocks for as long as `limits` says. Raises OperationError, StorageError."""
    guard = Guard(limits)
    try:
        connection = apsw.Connection(
            str(path), flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW, statementcachesize=0
        )
    except apsw.Error as error:
        raise translate(error, guard, "", limits) from error
    try:
        return _run(connection, _without_format(sql), scope, guard, limits)
    except OperationError as error:
        # What is a SQL database's says so.
        raise OperationError(error.code, error.message.removeprefix("D1_ERROR: ")) from error
    finally:
        connection.close(True)


def _run(connection: apsw.Connection, sql: str, scope: Scope, guard: Guard, limits: D1Limits) -> Answer:
    sandbox: Sandbox | None = None
    try:
        connection.set_busy_timeout(_BUSY_MS)
        for pragma in (f"cache_size = -{_CACHE_KIB}", "mmap_size = 0", "cell_size_check = ON"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        wanted = (scope.namespace, scope.tenant, _MOST_NAMES)
        known = [str(row[0]) for row in connection.execute(load_queries("analytics")["names"], wanted)]
        if _SHOW_TABLES.fullmatch(sql):
            return Answer(("dataset",), ("String",), [(name,) for name in known])
        if is_blank(sql) or len(list(split_statements(sql))) != 1:
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, "one statement is right: a SELECT")
        # Of thousands of datasets only those that can be meant: a view of each would take longer than the query.
        text = sql.lower()
        names = [name for name in known if name.lower() in text]
        drawn = [_make_views(connection, scope, name) for name in names]
        tables = {str(row[0]).lower() for row in connection.execute("SELECT name FROM main.sqlite_schema")}
        sandbox = confine(connection, guard)
        sandbox.open = False
        reader = _Reader(sandbox, guard, {name.lower() for name in names}, set(drawn), tables)
        authorizer: Any = reader
        connection.authorizer = authorizer
        return _select(connection, sql, guard)
    except CAUGHT as error:
        why = "" if sandbox is None else sandbox.why
        raise translate(error, guard, why, limits) from error


def _make_views(connection: apsw.Connection, scope: Scope, name: str) -> str:
    """The drawn name."""
    drawn = f"_{secrets.token_hex(16)}"
    held = {"namespace": scope.namespace, "tenant": scope.tenant, "name": name}
    where = " AND ".join(
        f"d.{key} = {apsw.format_sql_value(value)}" for key, value in held.items() if value is not None
    )
    connection.execute(
        f'CREATE TEMP VIEW "{drawn}" AS SELECT {_COLUMNS} FROM main.datasets d'  # noqa: S608 - names of ours, values quoted
        f" JOIN main.points p ON p.dataset_id = d.id WHERE {where}"
    )
    connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT * FROM temp."{drawn}"')  # noqa: S608 - a checked name
    return drawn


def _select(connection: apsw.Connection, sql: str, guard: Guard) -> Answer:
    columns: tuple[str, ...] = ()

    def before(cursor: apsw.Cursor, text: str, _: object) -> bool:
        nonlocal columns
        columns = tuple(name for name, _ in cursor.get_description())
        guard.runs()
        return True

    guard.begin(Asker())
    guard.begin_statement()
    guard.off = False
    cursor = connection.cursor()
    cursor.exec_trace = before
    try:
        running = cursor.execute(sql)
        rows = take_rows(running, bytes_of_row(columns))
    finally:
        guard.off = True
        cursor.close(True)
    types = tuple(_type(name, [row[n] for row in rows]) for n, name in enumerate(columns))
    return Answer(columns, types, rows)


class _Reader:
    """The authorizer: D1's for functions, and less than D1's for the rest."""

    def __init__(
        self,
        sandbox: Sandbox,
        guard: Guard,
        datasets: Collection[str],
        drawn: Collection[str],
        tables: Collection[str],
    ) -> None:
        """`tables`: names of the file's, in lower case."""
        self._sandbox = sandbox
        self._guard = guard
        self._views = frozenset(datasets) | frozenset(drawn)
        self._drawn = frozenset(drawn)
        self._tables = frozenset(tables)

    def __call__(
        self, action: int, one: str | None, two: str | None, database: str | None, within: str | None
    ) -> int:
        if self._guard.prepare_is_late():
            return apsw.SQLITE_DENY
        if action in (apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE):
            return apsw.SQLITE_OK
        if action == apsw.SQLITE_FUNCTION:
            return self._sandbox(action, one, two, database, within)
        if action == apsw.SQLITE_READ and self._may_read((one or "").lower(), two, database, within):
            return apsw.SQLITE_OK
        self._sandbox.why = self._sandbox.why or _ONLY
        return apsw.SQLITE_DENY

    def _may_read(self, table: str, column: str | None, database: str | None, within: str | None) -> bool:
        if database == "temp":
            return table in self._views
        if database == "main":
            return within in self._drawn
        # Something of which no column is read, named without its schema: a dataset, or a part of the query itself.
        if database is not None or column or table.startswith("sqlite_"):
            return False
        return table in self._views or table not in self._tables


def _type(name: str, values: Sequence[object]) -> str:
    if name == "timestamp":
        return "DateTime"
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int}:
        return "Int64"
    return "Float64" if kinds and kinds <= {int, float} else "String"


def _without_format(sql: str) -> str:
    """Raises OperationError for a format that there isn't."""
    found = _FORMAT.search(sql)
    if found is None:
        return sql
    if found[1].upper() != "JSON":
        raise OperationError(
            OperationErrorCode.INVALID_ARGUMENT, f"FORMAT {found[1][:40]} is not there; JSON is"
        )
    return sql[: found.start()]
