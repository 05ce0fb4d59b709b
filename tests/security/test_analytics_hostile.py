"""SQL over data points reads the datasets that it is meant to read, whatever it says: no other owner's points, no table
of the file, nothing that writes, reaches files or goes on for long. The machinery is the SQL databases'
(test_d1_hostile.py has what its functions are held to).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from model.errors import OperationError, OperationErrorCode
from storage.analytics_query import Scope, run
from storage.analytics_store import AnalyticsStore, StoredPoint, analytics_migrations
from storage.d1.limits import D1Limits
from storage.database import Database

SECRET = "what the rival wrote"
OURS = Scope("prod", "acme")


@pytest.fixture
async def store(tmp_path: Path) -> Iterator[AnalyticsStore]:  # type: ignore[misc]
    made = AnalyticsStore(Database.open(tmp_path / "analytics.db", analytics_migrations()))
    rows = [
        ("prod", "acme", "visits", "ours"),
        ("prod", "acme", "points", "ours"),
        ("prod", "acme", "datasets", "ours"),
    ]
    rows += [("prod", "rival", name, SECRET) for name in ("visits", "hidden", "points")]
    rows += [("", "", name, SECRET) for name in ("visits", "account")]
    await made.append(
        [StoredPoint(*row[:3], 1_795_542_797_000, row[3], (row[3],), (1.0,), 8) for row in rows]
    )
    yield made
    made.close()


#: What each tries. None of them may tell anything, be it a count.
REACHING = [
    "SELECT * FROM main.points",
    "SELECT count(*) FROM main.points",
    "SELECT 1 FROM main.points",
    "SELECT blob1 FROM main.datasets JOIN main.points ON 1",
    "SELECT name FROM main.datasets",
    "SELECT count(*) FROM main.datasets",
    "SELECT count(*) FROM schema_migrations",
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM main.points)",
    "SELECT 1 WHERE 'x' IN main.points",
    "SELECT (SELECT count(*) FROM main.points) FROM visits",
    "SELECT count(*) FROM (SELECT 1 FROM main.points)",
    "SELECT * FROM visits UNION ALL SELECT blob1 FROM main.points",
    "SELECT p.blob1 FROM visits v JOIN main.points p ON p.blob1 <> v.blob1",
    "SELECT p.blob1 FROM visits v LEFT JOIN main.points p USING (index1)",
    "SELECT * FROM visits NATURAL JOIN main.points",
    "SELECT * FROM visits ORDER BY (SELECT blob1 FROM main.points LIMIT 1)",
    "SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM main.points)) FROM visits",
    # The name of a view that may read the tables is what an authorizer is told of; a query can take any but ours.
    "WITH visits AS (SELECT * FROM main.points) SELECT * FROM visits",
    "WITH visits AS (SELECT count(*) AS n FROM main.points) SELECT n FROM visits",
    "SELECT * FROM (SELECT * FROM main.points) AS visits",
    "WITH RECURSIVE visits(b) AS (SELECT blob1 FROM main.points UNION ALL SELECT b FROM visits) SELECT b FROM visits",
    "WITH a AS MATERIALIZED (SELECT * FROM main.points) SELECT * FROM a",
    'SELECT * FROM "main"."points"',
    "SELECT * FROM [main].[points]",
    "SELECT * FROM main/**/.points",
    "SELECT points.dataset_id FROM main.points",
    "SELECT rowid FROM main.points",
    "SELECT * FROM main.points INDEXED BY points_dataset",
    # Names of datasets that are others'.
    "SELECT * FROM hidden",
    "SELECT * FROM account",
    "SELECT * FROM temp.hidden",
    # What tells of the file, and of the views.
    "SELECT * FROM sqlite_schema",
    "SELECT sql FROM sqlite_master",
    "SELECT sql FROM sqlite_temp_schema",
    "SELECT sql FROM sqlite_temp_master",
    "SELECT count(*) FROM sqlite_schema",
    "SELECT count(*) FROM sqlite_temp_master",
    "SELECT * FROM sqlite_sequence",
    "SELECT * FROM sqlite_stat1",
    "SELECT * FROM dbstat",
    "SELECT * FROM sqlite_dbpage",
    "SELECT * FROM sqlite_stmt",
    "SELECT * FROM bytecode('SELECT 1')",
    "SELECT * FROM tables_used('SELECT * FROM visits')",
    "SELECT * FROM pragma_table_list",
    "SELECT * FROM pragma_table_info('points')",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_function_list",
    "SELECT * FROM fts5vocab",
    "SELECT * FROM json_each('[1]')",
    "PRAGMA table_list",
    "PRAGMA table_info(points)",
    "PRAGMA database_list",
    "PRAGMA query_only = 0",
    "PRAGMA writable_schema = 1",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA optimize",
]  # fmt: skip
WRITING = [
    "DELETE FROM main.points",
    "DELETE FROM visits",
    "UPDATE visits SET blob1 = ''",
    "INSERT INTO main.datasets (namespace, tenant, name, made_at_ms) VALUES ('', '', 'x', 0)",
    "INSERT INTO visits DEFAULT VALUES",
    "CREATE TABLE t (a)",
    "CREATE TEMP TABLE t (a)",
    "CREATE TEMP VIEW v AS SELECT * FROM main.points",
    "CREATE TEMP TRIGGER t INSTEAD OF INSERT ON visits BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE temp.t USING fts5(a)",
    "DROP VIEW temp.visits",
    "DROP TABLE points",
    "ALTER TABLE points ADD COLUMN x",
    "REINDEX",
    "ANALYZE",
    "VACUUM",
    "VACUUM INTO 'copy.db'",
    "ATTACH 'control.db' AS c",
    "ATTACH ':memory:' AS m",
    "DETACH temp",
    "BEGIN",
    "COMMIT",
    "SAVEPOINT s",
    "EXPLAIN DELETE FROM main.points",
]
CALLING = [
    "SELECT load_extension('libc.so.6')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('x', 'y')",
    "SELECT edit('x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT sqlite_source_id()",
    "SELECT sqlite_compileoption_get(1)",
    "SELECT sqlite_rename_column(1, 2, 3, 4, 5, 6, 7, 8, 9)",
    "SELECT sqlite_offset(blob1) FROM visits",
]


@pytest.mark.parametrize("sql", [*REACHING, *WRITING, *CALLING])
async def test_reaches_nothing_but_its_datasets(store: AnalyticsStore, tmp_path: Path, sql: str) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(OperationError) as caught:
        await store.query(sql, OURS)
    assert caught.value.code in (OperationErrorCode.DENIED, OperationErrorCode.INVALID_ARGUMENT)
    assert SECRET not in caught.value.message
    assert {path.name for path in tmp_path.iterdir()} == before
    # It is all there, and the next one is answered.
    assert [info.points for info in (await store.datasets(None, None, 10, 0))[0]] == [1] * 8
    assert (await store.query("SELECT blob1 FROM visits", OURS)).rows == [("ours",)]


@pytest.mark.parametrize("dataset", ["visits", "points", "datasets"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT blob1 FROM {0}",
        "SELECT blob1 FROM temp.{0}",
        "SELECT x.blob1 FROM {0} AS x JOIN {0} AS y USING (index1)",
        "WITH x AS (SELECT * FROM {0}) SELECT blob1 FROM x",
        "SELECT DISTINCT blob1 FROM (SELECT * FROM {0} UNION ALL SELECT * FROM {0})",
        "SELECT max(blob1) OVER () FROM {0}",
        "SELECT blob1 FROM {0} WHERE 1 = (SELECT count(*) FROM {0})",
        "SELECT (SELECT blob1 FROM {0} AS i WHERE i.index1 = o.index1) FROM {0} AS o",
        "SELECT group_concat(blob1) FROM {0} GROUP BY dataset HAVING count(*) = 1",
    ],
)
async def test_datasets_that_are_called_as_tables_of_the_file_are_the_owners_own(
    store: AnalyticsStore, dataset: str, sql: str
) -> None:
    assert (await store.query(sql.format(dataset), OURS)).rows == [("ours",)]


async def test_the_drawn_name_is_another_one_each_time_and_helps_nobody(store: AnalyticsStore) -> None:
    async def names() -> set[str]:
        plan = await store.query(
            "EXPLAIN QUERY PLAN SELECT * FROM visits LEFT JOIN points USING (index1)", OURS
        )
        return {
            word.strip("()") for row in plan.rows for word in str(row[-1]).split() if word.startswith("_")
        }

    seen = await names()
    for name in seen:
        with pytest.raises(OperationError):
            await store.query(f"WITH {name} AS (SELECT * FROM main.points) SELECT * FROM {name}", OURS)  # noqa: S608
        with pytest.raises(OperationError):
            await store.query(f"SELECT * FROM {name}, visits", OURS)  # noqa: S608
    assert not seen & await names()


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE t(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM t) SELECT count(*) FROM t",
        "WITH t(a) AS (VALUES (1),(2),(3),(4),(5),(6),(7),(8)) SELECT count(*) FROM t a, t b, t c, t d, t e, t f, t g,"
        " t h, t i, t j, t k",
        "WITH RECURSIVE t(a) AS (SELECT 'x' UNION ALL SELECT a || a || 'x' FROM t WHERE length(a) < 900000) SELECT"
        " count(*) FROM t a, t b, t c, t d, t e, t f WHERE instr(a.a || b.a, c.a || d.a || 'y')"
        " + instr(e.a, f.a || 'z')",
    ],
)
async def test_what_goes_on_for_too_long_is_ended(store: AnalyticsStore, tmp_path: Path, sql: str) -> None:
    began = monotonic()
    with pytest.raises(OperationError, match="longer than"):
        run(tmp_path / "analytics.db", sql, OURS, D1Limits(query_s=0.3))
    assert monotonic() - began < 10


async def test_what_takes_too_much_memory_is_ended(store: AnalyticsStore, tmp_path: Path) -> None:
    sql = "WITH RECURSIVE t(a) AS (SELECT zeroblob(1000000) UNION ALL SELECT zeroblob(1000000) FROM t) SELECT a FROM t"
    with pytest.raises(OperationError) as caught:
        run(tmp_path / "analytics.db", sql, OURS, D1Limits(query_s=5.0))
    assert caught.value.code is OperationErrorCode.LIMIT_EXCEEDED


async def test_more_queries_than_may_wait_are_refused(store: AnalyticsStore) -> None:
    import asyncio

    from storage.analytics_store import QUERIES, WAITING_QUERIES

    sql = (
        "WITH RECURSIVE t(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM t LIMIT 200000) SELECT count(*) FROM t"
    )
    asked = [asyncio.create_task(store.query(sql, OURS)) for _ in range(QUERIES + WAITING_QUERIES + 3)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    refused = [each for each in found if isinstance(each, OperationError)]
    assert [each.code for each in refused] == [OperationErrorCode.LOAD_SHED] * 3
    assert len(found) - len(refused) == QUERIES + WAITING_QUERIES
