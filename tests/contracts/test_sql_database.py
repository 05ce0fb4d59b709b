"""The contract of SqlDatabase, held by the public fake, by SQLite files, and by those that machines share, whose pages
PostgreSQL has. What is `moved` is asked of two machines in turn: each statement has to find what the other one did.
"""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from bindings.d1 import StoredSqlDatabase
from bindings.memory import MemorySqlDatabase
from model.capabilities import Charge, SqlDatabase, free
from model.errors import OperationError, OperationErrorCode
from model.sql import SqlExecuted, SqlResult, SqlScalar, SqlStatement
from storage.d1 import files
from storage.d1.store import D1Store
from storage.postgres.address import DatabaseAddress
from tests.storage.d1.machines import Machine

T = "tenant"


@pytest.fixture(params=["memory", "file", "shared", "moved"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlDatabase]:
    if request.param == "memory":
        memory = MemorySqlDatabase()
        yield memory
        memory.close()
        return
    database_id = str(uuid.uuid4())
    if request.param != "file":
        address: DatabaseAddress = request.getfixturevalue("database_address")
        names = ["a"] if request.param == "shared" else ["a", "b"]
        machines = [Machine(tmp_path, name, address) for name in names]
        machines[0].make(database_id)
        yield InTurn([StoredSqlDatabase(machine.store, database_id) for machine in machines])
        for machine in machines:
            await machine.close()
        return
    files.create(tmp_path, database_id)
    store = D1Store(tmp_path)
    yield StoredSqlDatabase(store, database_id)
    await store.close()


class InTurn:
    """A SqlDatabase that asks each of several in turn."""

    def __init__(self, databases: Sequence[SqlDatabase]) -> None:
        self._turns = itertools.cycle(databases)

    def query_now(self, statement: SqlStatement, seen: int | None = None) -> SqlResult | None:
        return next(self._turns).query_now(statement, seen)

    async def query(
        self, statement: SqlStatement, tenant: str, seen: int | None = None, charge: Charge = free
    ) -> SqlResult:
        return await next(self._turns).query(statement, tenant, seen, charge)

    async def batch(
        self, statements: Sequence[SqlStatement], tenant: str, seen: int | None = None, charge: Charge = free
    ) -> list[SqlResult]:
        return await next(self._turns).batch(statements, tenant, seen, charge)

    async def exec(self, script: str, tenant: str, charge: Charge = free) -> SqlExecuted:
        return await next(self._turns).exec(script, tenant, charge)


async def ask(database: SqlDatabase, sql: str, *params: SqlScalar) -> list[tuple[object, ...]]:
    return (await database.query(SqlStatement(sql, params), T)).rows


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        -1,
        (1 << 63) - 1,
        -(1 << 63),
        2**53 + 1,
        0.5,
        -0.0,
        1e300,
        math.inf,
        "",
        "ü🙂",
        "a\0b",
        b"",
        b"\0\xff",
    ],
    ids=repr,
)
async def test_a_value_comes_back_as_it_went(database: SqlDatabase, value: SqlScalar) -> None:
    await database.exec("CREATE TABLE IF NOT EXISTS v (x)", T)
    await ask(database, "INSERT INTO v VALUES (?)", value)
    ((back,),) = await ask(database, "SELECT x FROM v")
    assert back == value
    assert type(back) is type(value)


async def test_parameters_go_by_place_and_by_number(database: SqlDatabase) -> None:
    assert await ask(database, "SELECT ?, ?", 1, "b") == [(1, "b")]
    assert await ask(database, "SELECT ?2, ?1, ?2", 1, "b") == [("b", 1, "b")]


@pytest.mark.parametrize("given", [(), (1, 2)])
async def test_a_wrong_number_of_parameters_is_refused(database: SqlDatabase, given: tuple[int, ...]) -> None:
    with pytest.raises(OperationError, match="D1_ERROR: Wrong number of parameter bindings") as caught:
        await ask(database, "SELECT ?", *given)
    assert caught.value.code is OperationErrorCode.INVALID_ARGUMENT


