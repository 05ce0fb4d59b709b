"""Seal secrets and materials, so that only who has the root key, or was given that one's key, reads it."""

from __future__ import annotations

from bindings.secret_store import secret_info
from model.identity import AccountId, NamespaceName
from model.scripts import ScriptRef
from storage.egress_records import MATERIAL_PURPOSE, material_info
from storage.keys import RootKey, seal

_PURPOSE = "secret"


class RootKeySealer:
    """A control.services.SecretSealer over the root key. The `…_for` are what a worker process may be given on
    a first use: the key of this version alone.
    """

    def __init__(self, root_key: RootKey) -> None:
        self._root_key = root_key

    def seal(self, account: AccountId, ref: ScriptRef, name: str, version: int, text: str) -> bytes:
        info = secret_info(account, ref, name, version)
        return seal(self._root_key.derive(_PURPOSE, info), text.encode(), info)

    def key_for(self, account: AccountId, ref: ScriptRef, name: str, version: int) -> bytes:
        return self._root_key.derive(_PURPOSE, secret_info(account, ref, name, version))

    def seal_material(
        self, namespace: NamespaceName | None, name: str, version: int, plaintext: bytes
    ) -> bytes:
        info = material_info(namespace, name, version)
        return seal(self.material_key_for(namespace, name, version), plaintext, info)

    def material_key_for(self, namespace: NamespaceName | None, name: str, version: int) -> bytes:
        return self._root_key.derive(MATERIAL_PURPOSE, material_info(namespace, name, version))
