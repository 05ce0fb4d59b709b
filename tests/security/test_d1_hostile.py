# ruff: noqa: S608 - the SQL is hostile on purpose
"""Hostile SQL: each row tries to reach out of its database, or to take more than its share, and must fail by name.

After each row the database still answers, and so does a neighbour in the same process; what the row took of memory
and time is bounded by the limits of `attacked`, which are those of a host, but smaller.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import apsw
import pytest

from model.errors import OperationError
from model.errors import OperationErrorCode as Code
from model.sql import SqlScalar, SqlStatement
from storage.d1 import files, sandbox
from storage.d1.limits import D1Limits
from storage.d1.store import D1Store

DENIED, LIMIT, INVALID, TIMEOUT = Code.DENIED, Code.LIMIT_EXCEEDED, Code.INVALID_ARGUMENT, Code.TIMEOUT
LIMITS = D1Limits(
    database_bytes=4 << 20, query_s=1.0, prepare_s=0.5, written_bytes=32 << 20, memory_bytes=64 << 20
)
#: Beyond the deadline: what can't be ended in the middle, on a machine that others use too.
GRACE_S = 6.0


@dataclass
class Attacked:
    store: D1Store
    id: str
    neighbour: str
    folder: Path

    async def run(self, sql: str, *params: SqlScalar, on: str | None = None) -> list[object]:
        result = await self.store.query(on or self.id, SqlStatement(sql, params), "tenant")
        return list(result.rows)


@pytest.fixture
async def attacked(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Attacked]:
    callspec = getattr(request.node, "callspec", None)
    # A statement that is to meet another limit has the time for it, on a machine that is busy too.
    meets_the_clock = "views" in request.node.name if callspec is None else callspec.params["code"] is TIMEOUT
    limits = LIMITS if meets_the_clock else replace(LIMITS, query_s=30.0, prepare_s=10.0)
    ids = [str(uuid.uuid4()), str(uuid.uuid4())]
    for one in ids:
        files.create(tmp_path, one)
    store = D1Store(tmp_path, limits)
    made = Attacked(store, ids[0], ids[1], tmp_path)
    await store.exec(ids[0], "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'one'), (2, 'two');", "tenant")
    await store.exec(ids[1], "CREATE TABLE secret (x); INSERT INTO secret VALUES ('theirs');", "other")
    yield made
    await store.close()


#: An endless source of rows.
R = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r)"
BIG = "printf('%.*c', 1999000, 'a')"

OUT = [
    # Other files and databases.
    ("ATTACH 'other.sqlite' AS o", DENIED),
    ("ATTACH ':memory:' AS o", DENIED),
    ("ATTACH DATABASE 'file:other.sqlite?mode=ro' AS o", DENIED),
    ("DETACH main", DENIED),
    ("VACUUM INTO 'copy.sqlite'", INVALID),
    ("SELECT * FROM o.secret", INVALID),
    ("SELECT load_extension('evil')", DENIED),
    ("SELECT load_extension('evil', 'entry')", DENIED),
    ("SELECT readfile('/etc/passwd')", INVALID),
    ("SELECT writefile('x', 'y')", INVALID),
    ("SELECT edit('x')", INVALID),
    ("SELECT fts3_tokenizer('simple')", DENIED),
    ("SELECT fts3_tokenizer('simple', x'0000000000000000')", DENIED),
    ("CREATE VIRTUAL TABLE f USING fts3(x)", DENIED),
    ("CREATE VIRTUAL TABLE f USING fts4(x)", DENIED),
    ("CREATE VIRTUAL TABLE f USING rtree(i, a, b)", DENIED),
    ("CREATE VIRTUAL TABLE f USING geopoly(a)", DENIED),
    ("CREATE VIRTUAL TABLE f USING csv(filename='/etc/passwd')", DENIED),
    ("CREATE VIRTUAL TABLE f USING dbstat", DENIED),
    ("CREATE VIRTUAL TABLE f USING sqlite_dbpage", DENIED),
    ("CREATE VIRTUAL TABLE temp.f USING fts5(x)", DENIED),
    ("SELECT * FROM dbstat", INVALID),
    ("SELECT * FROM sqlite_dbpage", INVALID),
    ("SELECT * FROM sqlite_stmt", INVALID),
    ("SELECT * FROM bytecode('SELECT 1')", INVALID),
    ("SELECT * FROM generate_series(1, 10)", INVALID),
    ("SELECT * FROM carray(1, 2)", DENIED),
    ("SELECT * FROM fts3tokenize('simple', 'x')", INVALID),
    # The host's settings, and what an acknowledged write is worth.
    ("PRAGMA database_list", DENIED),
    ("SELECT * FROM pragma_database_list", DENIED),
    ("SELECT * FROM pragma_database_list() JOIN t", DENIED),
    ("SELECT file FROM \"pragma_database_list\"", DENIED),
    ("PRAGMA journal_mode = OFF", DENIED),
    ("PRAGMA journal_mode = DELETE", DENIED),
    ("PRAGMA synchronous = OFF", DENIED),
    ("PRAGMA main.synchronous = 0", DENIED),
    ("PRAGMA writable_schema = ON", DENIED),
    ("PRAGMA trusted_schema = ON", DENIED),
    ("PRAGMA max_page_count = 4294967294", DENIED),
    ("PRAGMA cache_size = 1000000", DENIED),
    ("PRAGMA temp_store_directory = '/tmp'", DENIED),
    ("PRAGMA data_store_directory = '/tmp'", DENIED),
    ("PRAGMA temp_store = MEMORY", DENIED),
    ("PRAGMA mmap_size = 1000000000", DENIED),
    ("PRAGMA locking_mode = EXCLUSIVE", DENIED),
    ("PRAGMA wal_checkpoint(TRUNCATE)", DENIED),
    ("PRAGMA wal_autocheckpoint = 0", DENIED),
    ("PRAGMA journal_size_limit = -1", DENIED),
    ("PRAGMA foreign_keys = OFF", DENIED),
    ("PRAGMA ignore_check_constraints = ON", DENIED),
    ("PRAGMA recursive_triggers = ON", DENIED),
    ("PRAGMA legacy_alter_table = ON", DENIED),
    ("PRAGMA query_only = ON", DENIED),
    ("PRAGMA secure_delete = ON", DENIED),
    ("PRAGMA user_version = 7", DENIED),
    ("PRAGMA schema_version = 7", DENIED),
    ("PRAGMA application_id = 7", DENIED),
    ("PRAGMA hard_heap_limit = 1", DENIED),
    ("PRAGMA soft_heap_limit = 1", DENIED),
    ("PRAGMA threads = 8", DENIED),
    ("PRAGMA busy_timeout = 100000", DENIED),
    ("PRAGMA compile_options", DENIED),
    ("PRAGMA function_list", DENIED),
    ("PRAGMA module_list", DENIED),
    ("PRAGMA page_size = 512", DENIED),
    ("PRAGMA encoding = 'UTF-16'", DENIED),
    ("PRAGMA auto_vacuum = FULL", DENIED),
    ("PRAGMA incremental_vacuum", DENIED),
    ("PRAGMA integrity_check", DENIED),
    ("SELECT sqlite_log(1, 'in the log of the host')", DENIED),
    ("SELECT sqlite_compileoption_get(1)", DENIED),
    # The schema itself.
    ("INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 2, 'CREATE TABLE x (a)')", INVALID),
    ("UPDATE sqlite_master SET sql = 'x'", INVALID),
    ("DELETE FROM sqlite_schema", INVALID),
    ("DROP TABLE sqlite_schema", INVALID),
    ("CREATE TABLE sqlite_mine (a)", INVALID),
    ("SELECT sqlite_rename_table('main', 't', 'x', 'y', 'z', 0, 0)", INVALID),
    ("CREATE TRIGGER x AFTER INSERT ON sqlite_schema BEGIN SELECT 1; END", INVALID),
    # Transactions and what would stay with the connection for whoever comes next.
    ("BEGIN", DENIED),
    ("BEGIN EXCLUSIVE", DENIED),
    ("COMMIT", DENIED),
    ("END", DENIED),
    ("ROLLBACK", DENIED),
    ("SAVEPOINT s", DENIED),
    ("RELEASE s", DENIED),
    ("ROLLBACK TO s", DENIED),
    ("VACUUM", INVALID),
    ("CREATE TEMP TABLE x (a)", DENIED),
    ("CREATE TABLE temp.x (a)", DENIED),
    ("CREATE VIEW temp.x AS SELECT 1", DENIED),
    ("CREATE TRIGGER temp.x AFTER INSERT ON main.t BEGIN SELECT 1; END", DENIED),
    ("CREATE INDEX temp.x ON t (a)", INVALID),
    ("CREATE TABLE temp.x AS SELECT 1", DENIED),
    ("CREATE TEMP VIEW x AS SELECT 1", DENIED),
    ("CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END", DENIED),
    ("SELECT 1; ATTACH 'x' AS y", INVALID),
    ("SELECT 1; SELECT 2", INVALID),
    ("EXPLAIN ATTACH 'x' AS y", DENIED),
    ("EXPLAIN QUERY PLAN PRAGMA database_list", DENIED),
    # By way of what a statement calls.
    ("CREATE TABLE g (a, b AS (load_extension(a)))", DENIED),
    ("CREATE TABLE g (a DEFAULT (load_extension('x')))", DENIED),
    ("CREATE TABLE g (a CHECK (fts3_tokenizer(a)))", DENIED),
    ("CREATE INDEX i ON t (load_extension(a))", DENIED),
]  # fmt: skip

TOO_MUCH = [
    # Time.
    (f"{R} SELECT count(*) FROM r", TIMEOUT),
    (f"{R} SELECT sum(a.x) FROM r a, (SELECT 1 UNION SELECT 2) b", TIMEOUT),
    (f"{R} INSERT INTO t SELECT x, zeroblob(3000) FROM r", LIMIT),
    (f"{R} SELECT 1 FROM r WHERE x < 0 AND instr(hex(x), 'zz')", TIMEOUT),
    ("SELECT count(*) FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k, t l, t m, t n, t o, t p, t q, t r,"
     " t s, t u, t v, t w, t x, t y, t z, t aa, t bb", TIMEOUT),
    # Inside one function, where nobody is asked.
    ("SELECT trim(printf('%.*c', 1000000, 'a'), printf('%.*c', 900000, 'b') || 'a')", LIMIT),
    ("SELECT rtrim(printf('%.*c', 1000000, 'a'), printf('%.*c', 900000, 'b') || 'a')", LIMIT),
    ("SELECT ltrim(printf('%.*c', 1000000, 'a'), printf('%.*c', 900000, 'b') || 'a')", LIMIT),
    ("SELECT unhex(printf('%.*c', 1000000, 'z'), printf('%.*c', 900000, 'y') || 'z')", LIMIT),
    (f"{R}, k(n) AS (SELECT x FROM r LIMIT 20000) SELECT json_patch((SELECT json_group_object('k' || n, 1) FROM k),"
     " (SELECT json_group_object('q' || n, 1) FROM k))", LIMIT),
    (f"SELECT replace({BIG}, 'a', {BIG})", LIMIT),
    ("SELECT replace(zeroblob(1000000), zeroblob(500000), 'b')", LIMIT),
    (f"{R} SELECT max(length(replace(printf('%.*c', 1000000, 'ab'), 'a', 'b'))) FROM r", TIMEOUT),
    # Memory.
    (f"SELECT json_group_array(y) FROM ({R} SELECT {BIG} AS y FROM r)", LIMIT),
    (f"SELECT group_concat(y) FROM ({R} SELECT {BIG} AS y FROM r)", TIMEOUT),
    ("SELECT " + ", ".join(["randomblob(1999000)"] * 100), LIMIT),
    ("SELECT length(zeroblob(2000001))", LIMIT),
    ("SELECT printf('%.*c', 3000000, 'a')", LIMIT),
    (f"SELECT hex({BIG})", LIMIT),
    (f"SELECT {BIG} || {BIG}", LIMIT),
    ("SELECT json_pretty('[[1]]', 'x')", DENIED),
    # Disk.
    (f"{R} SELECT x FROM (SELECT x, randomblob(1000) AS b FROM r) ORDER BY b", LIMIT),
    (f"{R} INSERT INTO t SELECT x, zeroblob(100000) FROM r", LIMIT),
    # The reply.
    (f"SELECT {BIG}", LIMIT),
    (f"{R} SELECT x FROM r", LIMIT),
    (f"{R} SELECT x AS {'n' * 60_000} FROM r LIMIT 100", LIMIT),
    # The compiler.
    ("SELECT " + "abs(" * 120 + "1" + ")" * 120, INVALID),
    ("SELECT " + " + ".join(["1"] * 200), INVALID),
    ("SELECT 1" + " UNION ALL SELECT 1" * 100, INVALID),
    ("SELECT max(" + ",".join(["1"] * 33) + ")", INVALID),
    ("SELECT " + ",".join(["1"] * 101), INVALID),
    ("CREATE TABLE wide (" + ",".join(f"c{n}" for n in range(101)) + ")", INVALID),
    ("SELECT '" + "a" * 100_000 + "'", LIMIT),
    ("SELECT 'x' LIKE '" + "%a" * 26 + "'", INVALID),
    ("SELECT 'x' GLOB '" + "*a" * 26 + "'", INVALID),
    ("SELECT ?101", INVALID),
    ("SELECT " + ",".join("?" * 101), INVALID),
    ("SELECT :name", INVALID),
    # Text that is none.
    ("SELECT CAST(x'ff' AS TEXT)", INVALID),
    ("SELECT 1, CAST(x'80' AS TEXT)", INVALID),
    ("SELECT abs(-9223372036854775808)", INVALID),
    ("", INVALID),
    (" -- nothing\n;", INVALID),
]  # fmt: skip


def _name(value: object) -> str | None:
    return value[:60] if isinstance(value, str) else None


async def _still_serves(attacked: Attacked) -> None:
    assert await attacked.run("SELECT a FROM t ORDER BY a") == [(1,), (2,)]
    assert await attacked.run("SELECT x FROM secret", on=attacked.neighbour) == [("theirs",)]
    await attacked.run("INSERT INTO t VALUES (3, 'three')")
    assert await attacked.run("DELETE FROM t WHERE a > 2 RETURNING a") == [(3,)]


@pytest.mark.parametrize(("sql", "code"), [*OUT, *TOO_MUCH], ids=_name)
async def test_hostile_sql_fails_by_name_and_nobody_else_notices(
    attacked: Attacked, sql: str, code: Code
) -> None:
    began = time.monotonic()
    with pytest.raises(OperationError, match=r"^D1_ERROR: ") as caught:
        await attacked.run(sql)
    took = time.monotonic() - began
    assert caught.value.code is code, caught.value.message
    assert took < attacked.store.limits.query_s + GRACE_S
    assert str(attacked.folder) not in caught.value.message
    assert {path.name[:36] for path in attacked.folder.iterdir()} == {attacked.id, attacked.neighbour}
    await _still_serves(attacked)


async def test_a_statement_of_ours_is_never_found_in_the_cache(attacked: Attacked) -> None:
    # SQLite asks nobody about a statement that it has compiled before.
    await attacked.store.batch(attacked.id, [SqlStatement("INSERT INTO t VALUES (9, 9)")], "tenant")
    await attacked.run("DELETE FROM t WHERE a = 9")
    for sql in (
        "BEGIN IMMEDIATE",
        "COMMIT",
        "ROLLBACK",
        "PRAGMA user_version",
        "PRAGMA page_count",
        "PRAGMA schema_version",
    ):
        with pytest.raises(OperationError) as caught:
            await attacked.run(sql)
        assert caught.value.code is DENIED, sql
    await _still_serves(attacked)


async def test_views_that_double_are_compiled_no_longer_than_a_statement_may(attacked: Attacked) -> None:
    # Twelve statements, each harmless; the last asks for 32,768 joins. Without a limit: 60 s in the compiler.
    await attacked.run("CREATE VIEW v0 AS SELECT 1 AS x")
    for number in range(1, 16):
        await attacked.run(f"CREATE VIEW v{number} AS SELECT a.x FROM v{number - 1} a, v{number - 1} b")
        await attacked.run(
            f"CREATE VIEW u{number} AS SELECT x FROM {'v0' if number == 1 else f'u{number - 1}'} UNION ALL"
            f" SELECT x FROM {'v0' if number == 1 else f'u{number - 1}'}"
        )
    for view in ("v15", "u15"):
        began = time.monotonic()
        with pytest.raises(OperationError) as caught:
            await attacked.run(f"SELECT count(*) FROM {view}")
        assert caught.value.code in (TIMEOUT, LIMIT, INVALID)
        assert time.monotonic() - began < LIMITS.query_s + GRACE_S
    await _still_serves(attacked)


async def test_triggers_that_set_each_other_off_end(attacked: Attacked) -> None:
    for number in range(12):
        await attacked.run(f"CREATE TABLE p{number} (x)")
    for number in range(11):
        await attacked.run(
            f"CREATE TRIGGER g{number} AFTER INSERT ON p{number}"
            f" BEGIN INSERT INTO p{number + 1} VALUES (1), (2), (3); END"
        )
    with pytest.raises(OperationError, match="triggers nested too deep"):
        await attacked.run("INSERT INTO p0 VALUES (1)")
    assert await attacked.run("SELECT count(*) FROM p0") == [(0,)]
    await _still_serves(attacked)


async def test_what_a_view_or_a_trigger_calls_is_denied_when_it_is_used(attacked: Attacked) -> None:
    # SQLite looks at their functions then, not when they are made.
    await attacked.run("CREATE VIEW v AS SELECT load_extension('x') AS y, a FROM t")
    await attacked.run("CREATE TABLE w (a)")
    await attacked.run("CREATE TRIGGER g AFTER INSERT ON w BEGIN SELECT sqlite_log(1, 'x'); END")
    await attacked.run("CREATE VIEW files AS SELECT * FROM pragma_database_list")
    for sql in ("SELECT * FROM v", "INSERT INTO w VALUES (1)", "SELECT * FROM files"):
        with pytest.raises(OperationError) as caught:
            await attacked.run(sql)
        assert caught.value.code in (DENIED, INVALID), sql
        assert str(attacked.folder) not in caught.value.message
    assert await attacked.run("SELECT count(*) FROM w") == [(0,)]
    await _still_serves(attacked)


async def test_a_schema_takes_so_much_memory_and_no_more(
    attacked: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.d1.limits.SCHEMA_BYTES", 60_000)
    tables = "".join(f"CREATE TABLE many{number} (a, b, c, d);" for number in range(500))
    with pytest.raises(OperationError, match="the schema would take") as caught:
        await attacked.store.exec(attacked.id, tables, "tenant")
    assert caught.value.code is LIMIT
    await _still_serves(attacked)


async def test_a_database_is_full_at_its_limit_and_can_be_emptied(attacked: Attacked) -> None:
    await attacked.run("CREATE TABLE heap (x)")
    with pytest.raises(OperationError, match="the database is full") as caught:
        await attacked.store.exec(attacked.id, "INSERT INTO heap VALUES (zeroblob(100000));" * 100, "tenant")
    assert caught.value.code is LIMIT
    sizes = sum(path.stat().st_size for path in attacked.folder.glob(f"{attacked.id}.sqlite"))
    assert sizes <= LIMITS.database_bytes
    await attacked.run("DELETE FROM heap")
    await attacked.run("INSERT INTO heap VALUES (1)")
    await _still_serves(attacked)


async def test_nothing_of_one_statement_is_told_to_the_next(attacked: Attacked) -> None:
    await attacked.run("INSERT INTO t VALUES (77, 'x')")
    assert await attacked.run("SELECT last_insert_rowid()") == [(0,)]
    await attacked.run("DELETE FROM t WHERE a = 77")


_LOOKED_AT = """
bm25 fts3_tokenizer fts5 fts5_get_locale fts5_insttoken fts5_locale fts5_source_id geopoly_area geopoly_bbox
geopoly_blob geopoly_ccw geopoly_contains_point geopoly_debug geopoly_group_bbox geopoly_json geopoly_overlap
geopoly_regular geopoly_svg geopoly_within geopoly_xform json_pretty load_extension matchinfo median offsets optimize
percentile percentile_cont percentile_disc rtreecheck rtreedepth rtreenode sqlite_compileoption_get
sqlite_compileoption_used sqlite_log sqlite_source_id subtype
"""


def test_every_function_of_this_sqlite_was_looked_at() -> None:
    # A new release brings new ones: they are denied until somebody has thought about them, and this tells.
    connection = apsw.Connection(":memory:")
    there = {row[0] for row in connection.execute("SELECT DISTINCT name FROM pragma_function_list")}
    looked_at = set(_LOOKED_AT.split())
    assert there - sandbox.FUNCTIONS <= looked_at
    assert there >= sandbox.FUNCTIONS, "the list names functions that are not there"
