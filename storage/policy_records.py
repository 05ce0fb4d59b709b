"""Egress policies as the operator wrote them, one for each dispatch namespace and one for plain scripts."""

from __future__ import annotations

from collections.abc import Callable

from model.identity import NamespaceName
from storage.changes import record_change
from storage.control_failures import ChangeRefused, Rule
from storage.control_records import PolicyRecord, namespace_key
from storage.database import Database, Transaction
from storage.migrations import load_queries
from storage.namespace_records import require_namespace


class PolicyRecords:
    """The text was parsed by who calls; what it means is `outbound.policy`'s business."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("control")

    def get(self, namespace: NamespaceName | None) -> PolicyRecord | None:
        rows = self._database.read(self._sql["policy"], (namespace_key(namespace),))
        return PolicyRecord(*rows[0]) if rows else None

    async def put(self, namespace: NamespaceName | None, text: str) -> PolicyRecord:
        """Raises ChangeRefused: namespace_missing."""
        key, now = namespace_key(namespace), self._now_ms()

        def work(tx: Transaction) -> PolicyRecord:
            if namespace is not None:
                require_namespace(tx.execute, namespace)
            version = record_change(tx, "policy", key)
            tx.execute(self._sql["put_policy"], (key, version, text, now))
            return PolicyRecord(version, text, now)

        return await self._database.write(work)

    async def delete(self, namespace: NamespaceName | None) -> None:
        """From then on everything is denied. Raises ChangeRefused: policy_missing."""
        key = namespace_key(namespace)

        def work(tx: Transaction) -> None:
            tx.execute(self._sql["delete_policy"], (key,))
            if tx.changes() == 0:
                raise ChangeRefused(
                    Rule.POLICY_MISSING, "no egress policy was set here: everything is denied"
                )
            record_change(tx, "policy", key)

        await self._database.write(work)
