"""What only the stored KV has: durability, namespaces apart, the sweep, deletion, values read in a thread."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from bindings.kv import StoredKvNamespace, kv_get, kv_put
from bindings.memory import MemoryEvent
from model.capabilities import KvEntry
from model.errors import OperationError, OperationErrorCode
from storage.database import Database
from storage.kv_store import KvStore, kv_migrations


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path / "kv.db", kv_migrations())
    yield database
    database.close()


async def test_namespaces_share_nothing(database: Database) -> None:
    store = KvStore(database)
    await store.put("a", "k", KvEntry(b"a"))
    await store.put("ab", "k", KvEntry(b"ab"))
    await store.delete("ab", "other")
    assert await store.get_entry("a", "k") == KvEntry(b"a")
    assert await store.get_entry("b", "k") is None
    assert [key.name for key in (await store.list("a", "", 10, None)).keys] == ["k"]


async def test_cursor_of_another_namespace_is_refused(database: Database) -> None:
    store = KvStore(database)
    for namespace in ("a", "b"):
        await store.put_many(namespace, [("k1", KvEntry(b"")), ("k2", KvEntry(b""))])
    cursor = (await store.list("a", "", 1, None)).cursor
    with pytest.raises(OperationError, match="cursor"):
        await store.list("b", "", 1, cursor)


async def test_cursor_and_values_outlive_the_process(tmp_path: Path) -> None:
    first = Database.open(tmp_path / "kv.db", kv_migrations())
    store = KvStore(first)
    await store.put_many("n", [("k1", KvEntry(b"1")), ("k2", KvEntry(b"2"))])
    cursor = (await store.list("n", "", 1, None)).cursor
    first.close()
    second = Database.open(tmp_path / "kv.db", kv_migrations())
    again = KvStore(second)
    assert [key.name for key in (await again.list("n", "", 1, cursor)).keys] == ["k2"]
    assert await again.get_entry("n", "k1") == KvEntry(b"1")
    second.close()


async def test_write_of_a_cancelled_put_completes(database: Database) -> None:
    store = KvStore(database)
    task = asyncio.create_task(store.put("n", "k", KvEntry(b"v")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.put("n", "later", KvEntry(b""))  # behind it in the queue
    assert await store.get_entry("n", "k") == KvEntry(b"v")


async def test_sweep_removes_expired_rows_in_bounded_batches(database: Database) -> None:
    now = 1000.0
    store = KvStore(database, lambda: now)
    await store.put_many("n", [(f"k{number}", KvEntry(b"", None, 1060)) for number in range(700)])
    await store.put_many("n", [("kept", KvEntry(b"", None, 1061)), ("for ever", KvEntry(b""))])
    assert await store.sweep() == 0
    now = 1060.0
    assert [await store.sweep() for _ in range(3)] == [500, 200, 0]
    assert (await store.usage("n"))[0] == 2


async def test_sweep_goes_on_by_itself(database: Database) -> None:
    now = 1000.0
    store = KvStore(database, lambda: now)
    await store.put_many("n", [(f"k{number}", KvEntry(b"", None, 1060)) for number in range(1200)])
    now = 2000.0
    sweeping = asyncio.create_task(store.sweep_forever(0.01))
    for _ in range(6_000):
        if await store.usage("n") == (0, 0):
            break
        await asyncio.sleep(0.01)
    sweeping.cancel()
    assert await store.usage("n") == (0, 0)


async def test_deleted_namespace_is_empty_and_takes_nothing_more(database: Database) -> None:
    store = KvStore(database)
    await store.put_many("n", [(f"k{number}", KvEntry(b"v")) for number in range(1100)])
    await store.put("other", "k", KvEntry(b"v"))
    assert await store.delete_namespace("n") == 1100
    assert await store.delete_namespace("n") == 0
    assert await store.usage("n") == (0, 0)
    assert await store.usage("other") == (1, 1)
    with pytest.raises(OperationError, match="deleted") as caught:
        await store.put("n", "k", KvEntry(b""))
    assert caught.value.code is OperationErrorCode.NOT_FOUND


async def test_bulk_write_is_all_or_none(database: Database) -> None:
    store = KvStore(database)
    await store.put_many("n", [("a", KvEntry(b"1")), ("b", KvEntry(b"2"))])
    await store.delete_many("n", ["a", "b", "absent"])
    assert await store.usage("n") == (0, 0)


async def test_closed_storage_is_unavailable_to_a_guest_without_details(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database.open(tmp_path / "kv.db", kv_migrations())
    namespace = StoredKvNamespace(KvStore(database), "n")
    database.close()
    with pytest.raises(OperationError) as read:
        kv_get(MemoryEvent(), namespace, ["k"])
    with pytest.raises(OperationError) as written:
        await kv_put(MemoryEvent(), namespace, ["k", b"v"])
    for caught in (read, written):
        assert caught.value.code is OperationErrorCode.UNAVAILABLE
        assert str(tmp_path) not in caught.value.message
    assert "storage failed" in caplog.text


async def test_large_value_does_not_run_on_the_loops_thread(database: Database) -> None:
    store = KvStore(database)
    await store.put("n", "k", KvEntry(b"v" * 100_000))
    found = store.get("n", "k")
    assert inspect.isawaitable(found)
    await store.delete("n", "k")
    assert await found is None  # it is read when awaited
