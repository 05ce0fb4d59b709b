"""A machine: a data folder, a thread to PostgreSQL, and one replicated file."""

from __future__ import annotations

from pathlib import Path

import apsw

from storage.changes import ChangeSequence, record_change, store_sequence
from storage.database import Database
from storage.migrations import Migration, Migrations
from storage.postgres.address import DatabaseAddress
from storage.replication.log import ReplicationLog
from storage.replication.postgres_thread import PostgresThread
from storage.replication.replica import Replica
from storage.replication.replicated_file import ReplicatedFile
from storage.replication.status import ReplicaStatus
from storage.transaction import Transaction

ITEMS = Migration(
    "items",
    1,
    """
    CREATE TABLE items (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE parts (
        item TEXT NOT NULL REFERENCES items (name) ON DELETE CASCADE,
        part TEXT NOT NULL,
        text TEXT UNIQUE,
        PRIMARY KEY (item, part)
    );
    """,
)
TABLES = Migrations((*Migrations.load("changes").steps, ITEMS))


class Machine:
    """`name` is its id, and its folder's."""

    def __init__(
        self,
        folder: Path,
        address: DatabaseAddress,
        name: str,
        *,
        migrations: Migrations = TABLES,
        root_key: str = "key",
        follows: bool = True,
        snapshot_every: int = 1_000,
        file: str = "control",
    ) -> None:
        self.folder = folder / name
        self.folder.mkdir(exist_ok=True)
        self.path = self.folder / f"{file}.db"
        self.sequence = ChangeSequence(self.folder / "changes.seq")
        self.applied = self.loaded = 0
        self.thread = PostgresThread(address)
        self.log = ReplicationLog(self.thread, name)
        self.replica = Replica(
            self.log, file, [root_key], on_applied=self._count_applied, on_loaded=self._count_loaded
        )
        self.file = ReplicatedFile(self.replica, follows=follows, snapshot_every=snapshot_every)
        try:
            self.database = Database.open(
                self.path,
                migrations,
                busy_timeout_s=5.0,
                on_commit=lambda tx: store_sequence(tx, self.sequence),
                replication=self.file,
            )
        except BaseException:
            self.thread.close()
            self.sequence.close()
            raise

    def status(self) -> ReplicaStatus:
        return self.file.status()

    def put(self, name: str, value: int) -> None:
        self.database.write_blocking(lambda tx: put(tx, name, value))

    def items(self) -> dict[str, int]:
        return {row[0]: row[1] for row in self.database.read("SELECT name, value FROM items")}

    def follow(self) -> None:
        """For a machine that does not follow by itself."""
        self.database.write_blocking(lambda tx: None)

    def dump(self) -> list[str]:
        return dump(self.path)

    def close(self) -> None:
        self.database.close()
        self.thread.close()
        self.sequence.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _count_applied(self) -> None:
        self.applied += 1

    def _count_loaded(self) -> None:
        self.loaded += 1


def put(tx: Transaction, name: str, value: int) -> None:
    tx.execute("INSERT OR REPLACE INTO items VALUES (?, ?)", (name, value))
    record_change(tx, "script", name)


def dump(path: Path) -> list[str]:
    """Every row of every table, what the replica says of itself included."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        lines = []
        tables = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
        for name, sql in tables:
            lines.append(f"{name}: {sql}")
            if sql and str(sql).lstrip().startswith("CREATE TABLE"):
                lines += sorted(repr(row) for row in connection.execute(f'SELECT * FROM "{name}"'))  # noqa: S608
        return lines
    finally:
        connection.close()
