"""Module bytes of all machines: what is put on one is got on each, whole, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.failures import StorageError, StorageLost
from storage.object_cache import CachedObjectStore, RemoteLeftovers
from storage.object_store import FolderObjectStore
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase, PgTransaction
from storage.replication.log import ReplicationLog
from storage.replication.objects import PgObjects
from storage.replication.postgres_thread import PostgresThread
from tests.storage.replication.machines import Machine
from tests.support.postgres import Cluster

NOBODY = "0" * 64


@pytest.fixture
def thread(database_address: DatabaseAddress) -> Iterator[PostgresThread]:
    made = PostgresThread(database_address)
    ReplicationLog(made, "m").make_schema()
    yield made
    made.close()


def sql(thread: PostgresThread, statement: str) -> int:
    async def work(tx: PgTransaction) -> int:
        return await tx.execute(statement)

    async def write(database: PgDatabase) -> int:
        return await database.write(work)

    return thread.call(write)


def test_a_damaged_copy_here_is_mended_and_one_in_the_database_is_refused(
    tmp_path: Path, thread: PostgresThread
) -> None:
    store = CachedObjectStore(FolderObjectStore(tmp_path / "a"), PgObjects(thread))
    digest = store.put(b"module")
    path = tmp_path / "a" / digest[:2] / digest
    path.write_bytes(b"other!")
    assert store.get(digest) == b"module"
    assert path.read_bytes() == b"module"
    sql(thread, "UPDATE object_chunks SET data = 'forged'::bytea")
    assert store.get(digest) == b"module"  # of the folder
    path.unlink()
    with pytest.raises(StorageLost, match="damaged in the database"):
        store.get(digest)
    assert not path.exists()


def test_nothing_is_acknowledged_that_the_database_does_not_have(
    tmp_path: Path, own_postgres: Cluster
) -> None:
    address = own_postgres.new_database()
    thread = PostgresThread(address)
    try:
        ReplicationLog(thread, "m").make_schema()
        store = CachedObjectStore(FolderObjectStore(tmp_path / "a"), PgObjects(thread))
        digest = store.put(b"before")
        own_postgres.stop()
        with pytest.raises(StorageError):
            store.put(b"during")
        assert store.get(digest) == b"before"  # what is here needs no database
    finally:
        thread.close()


def test_only_what_nobody_has_put_for_long_is_taken_away_and_only_by_who_knows_all(
    tmp_path: Path, thread: PostgresThread
) -> None:
    store = CachedObjectStore(FolderObjectStore(tmp_path / "a"), PgObjects(thread))
    old = store.put(b"old")
    sql(thread, "UPDATE objects SET put_at = now() - interval '2 hours'")
    young = store.put(b"young")
    behind = RemoteLeftovers(PgObjects(thread), lambda: False)
    assert list(behind.digests()) == []
    assert behind.remove_stale(old, 3600) == 0
    current = RemoteLeftovers(PgObjects(thread), lambda: True)
    assert set(current.digests()) == {old, young}
    assert current.remove_stale(young, 3600) == 0
    assert current.remove_stale(NOBODY, 3600) == 0
    assert current.remove_stale(old, 3600) == 3
    assert list(current.digests()) == [young]
    assert sql(thread, "SELECT 1 FROM object_chunks") == 1


def test_who_puts_again_what_is_old_keeps_it(tmp_path: Path, thread: PostgresThread) -> None:
    store = CachedObjectStore(FolderObjectStore(tmp_path / "a"), PgObjects(thread))
    digest = store.put(b"again")
    sql(thread, "UPDATE objects SET put_at = now() - interval '2 hours'")
    store.put(b"again")
    assert RemoteLeftovers(PgObjects(thread), lambda: True).remove_stale(digest, 3600) == 0


def test_the_platform_takes_another_root_key_when_it_is_told(thread: PostgresThread) -> None:
    log = ReplicationLog(thread, "m")
    platform = log.platform(["old"])
    assert not log.machines.change_root_key("other", "new")
    assert log.machines.root_key() == "old"
    assert log.machines.change_root_key("old", "new")
    assert log.machines.root_key() == "new"
    # Who holds both may join, whichever is in its file already.
    assert log.platform(["new"]) == log.platform(["old", "new"]) == platform
    with pytest.raises(StorageError, match="root key"):
        log.platform(["old"])


def test_machines_say_where_they_are_and_which_keys_they_hold(
    thread: PostgresThread, database_address: DatabaseAddress, tmp_path: Path
) -> None:
    with Machine(tmp_path, database_address, "a", follows=False) as a:
        a.put("one", 1)
        a.put("two", 2)
        a.log.machines.keys = ("new", "old")
        a.log.machines.say("control", a.status().seq - 1)
        seen = ReplicationLog(thread, "b").machines.seen()
        assert [(row.machine, row.file, row.name, row.keys) for row in seen] == [
            ("a", "control", "a", ("new", "old"))
        ]
        assert seen[0].log_seq - seen[0].seq == 1
        assert 0 <= seen[0].ago_s < 60


def test_a_thread_that_is_closed_says_so(database_address: DatabaseAddress) -> None:
    thread = PostgresThread(database_address)
    thread.close()

    async def read(database: PgDatabase) -> None:
        await asyncio.sleep(0)

    with pytest.raises(StorageError, match="closed"):
        thread.call(read)
