"""When restore points are made, which are kept, and that a copy is whole while others write."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from pathlib import Path

import pytest

from model.sql import SqlStatement
from storage.d1 import files
from storage.d1.connection import D1Connection
from storage.d1.files import Snapshot
from storage.d1.guard import Asker
from storage.d1.limits import D1Limits
from storage.d1.service import SNAPSHOT_EVERY_S, UNFINISHED_S, D1Service
from storage.d1.store import D1Store

DAY_MS = 86_400_000


@pytest.fixture
def database_id(tmp_path: Path) -> str:
    made = str(uuid.uuid4())
    files.create(tmp_path, made)
    return made


async def test_a_write_gets_a_restore_point_when_its_time_has_come(tmp_path: Path, database_id: str) -> None:
    now_ms = 1_000_000_000
    service = D1Service(D1Store(tmp_path), lambda: now_ms)
    await service.keep_snapshots(time.monotonic())
    assert files.snapshots(tmp_path, database_id) == [], "nothing was written"
    await service.store.exec(database_id, "CREATE TABLE t (a)", "t")
    await service.keep_snapshots(time.monotonic() - SNAPSHOT_EVERY_S)
    assert files.snapshots(tmp_path, database_id) == [], "too early"
    await service.keep_snapshots(time.monotonic())
    assert [point.at_ms for point in files.snapshots(tmp_path, database_id)] == [now_ms]
    await service.store.exec(database_id, "INSERT INTO t VALUES (1)", "t")
    await service.keep_snapshots(time.monotonic())
    assert len(files.snapshots(tmp_path, database_id)) == 1, "another one so soon"
    now_ms += int(SNAPSHOT_EVERY_S * 1000)
    await service.keep_snapshots(time.monotonic())
    assert len(files.snapshots(tmp_path, database_id)) == 2
    await service.close()


def test_of_old_restore_points_one_a_day_stays_for_thirty_days() -> None:
    now = 100 * DAY_MS
    points = [Snapshot(now - hour * DAY_MS // 24, 10_000 - hour, Path(str(hour))) for hour in range(24 * 40)]
    gone = files.stale(points, now)
    kept = sorted(set(points) - set(gone), reverse=True)
    assert kept[:48] == points[:48]
    assert len({point.at_ms // DAY_MS for point in kept[48:]}) == len(kept[48:])
    assert min(point.at_ms for point in kept) >= now - 30 * DAY_MS
    assert files.stale(points[:48], now) == []


def test_a_copy_is_whole_while_others_write(tmp_path: Path, database_id: str) -> None:
    path = tmp_path / f"{database_id}.sqlite"
    connection = D1Connection(path, D1Limits())
    connection.script("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(1000000));", Asker())
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            connection.batch([SqlStatement("INSERT INTO t VALUES (1)")] * 2, Asker())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        points = [files.snapshot(tmp_path, database_id, number) for number in range(20)]
    finally:
        stop.set()
        writer.join()
    assert len({point.bookmark for point in points}) > 1, "nobody wrote meanwhile"
    for point in points:
        copy = D1Connection(point.path, D1Limits())
        assert copy.query(SqlStatement("PRAGMA quick_check"), Asker()).rows == [("ok",)]
        ((count,),) = copy.query(SqlStatement("SELECT count(*) FROM t WHERE a = 1"), Asker()).rows
        assert count % 2 == 0
        assert count == 2 * (point.bookmark - 3), "the number is not that of what is in it"
        copy.close()
    connection.close()


async def test_who_has_it_open_sees_the_state_that_was_put_back(tmp_path: Path, database_id: str) -> None:
    store = D1Store(tmp_path)
    await store.exec(database_id, "CREATE TABLE t (a); INSERT INTO t VALUES (1)", "t")
    point = await asyncio.to_thread(files.snapshot, tmp_path, database_id, 1)
    await store.exec(database_id, "DROP TABLE t; CREATE TABLE other (b)", "t")
    last = await store.bookmark(database_id, "t")
    number = await asyncio.to_thread(files.restore, tmp_path, database_id, point)
    assert number == last + 1
    assert (await store.query(database_id, SqlStatement("SELECT a FROM t"), "t", seen=number)).rows == [(1,)]
    assert {path.suffix for path in tmp_path.iterdir()} <= {
        ".sqlite",
        ".lock",
        ".snapshot",
        ".sqlite-wal",
        ".sqlite-shm",
    }
    await store.close()


def test_what_a_dead_maker_of_copies_left_is_removed_and_nothing_else(
    tmp_path: Path, database_id: str
) -> None:
    files.snapshot(tmp_path, database_id, 1)
    kept = {path.name for path in tmp_path.iterdir()} | {f"{database_id}.young.dump"}
    left = [
        f"{database_id}@2-1.snapshot.partial",
        f"{database_id}@2-1.snapshot.partial-journal",
        f"{database_id}.restoring",
        f"{database_id}.0a1b.dump",
    ]
    for name in (*left, *kept):
        path = tmp_path / name
        if name not in kept or not path.exists():
            path.write_bytes(b"12345")
        if ".young." not in name:
            os.utime(path, (0, 0))
    assert files.remove_unfinished(tmp_path, UNFINISHED_S) == 5 * len(left)
    assert {path.name for path in tmp_path.iterdir()} == kept
