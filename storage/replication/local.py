"""One machine's file: what it says of itself, recording what is written, applying what others wrote, snapshots.

Everything here works on the writer's connection, and by whoever holds the file's lock.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

import apsw

from storage.failures import StorageError, from_os_error
from storage.migrations import Migrations
from storage.replication.entries import Diverged, LocalState, Step, find_step
from storage.replication.log import MAX_SNAPSHOT, Snapshot
from storage.sqlite_engine import connect, translate

#: Each machine has its own of these: they are never recorded.
LOCAL_TABLES: Final = frozenset({"replication", "schema_migrations"})

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS replication (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    platform TEXT NOT NULL,
    joined INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    chain BLOB NOT NULL,
    skipped TEXT NOT NULL
)
"""
_HAS_TABLE: Final = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'replication'"
_STATE: Final = "SELECT platform, joined, seq, chain, skipped FROM replication"
_TABLES: Final = (
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
)
_BLOCK: Final = 1 << 20


def read_state(connection: apsw.Connection) -> LocalState | None:
    """None in a file that never was a replica."""
    if not connection.execute(_HAS_TABLE).fetchall():
        return None
    rows = connection.execute(_STATE).fetchall()
    if not rows:
        return None
    platform, joined, seq, chain, skipped = cast("tuple[Any, ...]", rows[0])
    steps = tuple(Step(**step) for step in json.loads(skipped))
    return LocalState(platform, bool(joined), seq, chain, steps)


def write_state(connection: apsw.Connection, state: LocalState) -> None:
    """In the transaction that is open."""
    connection.execute(_TABLE)
    skipped = json.dumps([asdict(step) for step in state.skipped])
    connection.execute(
        "INSERT OR REPLACE INTO replication VALUES (1, ?, ?, ?, ?, ?)",
        (state.platform, state.joined, state.seq, state.chain, skipped),
    )


def applied_steps(connection: apsw.Connection) -> list[tuple[str, int, str]]:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'").fetchall():
        return []
    found = connection.execute("SELECT stream, number, sha256 FROM schema_migrations").fetchall()
    return cast("list[tuple[str, int, str]]", found)


def has_data(connection: apsw.Connection) -> bool:
    """Whether a row is in any table that machines share."""
    tables = [name for (name,) in connection.execute(_TABLES) if name not in LOCAL_TABLES]
    return any(connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchall() for name in tables)  # noqa: S608


def record(connection: apsw.Connection) -> apsw.Session:
    """From now on, until it is closed, it collects what is written to the tables that machines share."""
    session = apsw.Session(connection, "main")
    session.table_filter(lambda name: name not in LOCAL_TABLES)
    session.attach()
    return session


def apply_changes(connection: apsw.Connection, changeset: bytes, *, lacks_tables: bool) -> None:
    """In the transaction that is open. Raises Diverged when a row is not as whoever wrote it found it.

    `lacks_tables`: steps were passed over here, and changes to their tables are, too.
    """
    columns = {
        name: len(connection.execute(f'PRAGMA table_info("{name}")').fetchall())
        for (name,) in connection.execute(_TABLES).fetchall()
    }
    # SQLite itself leaves out what doesn't fit a table, and says nothing.
    for name, count in {(change.name, change.column_count) for change in apsw.Changeset.iter(changeset)}:
        if name in LOCAL_TABLES:
            raise Diverged(f"a changeset speaks of table {name}, which every machine has for itself")
        if name not in columns:
            if not lacks_tables:
                raise Diverged(f"a changeset speaks of table {name}, which is not here")
        elif columns[name] != count:
            raise Diverged(f"a changeset has {count} columns of table {name}; there are {columns[name]} here")
    found: list[str] = []

    def conflict(reason: int, change: apsw.TableChange) -> int:
        found.append(f"{apsw.mapping_session_conflict[reason]} in table {change.name}: {change.op}")
        return apsw.SQLITE_CHANGESET_ABORT

    try:
        apsw.Changeset.apply(
            changeset,
            connection,
            filter=lambda name: name in columns,
            conflict=conflict,
            # What a deleted row took with it is in the changeset by itself.
            flags=apsw.SQLITE_CHANGESETAPPLY_FKNOACTION,
        )
    except (apsw.AbortError, apsw.CorruptError) as error:
        raise Diverged(
            "a changeset does not fit what is here", detail=", ".join(found) or str(error)
        ) from error


