"""What a tenant's SQL may do: an allow-list, asked while SQLite compiles each statement, and SQLite's own limits.

Rules of this file: what is not named is denied; a statement of ours is never one that the statement cache could hand
to a tenant, since nobody is asked about a cached one. tests/security/test_d1_hostile.py is the table of what must fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import apsw

from storage.d1 import limits
from storage.d1.functions import install
from storage.d1.guard import STEPS, Guard

_FREE: Final = frozenset({
    apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE, apsw.SQLITE_READ, apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE,
    apsw.SQLITE_DELETE, apsw.SQLITE_CREATE_TABLE, apsw.SQLITE_CREATE_INDEX, apsw.SQLITE_CREATE_TRIGGER,
    apsw.SQLITE_CREATE_VIEW, apsw.SQLITE_DROP_TABLE, apsw.SQLITE_DROP_INDEX, apsw.SQLITE_DROP_TRIGGER,
    apsw.SQLITE_DROP_VIEW, apsw.SQLITE_ALTER_TABLE, apsw.SQLITE_REINDEX, apsw.SQLITE_ANALYZE,
    apsw.SQLITE_DROP_VTABLE,
})  # fmt: skip
_WORDS: Final = {
    apsw.SQLITE_TRANSACTION: "BEGIN, COMMIT and ROLLBACK are not for statements: send several as one batch",
    apsw.SQLITE_SAVEPOINT: "SAVEPOINT, RELEASE and ROLLBACK TO are not for statements: send several as one batch",
    apsw.SQLITE_ATTACH: "ATTACH and VACUUM reach other files",
    apsw.SQLITE_DETACH: "DETACH is not allowed",
}
NOTHING_TEMPORARY: Final = "temporary tables, views and triggers do not outlive a statement here"
_TEMP_SCHEMAS: Final = frozenset({"sqlite_temp_master", "sqlite_temp_schema"})

#: Those that show the schema or look after it. `defer_foreign_keys` ends with its transaction;
#: fts5 asks for `data_version`. Not here, among
#: others: what names the host's files (database_list), changes what an acknowledged write is worth, or would stay
#: with the connection for whoever comes next.
_PRAGMAS = (
    "table_list table_info table_xinfo index_list index_info index_xinfo foreign_key_list foreign_key_check"
    " quick_check optimize defer_foreign_keys data_version"
)
PRAGMAS: Final = frozenset(_PRAGMAS.split())
_MODULES: Final = ("fts5", "fts5vocab")
#: Without CREATE, by their name alone. json_each and json_tree are the others, and harmless.
_HIDDEN_TABLES: Final = frozenset(
    {"carray", "dbstat", "sqlite_dbpage", "sqlite_stmt", "bytecode", "tables_used", "completion"}
)

_FUNCTIONS = """
-> ->> abs acos acosh asin asinh atan atan2 atanh avg bm25 ceil ceiling changes char coalesce concat concat_ws cos cosh
count cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp first_value floor
format glob group_concat hex highlight if ifnull iif instr json json_array json_array_insert json_array_length
json_error_position json_extract json_group_array json_group_object json_insert json_object json_patch json_quote
json_remove json_replace json_set json_type json_valid jsonb jsonb_array jsonb_array_insert jsonb_extract
jsonb_group_array jsonb_group_object jsonb_insert jsonb_object jsonb_patch jsonb_remove jsonb_replace jsonb_set
julianday lag last_insert_rowid last_value lead length like likelihood likely ln log log10 log2 lower ltrim match max
min mod nth_value ntile nullif octet_length percent_rank pi pow power printf quote radians random randomblob rank
replace round row_number rtrim sign sin sinh snippet sqlite_version sqrt strftime string_agg substr substring sum tan
tanh time timediff total total_changes trim trunc typeof unhex unicode unistr unistr_quote unixepoch unlikely upper
zeroblob
"""
FUNCTIONS: Final = frozenset(_FUNCTIONS.split())
#: SQLite's own, which ALTER TABLE calls; a tenant's statement can't name them.
_INTERNAL: Final = ("sqlite_rename_", "sqlite_drop_", "sqlite_add_", "sqlite_fail", "sqlite_find_")


class Sandbox:
    """The authorizer of one connection."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        #: A statement of ours is compiled: it may do anything.
        self.open = True
        #: Why the last statement was denied, in words.
        self.why = ""

    def __call__(
        self, action: int, one: str | None, two: str | None, database: str | None, within: str | None
    ) -> int:
        if self.open:
            return apsw.SQLITE_OK
        if self._guard.on_loop or self._guard.prepare_is_late():
            return apsw.SQLITE_DENY
        why = _refuses(action, one, two, database)
        if why is None:
            return apsw.SQLITE_OK
        self.why = self.why or why
        return apsw.SQLITE_DENY


