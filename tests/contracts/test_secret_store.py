"""The contract of SecretStore, held by the public fake and by sealed secrets alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bindings.memory import MemorySecret
from bindings.secret_store import NamedSecret, SealedSecrets, secret_info
from model.capabilities import SecretStore
from model.errors import OperationError, OperationErrorCode
from model.identity import DEFAULT_ACCOUNT, ScriptName
from model.scripts import ScriptRef
from storage.keys import RootKey, seal

REF = ScriptRef(None, ScriptName("shop"))
Make = Callable[[str | None], SecretStore]


@pytest.fixture(params=["memory", "sealed"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "memory":
        return MemorySecret
    root = RootKey.load_or_create(tmp_path / "root-key")
    info = secret_info(DEFAULT_ACCOUNT, REF, "S", 1)

    async def key_for(ref: ScriptRef, name: str, version: int) -> bytes:
        return root.derive("secret", info)

    def sealed(value: str | None) -> SecretStore:
        row = None if value is None else (1, seal(root.derive("secret", info), value.encode(), info))
        return NamedSecret(SealedSecrets(lambda ref, name: row, key_for), DEFAULT_ACCOUNT, REF, "S")

    return sealed


@pytest.mark.parametrize("value", ["", "v", "ä" * 5000])
async def test_value_comes_back_and_from_then_on_at_once(make: Make, value: str) -> None:
    secret = make(value)
    found = secret.get()
    assert (await found if isinstance(found, Awaitable) else found) == value
    assert secret.get() == value


async def test_secret_without_a_value_is_not_found(make: Make) -> None:
    with pytest.raises(OperationError) as caught:
        make(None).get()
    assert caught.value.code is OperationErrorCode.NOT_FOUND
