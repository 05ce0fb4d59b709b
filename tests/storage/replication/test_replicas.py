"""What one machine commits is on every other: in the same order, soon, and byte for byte."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from storage.changes import changes_since
from storage.database import ConstraintViolated, Database, StorageReadOnly
from storage.postgres.address import DatabaseAddress
from storage.replication.entries import JoinRefused
from storage.transaction import Transaction
from tests.storage.replication.machines import TABLES, Machine, put
from tests.support.postgres import Cluster
from tests.support.waiting import wait_until


def test_what_one_machine_writes_another_has_within_100_ms(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        a.put("first", 0)
        wait_until(lambda: b.items() == {"first": 0})
        took = []
        for number in range(20):
            a.put("x", number)
            began = time.monotonic()
            wait_until(lambda number=number: b.items().get("x") == number)  # type: ignore[misc]
            took.append(time.monotonic() - began)
        assert sorted(took)[2] < 0.1  # a busy machine is late, but not each time
        assert a.dump() == b.dump()


def test_each_machine_writes_and_sees_what_it_wrote(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        for number in range(10):
            a.put(f"a{number}", number)
            assert a.items()[f"a{number}"] == number
            b.put(f"b{number}", number)
            # b read the log before it wrote, so it has all that a had acknowledged.
            assert len(b.items()) == 2 * (number + 1)
        wait_until(lambda: len(a.items()) == 20)
        assert a.dump() == b.dump()


def test_the_change_log_and_its_number_are_the_same_on_every_machine(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        a.put("one", 1)
        wait_until(lambda: b.sequence.load() == 1)
        a.put("two", 2)
        b.put("three", 3)
        wait_until(lambda: a.sequence.load() == b.sequence.load() == 3)
        for machine in (a, b):
            assert changes_since(machine.database.read, 1) == (3, [("script", "two"), ("script", "three")])


def test_a_work_that_fails_leaves_no_entry_and_its_neighbours_theirs(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    def bad(tx: Transaction) -> None:
        put(tx, "never", 1)
        tx.execute("INSERT INTO parts VALUES ('nobody', 'p', NULL)")

    with Machine(tmp_path, database_address, "a") as a:
        seq = a.status().seq
        with pytest.raises(ConstraintViolated) as caught:
            a.database.write_blocking(bad)
        assert caught.value.kind == "foreign_key"
        assert a.status().seq == seq
        a.put("after", 1)
        assert a.items() == {"after": 1}
        assert a.status().seq == seq + 1


def test_a_rule_that_is_checked_at_commit_keeps_the_entry_out_of_the_log(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    def bad(tx: Transaction) -> None:
        tx.execute("PRAGMA defer_foreign_keys = ON")
        tx.execute("INSERT INTO parts VALUES ('nobody', 'p', NULL)")

    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        with pytest.raises(ConstraintViolated):
            a.database.write_blocking(bad)
        a.put("after", 1)
        wait_until(lambda: b.items() == {"after": 1})
        assert a.dump() == b.dump()


def test_rows_that_a_deleted_one_takes_with_it_go_on_every_machine(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    def fill(tx: Transaction) -> None:
        put(tx, "item", 1)
        tx.execute("INSERT INTO parts VALUES ('item', 'p', 'a'), ('item', 'q', 'b')")

    def swap(tx: Transaction) -> None:
        tx.execute("UPDATE parts SET text = NULL WHERE part = 'p'")
        tx.execute("UPDATE parts SET text = 'a' WHERE part = 'q'")
        tx.execute("UPDATE parts SET text = 'b' WHERE part = 'p'")

    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        a.database.write_blocking(fill)
        b.database.write_blocking(swap)
        wait_until(lambda: a.status().seq == b.status().seq)
        assert a.dump() == b.dump()
        a.database.write_blocking(lambda tx: tx.execute("DELETE FROM items"))
        wait_until(lambda: a.status().seq == b.status().seq)
        assert b.database.read("SELECT count(*) FROM parts") == [(0,)]
        assert a.dump() == b.dump()


def test_writers_on_three_machines_take_turns_and_lose_nothing(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    machines = [Machine(tmp_path, database_address, name) for name in "abc"]
    try:

        def write(machine: Machine, name: str) -> None:
            for number in range(25):
                machine.put(f"{name}{number}", number)
                # The same row from everywhere: the last one in the log is the one that stays.
                machine.put("shared", number)

        threads = [
            threading.Thread(target=write, args=(machine, name))
            for machine, name in zip(machines, "abc", strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len({machine.status().seq for machine in machines}) == 1)
        assert all(len(machine.items()) == 76 for machine in machines)
        first = machines[0].dump()
        assert all(machine.dump() == first for machine in machines)
        assert all(machine.status().conflicts == 0 for machine in machines)
    finally:
        for machine in machines:
            machine.close()


def test_a_folder_with_control_data_founds_the_platform_and_one_without_joins(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    (tmp_path / "a").mkdir()
    alone = Database.open(tmp_path / "a" / "control.db", TABLES)
    alone.write_blocking(lambda tx: put(tx, "before", 1))
    alone.close()
    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        assert a.items() == b.items() == {"before": 1}
        assert b.status().loaded == 1
        assert a.dump() == b.dump()


def test_a_folder_with_control_data_of_its_own_does_not_join(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    with Machine(tmp_path, database_address, "a") as a:
        a.put("theirs", 1)
    (tmp_path / "b").mkdir()
    alone = Database.open(tmp_path / "b" / "control.db", TABLES)
    alone.write_blocking(lambda tx: put(tx, "mine", 1))
    alone.close()
    with pytest.raises(JoinRefused, match="control data of its own"):
        Machine(tmp_path, database_address, "b")
    again = Database.open(tmp_path / "b" / "control.db", TABLES)
    assert again.read("SELECT name FROM items") == [("mine",)]
    again.close()


def test_a_machine_with_another_root_key_does_not_join(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    with (
        Machine(tmp_path, database_address, "a"),
        pytest.raises(JoinRefused, match="root key is not the platform's"),
    ):
        Machine(tmp_path, database_address, "b", root_key="another")


def test_a_replica_is_not_written_without_its_database(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    with Machine(tmp_path, database_address, "a") as a:
        path = a.path
    with pytest.raises(StorageReadOnly, match="--database"):
        Database.open(path, TABLES)


def test_a_folder_of_one_platform_is_refused_by_another(tmp_path: Path, postgres: Cluster) -> None:

    with Machine(tmp_path, postgres.new_database(), "a"):
        pass
    with pytest.raises(JoinRefused, match="belongs to another platform"):
        Machine(tmp_path, postgres.new_database(), "a")
