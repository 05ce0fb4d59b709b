"""A careless operator: what goes wrong with the data folder is said, and is over when its cause is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.descriptors import share_out
from storage.database import Database
from storage.failures import DiskFull, StorageError, StorageReadOnly
from storage.kv_store import kv_migrations
from storage.object_store import FolderObjectStore, ObjectMissing


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database.open(tmp_path / "kv.db", kv_migrations())
    yield made
    made.close()


@pytest.mark.parametrize(
    ("free_blocks", "flags", "failure"),
    [(256, 0, None), (255, 0, DiskFull), (0, 0, DiskFull), (256, os.ST_RDONLY, StorageReadOnly)],
)
def test_not_ready_on_a_full_disk_and_ready_again_when_there_is_room(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    free_blocks: int,
    flags: int,
    failure: type[StorageError] | None,
) -> None:
    with monkeypatch.context() as patched:
        told = (4096, 4096, 1000, free_blocks, free_blocks, 100, 100, 100, flags, 255)
        patched.setattr(os, "statvfs", lambda _path: os.statvfs_result(told))
        if failure is None:
            database.probe()
        else:
            with pytest.raises(failure):
                database.probe()
    database.probe()


@pytest.mark.parametrize(
    ("limit", "modules", "connections"),
    [
        (-1, 4_000, 16_384),
        (524_288, 4_000, 16_384),
        (20_000, 3_923, 11_769),
        (1_024, 128, 384),
        (256, 32, 32),
        (64, 32, 32),
    ],
)
def test_neither_modules_nor_visitors_can_take_all_descriptors(
    limit: int, modules: int, connections: int
) -> None:
    shares = share_out(limit)
    assert (shares.modules, shares.connections) == (modules, connections)
    assert shares.outbound >= 32
    if limit >= 1_024:
        left = limit - shares.modules - shares.connections - 384
        assert shares.outbound == min(8_192, left)
        assert left > shares.modules // 2


def test_object_folder_that_was_removed_under_a_running_host_is_made_again(tmp_path: Path) -> None:
    objects = FolderObjectStore(tmp_path / "objects")
    digest = objects.put(b"module")
    shutil.rmtree(tmp_path / "objects")
    with pytest.raises(ObjectMissing):
        objects.get(digest)
    assert objects.get(objects.put(b"module")) == b"module"
