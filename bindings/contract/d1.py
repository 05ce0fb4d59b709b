"""SQL databases."""

from __future__ import annotations

from typing import Final

from bindings.contract.notes import OperationNotes, Rows
from bindings.d1 import d1_batch, d1_exec, d1_query
from model.errors import OperationErrorCode as Code
from model.scripts import BindingKind
from storage.d1 import limits as d1_limits

_SQL = (
    (Code.INVALID_ARGUMENT, "the SQL, or its parameters: the message has SQLite's words"),
    (Code.CONFLICT, "a constraint of the schema"),
    (Code.DENIED, "not for a worker's SQL: ATTACH, BEGIN, most PRAGMAs, … ([d1.md](d1.md))"),
    (Code.LIMIT_EXCEEDED, "size of a statement, a value, the result, the database; memory"),
    (Code.TIMEOUT, "it took longer than 30 s"),
    (Code.LOAD_SHED, "too many requests wait for the database"),
    (Code.NOT_FOUND, "the database was deleted"),
    (Code.UNAVAILABLE, "the storage failed; trying again later may help"),
)
_SQL_META = (
    "{duration: float (ms), changes: int, last_row_id: int, changed_db: bool, size_after: int (bytes), rows_read: int, "
    "rows_written: int, served_by: str, served_by_region: str, served_by_primary: bool, "
    "timings: {sql_duration_ms: float}, bookmark?: str}"
)
_SQL_LIMITS = (
    f"a statement {d1_limits.SQL_BYTES} bytes and {d1_limits.PARAMETERS} parameters, for `?` and `?NNN`",
    f"the result {d1_limits.RESULT_BYTES} bytes and {d1_limits.RESULT_ROWS} rows",
)
_SQL_PARAMS = "[nil | bool (as 0 or 1) | int (64 bits) | float | str | bin…]"
_SESSION = 'session?: "first-primary" | "first-unconstrained" | bookmark'

D1: Final[Rows] = (
    (
        OperationNotes(
            "d1.query",
            "Run one SQL statement. A write is durable when it is answered.",
            (
                ("sql", "str"),
                ("params?", _SQL_PARAMS),
                (
                    "options?",
                    f'{{mode?: "all" (default) | "raw" | "first", column?: str (with first), {_SESSION}}}',
                ),
            ),
            "all: {success: true, results: [{column: value}…], meta}; raw: {success, columns: [str…], rows: "
            "[[value…]…], meta}; first: the first row as a map, or nil, or its one column. Values as parameters; "
            f"`meta` is {_SQL_META}",
            _SQL,
            (*_SQL_LIMITS, "`bookmark` is there after a write, and in a session"),
            BindingKind.D1,
            True,
        ),
        d1_query,
    ),
    (
        OperationNotes(
            "d1.batch",
            "Run several statements in one transaction: all or none.",
            (
                ("statements", "[[sql: str, params?]…], each as of d1.query"),
                ("options?", f'{{mode?: "all" | "raw", {_SESSION}}}'),
            ),
            "[result…], as of d1.query, one a statement",
            _SQL,
            (f"1 to {d1_limits.BATCH_STATEMENTS} statements", *_SQL_LIMITS),
            BindingKind.D1,
            True,
        ),
        d1_batch,
    ),
    (
        OperationNotes(
            "d1.exec",
            "Run a script, statement by statement; what ran before one that fails stays. Where no statement ends with "
            "`;`, each line is one.",
            (("sql", "str"),),
            "{count: int (statements), duration: float (ms)}",
            (*_SQL, (Code.INVALID_ARGUMENT, "`D1_EXEC_ERROR: Error in line N: …`")),
            (f"{d1_limits.SQL_BYTES} bytes",),
            BindingKind.D1,
            True,
        ),
        d1_exec,
    ),
)
