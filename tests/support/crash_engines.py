"""Where the state of a host that crashes is, and who else there is to kill: files alone, or PostgreSQL beside them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Final, Protocol

from cli.confining import D1
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.database import Database
from storage.fsck import check_files, check_state
from storage.fsck_findings import Finding, Severity
from storage.fsck_postgres import check_postgres
from storage.kv_store import kv_migrations
from storage.object_store import FolderObjectStore
from storage.postgres.connection import PgDatabase
from storage.queue_store import queue_migrations
from tests.support.ledger import State
from tests.support.postgres import PASSWORD, Cluster
from tests.support.survey import damaged, entries, keys, messages, routes, scripts

#: Processes of the host, and what of them is killed.
HOST_VICTIMS: Final = ("a worker", "all workers", "control", "the supervisor", "every process")
_START_S: Final = 60.0


class CrashEngine(Protocol):
    #: Of `tenantry serve`.
    settings: tuple[str, ...]
    #: Who may be killed in a round.
    victims: tuple[str, ...]

    def kill(self, whom: str) -> None:
        """One of `victims` that is no process of the host; it is back when this returns."""

    def problems(self, data: Path) -> list[str]:
        """What is not whole, or does not fit together, beside the running host."""

    def found(self, data: Path, names: dict[str, str]) -> dict[str, State]:
        """What the load has written, read beside the running host. `names`: of CrashLoad."""


class SqliteEngine:
    """All in the data folder."""

    settings: tuple[str, ...] = ()
    victims: tuple[str, ...] = HOST_VICTIMS

    def kill(self, whom: str) -> None:
        raise ValueError(f"{whom}: there is nobody but the host's processes")

    def problems(self, data: Path) -> list[str]:
        """What `tenantry fsck --deep` calls an error; and damage of restore points."""
        return _errors(_here(data)) + damaged(data)

    def found(self, data: Path, names: dict[str, str]) -> dict[str, State]:
        kv = Database.open(data / "kv.db", kv_migrations(), read_only=True)
        queues = Database.open(data / "queues.db", queue_migrations(), read_only=True)
        try:
            # Messages first: one that is settled meanwhile has been delivered, and is among the keys then.
            stored = [body for body, _ in messages(queues)]
            return _kept(stored, list(keys(kv)), names) | _in_files(data, names)
        finally:
            kv.close()
            queues.close()


class PostgresEngine:
    """KV and queues there, control data there and here, SQL databases here."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._address = cluster.new_database()
        password = folder / "password"
        password.touch(0o600)
        password.write_text(PASSWORD)
        self.settings: tuple[str, ...] = (
            "--database",
            str(self._address),
            "--database-password-file",
            str(password),
        )
        self.victims: tuple[str, ...] = (*HOST_VICTIMS, "the database's first process", "the whole database")

    def kill(self, whom: str) -> None:
        """The postmaster by kill -9, so that its children find themselves alone; or all, as in a crash."""
        self._cluster.stop(signal.SIGKILL if "first" in whom else signal.SIGQUIT)
        until = time.monotonic() + _START_S
        while True:
            try:
                self._cluster.start()
                return
            except RuntimeError:  # a child of the one before still has the memory that they share
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def problems(self, data: Path) -> list[str]:
        """As above; `fsck --database` has what is there looked at, too."""
        found = _here(data)
        return _errors(found or asyncio.run(self._there(data))) + damaged(data)

    async def _there(self, data: Path) -> list[Finding]:
        database = PgDatabase(self._address)
        try:
            return await check_postgres(database, data, deep=True)
        finally:
            await database.close()

    def found(self, data: Path, names: dict[str, str]) -> dict[str, State]:
        stored, held = asyncio.run(self._rows())
        return _kept(stored, held, names) | _in_files(data, names)

    async def _rows(self) -> tuple[list[str], list[tuple[str, str, State]]]:
        database = PgDatabase(self._address)
        try:
            stored = await database.fetch("SELECT body FROM queue_messages")
            held = await database.fetch("SELECT namespace_id, key, value FROM kv_entries")
        finally:
            await database.close()
        return [bytes(row[0]).decode() for row in stored], [
            (row[0], bytes(row[1]).decode(), bytes(row[2]).partition(b":")[0].decode()) for row in held
        ]


def _here(data: Path) -> list[Finding]:
    found = list(check_files(data, deep=True))
    return found or list(check_state(data, deep=True, secret=None, material=None))


def _errors(found: list[Finding]) -> list[str]:
    return [f"{one.check}: {one.what}" for one in found if one.severity is Severity.ERROR]


def _kept(stored: list[str], held: list[tuple[str, str, State]], names: dict[str, str]) -> dict[str, State]:
    """Keys, and messages: one is there while it is stored, and once its consumer has put it among the keys."""
    found: dict[str, State] = {f"queue:{body}": "there" for body in stored}
    for namespace, key, state in held:
        if namespace == names["seen"]:
            found[f"queue:{state}"] = "there"
        else:
            found[f"kv:{key}"] = state
    return found


def _in_files(data: Path, names: dict[str, str]) -> dict[str, State]:
    """Versions, routes, rows."""
    found: dict[str, State] = {}
    sequence = ChangeSequence(data / "changes.seq")
    control = ControlStore.open(data / "control.db", sequence, read_only=True)
    try:
        for name, version in scripts(control, FolderObjectStore(data / "objects")):
            if name.startswith("crash-"):
                found[f"script:{name}"] = version
        for pattern, name in routes(control):
            if name.startswith("crash-"):
                found[f"route:{pattern}"] = name
    finally:
        control.close()
        sequence.close()
    for entry in entries(data / D1 / f"{names['guests']}.sqlite"):
        found[f"entry:{entry}"] = "there"
    return found


def send_signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # a compile child that has ended


def descendants(pid: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *descendants(int(child))]
    return found


def is_alive(pid: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
