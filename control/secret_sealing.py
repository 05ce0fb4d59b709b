"""Seal a secret's text, so that only who has the root key, or was given that one secret's key, reads it."""

from __future__ import annotations

from bindings.secret_store import secret_info
from model.identity import AccountId
from model.scripts import ScriptRef
from storage.keys import RootKey, seal

_PURPOSE = "secret"


class RootKeySealer:
    """A control.services.SecretSealer over the root key."""

    def __init__(self, root_key: RootKey) -> None:
        self._root_key = root_key

    def seal(self, account: AccountId, ref: ScriptRef, name: str, version: int, text: str) -> bytes:
        info = secret_info(account, ref, name, version)
        return seal(self._root_key.derive(_PURPOSE, info), text.encode(), info)

    def key_for(self, account: AccountId, ref: ScriptRef, name: str, version: int) -> bytes:
        """What a worker process may be given on a secret's first use: the key of this version alone."""
        return self._root_key.derive(_PURPOSE, secret_info(account, ref, name, version))
