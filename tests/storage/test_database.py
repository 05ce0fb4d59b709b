"""What was acknowledged is kept, what failed is undone alone, and every failure has a name."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.database import (
    ConstraintViolated,
    Database,
    DiskFull,
    Row,
    SchemaMismatch,
    StorageBusy,
    StorageClosed,
    StorageError,
    StorageLost,
    StorageReadOnly,
    Transaction,
)
from storage.migrations import Migration, Migrations

TABLES = Migrations(
    (
        Migration(
            "test",
            1,
            """CREATE TABLE items (
                   name TEXT PRIMARY KEY, value BLOB NOT NULL DEFAULT x'', n INTEGER CHECK (n > 0)
               );
               CREATE TABLE parts (
                   item TEXT REFERENCES items,
                   later TEXT REFERENCES items DEFERRABLE INITIALLY DEFERRED
               );""",
        ),
    )
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path / "items.db", TABLES, busy_timeout_s=0.1)
    yield database
    database.close()


def insert(name: str, value: bytes = b"") -> Callable[[Transaction], str]:
    def work(tx: Transaction) -> str:
        tx.execute("INSERT INTO items (name, value) VALUES (?, ?)", (name, value))
        return name

    return work


def names(database: Database) -> list[str]:
    return [row[0] for row in database.read("SELECT name FROM items ORDER BY name")]


async def write_in_one_batch(
    database: Database, *works: Callable[[Transaction], object]
) -> list[object | BaseException]:
    """Run the works in one transaction: they are queued while the writer is held up in the batch before."""
    let_go = threading.Event()

    def hold_up(tx: Transaction) -> None:
        let_go.wait()
        time.sleep(0.006)  # longer than a batch may take, so that the next work begins a new one

    async def release() -> None:
        let_go.set()

    results = await asyncio.gather(
        database.write(hold_up), *map(database.write, works), release(), return_exceptions=True
    )
    return results[1:-1]


async def test_write_gives_what_the_work_returned_and_read_sees_it(database: Database) -> None:
    assert await database.write(insert("a", b"1")) == "a"
    assert database.read("SELECT name, value, n FROM items WHERE name = ?", ("a",)) == [("a", b"1", None)]
    assert await database.read_in_thread("SELECT count(*) FROM items") == [(1,)]


async def test_failing_work_is_undone_alone(database: Database) -> None:
    def fails_half_way(tx: Transaction) -> None:
        insert("half")(tx)
        raise LookupError("as the caller wished")

    results = await write_in_one_batch(database, insert("a"), fails_half_way, insert("b"), insert("a"))
    assert results[0] == "a"
    assert isinstance(results[1], LookupError)
    assert results[2] == "b"
    assert isinstance(results[3], ConstraintViolated)
    assert names(database) == ["a", "b"]


async def test_cancelled_write_still_commits(database: Database) -> None:
    let_go = threading.Event()

    def work(tx: Transaction) -> None:
        let_go.wait()
        insert("cancelled")(tx)

    task = asyncio.create_task(database.write(work))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    let_go.set()
    await database.write(insert("next"))
    assert names(database) == ["cancelled", "next"]


async def test_hook_runs_after_commit_and_before_acknowledgement(tmp_path: Path) -> None:
    seen: list[tuple[int, bool]] = []
    acknowledged = False

    def hook(tx: Transaction) -> None:
        seen.append((tx.execute("SELECT count(*) FROM items")[0][0], acknowledged))

    database = Database.open(tmp_path / "items.db", TABLES, on_commit=hook)
    assert seen == [(0, False)]  # once at start
    await database.write(insert("a"))
    acknowledged = True
    assert seen[1:] == [(1, False)]
    database.close()


async def test_failing_hook_does_not_turn_a_committed_write_into_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def hook(tx: Transaction) -> None:
        raise ValueError("hook")

    database = Database.open(tmp_path / "items.db", TABLES, on_commit=hook)
    assert await database.write(insert("a")) == "a"
    assert "hook" in caplog.text
    database.close()


async def test_full_disk_fails_the_work_that_needs_room_and_no_other(database: Database) -> None:
    pages = database.read("PRAGMA page_count")[0][0]
    await database.write(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages + 2}"))
    results = await write_in_one_batch(
        database, insert("a"), insert("large", bytes(1 << 20)), insert("b"), insert("larger", bytes(2 << 20))
    )
    assert results[0] == "a"
    assert isinstance(results[1], DiskFull)
    assert results[2] == "b"
    assert isinstance(results[3], DiskFull)
    assert names(database) == ["a", "b"]
    await database.write(lambda tx: tx.execute("PRAGMA max_page_count = 1000000"))
    await database.write(insert("large", bytes(1 << 20)))  # the same writer, once there is room
    assert names(database) == ["a", "b", "large"]


async def test_work_that_swallows_a_full_disk_does_not_count_as_done(database: Database) -> None:
    pages = database.read("PRAGMA page_count")[0][0]
    await database.write(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages + 2}"))

    def swallows(tx: Transaction) -> None:
        try:
            insert("large", bytes(1 << 20))(tx)
        except DiskFull:
            return

    with pytest.raises(StorageError):
        await database.write(swallows)


async def test_deferred_rule_broken_at_commit_fails_only_whose_it_was(database: Database) -> None:
    def breaks_at_commit(tx: Transaction) -> None:
        tx.execute("INSERT INTO parts (later) VALUES ('nobody')")

    results = await write_in_one_batch(database, insert("a"), breaks_at_commit, insert("b"))
    assert results[0] == "a"
    assert isinstance(results[1], ConstraintViolated)
    assert results[2] == "b"
    assert names(database) == ["a", "b"]


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("INSERT INTO items (name) VALUES ('there')", "unique"),
        ("INSERT INTO items (name, value) VALUES ('x', NULL)", "not_null"),
        ("INSERT INTO items (name, n) VALUES ('x', 0)", "check"),
        ("INSERT INTO parts (item) VALUES ('nobody')", "foreign_key"),
    ],
)
async def test_constraint_has_its_kind(database: Database, sql: str, kind: str) -> None:
    await database.write(insert("there"))
    with pytest.raises(ConstraintViolated) as caught:
        await database.write(lambda tx: tx.execute(sql))
    assert caught.value.kind == kind


async def test_wrong_statement_is_a_storage_error_on_both_ways(database: Database) -> None:
    with pytest.raises(StorageError, match="refused"):
        database.read("SELECT nothing FROM items")
    with pytest.raises(StorageError, match="refused"):
        await database.write(lambda tx: tx.execute("NOT SQL"))


async def test_read_connection_can_not_write(database: Database) -> None:
    with pytest.raises(StorageReadOnly):
        database.read("INSERT INTO items (name) VALUES ('a')")


async def test_transaction_is_dead_after_its_work(database: Database) -> None:
    kept: list[Transaction] = []
    await database.write(kept.append)
    for use in (lambda: kept[0].execute("SELECT 1"), lambda: kept[0].changes()):
        with pytest.raises(StorageError, match="after its work"):
            use()


async def test_changes_counts_the_rows_of_the_last_statement(database: Database) -> None:
    def work(tx: Transaction) -> int:
        tx.execute("INSERT INTO items (name) VALUES ('a'), ('b')")
        return tx.changes()

    assert await database.write(work) == 2


async def test_more_works_than_a_batch_holds_are_all_kept(database: Database) -> None:
    await asyncio.gather(*(database.write(insert(f"{number:04}")) for number in range(1_000)))
    assert len(names(database)) == 1_000


async def test_loop_goes_on_while_the_writer_is_held_up(database: Database) -> None:
    let_go = threading.Event()
    write = asyncio.create_task(database.write(lambda tx: let_go.wait(30)))
    for _ in range(3):
        await asyncio.sleep(0.001)
        assert database.read("SELECT 1") == [(1,)]
    let_go.set()  # only the loop can do this: it was never blocked
    assert await write


def test_threads_read_at_once_each_with_a_connection_of_its_own(database: Database) -> None:
    database.write_blocking(insert("a"))
    results: list[list[Row]] = []
    threads = [
        threading.Thread(
            target=lambda: results.extend(database.read("SELECT name FROM items") for _ in range(200))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[("a",)]] * 800


def test_side_file_held_by_another_is_busy_and_then_works(database: Database, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "items.db.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    for name in ("a", "b"):
        with pytest.raises(StorageBusy):
            database.write_blocking(insert(name))
    assert names(database) == []  # reads don't wait for writers
    os.close(descriptor)
    database.write_blocking(insert("c"))
    assert names(database) == ["c"]


async def test_everybody_who_waits_for_a_held_file_is_told(database: Database, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "items.db.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    results = await asyncio.gather(*(database.write(insert(n)) for n in "abc"), return_exceptions=True)
    os.close(descriptor)
    assert [type(result) for result in results] == [StorageBusy] * 3


def test_data_is_private_to_its_owner(database: Database, tmp_path: Path) -> None:
    database.write_blocking(insert("a"))
    for name in ("items.db", "items.db-wal", "items.db-shm", "items.db.lock"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_every_commit_reaches_the_disk_before_it_returns(database: Database) -> None:
    assert database.write_blocking(lambda tx: tx.execute("PRAGMA synchronous")) == [(2,)]  # 2: FULL
    assert database.read("PRAGMA journal_mode") == [("wal",)]


def test_read_only_database_reads_and_refuses_to_write(database: Database, tmp_path: Path) -> None:
    reader = Database.open(tmp_path / "items.db", TABLES, read_only=True)
    database.write_blocking(insert("a"))
    assert names(reader) == ["a"]
    with pytest.raises(StorageReadOnly):
        reader.write_blocking(insert("b"))
    reader.close()


def test_read_only_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageLost):
        Database.open(tmp_path / "absent.db", TABLES, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_read_only_refuses_an_older_schema(tmp_path: Path) -> None:
    Database.open(tmp_path / "items.db", TABLES).close()
    newer = Migrations((*TABLES.steps, Migration("test", 2, "CREATE TABLE more (id)")))
    with pytest.raises(SchemaMismatch, match="test 2"):
        Database.open(tmp_path / "items.db", newer, read_only=True)


def test_file_that_is_no_database_is_storage_lost(tmp_path: Path) -> None:
    (tmp_path / "items.db").write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(StorageLost):
        Database.open(tmp_path / "items.db", TABLES)


def test_folder_that_is_missing_is_storage_lost(tmp_path: Path) -> None:
    with pytest.raises(StorageLost):
        Database.open(tmp_path / "nowhere" / "items.db", TABLES)


def test_probe_notices_a_removed_and_a_replaced_file(database: Database, tmp_path: Path) -> None:
    database.probe()
    path = tmp_path / "items.db"
    path.rename(tmp_path / "moved.db")
    with pytest.raises(StorageLost):
        database.probe()
    path.write_bytes(b"")
    with pytest.raises(StorageLost, match="replaced"):
        database.probe()


async def test_closed_database_says_so_and_keeps_what_was_submitted(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "items.db", TABLES)
    writes = [asyncio.create_task(database.write(insert(name))) for name in "abc"]
    await asyncio.sleep(0)
    database.close()
    database.close()
    assert await asyncio.gather(*writes) == ["a", "b", "c"]
    with pytest.raises(StorageClosed):
        await database.write(insert("d"))
    with pytest.raises(StorageClosed):
        database.read("SELECT 1")
    with pytest.raises(StorageClosed):
        await database.read_in_thread("SELECT 1")


def test_errors_show_no_path_but_keep_it_for_the_operator(database: Database, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        database.read("SELECT nothing")
    assert str(tmp_path) not in str(caught.value)
    assert str(tmp_path) in caught.value.detail


async def test_log_file_stays_small_however_much_is_written(database: Database, tmp_path: Path) -> None:
    for number in range(300):
        await database.write(insert(str(number), bytes(100_000)))
        database.read("SELECT count(*) FROM items")
    assert (tmp_path / "items.db-wal").stat().st_size < 10_000_000  # of 30 MB: it is copied back on the way
