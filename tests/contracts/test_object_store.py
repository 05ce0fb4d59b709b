"""The contract of the object store, held by the folder, by PostgreSQL and by an S3 bucket alike.

Bytes come back as they were put, or an error does. What is put is as young as new, however often; the sweep takes
what is old and nothing else. The last two are the truth of all machines, and a folder is what each has of them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from control.leftovers import Files
from storage.object_bucket import BucketObjects, BucketPlace
from storage.object_cache import CachedObjectStore, RemoteLeftovers, RemoteObjects, refill
from storage.object_store import FolderObjectStore, ObjectMissing
from storage.replication.log import ReplicationLog
from storage.replication.objects import CHUNK, PgObjects
from storage.replication.postgres_thread import PostgresThread
from tests.support.s3 import S3Server

DATA = b"\0asm module bytes"
DIGEST = hashlib.sha256(DATA).hexdigest()
ABSENT = "0" * 64
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 11 * CHUNK + 17]


class Store(Protocol):
    def put(self, data: bytes) -> str: ...
    def get(self, digest: str) -> bytes: ...
    def exists(self, digest: str) -> bool: ...


@dataclass
class Engine:
    store: Store
    leftovers: Files
    #: The store as another machine has it: with an empty folder.
    another: Callable[[], Store]
    remote: RemoteObjects | None = None


@pytest.fixture
def thread(request: pytest.FixtureRequest) -> Iterator[PostgresThread]:
    made = PostgresThread(request.getfixturevalue("database_address"))
    ReplicationLog(made, "m").make_schema()
    yield made
    made.close()


def remote_of(request: pytest.FixtureRequest) -> RemoteObjects:
    if request.param == "postgres":
        return PgObjects(request.getfixturevalue("thread"))
    server: S3Server = request.getfixturevalue("s3")
    place: BucketPlace = request.getfixturevalue("bucket")
    return BucketObjects(place, server.key)


@pytest.fixture(params=["postgres", "bucket"])
def remote(request: pytest.FixtureRequest) -> RemoteObjects:
    return remote_of(request)


@pytest.fixture(params=["folder", "postgres", "bucket"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    folder = FolderObjectStore(tmp_path / "objects")
    if request.param == "folder":
        return Engine(folder, folder, lambda: FolderObjectStore(tmp_path / "objects"))
    remote = remote_of(request)
    return Engine(
        CachedObjectStore(folder, remote),
        RemoteLeftovers(remote, lambda: True),
        lambda: CachedObjectStore(FolderObjectStore(tmp_path / "other"), remote),
        remote,
    )


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_here_and_elsewhere(engine: Engine, size: int) -> None:
    data = os.urandom(size)
    digest = engine.store.put(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert engine.store.put(data) == digest
    other = engine.another()
    assert engine.store.get(digest) == other.get(digest) == data
    assert engine.store.exists(digest)
    assert other.exists(digest)
    assert list(engine.leftovers.digests()) == [digest]


def test_what_is_absent_is_missing(engine: Engine) -> None:
    assert not engine.store.exists(ABSENT)
    with pytest.raises(ObjectMissing):
        engine.store.get(ABSENT)
    assert engine.leftovers.remove_stale(ABSENT, 0) == 0


@pytest.mark.parametrize(
    "digest", ["", "../root-key", DIGEST.upper(), DIGEST[:-1], DIGEST + "0", DIGEST + "\n"]
)
def test_what_is_no_digest_names_nothing(engine: Engine, digest: str) -> None:
    calls: list[Callable[[str], object]] = [engine.store.get, engine.store.exists]
    if engine.remote is not None:
        calls += [
            engine.remote.fetch,
            engine.remote.exists,
            lambda name: engine.leftovers.remove_stale(name, 0),
        ]
    for call in calls:
        with pytest.raises(ValueError, match="64 lower-case hex digits"):
            call(digest)


def test_what_was_just_put_stays_and_what_is_old_goes(engine: Engine) -> None:
    digest = engine.store.put(DATA)
    assert engine.leftovers.remove_stale(digest, 3600) == 0
    assert engine.store.exists(digest)
    # Servers tell times in whole seconds.
    until = time.monotonic() + 30
    while not (freed := engine.leftovers.remove_stale(digest, 1)):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert freed == len(DATA)
    assert list(engine.leftovers.digests()) == []
    with pytest.raises(ObjectMissing):
        engine.another().get(digest)


def test_many_are_listed_in_order(engine: Engine) -> None:
    digests = sorted(engine.store.put(b"%d" % number) for number in range(40))
    assert list(engine.leftovers.digests()) == digests


def test_machine_that_does_not_know_all_scripts_takes_nothing_away(
    remote: RemoteObjects, tmp_path: Path
) -> None:
    digest = CachedObjectStore(FolderObjectStore(tmp_path / "a"), remote).put(DATA)
    behind = RemoteLeftovers(remote, lambda: False)
    assert list(behind.digests()) == []
    assert behind.remove_stale(digest, -10) == 0
    assert remote.exists(digest)


def test_damaged_copy_here_is_mended_from_elsewhere(remote: RemoteObjects, tmp_path: Path) -> None:
    store = CachedObjectStore(FolderObjectStore(tmp_path / "a"), remote)
    store.put(DATA)
    path = tmp_path / "a" / DIGEST[:2] / DIGEST
    path.write_bytes(DATA[:-1])
    assert store.get(DIGEST) == DATA
    assert path.read_bytes() == DATA


def test_what_the_folder_has_and_the_remote_lacks_is_given_to_it(
    remote: RemoteObjects, tmp_path: Path
) -> None:
    folder = FolderObjectStore(tmp_path / "a")
    wanted = {folder.put(b"one"), folder.put(b"two")}
    unwanted = folder.put(b"no script's")
    remote.store(DIGEST, DATA)
    assert refill(folder, remote, {*wanted, DIGEST, ABSENT}) == 2
    assert set(remote.digests()) == {*wanted, DIGEST}
    assert not remote.exists(unwanted)
    assert refill(folder, remote, wanted) == 0
