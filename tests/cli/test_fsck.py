"""`tenantry fsck` of one machine of several: what is looked at with the platform's database, and without."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from model.capabilities import KvEntry
from storage.cache_store import cache_migrations
from storage.data_files import DATABASES, migrations_of
from storage.database import Database
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase
from storage.postgres.schema import PLATFORM_STREAMS, PgMigrations
from tests.cli.conftest import Run
from tests.support.member import Member
from tests.support.postgres import PASSWORD


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_DATABASE_PASSWORD", PASSWORD)


@pytest.fixture
def machine(tmp_path: Path, database_address: DatabaseAddress) -> Path:
    """Its data folder, after its host has ended: KV has keys of a namespace that nobody knows."""
    folder = tmp_path / "a"

    async def fill() -> None:
        database = PgDatabase(database_address)
        await PgMigrations.load(*PLATFORM_STREAMS).apply(database)
        await database.close()
        member = Member(folder, database_address)
        await member.contents.kv.put("nobody", "key", KvEntry(b"value"))
        await member.close()

    asyncio.run(fill())
    for name in DATABASES:
        if name not in ("control.db", "tokens.db", "cron.db"):
            Database.open(folder / name, migrations_of(name)).close()
    Database.open(folder / "cache.db", cache_migrations()).close()
    (folder / "root-key").write_bytes(bytes(range(32)))
    (folder / "root-key").chmod(0o600)
    return folder


def test_the_folder_alone_is_well_and_what_was_not_looked_at_is_said(run: Run, machine: Path) -> None:
    ended = run("fsck", "--data", str(machine), "--deep")
    assert (ended.code, ended.out) == (0, "all is well\n")
    assert "name it with --database" in ended.err


def test_what_machines_share_is_looked_at_and_put_right(
    run: Run, machine: Path, database_address: DatabaseAddress
) -> None:
    where = ("--data", str(machine), "--deep", "--database", str(database_address))
    ended = run("fsck", *where)
    assert ended.code == 0, ended.out
    assert ended.out.splitlines() == [
        "warning  orphans: keys of KV namespace nobody, which is not there (--repair: remove the keys)",
        "0 errors, 1 warnings",
    ]
    assert ended.err == ""
    (found,) = json.loads(run("fsck", *where, "--json").out)
    assert (found["check"], found["severity"], found["repair"]) == ("orphans", "warning", "remove the keys")
    repaired = run("fsck", *where, "--repair")
    assert (repaired.code, repaired.out) == (0, "all is well\n")
    assert "remove the keys" in repaired.err
    assert run("fsck", *where).out == "all is well\n"


def test_another_root_key_than_the_platform_s_is_an_error(
    run: Run, machine: Path, database_address: DatabaseAddress
) -> None:
    (machine / "root-key").write_bytes(bytes(32))
    ended = run("fsck", "--data", str(machine), "--database", str(database_address))
    assert (ended.code, "no secret opens here" in ended.out) == (1, True)


def test_a_database_that_does_not_answer_is_said(run: Run, machine: Path) -> None:
    ended = run("fsck", "--data", str(machine), "--database", "postgresql://u@127.0.0.1:1/d")
    assert (ended.code, "can't be reached" in ended.err) == (1, True)


def test_repair_needs_the_database_that_others_use_too(run: Run, machine: Path) -> None:
    (machine / "cache.db").write_bytes(b"this is something else" * 1000)
    ended = run("fsck", "--data", str(machine), "--repair")
    assert (ended.code, "needs the platform's --database" in ended.err) == (2, True)


def test_a_folder_that_is_no_machine_has_nothing_in_a_database(run: Run, tmp_path: Path) -> None:
    for name in DATABASES:
        Database.open(tmp_path / name, migrations_of(name)).close()
    ended = run("fsck", "--data", str(tmp_path), "--database", "postgresql://u@127.0.0.1:1/d")
    assert (ended.code, "is no machine of a platform" in ended.err) == (2, True)
    assert run("fsck", "--data", str(tmp_path), "--deep").out == "all is well\n"
