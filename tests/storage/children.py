"""What the tests run as processes of their own: `python -m tests.storage.children NAME ARGUMENTS…`."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from pathlib import Path

from storage.changes import ChangeSequence, record_change, store_sequence
from storage.database import Database, StorageError
from storage.migrations import Migration, Migrations
from storage.transaction import Transaction

ROOT = Path(__file__).parents[2]
TABLES = Migrations(
    (Migration("test", 1, "CREATE TABLE pairs (id TEXT, half INTEGER, PRIMARY KEY (id, half))"),)
)


def start(name: str, *arguments: object) -> subprocess.Popen[str]:
    """The child `name`, with its stdout and stdin as text pipes."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.storage.children", name, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def insert_pair(tx: Transaction, name: str) -> None:
    tx.execute("INSERT INTO pairs VALUES (?, 1)", (name,))
    tx.execute("INSERT INTO pairs VALUES (?, 2)", (name,))


def write_pairs(path: str, prefix: str) -> None:
    """Write pairs for ever, several at a time, and print each name once it was acknowledged."""
    database = Database.open(Path(path), TABLES)

    async def lane(lane: int) -> None:
        number = 0
        while True:
            name = f"{prefix}-{lane}-{number}"
            await database.write(lambda tx, name=name: insert_pair(tx, name))  # type: ignore[misc]
            os.write(1, f"{name}\n".encode())
            number += 1

    async def lanes() -> None:
        await asyncio.gather(*(lane(number) for number in range(4)))

    asyncio.run(lanes())


def write_one(path: str, name: str) -> None:
    database = Database.open(Path(path), TABLES)
    database.write_blocking(lambda tx: insert_pair(tx, name))
    database.close()


def hold_transaction(path: str) -> None:
    """Keep SQLite's own write lock, without the side file, until stdin ends."""
    import sqlite3

    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("held")
    sys.stdin.read()
    connection.execute("ROLLBACK")


def commit_fails_then_works(path: str) -> None:
    """A COMMIT meets a file that may not grow (EFBIG), and later one that may."""
    database = Database.open(Path(path), TABLES)
    database.write_blocking(lambda tx: insert_pair(tx, "before"))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    size = Path(path + "-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    async def both() -> tuple[object, object]:
        return await asyncio.gather(
            database.write(lambda tx: insert_pair(tx, "a")),
            database.write(lambda tx: insert_pair(tx, "b")),
            return_exceptions=True,
        )

    for result in asyncio.run(both()):
        print(type(result).__name__)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    database.write_blocking(lambda tx: insert_pair(tx, "after"))
    print(*sorted({row[0] for row in database.read("SELECT id FROM pairs")}))
    database.close()


def write_without_permission(path: str) -> None:
    """Open and write as somebody who may only read the file (root may do anything)."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        Database.open(Path(path), TABLES)
    except StorageError as error:
        print(type(error).__name__)


def commit_and_die(path: str, sequence_path: str) -> None:
    """Die between COMMIT and the store of the sequence, under the lock."""
    sequence = ChangeSequence(Path(sequence_path))
    armed = False

    def hook(tx: Transaction) -> None:
        if armed:
            os.kill(os.getpid(), 9)
        store_sequence(tx, sequence)

    database = Database.open(Path(path), Migrations.load("changes"), on_commit=hook)
    database.write_blocking(lambda tx: record_change(tx, "script", "acknowledged"))
    armed = True
    print("armed")
    database.write_blocking(lambda tx: record_change(tx, "script", "committed"))


def record_changes(path: str, sequence_path: str, count: str) -> None:
    sequence = ChangeSequence(Path(sequence_path))
    database = Database.open(
        Path(path), Migrations.load("changes"), on_commit=lambda tx: store_sequence(tx, sequence)
    )
    for number in range(int(count)):
        newest = database.write_blocking(lambda tx, n=number: record_change(tx, "script", str(n)))  # type: ignore[misc]
        # Read-your-writes: whoever was acknowledged finds at least its own number in the file.
        assert sequence.load() >= newest
    database.close()


def stop_in_transaction(path: str) -> None:
    """Hold both locks inside a work until stdin ends."""
    database = Database.open(Path(path), TABLES)

    def work(tx: Transaction) -> None:
        insert_pair(tx, "slow")
        print("held")
        sys.stdin.read()

    database.write_blocking(work)
    database.close()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
