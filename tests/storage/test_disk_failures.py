"""A disk that is full, read-only or locked, or whose writes and fsyncs fail, while a database is open: a clear error
each, nothing that was acknowledged is lost, nothing half is kept, and the same Database goes on afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from storage.database import Database
from storage.failures import DiskFull, StorageBusy, StorageError, StorageLost, StorageReadOnly
from storage.migrations import Migration, Migrations
from storage.transaction import Transaction

TABLES = Migrations((Migration("test", 1, "CREATE TABLE items (name TEXT PRIMARY KEY, value BLOB)"),))


class FailingFile(apsw.VFSFile):
    """SQLite's own, until its VFS says that the disk fails."""

    def __init__(self, vfs: FailingVfs, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        self._vfs = vfs
        super().__init__(vfs.base, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._vfs.fail("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._vfs.fail("sync")
        super().xSync(flags)


class FailingVfs(apsw.VFS):
    """The default one from when it is made; `failure` is what a kind of call raises from now on."""

    def __init__(self) -> None:
        self.base = apsw.vfs_names()[0]
        self.failure: dict[str, Exception] = {}
        self.failed = 0
        super().__init__("failing", self.base, makedefault=True)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> FailingFile:
        return FailingFile(self, name, flags)

    def fail(self, call: str) -> None:
        if call in self.failure:
            self.failed += 1
            raise self.failure[call]


@pytest.fixture
def disk() -> Iterator[FailingVfs]:
    vfs = FailingVfs()
    yield vfs
    vfs.unregister()


def insert(name: str, size: int = 10) -> Callable[[Transaction], object]:
    return lambda tx: tx.execute("INSERT INTO items VALUES (?, zeroblob(?))", (name, size))


def names(database: Database) -> list[str]:
    return [row[0] for row in database.read("SELECT name FROM items ORDER BY name")]


@pytest.mark.parametrize(
    ("call", "error", "expected", "said"),
    [
        ("write", apsw.FullError("ENOSPC"), DiskFull, "the storage is full"),
        ("write", apsw.ReadOnlyError("EROFS"), StorageReadOnly, "can only be read"),
        ("write", apsw.IOError("EIO"), StorageLost, "failed to read or write"),
        ("sync", apsw.IOError("EIO"), StorageLost, "failed to read or write"),
        ("sync", apsw.FullError("EDQUOT"), DiskFull, "the storage is full"),
    ],
)
async def test_failing_disk_is_told_loses_nothing_and_is_used_again(
    tmp_path: Path, disk: FailingVfs, call: str, error: Exception, expected: type[StorageError], said: str
) -> None:
    path = tmp_path / "items.db"
    database = Database.open(path, TABLES)
    try:
        await database.write(insert("before"))
        disk.failure = {call: error}
        for number in range(3):
            with pytest.raises(expected, match=said) as refused:
                await database.write(insert(f"refused-{number}", 100_000))
            assert str(path) in refused.value.detail
            assert str(path) not in refused.value.message
            # Reads go on, and see nothing of it.
            assert names(database) == ["before"]
        assert disk.failed > 0
        disk.failure = {}
        await database.write(insert("after", 100_000))
        assert names(database) == ["after", "before"]
    finally:
        disk.failure = {}
        database.close()
    again = Database.open(path, TABLES)
    try:
        assert names(again) == ["after", "before"]
        assert again.read("PRAGMA integrity_check") == [("ok",)]
    finally:
        again.close()


async def test_failing_sync_acknowledges_none_of_a_batch(tmp_path: Path, disk: FailingVfs) -> None:
    database = Database.open(tmp_path / "items.db", TABLES)
    try:
        await database.write(insert("before"))
        disk.failure = {"sync": apsw.IOError("EIO")}
        results = await asyncio.gather(
            *(database.write(insert(f"refused-{number}")) for number in range(20)),
            return_exceptions=True,
        )
        assert {type(result) for result in results} == {StorageLost}
        disk.failure = {}
        assert names(database) == ["before"]
        await database.write(insert("after"))
        assert names(database) == ["after", "before"]
    finally:
        disk.failure = {}
        database.close()


async def test_file_that_somebody_locks_is_busy_and_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "items.db"
    database = Database.open(path, TABLES, busy_timeout_s=0.2)
    other = apsw.Connection(str(path))
    try:
        await database.write(insert("before"))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy, match="the storage is busy"):
            await database.write(insert("refused"))
        assert names(database) == ["before"]
        other.execute("ROLLBACK")
        await database.write(insert("after"))
        assert names(database) == ["after", "before"]
    finally:
        other.close()
        database.close()
