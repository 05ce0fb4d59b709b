"""Secrets, the worker's side: sealed text from the control database, its key on first use, then the memory.

A worker process holds no root key, only the keys of the secrets that its workers asked for. Sealed with the
account, the script, the secret's name and version as associated data: a row moved to another script, or put
back to an older version, does not open.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, cast

from bindings.arguments import check_count
from bindings.failures import unavailable
from model.capabilities import GuestEvent, OperationResult, SecretStore
from model.errors import OperationError, OperationErrorCode
from model.identity import AccountId
from model.scripts import ScriptRef
from storage.failures import StorageError
from storage.keys import Unsealable, unseal

LOG = logging.getLogger("tenantry.bindings")

#: Opened secrets a process keeps. Each is at most some KiB, so a few MiB.
CACHED_SECRETS: Final = 2048

#: Account, script, the secret's name and version.
_Key = tuple[AccountId, ScriptRef, str, int]

#: (the secret's version, sealed bytes) as stored now, or None.
CiphertextOf = Callable[[ScriptRef, str], tuple[int, bytes] | None]
#: The key that opens one version of one secret. Raises OperationError(unavailable).
KeyFor = Callable[[ScriptRef, str, int], Awaitable[bytes]]


def secret_info(account: AccountId, ref: ScriptRef, name: str, version: int) -> bytes:
    """What a secret's key is derived from, and the associated data that it is sealed with."""
    return f"{account}\0{ref}\0{name}\0{version}".encode()


class SealedSecrets:
    """All secrets of the scripts that this process runs. Use from one event loop."""

    def __init__(self, ciphertext: CiphertextOf, key_for: KeyFor, capacity: int = CACHED_SECRETS) -> None:
        self._ciphertext = ciphertext
        self._key_for = key_for
        self._capacity = capacity
        self._opened: OrderedDict[_Key, str] = OrderedDict()
        self._opening: dict[_Key, asyncio.Task[str]] = {}

    def get(self, account: AccountId, ref: ScriptRef, name: str) -> str | Awaitable[str]:
        """The value as stored now: the version is read each time, so a changed secret is seen at once.

        At once when it was opened before. Raises OperationError: not_found, unavailable.
        """
        try:
            stored = self._ciphertext(ref, name)
        except StorageError as error:
            raise unavailable(error) from error
        if stored is None:
            raise OperationError(
                OperationErrorCode.NOT_FOUND, f"secret {name}: it has no value; set one (tenantry secrets)"
            )
        version, sealed = stored
        key = (account, ref, name, version)
        value = self._opened.get(key)
        if value is not None:
            self._opened.move_to_end(key)
            return value
        return self._open_once(key, sealed)

    async def _open_once(self, key: _Key, sealed: bytes) -> str:
        """Many events may ask for a secret at the same first time: one asks control for its key."""
        opening = self._opening.get(key)
        if opening is None:
            opening = asyncio.create_task(self._open(*key, sealed))
            self._opening[key] = opening
            opening.add_done_callback(partial(self._opening_ended, key))
        # Shielded: who leaves must not fail the others.
        return await asyncio.shield(opening)

    def _opening_ended(self, key: _Key, task: asyncio.Task[str]) -> None:
        del self._opening[key]
        if not task.cancelled():
            task.exception()  # everybody who waited may have left

    async def _open(self, account: AccountId, ref: ScriptRef, name: str, version: int, sealed: bytes) -> str:
        try:
            while True:
                try:
                    info = secret_info(account, ref, name, version)
                    value = unseal(await self._key_for(ref, name, version), sealed, info).decode()
                    break
                except Unsealable:
                    # While the root key is rotated, what was read before may be sealed or set anew by now, and the
                    # key be for that. What did not change does not open.
                    again = self._ciphertext(ref, name)
                    if again is None or again == (version, sealed):
                        raise
                    version, sealed = again
        except Unsealable as error:
            # The root key was replaced, or the row tampered with; which of them is for the operator.
            LOG.error("secret %s of %s does not open: %s (%s)", name, ref, error.message, error.detail)
            raise OperationError(
                OperationErrorCode.UNAVAILABLE, f"secret {name}: it can't be opened; set it again"
            ) from error
        self._opened[(account, ref, name, version)] = value
        if len(self._opened) > self._capacity:
            self._opened.popitem(last=False)
        return value


class NamedSecret:
    """A SecretStore: one secret of one script."""

    __slots__ = ("_account", "_name", "_ref", "_secrets")

    def __init__(self, secrets: SealedSecrets, account: AccountId, ref: ScriptRef, name: str) -> None:
        self._secrets = secrets
        self._account = account
        self._ref = ref
        self._name = name

    def get(self) -> str | Awaitable[str]:
        return self._secrets.get(self._account, self._ref, self._name)


def secret_get(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    check_count("secret.get", args, 0, 0, "")
    return cast("SecretStore", lent).get()
