"""Whatever is interrupted, and where: nothing that was acknowledged is lost, nothing that was refused appears,
and the machines end equal.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage.database import Database, StorageError, StorageLost
from storage.failures import WriteUncertain
from storage.postgres.address import DatabaseAddress
from tests.storage.children import ROOT
from tests.storage.replication.machines import TABLES, Machine, put
from tests.support.postgres import Cluster
from tests.support.postgres_proxy import PostgresProxy
from tests.support.waiting import PATIENCE_S, wait_until


@pytest.fixture
def proxy(database_address: DatabaseAddress) -> Iterator[PostgresProxy]:
    found = PostgresProxy(database_address)
    yield found
    found.close()


def test_a_machine_without_the_database_serves_and_refuses_changes_at_once(
    tmp_path: Path, database_address: DatabaseAddress, proxy: PostgresProxy
) -> None:
    with Machine(tmp_path, proxy.address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        a.put("before", 1)
        proxy.go_away()
        began = time.monotonic()
        with pytest.raises(StorageLost, match="go"):
            a.put("during", 1)
        assert time.monotonic() - began < 15, (
            "it is refused at once, not after the time limits of a statement"
        )
        assert a.items() == {"before": 1}
        wait_until(lambda: a.status().away_s is not None)
        b.put("meanwhile", 2)
        wait_until(lambda: not a.status().current)
        proxy.come_back()
        wait_until(lambda: a.items() == {"before": 1, "meanwhile": 2})
        wait_until(lambda: a.status().current)
        a.put("after", 3)
        wait_until(lambda: b.items() == {"before": 1, "meanwhile": 2, "after": 3})
        assert a.dump() == b.dump()


def test_a_machine_starts_without_the_database_and_catches_up_when_it_is_back(
    tmp_path: Path, database_address: DatabaseAddress, proxy: PostgresProxy
) -> None:
    with Machine(tmp_path, proxy.address, "a") as a:
        a.put("before", 1)
    proxy.go_away()
    with Machine(tmp_path, proxy.address, "a") as a:
        assert a.items() == {"before": 1}
        with pytest.raises(StorageLost):
            a.put("during", 1)
        with Machine(tmp_path, database_address, "b") as b:
            b.put("meanwhile", 2)
        proxy.come_back()
        wait_until(lambda: a.items() == {"before": 1, "meanwhile": 2})
        a.put("after", 3)


def test_the_first_start_says_that_it_needs_the_database(tmp_path: Path, proxy: PostgresProxy) -> None:
    proxy.go_away()
    with pytest.raises(StorageLost, match="first start needs the database"):
        Machine(tmp_path, proxy.address, "a")


def test_a_commit_that_was_made_is_found_though_its_answer_was_lost(
    tmp_path: Path, database_address: DatabaseAddress, proxy: PostgresProxy
) -> None:
    with Machine(tmp_path, proxy.address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        a.put("before", 1)
        seq = a.status().seq
        proxy.lose_after = 1
        a.put("lost answer", 2)
        assert proxy.lost.is_set()
        assert a.items() == {"before": 1, "lost answer": 2}
        assert a.status().seq == seq + 1  # once, not twice
        wait_until(lambda: b.status().seq == seq + 1)
        assert a.dump() == b.dump()


def test_a_commit_that_was_not_made_is_refused_and_leaves_nothing(
    tmp_path: Path, database_address: DatabaseAddress, proxy: PostgresProxy
) -> None:
    with Machine(tmp_path, proxy.address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        a.put("before", 1)
        proxy.lose_before = 1
        with pytest.raises(StorageLost, match="nothing was changed") as caught:
            a.put("lost", 2)
        assert not isinstance(caught.value, WriteUncertain)
        assert a.items() == {"before": 1}
        a.put("after", 3)
        wait_until(lambda: b.items() == {"before": 1, "after": 3})
        assert a.dump() == b.dump()


@pytest.mark.parametrize("made", [True, False])
def test_a_commit_of_which_nothing_can_be_learnt_is_said_to_be_uncertain_and_the_log_decides(
    tmp_path: Path,
    database_address: DatabaseAddress,
    proxy: PostgresProxy,
    monkeypatch: pytest.MonkeyPatch,
    made: bool,
) -> None:
    monkeypatch.setattr("storage.replication.log.SETTLE_S", 0.5)
    with Machine(tmp_path, proxy.address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        a.put("before", 1)
        proxy.then_away = True
        if made:
            proxy.lose_after = 1
        else:
            proxy.lose_before = 1
        with pytest.raises(WriteUncertain, match="may have been made"):
            a.put("who knows", 2)
        assert a.items() == {"before": 1}
        proxy.then_away = False
        proxy.come_back()
        expected = {"before": 1, **({"who knows": 2} if made else {})}
        wait_until(lambda: a.status().current)
        wait_until(lambda: a.items() == b.items() == expected)
        assert a.dump() == b.dump()


def test_connections_that_are_cut_again_and_again_lose_and_double_nothing(
    tmp_path: Path, database_address: DatabaseAddress, proxy: PostgresProxy
) -> None:
    done = threading.Event()
    acknowledged: list[str] = []
    refused: list[str] = []

    def cut() -> None:
        pause_s, before = 0.07, 0
        while not done.wait(pause_s):
            proxy.cut()
            if len(acknowledged) == before:  # on a busy machine nothing is done in so short a time
                pause_s *= 1.5
            before = len(acknowledged)

    with Machine(tmp_path, proxy.address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        cutter = threading.Thread(target=cut)
        cutter.start()
        ends_at = time.monotonic() + PATIENCE_S
        try:
            for number in itertools.count():
                if time.monotonic() > ends_at or (number >= 80 and len(acknowledged) >= 20):
                    break
                try:
                    a.put(f"n{number}", number)
                    acknowledged.append(f"n{number}")
                except WriteUncertain:
                    pass
                except StorageError:
                    refused.append(f"n{number}")
                    time.sleep(0.01)
        finally:
            done.set()
            cutter.join()
        wait_until(lambda: a.status().current)
        wait_until(lambda: a.status().seq == b.status().seq)
        assert len(acknowledged) >= 20
        assert set(acknowledged) <= set(b.items())
        assert not set(refused) & set(b.items())
        assert a.dump() == b.dump()
        assert a.status().conflicts == 0


def test_a_database_that_crashes_in_the_middle_keeps_what_was_acknowledged(
    tmp_path: Path, own_postgres: Cluster
) -> None:
    address = own_postgres.new_database()
    with Machine(tmp_path, address, "a") as a, Machine(tmp_path, address, "b") as b:
        acknowledged: list[str] = []
        done = threading.Event()

        def write() -> None:
            number = 0
            while not done.is_set():
                try:
                    a.put(f"n{number}", number)
                    acknowledged.append(f"n{number}")
                except StorageError:
                    time.sleep(0.02)
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(3):
                count = len(acknowledged)
                wait_until(lambda count=count: len(acknowledged) > count + 10)  # type: ignore[misc]
                own_postgres.restart(signal.SIGQUIT)
            count = len(acknowledged)
            wait_until(lambda: len(acknowledged) > count + 10)
        finally:
            done.set()
            writer.join()
        wait_until(lambda: a.status().current and b.status().seq == a.status().seq)
        assert set(acknowledged) <= set(b.items())
        assert a.dump() == b.dump()
        assert a.status().conflicts == b.status().conflicts == 0


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, database_address: DatabaseAddress) -> Iterator[Start]:
    """Starts a machine that is a process of its own; none outlives the test."""
    with ExitStack() as stack:

        def start(name: str, *more: object) -> subprocess.Popen[str]:
            where = (tmp_path, database_address.port, database_address.database)
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-u",
                    "-m",
                    "tests.storage.replication.children",
                    name,
                    *map(str, (*where, *more)),
                ],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(child)
            stack.callback(child.kill)
            return child

        yield start


def _line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_a_machine_that_dies_between_the_log_and_its_file_has_the_entry_at_its_next_start(
    tmp_path: Path, database_address: DatabaseAddress, start: Start
) -> None:
    child = start("die_before_local_commit")
    assert _line(child) == "armed"
    assert child.wait(60) == -signal.SIGKILL
    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        assert a.items() == {"acknowledged": 1, "in the log": 2}
        assert a.status().applied == 1
        assert a.status().loaded == 0
        assert a.sequence.load() == 2
        assert a.dump() == b.dump()


def test_a_machine_that_dies_before_the_log_has_it_leaves_nothing(
    tmp_path: Path, database_address: DatabaseAddress, start: Start
) -> None:
    child = start("die_before_log_commit")
    assert _line(child) == "armed"
    assert child.wait(60) == -signal.SIGKILL
    with Machine(tmp_path, database_address, "b") as b:
        # Its transaction ends with its connection: nobody waits for a turn that a dead machine holds.
        b.put("next", 3)
        assert b.items() == {"acknowledged": 1, "next": 3}
        with Machine(tmp_path, database_address, "a") as a:
            assert a.dump() == b.dump()


def test_a_machine_that_hangs_in_its_turn_holds_others_up_for_a_while_only(
    tmp_path: Path, database_address: DatabaseAddress, start: Start
) -> None:
    child = start("hang_in_turn")
    assert _line(child) == "hangs"
    child.send_signal(signal.SIGSTOP)
    try:
        with Machine(tmp_path, database_address, "b") as b:

            def written() -> bool:
                try:
                    b.put("next", 3)
                except StorageError:
                    return False
                return True

            wait_until(written)
            assert b.items() == {"next": 3}
    finally:
        child.send_signal(signal.SIGCONT)
    assert child.stdin is not None
    child.stdin.close()
    # Its transaction was ended for it: it says so, and has changed nothing.
    assert _line(child) == "StorageLost"
    assert child.wait(60) == 0
    with Machine(tmp_path, database_address, "a") as a:
        assert a.items() == {"next": 3}


def test_everything_acknowledged_survives_kills_of_machines_that_write(
    tmp_path: Path, database_address: DatabaseAddress, start: Start
) -> None:
    acknowledged: list[str] = []
    for round_number in range(4):
        children = [start("write", name, f"{name}{round_number}-") for name in "ab"]
        lines: list[list[str]] = [[], []]

        def collect(child: subprocess.Popen[str], into: list[str]) -> None:
            assert child.stdout is not None
            for line in child.stdout:
                if line.endswith("\n"):
                    into.append(line.strip())

        threads = [threading.Thread(target=collect, args=pair) for pair in zip(children, lines, strict=True)]
        for thread in threads:
            thread.start()
        wait_until(lambda lines=lines: all(len(found) > 15 for found in lines), 60)  # type: ignore[misc]
        for child in children:
            child.kill()
            child.wait()
        for thread in threads:
            thread.join()
        acknowledged += [name for found in lines for name in found]
    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        assert set(acknowledged) <= set(a.items())
        wait_until(lambda: a.status().seq == b.status().seq)
        assert a.dump() == b.dump()
        assert a.status().loaded == b.status().loaded == 0


@pytest.mark.parametrize(
    "cut_at", ["storage.replication.log.ReplicationLog.found", "storage.replication.replica.Replica.within"]
)
def test_a_founding_that_was_cut_short_goes_on_at_the_next_start(
    tmp_path: Path, database_address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch, cut_at: str
) -> None:
    """Before the log has begun, or after it and before the file knows."""
    (tmp_path / "a").mkdir()
    alone = Database.open(tmp_path / "a" / "control.db", TABLES)
    alone.write_blocking(lambda tx: put(tx, "before", 1))
    alone.close()

    def cut(*_: object) -> None:
        raise RuntimeError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(cut_at, cut)
        with pytest.raises(RuntimeError, match="cut"):
            Machine(tmp_path, database_address, "a")
    with Machine(tmp_path, database_address, "a") as a, Machine(tmp_path, database_address, "b") as b:
        assert a.items() == b.items() == {"before": 1}
        assert a.status().loaded == 0
        assert a.dump() == b.dump()
