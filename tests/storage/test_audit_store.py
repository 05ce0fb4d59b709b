"""Rule held: audit rows are found by any filter in pages that end, and are forgotten by age and by size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage import audit_store
from storage.audit_store import AuditPage, AuditQuery, AuditRow, AuditStore, audit_migrations
from storage.database import Database

ROW = AuditRow(
    1_000, "prod", "acme", "shop", "8f0e", "GET", "https", "api.example.com", 443, "/v1", "allow", "api",
    "namespace", "policy.rule_allow", "policy.rule_allow", "abc", "93.184.216.34", 200, 10, 20, 5, 0, 0, "",
)  # fmt: skip


class Clock:
    ms = 10_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[AuditStore]:
    made = AuditStore(Database.open(tmp_path / "audit.db", audit_migrations()), clock)
    yield made
    made.close()


def ids(page: AuditPage) -> list[int]:
    return [number for number, _ in page.rows]


async def every_page(store: AuditStore, wanted: AuditQuery) -> tuple[list[int], int]:
    """All ids, and how many pages they took."""
    found: list[int] = []
    for pages in range(1, 1_000):
        page = await store.query(wanted)
        found += ids(page)
        if page.cursor is None:
            return found, pages
        wanted = replace(wanted, cursor=page.cursor)
    raise AssertionError("it never ended")


async def test_newest_come_first_and_pages_join_without_gap_or_double(store: AuditStore) -> None:
    await store.append([ROW] * 25)
    found, pages = await every_page(store, AuditQuery(limit=10))
    assert found == list(range(25, 0, -1))
    assert pages == 3


async def test_ascending_pages_go_on_where_the_last_one_ended(store: AuditStore) -> None:
    await store.append([ROW] * 15)
    page = await store.query(AuditQuery(ascending=True, limit=10))
    assert (ids(page), page.cursor) == (list(range(1, 11)), 10)
    page = await store.query(AuditQuery(ascending=True, limit=10, cursor=page.cursor))
    assert (ids(page), page.cursor) == (list(range(11, 16)), 15)
    page = await store.query(AuditQuery(ascending=True, limit=10, cursor=page.cursor))
    assert (ids(page), page.cursor) == ([], 15)


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("tenant", [None, "acme", "rare"])
async def test_a_rare_row_is_found_in_pages_that_each_look_at_few(
    store: AuditStore, monkeypatch: pytest.MonkeyPatch, ascending: bool, tenant: str | None
) -> None:
    monkeypatch.setattr(audit_store, "SCANNED_ROWS", 10)
    rare = replace(ROW, host="rare.example", tenant=tenant or "acme")
    await store.append([ROW] * 30 + [rare] + [replace(ROW, tenant="other")] * 30)
    found: list[int] = []
    cursor = None
    for _ in range(12):
        wanted = AuditQuery(host="rare.example", tenant=tenant, ascending=ascending, cursor=cursor)
        page = await store.query(wanted)
        found += ids(page)
        if page.cursor is None or page.cursor == cursor:
            break
        cursor = page.cursor
    else:
        raise AssertionError("it never ended")
    assert found == [31]


async def test_a_time_is_found_though_rows_arrive_late(store: AuditStore, clock: Clock) -> None:
    """A record is written when its request is over: up to an hour after it was made."""
    hour = 3_600_000
    clock.ms = 10 * hour
    await store.append([replace(ROW, at_ms=10 * hour - 1), replace(ROW, at_ms=9 * hour)])
    clock.ms = 11 * hour
    await store.append([replace(ROW, at_ms=10 * hour)])
    clock.ms = 20 * hour
    await store.append([replace(ROW, at_ms=20 * hour)])
    assert ids(await store.query(AuditQuery(since_ms=10 * hour, until_ms=10 * hour))) == [3]
    assert ids(await store.query(AuditQuery(since_ms=9 * hour, until_ms=10 * hour))) == [3, 2, 1]
    assert ids(await store.query(AuditQuery(since_ms=20 * hour + 1))) == []
    assert ids(await store.query(AuditQuery(until_ms=8 * hour))) == []


async def test_rows_are_forgotten_by_age(store: AuditStore, clock: Clock) -> None:
    for clock.ms in (1_000, 2_000, 3_000):
        await store.append([ROW] * 2)
    assert await store.prune(older_than_ms=3_000, most_bytes=1 << 40) == 4
    assert ids(await store.query(AuditQuery())) == [6, 5]
    assert await store.prune(older_than_ms=3_000, most_bytes=1 << 40) == 0


async def test_the_oldest_are_forgotten_when_there_are_too_many(store: AuditStore) -> None:
    for _ in range(10):
        await store.append([replace(ROW, path="/" + "x" * 1_000)] * 2_000)
    before = store.used_bytes()
    assert before > 20 << 20
    await store.prune(older_than_ms=0, most_bytes=10 << 20)
    assert store.used_bytes() <= 10 << 20
    (newest, *_), pages = await every_page(store, AuditQuery(limit=1_000))
    assert newest == 20_000
    assert pages > 1
    # Room in the file is used again.
    size = store._database.path.stat().st_size
    await store.append([replace(ROW, path="/" + "x" * 1_000)] * 2_000)
    assert store._database.path.stat().st_size <= size


async def test_a_flood_of_one_tenant_pushes_out_nobody_elses(store: AuditStore) -> None:
    others = [replace(ROW, tenant=f"t{number}") for number in range(100)]
    await store.append(others)
    for _ in range(10):
        await store.append([replace(ROW, path="/" + "x" * 1_000)] * 2_000)
    await store.prune(older_than_ms=0, most_bytes=10 << 20)
    assert store.used_bytes() <= 10 << 20
    for other in others:
        assert len((await store.query(AuditQuery(tenant=other.tenant))).rows) == 1
    newest = await store.query(AuditQuery(tenant="acme", limit=1))
    assert ids(newest) == [20_100]


async def test_a_clock_that_is_set_back_hides_nothing(store: AuditStore, clock: Clock) -> None:
    clock.ms = 5_000
    await store.append([replace(ROW, at_ms=5_000)])
    clock.ms = 1_000
    await store.append([replace(ROW, at_ms=1_000)])
    assert ids(await store.query(AuditQuery(since_ms=4_000))) == [1]
    assert ids(await store.query(AuditQuery(since_ms=500, until_ms=1_500))) == [2]


async def test_numbers_are_not_used_again_after_all_was_forgotten(store: AuditStore) -> None:
    await store.append([ROW] * 3)
    await store.prune(older_than_ms=10**15, most_bytes=0)
    assert ids(await store.query(AuditQuery())) == []
    await store.append([ROW])
    assert ids(await store.query(AuditQuery(ascending=True, cursor=3))) == [4]


@pytest.mark.parametrize(
    "wanted",
    [
        AuditQuery(tenant="acme", since_ms=1, until_ms=2),
        AuditQuery(ray_id="x"),
        AuditQuery(host="x", cursor=100),
    ],
)
async def test_a_query_scans_no_table(
    store: AuditStore, monkeypatch: pytest.MonkeyPatch, wanted: AuditQuery
) -> None:
    await store.append([ROW])
    asked: list[tuple[str, tuple[object, ...]]] = []
    read = store._database.read

    def explained(sql: str, params: tuple[object, ...] = ()) -> object:
        asked.append((sql, params))
        return read(sql, params)  # type: ignore[arg-type]

    monkeypatch.setattr(store._database, "read", explained)
    await store.query(wanted)
    assert len(asked) > 1
    for sql, params in asked:
        plan = read("EXPLAIN QUERY PLAN " + sql, params)  # type: ignore[arg-type]
        assert not [row[3] for row in plan if row[3] == "SCAN egress_audit"], (sql, plan)
