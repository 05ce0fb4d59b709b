"""The log over time: snapshots, pruning, migrations of one release among others, and replicas that part ways."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from storage.database import SchemaMismatch
from storage.migrations import Migration, Migrations
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase, PgTransaction
from storage.replication.entries import ReplicaBehind, Step, adds_only_tables
from storage.transaction import Transaction
from tests.storage.replication.machines import TABLES, Machine, put
from tests.support.waiting import wait_until

ADDS = Migration("items", 2, "CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL);")
CHANGES = Migration(
    "items", 2, "ALTER TABLE items ADD COLUMN extra TEXT; UPDATE items SET extra = name || value;"
)


def with_step(step: Migration) -> Migrations:
    return Migrations((*TABLES.steps, step))


def sql(address: DatabaseAddress, statement: str, *args: object) -> list[Any]:
    """One statement in the database itself."""

    async def run() -> list[Any]:
        database = PgDatabase(address)

        async def work(tx: PgTransaction) -> list[Any]:
            return [tuple(row) for row in await tx.fetch(statement, *args)]

        try:
            return await database.write(work)
        finally:
            await database.close()

    return asyncio.run(run())


def test_a_machine_that_joins_late_reads_a_snapshot_and_what_came_after(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    with Machine(tmp_path, database_address, "a", snapshot_every=20) as a:
        for number in range(50):
            a.put(f"n{number}", number)
        wait_until(lambda: (found := a.log.head("control")) is not None and found.snapshot_seq >= 20)
        wait_until(
            lambda: (found := a.log.head("control")) is not None and found.seq - found.snapshot_seq < 20
        )
        with Machine(tmp_path, database_address, "b") as b:
            assert len(b.items()) == 50
            assert b.status().loaded == 1
            assert b.status().applied < 40
            assert a.dump() == b.dump()


def test_a_machine_that_was_away_longer_than_the_log_reaches_loads_a_snapshot_in_place(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    with Machine(tmp_path, database_address, "b") as b:
        b.put("old", 1)
    reader = apsw.Connection(str(tmp_path / "b" / "control.db"), flags=apsw.SQLITE_OPEN_READONLY)
    with Machine(tmp_path, database_address, "a", snapshot_every=10) as a:
        for number in range(30):
            a.put(f"n{number}", number)
            if number % 10 == 9:
                wait_until(
                    lambda: (
                        (found := a.log.head("control")) is not None and found.seq - found.snapshot_seq < 10
                    )
                )
        pruned = sql(database_address, "SELECT pruned FROM replication_heads")[0][0]
        assert pruned > 4
        assert sql(database_address, "SELECT min(seq) FROM replication_log")[0][0] == pruned + 1
        with Machine(tmp_path, database_address, "b") as b:
            assert b.status().loaded == 1
            assert b.sequence.load() == a.sequence.load()
            assert a.dump() == b.dump()
            # Who had the file open sees the new contents.
            assert reader.execute("SELECT count(*) FROM items").fetchall() == [(31,)]
            a.put("after", 1)
            wait_until(lambda: "after" in b.items())
    reader.close()


def _break(path: Path, statement: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE items SET value = 99 WHERE name = 'one'",
        "DELETE FROM items WHERE name = 'one'",
        "UPDATE replication SET chain = zeroblob(32)",
        "UPDATE replication SET seq = seq + 5",
        "DROP TABLE parts",
    ],
)
def test_a_replica_that_does_not_fit_the_log_says_so_and_is_loaded_anew(
    tmp_path: Path, database_address: DatabaseAddress, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    def touch(tx: Transaction) -> None:
        tx.execute("UPDATE items SET value = value + 1 WHERE name = 'one'")
        tx.execute("INSERT INTO parts VALUES ('one', 'p', 'text')")

    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        a.put("one", 1)
        wait_until(lambda: a.status().seq == b.status().seq)
        b.close()
        _break(b.path, damage)
        a.database.write_blocking(touch)
        with caplog.at_level(logging.ERROR), Machine(tmp_path, database_address, "b") as again:
            assert again.status().conflicts == 1
            assert again.loaded == again.status().loaded == 1
            assert not again.status().stopped
            assert a.dump() == again.dump()
        assert "it is loaded anew" in caplog.text
        kept = list(b.folder.glob("control.db.diverged-*"))
        assert len(kept) == 1
        assert kept[0].stat().st_mode & 0o777 == 0o600


def test_an_entry_that_fits_nobody_stops_the_replica_which_goes_on_serving(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        a.put("one", 1)
        wait_until(lambda: b.items() == {"one": 1})
        sql(database_address, "ALTER TABLE replication_log RENAME TO hidden")  # nobody reads meanwhile
        sql(database_address, "ALTER TABLE hidden RENAME TO replication_log")
        b.close()
        a.put("two", 2)
        sql(database_address, "UPDATE replication_log SET payload = '\\x54' WHERE seq = $1", a.status().seq)
        with pytest.raises(Exception, match="damaged, or follows another history"):
            Machine(tmp_path, database_address, "b")
        assert ("one", 1) in Machine_rows(b.path)


def Machine_rows(path: Path) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    rows = connection.execute("SELECT name, value FROM items").fetchall()
    connection.close()
    return rows


def test_a_database_that_was_restored_from_an_older_backup_wins_and_what_a_machine_held_is_kept(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    with Machine(tmp_path, database_address, "a") as a:
        a.put("one", 1)
        backup = a.status().seq, a.replica.state.chain
        a.put("two", 2)
        sql(database_address, "DELETE FROM replication_log WHERE seq > $1", backup[0])
        sql(database_address, "UPDATE replication_heads SET seq = $1, chain = $2", *backup)
        wait_until(lambda: a.items() == {"one": 1})
        assert a.loaded == 1
        a.put("three", 3)
        with Machine(tmp_path, database_address, "b") as b:
            assert b.items() == {"one": 1, "three": 3}
            assert a.dump() == b.dump()
        kept = next(a.folder.glob("control.db.diverged-*"))
        assert ("two", 2) in Machine_rows(kept)


def test_a_migration_runs_on_every_machine_between_the_same_two_changes(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    new = with_step(CHANGES)
    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        a.put("one", 1)
        wait_until(lambda: b.items() == {"one": 1})
        b.close()
        a.put("two", 2)  # b has not this one when it is upgraded
        a.close()
        with Machine(tmp_path, database_address, "a", migrations=new) as a2:
            a2.database.write_blocking(
                lambda tx: tx.execute("INSERT INTO items VALUES ('three', 3, 'by the new release')")
            )
            with Machine(tmp_path, database_address, "b", migrations=new) as b2:
                assert b2.database.read("SELECT name, extra FROM items ORDER BY name") == [
                    ("one", "one1"),
                    ("three", "by the new release"),
                    ("two", "two2"),
                ]
                assert a2.dump() == b2.dump()


def test_an_older_release_waits_at_a_migration_that_changes_tables_and_serves_meanwhile(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "old") as old:
        a.put("one", 1)
        a.close()
        with Machine(tmp_path, database_address, "a", migrations=with_step(CHANGES)) as new:
            wait_until(lambda: "upgrade this machine" in old.status().stopped)
            assert old.items() == {"one": 1}
            assert not old.status().current
            with pytest.raises(ReplicaBehind, match="upgrade this machine"):
                old.put("two", 2)
            assert old.status().conflicts == 0
            old.close()
            # It starts so, too, and serves what it has.
            with Machine(tmp_path, database_address, "old") as again:
                assert again.items() == {"one": 1}
                assert "upgrade this machine" in again.status().stopped
            with Machine(tmp_path, database_address, "old", migrations=with_step(CHANGES)) as upgraded:
                assert upgraded.status().loaded == 0
                assert new.dump() == upgraded.dump()


def test_an_older_release_goes_on_beside_a_migration_that_only_adds_tables(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    def note(tx: Transaction) -> None:
        tx.execute("INSERT INTO notes VALUES ('one', 'text')")
        put(tx, "three", 3)

    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "old") as old:
        a.put("one", 1)
        a.close()
        with Machine(tmp_path, database_address, "a", migrations=with_step(ADDS)) as new:
            old.put("two", 2)
            new.database.write_blocking(note)
            wait_until(lambda: old.items() == new.items() == {"one": 1, "two": 2, "three": 3})
            assert not old.status().stopped
            # What an older release lacks is in no snapshot of its.
            assert not old.replica.take_snapshot(1)
            old.close()
            with Machine(tmp_path, database_address, "old", migrations=with_step(ADDS)) as upgraded:
                assert upgraded.database.read("SELECT text FROM notes") == [("text",)]
                assert new.dump() == upgraded.dump()


def test_an_older_release_does_not_join_a_platform_whose_snapshot_it_can_not_read(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    with (
        Machine(tmp_path, database_address, "a", migrations=with_step(CHANGES)),
        pytest.raises(SchemaMismatch, match="newer release"),
    ):
        Machine(tmp_path, database_address, "b")


def test_two_machines_of_a_new_release_run_its_migration_once(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    new = with_step(CHANGES)
    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        a.put("one", 1)
        a.close()
        b.close()
    found: list[Machine] = []
    run: Callable[[str], None] = lambda name: found.append(  # noqa: E731
        Machine(tmp_path, database_address, name, migrations=new)
    )
    import threading

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        rows = sql(database_address, "SELECT payload FROM replication_log WHERE kind = 'migration'")
        assert [str(Step.unpack(row[0])) for row in rows] == ["items 2"]
        wait_until(lambda: found[0].status().seq == found[1].status().seq)
        assert found[0].dump() == found[1].dump()
    finally:
        for machine in found:
            machine.close()


@pytest.mark.parametrize(
    ("text", "only"),
    [
        ("CREATE TABLE a (b TEXT);", True),
        ("-- a word; and another\ncreate table a (b); CREATE UNIQUE INDEX c ON a (b);\n", True),
        ("CREATE INDEX c ON a (b)", True),
        ("CREATE TABLE a (b); INSERT INTO a SELECT 1", False),
        ("ALTER TABLE a ADD COLUMN b", False),
        ("DROP TABLE a", False),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END", False),
        ("CREATE TABLE a AS SELECT * FROM b", False),
    ],
)
def test_what_only_adds_tables(text: str, only: bool) -> None:
    assert adds_only_tables(text) is only
