"""What only KV in PostgreSQL has: a cache that hears of others' writes within a second, groups of writes, large
values in pieces that go when their entry goes, and a server that comes and goes.
"""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from msgspec import structs

from model.capabilities import KvEntry
from model.errors import OperationError, OperationErrorCode
from storage.failures import StorageError, StorageLost
from storage.postgres.address import DatabaseAddress
from storage.postgres.kv_cache import KvCache
from storage.postgres.kv_store import PgKvStore
from tests.support.postgres import Cluster, migrate
from tests.support.postgres_stores import PgMachine

V, W = KvEntry(b"v"), KvEntry(b"w")


@pytest.fixture(params=["listening", "polling"])
async def machines(
    request: pytest.FixtureRequest, stores_address: DatabaseAddress
) -> AsyncIterator[tuple[PgKvStore, PgKvStore]]:
    """Two processes, of one machine or of two: to each other they are the same. `polling`: behind a pooler."""
    address = replace(stores_address, pooled=request.param == "polling")
    async with PgMachine(address) as one, PgMachine(address) as other:
        yield one.kv, other.kv


@pytest.fixture
def n() -> str:
    return uuid.uuid4().hex


async def read(store: PgKvStore, namespace: str, key: str) -> KvEntry | None:
    found = store.get(namespace, key)
    return found if found is None or isinstance(found, KvEntry) else await found


#: A second, and what a busy machine adds. Who hears nothing goes on answering for a minute.
HEARD_S = 30.0


async def until(fact: Callable[[], Awaitable[bool]], within_s: float) -> float:
    """How long it took; fails after `within_s`."""
    began = time.monotonic()
    while not await fact():
        assert time.monotonic() - began < within_s, "it did not happen in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def cached(store: PgKvStore, namespace: str, key: str) -> None:
    """Until the key is answered at once."""

    began = time.monotonic()
    while True:
        await read(store, namespace, key)
        found = store.get(namespace, key)
        if found is None or isinstance(found, KvEntry):
            return
        await found
        assert time.monotonic() - began < 30.0
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("before", [V, None], ids=["present", "absent"])
async def test_write_of_another_process_is_seen_within_a_second(
    machines: tuple[PgKvStore, PgKvStore], n: str, before: KvEntry | None
) -> None:
    one, other = machines
    if before is not None:
        await one.put(n, "k", before)
    await cached(other, n, "k")
    await one.put(n, "k", W)
    wrote = time.monotonic()
    while await read(other, n, "k") != W:
        assert time.monotonic() - wrote < HEARD_S
        await asyncio.sleep(0.005)
    await cached(other, n, "k")
    await one.delete(n, "k")
    wrote = time.monotonic()
    while await read(other, n, "k") is not None:
        assert time.monotonic() - wrote < HEARD_S
        await asyncio.sleep(0.005)


async def test_process_reads_its_own_writes_at_once(machines: tuple[PgKvStore, PgKvStore], n: str) -> None:
    store, _ = machines
    for number in range(50):
        await store.put(n, "k", KvEntry(b"%d" % number))
        assert await read(store, n, "k") == KvEntry(b"%d" % number)
    assert await store.increment(n, "k", 1) == 50
    assert await read(store, n, "k") == KvEntry(b"50")
    assert not await store.compare_and_swap(n, "k", b"49", V)
    assert await store.compare_and_swap(n, "k", b"50", V)
    assert await read(store, n, "k") == V


async def test_deleted_namespace_leaves_others_caches_too(
    machines: tuple[PgKvStore, PgKvStore], n: str
) -> None:
    one, other = machines
    await one.put(n, "k", V)
    await cached(other, n, "k")
    assert await one.delete_namespace(n) == 1
    deleted = time.monotonic()
    while await read(other, n, "k") is not None:
        assert time.monotonic() - deleted < HEARD_S
        await asyncio.sleep(0.005)
    with pytest.raises(OperationError) as caught:
        await other.put(n, "k", V)
    assert caught.value.code is OperationErrorCode.NOT_FOUND


