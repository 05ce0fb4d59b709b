"""SQL databases: what exists and whose it is. Their content is in files of their own (`storage.d1`)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from storage.control_failures import ChangeRefused, Rule
from storage.control_records import Owner, Read, to_owner
from storage.database import Database, Transaction
from storage.migrations import load_queries
from storage.namespace_records import require_namespace
from storage.resource_removal import d1_database_missing, remove_resource
from storage.tenant_quotas import Quota
from storage.tenant_room import require_room
from storage.transaction import Row


@dataclass(frozen=True, slots=True)
class D1DatabaseRecord:
    """One SQL database; its file is named by the id."""

    id: str
    name: str
    owner: Owner
    created_at_ms: int


class D1Records:
    """Names are unique."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("d1")

    def get(self, database: str) -> D1DatabaseRecord:
        """By id, or by name: clients send either. Raises ChangeRefused: d1_database_missing."""
        for query in ("database", "database_named"):
            rows = self._database.read(self._sql[query], (database,))
            if rows:
                return to_d1_database(rows[0])
        raise d1_database_missing(database)

    async def page(self, name: str, limit: int, offset: int) -> tuple[list[D1DatabaseRecord], int]:
        """Those whose name holds `name`, by name."""
        rows = await self._database.read_in_thread(self._sql["databases"], (name, limit, offset))
        total = await self._database.read_in_thread(self._sql["count_databases"], (name,))
        return [to_d1_database(row) for row in rows], total[0][0]

    def plan(self, name: str, owner: Owner) -> D1DatabaseRecord:
        """One to be created: its file comes first, so that whoever finds the record finds the file."""
        return D1DatabaseRecord(str(uuid.uuid4()), name, owner, self._now_ms())

    async def create(self, record: D1DatabaseRecord) -> None:
        """Raises ChangeRefused: d1_name_exists, namespace_missing, quota_exceeded, tenant_leaving."""
        owner = record.owner

        def work(tx: Transaction) -> None:
            if owner.namespace is not None:
                require_namespace(tx.execute, owner.namespace, "namespace")
            require_room(tx.execute, owner, Quota.D1_DATABASES)
            self.require_free(record.name, tx.execute)
            tx.execute(
                self._sql["insert_database"],
                (record.id, record.name, owner.tenant, owner.namespace, record.created_at_ms),
            )

        await self._database.write(work)

    async def delete(self, database_id: str, *, force: bool) -> None:
        """Its file is still to be removed: `PendingDeletions`. Raises ChangeRefused: …_missing, …_in_use."""
        await self._database.write(lambda tx: remove_resource(tx, "d1", database_id, force=force))

    def require_free(self, name: str, read: Read | None = None) -> None:
        """Raises ChangeRefused: d1_name_exists."""
        if (read or self._database.read)(self._sql["database_named"], (name,)):
            raise ChangeRefused(
                Rule.D1_NAME_EXISTS, f"a database with the name {name!r} exists already", "name"
            )


def to_d1_database(row: Row) -> D1DatabaseRecord:
    return D1DatabaseRecord(row[0], row[1], to_owner(row[2], row[3]), row[4])
