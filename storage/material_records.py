"""Materials: secrets, CA bundles and client certificates that egress policies name. Ciphertext: nothing here
can read one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from model.identity import NamespaceName
from storage.changes import record_change
from storage.control_failures import ChangeRefused, Rule, listed
from storage.control_records import namespace_key
from storage.database import Database, Transaction
from storage.egress_records import (
    Author,
    MaterialKind,
    MaterialRecord,
    PolicyKey,
    SealedMaterial,
    material_change_key,
    to_material,
)
from storage.migrations import load_queries
from storage.namespace_records import require_namespace

#: version → what is kept.
SealMaterial = Callable[[int], bytes]


class MaterialRecords:
    """By namespace (None: plain scripts') and name; a name has one kind at a time."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("egress")

    def get(self, namespace: NamespaceName | None, name: str) -> MaterialRecord:
        """Raises ChangeRefused: material_missing."""
        rows = self._database.read(self._sql["material"], (namespace_key(namespace), name))
        if not rows:
            raise material_missing(namespace, name)
        return to_material(rows[0])

    async def page(
        self, namespace: NamespaceName | None, limit: int, offset: int
    ) -> tuple[list[MaterialRecord], int]:
        """A page by name, and how many there are."""
        key = namespace_key(namespace)
        rows = await self._database.read_in_thread(self._sql["materials"], (key, limit, offset))
        return [to_material(row) for row in rows], self._database.read(self._sql["count_materials"], (key,))[
            0
        ][0]

    def kinds(self, namespace: NamespaceName | None, names: Collection[str]) -> dict[str, MaterialKind]:
        """The kinds of those of `names` that are there."""
        wanted = json.dumps(sorted(names))
        rows = self._database.read(self._sql["material_kinds"], (namespace_key(namespace), wanted))
        return {name: MaterialKind(kind) for name, kind in rows}

    async def put(
        self,
        namespace: NamespaceName | None,
        name: str,
        kind: MaterialKind,
        seal: SealMaterial,
        shown: Mapping[str, Any],
        author: Author,
    ) -> MaterialRecord:
        """Raises ChangeRefused: namespace_missing; material_in_use (a policy in force uses the name as
        another kind).
        """
        key, now = (namespace_key(namespace), name), self._now_ms()

        def work(tx: Transaction) -> MaterialRecord:
            if namespace is not None:
                require_namespace(tx.execute, namespace)
            before = tx.execute(self._sql["material"], key)
            if before and before[0][1] != kind:
                self._require_unused(
                    tx, namespace, name, f"it is a {before[0][1]}; take another name for a {kind}"
                )
            version = record_change(tx, "material", material_change_key(namespace, name))
            tx.execute(
                self._sql["put_material"],
                (*key, kind, version, seal(version), json.dumps(shown), author.token_id, author.name, now),
            )
            return to_material(tx.execute(self._sql["material"], key)[0])

        return await self._database.write(work)

    async def delete(self, namespace: NamespaceName | None, name: str, *, force: bool) -> None:
        """`force` deletes it although a policy in force names it: what that rule allows then fails.

        Raises ChangeRefused: material_missing, material_in_use.
        """

        def work(tx: Transaction) -> None:
            if not force:
                self._require_unused(tx, namespace, name, "change them first, or add ?force=true")
            tx.execute(self._sql["delete_material"], (namespace_key(namespace), name))
            if tx.changes() == 0:
                raise material_missing(namespace, name)
            record_change(tx, "material", material_change_key(namespace, name))

        await self._database.write(work)

    # -- what worker processes read ------------------------------------------------------------------

    async def sealed(self, namespace: NamespaceName | None, name: str) -> SealedMaterial | None:
        """A CA bundle is too large to be read on the loop."""
        rows = await self._database.read_in_thread(
            self._sql["sealed_material"], (namespace_key(namespace), name)
        )
        return SealedMaterial(MaterialKind(rows[0][0]), rows[0][1], rows[0][2]) if rows else None

    def version(self, namespace: NamespaceName | None, name: str) -> int | None:
        """The version that is stored now; None: there is no such material."""
        rows = self._database.read(self._sql["material_version"], (namespace_key(namespace), name))
        return rows[0][0] if rows else None

    def _require_unused(
        self, tx: Transaction, namespace: NamespaceName | None, name: str, right: str
    ) -> None:
        rows = tx.execute(self._sql["material_users"], (namespace_key(namespace), name))
        if rows:
            users = [f"the egress policy of {PolicyKey(namespace, row[0], row[1])}" for row in rows]
            raise ChangeRefused(
                Rule.MATERIAL_IN_USE, f"material {name!r} is used by {listed(users)}: {right}"
            )


def material_missing(namespace: NamespaceName | None, name: str) -> ChangeRefused:
    return ChangeRefused(
        Rule.MATERIAL_MISSING,
        f"{PolicyKey(namespace)} has no material {name[:80]!r}; set it with `tenantry material put`",
    )
