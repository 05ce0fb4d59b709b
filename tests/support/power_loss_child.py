"""The process whose power is cut: `python -m tests.support.power_loss_child FOLDER LOG SEED ROUNDS BROKEN`.

It makes a data folder as `tenantry serve` does, and writes to everything that is durable at once: keys, messages,
scripts with their modules and routes, SQL databases with restore points. Before and after each change it says so into
the log (tests.support.ledger). BROKEN leaves one sync out, for the test that such a loss is seen; "nothing" does not.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import apsw

import storage.d1.store
import storage.object_store
import storage.sqlite_engine
from cli.confining import D1, prepare_folder
from model.capabilities import KvEntry, QueueMessage
from model.identity import ScriptName
from model.scripts import Route, ScriptRef, Target
from model.sql import SqlStatement
from storage.changes import ChangeSequence
from storage.control_records import Owner, new_id
from storage.control_store import ControlStore
from storage.d1 import files
from storage.d1.connection import D1Connection
from storage.d1.leased_database import LeasedDatabase
from storage.d1.limits import D1Limits
from storage.d1.service import D1Service
from storage.d1.store import D1Store
from storage.database import Database
from storage.keys import RootKey
from storage.kv_store import KvStore, kv_migrations
from storage.object_store import FolderObjectStore
from storage.queue_protocol import DeadLettering
from storage.queue_store import QueueStore, queue_migrations
from storage.script_records import Deployment
from storage.token_store import TokenStore
from tests.support.power_loss import Recorder, record
from tests.support.survey import version_state

#: Pages after which the log goes into the database: far sooner than SQLite's 1,000, so that many crashes are in it.
CHECKPOINT_PAGES: Final = 40
USED_UP: Final = DeadLettering(2, "dead")


class Words:
    """What this process says: to the ledger of whoever reads the log."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def tries(self, items: Iterable[tuple[str, str | None]]) -> list[str]:
        """The items' names, for `acknowledge`. Several are changed in one transaction."""
        tried = list(items)
        self._recorder.say(("tries", tried))
        return [name for name, _ in tried]

    def acknowledge(self, names: list[str]) -> None:
        self._recorder.say(("acknowledge", names))


async def put_keys(words: Words, kv: KvStore, chance: random.Random, lane: int, rounds: int) -> None:
    for number in range(rounds):
        names = [f"{lane}-{chance.randrange(6)}", f"{lane}-twin"]
        if chance.random() < 0.15:
            said = words.tries((f"kv:{name}", None) for name in names)
            await kv.delete_many("ns", names)
        else:
            said = words.tries((f"kv:{name}", str(number)) for name in names)
            value = b"%d:" % number + bytes(chance.randrange(9_000))
            await kv.put_many("ns", [(name, KvEntry(value)) for name in names])
        words.acknowledge(said)


async def send(words: Words, queues: QueueStore, chance: random.Random, lane: int, rounds: int) -> None:
    for number in range(rounds):
        bodies = [f"{lane}-{number}-{part}" for part in range(chance.randrange(1, 4))]
        said = words.tries((f"queue:{body}", "orders") for body in bodies)
        await queues.send("orders", [QueueMessage(body.encode(), "text") for body in bodies])
        words.acknowledge(said)


async def consume(words: Words, queues: QueueStore, chance: random.Random, rounds: int) -> None:
    for _ in range(rounds):
        lease = await queues.lease("orders", 3, 60_000)
        if lease is None:
            await asyncio.sleep(0.002)
            continue
        settled = [message for message in lease.messages if chance.random() < 0.7]
        retried = [message for message in lease.messages if message not in settled]
        again = {m.id: ("dead" if m.attempts >= USED_UP.max_attempts else "orders") for m in retried}
        said = words.tries(
            [(f"queue:{m.body.decode()}", None) for m in settled]
            + [(f"queue:{m.body.decode()}", again[m.id]) for m in retried]
        )
        await queues.settle(lease, [m.id for m in settled], dict.fromkeys(again, 0), USED_UP)
        words.acknowledge(said)


