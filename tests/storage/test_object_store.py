"""An object is what its digest says, whole, or it is not there."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from storage.failures import StorageLost
from storage.object_store import FolderObjectStore, ObjectMissing

DATA = b"\0asm module bytes"
DIGEST = hashlib.sha256(DATA).hexdigest()
ABSENT = "0" * 64


@pytest.fixture
def store(tmp_path: Path) -> FolderObjectStore:
    return FolderObjectStore(tmp_path / "objects")


def file_of(tmp_path: Path) -> Path:
    return tmp_path / "objects" / DIGEST[:2] / DIGEST


def test_put_names_bytes_by_their_sha256_and_get_returns_them(store: FolderObjectStore) -> None:
    assert store.put(DATA) == DIGEST
    assert store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA
    assert store.exists(DIGEST)
    assert list(store.digests()) == [DIGEST]


def test_another_store_on_the_folder_sees_it(store: FolderObjectStore, tmp_path: Path) -> None:
    store.put(DATA)
    assert FolderObjectStore(tmp_path / "objects").get(DIGEST) == DATA


def test_absent_object_is_missing(store: FolderObjectStore) -> None:
    assert not store.exists(ABSENT)
    assert not store.delete(ABSENT)
    with pytest.raises(ObjectMissing):
        store.get(ABSENT)


def test_deleted_object_is_gone(store: FolderObjectStore) -> None:
    store.put(DATA)
    assert store.delete(DIGEST)
    assert not store.exists(DIGEST)
    assert list(store.digests()) == []


def test_damaged_object_is_refused_and_mended_by_the_next_put(
    store: FolderObjectStore, tmp_path: Path
) -> None:
    store.put(DATA)
    file_of(tmp_path).write_bytes(DATA[:-1])
    with pytest.raises(StorageLost, match="damaged"):
        store.get(DIGEST)
    store.put(DATA)
    assert store.get(DIGEST) == DATA


@pytest.mark.parametrize(
    "digest", ["", "../root-key", DIGEST.upper(), DIGEST[:-1], DIGEST + "0", DIGEST + "\n"]
)
def test_what_is_no_digest_never_names_a_file(store: FolderObjectStore, digest: str) -> None:
    for call in (store.get, store.exists, store.delete):
        with pytest.raises(ValueError, match="64 lower-case hex digits"):
            call(digest)


def test_objects_are_private_to_their_owner(store: FolderObjectStore, tmp_path: Path) -> None:
    store.put(DATA)
    assert file_of(tmp_path).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "objects").stat().st_mode & 0o777 == 0o700


def test_what_a_dead_writer_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    folder.mkdir()
    old, new = folder / ".tmp-old", folder / ".tmp-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert list(FolderObjectStore(folder).digests()) == []
    assert not old.exists()
    assert new.exists()


def test_folder_that_can_not_be_made_is_storage_lost(tmp_path: Path) -> None:
    with pytest.raises(StorageLost):
        FolderObjectStore(tmp_path / "nowhere" / "objects")


def test_object_that_is_there_is_acknowledged_only_when_its_name_is_durable(
    store: FolderObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer may have died between renaming the file and syncing its folder: the next one must not trust it."""
    synced: list[Path] = []

    def dies(path: Path) -> None:
        raise OSError(5, "the power is going")

    monkeypatch.setattr("storage.object_store.sync_folder", dies)
    with pytest.raises(StorageLost):
        store.put(DATA)
    assert file_of(tmp_path).exists()
    monkeypatch.setattr("storage.object_store.sync_folder", synced.append)
    assert store.put(DATA) == DIGEST
    assert synced == [tmp_path / "objects" / DIGEST[:2], tmp_path / "objects"]
