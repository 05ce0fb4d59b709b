"""What one process bounds: threads of a tenant, what waits, open files; what cancelling ends; what deleting does."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model.errors import OperationError, OperationErrorCode
from model.sql import SqlStatement
from storage.d1 import files
from storage.d1.jobs import D1Room
from storage.d1.limits import D1Limits
from storage.d1.store import D1Store, _be_nice
from tests.support.waiting import until

ENDLESS = SqlStatement(
    "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r"
)
ONE = SqlStatement("SELECT 1")
ROOM = D1Room(open_databases=4, threads=3, threads_a_tenant=2, waiting_a_database=3, waiting=8, wait_s=5)


def make(folder: Path) -> str:
    database_id = str(uuid.uuid4())
    files.create(folder, database_id)
    return database_id


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[D1Store]:
    made = D1Store(tmp_path, D1Limits(query_s=20), ROOM)
    yield made
    await made.close()


async def end(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_tenant_leaves_threads_to_the_others(store: D1Store, tmp_path: Path) -> None:
    databases = [make(tmp_path) for _ in range(5)]
    greedy = [asyncio.ensure_future(store.query(one, ENDLESS, "greedy")) for one in databases[:4]]
    await until(lambda: store._of_tenant["greedy"] == 2)
    async with asyncio.timeout(15):  # before the greedy one's time is over
        assert (await store.query(databases[4], ONE, "modest")).rows == [(1,)]
    assert store._of_tenant["greedy"] == 2
    await end(*greedy)
    await until(lambda: store._busy == 0)


async def test_a_database_answers_one_after_another_and_refuses_beyond_its_queue(
    store: D1Store, tmp_path: Path
) -> None:
    database = make(tmp_path)
    running = asyncio.ensure_future(store.query(database, ENDLESS, "t"))
    await until(lambda: store._busy == 1)
    waiting = [asyncio.ensure_future(store.query(database, ONE, "t")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(OperationError, match=r"D1 DB is overloaded\. Too many requests queued") as caught:
        await store.query(database, ONE, "t")
    assert caught.value.code is OperationErrorCode.LOAD_SHED
    running.cancel()
    assert [one.rows for one in await asyncio.gather(*waiting)] == [[(1,)]] * 3


async def test_who_waited_too_long_is_told(tmp_path: Path) -> None:
    store = D1Store(tmp_path, D1Limits(query_s=3.0), D1Room(wait_s=0.2))
    database = make(tmp_path)
    running = asyncio.ensure_future(store.query(database, ENDLESS, "t"))
    await until(lambda: store._busy == 1)
    with pytest.raises(OperationError, match="Requests queued for too long"):
        await store.query(database, ONE, "t")
    with pytest.raises(OperationError, match="took longer than 3 s"):
        await running
    await store.close()


async def test_cancelling_ends_a_read_and_lets_a_write_complete(store: D1Store, tmp_path: Path) -> None:
    database = make(tmp_path)
    await store.exec(database, "CREATE TABLE t (a)", "t")
    read = asyncio.ensure_future(store.query(database, ENDLESS, "t"))
    await until(lambda: store._busy == 1)
    await end(read)
    await until(lambda: store._busy == 0)
    slow = SqlStatement(
        "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 300000) INSERT INTO t SELECT x FROM r"
    )
    write = asyncio.ensure_future(store.query(database, slow, "t"))
    await until(lambda: store._busy == 1 or write.done())
    await end(write)
    assert (await store.query(database, SqlStatement("SELECT count(*) FROM t"), "t")).rows == [(300_000,)]


async def test_open_files_are_bounded_and_the_least_used_goes(store: D1Store, tmp_path: Path) -> None:
    databases = [make(tmp_path) for _ in range(12)]
    for _ in range(2):
        for one in databases:
            await store.exec(one, "CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (1)", "t")
    links = [
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{fd}")
    ]
    mine = [link for link in links if link.startswith(str(tmp_path))]
    assert len(mine) <= ROOM.descriptors + 4
    for one in databases:
        assert (await store.query(one, SqlStatement("SELECT count(*) FROM t"), "t")).rows == [(2,)]


async def test_a_deleted_database_is_gone_for_who_has_it_open(store: D1Store, tmp_path: Path) -> None:
    database = make(tmp_path)
    await store.exec(database, "CREATE TABLE t (a)", "t")
    await asyncio.to_thread(files.delete, tmp_path, database)
    for statement in (ONE, SqlStatement("INSERT INTO t VALUES (1)")):
        with pytest.raises(OperationError, match="it was deleted") as caught:
            await store.query(database, statement, "t")
        assert caught.value.code is OperationErrorCode.NOT_FOUND
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize("database_id", ["", "../x", "x" * 36, str(uuid.uuid4()).upper(), str(uuid.uuid4())])
async def test_what_is_no_id_reaches_no_file(store: D1Store, tmp_path: Path, database_id: str) -> None:
    with pytest.raises(OperationError, match="there is no database"):
        await store.query(database_id, ONE, "t")
    assert list(tmp_path.iterdir()) == []


async def test_a_damaged_file_is_the_platforms_fault_and_nobody_elses(store: D1Store, tmp_path: Path) -> None:
    database, other = make(tmp_path), make(tmp_path)
    (tmp_path / f"{database}.sqlite").write_bytes(b"no database at all" * 1000)
    from storage.failures import StorageLost

    with pytest.raises(StorageLost):
        await store.query(database, ONE, "t")
    assert (await store.query(other, ONE, "t")).rows == [(1,)]


@pytest.mark.parametrize("more", [0, 10, 15])
def test_threads_take_no_more_than_a_host_that_was_started_nicely_has(more: int) -> None:
    def started() -> tuple[int, int]:
        me = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, me, max(more, os.getpriority(os.PRIO_PROCESS, me)))
        of_host = os.getpriority(os.PRIO_PROCESS, me)
        _be_nice()
        return of_host, os.getpriority(os.PRIO_PROCESS, me)

    with ThreadPoolExecutor(1) as alone:
        of_host, of_thread = alone.submit(started).result()
    assert of_thread == max(10, of_host)