async def test_figures_tell_what_a_statement_did(database: SqlDatabase) -> None:
    made = await database.query(SqlStatement("CREATE TABLE t (id INTEGER PRIMARY KEY, a)"), T)
    assert (made.meta.changed_db, made.meta.changes) == (True, 0)
    wrote = await database.query(SqlStatement("INSERT INTO t (a) VALUES (1), (2), (3)"), T)
    assert (wrote.meta.changes, wrote.meta.last_row_id, wrote.meta.rows_written) == (3, 3, 3)
    assert wrote.meta.changed_db
    assert wrote.meta.size_after >= 8192
    read = await database.query(SqlStatement("SELECT * FROM t WHERE a = 2"), T)
    assert read.columns == ("id", "a")
    assert (read.meta.changes, read.meta.rows_written, read.meta.changed_db) == (0, 0, False)
    assert read.meta.rows_read == 3 - 1  # steps of the scan after the first row
    nothing = await database.query(SqlStatement("UPDATE t SET a = 0 WHERE id = 99"), T)
    assert (nothing.meta.changes, nothing.meta.changed_db) == (0, False)


async def test_each_write_has_a_greater_number_and_a_session_sees_it(database: SqlDatabase) -> None:
    await database.exec("CREATE TABLE t (a)", T)
    numbers = []
    for _ in range(3):
        wrote = await database.query(SqlStatement("INSERT INTO t VALUES (1)"), T)
        assert wrote.meta.bookmark is not None
        numbers.append(wrote.meta.bookmark)
    assert numbers == sorted(set(numbers))
    plain = await database.query(SqlStatement("SELECT 1"), T)
    assert plain.meta.bookmark is None
    session = await database.query(SqlStatement("SELECT count(*) FROM t"), T, seen=numbers[-1])
    assert session.rows == [(3,)]
    assert session.meta.bookmark == numbers[-1]
    with pytest.raises(OperationError, match="the bookmark is of a later state"):
        await database.query(SqlStatement("SELECT 1"), T, seen=numbers[-1] + 1)


async def test_a_batch_is_all_or_nothing(database: SqlDatabase) -> None:
    await database.exec("CREATE TABLE t (a UNIQUE)", T)
    results = await database.batch(
        [SqlStatement("INSERT INTO t VALUES (?)", (1,)), SqlStatement("SELECT count(*) FROM t")], T
    )
    assert results[1].rows == [(1,)]
    assert results[0].meta.bookmark == results[1].meta.bookmark
    broken = [SqlStatement("INSERT INTO t VALUES (2)"), SqlStatement("INSERT INTO t VALUES (1)")]
    with pytest.raises(
        OperationError, match=r"D1_ERROR: UNIQUE constraint failed: t\.a: SQLITE_CONSTRAINT"
    ) as caught:
        await database.batch(broken, T)
    assert caught.value.code is OperationErrorCode.CONFLICT
    assert await ask(database, "SELECT a FROM t") == [(1,)]


@pytest.mark.parametrize("conflict", ["OR ROLLBACK", "OR FAIL", "OR ABORT"])
async def test_no_statement_ends_the_batch_it_is_in(database: SqlDatabase, conflict: str) -> None:
    await database.exec("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)", T)
    statements = [
        SqlStatement("INSERT INTO t VALUES (2)"),
        SqlStatement(f"INSERT {conflict} INTO t VALUES (1)"),  # noqa: S608 - a word of the test's own
        SqlStatement("INSERT INTO t VALUES (3)"),
    ]
    with pytest.raises(OperationError):
        await database.batch(statements, T)
    assert await ask(database, "SELECT a FROM t") == [(1,)]


