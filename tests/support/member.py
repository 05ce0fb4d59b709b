"""A machine of a platform, as control has it: replicas in a data folder, and the database that all share."""

from __future__ import annotations

from pathlib import Path

from storage.changes import ChangeSequence
from storage.control_records import Owner
from storage.control_store import ControlStore
from storage.database import Database
from storage.fsck_findings import Finding
from storage.fsck_postgres import check_postgres
from storage.fsck_shared_repair import SharedContents
from storage.keys import RootKey
from storage.migrations import Migrations
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase
from storage.replication.log import ReplicationLog
from storage.replication.postgres_thread import PostgresThread
from storage.replication.replica import Replica
from storage.replication.replicated_file import ReplicatedFile

ROOT = RootKey(bytes(range(32)))
ACCOUNT = Owner(None, None)


class Member:
    """Opens its files, and follows when it writes. `close` it."""

    def __init__(self, folder: Path, address: DatabaseAddress) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.database = PgDatabase(address)
        self.contents = SharedContents(self.database)
        self._thread = PostgresThread(address)
        self._sequence = ChangeSequence(folder / "changes.seq")
        replica = self.replica("control")
        self.control = ControlStore.open(folder / "control.db", self._sequence, replication=replica)
        tokens = Migrations.load("tokens")
        self._tokens = Database.open(folder / "tokens.db", tokens, replication=self.replica("tokens"))

    def replica(self, file: str) -> ReplicatedFile:
        log = ReplicationLog(self._thread, self.folder.name)
        return ReplicatedFile(Replica(log, file, (ROOT.key_id,)), follows=False)

    async def check(self, *, deep: bool = True, root_key_id: str = ROOT.key_id) -> list[Finding]:
        return await check_postgres(self.database, self.folder, deep=deep, root_key_id=root_key_id)

    async def sql(self, statement: str) -> None:
        await self.database.write(lambda tx: tx.execute(statement))

    async def close(self) -> None:
        self.control.close()
        self._tokens.close()
        self._sequence.close()
        self._thread.close()
        await self.contents.close()
        await self.database.close()
