"""The schema of control data, as replicas need it, and its migrations as the log runs them."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest

from storage.control_store import control_migrations
from storage.migrations import Migrations
from storage.postgres.address import DatabaseAddress
from storage.replication.local import LOCAL_TABLES
from tests.storage.replication.machines import TABLES, Machine
from tests.support.postgres import Cluster
from tests.support.waiting import wait_until

FILES = {"control": control_migrations(), "tokens": Migrations.load("tokens")}


@pytest.mark.parametrize("file", FILES)
def test_every_row_has_a_key_that_a_changeset_can_name(file: str) -> None:
    connection = apsw.Connection(":memory:")
    for step in FILES[file].steps:
        connection.execute(step.sql).fetchall()
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    ).fetchall()
    assert tables
    for (name,) in tables:
        assert name not in LOCAL_TABLES
        columns = connection.execute(f'PRAGMA table_info("{name}")').fetchall()
        keys = [(column, kind, not_null) for _, column, kind, not_null, _, key in columns if key]
        assert keys, f"{name} has no primary key: its rows would be on one machine alone"
        # An INTEGER PRIMARY KEY is the row's number, which is never null.
        alone = len(keys) == 1 and str(keys[0][1]).upper() == "INTEGER"
        without_rowid = not _has_rowid(connection, str(name))
        assert alone or without_rowid or all(not_null for _, _, not_null in keys), name
    connection.close()


def _has_rowid(connection: apsw.Connection, table: str) -> bool:
    try:
        connection.execute(f'SELECT rowid FROM "{table}"').fetchall()  # noqa: S608
    except apsw.SQLError:
        return False
    return True


@pytest.mark.parametrize("file", FILES)
def test_migrations_ask_neither_the_clock_nor_chance(file: str) -> None:
    for step in FILES[file].steps:
        text = re.sub(r"--[^\n]*", "", step.sql).lower()
        for word in (
            "random",
            "current_time",
            "current_date",
            "'now'",
            "unixepoch",
            "datetime(",
            "last_insert",
        ):
            assert word not in text, f"{step.stream} {step.number}: every machine runs it by itself"


def test_triggers_are_not_there() -> None:
    """A trigger would do its work twice on a machine that applies a changeset, which has its rows already."""
    for migrations in FILES.values():
        assert not any("create trigger" in step.sql.lower() for step in migrations.steps)


def test_a_folder_founds_a_platform_anew_when_the_database_is_lost_altogether(
    tmp_path: Path, database_address: DatabaseAddress, postgres: Cluster
) -> None:
    with Machine(tmp_path, database_address, "a") as a:
        a.put("kept", 1)
    connection = apsw.Connection(str(a.path))
    connection.execute("DELETE FROM replication")
    connection.close()
    anew = postgres.new_database()
    with Machine(tmp_path, anew, "a") as a, Machine(tmp_path, anew, "b", migrations=TABLES) as b:
        a.put("more", 2)
        wait_until(lambda: b.items() == {"kept": 1, "more": 2})
        assert a.dump() == b.dump()
