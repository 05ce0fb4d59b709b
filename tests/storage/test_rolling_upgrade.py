"""Processes of the release before go on over the schema of this one: nothing that they say stops to hold.

`released/` has the statements of the release before, as that one had them. At a release they are replaced by a copy
of `storage/sql/*.sql`.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from model.capabilities import KvEntry, QueueMessage
from storage.data_files import DATABASES, migrations_of, pending
from storage.database import Database
from storage.failures import SchemaMismatch
from storage.kv_store import KvStore
from storage.migrations import Migration, Migrations, load_queries
from storage.queue_protocol import DeadLettering
from storage.queue_store import QueueStore
from storage.transaction import Transaction

RELEASED = Path(__file__).parent / "released"
#: Which file's schema the statements of each are for.
OF_FILE = {
    "control": "control.db",
    "egress": "control.db",
    "d1": "control.db",
    "kv": "kv.db",
    "queues": "queues.db",
}
STATEMENTS = [(stream, name) for stream in OF_FILE for name in load_queries(stream, RELEASED)]
#: Migrations that the release before had: they may do what they like, nobody is on the schema before them.
BEFORE = {
    "control": 4,
    "kv": 1,
    "queues": 1,
    "tokens": 1,
    "audit": 1,
    "changes": 1,
    "cron": 0,
    "tenants": 0,
    "analytics": 0,
}


@pytest.mark.parametrize(("stream", "name"), STATEMENTS)
def test_a_statement_of_the_release_before_holds_on_todays_schema(
    tmp_path: Path, stream: str, name: str
) -> None:
    file = OF_FILE[stream]
    database = Database.open(tmp_path / file, migrations_of(file))
    try:
        statement = load_queries(stream, RELEASED)[name]
        count = max([int(number) for number in re.findall(r"\?(\d+)", statement)], default=0)
        database.write_blocking(lambda tx: tx.execute(f"EXPLAIN {statement}", (None,) * count))
    finally:
        database.close()


@pytest.mark.parametrize("file", DATABASES)
def test_migrations_since_only_add(file: str) -> None:
    for step in migrations_of(file).steps:
        if step.number <= BEFORE.get(step.stream, 0):
            continue
        text = re.sub(r"--.*", "", step.sql)
        assert not re.search(r"\b(DROP|RENAME)\b", text, re.IGNORECASE), (
            f"{step.stream} {step.number} takes away"
        )
        for column in re.findall(r"ADD COLUMN ([^;]+)", text, re.IGNORECASE):
            assert "NOT NULL" not in column.upper() or "DEFAULT" in column.upper(), column


def test_old_folder_is_shown_what_it_lacks_and_has_it_after_the_migration(tmp_path: Path) -> None:
    steps = migrations_of("control.db").steps
    old = Migrations(tuple(step for step in steps if step.number <= BEFORE[step.stream]))
    Database.open(tmp_path / "control.db", old).close()
    lacking = [(step.stream, step.number) for step in pending(tmp_path, "control.db")]
    assert lacking == [(step.stream, step.number) for step in steps if step.number > BEFORE[step.stream]]
    Database.open(tmp_path / "control.db", migrations_of("control.db")).close()
    assert pending(tmp_path, "control.db") == []


def test_process_of_before_writes_while_and_after_the_schema_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    steps = migrations_of("control.db").steps
    old = Database.open(path, Migrations(tuple(step for step in steps if step.number <= BEFORE[step.stream])))
    put = load_queries("control", RELEASED)["insert_kv_namespace"]
    try:
        old.write_blocking(lambda tx: tx.execute(put, ("before", "one", None, None, 1)))
        Database.open(path, migrations_of("control.db")).close()
        old.write_blocking(lambda tx: tx.execute(put, ("after", "two", None, None, 1)))
        assert old.read("SELECT count(*) FROM kv_namespaces") == [(2,)]
    finally:
        old.close()


def old_keys(tx: Transaction, turn: int) -> None:
    """What a process of the release before does with a key."""
    sql = load_queries("kv", RELEASED)
    namespace, key = f"old-{turn % 3}", b"key-%d" % turn
    tx.execute(sql["put"], (namespace, key, None, None, 5, b"value"))
    assert tx.execute(sql["get"], (namespace, key, 100, 0.0)) == [(b"value", None, None)]
    tx.execute(sql["put"], (namespace, key, None, "{}", 7, b"another"))
    listed = tx.execute(sql["list"], (namespace, b"key", b"key\xff", 0.0, True, 1000))
    assert (key, "{}", None) in listed
    if turn % 2:
        tx.execute(sql["delete"], (namespace, key))


def old_messages(tx: Transaction, turn: int) -> None:
    """… and with messages, from sending to settling."""
    sql = load_queries("queues", RELEASED)
    queue, now, ends = f"old-{turn}", 1_000_000 + turn, 1_060_000
    for number in range(3):
        tx.execute(sql["send"], (f"{turn}-{number}", queue, now, ends, now, "text", b"body"))
    assert queue in [row[0] for row in tx.execute(sql["ready_queues"], (now,))]
    taken = tx.execute(sql["lease"], (queue, now, 3, "lease", ends))
    assert len(taken) == 3
    tx.execute(sql["renew"], ("lease", queue, ends + 1))
    held = tx.execute(sql["of_lease"], ("lease", queue))
    tx.execute(sql["remove"], (held[0][0],))
    tx.execute(sql["retry"], (held[1][0], now))
    tx.execute(sql["refresh_head"], (queue,))
    assert tx.execute(sql["backlog"], (queue,)) == [(2, 8)]


#: What a next release may do, and may not leave to those that write: counts that triggers keep, an index.
_COUNTS = """
CREATE TABLE {name}_counts (id TEXT PRIMARY KEY, rows INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO {name}_counts SELECT {column}, count(*) FROM {name} GROUP BY {column};
CREATE TRIGGER {name}_counted AFTER INSERT ON {name} BEGIN
    INSERT INTO {name}_counts VALUES (new.{column}, 1) ON CONFLICT (id) DO UPDATE SET rows = rows + 1;
END;
CREATE TRIGGER {name}_uncounted AFTER DELETE ON {name} BEGIN
    UPDATE {name}_counts SET rows = rows - 1 WHERE id = old.{column};
END;
ALTER TABLE {name} ADD COLUMN note TEXT NOT NULL DEFAULT '';
CREATE INDEX {name}_note ON {name} ({column}, note);
"""


def next_release(file: str, table: str, column: str) -> Migrations:
    (stream,) = DATABASES[file]
    steps = migrations_of(file).steps
    return Migrations((*steps, Migration(stream, len(steps) + 1, _COUNTS.format(name=table, column=column))))


def release_before(file: str) -> Migrations:
    return Migrations(tuple(step for step in migrations_of(file).steps if step.number <= BEFORE[step.stream]))


UPGRADES = [
    ("kv.db", old_keys, release_before("kv.db"), migrations_of("kv.db")),
    ("kv.db", old_keys, migrations_of("kv.db"), next_release("kv.db", "kv_entries", "namespace_id")),
    ("queues.db", old_messages, release_before("queues.db"), migrations_of("queues.db")),
    (
        "queues.db",
        old_messages,
        migrations_of("queues.db"),
        next_release("queues.db", "queue_messages", "queue_id"),
    ),
]


@pytest.mark.parametrize(("file", "turn", "old", "new"), UPGRADES)
def test_a_process_of_before_goes_on_while_and_after_steps_are_taken(
    tmp_path: Path, file: str, turn: Callable[[Transaction, int], None], old: Migrations, new: Migrations
) -> None:
    """On the connections that it had: it reads and writes the whole time."""
    path = tmp_path / file
    before = Database.open(path, old)
    done, stop = 0, threading.Event()
    taken = threading.Condition()
    failed: list[BaseException] = []

    def in_turn(number: int, tx: Transaction) -> None:
        turn(tx, number)

    def work() -> None:
        nonlocal done
        try:
            while not stop.is_set():
                before.write_blocking(partial(in_turn, done))
                with taken:
                    done += 1
                    taken.notify_all()
        except BaseException as error:
            failed.append(error)
            with taken:
                taken.notify_all()

    def has_done(count: int) -> None:
        with taken:
            assert taken.wait_for(lambda: done >= count or failed, 60)

    working = threading.Thread(target=work)
    working.start()
    try:
        has_done(20)
        Database.open(path, new).close()
        has_done(done + 20)
    finally:
        stop.set()
        working.join()
        before.close()
    assert failed == []
    after = Database.open(path, new)
    try:
        for table, column, counts in (
            ("kv_entries", "namespace_id", "kv_usage"),
            ("queue_messages", "queue_id", "queue_heads"),
            ("kv_entries", "namespace_id", "kv_entries_counts"),
            ("queue_messages", "queue_id", "queue_messages_counts"),
        ):
            if not after.read("SELECT 1 FROM sqlite_schema WHERE name = ?", (counts,)):
                continue
            held = after.read(f"SELECT {column}, count(*) FROM {table} GROUP BY 1 ORDER BY 1")  # noqa: S608
            kept = {"kv_usage": "keys", "queue_heads": "messages"}.get(counts, "rows")
            name = column if counts in ("kv_usage", "queue_heads") else "id"
            counted = after.read(
                f"SELECT {name}, {kept} FROM {counts} WHERE {kept} > 0 ORDER BY 1"  # noqa: S608 - of these four
            )
            assert counted == held, counts
    finally:
        after.close()


async def test_todays_stores_go_on_over_the_next_releases_schema_and_do_not_start_on_it(
    tmp_path: Path,
) -> None:
    kv_path, queues_path = tmp_path / "kv.db", tmp_path / "queues.db"
    databases = [
        Database.open(kv_path, migrations_of("kv.db")),
        Database.open(queues_path, migrations_of("queues.db")),
    ]
    kv, queues = KvStore(databases[0]), QueueStore(databases[1])

    async def turn(number: int) -> None:
        await kv.put("ours", f"key-{number}", KvEntry(b"v"))
        assert await kv.increment("ours", "count", 1) == number + 1
        assert (await kv.list("ours", "key-", 1000, None)).keys
        await queues.send("ours", [QueueMessage(b"m", "text")])
        lease = await queues.lease("ours", 10, 60_000)
        assert lease is not None
        await queues.settle(lease, [each.id for each in lease.messages], {}, DeadLettering(3))

    new = {
        kv_path: next_release("kv.db", "kv_entries", "namespace_id"),
        queues_path: next_release("queues.db", "queue_messages", "queue_id"),
    }
    try:
        for number in range(10):
            await turn(number)
        for path, steps in new.items():
            await asyncio.to_thread(lambda path=path, steps=steps: Database.open(path, steps).close())  # type: ignore[misc]
        for number in range(10, 20):
            await turn(number)
    finally:
        for database in databases:
            database.close()
    with pytest.raises(SchemaMismatch, match="a newer release made it"):
        Database.open(kv_path, migrations_of("kv.db"))
