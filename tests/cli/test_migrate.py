"""`tenantry migrate` says what a data folder and a platform's database lack, and brings them up to this release."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from storage.data_files import DATABASES, migrations_of, streams_of
from storage.database import Database
from storage.migrations import Migrations
from storage.postgres.address import DatabaseAddress
from storage.postgres.schema import PLATFORM_STREAMS, PgMigrations
from tests.cli.conftest import Run
from tests.support.member import Member
from tests.support.postgres import PASSWORD

RELEASED = "the schema is that of this release\n"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_DATABASE_PASSWORD", PASSWORD)


def old_folder(folder: Path) -> Path:
    """Each file as it was before its last migration."""
    for name in DATABASES:
        newest = dict(streams_of(name))
        steps = migrations_of(name).steps
        old = tuple(step for step in steps if step.number < newest[step.stream] or newest[step.stream] == 1)
        Database.open(folder / name, Migrations(old)).close()
    return folder


def test_a_folder_is_shown_what_it_lacks_and_has_it_afterwards(run: Run, tmp_path: Path) -> None:
    old_folder(tmp_path)
    lacking = [
        (name, stream, newest) for name in DATABASES for stream, newest in streams_of(name) if newest > 1
    ]
    assert len(lacking) >= 2
    shown = run("migrate", "--data", str(tmp_path), "--dry-run", "--json")
    assert json.loads(shown.out) == {
        "applied": False,
        "migrations": [
            {"file": file, "stream": stream, "number": number} for file, stream, number in lacking
        ],
    }
    status = run("migrate", "--data", str(tmp_path), "--status")
    for file, stream, newest in lacking:
        assert f"{file}: {stream} of {newest}, lacks {newest}\n" in status.out
    assert "tokens.db: tokens of 1\n" in status.out
    done = run("migrate", "--data", str(tmp_path))
    assert done.code == 0, done.err
    for file, stream, newest in lacking:
        assert f"applied {stream} {newest} to {file}\n" in done.out
    assert run("migrate", "--data", str(tmp_path)).out == RELEASED
    assert "lacks" not in run("migrate", "--data", str(tmp_path), "--status").out


def test_a_database_is_shown_what_it_lacks_and_has_it_afterwards(
    run: Run, database_address: DatabaseAddress
) -> None:
    url = str(database_address)
    lacking = [
        (stream, step.number) for stream in PLATFORM_STREAMS for step in PgMigrations.load(stream).steps
    ]
    for _ in range(2):  # nothing is changed by looking
        shown = json.loads(run("migrate", "--database", url, "--dry-run", "--json").out)
        assert [(each["stream"], each["number"]) for each in shown["migrations"]] == lacking
        assert {each["file"] for each in shown["migrations"]} == {url}
    assert PASSWORD not in url
    done = run("migrate", "--database", url)
    assert done.code == 0, done.err
    assert done.out.count("applied ") == len(lacking)
    assert run("migrate", "--database", url).out == RELEASED
    shown = json.loads(run("migrate", "--database", url, "--status", "--json").out)
    assert {each["stream"]: each["lacking"] for each in shown["streams"]} == {
        stream: [] for stream in PLATFORM_STREAMS
    }


def test_a_machine_of_several_is_migrated_through_the_log(
    run: Run, tmp_path: Path, database_address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the others would run the step a second time, or never."""
    folder, url = tmp_path / "a", str(database_address)
    steps = migrations_of("control.db").steps
    newest = dict(streams_of("control.db"))["control"]
    old = Migrations(tuple(step for step in steps if (step.stream, step.number) != ("control", newest)))
    with monkeypatch.context() as patch:
        patch.setattr("storage.control_store.control_migrations", lambda: old)
        asyncio.run(Member(folder, database_address).close())
    (folder / "root-key").write_bytes(bytes(range(32)))
    (folder / "root-key").chmod(0o600)
    shown = run("migrate", "--data", str(folder), "--dry-run")
    assert shown.out == f"would apply control {newest} to control.db\n"
    refused = run("migrate", "--data", str(folder))
    assert (refused.code, "name their --database" in refused.err) == (2, True)
    done = run("migrate", "--data", str(folder), "--database", url)
    assert done.code == 0, done.err
    assert f"applied control {newest} to control.db\n" in done.out
    assert run("migrate", "--data", str(folder), "--database", url).out == RELEASED

    async def kinds() -> list[str]:
        other = Member(tmp_path / "b", database_address)
        try:
            rows = await other.database.fetch("SELECT kind FROM replication_log WHERE file = 'control'")
            return [row[0] for row in rows]
        finally:
            await other.close()

    assert asyncio.run(kinds()) == ["migration"]
    assert run("migrate", "--data", str(tmp_path / "b"), "--database", url, "--dry-run").out == RELEASED


def newer_file(folder: Path) -> tuple[str, ...]:
    old_folder(folder)
    connection = apsw.Connection(str(folder / "tokens.db"))
    connection.execute("INSERT INTO schema_migrations VALUES ('tokens', 9999, 'x')")
    connection.close()
    return ("--data", str(folder))


def nothing_named(folder: Path) -> tuple[str, ...]:
    return ()


def no_machine(folder: Path) -> tuple[str, ...]:
    return ("--data", str(old_folder(folder)), "--database", "postgresql://u@127.0.0.1:1/d")


def no_server(folder: Path) -> tuple[str, ...]:
    return ("--database", "postgresql://u@127.0.0.1:1/d")


@pytest.mark.parametrize(
    ("prepare", "code", "said"),
    [
        (newer_file, 1, "a newer release made it"),
        (nothing_named, 2, "--data DIR is missing"),
        (no_machine, 2, "no machine of a platform"),
        (no_server, 1, "can't be reached"),
    ],
)
def test_what_can_not_be_is_said_and_nothing_is_changed(
    run: Run, tmp_path: Path, prepare: Callable[[Path], tuple[str, ...]], code: int, said: str
) -> None:
    refused = run("migrate", *prepare(tmp_path))
    assert (refused.code, said in refused.err) == (code, True), refused.err
    if (tmp_path / "kv.db").exists():
        connection = apsw.Connection(str(tmp_path / "kv.db"))
        newest = dict(streams_of("kv.db"))["kv"]
        taken = "SELECT 1 FROM schema_migrations WHERE number = ?"
        assert connection.execute(taken, (newest,)).fetchall() == []
        connection.close()
