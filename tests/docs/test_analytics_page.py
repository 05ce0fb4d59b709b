"""docs/analytics.md says of data points what the code says, and its queries run."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import analytics_keeping as keeping
from cli.settings import SERVE
from model.analytics import BLOB_BYTES, BLOBS, DOUBLES, INDEX_BYTES, POINTS
from storage import analytics_store as store
from storage.analytics_query import Scope
from storage.analytics_store import AnalyticsStore, StoredPoint, analytics_migrations
from storage.d1.limits import RESULT_BYTES, RESULT_ROWS
from storage.database import Database
from tests.docs.pages import blocks, code, read, table

PAGE = read("analytics.md")
PLAIN = " ".join(PAGE.split())
QUERIES = [block.text for block in blocks(PAGE) if block.language == "sql"]
DEFAULTS = {setting.name: setting.default for setting in SERVE}


def test_a_point_has_the_bounds_of_the_code() -> None:
    told = [row[1] for row in table(PAGE, "## A point")]
    assert told == [
        f"1, of {INDEX_BYTES} bytes",
        f"{BLOBS}, of {BLOB_BYTES} bytes together; text",
        f"{DOUBLES}; no NaN, no infinity",
        str(POINTS),
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"at most {store.QUERY_LIMITS.query_s:g} s; {store.QUERIES} run at once, {store.WAITING_QUERIES} wait",
        f"at most {RESULT_ROWS:,} rows and {RESULT_BYTES:,} bytes",
        f"kept for {DEFAULTS['analytics_days']} days (`--analytics-days`)",
        f"in {DEFAULTS['analytics_mb']} MiB (`--analytics-mb`)",
        f"at most {store.DATASETS} datasets",
        f"has not sent: {keeping.WORKER_BYTES >> 20} MiB, of one tenant an eighth",
        f"has not written: {keeping.CONTROL_BYTES >> 20} MiB, again an eighth",
    ],
)
def test_the_page_has_the_value_of_the_code(text: str) -> None:
    assert text in PLAIN
    assert keeping.ONE_TENANTS == 8
    assert keeping.GATHER_S == 0.5


@pytest.mark.parametrize("sql", QUERIES)
async def test_a_query_of_the_page_runs(tmp_path: Path, sql: str) -> None:
    made = AnalyticsStore(Database.open(tmp_path / "analytics.db", analytics_migrations()))
    await made.append([StoredPoint("prod", "acme", "visits", 0, "", ("/",), (1.0,), 1)])
    await made.query(sql, Scope("prod", None))
    made.close()


async def test_a_dataset_has_the_columns_of_the_page(tmp_path: Path) -> None:
    made = AnalyticsStore(Database.open(tmp_path / "analytics.db", analytics_migrations()))
    await made.append([StoredPoint("", "", "visits", 1_795_542_797_000, "", (), (), 0)])
    answer = await made.query("SELECT * FROM visits", Scope())
    told: list[str] = []
    for row in _columns():
        first, _, last = row[0].partition(" to ")
        name = code(first).rstrip("0123456789")
        count = int(code(last).removeprefix(name)) if last else 0
        told += [f"{name}{n}" for n in range(1, count + 1)] if count else [code(first)]
    assert list(answer.columns) == told
    assert code(_columns()[0][1]) == answer.rows[0][0]
    made.close()


def _columns() -> list[list[str]]:
    """The second table of the part about asking."""
    return table("\n## Columns\n" + PAGE.partition("with these columns:\n")[2], "## Columns")


def test_queries_were_found() -> None:
    assert len(QUERIES) == 2