async def test_a_script_keeps_what_ran_before_the_line_that_fails(database: SqlDatabase) -> None:
    done = await database.exec("CREATE TABLE t (a);\n\nINSERT INTO t VALUES (1);", T)
    assert done.count == 2
    with pytest.raises(OperationError, match=r"^D1_EXEC_ERROR: Error in line 3: no such table: nowhere"):
        await database.exec(
            "INSERT INTO t VALUES (2);\n-- next\nINSERT INTO nowhere VALUES (3);\nDROP TABLE t;", T
        )
    assert await ask(database, "SELECT a FROM t") == [(1,), (2,)]


async def test_a_script_without_semicolons_has_a_statement_on_each_line(database: SqlDatabase) -> None:
    done = await database.exec("CREATE TABLE t (a)\nINSERT INTO t VALUES (1)\nINSERT INTO t VALUES (2)\n", T)
    assert done.count == 3
    with pytest.raises(OperationError, match=r"^D1_EXEC_ERROR: Error in line 2: no such table: nowhere"):
        await database.exec("INSERT INTO t VALUES (3)\nINSERT INTO nowhere VALUES (4)\nDROP TABLE t", T)
    assert await ask(database, "SELECT a FROM t") == [(1,), (2,), (3,)]


async def test_a_foreign_key_is_held_at_the_end_of_a_batch_that_defers_it(database: SqlDatabase) -> None:
    await database.exec("CREATE TABLE p (id PRIMARY KEY); CREATE TABLE c (p REFERENCES p (id))", T)
    with pytest.raises(OperationError, match="FOREIGN KEY constraint failed"):
        await ask(database, "INSERT INTO c VALUES (1)")
    defer = SqlStatement("PRAGMA defer_foreign_keys = ON")
    child, parent = SqlStatement("INSERT INTO c VALUES (1)"), SqlStatement("INSERT INTO p VALUES (1)")
    with pytest.raises(OperationError, match="FOREIGN KEY constraint failed"):
        await database.batch([defer, child], T)
    await database.batch([defer, child, parent], T)
    assert await ask(database, "SELECT count(*) FROM c") == [(1,)]


async def test_full_text_search_and_json_are_there(database: SqlDatabase) -> None:
    await database.exec(
        "CREATE VIRTUAL TABLE notes USING fts5(body); INSERT INTO notes VALUES ('red fox'), ('dog')", T
    )
    assert await ask(database, "SELECT body FROM notes WHERE notes MATCH 'fox'") == [("red fox",)]
    assert await ask(database, "SELECT highlight(notes, 0, '<', '>') FROM notes('fox')") == [("red <fox>",)]
    assert await ask(database, "SELECT value FROM json_each('[1, 2]')") == [(1,), (2,)]
    assert await ask(database, "SELECT json_patch('{\"a\": 1}', '{\"b\": 2}') ->> 'b'") == [(2,)]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE t RENAME TO s",
        "ALTER TABLE t RENAME COLUMN a TO z",
        "ALTER TABLE t ADD COLUMN y DEFAULT 1",
        "ALTER TABLE t DROP COLUMN b",
        "CREATE INDEX i ON t (b, lower(a))",
        "CREATE VIEW v AS SELECT a FROM t",
        "REINDEX",
        "ANALYZE",
        "PRAGMA optimize",
        "DROP TABLE t",
    ],
)
async def test_the_schema_can_be_changed(database: SqlDatabase, change: str) -> None:
    await database.exec("CREATE TABLE t (a, b); INSERT INTO t VALUES ('x', 1)", T)
    await ask(database, change)


async def test_functions_of_ours_answer_as_sqlites_own(database: SqlDatabase) -> None:
    rows = await ask(
        database,
        "SELECT trim('xxaxx', 'x'), ltrim('xa', 'x'), rtrim('ax', 'x'), trim(' a '), instr('häb', 'b'),"
        " instr(x'0102', x'02'), instr(123, 3), instr(NULL, 'a'), replace('aXbX', 'X', ''), replace('a', '', 'b'),"
        " replace(11, 1, 2), replace('a', NULL, 'b'), unhex('41 42', ' ')",
    )
    assert rows == [
        ("a", "a", "a", "a", 3, 2, 3, None, "ab", "a", "22", None, b"AB"),
    ]  # fmt: skip
