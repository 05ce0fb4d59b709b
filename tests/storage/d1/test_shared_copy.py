"""A copy of a database that machines share is of one moment and of the newest state, whichever machine made it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.d1 import files
from storage.d1.shared_copy import copy_shared
from storage.failures import StorageLost
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase, PgTransaction
from storage.replication.postgres_thread import PostgresThread
from tests.storage.d1.machines import Machine


@pytest.fixture
async def machines(
    tmp_path: Path, database_address: DatabaseAddress
) -> AsyncIterator[tuple[Machine, Machine]]:
    made = Machine(tmp_path, "a", database_address), Machine(tmp_path, "b", database_address)
    yield made
    for machine in made:
        await machine.close()


@pytest.fixture
def thread(machines: tuple[Machine, Machine], database_address: DatabaseAddress) -> PostgresThread:
    return machines[0].thread


async def copy(thread: PostgresThread, database_id: str, to: Path) -> bool:
    return await asyncio.wrap_future(thread.start(lambda pg: copy_shared(pg, database_id, to)))


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with files.opened(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute(sql).fetchall()


async def test_it_has_what_the_last_owner_wrote(
    machines: tuple[Machine, Machine], thread: PostgresThread, tmp_path: Path
) -> None:
    a, b = machines
    database_id = str(uuid.uuid4())
    a.make(database_id)
    await a.run(database_id, "CREATE TABLE t (a)")
    await a.run(database_id, "INSERT INTO t VALUES (1)")
    # More pages than are asked for at once.
    await b.run(database_id, "INSERT INTO t SELECT zeroblob(3000) FROM json_each(?)", f"[{'0,' * 999}0]")
    assert await copy(thread, database_id, tmp_path / "copy")
    assert rows(tmp_path / "copy", "SELECT count(*) FROM t") == [(1_001,)]
    assert rows(a.folder / f"{database_id}.sqlite", "SELECT count(*) FROM t") == [(1,)], "its file is old"


async def test_it_is_of_one_moment(
    machines: tuple[Machine, Machine], thread: PostgresThread, tmp_path: Path
) -> None:
    """Each write changes pages at both ends of the file by the same number."""
    a, _ = machines
    database_id = str(uuid.uuid4())
    a.make(database_id)
    await a.batch(
        database_id,
        [
            "CREATE TABLE first (n)",
            "INSERT INTO first VALUES (0)",
            "CREATE TABLE big (x)",
            "INSERT INTO big SELECT randomblob(3000) FROM json_each('[" + "0," * 1_500 + "0]')",
            "CREATE TABLE last (n)",
            "INSERT INTO last VALUES (0)",
        ],
    )
    done = False

    async def write() -> int:
        written = 0
        while not done:
            await a.batch(database_id, ["UPDATE first SET n = n + 1", "UPDATE last SET n = n + 1"])
            written += 1
        return written

    writing = asyncio.create_task(write())
    seen = []
    for number in range(5):
        to = tmp_path / f"copy{number}"
        assert await copy(thread, database_id, to)
        seen += rows(to, "SELECT first.n, last.n FROM first, last")
    done = True
    assert await writing > 5
    assert all(first == last for first, last in seen)


async def test_an_empty_one_and_one_that_is_not_there(
    machines: tuple[Machine, Machine], thread: PostgresThread, tmp_path: Path
) -> None:
    database_id = str(uuid.uuid4())
    machines[0].make(database_id)
    assert await copy(thread, database_id, tmp_path / "empty")
    assert rows(tmp_path / "empty", "SELECT count(*) FROM sqlite_schema") == [(0,)]
    assert not await copy(thread, str(uuid.uuid4()), tmp_path / "none")
    assert not (tmp_path / "none").exists()


async def test_a_page_that_is_lost_is_told(
    machines: tuple[Machine, Machine], thread: PostgresThread, tmp_path: Path
) -> None:
    database_id = str(uuid.uuid4())
    machines[0].make(database_id)
    await machines[0].run(database_id, "CREATE TABLE t (a)")

    async def lose(tx: PgTransaction) -> None:
        await tx.execute("DELETE FROM d1_pages WHERE id = $1 AND page = 2", database_id)

    async def work(pg: PgDatabase) -> None:
        await pg.write(lose)

    thread.call(work)
    with pytest.raises(StorageLost, match="damaged"):
        await copy(thread, database_id, tmp_path / "copy")
