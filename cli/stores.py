"""Where KV, queues and cron are kept: files of the data folder, or the PostgreSQL that `--database` names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from cli.errors import CliError
from storage.cron_protocol import CronStore
from storage.cron_store import SqliteCronStore, cron_migrations
from storage.database import Database
from storage.failures import SchemaMismatch, StorageError
from storage.kv_protocol import KvStorage
from storage.kv_store import KvStore, kv_migrations
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase, end
from storage.postgres.cron_store import PgCronStore
from storage.postgres.kv_store import PgKvStore
from storage.postgres.queue_store import PgQueueStore
from storage.postgres.schema import STREAMS, PgMigrations
from storage.postgres.signals import PgSignals
from storage.queue_protocol import QueueStorage
from storage.queue_store import QueueStore, queue_migrations

_log = logging.getLogger("tenantry.postgres")

_SCHEMA_RETRY_S: Final = 1.0


class Stores(Protocol):
    """Of one process. `start` and `close` in its running loop."""

    kv: KvStorage
    queues: QueueStorage

    def open_cron(self) -> CronStore:
        """For control, once."""

    def start(self) -> None: ...

    def probe(self) -> None:
        """For readiness: raises StorageError when this machine's storage fails."""

    async def close(self) -> None: ...


class FileStores:
    """SQLite."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._databases = [
            Database.open(data / "kv.db", kv_migrations()),
            Database.open(data / "queues.db", queue_migrations()),
        ]
        self.kv: KvStorage = KvStore(self._databases[0])
        self.queues: QueueStorage = QueueStore(self._databases[1])

    def open_cron(self) -> CronStore:
        database = Database.open(self._data / "cron.db", cron_migrations())
        self._databases.append(database)
        return SqliteCronStore(database)

    def start(self) -> None:
        """Nothing runs beside."""

    def probe(self) -> None:
        for database in self._databases:
            database.probe()

    async def close(self) -> None:
        for database in self._databases:
            database.close()


class PostgresStores:
    """Nothing is connected before it is used; while the server is away, what asks for it is refused at once."""

    def __init__(self, address: DatabaseAddress, name: str, *, migrates: bool) -> None:
        """`migrates`: take the schema's missing steps once the server answers; one process of a host does."""
        self._database = PgDatabase(address, name=name)
        self._signals = PgSignals(self._database)
        self._kv = PgKvStore(self._database, self._signals)
        self._queues = PgQueueStore(self._database, self._signals)
        self.kv: KvStorage = self._kv
        self.queues: QueueStorage = self._queues
        self._migrates = migrates
        self._migrating: asyncio.Task[None] | None = None

    def open_cron(self) -> CronStore:
        return PgCronStore(self._database)

    def start(self) -> None:
        self._signals.start()
        self._kv.start()
        if self._migrates:
            self._migrating = asyncio.get_running_loop().create_task(self._migrate())

    def probe(self) -> None:
        """Never fails: all machines share the server, and a balancer that takes them all out of service because it
        is away would make an outage of KV one of everything.
        """

    async def close(self) -> None:
        if self._migrating is not None:
            await end(self._migrating)
        await self._queues.close()
        await self._kv.close()
        await self._signals.close()
        await self._database.close()

    async def _migrate(self) -> None:
        while True:
            try:
                steps = await PgMigrations.load(*STREAMS).apply(self._database)
            except SchemaMismatch as error:
                _log.error("%s: %s", self._database.address, error.message)
                return
            except StorageError as error:
                _log.warning("the schema was not looked at: %s (%s)", error.message, error.detail)
                await asyncio.sleep(_SCHEMA_RETRY_S)
                continue
            if steps:
                _log.info("the schema of %s has new steps: %s", self._database.address, ", ".join(steps))
            return


def open_stores(data: Path, database: DatabaseAddress | None, name: str, *, migrates: bool = False) -> Stores:
    """Raises StorageError for files that can't be used. `name` is what the server's activity shows."""
    if database is None:
        return FileStores(data)
    return PostgresStores(database, f"tenantry {name}", migrates=migrates)


def read_password(path: Path) -> str:
    """Of a file that nobody else may read; a newline at its end is none of it. Raises CliError."""
    try:
        password = path.read_text().removesuffix("\n")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"--database-password-file: {path}: {error}") from error
    if mode & 0o077:
        raise CliError(f"--database-password-file: others may read {path}", hint=f"chmod 600 {path}")
    return password


def address_as_config(address: DatabaseAddress | None) -> dict[str, Any] | None:
    """For a child, which is told by a pipe: the password is in it."""
    if address is None:
        return None
    root = address.ssl_root_cert
    return {
        "host": address.host,
        "port": address.port,
        "database": address.database,
        "user": address.user,
        "ssl_mode": address.ssl_mode,
        "ssl_root_cert": None if root is None else str(root),
        "pooled": address.pooled,
        "password": address.password,
    }


def address_from_config(config: Mapping[str, Any] | None) -> DatabaseAddress | None:
    if config is None:
        return None
    root = config["ssl_root_cert"]
    return DatabaseAddress(**{**config, "ssl_root_cert": None if root is None else Path(root)})