def apply_step(connection: apsw.Connection, step: Step, migrations: Migrations) -> bool:
    """In the transaction that is open; False when it is passed over. Raises ReplicaBehind, Diverged."""
    migration = find_step(step, migrations)
    if migration is None:
        return False
    if (step.stream, step.number, step.sha256) in applied_steps(connection):
        raise Diverged(f"migration {step} was run here already")
    connection.execute(migration.sql).fetchall()
    connection.execute(
        "INSERT INTO schema_migrations VALUES (?, ?, ?)", (step.stream, step.number, step.sha256)
    )
    return True


def take_snapshot(path: Path) -> tuple[LocalState, Snapshot]:
    """The file at one moment, while others write to it. Raises StorageError."""
    scratch = path.with_name(path.name + ".snapshot")
    with _files_removed(scratch):
        copy_file(path, scratch)
        copy = _open_scratch(scratch)
        try:
            state = read_state(copy)
        finally:
            copy.close()
        if state is None:
            raise StorageError("a file that is no replica has no snapshot", detail=str(path))
        return state, Snapshot(state.seq, _pack(scratch))


def load_snapshot(connection: apsw.Connection, path: Path, snapshot: Snapshot) -> LocalState:
    """Make the file at `path`, whose writer `connection` is, what the snapshot is: whole or not at all, under the
    eyes of its readers. Raises StorageError subclasses.
    """
    scratch = path.with_name(path.name + ".loading")
    with _files_removed(scratch):
        _unpack(snapshot.data, scratch)
        source = _open_scratch(scratch)
        try:
            if source.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
                raise Diverged(f"the snapshot at entry {snapshot.seq} is no sound database")
            state = read_state(source)
            if state is None or state.seq != snapshot.seq:
                raise Diverged(f"the snapshot at entry {snapshot.seq} is not what it says")
            source.execute("UPDATE replication SET joined = 1")
            with connection.backup("main", source, "main") as backup:
                while not backup.done:
                    backup.step()
        except apsw.Error as error:
            raise translate(error, path) from error
        finally:
            source.close()
    found = read_state(connection)
    if found is None or not found.joined:
        raise StorageError("a snapshot was loaded and is not there", detail=str(path))
    return found


def copy_file(path: Path, target: Path) -> None:
    """A copy of `path`, mode 0600, as it is at one moment. Raises StorageError."""
    try:
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise from_os_error(error, target) from error
    try:
        source = connect(path, 5.0, read_only=True)
        copy = apsw.Connection(str(target))
        try:
            with copy.backup("main", source, "main") as backup:
                while not backup.done:
                    backup.step()
            copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        finally:
            copy.close()
            source.close()
    except apsw.Error as error:
        raise translate(error, target) from error


def _open_scratch(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    return connection


@contextmanager
def _files_removed(path: Path) -> Iterator[None]:
    """A scratch file and what SQLite puts beside it are removed, before and after."""
    paths = [path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal")]
    for one in paths:
        one.unlink(missing_ok=True)
    try:
        yield
    finally:
        for one in paths:
            one.unlink(missing_ok=True)


def _pack(path: Path) -> bytes:
    packer = zlib.compressobj(6)
    with path.open("rb") as file:
        parts = [packer.compress(block) for block in iter(lambda: file.read(_BLOCK), b"")]
    return b"".join([*parts, packer.flush()])


def _unpack(data: bytes, path: Path) -> None:
    unpacker = zlib.decompressobj()
    size = 0
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            while not unpacker.eof:
                block = unpacker.decompress(data, _BLOCK)
                data = unpacker.unconsumed_tail
                if not block and not data:
                    break
                size += len(block)
                if size > MAX_SNAPSHOT:
                    raise Diverged(f"a snapshot is larger than {MAX_SNAPSHOT} bytes")
                file.write(block)
    except zlib.error as error:
        raise Diverged("a snapshot is damaged", detail=str(error)) from error
    except OSError as error:
        raise from_os_error(error, path) from error
    if not unpacker.eof:
        raise Diverged("a snapshot is cut off")
