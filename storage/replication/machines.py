"""What the machines of a platform say of themselves, and under which root key the platform is. Calls block."""

from __future__ import annotations

from dataclasses import dataclass

from storage.migrations import load_queries
from storage.postgres.connection import PgDatabase, PgRow, PgTransaction
from storage.postgres.schema import POSTGRES_SQL
from storage.replication.postgres_thread import PostgresThread


@dataclass(frozen=True, slots=True)
class MachineSeen:
    """What a machine said of its replica of one file last."""

    machine: str
    file: str
    #: The last entry that it had.
    seq: int
    #: Its hostname.
    name: str
    ago_s: float
    #: Where the log of the file ends now.
    log_seq: int
    #: Ids of the root keys that it holds, the one that it seals under first; () of an older release.
    keys: tuple[str, ...] = ()


class Machines:
    """As `machine`, whose hostname is `name`."""

    def __init__(self, thread: PostgresThread, machine: str, name: str) -> None:
        self._thread = thread
        self._sql = load_queries("replication", POSTGRES_SQL)
        self.machine = machine
        self._name = name
        #: Said with every position.
        self.keys: tuple[str, ...] = ()

    def say(self, file: str, seq: int) -> None:
        """That this machine is at `seq`. Raises StorageError."""
        words = (self.machine, file, seq, self._name, " ".join(self.keys))

        async def work(tx: PgTransaction) -> None:
            await tx.execute(self._sql["say_machine"], *words)

        async def write(database: PgDatabase) -> None:
            await database.write(work)

        self._thread.call(write)

    def seen(self) -> list[MachineSeen]:
        """By machine and file. Raises StorageError."""

        async def read(database: PgDatabase) -> list[PgRow]:
            return await database.fetch(self._sql["machines"])

        return [
            MachineSeen(machine, file, seq, name, ago_s, log_seq, tuple(str(keys).split()))
            for machine, file, seq, name, ago_s, log_seq, keys in self._thread.call(read)
        ]

    def root_key(self) -> str:
        """The id of the key that whoever joins needs. Raises StorageError."""

        async def read(database: PgDatabase) -> list[PgRow]:
            return await database.fetch(self._sql["platform"])

        rows = self._thread.call(read)
        return str(rows[0][1]) if rows else ""

    def change_root_key(self, old_id: str, new_id: str) -> bool:
        """From now on machines need the key `new_id`; False when `old_id` was not the platform's."""

        async def work(tx: PgTransaction) -> bool:
            return await tx.execute(self._sql["change_root_key"], old_id, new_id) == 1

        async def write(database: PgDatabase) -> bool:
            return await database.write(work)

        return self._thread.call(write)
