"""A database as SQL text, which the same database, or SQLite itself, reads back. Read as of one moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw

from model.errors import OperationErrorCode
from storage.d1.failures import sql_error
from storage.failures import StorageLost

_HEAD = "PRAGMA defer_foreign_keys=TRUE;\n"
#: Tables first and what looks at them after the rows, so that nothing fires while they are loaded.
_OBJECTS = (
    "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    " ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, rowid"
)


def dump(
    path: Path, *, schema: bool = True, data: bool = True, tables: tuple[str, ...] = ()
) -> Iterator[str]:
    """Lines, the first row first. `tables`: only these; all by default. Raises OperationError, StorageLost."""
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW)
        try:
            connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            connection.execute("BEGIN").fetchall()
            yield from _lines(connection, schema, data, tables)
        finally:
            connection.close(True)
    except apsw.Error as error:
        raise StorageLost("the database can't be read", detail=f"{path}: {error}") from error


def _lines(connection: apsw.Connection, schema: bool, data: bool, wanted: tuple[str, ...]) -> Iterator[str]:
    objects = connection.execute(_OBJECTS).fetchall()
    if wanted:
        objects = [row for row in objects if row[0] == "table" and row[1] in wanted]
    names = [str(name) for kind, name, _ in objects if kind == "table"]
    for kind, name, sql in objects:
        if kind == "table" and str(sql).lstrip().upper().startswith("CREATE VIRTUAL"):
            raise sql_error(
                OperationErrorCode.INVALID_ARGUMENT,
                f"export: {name} is a virtual table, which has no dump; drop it first, or name the other tables",
            )
    yield _HEAD
    if schema:
        yield from (f"{sql};\n" for kind, _, sql in objects if kind == "table")
    if data:
        for name in names:
            yield from _rows(connection, name)
        if "sqlite_sequence" in _tables(connection) and not wanted:
            yield "DELETE FROM sqlite_sequence;\n"
            yield from _rows(connection, "sqlite_sequence")
    if schema:
        yield from (f"{sql};\n" for kind, _, sql in objects if kind != "table")


def _rows(connection: apsw.Connection, table: str) -> Iterator[str]:
    quoted = _identifier(table)
    columns = [
        str(row[1]) for row in connection.execute(f"PRAGMA table_xinfo({quoted})") if row[6] in (0, None)
    ]
    listed = ",".join(map(_identifier, columns))
    values = ",".join(_quoted(_identifier(column)) for column in columns)
    for row in connection.execute(f"SELECT {values} FROM {quoted}"):  # noqa: S608 - quoted by us
        yield f"INSERT INTO {quoted}({listed}) VALUES({','.join(map(str, row))});\n"


def _quoted(column: str) -> str:
    """quote() ends a text at its first NUL."""
    as_hex = f"'CAST(X''' || hex({column}) || ''' AS TEXT)'"
    return (
        f"CASE WHEN typeof({column}) = 'text' AND instr({column}, char(0)) > 0 THEN {as_hex}"
        f" ELSE quote({column}) END"
    )


def _tables(connection: apsw.Connection) -> set[str]:
    return {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
