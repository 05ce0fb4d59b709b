"""What a data folder holds, item by item, for the ledger; and whether its files are whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw

from cli.confining import D1
from storage.changes import ChangeSequence
from storage.control_records import decode_script
from storage.control_store import ControlStore
from storage.d1 import files
from storage.database import Database
from storage.failures import StorageError
from storage.kv_store import kv_migrations
from storage.object_store import FolderObjectStore
from storage.queue_store import queue_migrations
from tests.support.ledger import State


def damage(path: Path) -> list[str]:
    """What SQLite finds wrong in a file; its log is put in first, as whoever opens it next would."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(10_000)
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        found += [f"foreign key: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
    except apsw.Error as error:
        found = [str(error)]
    finally:
        connection.close()
    return [f"{path.name}: {problem}" for problem in found if problem != "ok"]


def damaged(data: Path) -> list[str]:
    """Of all databases of a data folder."""
    databases = [*data.glob("*.db"), *data.glob(f"{D1}/*.sqlite"), *data.glob(f"{D1}/*.snapshot")]
    return [problem for path in databases for problem in damage(path)]


def keys(database: Database) -> Iterator[tuple[str, str, State]]:
    """(namespace's id, key, what stands before the value's first colon)."""
    for namespace, key, value in database.read("SELECT namespace_id, key, value FROM kv_entries"):
        yield namespace, key.decode(), value.partition(b":")[0].decode()


def messages(database: Database) -> Iterator[tuple[str, str]]:
    """(body, queue's id)."""
    for body, queue_id in database.read("SELECT body, queue_id FROM queue_messages"):
        yield body.decode(), queue_id


def scripts(control: ControlStore, objects: FolderObjectStore) -> Iterator[tuple[str, str]]:
    """(name, tags and digest of its module, or what is wrong with it)."""
    for (record,) in control.database.read("SELECT record FROM scripts"):
        version = decode_script(record)
        try:
            objects.get(version.module_digest)
        except StorageError as error:
            yield version.ref.script, str(error)
        else:
            yield version.ref.script, version_state(version.tags, version.module_digest)


def version_state(tags: Sequence[str], digest: str) -> str:
    return f"{','.join(tags)} {digest}"


def routes(control: ControlStore) -> Iterator[tuple[str, str]]:
    """(pattern, script's name), as they are served."""
    for (pattern,) in control.database.read("SELECT DISTINCT pattern FROM routes"):
        found = control.hostname_routes(pattern)
        for route in found.routes if found else ():
            yield pattern, route.target.script.script if route.target.script else "no script"


def rows(path: Path) -> dict[str, str]:
    """name → what stands before the value's first colon, of the table `rows`."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        if not list(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'rows'")):
            return {}
        found = connection.execute("SELECT name, value FROM rows")
        return {str(name): str(value).partition(":")[0] for name, value in found}
    finally:
        connection.close()


def entries(path: Path) -> list[str]:
    """Of the guest book's table."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(10_000)
        return [str(entry) for (entry,) in connection.execute("SELECT entry FROM entries WHERE entry <> '-'")]
    finally:
        connection.close()


def survey(data: Path) -> dict[str, State]:
    """The state of all that `power_loss_child` writes. Opens the folder as the host does, to write."""
    found: dict[str, State] = {}
    sequence = ChangeSequence(data / "changes.seq")
    control = ControlStore.open(data / "control.db", sequence)
    kv = Database.open(data / "kv.db", kv_migrations())
    queues = Database.open(data / "queues.db", queue_migrations())
    try:
        found.update((f"kv:{key}", state) for _, key, state in keys(kv))
        found.update((f"queue:{body}", queue) for body, queue in messages(queues))
        objects = FolderObjectStore(data / "objects")
        found.update((f"script:{name}", state) for name, state in scripts(control, objects))
        found.update((f"route:{pattern}", name) for pattern, name in routes(control))
        for database_id, name in control.database.read("SELECT id, name FROM d1_databases"):
            path = files.path_of(data / D1, database_id)
            found[f"d1:{database_id}"] = name if path.exists() else "without a file"
            if not path.exists():
                continue
            found.update((f"row:{database_id}/{row}", state) for row, state in rows(path).items())
            for point in files.snapshots(data / D1, database_id):
                found[f"point:{database_id}/{point.bookmark}"] = "there"
    finally:
        for closing in (control, kv, queues):
            closing.close()
        sequence.close()
    return found
