"""Several processes share one file: none starves, none sees less than another, and none loses by a kill."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from subprocess import Popen

import pytest

from storage.database import Database, StorageBusy
from tests.storage import children


def assert_line(child: Popen[str], line: str) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == line + "\n"


def test_everything_acknowledged_survives_kill_9_of_several_writers(tmp_path: Path) -> None:
    path = tmp_path / "pairs.db"
    acknowledged: dict[int, list[str]] = {}
    enough = threading.Semaphore(0)

    def collect(number: int, child: Popen[str]) -> None:
        assert child.stdout is not None
        lines = acknowledged[number] = []
        for line in child.stdout:
            if line.endswith("\n"):  # a line that the kill cut off was not said
                lines.append(line.strip())
            if len(lines) == 200:
                enough.release()

    writers = [children.start("write_pairs", path, f"p{number}") for number in range(3)]
    threads = [threading.Thread(target=collect, args=pair) for pair in enumerate(writers)]
    for thread in threads:
        thread.start()
    try:
        for _ in writers:
            assert enough.acquire(timeout=60)  # each has written 200: nobody starves
    finally:
        for writer in writers:  # one after the other, in mid-work
            writer.kill()
            time.sleep(0.05)
        for writer, thread in zip(writers, threads, strict=True):
            thread.join()
            writer.communicate()
    database = Database.open(path, children.TABLES)
    halves: dict[str, int] = dict(database.read("SELECT id, count(*) FROM pairs GROUP BY id"))
    assert [name for names in acknowledged.values() for name in names if halves.get(name) != 2] == []
    assert set(halves.values()) == {2}  # what was not acknowledged is there whole or not at all
    database.write_blocking(lambda tx: children.insert_pair(tx, "goes on"))
    assert database.read("PRAGMA integrity_check") == [("ok",)]
    database.close()


def test_old_connection_sees_what_another_process_committed(tmp_path: Path) -> None:
    path = tmp_path / "pairs.db"
    database = Database.open(path, children.TABLES)
    assert database.read("SELECT count(*) FROM pairs") == [(0,)]
    for expected in (2, 4):
        child = children.start("write_one", path, str(expected))
        child.communicate()
        assert child.returncode == 0
        assert database.read("SELECT count(*) FROM pairs") == [(expected,)]
    database.close()


def test_foreign_transaction_makes_writes_busy_and_leaves_reads_alone(tmp_path: Path) -> None:
    path = tmp_path / "pairs.db"
    database = Database.open(path, children.TABLES, busy_timeout_s=0.1)
    child = children.start("hold_transaction", path)
    assert_line(child, "held")
    with pytest.raises(StorageBusy):
        database.write_blocking(lambda tx: children.insert_pair(tx, "a"))
    assert database.read("SELECT count(*) FROM pairs") == [(0,)]
    child.communicate()
    database.write_blocking(lambda tx: children.insert_pair(tx, "b"))
    assert database.read("SELECT DISTINCT id FROM pairs") == [("b",)]
    database.close()


def test_stopped_process_in_a_transaction_makes_writes_busy_until_it_dies(tmp_path: Path) -> None:
    path = tmp_path / "pairs.db"
    database = Database.open(path, children.TABLES, busy_timeout_s=0.1)
    child = children.start("stop_in_transaction", path)
    assert_line(child, "held")
    child.send_signal(signal.SIGSTOP)
    with pytest.raises(StorageBusy):
        database.write_blocking(lambda tx: children.insert_pair(tx, "a"))
    child.kill()
    child.communicate()
    database.write_blocking(lambda tx: children.insert_pair(tx, "b"))
    assert database.read("SELECT DISTINCT id FROM pairs") == [("b",)]
    database.close()


def test_commit_that_fails_fails_its_whole_batch_and_the_writer_goes_on(tmp_path: Path) -> None:
    child = children.start("commit_fails_then_works", tmp_path / "pairs.db")
    lines = child.communicate()[0].splitlines()
    assert child.returncode == 0
    assert lines == ["StorageLost", "StorageLost", "after before"]


def test_file_without_write_permission_is_named(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())  # tmp_path is closed to others, and root may write anything
    try:
        path = folder / "pairs.db"
        Database.open(path, children.TABLES).close()
        os.chmod(path, 0o444)
        os.chmod(folder, 0o555)  # noqa: S103 - for the child, which is somebody else
        child = children.start("write_without_permission", path)
        assert child.communicate()[0] == "StorageReadOnly\n"
    finally:
        os.chmod(folder, 0o700)
        shutil.rmtree(folder)