async def deploy(
    words: Words,
    control: ControlStore,
    objects: FolderObjectStore,
    chance: random.Random,
    lane: int,
    rounds: int,
) -> None:
    """Several lanes upload the same modules."""
    for number in range(rounds):
        module = b"module %d " % (number // 2) * 300
        digest = hashlib.sha256(module).hexdigest()
        name = f"s{lane}-{chance.randrange(8)}"
        ref, tag = ScriptRef(None, ScriptName(name)), f"v{number}"
        said = words.tries([(f"script:{name}", version_state([tag], digest))])
        assert await asyncio.to_thread(objects.put, module) == digest
        await control.scripts.deploy(
            Deployment(ref, tags=(tag,)), digest, frozenset({"fetch"}), lambda *_: b""
        )
        words.acknowledge(said)
        pattern = f"r{lane}-{number}.example.com"
        said = words.tries([(f"route:{pattern}", name)])
        await control.routes.create(Route(new_id(), pattern, "", (), Target(ref)))
        words.acknowledge(said)


class SqlLane:
    """One tenant's databases, one after the other; nobody else writes to them."""

    def __init__(
        self, words: Words, control: ControlStore, service: D1Service, chance: random.Random, lane: int
    ) -> None:
        self._words = words
        self._control = control
        self._service = service
        self._chance = chance
        self._lane = lane
        self._rows: dict[str, str] = {}
        self._points: dict[int, dict[str, str]] = {}

    async def run(self, rounds: int) -> None:
        database = await self._create(0)
        for number in range(rounds):
            step = self._chance.random()
            if step < 0.8:
                await self._write(database, number)
            elif step < 0.88:
                await self._bookmark(database)
            elif step < 0.96 and self._points:
                await self._restore(database, self._chance.choice(list(self._points)))
            elif step >= 0.96:
                await self._delete(database)
                database = await self._create(number)

    async def _create(self, number: int) -> str:
        record = self._control.d1_databases.plan(f"db-{self._lane}-{number}", Owner())
        said = self._words.tries([(f"d1:{record.id}", record.name)])
        await asyncio.to_thread(files.create, self._service.store.folder, record.id)
        await self._control.d1_databases.create(record)
        await self._statements(record.id, ["CREATE TABLE rows (name TEXT PRIMARY KEY, value TEXT)"])
        self._words.acknowledge(said)
        self._rows, self._points = {}, {}
        return record.id

    async def _write(self, database: str, number: int) -> None:
        names = [str(self._chance.randrange(6)), "twin"]
        if self._chance.random() < 0.2:
            after: dict[str, str | None] = dict.fromkeys(names)
            sql = [f"DELETE FROM rows WHERE name = '{name}'" for name in names]  # noqa: S608 - ours
        else:
            after = dict.fromkeys(names, str(number))
            value = f"'{number}:' || hex(zeroblob({self._chance.randrange(4_000)}))"
            sql = [f"INSERT OR REPLACE INTO rows VALUES ('{name}', {value})" for name in names]  # noqa: S608
        said = self._words.tries((f"row:{database}/{name}", value) for name, value in after.items())
        await self._statements(database, sql)
        self._words.acknowledge(said)
        kept = {**self._rows, **after}
        self._rows = {name: value for name, value in kept.items() if value is not None}

    async def _bookmark(self, database: str) -> None:
        number, _ = await self._service.bookmark(database, None)
        name = f"point:{database}/{number}"
        if number not in self._points:
            self._words.acknowledge(self._words.tries([(name, "there")]))
        self._points[number] = dict(self._rows)

    async def _restore(self, database: str, number: int) -> None:
        before, after = self._rows, self._points[number]
        said = self._words.tries((f"row:{database}/{name}", after.get(name)) for name in {*before, *after})
        restored = await self._service.restore(database, number, None)
        self._words.acknowledge(said)
        point = f"point:{database}/{restored.before}"
        if restored.before not in self._points:
            self._words.acknowledge(self._words.tries([(point, "there")]))
        self._points[restored.before] = before
        self._rows = dict(after)

    async def _delete(self, database: str) -> None:
        said = self._words.tries(
            [(f"d1:{database}", None)]
            + [(f"row:{database}/{name}", None) for name in self._rows]
            + [(f"point:{database}/{number}", None) for number in self._points]
        )
        await self._control.d1_databases.delete(database, force=True)
        await asyncio.to_thread(files.delete, self._service.store.folder, database)
        self._words.acknowledge(said)

    async def _statements(self, database: str, sql: list[str]) -> None:
        await self._service.batch(database, [SqlStatement(one) for one in sql], f"t{self._lane}")


async def write_everything(recorder: Recorder, data: Path, seed: int, rounds: int) -> None:
    words = Words(recorder)
    # In the order of cli.serve and cli.control_process.
    root = RootKey.load_or_create(data / "root-key")
    words.acknowledge(words.tries([("root key", root.key_id)]))
    sequence = ChangeSequence(data / "changes.seq")
    control = ControlStore.open(data / "control.db", sequence)
    kv_database = Database.open(data / "kv.db", kv_migrations())
    queue_database = Database.open(data / "queues.db", queue_migrations())
    tokens = TokenStore.open(data / "tokens.db")
    token = tokens.ensure_admin_token(data / "admin-token")
    words.acknowledge(words.tries([("admin token", token)]))
    prepare_folder(data)
    objects = FolderObjectStore(data / "objects")
    kv, queues = KvStore(kv_database), QueueStore(queue_database)
    service = D1Service(D1Store(data / D1), partial(_next_ms, iter(range(1 << 62))))
    chances = [random.Random(f"{seed}/{lane}") for lane in range(16)]
    await asyncio.gather(
        *(put_keys(words, kv, chances[lane], lane, rounds) for lane in range(3)),
        *(send(words, queues, chances[3 + lane], lane, rounds) for lane in range(2)),
        consume(words, queues, chances[5], rounds),
        *(deploy(words, control, objects, chances[6 + lane], lane, rounds // 2) for lane in range(3)),
        *(SqlLane(words, control, service, chances[9 + lane], lane).run(rounds) for lane in range(2)),
    )
    await service.close()
    for closing in (control, kv_database, queue_database, tokens):
        closing.close()


def _next_ms(numbers: Iterator[int]) -> int:
    """Restore points of one millisecond are no matter here."""
    return int(time.time() * 1000) + next(numbers)


# -- what a test leaves out, to see that it would be noticed -------------------------------------------


def _synchronous(mode: str, recorder: Recorder) -> None:
    original = storage.sqlite_engine.connect_writer

    def connect_writer(path: Path, busy_timeout_s: float) -> apsw.Connection:
        connection = original(path, busy_timeout_s)
        connection.execute(f"PRAGMA synchronous = {mode}").fetchall()
        return connection

    storage.sqlite_engine.connect_writer = connect_writer


def _synchronous_d1(mode: str, recorder: Recorder) -> None:
    class Unsynced(D1Connection):
        def __init__(self, path: Path | None, limits: D1Limits, leased: LeasedDatabase | None = None) -> None:
            super().__init__(path, limits, leased)
            self._open.ours(f"PRAGMA synchronous = {mode}")

    setattr(storage.d1.store, "D1Connection", Unsynced)  # noqa: B010 - for the type checker it is constant


def _object_files(recorder: Recorder) -> None:
    recorder.forgets = lambda path: "/objects/" in path and not Path(path).is_dir()


def _object_folders(recorder: Recorder) -> None:
    recorder.forgets = lambda path: "/objects" in path and Path(path).is_dir()


def _d1_folder(recorder: Recorder) -> None:
    recorder.forgets = lambda path: path.endswith(f"/{D1}")


BROKEN: Final[dict[str, Callable[[Recorder], None]]] = {
    "nothing": lambda recorder: None,
    "synchronous=OFF": partial(_synchronous, "OFF"),
    "synchronous=NORMAL": partial(_synchronous, "NORMAL"),
    "synchronous=OFF in d1": partial(_synchronous_d1, "OFF"),
    "no sync of objects": _object_files,
    "no sync of objects' folders": _object_folders,
    "no sync of d1's folder": _d1_folder,
}


def main(folder: str, log: str, seed: str, rounds: str, broken: str) -> None:
    data = Path(folder)
    data.mkdir()
    apsw.connection_hooks.append(lambda connection: connection.wal_autocheckpoint(CHECKPOINT_PAGES))
    with open(log, "wb") as out:
        recorder = record(data, out)
        BROKEN[broken](recorder)
        asyncio.run(write_everything(recorder, data, int(seed), int(rounds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
