"""A secret opens only for the script, name and version that it was sealed for; a changed one is seen at the
next read; its key is asked for once.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from pathlib import Path

import pytest

from bindings.memory import MemoryEvent
from bindings.operations import OPERATIONS
from bindings.secret_store import NamedSecret, SealedSecrets, secret_info
from model.errors import OperationError, OperationErrorCode
from model.identity import DEFAULT_ACCOUNT, NamespaceName, ScriptName
from model.scripts import ScriptRef
from storage.keys import RootKey, seal

REF = ScriptRef(NamespaceName("customers"), ScriptName("shop"))
OTHER = ScriptRef(None, ScriptName("shop"))


class Vault:
    """Control's side: the stored ciphertexts, and the keys it hands out."""

    def __init__(self, folder: Path) -> None:
        self.root = RootKey.load_or_create(folder / "root-key")
        self.rows: dict[tuple[ScriptRef, str], tuple[int, bytes]] = {}
        self.keys_asked_for: list[tuple[ScriptRef, str, int]] = []

    def set(self, ref: ScriptRef, name: str, version: int, value: str) -> None:
        info = secret_info(DEFAULT_ACCOUNT, ref, name, version)
        self.rows[ref, name] = (version, seal(self.root.derive("secret", info), value.encode(), info))

    def ciphertext(self, ref: ScriptRef, name: str) -> tuple[int, bytes] | None:
        return self.rows.get((ref, name))

    async def key_for(self, ref: ScriptRef, name: str, version: int) -> bytes:
        self.keys_asked_for.append((ref, name, version))
        await asyncio.sleep(0)
        return self.root.derive("secret", secret_info(DEFAULT_ACCOUNT, ref, name, version))


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path)


@pytest.fixture
def secrets(vault: Vault) -> SealedSecrets:
    return SealedSecrets(vault.ciphertext, vault.key_for, capacity=2)


async def read(secrets: SealedSecrets, name: str, ref: ScriptRef = REF) -> object:
    found: object = OPERATIONS["secret.get"].run(
        MemoryEvent(), NamedSecret(secrets, DEFAULT_ACCOUNT, ref, name), []
    )
    return await found if inspect.isawaitable(found) else found


async def test_second_read_answers_at_once(vault: Vault, secrets: SealedSecrets) -> None:
    vault.set(REF, "TOKEN", 1, "geheim ä")
    assert await read(secrets, "TOKEN") == "geheim ä"
    assert secrets.get(DEFAULT_ACCOUNT, REF, "TOKEN") == "geheim ä"
    assert len(vault.keys_asked_for) == 1


async def test_many_first_reads_ask_for_the_key_once(vault: Vault, secrets: SealedSecrets) -> None:
    vault.set(REF, "TOKEN", 1, "v")
    first = asyncio.create_task(read(secrets, "TOKEN"))
    others = [asyncio.create_task(read(secrets, "TOKEN")) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()  # who leaves does not fail the others
    assert await asyncio.gather(*others) == ["v"] * 5
    assert len(vault.keys_asked_for) == 1


async def test_changed_secret_is_seen_at_the_next_read(vault: Vault, secrets: SealedSecrets) -> None:
    vault.set(REF, "TOKEN", 1, "old")
    assert await read(secrets, "TOKEN") == "old"
    vault.set(REF, "TOKEN", 2, "new")
    assert await read(secrets, "TOKEN") == "new"
    del vault.rows[REF, "TOKEN"]
    with pytest.raises(OperationError) as caught:
        await read(secrets, "TOKEN")
    assert caught.value.code is OperationErrorCode.NOT_FOUND


async def test_row_moved_elsewhere_does_not_open(vault: Vault, secrets: SealedSecrets) -> None:
    vault.set(REF, "TOKEN", 1, "v")
    vault.set(REF, "OLD", 2, "v")
    vault.rows[OTHER, "TOKEN"] = vault.rows[REF, "TOKEN"]  # to another script
    vault.rows[REF, "OTHER"] = vault.rows[REF, "TOKEN"]  # to another name
    vault.rows[REF, "OLD"] = (1, vault.rows[REF, "OLD"][1])  # back to an older version
    for ref, name in ((OTHER, "TOKEN"), (REF, "OTHER"), (REF, "OLD")):
        with pytest.raises(OperationError, match="can't be opened") as caught:
            await read(secrets, name, ref)
        assert caught.value.code is OperationErrorCode.UNAVAILABLE


async def test_cache_is_bounded_and_forgets_the_least_used(vault: Vault, secrets: SealedSecrets) -> None:
    for name in ("A", "B"):
        vault.set(REF, name, 1, name)
        await read(secrets, name)
    await read(secrets, "A")
    vault.set(REF, "C", 1, "C")
    await read(secrets, "C")
    assert isinstance(secrets.get(DEFAULT_ACCOUNT, REF, "A"), str)
    again = secrets.get(DEFAULT_ACCOUNT, REF, "B")
    assert isinstance(again, Awaitable)
    assert await again == "B"


async def test_no_key_is_the_callers_error_and_is_tried_again(vault: Vault) -> None:
    answers: list[bool] = [False, True]

    async def key_for(ref: ScriptRef, name: str, version: int) -> bytes:
        if not answers.pop(0):
            raise OperationError(OperationErrorCode.UNAVAILABLE, "control is restarting")
        return await vault.key_for(ref, name, version)

    secrets = SealedSecrets(vault.ciphertext, key_for)
    vault.set(REF, "TOKEN", 1, "v")
    with pytest.raises(OperationError, match="restarting"):
        await read(secrets, "TOKEN")
    assert await read(secrets, "TOKEN") == "v"