async def test_write_that_races_a_deletion_leaves_nothing(
    machines: tuple[PgKvStore, PgKvStore], n: str
) -> None:
    one, other = machines
    writes = [asyncio.create_task(other.put(n, f"k{number}", V)) for number in range(200)]
    await asyncio.sleep(0.005)
    await one.delete_namespace(n)
    await asyncio.gather(*writes, return_exceptions=True)
    assert await one.usage(n) == (0, 0)


async def test_group_of_writes_refuses_only_who_is_to_be_refused(
    machines: tuple[PgKvStore, PgKvStore], n: str
) -> None:
    store, _ = machines
    gone = uuid.uuid4().hex
    await store.delete_namespace(gone)
    results = await asyncio.gather(
        *(store.put(gone if number % 3 == 0 else n, f"k{number}", V) for number in range(30)),
        return_exceptions=True,
    )
    assert [isinstance(result, OperationError) for result in results] == [
        number % 3 == 0 for number in range(30)
    ]
    assert (await store.usage(n))[0] == 20


async def test_writes_of_the_same_keys_by_many_processes_never_stop_each_other(
    machines: tuple[PgKvStore, PgKvStore], n: str, postgres: Cluster
) -> None:
    async def writer(store: PgKvStore, step: int) -> None:
        for round_ in range(20):
            keys = [f"k{number * step % 97}" for number in range(97)]
            if round_ % 4 == 3:
                await store.delete_many(n, keys[:40])
            else:
                await store.put_many(n, [(key, V) for key in keys])

    before = len(postgres.log)
    await asyncio.gather(
        *(writer(store, step) for store, step in zip(machines * 2, (1, 5, 11, 96), strict=True))
    )
    assert "deadlock detected" not in postgres.log[before:]


async def test_pieces_of_large_values_go_with_their_entry(database_address: DatabaseAddress, n: str) -> None:
    await migrate(database_address)
    now = 1000.0
    large = KvEntry(b"v" * (3 << 20) + b"end", None, None)
    async with PgMachine(database_address, now_s=lambda: now) as machine:

        async def pieces() -> int:
            return int((await machine.database.fetch("SELECT count(*) FROM kv_chunks"))[0][0])

        store = machine.kv
        await store.put(n, "a", large)
        assert await store.get_entry(n, "a") == large
        assert await pieces() == 4
        await store.put(n, "a", large)
        assert await pieces() == 4
        await store.put(n, "a", V)
        assert await pieces() == 0
        await store.put_many(n, [("a", large), ("b", structs.replace(large, expiration=1060)), ("c", large)])
        assert await pieces() == 12
        await store.delete(n, "a")
        now = 1060.0
        assert await store.sweep() == 1
        assert await pieces() == 4
        await store.delete_namespace(n)
        assert await pieces() == 0


async def test_largest_value_replaced_while_it_is_read_comes_whole(
    machines: tuple[PgKvStore, PgKvStore], n: str
) -> None:
    one, other = machines
    entries = [KvEntry(bytes([letter]) * (25 << 20)) for letter in b"ab"]
    await one.put(n, "k", entries[0])
    writing = asyncio.create_task(one.put(n, "k", entries[1]))
    for _ in range(3):
        found = await other.get_entry(n, "k")
        assert found is not None
        assert found in entries
    await writing
    assert await other.get_entry(n, "k") == entries[1]


async def test_values_read_lately_are_answered_while_the_server_is_away(
    own_postgres: Cluster, n: str
) -> None:
    address = own_postgres.new_database()
    await migrate(address)
    async with PgMachine(address) as machine:
        store = machine.kv
        await store.put(n, "k", V)
        await cached(store, n, "k")
        own_postgres.stop(signal.SIGQUIT)
        await asyncio.sleep(1.2)  # longer than a cache may answer without having looked
        assert await read(store, n, "k") == V  # within its cache_ttl, as Cloudflare's would be
        with pytest.raises(StorageLost):
            await read(store, n, "other")
        with pytest.raises(StorageLost):
            await store.put(n, "k", W)
        own_postgres.start()

        async def back() -> bool:
            try:
                await store.put(n, "k", W)
            except StorageError:
                return False
            return True

        await until(back, 60.0)
        assert await read(store, n, "k") == W