def _refuses(action: int, one: str | None, two: str | None, database: str | None) -> str | None:
    """Why a tenant's statement may not do this; None when it may. Pure."""
    # `CREATE TABLE temp.x` comes as any other CREATE. ALTER looks through the empty schema of `temp`, too.
    if database == "temp" and one not in _TEMP_SCHEMAS:
        return NOTHING_TEMPORARY
    if action in _FREE:
        if action == apsw.SQLITE_READ and one is not None:
            return _hidden(one.lower())
        return None
    if action == apsw.SQLITE_FUNCTION:
        name = (two or "").lower()
        if name in FUNCTIONS or name.startswith(_INTERNAL):
            return None
        return f"the function {name[:60]} is not allowed"
    if action == apsw.SQLITE_PRAGMA:
        name = (one or "").lower()
        return None if name in PRAGMAS else f"PRAGMA {name[:60]} is not allowed"
    if action == apsw.SQLITE_CREATE_VTABLE:
        module = (two or "").lower()
        return None if module in _MODULES else f"the module {module[:60]} is not allowed; fts5 is"
    return _WORDS.get(action, "this kind of statement is not allowed")


def _hidden(table: str) -> str | None:
    if table in _HIDDEN_TABLES:
        return f"the table {table} is not allowed"
    if table.startswith("pragma_") and table.removeprefix("pragma_") not in PRAGMAS:
        return f"PRAGMA {table.removeprefix('pragma_')[:60]} is not allowed"
    return None


def confine(connection: apsw.Connection, guard: Guard) -> Sandbox:
    """Hold `connection` to this file's rules; statements of ours come before, or while `open`."""
    for option, value in (
        (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
        (apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
        (apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0),
        (apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0),
        (apsw.SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0),
        (apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, 0),
        (apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, 0),
    ):
        connection.config(option, value)
    for limit, most in (
        (apsw.SQLITE_LIMIT_LENGTH, limits.VALUE_BYTES),
        (apsw.SQLITE_LIMIT_SQL_LENGTH, limits.SQL_BYTES),
        (apsw.SQLITE_LIMIT_VARIABLE_NUMBER, limits.PARAMETERS),
        (apsw.SQLITE_LIMIT_COLUMN, limits.COLUMNS),
        (apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits.LIKE_PATTERN_BYTES),
        (apsw.SQLITE_LIMIT_FUNCTION_ARG, limits.FUNCTION_ARGUMENTS),
        (apsw.SQLITE_LIMIT_EXPR_DEPTH, limits.EXPRESSION_DEPTH),
        (apsw.SQLITE_LIMIT_COMPOUND_SELECT, limits.COMPOUND_SELECTS),
        (apsw.SQLITE_LIMIT_TRIGGER_DEPTH, limits.TRIGGER_DEPTH),
        (apsw.SQLITE_LIMIT_VDBE_OP, limits.PROGRAM_STEPS),
        (apsw.SQLITE_LIMIT_ATTACHED, 0),
        (apsw.SQLITE_LIMIT_WORKER_THREADS, 0),
    ):
        connection.limit(limit, most)
    connection.drop_modules(_MODULES)
    install(connection, guard)
    sandbox = Sandbox(guard)
    authorizer: Callable[..., int] = sandbox
    connection.authorizer = authorizer
    connection.set_progress_handler(guard.progress, STEPS)
    return sandbox
