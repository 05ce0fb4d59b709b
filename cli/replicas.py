"""A host as one machine of several: its control data follows the log in the PostgreSQL that `--database` names."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from cli.errors import CliError
from control.key_rotation import next_key_path
from control.shared_key_rotation import OtherMachine
from model.identity import NamespaceName, ScriptName
from model.scripts import ScriptRef, ScriptVersion
from observability.metrics import Counters
from storage.d1.shared_databases import SharedDatabases
from storage.failures import StorageError, from_os_error
from storage.keys import RootKey
from storage.postgres.address import DatabaseAddress
from storage.replication.log import ReplicationLog
from storage.replication.machines import MachineSeen
from storage.replication.objects import PgObjects
from storage.replication.postgres_thread import PostgresThread
from storage.replication.replica import Replica, nothing
from storage.replication.replicated_file import ReplicatedFile
from storage.replication.status import ReplicaStatus

_log = logging.getLogger("tenantry.replication")

_ID_BYTES: Final = 8
#: A machine that has not been heard of for so long is stopped, or parted from the database.
_GONE_S: Final = 60.0


class MachineReplicas:
    """control.db and tokens.db of a process that writes them. Close it after the databases."""

    def __init__(
        self,
        data: Path,
        address: DatabaseAddress,
        key_ids: Sequence[str],
        *,
        follows: bool,
        on_applied: Callable[[], None] = nothing,
        on_loaded: Callable[[], None] = nothing,
    ) -> None:
        """`key_ids`: of the root keys that this machine holds, the one in force first. `follows`: keep up with the log
        after the start. `on_applied`, `on_loaded`: of control.db, called on
        threads (storage.replication.replica.Replica). Raises StorageError.
        """
        self.machine = machine_id(data)
        self._thread = PostgresThread(address)
        log = ReplicationLog(self._thread, self.machine, platform.node())
        log.machines.keys = tuple(key_ids)
        self._machines = log.machines
        self.control = ReplicatedFile(
            Replica(log, "control", key_ids, on_applied=on_applied, on_loaded=on_loaded), follows=follows
        )
        self.tokens = ReplicatedFile(Replica(log, "tokens", key_ids), follows=follows)
        self._follows = follows

    def objects(self) -> PgObjects:
        return PgObjects(self._thread)

    def databases(self) -> SharedDatabases:
        return SharedDatabases(self._thread, self.machine)

    def machines(self) -> Sequence[MachineSeen]:
        """Of the whole platform. Raises StorageError."""
        return self._machines.seen()

    # What control.shared_key_rotation.PlatformKeys asks.

    def root_key(self) -> str:
        return self._machines.root_key()

    def change_root_key(self, old_id: str, new_id: str) -> bool:
        return self._machines.change_root_key(old_id, new_id)

    def hold(self, key_ids: Sequence[str]) -> None:
        self._machines.keys = tuple(key_ids)
        self._machines.say("control", self.control.status().seq)

    def others(self) -> Sequence[OtherMachine]:
        return [
            OtherMachine(f"{row.name} ({row.machine})", row.keys)
            for row in self._machines.seen()
            if row.file == "control" and row.machine != self.machine and row.ago_s < _GONE_S
        ]

    def current(self) -> bool:
        """Whether this machine knows of all scripts."""
        return self.control.status().current

    def statuses(self) -> Sequence[ReplicaStatus]:
        return (self.control.status(), self.tokens.status())

    def close(self) -> None:
        self._thread.close()


@contextmanager
def joined(
    data: Path, database: DatabaseAddress | None, root: RootKey | None, root_key_file: Path | None = None
) -> Iterator[MachineReplicas | None]:
    """For who opens the files once: a start, a command. None without a `database`. `root_key_file`: where `root` is
    from, if not the data folder. Raises CliError.
    """
    if database is None or root is None:
        yield None
        return
    replicas = None
    try:
        key_ids = held_keys(root, root_key_file or data / "root-key")
        replicas = MachineReplicas(data, database, key_ids, follows=False)
        yield replicas
    except StorageError as error:
        detail = f" ({error.detail})" if error.detail else ""
        raise CliError(f"--database: {error.message}{detail}") from error
    finally:
        if replicas is not None:
            replicas.close()


def held_keys(root: RootKey, path: Path) -> list[str]:
    """Ids of the root key in `path`, and of the next one beside it. Raises StorageError."""
    following = next_key_path(path)
    return [root.key_id, *([RootKey.load(following).key_id] if following.exists() else [])]


class ReplicaNews:
    """From the threads that follow the log to a loop that is not there yet when they begin."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_applied = self._on_loaded = nothing

    def join(
        self,
        loop: asyncio.AbstractEventLoop,
        on_applied: Callable[[], None],
        on_loaded: Callable[[], None],
    ) -> None:
        """From now on these are called on `loop`; once now, for what came earlier."""
        self._on_applied, self._on_loaded, self._loop = on_applied, on_loaded, loop
        on_applied()
        on_loaded()

    def applied(self) -> None:
        self._tell(lambda: self._on_applied())

    def loaded(self) -> None:
        self._tell(lambda: self._on_loaded())

    def _tell(self, call: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)


