"""Tenants as the API shows them: who there is, what each owns, how much it may have; and their deletion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from model.identity import NamespaceName, TenantId
from storage.changes import record_change
from storage.control_failures import ChangeRefused, Rule
from storage.control_records import Owner
from storage.database import Database, Transaction
from storage.migrations import load_queries
from storage.namespace_records import require_namespace
from storage.tenant_quotas import Limit, Quota
from storage.tenant_removal import begin_removal, remove_some
from storage.tenant_room import limits_of

_COUNTS = (Quota.SCRIPTS, Quota.ROUTES, Quota.KV_NAMESPACES, Quota.QUEUES, Quota.D1_DATABASES)


@dataclass(frozen=True, slots=True)
class Owned:
    """What a tenant has; contents go by the ids of what holds them."""

    counts: Mapping[Quota, int]
    secrets: int
    schedules: int
    policy_versions: int
    kv_ids: tuple[str, ...]
    queue_ids: tuple[str, ...]
    d1_ids: tuple[str, ...]
    leaving: bool


class TenantRecords:
    """A tenant is not made: it is there as long as something is its own."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("tenants")

    async def page(
        self, namespace: NamespaceName, limit: int, offset: int
    ) -> tuple[list[tuple[TenantId, dict[Quota, int]]], int]:
        """A page by name, each with its counts, and how many there are. Raises ChangeRefused: namespace_missing."""
        require_namespace(self._database.read, namespace)
        everyone = self._sql["tenants"]
        rows = await self._database.read_in_thread(
            f"SELECT * FROM ({everyone}) LIMIT ?2 OFFSET ?3",  # noqa: S608 - a statement of ours
            (namespace, limit, offset),
        )
        total = await self._database.read_in_thread(
            f"SELECT count(*) FROM ({everyone})",  # noqa: S608 - a statement of ours
            (namespace,),
        )
        return [(TenantId(row[0]), self._counts(namespace, row[0])) for row in rows], total[0][0]

    def owned(self, owner: Owner) -> Owned:
        """Raises ChangeRefused: namespace_missing, tenant_missing."""
        self._require(owner)
        read, key = self._database.read, (owner.namespace, owner.tenant)
        secrets, schedules, versions = read(self._sql["others"], key)[0]
        kv, queues, d1 = (
            tuple(row[0] for row in read(self._sql[f"{kind}_ids"], key)) for kind in ("kv", "queue", "d1")
        )
        deletion = read(self._sql["deletion"], key)
        return Owned(
            self._counts(owner.namespace, owner.tenant),
            secrets,
            schedules,
            versions,
            kv,
            queues,
            d1,
            bool(deletion) and deletion[0][1] is None,
        )

    def quotas(self, owner: Owner) -> dict[Quota, Limit]:
        return limits_of(self._database.read, owner)

    async def put_quotas(self, owner: Owner, quotas: Mapping[Quota, int | None]) -> None:
        """Those of this tenant, all of them: what is not named is again as the host has it. A quota may be below
        what is used: nothing is deleted, and nothing more is taken. Raises ChangeRefused: namespace_missing.
        """

        def work(tx: Transaction) -> None:
            if owner.namespace is not None:
                require_namespace(tx.execute, owner.namespace)
            _store(tx, owner.namespace or "", owner.tenant or "", quotas)

        await self._database.write(work)

    def put_host_quotas(self, quotas: Mapping[Quota, int | None]) -> None:
        """What the host's settings say of every tenant. At start; writes only what is new."""
        rows = self._database.read(self._sql["quotas"], ("", ""))
        if {row[1]: row[2] for row in rows} != {str(quota): value for quota, value in quotas.items()}:
            self._database.write_blocking(lambda tx: _store(tx, "", "", quotas))

    async def begin_deletion(self, owner: Owner, *, force: bool) -> None:
        """From now on nothing more is made for it. `force`: although others use what it owns.

        Raises ChangeRefused: namespace_missing, tenant_missing, tenant_in_use.
        """
        self._require(owner)
        now = self._now_ms()
        await self._database.write(lambda tx: begin_removal(tx, owner, now, force=force))

    async def remove_some(self, owner: Owner) -> bool:
        """One transaction of a deletion that was begun; whether there is more to remove."""
        now = self._now_ms()
        return await self._database.write(lambda tx: remove_some(tx, owner, now))

    def deletions(self) -> list[Owner]:
        """Those that were begun and not ended."""
        rows = self._database.read(self._sql["deletions"])
        return [Owner(NamespaceName(row[0]), TenantId(row[1])) for row in rows if row[3] is None]

    def gone(self, held: Sequence[tuple[str, str, int]]) -> list[tuple[str, str]]:
        """Of (namespace, tenant, since UNIX ms): those that were deleted after that, or were and have no script now;
        and all whose namespace is not there.
        """
        read = self._database.read
        namespaces = {row[0] for row in read("SELECT name FROM namespaces")}
        ended = {(row[0], row[1]): row[3] for row in read(self._sql["deletions"]) if row[3] is not None}

        def is_gone(namespace: str, tenant: str, since_ms: int) -> bool:
            if namespace not in namespaces:
                return True
            at_ms = ended.get((namespace, tenant))
            if at_ms is None:
                return False
            return at_ms > since_ms or not read(self._sql["count_scripts"], (namespace, tenant))[0][0]

        return [(namespace, tenant) for namespace, tenant, since in held if is_gone(namespace, tenant, since)]

    def _counts(self, namespace: str | None, tenant: str | None) -> dict[Quota, int]:
        row = self._database.read(self._sql["counts"], (namespace, tenant))[0]
        return dict(zip(_COUNTS, row, strict=True))

    def _require(self, owner: Owner) -> None:
        if owner.namespace is not None:
            require_namespace(self._database.read, owner.namespace)
        if not self._database.read(
            f"SELECT 1 FROM ({self._sql['tenants']}) WHERE tenant = ?2",  # noqa: S608 - a statement of ours
            (owner.namespace, owner.tenant),
        ):
            raise ChangeRefused(Rule.TENANT_MISSING, f"there is no {owner}: nothing is its own")


def _store(tx: Transaction, namespace: str, tenant: str, quotas: Mapping[Quota, int | None]) -> None:
    sql = load_queries("tenants")
    tx.execute(sql["clear_quotas"], (namespace, tenant))
    for quota, value in quotas.items():
        tx.execute(sql["put_quota"], (namespace, tenant, str(quota), value))
    record_change(tx, "tenant", f"{namespace}/{tenant}")
