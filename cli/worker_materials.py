"""The materials that a worker process's gateway uses: sealed bytes from the control database, the key of that one
version from control on first use, then the memory. Implements outbound.rule_actions.Materials.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec

from dispatch.route_index import ALL
from model.errors import OperationError, OperationErrorCode
from model.identity import NamespaceName
from outbound.rule_actions import ClientCertificate, MaterialMissing
from storage.egress_records import MaterialKind, material_change_key, material_info
from storage.failures import StorageError
from storage.keys import Unsealable, unseal
from storage.material_records import MaterialRecords

_log = logging.getLogger("tenantry.data_plane")

#: Of opened ones; a CA bundle may have half a MiB.
_CACHED_BYTES: Final = 32 << 20

#: The key that opens one version of one material. Raises OperationError(unavailable).
MaterialKeyFor = Callable[[NamespaceName | None, str, int], Awaitable[bytes]]


class WorkerMaterials:
    """One a process; for one event loop. `changed` is told of the change log's keys, as `refresh` finds them."""

    def __init__(
        self,
        records: MaterialRecords,
        key_for: MaterialKeyFor,
        refresh: Callable[[], None],
        cached_bytes: int = _CACHED_BYTES,
    ) -> None:
        self._records = records
        self._key_for = key_for
        self._refresh = refresh
        self._most_bytes = cached_bytes
        #: By change key: kind, values, size; the one that was used longest ago comes first.
        self._opened: OrderedDict[str, tuple[MaterialKind, dict[str, str], int]] = OrderedDict()
        self._bytes = 0
        self._opening: dict[str, asyncio.Task[tuple[MaterialKind, dict[str, str]] | None]] = {}
        #: Grows with every eviction: what was read before one is not kept.
        self._evictions = 0

    async def secret(self, namespace: NamespaceName | None, name: str) -> str:
        return (await self._get(namespace, name, MaterialKind.SECRET))["value"]

    async def ca_bundle(self, namespace: NamespaceName | None, name: str) -> bytes:
        return (await self._get(namespace, name, MaterialKind.CA_BUNDLE))["pem"].encode()

    async def client_certificate(self, namespace: NamespaceName | None, name: str) -> ClientCertificate:
        values = await self._get(namespace, name, MaterialKind.CLIENT_CERTIFICATE)
        return ClientCertificate(values["certificate_pem"].encode(), values["key_pem"].encode())

    def changed(self, kind: str, key: str) -> None:
        """As RouteIndex.on_change calls it."""
        if kind == ALL:
            gone = list(self._opened)
        elif kind != "material":
            return
        elif key.endswith("/"):
            gone = [opened for opened in self._opened if opened.startswith(key)]
        else:
            gone = [key] if key in self._opened else []
        self._evictions += 1
        for each in gone:
            self._bytes -= self._opened.pop(each)[2]
        # Who asks from now on must not be given what is being opened.
        self._opening.clear()

    async def _get(self, namespace: NamespaceName | None, name: str, kind: MaterialKind) -> dict[str, str]:
        self._refresh()
        key = material_change_key(namespace, name)
        found = self._opened.get(key)
        if found is not None:
            self._opened.move_to_end(key)
            opened: tuple[MaterialKind, dict[str, str]] | None = found[:2]
        else:
            opened = await self._open_once(namespace, name, key)
        if opened is None or opened[0] is not kind:
            word = kind.replace("_", " ")
            raise MaterialMissing(
                f"there is no {word} {name!r}; the platform can set it with `tenantry material put`"
            )
        return opened[1]

    async def _open_once(
        self, namespace: NamespaceName | None, name: str, key: str
    ) -> tuple[MaterialKind, dict[str, str]] | None:
        opening = self._opening.get(key)
        if opening is None:
            opening = asyncio.get_running_loop().create_task(self._open(namespace, name, key))
            self._opening[key] = opening
            opening.add_done_callback(partial(self._opening_ended, key))
        # Shielded: who leaves must not fail the others.
        return await asyncio.shield(opening)

    def _opening_ended(self, key: str, task: asyncio.Task[Any]) -> None:
        if self._opening.get(key) is task:
            del self._opening[key]
        if not task.cancelled():
            task.exception()  # everybody who waited may have left

    async def _open(
        self, namespace: NamespaceName | None, name: str, key: str
    ) -> tuple[MaterialKind, dict[str, str]] | None:
        before = self._evictions
        try:
            stored = await self._records.sealed(namespace, name)
        except StorageError as error:
            raise _unavailable(name) from error
        if stored is None:
            return None
        try:
            while True:
                try:
                    info = material_info(namespace, name, stored.version)
                    plain = unseal(await self._key_for(namespace, name, stored.version), stored.sealed, info)
                    break
                except Unsealable:
                    # While the root key is rotated it may be sealed or set anew by now, and the key be for that.
                    # What did not change does not open.
                    again = await self._records.sealed(namespace, name)
                    if again is None or (again.version, again.sealed) == (stored.version, stored.sealed):
                        raise
                    stored = again
        except Unsealable as error:
            # The root key was replaced, or the row tampered with; which of them is for the operator.
            _log.error("material %s does not open: %s (%s)", key, error.message, error.detail)
            raise _unavailable(name) from error
        values = msgspec.json.decode(plain, type=dict[str, str])
        if before == self._evictions:
            self._keep(key, stored.kind, values, len(plain))
        return stored.kind, values

    def _keep(self, key: str, kind: MaterialKind, values: dict[str, str], size: int) -> None:
        self._opened[key] = kind, values, size
        self._bytes += size
        while self._bytes > self._most_bytes and len(self._opened) > 1:
            self._bytes -= self._opened.popitem(last=False)[1][2]


def _unavailable(name: str) -> OperationError:
    return OperationError(
        OperationErrorCode.UNAVAILABLE,
        f"the material {name!r} of the egress policy can't be had now; try again",
    )
