"""Dispatch namespaces."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import cast

from model.identity import NamespaceName
from model.scripts import OutboundWorker
from storage.changes import record_change
from storage.control_failures import ChangeRefused, Rule, listed
from storage.control_records import NamespaceRecord, Read, to_ref
from storage.database import Database, Transaction
from storage.egress_removal import remove_egress
from storage.migrations import load_queries
from storage.outbound_workers import check_outbound_worker, from_columns, to_columns
from storage.resource_removal import remove_resource
from storage.script_removal import remove_script


class NamespaceRecords:
    """Names can't change: they are in routes, policies, key derivations and metrics."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("control")

    def get(self, name: NamespaceName) -> NamespaceRecord:
        """Raises ChangeRefused: namespace_missing."""
        return self._get(self._database.read, name)

    async def page(self, limit: int, offset: int) -> tuple[list[NamespaceRecord], int]:
        """A page by name, and how many there are."""
        rows = await self._database.read_in_thread(self._sql["namespaces"], (None, limit, offset))
        total = self._database.read(self._sql["count_namespaces"])[0][0]
        return [_to_namespace(row) for row in rows], total

    async def create(
        self, name: NamespaceName, *, trusted: bool, outbound: OutboundWorker | None = None
    ) -> NamespaceRecord:
        """Raises ChangeRefused: namespace_exists, binding_invalid (outbound)."""
        now, namespace_id = self._now_ms(), str(uuid.uuid4())

        def work(tx: Transaction) -> NamespaceRecord:
            if tx.execute(self._sql["namespace_exists"], (name,)):
                raise ChangeRefused(
                    Rule.NAMESPACE_EXISTS, f"a dispatch namespace {name!r} exists already", "name"
                )
            if outbound is not None:
                check_outbound_worker(tx.execute, outbound, name, "outbound")
            row = (namespace_id, name, int(trusted), now, *to_columns(outbound))
            tx.execute(self._sql["insert_namespace"], row)
            record_change(tx, "namespace", name)
            return self._get(tx.execute, name)

        return await self._database.write(work)

    async def change(
        self,
        name: NamespaceName,
        trusted: bool | None,
        outbound: Callable[[OutboundWorker | None], OutboundWorker | None],
    ) -> NamespaceRecord:
        """Holds for its scripts at once. None: `trusted` stays as it is; `outbound` makes the next of the one
        before. Raises ChangeRefused: namespace_missing, binding_invalid (outbound).
        """
        now = self._now_ms()

        def work(tx: Transaction) -> NamespaceRecord:
            before = self._get(tx.execute, name)
            worker = outbound(before.outbound_worker)
            if worker is not None and worker != before.outbound_worker:
                check_outbound_worker(tx.execute, worker, name, "outbound")
            flag = before.trusted if trusted is None else trusted
            tx.execute(self._sql["update_namespace"], (name, int(flag), now, *to_columns(worker)))
            record_change(tx, "namespace", name)
            return self._get(tx.execute, name)

        return await self._database.write(work)

    async def delete(self, name: NamespaceName, *, force: bool) -> None:
        """`force` also removes its scripts with their routes and consumers, and its tenants' resources.

        Raises ChangeRefused: namespace_missing; namespace_in_use (something is in it, or bound to it).
        """

        def work(tx: Transaction) -> None:
            require_namespace(tx.execute, name)
            scripts = [row[0] for row in tx.execute(self._sql["scripts_of_namespace"], (name, -1))]
            resources = tx.execute(self._sql["resources_of_namespace"], (name,))
            binders = tx.execute(self._sql["users_of_target"], (name, "dispatch_namespace"))
            held = [f"script {script}" for script in scripts]
            held += [f"{kind} {title}" for kind, _, title in resources]
            held += [f"dispatch binding {row[2]} of {to_ref(row[0], row[1])}" for row in binders]
            if held and not force:
                raise ChangeRefused(
                    Rule.NAMESPACE_IN_USE,
                    f"namespace {name!r} is in use: {listed(held)}; delete these first, or add ?force=true to"
                    " remove what is in it",
                )
            for script in scripts:
                remove_script(tx, to_ref(name, script), force=True)
            for kind, resource_id, _ in resources:
                remove_resource(tx, kind, resource_id, force=True)
            remove_egress(tx, name)
            for table in ("tenant_quotas", "tenant_deletions"):
                tx.execute(f"DELETE FROM {table} WHERE namespace = ?", (name,))  # noqa: S608 - one of these two
            record_change(tx, "tenant", f"{name}/")
            tx.execute(self._sql["delete_namespace"], (name,))
            record_change(tx, "namespace", name)

        await self._database.write(work)

    def _get(self, read: Read, name: NamespaceName) -> NamespaceRecord:
        rows = read(self._sql["namespaces"], (name, 1, 0))
        if not rows:
            raise _missing(name)
        return _to_namespace(rows[0])


def require_namespace(read: Read, name: NamespaceName, field: str = "") -> None:
    """Raises ChangeRefused: namespace_missing."""
    if not read(load_queries("control")["namespace_exists"], (name,)):
        raise _missing(name, field)


def _missing(name: NamespaceName, field: str = "") -> ChangeRefused:
    return ChangeRefused(
        Rule.NAMESPACE_MISSING, f"there is no dispatch namespace {name!r}; make it first", field
    )


def _to_namespace(row: tuple[object, ...]) -> NamespaceRecord:
    namespace_id, name, trusted, created, modified, count, *outbound = row
    return NamespaceRecord(
        str(namespace_id),
        NamespaceName(str(name)),
        bool(trusted),
        int(str(created)),
        int(str(modified)),
        int(str(count)),
        from_columns(*cast("list[str | None]", outbound)),
    )