def machine_id(data: Path) -> str:
    """Of this data folder; made at its first start as a machine of several. Raises StorageError."""
    path = data / "machine-id"
    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            found = path.read_text().strip()
            if found:
                return found
            descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        made = secrets.token_hex(_ID_BYTES)
        with os.fdopen(descriptor, "w") as file:
            file.write(made + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise from_os_error(error, path) from error
    return made


class ReplicatedScripts(Protocol):
    """storage.control_store.ControlStore, of which no more is needed here."""

    def script(self, ref: ScriptRef) -> ScriptVersion | None: ...

    def sequence(self) -> int: ...

    def changes_since(self, sequence: int) -> tuple[int, Sequence[tuple[str, str]] | None]: ...


class ImagesAhead:
    """Compiles what other machines deploy as it becomes known here, so that no visitor waits for it.

    What it misses (a machine that was away for long, a compile that failed) is made at the first request.
    """

    def __init__(
        self,
        store: ReplicatedScripts,
        has_image: Callable[[str], bool],
        make: Callable[[str], Awaitable[None]],
    ) -> None:
        """`make`: compile the module with this digest."""
        self._store = store
        self._has_image = has_image
        self._make = make
        self._position = store.sequence()
        self._news = asyncio.Event()

    def applied(self) -> None:
        """Others' changes are here."""
        self._news.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            for digest in self._wanted():
                try:
                    await self._make(digest)
                except Exception as error:
                    # Whatever it was, the worker process that needs the image asks again, and says why not.
                    _log.warning("module %s of another machine was not compiled ahead: %s", digest, error)

    def _wanted(self) -> list[str]:
        self._position, changes = self._store.changes_since(self._position)
        found: dict[str, None] = {}
        for kind, key in changes or ():
            if kind == "script":
                namespace, _, script = key.partition("/")
                ref = ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName(script))
                version = self._store.script(ref)
                if version is not None and not self._has_image(version.module_digest):
                    found[version.module_digest] = None
        return list(found)


def shown(replicas: MachineReplicas | None) -> list[dict[str, object]]:
    """For `/readyz`: one map a file; none on a host that is alone."""
    return [] if replicas is None else [status.shown() for status in replicas.statuses()]


def count_replicas(counters: Counters, replicas: MachineReplicas) -> Callable[[], None]:
    """Show them in the metrics; what is returned brings the counts up to date."""
    for file, read in (("control", replicas.control.status), ("tokens", replicas.tokens.status)):
        counters.gauge("tenantry_replication_lag", lambda read=read: round(read().lag_s, 3), file)  # type: ignore[misc]
        counters.gauge("tenantry_replication_position", lambda read=read: read().seq, file)  # type: ignore[misc]

    def refresh() -> None:
        for status in replicas.statuses():
            counters.count("tenantry_replication_applied_total", status.file).value = status.applied
            counters.count("tenantry_replication_conflicts_total", status.file).value = status.conflicts

    return refresh
