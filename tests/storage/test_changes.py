"""Whoever caches something learns of its change: at once, or within a second after a writer was killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.changes import ChangeSequence, changes_since, newest, prune, record_change, store_sequence
from storage.database import Database, StorageLost
from storage.migrations import Migrations
from storage.transaction import Transaction
from tests.storage import children


@pytest.fixture
def sequence(tmp_path: Path) -> Iterator[ChangeSequence]:
    sequence = ChangeSequence(tmp_path / "changes.seq")
    yield sequence
    sequence.close()


@pytest.fixture
def database(tmp_path: Path, sequence: ChangeSequence) -> Iterator[Database]:
    database = open_log(tmp_path, sequence)
    yield database
    database.close()


def open_log(folder: Path, sequence: ChangeSequence) -> Database:
    return Database.open(
        folder / "control.db", Migrations.load("changes"), on_commit=lambda tx: store_sequence(tx, sequence)
    )


def change(database: Database, *keys: str, kind: str = "script") -> None:
    database.write_blocking(lambda tx: [record_change(tx, kind, key) for key in keys])


async def test_sequence_is_stored_before_a_change_is_acknowledged(
    database: Database, sequence: ChangeSequence
) -> None:
    for expected in (1, 2, 3):
        assert await database.write(lambda tx: record_change(tx, "route", "a.example")) == expected
        assert sequence.load() == expected


async def test_sequence_is_seen_through_another_mapping(database: Database, tmp_path: Path) -> None:
    other = ChangeSequence(tmp_path / "changes.seq")
    await database.write(lambda tx: record_change(tx, "route", "a.example"))
    assert other.load() == 1
    other.close()


def test_sequence_file_is_eight_little_endian_bytes_of_mode_0600(
    database: Database, sequence: ChangeSequence, tmp_path: Path
) -> None:
    change(database, "a", "b")
    path = tmp_path / "changes.seq"
    assert path.read_bytes() == (2).to_bytes(8, "little")
    assert path.stat().st_mode & 0o777 == 0o600


def test_changes_since_lists_each_key_once_and_only_later_ones(database: Database) -> None:
    change(database, "a", "b", "a", "c")
    assert changes_since(database.read, 0) == (4, [("script", "a"), ("script", "b"), ("script", "c")])
    assert changes_since(database.read, 2) == (4, [("script", "a"), ("script", "c")])
    assert changes_since(database.read, 3) == (4, [("script", "c")])
    assert changes_since(database.read, 4) == (4, [])


def test_empty_log_has_no_changes_since_zero(database: Database) -> None:
    assert changes_since(database.read, 0) == (0, [])


def test_number_from_the_future_means_drop_everything(database: Database) -> None:
    change(database, "a")
    assert changes_since(database.read, 2) == (1, None)


def test_more_changes_than_the_limit_mean_drop_everything(database: Database) -> None:
    change(database, "a", "b", "c")
    assert changes_since(database.read, 1, limit=2) == (3, [("script", "b"), ("script", "c")])
    assert changes_since(database.read, 0, limit=2) == (3, None)


def test_reader_older_than_the_pruned_log_drops_everything(database: Database) -> None:
    change(database, *"abcdefghij")
    assert database.write_blocking(lambda tx: prune(tx, 3)) == 7
    assert changes_since(database.read, 8) == (10, [("script", "i"), ("script", "j")])  # the oldest kept
    assert changes_since(database.read, 7) == (10, None)  # its own row is gone: so may others be
    assert changes_since(database.read, 0) == (10, None)


def test_pruning_keeps_the_newest_row_and_numbers_go_on(database: Database, sequence: ChangeSequence) -> None:
    change(database, "a", "b")
    database.write_blocking(lambda tx: prune(tx, 0))
    assert newest(database.read) == 2
    change(database, "c")
    assert sequence.load() == 3


def test_log_prunes_itself(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.changes.PRUNE_EVERY", 10)
    monkeypatch.setattr("storage.changes.KEEP_ROWS", 20)
    change(database, *map(str, range(100)))
    assert database.read("SELECT count(*), max(seq) FROM changes") == [(20, 100)]


def test_change_undone_with_its_work_is_not_in_the_log(database: Database, sequence: ChangeSequence) -> None:
    def work(tx: Transaction) -> None:
        record_change(tx, "script", "undone")
        raise LookupError

    with pytest.raises(LookupError):
        database.write_blocking(work)
    change(database, "kept")
    assert changes_since(database.read, 0) == (1, [("script", "kept")])
    assert sequence.load() == 1


def test_kill_between_commit_and_store_leaves_nobody_stale(
    database: Database, sequence: ChangeSequence, tmp_path: Path
) -> None:
    child = children.start("commit_and_die", database.path, tmp_path / "changes.seq")
    assert child.communicate()[0] == "armed\n"
    assert child.returncode == -9
    # What was killed is committed, and the file does not say so: a reader that only looks there is stale.
    assert newest(database.read) == 2
    assert sequence.load() == 1
    # 1. A running reader finds out by its look into the log, once a second.
    assert sequence.check(database.read)
    assert sequence.load() == 2
    assert changes_since(database.read, 1) == (2, [("script", "committed")])
    assert not sequence.check(database.read)
    # 2. The next writer of any process stores the log's number, not its own idea of it.
    other = ChangeSequence(tmp_path / "changes.seq")
    assert other.load() == 1
    change(database, "next")
    assert other.load() == sequence.load() == 3
    other.close()


def test_start_after_a_kill_between_commit_and_store_stores_again(tmp_path: Path) -> None:
    child = children.start("commit_and_die", tmp_path / "control.db", tmp_path / "changes.seq")
    assert child.communicate()[0] == "armed\n"
    reader = ChangeSequence(tmp_path / "changes.seq")
    assert reader.load() == 1
    open_log(tmp_path, reader).close()
    assert (tmp_path / "changes.seq").read_bytes() == (2).to_bytes(8, "little")
    reader.close()


def test_sequence_is_never_behind_what_any_of_several_writers_acknowledged(
    database: Database, sequence: ChangeSequence, tmp_path: Path
) -> None:
    writers = [
        children.start("record_changes", database.path, tmp_path / "changes.seq", 100) for _ in range(3)
    ]
    seen = 0
    while any(writer.poll() is None for writer in writers):
        value = sequence.load()
        assert value >= seen  # it never goes back
        seen = value
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert sequence.load() == newest(database.read) == 300


def test_folder_that_is_missing_is_storage_lost(tmp_path: Path) -> None:
    with pytest.raises(StorageLost):
        ChangeSequence(tmp_path / "nowhere" / "changes.seq")
