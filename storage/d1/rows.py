"""Rows as they are taken, up to what a reply can hold."""

from __future__ import annotations

from typing import Final

import apsw

from model.errors import OperationError, OperationErrorCode
from model.sql import SqlResult
from storage.d1.failures import sql_error
from storage.d1.limits import RESULT_BYTES, RESULT_ROWS
from storage.transaction import Row

_ROW_BYTES: Final = 4
#: Of a result, its figures.
_META_BYTES: Final = 320


def take_rows(cursor: apsw.Cursor, row_bytes: int) -> list[Row]:
    """All of them. `row_bytes` is what each takes beside its values: a row travels as a map."""
    rows: list[Row] = []
    size = 0
    for row in cursor:
        size += row_bytes + sum(map(_bytes, row))
        if size > RESULT_BYTES or len(rows) == RESULT_ROWS:
            raise too_much()
        rows.append(row)
    return rows


def size_of(result: SqlResult) -> int:
    names = bytes_of_row(result.columns)
    return sum(names + sum(map(_bytes, row)) for row in result.rows) + _META_BYTES


def _bytes(value: object) -> int:
    """As MessagePack, or a little more."""
    if isinstance(value, str):
        return 5 + (len(value) if value.isascii() else len(value.encode()))
    return 5 + len(value) if isinstance(value, bytes) else 9


def too_much() -> OperationError:
    return sql_error(
        OperationErrorCode.LIMIT_EXCEEDED,
        f"the result is above {RESULT_BYTES} bytes or {RESULT_ROWS} rows; ask for less at once, by LIMIT",
    )


def bytes_of_row(columns: tuple[str, ...]) -> int:
    """What a row takes beside its values, as a map."""
    return _ROW_BYTES + sum(map(_bytes, columns))
