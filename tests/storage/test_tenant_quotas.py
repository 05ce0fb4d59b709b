"""Quotas as text and as rows: who wins, and what a refusal says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from model.capabilities import KvEntry
from model.errors import OperationError, OperationErrorCode
from model.identity import NamespaceName, TenantId
from storage.changes import ChangeSequence
from storage.control_records import Owner
from storage.control_store import ControlStore
from storage.database import Database
from storage.kv_store import KvStore, kv_migrations
from storage.queue_store import QueueStore, queue_migrations
from storage.tenant_guard import KvWithinQuotas, TenantGuard, measures
from storage.tenant_quotas import KEY_BYTES, Limit, Quota, SetBy, effective, parse_quotas

ACME = Owner(NamespaceName("prod"), TenantId("acme"))


def test_texts_of_quotas() -> None:
    assert parse_quotas("") == {}
    assert parse_quotas("kv_bytes=2MiB, scripts=none,queues=0") == {
        Quota.KV_BYTES: 2 << 20,
        Quota.SCRIPTS: None,
        Quota.QUEUES: 0,
    }


@pytest.mark.parametrize(
    "text",
    [
        "pears=1",  # no quota
        "scripts",  # no value
        "scripts=-1",
        "scripts=1KiB",  # a count has no unit
        "kv_bytes=1GB",
        "kv_bytes=9999999999GiB",  # beyond 64 bits
        "kv_bytes=٣",  # a digit, but not an ASCII one
    ],
)
def test_texts_that_are_no_quotas(text: str) -> None:
    with pytest.raises(ValueError, match=r"is right|names are"):
        parse_quotas(text)


def test_a_tenants_own_row_wins_and_strange_names_limit_nothing() -> None:
    limits = effective([(0, "queues", 5), (0, "scripts", None), (1, "queues", 9), (1, "newer_thing", 1)])
    assert limits[Quota.QUEUES] == Limit(9, SetBy.TENANT)
    assert limits[Quota.SCRIPTS] == Limit(None, SetBy.HOST)
    assert limits[Quota.ROUTES].set_by is SetBy.DEFAULT
    assert set(limits) == set(Quota)


async def test_what_another_process_wrote_counts_within_a_second(tmp_path: Path) -> None:
    store = ControlStore.open(tmp_path / "control.db", ChangeSequence(tmp_path / "changes.seq"))
    kv_database = Database.open(tmp_path / "kv.db", kv_migrations())
    queue_database = Database.open(tmp_path / "queues.db", queue_migrations())
    kv, now = KvStore(kv_database), [0.0]
    try:
        await store.namespaces.create(NamespaceName("prod"), trusted=False)
        made = await store.kv_namespaces.create("mine", ACME)
        await store.tenants.put_quotas(ACME, {Quota.KV_BYTES: 10 * (KEY_BYTES + 1)})
        found = measures(kv, QueueStore(queue_database), tmp_path)
        guard = TenantGuard(store.database.read, store.sequence, found, lambda: now[0])
        mine = KvWithinQuotas(kv, guard)
        await mine.put(made.id, "first", KvEntry(b"x"))
        for number in range(8):
            await kv.put(made.id, f"other process {number}", KvEntry(b"x"))
        now[0] += 1.0
        await mine.put(made.id, "second", KvEntry(b"x"))
        with pytest.raises(OperationError, match="kv_bytes: tenant 'acme'") as refused:
            await mine.put(made.id, "third", KvEntry(b"x"))
        assert refused.value.code is OperationErrorCode.LIMIT_EXCEEDED
        await mine.put(made.id, "second", KvEntry(b"y"))
        await mine.delete(made.id, "second")
        await mine.put(made.id, "third", KvEntry(b"x"))
        await store.tenants.put_quotas(ACME, {Quota.KV_BYTES: None})
        await mine.put(made.id, "large", KvEntry(b"x" * 100_000))
    finally:
        for closing in (store, kv_database, queue_database):
            closing.close()


async def test_usage_of_a_namespace_that_older_code_wrote_is_right(tmp_path: Path) -> None:
    from storage.migrations import Migrations

    path = tmp_path / "kv.db"
    old = Database.open(path, Migrations(kv_migrations().steps[:1]))
    put = "INSERT INTO kv_entries VALUES ('n', ?, NULL, NULL, 3, x'010203')"
    old.write_blocking(lambda tx: tx.execute(put, (b"before",)))
    new = Database.open(path, kv_migrations())
    try:
        old.write_blocking(lambda tx: tx.execute(put, (b"after",)))
        assert await KvStore(new).usage("n") == (2, 6)
        old.write_blocking(lambda tx: tx.execute("DELETE FROM kv_entries WHERE key = ?", (b"before",)))
        assert await KvStore(new).usage("n") == (1, 3)
        old.write_blocking(lambda tx: tx.execute("UPDATE kv_entries SET size = 1, value = x'01'"))
        assert await KvStore(new).usage("n") == (1, 1)
    finally:
        old.close()
        new.close()


async def test_writes_that_come_at_once_are_counted_together(tmp_path: Path) -> None:
    store = ControlStore.open(tmp_path / "control.db", ChangeSequence(tmp_path / "changes.seq"))
    kv_database = Database.open(tmp_path / "kv.db", kv_migrations())
    queue_database = Database.open(tmp_path / "queues.db", queue_migrations())
    kv = KvStore(kv_database)
    try:
        await store.namespaces.create(NamespaceName("prod"), trusted=False)
        made = await store.kv_namespaces.create("mine", ACME)
        await store.tenants.put_quotas(ACME, {Quota.KV_BYTES: 10 * (KEY_BYTES + 1)})
        guard = TenantGuard(
            store.database.read, store.sequence, measures(kv, QueueStore(queue_database), tmp_path)
        )
        mine = KvWithinQuotas(kv, guard)
        puts = (mine.put(made.id, f"key {number}", KvEntry(b"x")) for number in range(50))
        results = await asyncio.gather(*puts, return_exceptions=True)
        kept = results.count(None)
        assert (await kv.usage(made.id))[0] == kept
        assert 10 <= kept < 50
    finally:
        for closing in (store, kv_database, queue_database):
            closing.close()
