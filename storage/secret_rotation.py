"""Everything that is sealed under the root key, in small transactions: to seal it anew while it is in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from storage.control_records import decode_script
from storage.database import Database, Transaction

#: Of one transaction.
SOME = 100

_SECRETS = (
    "SELECT e.namespace, e.script, e.name, e.version, e.sealed, s.record FROM secrets e JOIN scripts s"
    " ON s.namespace = e.namespace AND s.name = e.script WHERE (e.namespace, e.script, e.name) > (?, ?, ?)"
    " ORDER BY e.namespace, e.script, e.name LIMIT ?"
)
_MATERIALS = (
    "SELECT namespace, '', name, version, sealed FROM egress_materials WHERE (namespace, '', name) > (?, ?, ?)"
    " ORDER BY namespace, name LIMIT ?"
)
_Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class SealedRow:
    """One secret, or one material: then `account` and `script` are ""."""

    account: str
    namespace: str
    script: str
    name: str
    version: int
    sealed: bytes

    @property
    def is_material(self) -> bool:
        return not self.script


#: A row → the same, sealed under the new key; None when it is already. Pure. Raises Unsealable.
Reseal = Callable[[SealedRow], bytes | None]


class SealedRows:
    """Use from one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, *, materials: bool, after: _Place, limit: int = SOME) -> list[SealedRow]:
        """By namespace, script and name."""
        sql = _MATERIALS if materials else _SECRETS
        return [_to_row(row) for row in await self._database.read_in_thread(sql, (*after, limit))]

    async def replace(self, pairs: list[tuple[SealedRow, bytes]]) -> None:
        """Those that are still as they were read: what was set anew meanwhile is under the new key by itself, and so is
        what another machine was faster with. Values and versions stay, so nobody's cache is touched.
        """

        def work(tx: Transaction) -> None:
            for row, sealed in pairs:
                if row.is_material:
                    tx.execute(
                        "UPDATE egress_materials SET sealed = ? WHERE namespace = ? AND name = ? AND version = ?"
                        " AND sealed = ?",
                        (sealed, row.namespace, row.name, row.version, row.sealed),
                    )
                else:
                    tx.execute(
                        "UPDATE secrets SET sealed = ? WHERE namespace = ? AND script = ? AND name = ?"
                        " AND version = ? AND sealed = ?",
                        (sealed, row.namespace, row.script, row.name, row.version, row.sealed),
                    )

        await self._database.write(work)


def _to_row(row: tuple[Any, ...]) -> SealedRow:
    namespace, script, name, version, sealed, *record = row
    account = decode_script(record[0]).account if record else ""
    return SealedRow(account, namespace, script, name, version, sealed)
