"""Of several machines one owns a database at a time: what any of them answered, the next owner has, and an owner that
was left behind answers nothing.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from model.errors import OperationError, OperationErrorCode
from model.sql import SqlStatement
from storage.d1 import files
from storage.d1.leased_database import NotHere
from storage.d1.shared_databases import SharedDatabases
from storage.failures import StorageError, StorageLost, WriteUncertain
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase, PgTransaction
from tests.storage.d1.machines import Machine
from tests.support.postgres_proxy import PostgresProxy


@pytest.fixture
async def machines(
    tmp_path: Path, database_address: DatabaseAddress
) -> AsyncIterator[tuple[Machine, Machine]]:
    made = Machine(tmp_path, "a", database_address), Machine(tmp_path, "b", database_address)
    yield made
    for machine in made:
        await machine.close()


@pytest.fixture
async def database(machines: tuple[Machine, Machine]) -> str:
    database_id = str(uuid.uuid4())
    machines[0].make(database_id)
    await machines[0].run(database_id, "CREATE TABLE t (a)")
    return database_id


def end_leases(machine: Machine) -> None:
    """As the server sees it: their owner, which thinks otherwise, has hung for as long as they last."""

    async def work(tx: PgTransaction) -> None:
        await tx.execute("UPDATE d1_databases SET ends_at = '-infinity'")

    async def write(pg: PgDatabase) -> None:
        await pg.write(work)

    machine.thread.call(write)


async def test_what_one_machine_wrote_the_other_reads_and_back(
    machines: tuple[Machine, Machine], database: str
) -> None:
    a, b = machines
    for number in range(1, 6):
        await a.run(database, "INSERT INTO t VALUES (?)", number)
        assert await b.run(database, "SELECT a FROM t ORDER BY rowid DESC LIMIT 1") == [(number,)]
        await b.run(database, "INSERT INTO t VALUES (?)", -number)
        assert await a.run(database, "SELECT count(*), sum(a) FROM t") == [(2 * number, 0)]
    assert await b.run(database, "PRAGMA quick_check") == [("ok",)]


async def test_each_kind_of_change_follows(machines: tuple[Machine, Machine], database: str) -> None:
    a, b = machines
    await a.batch(
        database,
        [
            "CREATE TABLE k (id INTEGER PRIMARY KEY AUTOINCREMENT, v BLOB)",
            "CREATE INDEX i ON k (v)",
            "CREATE VIRTUAL TABLE f USING fts5(x)",
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO f VALUES (new.a); END",
            # More pages than one statement takes, some of them written twice.
            "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 600)"
            " INSERT INTO k (v) SELECT zeroblob(5000) FROM r",
        ],
    )
    await b.run(database, "INSERT INTO t VALUES ('one two')")
    assert await a.run(database, "SELECT x FROM f WHERE f MATCH 'two'") == [("one two",)]
    await a.run(database, "ANALYZE")
    assert await b.run(database, "SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'k'") == [(1,)]
    await b.run(database, "DELETE FROM k WHERE id > 1")
    await b.run(database, "PRAGMA optimize")
    assert await a.run(database, "SELECT count(*), sum(length(v)) FROM k") == [(1, 5000)]
    assert await a.run(database, "PRAGMA quick_check") == [("ok",)]
    await a.run(database, "UPDATE k SET v = 1 WHERE id = 99")  # no row, and no harm
    assert await b.run(database, "SELECT max(id) FROM k") == [(1,)]


async def test_both_at_once_lose_nothing(machines: tuple[Machine, Machine], database: str) -> None:
    async def write(machine: Machine, sign: int) -> None:
        for number in range(1, 31):
            await machine.run(database, "INSERT INTO t VALUES (?)", sign * number)

    await asyncio.gather(*(write(machine, sign) for machine, sign in zip(machines, (1, -1), strict=True)))
    for machine in machines:
        assert await machine.run(database, "SELECT count(DISTINCT a) FROM t") == [(60,)]
        assert await machine.run(database, "PRAGMA quick_check") == [("ok",)]


async def test_an_owner_that_was_left_behind_answers_no_write(
    machines: tuple[Machine, Machine], database: str
) -> None:
    a, b = machines
    await a.run(database, "INSERT INTO t VALUES ('before')")
    assert a.placement.of(database).record.held
    end_leases(a)
    await b.run(database, "INSERT INTO t VALUES ('of b')")
    assert a.placement.of(database).record.held, "it does not know yet"
    with pytest.raises(StorageLost, match="went to another machine before this was kept"):
        await a.run(database, "INSERT INTO t VALUES ('of a')")
    # What its file holds now is not what was kept, so it begins anew.
    for machine in (b, a):
        assert await machine.run(database, "SELECT a FROM t") == [("before",), ("of b",)]


async def test_a_read_beside_a_write_that_is_not_kept_yet_waits_for_it(
    machines: tuple[Machine, Machine], database: str
) -> None:
    a, _ = machines
    leased = a.placement.of(database)
    seq, tag = leased.record.seq, leased.record.own_tag
    held, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with files.turn(leased.path.with_suffix(".lock")):
            leased.record.begin(seq + 1)
            held.set()
            go_on.wait(10)
            leased.record.holds(seq, tag)

    writer = threading.Thread(target=write)
    writer.start()
    held.wait(10)
    read = asyncio.ensure_future(a.run(database, "SELECT count(*) FROM t"))
    await asyncio.sleep(0.05)
    assert not read.done()
    go_on.set()
    assert await read == [(0,)]
    writer.join()


async def test_a_process_that_died_in_the_middle_of_a_write_leaves_what_was_kept(
    machines: tuple[Machine, Machine], database: str, tmp_path: Path, database_address: DatabaseAddress
) -> None:
    a, _ = machines
    await a.run(database, "INSERT INTO t VALUES (1)")
    # As it is between SQLite's commit and PostgreSQL's.
    record = a.placement.of(database).record
    record.begin(record.seq + 1)
    with files.opened(a.folder / f"{database}.sqlite") as connection:
        connection.execute("INSERT INTO t VALUES ('never kept'); PRAGMA user_version = 77").fetchall()
    other = Machine(tmp_path, "a", database_address)
    try:
        assert await other.run(database, "SELECT a FROM t") == [(1,)]
        await other.run(database, "INSERT INTO t VALUES (2)")
        assert await a.run(database, "SELECT a FROM t") == [(1,), (2,)]
    finally:
        await other.close()


async def test_processes_of_a_machine_share_its_lease(
    machines: tuple[Machine, Machine], database: str, tmp_path: Path, database_address: DatabaseAddress
) -> None:
    a, _ = machines
    await a.run(database, "INSERT INTO t VALUES (1)")
    epoch = a.placement.of(database).record.epoch
    other = Machine(tmp_path, "a", database_address)
    try:
        await other.run(database, "INSERT INTO t VALUES (2)")
        await a.run(database, "INSERT INTO t VALUES (3)")
        assert await other.run(database, "SELECT a FROM t") == [(1,), (2,), (3,)]
        assert other.placement.of(database).record.epoch == epoch
    finally:
        await other.close()


async def test_while_the_database_is_away_a_write_is_not_answered_and_afterwards_all_agree(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    proxy = PostgresProxy(database_address)
    a, b = Machine(tmp_path, "a", proxy.address), Machine(tmp_path, "b", database_address)
    database_id = str(uuid.uuid4())
    try:
        a.make(database_id)
        await a.run(database_id, "CREATE TABLE t (a)")
        proxy.go_away()
        assert await a.run(database_id, "SELECT count(*) FROM t") == [(0,)], "its lease is not over"
        with pytest.raises(WriteUncertain):
            await a.run(database_id, "INSERT INTO t VALUES (1)")
        with pytest.raises(StorageError):
            await a.run(database_id, "SELECT count(*) FROM t")
        proxy.come_back()
        rows = await b.run(database_id, "SELECT a FROM t")
        assert rows in ([], [(1,)])
        await b.run(database_id, "INSERT INTO t VALUES (2)")
        assert await a.run(database_id, "SELECT a FROM t") == [*rows, (2,)]
    finally:
        proxy.come_back()
        await a.close()
        await b.close()
        proxy.close()


async def test_an_earlier_state_that_is_put_back_is_so_everywhere(
    machines: tuple[Machine, Machine], database: str
) -> None:
    a, b = machines
    number, _ = await a.service.bookmark(database, None)
    await b.run(database, "INSERT INTO t SELECT zeroblob(1000000) FROM (SELECT 1 UNION ALL SELECT 2)")
    assert await a.run(database, "SELECT count(*) FROM t") == [(2,)]
    size = await SharedDatabases(a.thread, "a").bytes_of(database)
    restored = await a.service.restore(database, number, None)
    assert restored.now > restored.before > number
    assert await b.run(database, "SELECT count(*) FROM t") == [(0,)]
    assert await b.store.bookmark(database, "t") == restored.now
    assert await SharedDatabases(a.thread, "a").bytes_of(database) < size / 10
    await b.run(database, "INSERT INTO t VALUES (1)")
    assert await a.run(database, "SELECT a FROM t") == [(1,)]
    path = await b.service.export(database, schema=True, data=True, tables=())
    assert "VALUES(1)" in path.read_text()


async def test_small_reads_at_once_end_with_the_lease(
    machines: tuple[Machine, Machine], database: str
) -> None:
    a, b = machines
    sql = "SELECT max(a) FROM t WHERE rowid < 9"
    found = None
    for _ in range(20):
        await a.run(database, sql)
        found = found or a.store.query_now(database, SqlStatement(sql))
    assert found is not None
    await b.run(database, "INSERT INTO t VALUES (5)")
    assert a.store.query_now(database, SqlStatement(sql)) is None
    assert await a.run(database, sql) == [(5,)]


async def test_a_file_from_before_comes_along(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    database_id = str(uuid.uuid4())
    files.create(a.folder, database_id)
    with files.opened(a.folder / f"{database_id}.sqlite") as connection:
        connection.execute(
            "CREATE TABLE t (a); INSERT INTO t SELECT value FROM json_each('[1,2,3]')"
        ).fetchall()
    with pytest.raises(OperationError, match="there is no database"):
        await b.run(database_id, "SELECT 1")
    await a.placement.adopt()
    assert await b.run(database_id, "SELECT a FROM t") == [(1,), (2,), (3,)]
    await b.run(database_id, "INSERT INTO t VALUES (4)")
    assert await a.run(database_id, "SELECT sum(a) FROM t") == [(10,)]


async def test_a_deleted_database_is_gone_on_every_machine(
    machines: tuple[Machine, Machine], database: str
) -> None:
    a, b = machines
    await b.run(database, "INSERT INTO t VALUES (1)")
    await a.run(database, "SELECT 1")
    began = time.monotonic()
    await SharedDatabases(b.thread, "b").delete(database)
    assert time.monotonic() - began < 8, "it was given back, not waited for"
    for machine in machines:
        for sql in ("SELECT 1", "INSERT INTO t VALUES (2)"):
            with pytest.raises(OperationError, match="it was deleted") as caught:
                await machine.run(database, sql)
            assert caught.value.code is OperationErrorCode.NOT_FOUND
        assert await machine.placement.sweep() == []
        assert await machine.placement.sweep(older_than_s=-60) == [database]


async def test_what_was_read_of_a_write_that_was_not_kept_is_not_answered(
    machines: tuple[Machine, Machine], database: str
) -> None:
    a, _ = machines
    leased = a.placement.of(database)
    epoch = leased.begin_read()
    # Here it is read. Then the write turns out to be lost, and this machine takes the database anew.
    leased.record.is_void()
    await a.run(database, "SELECT 1")
    assert leased.record.held
    assert not leased.may_answer(epoch)
    with pytest.raises(NotHere):
        leased.check_read(epoch)


async def test_a_file_that_could_not_be_brought_along_is_not_swept(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    proxy = PostgresProxy(database_address)
    a = Machine(tmp_path, "a", proxy.address)
    database_id = str(uuid.uuid4())
    try:
        files.create(a.folder, database_id)
        proxy.go_away()
        with pytest.raises(StorageError):
            await a.placement.adopt()
        proxy.come_back()
        await until_it_answers(a)
        assert await a.placement.sweep(older_than_s=-60) == []
        await a.placement.adopt()
        assert await a.run(database_id, "SELECT 1") == [(1,)]
    finally:
        proxy.come_back()
        await a.close()
        proxy.close()


async def until_it_answers(machine: Machine) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                machine.thread.call(lambda pg: pg.probe())
                return
            except StorageError:
                await asyncio.sleep(0.05)
