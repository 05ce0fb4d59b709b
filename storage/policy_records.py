"""Egress policies as the operator wrote them: one for each dispatch namespace and one for plain scripts, and
beside it one for each tag and each tenant that has its own. Each keeps its past.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Final

from model.identity import NamespaceName, TenantId
from storage.changes import record_change
from storage.control_failures import ChangeRefused, Rule
from storage.control_records import Owner, namespace_key
from storage.database import Database, Transaction
from storage.egress_records import (
    Author,
    Layer,
    PolicyDraft,
    PolicyKey,
    PolicyLayer,
    PolicyVersion,
    to_policy_layer,
    to_policy_version,
)
from storage.migrations import load_queries
from storage.namespace_records import require_namespace
from storage.tenant_room import require_staying

#: Of one document, and of the bytes of their texts; older ones are forgotten.
VERSIONS_KEPT: Final = 1_000
VERSION_BYTES_KEPT: Final = 64 << 20

#: `expected` of a change: nothing may be in force.
NONE_IN_FORCE: Final = 0


class PolicyRecords:
    """The text was parsed by who calls; what it means is `outbound.policy`'s business."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("egress")

    async def get(self, key: PolicyKey) -> PolicyVersion:
        """The version in force. Raises ChangeRefused: policy_missing."""
        rows = await self._database.read_in_thread(self._sql["layer"], key.columns)
        if not rows:
            raise policy_missing(key)
        return to_policy_version(rows[0])

    async def version(self, key: PolicyKey, version: int) -> PolicyVersion:
        """Raises ChangeRefused: policy_version_missing."""
        rows = await self._database.read_in_thread(self._sql["version"], (*key.columns, version))
        if not rows:
            raise ChangeRefused(
                Rule.POLICY_VERSION_MISSING,
                f"the egress policy of {key} has no version {version}, or it is no longer kept (the last"
                f" {VERSIONS_KEPT} are, with at most {VERSION_BYTES_KEPT >> 20} MiB)",
            )
        return to_policy_version(rows[0])

    async def versions(self, key: PolicyKey, limit: int, offset: int) -> tuple[list[PolicyVersion], int]:
        """A page, newest first, with "" for their texts; and how many are kept."""
        rows = await self._database.read_in_thread(self._sql["versions"], (*key.columns, limit, offset))
        total = self._database.read(self._sql["count_versions"], key.columns)[0][0]
        return [to_policy_version(row) for row in rows], total

    async def layers(
        self, namespace: NamespaceName | None, limit: int, offset: int
    ) -> tuple[list[tuple[PolicyKey, PolicyVersion]], int]:
        """A page of the documents in force, by layer and name, with "" for their texts; and how many."""
        key = namespace_key(namespace)
        rows = await self._database.read_in_thread(self._sql["layers"], (key, limit, offset))
        total = self._database.read(self._sql["count_layers"], (key,))[0][0]
        return [
            (PolicyKey(namespace, row[0], row[1]), to_policy_version((row[2], "", *row[3:]))) for row in rows
        ], total

    def check(self, key: PolicyKey, expected: int | None) -> None:
        """What `put` would refuse, without a change. Raises as it does."""
        if key.namespace is not None:
            require_namespace(self._database.read, key.namespace)
        rows = self._database.read(self._sql["version_in_force"], key.columns)
        _check_expected(key, rows[0][0] if rows else NONE_IN_FORCE, expected)

    async def put(
        self, key: PolicyKey, draft: PolicyDraft, author: Author, *, expected: int | None = None
    ) -> PolicyVersion:
        """`expected` is the version that has to be in force, NONE_IN_FORCE that none may be, None: whatever is.

        Raises ChangeRefused: namespace_missing, policy_changed, tenant_leaving.
        """
        digest = hashlib.sha256(draft.text.encode()).hexdigest()
        now = self._now_ms()

        def work(tx: Transaction) -> PolicyVersion:
            if key.namespace is not None:
                require_namespace(tx.execute, key.namespace)
            if key.layer is Layer.TENANT:
                require_staying(tx.execute, Owner(key.namespace, TenantId(key.name)))
            _check_expected(key, self._in_force(tx, key), expected)
            version = record_change(tx, "policy", key.change_key)
            made = PolicyVersion(version, draft.text, digest, draft.widen, author, draft.message, now)
            self._store(tx, key, made)
            tx.execute(self._sql["put_layer"], (*key.columns, version, digest, int(draft.widen)))
            tx.execute(self._sql["clear_layer_materials"], key.columns)
            for material in sorted(draft.materials):
                tx.execute(self._sql["insert_layer_material"], (*key.columns, material))
            return made

        return await self._database.write(work)

    async def delete(
        self, key: PolicyKey, author: Author, message: str = "", *, expected: int | None = None
    ) -> PolicyVersion:
        """Of a namespace's own: from then on everything is denied. The past stays, and who deleted it.

        Raises ChangeRefused: policy_missing, policy_changed.
        """
        now = self._now_ms()

        def work(tx: Transaction) -> PolicyVersion:
            in_force = self._in_force(tx, key)
            if in_force == NONE_IN_FORCE:
                raise policy_missing(key)
            _check_expected(key, in_force, expected)
            version = record_change(tx, "policy", key.change_key)
            made = PolicyVersion(version, None, "", False, author, message, now)
            self._store(tx, key, made)
            tx.execute(self._sql["delete_layer"], key.columns)
            return made

        return await self._database.write(work)

    # -- what worker processes read ------------------------------------------------------------------

    def layers_of_call(
        self, namespace: NamespaceName | None, tenant: TenantId, tags: Sequence[str]
    ) -> list[PolicyLayer]:
        """What is in force for a script of this tenant with these tags: the namespace's, then those of its
        tags, then its tenant's. Point reads, on the calling thread.
        """
        names = json.dumps(sorted(set(tags)))
        rows = self._database.read(self._sql["layers_of_call"], (namespace_key(namespace), tenant, names))
        return [to_policy_layer(row) for row in rows]

    async def text(self, namespace: NamespaceName | None, layer: PolicyLayer) -> str | None:
        """What one of them says; None when it is no longer kept."""
        columns = PolicyKey(namespace, layer.layer, layer.name).columns
        rows = await self._database.read_in_thread(self._sql["text"], (*columns, layer.version))
        return rows[0][0] if rows else None

    def _in_force(self, tx: Transaction, key: PolicyKey) -> int:
        rows = tx.execute(self._sql["version_in_force"], key.columns)
        return rows[0][0] if rows else NONE_IN_FORCE

    def _store(self, tx: Transaction, key: PolicyKey, made: PolicyVersion) -> None:
        author = made.author
        values = (made.version, made.text, made.digest, int(made.widen), author.token_id, author.name)
        tx.execute(self._sql["insert_version"], (*key.columns, *values, made.message, made.at_ms))
        tx.execute(self._sql["prune_versions"], (*key.columns, VERSIONS_KEPT, VERSION_BYTES_KEPT))


def policy_missing(key: PolicyKey) -> ChangeRefused:
    what = "everything is denied" if key.name == "" else "only the namespace's holds"
    return ChangeRefused(Rule.POLICY_MISSING, f"no egress policy is set for {key}: {what}")


def _check_expected(key: PolicyKey, in_force: int, expected: int | None) -> None:
    if expected is None or expected == in_force:
        return
    now = f"version {in_force} is" if in_force else "none is"
    wanted = f"version {expected}" if expected else "none"
    raise ChangeRefused(
        Rule.POLICY_CHANGED,
        f"the egress policy of {key} was changed by somebody else: {now} in force, not {wanted}; read it again",
    )
