"""A database's connection: works while the server does, says StorageLost at once while not, and comes back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import pytest

from storage.failures import (
    ConstraintViolated,
    SchemaMismatch,
    StorageBusy,
    StorageClosed,
    StorageError,
    StorageLost,
)
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase, PgTransaction
from tests.support.postgres import Cluster


@pytest.fixture
async def database(database_address: DatabaseAddress) -> AsyncIterator[PgDatabase]:
    database = PgDatabase(database_address, connections=2, statement_s=1.0)
    yield database
    await database.close()


async def _count(database: PgDatabase) -> int:
    return int((await database.fetch("SELECT count(*) FROM t"))[0][0])


async def test_write_is_all_or_nothing(database: PgDatabase) -> None:
    async def work(tx: PgTransaction) -> None:
        await tx.execute("CREATE TABLE t (a int PRIMARY KEY)")
        await tx.execute("INSERT INTO t VALUES ($1)", 1)

    await database.write(work)

    async def fails(tx: PgTransaction) -> None:
        await tx.execute("INSERT INTO t VALUES (2)")
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await database.write(fails)
    assert await _count(database) == 1


@pytest.mark.parametrize(
    ("sql", "failure"),
    [
        ("SELECT * FROM missing", SchemaMismatch),
        ("SELECT pg_sleep(5)", StorageBusy),  # over the statement's time
        ("SELEKT", StorageError),
        ("SELECT pg_terminate_backend(pg_backend_pid())", StorageLost),
    ],
)
async def test_failures_are_named_and_leave_the_database_usable(
    database: PgDatabase, sql: str, failure: type[StorageError]
) -> None:
    with pytest.raises(failure) as caught:
        await database.fetch(sql)
    assert type(caught.value) is failure
    assert (await database.fetch("SELECT 7"))[0][0] == 7


async def test_constraint_says_its_kind(database: PgDatabase) -> None:
    async def work(tx: PgTransaction) -> None:
        await tx.execute("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)")
        await tx.execute("INSERT INTO t VALUES (1)")

    with pytest.raises(ConstraintViolated) as caught:
        await database.write(work)
    assert caught.value.kind == "unique"


async def test_idle_connection_that_died_is_replaced(database: PgDatabase) -> None:
    pid = (await database.fetch("SELECT pg_backend_pid()"))[0][0]
    other = PgDatabase(database.address)
    await other.fetch("SELECT pg_terminate_backend($1)", pid)
    await other.close()
    assert (await database.fetch("SELECT 7"))[0][0] == 7


async def test_repeatable_write_survives_the_loss_of_its_connection(database: PgDatabase) -> None:
    runs = 0

    async def work(tx: PgTransaction) -> int:
        nonlocal runs
        runs += 1
        await tx.execute("CREATE TABLE t (a int)")
        if runs == 1:
            await tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return runs

    assert await database.write(work, repeatable=True) == 2
    assert await _count(database) == 0


async def test_more_than_the_pool_waits_its_turn(database: PgDatabase) -> None:
    rows = await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.01), $1::int", n) for n in range(20)))
    assert [row[0][1] for row in rows] == list(range(20))


async def test_cancelled_query_leaves_the_pool_whole(database: PgDatabase) -> None:
    for _ in range(4):
        task = asyncio.create_task(database.fetch("SELECT pg_sleep(0.5)"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await database.fetch("SELECT 7"))[0][0] == 7


async def test_away_is_said_at_once_and_back_is_noticed(own_postgres: Cluster) -> None:
    database = PgDatabase(own_postgres.new_database())
    assert (await database.fetch("SELECT 7"))[0][0] == 7
    own_postgres.stop(signal.SIGQUIT)
    with pytest.raises(StorageLost):
        await database.fetch("SELECT 7")
    began = time.monotonic()
    results = await asyncio.gather(*(database.fetch("SELECT 7") for _ in range(2000)), return_exceptions=True)
    assert all(isinstance(result, StorageLost) for result in results)
    assert time.monotonic() - began < 30.0, "nobody waits for a connection"
    assert database.failure
    own_postgres.start()
    until = time.monotonic() + 60.0
    while True:
        try:
            assert (await database.fetch("SELECT 7"))[0][0] == 7
            break
        except StorageLost:
            assert time.monotonic() < until
            await asyncio.sleep(0.02)
    assert not database.failure
    await database.close()


async def test_wrong_password_is_lost_and_is_never_told(database_address: DatabaseAddress) -> None:
    database = PgDatabase(database_address.with_password("sesame-sesame"))
    with pytest.raises(StorageLost, match="user or password") as caught:
        await database.fetch("SELECT 1")
    assert "sesame" not in f"{caught.value!r} {caught.value.detail} {database.address!r} {database.address}"


async def test_closed_says_so(database: PgDatabase) -> None:
    await database.fetch("SELECT 1")
    await database.close()
    with pytest.raises(StorageClosed):
        await database.fetch("SELECT 1")


async def test_server_that_would_lose_what_it_acknowledged_is_refused(postgres: Cluster) -> None:
    address = postgres.new_database()
    postgres.sql("postgres", f"ALTER DATABASE {address.database} SET synchronous_commit = off")
    database = PgDatabase(address)
    with pytest.raises(StorageError, match="refused"):
        await database.fetch("SELECT 1")
    assert "synchronous_commit" in (database.failure or StorageError("")).detail
