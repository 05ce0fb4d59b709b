"""What tenants keep is bounded, for each and together, and nobody's cache is emptied by another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from storage.cache_store import SWEEP_ROWS, VARIANTS, CacheBounds, CachePlace, CacheStore, cache_migrations
from storage.database import Database


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[[CacheBounds], CacheStore]]:
    database = Database.open(tmp_path / "cache.db", cache_migrations())
    yield lambda bounds: CacheStore(database, bounds, lambda: 1_000.0)
    database.close()


class Filler:
    def __init__(self, store: CacheStore) -> None:
        self.store = store
        self.count = 0

    async def put(self, owner: str, url: str, size: int = 100, varied: bytes = b"") -> None:
        self.count += 1
        record = b"%d" % self.count
        await self.store.put(
            place(owner, url), f"id{self.count}", record, varied, float(self.count), b"b" * size
        )

    def kept(self, owner: str, *urls: str) -> list[str]:
        return [url for url in urls if self.store.find(place(owner, url))]


def place(owner: str, url: str) -> CachePlace:
    return CachePlace(owner, "default", url, 0.0)


async def test_the_oldest_of_a_tenant_go_first(make: Callable[[CacheBounds], CacheStore]) -> None:
    filler = Filler(make(CacheBounds(tenant_bytes=1_000)))
    for url in ("a", "b", "c"):
        await filler.put("t", url, 300)
    await filler.put("other", "a", 900)
    await filler.put("t", "d", 300)
    assert filler.kept("t", "a", "b", "c", "d") == ["b", "c", "d"]
    assert filler.kept("other", "a") == ["a"]
    await filler.put("t", "e", 2_000)  # more than it may have: then not even that
    assert filler.kept("t", "a", "b", "c", "d", "e") == []


async def test_entries_are_bounded(make: Callable[[CacheBounds], CacheStore]) -> None:
    filler = Filler(make(CacheBounds(tenant_entries=150)))
    urls = [f"u{n}" for n in range(200)]
    for url in urls:
        await filler.put("t", url, 1)
    kept = filler.kept("t", *urls)
    assert 140 <= len(kept) <= 150
    assert kept == urls[-len(kept) :]


async def test_whoever_holds_most_gives_way(make: Callable[[CacheBounds], CacheStore]) -> None:
    filler = Filler(make(CacheBounds(tenant_bytes=5_000, total_bytes=10_000)))
    await filler.put("small", "a", 100)
    for owner in ("big", "bigger", "biggest"):
        for n in range(45):
            await filler.put(owner, f"u{n}", 100)
    await filler.put("new", "a", 100)
    assert filler.kept("small", "a") == ["a"]
    assert filler.kept("new", "a") == ["a"]
    held = {
        owner: filler.store._database.read("SELECT bytes FROM cache_totals WHERE owner = ?", (owner,))
        for owner in ("", "big")
    }
    assert held[""][0][0] <= 10_000
    total = filler.store._database.read("SELECT count(*), sum(size) FROM cache_entries")[0]
    assert filler.store._database.read("SELECT entries, bytes FROM cache_totals WHERE owner = ''")[0] == total


async def test_variants_of_a_url_are_bounded_and_one_takes_its_own_place(
    make: Callable[[CacheBounds], CacheStore],
) -> None:
    filler = Filler(make(CacheBounds()))
    for n in range(VARIANTS + 5):
        await filler.put("t", "a", varied=b"%d" % n)
    found = filler.store.find(place("t", "a"))
    assert found == [b"%d" % n for n in range(VARIANTS + 5, 5, -1)]
    await filler.put("t", "a", varied=b"20")
    assert len(filler.store.find(place("t", "a"))) == VARIANTS


async def test_what_is_too_old_is_swept(make: Callable[[CacheBounds], CacheStore]) -> None:
    filler = Filler(make(CacheBounds(most_age_s=900.0)))
    for n in range(SWEEP_ROWS + 20):
        await filler.put("t", f"u{n}", 1)
    assert await filler.store.sweep() == 99  # those stored before the hundredth second
    assert await filler.store.sweep() == 0
    assert filler.kept("t", "u98", "u99", "u100") == ["u99", "u100"]


async def test_a_tenant_that_is_forgotten_leaves_no_row_and_the_others_theirs(
    make: Callable[[CacheBounds], CacheStore],
) -> None:
    store = make(CacheBounds())
    filler = Filler(store)
    for number in range(SWEEP_ROWS * 2 + 1):
        await filler.put("prod/acme", f"u{number}", 1)
    for owner in ("prod/acme2", "/acme", "test/acme"):
        await filler.put(owner, "u", 1)
    await store.forget("prod", "acme")
    await store.forget("prod", "acme")
    assert filler.kept("prod/acme", *(f"u{number}" for number in range(SWEEP_ROWS * 2 + 1))) == []
    assert [filler.kept(owner, "u") for owner in ("prod/acme2", "/acme", "test/acme")] == [["u"]] * 3


async def test_what_another_machine_deleted_is_forgotten_when_the_host_sweeps(
    make: Callable[[CacheBounds], CacheStore],
) -> None:
    store = make(CacheBounds())
    filler = Filler(store)
    for owner in ("prod/gone", "prod/there", "/gone", "prod/gone"):
        await filler.put(owner, f"u{filler.count}", 1)
    asked: list[tuple[str, str, int]] = []

    def gone(held: Sequence[tuple[str, str, int]]) -> list[tuple[str, str]]:
        asked.extend(held)
        return [(namespace, tenant) for namespace, tenant, _ in held if tenant == "gone"]

    sweeping = asyncio.create_task(store.sweep_forever(gone))
    for _ in range(6_000):
        if not filler.kept("prod/gone", "u0", "u3"):
            break
        await asyncio.sleep(0.01)
    sweeping.cancel()
    assert filler.kept("prod/gone", "u0", "u3") == []
    assert filler.kept("prod/there", "u1") == ["u1"]
    assert filler.kept("/gone", "u2") == ["u2"], "the account's own scripts are no tenant's of a namespace"
    assert sorted(asked) == [("prod", "gone", 1_000), ("prod", "there", 2_000)]
