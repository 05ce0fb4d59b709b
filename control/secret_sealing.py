"""Seal secrets and materials, so that only who has the root key, or was given that one's key, reads it."""

from __future__ import annotations

from bindings.secret_store import secret_info
from model.identity import AccountId, NamespaceName
from model.scripts import ScriptRef
from storage.control_records import to_ref
from storage.egress_records import MATERIAL_PURPOSE, material_info
from storage.keys import RootKey, Unsealable, key_id, seal, sealed_by, unseal
from storage.secret_rotation import SealedRow

_PURPOSE = "secret"


class RootKeySealer:
    """A control.services.SecretSealer over the root key, and over the one before it while it is rotated, or the next
    one before all machines hold it. The `…_for` are what a worker process may be given on a first use: the key of
    this version alone. They raise Unsealable for what is under a root key that is not here.
    """

    def __init__(self, root_key: RootKey) -> None:
        self.current = root_key
        #: What is not sealed anew yet.
        self.previous: RootKey | None = None
        #: What others may have sealed under, and this machine does not yet.
        self.next: RootKey | None = None

    def begin(self, new: RootKey) -> None:
        """Seal under `new` from now on."""
        self.previous, self.current, self.next = self.current, new, None

    def end(self) -> None:
        self.previous = None

    def seal(self, account: AccountId, ref: ScriptRef, name: str, version: int, text: str) -> bytes:
        info = secret_info(account, ref, name, version)
        return seal(self.current.derive(_PURPOSE, info), text.encode(), info)

    def key_for(self, account: AccountId, ref: ScriptRef, name: str, version: int, sealed: bytes) -> bytes:
        """`sealed` is what is stored: it says which root key it is under."""
        return self._key(_PURPOSE, secret_info(account, ref, name, version), sealed)

    def seal_material(
        self, namespace: NamespaceName | None, name: str, version: int, plaintext: bytes
    ) -> bytes:
        info = material_info(namespace, name, version)
        return seal(self.current.derive(MATERIAL_PURPOSE, info), plaintext, info)

    def material_key_for(
        self, namespace: NamespaceName | None, name: str, version: int, sealed: bytes
    ) -> bytes:
        return self._key(MATERIAL_PURPOSE, material_info(namespace, name, version), sealed)

    def reseal(self, row: SealedRow) -> bytes | None:
        """Under the current key; None when it is already. Raises Unsealable."""
        if row.is_material:
            namespace = NamespaceName(row.namespace) if row.namespace else None
            purpose, info = MATERIAL_PURPOSE, material_info(namespace, row.name, row.version)
        else:
            ref = to_ref(row.namespace, row.script)
            purpose, info = _PURPOSE, secret_info(AccountId(row.account), ref, row.name, row.version)
        new = self.current.derive(purpose, info)
        if sealed_by(row.sealed) == key_id(new):
            return None
        return seal(new, unseal(self._key(purpose, info, row.sealed), row.sealed, info), info)

    def _key(self, purpose: str, info: bytes, sealed: bytes) -> bytes:
        for root in filter(None, (self.current, self.previous, self.next)):
            key = root.derive(purpose, info)
            if sealed_by(sealed) == key_id(key):
                return key
        raise Unsealable(
            "this is sealed under a root key that is not here: it was lost, or another machine has rotated it; then"
            " copy that one's root-key file beside this machine's, as root-key.next"
        )
