"""Rule held: a data point is found under its owner and dataset alone, for a bounded time and in a bounded file, and who
floods it pushes out nobody else's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.errors import OperationError, OperationErrorCode
from storage import analytics_store
from storage.analytics_query import Scope
from storage.analytics_store import DATASETS, AnalyticsStore, StoredPoint, analytics_migrations, timestamp
from storage.database import Database

#: 2026-11-24T17:53:17Z
AT_MS = 1_795_542_797_000
DAY_MS = 86_400_000
OF_ACCOUNT = Scope()
ENDLESS = "WITH RECURSIVE t(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM t) SELECT a FROM t"


def point(dataset: str = "visits", tenant: str = "", **changed: Any) -> StoredPoint:
    namespace = "prod" if tenant else ""
    fields: dict[str, Any] = {
        **{"namespace": namespace, "tenant": tenant, "dataset": dataset, "at_ms": AT_MS},
        **{"index": "i", "blobs": ("a", "b"), "doubles": (1.0, 2.5), "size": 3},
    }
    return StoredPoint(**{**fields, **changed})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnalyticsStore]:
    made = AnalyticsStore(Database.open(tmp_path / "analytics.db", analytics_migrations()), lambda: AT_MS)
    yield made
    made.close()


async def held(store: AnalyticsStore) -> dict[tuple[str, str], int]:
    found, _ = await store.datasets(None, None, 1_000, 0)
    return {(info.tenant, info.name): info.points for info in found}


async def count(store: AnalyticsStore, dataset: str, scope: Scope = OF_ACCOUNT) -> int:
    return int((await store.query(f"SELECT count(*) FROM {dataset}", scope)).rows[0][0])  # noqa: S608 - a test's own


async def test_a_point_is_a_row_with_every_column(store: AnalyticsStore) -> None:
    assert await store.append([point()]) == 1
    answer = await store.query("SELECT * FROM visits", Scope())
    row = dict(zip(answer.columns, answer.rows[0], strict=True))
    assert list(row)[:5] == ["timestamp", "dataset", "_sample_interval", "index1", "blob1"]
    assert row.pop("timestamp") == "2026-11-24 17:53:17"
    given = {
        "dataset": "visits",
        "_sample_interval": 1,
        "index1": "i",
        "blob1": "a",
        "blob2": "b",
        "tenant": "",
    }
    given |= {"double1": 1.0, "double2": 2.5}
    assert {name: row.pop(name) for name in given} == given
    assert row == {f"blob{n}": "" for n in range(3, 21)} | {f"double{n}": 0.0 for n in range(3, 21)}
    assert dict(zip(answer.columns, answer.types, strict=True))["timestamp"] == "DateTime"


async def test_each_owner_has_datasets_of_its_own(store: AnalyticsStore) -> None:
    await store.append([point(), point(tenant="acme"), point(tenant="acme"), point(tenant="rival")])
    assert await count(store, "visits") == 1
    assert await count(store, "visits", Scope("prod", "acme")) == 2
    assert await count(store, "visits", Scope("prod", "rival")) == 1
    together = "SELECT tenant, count(*) FROM visits GROUP BY tenant ORDER BY tenant"
    assert list((await store.query(together, Scope("prod", None))).rows) == [("acme", 2), ("rival", 1)]
    for scope in (Scope("prod", "nobody"), Scope("staging", None), Scope("staging", "acme")):
        with pytest.raises(OperationError, match="no such table: visits"):
            await count(store, "visits", scope)


async def test_names_of_datasets_are_without_case_as_tables_are(store: AnalyticsStore) -> None:
    await store.append([point("Visits"), point("visits"), point("VISITS")])
    assert await count(store, "vIsItS") == 3
    assert await held(store) == {("", "Visits"): 3}


async def test_an_owner_has_so_many_datasets_and_no_more(store: AnalyticsStore) -> None:
    points = [point(f"d{n}", "acme") for n in range(DATASETS + 1)]
    assert await store.append([*points, point("d0", "acme"), point("d0", "rival")]) == DATASETS + 2
    names = {name for tenant, name in await held(store) if tenant == "acme"}
    assert len(names) == DATASETS
    assert f"d{DATASETS}" not in names


async def test_datasets_are_told_by_owner_page_and_what_they_hold(store: AnalyticsStore) -> None:
    await store.append([point("b"), point("a", at_ms=AT_MS + 1_000), point("a"), point("c", "acme")])
    found, total = await store.datasets(None, None, 2, 1)
    assert ([(info.tenant, info.name) for info in found], total) == ([("", "b"), ("acme", "c")], 3)
    (first, _), total = await store.datasets("", "", 10, 0)
    assert total == 2
    assert (first.name, first.points, first.made_at_ms) == ("a", 2, AT_MS)
    assert (first.oldest, first.newest) == (timestamp(AT_MS), timestamp(AT_MS + 1_000))
    assert await store.datasets("prod", "rival", 10, 0) == ([], 0)
    assert [info.name for info in (await store.datasets("prod", None, 10, 0))[0]] == ["c"]
    assert await store.owners() == [("prod", "acme", AT_MS)]


async def test_a_forgotten_tenant_leaves_nothing_and_others_stay(
    store: AnalyticsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analytics_store, "PRUNED_ROWS", 10)
    await store.append([point(dataset, "acme") for dataset in ("a", "b") for _ in range(25)])
    await store.append([point("a", "rival"), point("a")])
    await store.forget("prod", "acme")
    await store.forget("prod", "acme")
    assert await held(store) == {("", "a"): 1, ("rival", "a"): 1}
    assert await count(store, "a", Scope("prod", None)) == 1


async def test_what_is_too_old_is_forgotten_with_its_dataset(store: AnalyticsStore) -> None:
    await store.append(
        [point("old", at_ms=AT_MS - DAY_MS), point("both", at_ms=AT_MS - DAY_MS), point("both")]
    )
    assert await store.prune(older_than_ms=AT_MS - DAY_MS, most_bytes=1 << 30) == 0
    assert await store.prune(older_than_ms=AT_MS - DAY_MS + 1_000, most_bytes=1 << 30) == 2
    assert await held(store) == {("", "both"): 1}
    (info,), _ = await store.datasets(None, None, 10, 0)
    assert info.bytes == 100 + 3 + 16


async def test_points_come_after_others_were_forgotten(store: AnalyticsStore) -> None:
    old, new = point(at_ms=AT_MS - DAY_MS), point()
    await store.append([old, new, old])
    await store.prune(older_than_ms=AT_MS, most_bytes=1 << 30)
    await store.append([new, old])
    await store.prune(older_than_ms=AT_MS + 1_000, most_bytes=1 << 30)
    await store.append([new, new])
    assert await held(store) == {("", "visits"): 2}


async def test_a_flood_pushes_out_its_own_and_nobody_elses(
    store: AnalyticsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analytics_store, "PRUNED_ROWS", 50)
    large = ("x" * 2_000,)
    await store.append([point(tenant="quiet", at_ms=AT_MS - DAY_MS) for _ in range(20)])
    flood = [point(tenant="loud", blobs=large, size=2_000, at_ms=AT_MS + n * 1_000) for n in range(1_000)]
    await store.append(flood)
    before = store.used_bytes()
    assert await store.prune(older_than_ms=0, most_bytes=before // 2) > 0
    assert store.used_bytes() <= before // 2
    left = await held(store)
    assert left["quiet", "visits"] == 20
    assert 0 < left["loud", "visits"] < 1_000
    newest = await store.query("SELECT max(timestamp), count(*) FROM visits", Scope("prod", "loud"))
    assert newest.rows[0] == (timestamp(AT_MS + 999_000), left["loud", "visits"])


async def test_what_a_query_asks_is_found_by_time_without_a_look_at_the_rest(store: AnalyticsStore) -> None:
    await store.append([point(at_ms=AT_MS + n * 1_000) for n in range(100)])
    asked = "SELECT sum(double1) FROM visits WHERE timestamp >= datetime('2026-11-24 17:54:47')"
    assert (await store.query(asked, Scope())).rows[0] == (10.0,)
    plan = await store.query(f"EXPLAIN QUERY PLAN {asked}", Scope())
    assert any("points_dataset (dataset_id=? AND timestamp>?)" in row[-1] for row in plan.rows)


@pytest.mark.parametrize("sql", ["SHOW TABLES", " show  tables ;", "SHOW TABLES FORMAT JSON"])
async def test_show_tables_names_the_datasets(store: AnalyticsStore, sql: str) -> None:
    await store.append([point("b"), point("a"), point("c", "acme")])
    assert list((await store.query(sql, Scope())).rows) == [("a",), ("b",)]


async def test_types_are_clickhouses(store: AnalyticsStore) -> None:
    await store.append([point(), point(doubles=())])
    answer = await store.query(
        "SELECT timestamp, blob1, count(*) AS n, avg(double1) AS a, NULL AS missing FROM visits FORMAT JSON;",
        Scope(),
    )
    assert answer.types == ("DateTime", "String", "Int64", "Float64", "String")
    mixed = await store.query("SELECT 1 AS n, 'a' AS m UNION ALL SELECT 1.5, 2", Scope())
    assert mixed.types == ("Float64", "String")
    none = await store.query("SELECT blob1, double1 FROM visits WHERE 0", Scope())
    assert (none.columns, none.types, list(none.rows)) == (("blob1", "double1"), ("String", "String"), [])


@pytest.mark.parametrize(
    ("sql", "code", "words"),
    [
        ("", OperationErrorCode.INVALID_ARGUMENT, "one statement"),
        (" -- nothing", OperationErrorCode.INVALID_ARGUMENT, "one statement"),
        ("SELECT 1; SELECT 2", OperationErrorCode.INVALID_ARGUMENT, "one statement"),
        ("SELECT 1 FORMAT CSV", OperationErrorCode.INVALID_ARGUMENT, "FORMAT CSV is not there; JSON is"),
        ("SELECT nowhere", OperationErrorCode.INVALID_ARGUMENT, "no such column"),
        ("SELEC 1", OperationErrorCode.INVALID_ARGUMENT, "syntax error"),
        ("SELECT ?", OperationErrorCode.INVALID_ARGUMENT, "parameter"),
        (ENDLESS, OperationErrorCode.LIMIT_EXCEEDED, "rows"),
    ],
)  # fmt: skip
async def test_what_is_no_query_is_refused(
    store: AnalyticsStore, sql: str, code: OperationErrorCode, words: str
) -> None:
    with pytest.raises(OperationError, match=words) as caught:
        await store.query(sql, Scope())
    assert caught.value.code is code
    assert "D1_ERROR" not in caught.value.message
