"""Small reads run on the event loop, and nothing else does: what would hold it is left to a thread, or ended."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from model.sql import SqlStatement
from storage.d1 import files
from storage.d1.store import D1Store

SETUP = """
CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, number);
WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 2000)
  INSERT INTO t SELECT x, 'n' || x, x % 7 FROM r;
CREATE TABLE large (id INTEGER PRIMARY KEY, value, after);
INSERT INTO large VALUES (1, zeroblob(100000), 1);
CREATE VIRTUAL TABLE f USING fts5(x);
INSERT INTO f VALUES ('one two');
CREATE VIEW v AS SELECT name FROM t WHERE id = 1;
"""
POINT = SqlStatement("SELECT name FROM t WHERE id = ?", (7,))


class Database:
    def __init__(self, folder: Path) -> None:
        self.store = D1Store(folder)
        self.id = str(uuid.uuid4())
        files.create(folder, self.id)

    async def in_thread(self, sql: str, *params: object) -> list[tuple[object, ...]]:
        return (await self.store.query(self.id, SqlStatement(sql, params), "t")).rows  # type: ignore[arg-type]

    def at_once(self, sql: str, *params: object) -> list[tuple[object, ...]] | None:
        result = self.store.query_now(self.id, SqlStatement(sql, params))  # type: ignore[arg-type]
        return None if result is None else result.rows

    async def learnt(self, sql: str, *params: object) -> bool:
        """Whether it runs on the loop after threads have run it: on a busy machine one may take long by chance."""
        for _ in range(20):
            rows = await self.in_thread(sql, *params)
            found = self.at_once(sql, *params)
            if found is not None:
                assert found == rows
                return True
        return False


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(tmp_path)
    await made.store.exec(made.id, SETUP, "t")
    yield made
    await made.store.close()


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT name FROM t WHERE id = ?", (7,)),
        ("SELECT * FROM t WHERE id IN (1, 2, 3) ORDER BY name DESC LIMIT 2", ()),
        ("SELECT upper(name), length(name) FROM t WHERE id BETWEEN ? AND ?", (1, 4)),
        ("SELECT a.name, b.name FROM t a JOIN t b ON b.id = a.number WHERE a.id = 5", ()),
        ("SELECT name FROM v", ()),
        ("SELECT max(id), count(number) FROM t WHERE id < 20", ()),
    ],
)
async def test_a_small_read_runs_at_once_after_a_thread_has_run_it(
    database: Database, sql: str, params: tuple[object, ...]
) -> None:
    assert database.at_once(sql, *params) is None
    assert await database.learnt(sql, *params)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t (name) VALUES ('x') RETURNING id",  # writes
        "SELECT count(*) FROM t",  # goes through the table in one step
        "SELECT hex(name) FROM t WHERE id = 1",  # a function that makes more of its argument
        "SELECT name FROM t WHERE name LIKE 'n1%' AND id < 5",
        "SELECT * FROM f WHERE f = 'one'",  # a virtual table does whatever it does
        "SELECT value FROM json_each('[1]')",
        "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 9) SELECT instr(x, 1) FROM r",
        "PRAGMA table_list",
        "EXPLAIN SELECT 1",
        "SELECT '" + "x" * 10_000 + "'",  # long
    ],
)
async def test_other_statements_never_run_on_the_loop(database: Database, sql: str) -> None:
    assert not await database.learnt(sql)


async def test_what_takes_long_on_the_loop_is_ended_and_stays_off_it(database: Database) -> None:
    sql = "SELECT sum(a.number * b.number) FROM t a, t b WHERE a.id <= ? AND b.id <= ?"
    assert await database.learnt(sql, 3, 3)
    began = time.thread_time()
    assert database.at_once(sql, 2000, 2000) is None
    took = time.thread_time() - began
    assert took < 0.1, "4,000,000 rows take half a second"
    assert await database.in_thread(sql, 2000, 2000) == [(sum(x % 7 for x in range(1, 2001)) ** 2,)]
    assert not await database.learnt(sql, 3, 3)


async def test_a_large_value_is_read_in_a_thread(database: Database) -> None:
    sql = "SELECT value FROM large WHERE id = ?"
    assert await database.learnt(sql, 9)
    assert database.at_once(sql, 1) is None
    assert await database.in_thread(sql, 1) == [(bytes(100_000),)]
    assert database.at_once("SELECT ? FROM t WHERE id = 1", "x" * 100_000) is None


async def test_nothing_is_compiled_on_the_loop(database: Database, tmp_path: Path) -> None:
    assert await database.learnt("SELECT name FROM v")
    # Another process makes something else of the view.
    other = D1Store(tmp_path)
    await other.exec(
        database.id, "DROP VIEW v; CREATE VIEW v AS SELECT hex(name) AS name FROM t WHERE id = 1", "t"
    )
    await other.close()
    assert database.at_once("SELECT name FROM v") is None
    assert not await database.learnt("SELECT name FROM v")
    assert await database.in_thread("SELECT name FROM v") == [("6E31",)]


async def test_a_read_at_once_sees_what_other_processes_wrote(database: Database, tmp_path: Path) -> None:
    assert await database.learnt(POINT.sql, 7)
    other = D1Store(tmp_path)
    await other.exec(database.id, "UPDATE t SET name = 'new' WHERE id = 7", "t")
    await other.close()
    assert database.at_once(POINT.sql, 7) == [("new",)]
    database.store.query_now(database.id, POINT, seen=0)
    found = database.store.query_now(database.id, POINT, seen=0)
    assert found is not None
    assert found.meta.bookmark == await database.store.bookmark(database.id, "t")


async def test_what_is_wrong_is_said_by_a_thread(database: Database) -> None:
    assert await database.learnt(POINT.sql, 7)
    assert database.at_once(POINT.sql) is None  # a parameter is missing
    assert database.store.query_now(database.id, POINT, seen=1 << 40) is None  # of a write that never was


async def test_nobody_overtakes_what_waits(database: Database) -> None:
    assert await database.learnt(POINT.sql, 7)

    write = asyncio.ensure_future(
        database.store.exec(database.id, "UPDATE t SET name = 'w' WHERE id = 7", "t")
    )
    await asyncio.sleep(0)
    assert database.at_once(POINT.sql, 7) is None
    await write
    assert database.at_once(POINT.sql, 7) == [("w",)]


async def test_a_deleted_database_is_not_read_at_once(database: Database, tmp_path: Path) -> None:
    assert await database.learnt(POINT.sql, 7)
    files.delete(tmp_path, database.id)
    assert database.at_once(POINT.sql, 7) is None
