"""What a worker and its SQL database say to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: nil, an integer of 64 bits, a float, text, or bytes.
SqlScalar = None | int | float | str | bytes


@dataclass(frozen=True, slots=True)
class SqlStatement:
    """One statement. `params` are for `?` and `?NNN`, in order."""

    sql: str
    params: Sequence[SqlScalar] = ()


@dataclass(frozen=True, slots=True)
class SqlMeta:
    """`rows_read` is what SQLite counts: rows of full scans, and no less than came back. `bookmark` is the number of
    the write; None: the statement only read.
    """

    duration_ms: float
    changes: int
    last_row_id: int
    changed_db: bool
    size_after: int
    rows_read: int
    rows_written: int
    bookmark: int | None = None


@dataclass(frozen=True, slots=True)
class SqlResult:
    """Rows as they are in SQL: column names may be there twice."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    meta: SqlMeta


@dataclass(frozen=True, slots=True)
class SqlExecuted:
    """Of a script: how many statements ran, and how long they took. The rest is of a dump that was read."""

    count: int
    duration_ms: float
    rows_read: int = 0
    rows_written: int = 0
    last_row_id: int = 0
    size_after: int = 0
    bookmark: int | None = None