async def when_it_answers(read: Callable[[], Awaitable[KvEntry | None]]) -> KvEntry | None:
    """A server that is back is found by a connection's next try, up to a second later."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await read()
            except StorageLost:
                await asyncio.sleep(0.05)


async def test_no_acknowledged_write_is_lost_when_the_server_crashes_again_and_again(
    own_postgres: Cluster, n: str
) -> None:
    address = own_postgres.new_database()
    await migrate(address)
    acknowledged: dict[str, bytes] = {}
    stop = asyncio.Event()

    async def writer(store: PgKvStore, name: str) -> None:
        number = 0
        while not stop.is_set():
            key, value = f"{name}{number % 50}", b"%d" % number
            try:
                await store.put(n, key, KvEntry(value))
                acknowledged[key] = value
            except StorageError:
                acknowledged.pop(key, None)  # it may be the one or the other
                await asyncio.sleep(0.01)
            number += 1

    async with PgMachine(address) as one, PgMachine(address) as other:
        writers = [
            asyncio.create_task(writer(machine.kv, f"{machine_name}{name}-"))
            for machine_name, machine in (("one", one), ("other", other))
            for name in range(4)
        ]
        for _ in range(3):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(own_postgres.restart, signal.SIGQUIT)
        try:
            async with asyncio.timeout(60):
                while len(acknowledged) <= 100:  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(0.05)
        finally:
            stop.set()
            await asyncio.gather(*writers)
        for key, value in acknowledged.items():
            entry = await when_it_answers(lambda key=key: other.kv.get_entry(n, key))  # type: ignore[misc]
            assert entry is not None
            assert int(entry.value) >= int(value)


def test_cache_is_bounded_in_bytes() -> None:
    cache = KvCache(100_000, lambda: 0.0)
    cache.looked_at_s = 0.0
    for number in range(1000):
        key = ("n", b"%d" % number)
        cache.reads(key)
        cache.keep(key, KvEntry(b"v" * 1000), 0.0)
        assert cache.size <= 100_000
    assert cache.get(("n", b"999"), 60) == (KvEntry(b"v" * 1000),)
    assert cache.get(("n", b"0"), 60) is None


@pytest.mark.parametrize("evict", ["key", "namespace", "all"])
def test_what_was_read_across_an_eviction_is_not_kept(evict: str) -> None:
    cache = KvCache(100_000, lambda: 0.0)
    cache.looked_at_s = 0.0
    key = ("n", b"k")
    cache.reads(key)
    {"key": lambda: cache.evict(key), "namespace": lambda: cache.evict_namespace("n"), "all": cache.clear}[
        evict
    ]()
    cache.keep(key, V, 0.0)
    assert cache.get(key, 60) is None
    cache.reads(key)
    cache.keep(key, W, 0.0)
    assert cache.get(key, 60) == (W,)


@pytest.mark.parametrize(
    ("age_s", "looked_s", "ttl_s", "away", "answered"),
    [
        (59.0, 0.9, 60, False, True),
        (61.0, 0.9, 60, False, False),  # over its time
        (31.0, 0.9, 30, False, False),  # over this reader's
        (10.0, 1.1, 60, False, False),  # too long since others' writes were heard of
        (10.0, 500.0, 60, True, True),  # the database can't be asked
        (61.0, 500.0, 60, True, False),
    ],
)
def test_when_the_cache_answers(
    age_s: float, looked_s: float, ttl_s: int, away: bool, answered: bool
) -> None:
    now = 1000.0
    cache = KvCache(100_000, lambda: now)
    cache.looked_at_s = now - looked_s
    cache.reads(("n", b"k"))
    cache.keep(("n", b"k"), None, now - age_s)
    assert cache.get(("n", b"k"), ttl_s, away=away) == ((None,) if answered else None)
