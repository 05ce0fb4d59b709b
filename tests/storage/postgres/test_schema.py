"""Migrations while old and new hosts run: missing steps are taken once, newer ones are met, breaking ones are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.failures import SchemaMismatch, StorageError
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase
from storage.postgres.schema import PgMigrations


@pytest.fixture
async def database(database_address: DatabaseAddress) -> AsyncIterator[PgDatabase]:
    database = PgDatabase(database_address)
    yield database
    await database.close()


def release(folder: Path, *steps: str) -> PgMigrations:
    folder.mkdir()
    for number, sql in enumerate(steps, 1):
        (folder / f"it_{number:04d}_step.sql").write_text(sql)
    return PgMigrations.load("it", folder=folder)


async def test_several_at_once_take_each_step_once(database: PgDatabase, tmp_path: Path) -> None:
    steps = release(tmp_path / "a", "CREATE TABLE a (x int)", "CREATE TABLE b (x int)")
    taken = await asyncio.gather(*(steps.apply(database) for _ in range(5)))
    assert sorted(taken) == [[], [], [], [], ["it 1", "it 2"]]
    assert await steps.missing(database) == []


async def test_all_or_none(database: PgDatabase, tmp_path: Path) -> None:
    steps = release(tmp_path / "a", "CREATE TABLE a (x int)", "SELEKT")
    with pytest.raises(StorageError):
        await steps.apply(database)
    assert await steps.missing(database) == ["it 1", "it 2"]
    assert (await database.fetch("SELECT to_regclass('a')"))[0][0] is None


async def test_release_before_runs_on_a_newer_schema_that_takes_nothing_away(
    database: PgDatabase, tmp_path: Path
) -> None:
    old = release(tmp_path / "old", "CREATE TABLE a (x int)")
    new = release(tmp_path / "new", "CREATE TABLE a (x int)", "CREATE TABLE b (x int)")
    await new.apply(database)
    assert await old.apply(database) == []


@pytest.mark.parametrize(("oldest", "meets"), [(1, True), (2, False)])
async def test_step_says_from_which_code_on_it_may_be_met(
    database: PgDatabase, tmp_path: Path, oldest: int, meets: bool
) -> None:
    first = "CREATE TABLE a (x int)"
    await release(tmp_path / "new", first, f"-- :oldest {oldest}\nSELECT 1").apply(database)
    old = release(tmp_path / "old", first)
    if meets:
        assert await old.apply(database) == []
        return
    with pytest.raises(SchemaMismatch, match="upgrade this host"):
        await old.apply(database)


async def test_changed_step_is_refused(database: PgDatabase, tmp_path: Path) -> None:
    await release(tmp_path / "a", "CREATE TABLE a (x int)").apply(database)
    with pytest.raises(SchemaMismatch, match="changed"):
        await release(tmp_path / "b", "CREATE TABLE a (y int)").apply(database)
