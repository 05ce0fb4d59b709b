"""The root key is rotated while secrets are set and read: nothing is ever closed, nothing stays under the old one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bindings.secret_store import SealedSecrets
from control.deletions import finish_deletions
from control.key_rotation import KeyRotation, next_key_path
from control.secret_sealing import RootKeySealer
from model.identity import DEFAULT_ACCOUNT, NamespaceName, ScriptName
from model.scripts import ScriptRef
from storage.failures import StorageLost
from storage.keys import RootKey, Unsealable
from storage.secret_rotation import SealedRows
from tests.control.support import ACCOUNT, NAMESPACES, Host, ok, script_path

ROTATION = f"{ACCOUNT}/root-key/rotation"
PROD = NamespaceName("prod")


def ref(number: int) -> ScriptRef:
    return ScriptRef(PROD, ScriptName(f"script-{number}"))


async def filled(host: Host, count: int) -> None:
    await host.namespace()
    for number in range(count):
        secret = {"type": "secret_text", "name": "S", "text": f"text {number}"}
        ok(await host.deploy(f"script-{number}", "prod", bindings=[secret]))
    path = f"{NAMESPACES}/prod/egress-materials/token"
    ok(await host.api.put(path, json={"kind": "secret", "value": "material"}))


def reader(host: Host) -> SealedSecrets:
    """What a worker process has, with nothing opened yet."""

    async def key_for(wanted: ScriptRef, name: str, version: int) -> bytes:
        await asyncio.sleep(0)  # the channel
        stored = host.store.secret_ciphertext(wanted, name)
        assert stored is not None
        return host.sealer.key_for(DEFAULT_ACCOUNT, wanted, name, version, stored[1])

    return SealedSecrets(host.store.secret_ciphertext, key_for)


async def read(secrets: SealedSecrets, wanted: ScriptRef) -> str:
    found = secrets.get(DEFAULT_ACCOUNT, wanted, "S")
    return found if isinstance(found, str) else await found


async def rotated(host: Host) -> dict[str, object]:
    state = ok(await host.api.get(ROTATION))
    async with asyncio.timeout(60):
        while state["rotating"]:
            await asyncio.sleep(0.01)
            state = ok(await host.api.get(ROTATION))
    return dict(state)


async def test_everything_is_under_the_new_key_and_the_old_one_opens_nothing(host: Host) -> None:
    await filled(host, 3)
    old = host.root_key
    begun = ok(await host.api.post(ROTATION))
    assert begun["previous_key_id"] == old.key_id
    state = await rotated(host)
    assert state["resealed"] == 4
    assert state["unopened"] == []
    new = RootKey.load(host.folder / "root-key")
    assert state["key_id"] == new.key_id != old.key_id
    assert RootKey.load(host.folder / f"root-key.{old.key_id}").key_id == old.key_id
    assert not next_key_path(host.folder / "root-key").exists()
    rows = await SealedRows(host.store.database).page(materials=False, after=("", "", ""))
    rows += await SealedRows(host.store.database).page(materials=True, after=("", "", ""))
    for row in rows:
        assert RootKeySealer(new).reseal(row) is None
        with pytest.raises(Unsealable):
            RootKeySealer(old).reseal(row)
    assert [await read(reader(host), ref(number)) for number in range(3)] == ["text 0", "text 1", "text 2"]


async def test_secrets_are_read_and_set_while_it_runs(host: Host) -> None:
    await filled(host, 250)
    stop = asyncio.Event()
    reads = 0

    async def read_all() -> None:
        nonlocal reads
        while not stop.is_set():
            fresh = reader(host)
            for number in range(0, 250, 7):
                assert (await read(fresh, ref(number))) in (f"text {number}", f"new {number}")
                reads += 1

    async def set_some() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 11) % 250
            body = {"name": "S", "text": f"new {number}", "type": "secret_text"}
            ok(await host.api.put(f"{script_path(f'script-{number}', 'prod')}/secrets", json=body))

    working = [asyncio.create_task(read_all()), asyncio.create_task(set_some())]
    try:
        for _ in range(3):
            ok(await host.api.post(ROTATION))
            assert (await rotated(host))["unopened"] == []
    finally:
        stop.set()
        await asyncio.gather(*working)
    assert reads > 0
    sealer = RootKeySealer(RootKey.load(host.folder / "root-key"))
    place = ("", "", "")
    while page := await SealedRows(host.store.database).page(materials=False, after=place):
        assert [row for row in page if sealer.reseal(row) is not None] == []
        place = (page[-1].namespace, page[-1].script, page[-1].name)


async def test_rotation_that_was_cut_short_goes_on_at_the_next_start(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(host, 120)
    real, calls, failed = SealedRows.replace, 0, asyncio.Event()

    async def failing(self: SealedRows, pairs: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            failed.set()
            raise StorageLost("the disk fails")
        await real(self, pairs)  # type: ignore[arg-type]

    monkeypatch.setattr(SealedRows, "replace", failing)
    ok(await host.api.post(ROTATION))
    async with asyncio.timeout(60):
        await failed.wait()
    host.rotation.close()  # the process dies
    monkeypatch.undo()
    path = host.folder / "root-key"
    assert RootKey.load(path).key_id == host.root_key.key_id
    host.sealer = RootKeySealer(RootKey.load(path))
    again = KeyRotation(host.sealer, SealedRows(host.store.database), path)
    again.go_on()
    assert await read(reader(host), ref(0)) == "text 0"
    async with asyncio.timeout(60):
        while again.state()["rotating"]:  # noqa: ASYNC110 - it tells by being asked, as the API does
            await asyncio.sleep(0.01)
    assert again.state()["resealed"] == 21
    assert RootKey.load(path).key_id != host.root_key.key_id
    assert [await read(reader(host), ref(number)) for number in (0, 60, 119)] == [
        "text 0",
        "text 60",
        "text 119",
    ]


async def test_crash_between_the_old_keys_copy_and_the_new_keys_place_loses_neither(
    host: Host, tmp_path: Path
) -> None:
    import os

    await filled(host, 1)
    path = host.folder / "root-key"
    new = RootKey.load_or_create(next_key_path(path))
    os.link(path, path.with_name(f"root-key.{host.root_key.key_id}"))
    host.rotation.go_on()
    await rotated(host)
    assert RootKey.load(path).key_id == new.key_id
    assert await read(reader(host), ref(0)) == "text 0"


async def test_a_secret_of_a_lost_key_is_named_and_holds_nobody_up(host: Host) -> None:
    await filled(host, 2)
    host.store.database.write_blocking(
        lambda tx: tx.execute("UPDATE secrets SET sealed = zeroblob(60) WHERE script = 'script-0'")
    )
    ok(await host.api.post(ROTATION))
    state = await rotated(host)
    assert state["unopened"] == ["prod/script-0/S"]
    assert await read(reader(host), ref(1)) == "text 1"


async def test_no_text_is_in_a_list_a_log_an_error_or_a_dump(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    hidden = "hidden-5f2c"
    caplog.set_level("DEBUG")
    await host.namespace()
    secret = {"type": "secret_text", "name": "S", "text": hidden}
    ok(await host.deploy("script-0", "prod", bindings=[secret]))
    path = script_path("script-0", "prod")
    said = [
        (await host.api.get(f"{path}/secrets")).text,
        (await host.api.get(f"{path}/secrets/S")).text,
        (await host.api.get(path)).text,
        (await host.api.get(f"{path}/settings")).text,
        (await host.api.get(f"{path}/bindings")).text,
        (await host.api.get(f"{NAMESPACES}/prod/scripts")).text,
        # Errors that quote what was sent.
        (await host.api.put(f"{path}/secrets", json={"name": "S", "text": hidden, "type": "pear"})).text,
        (await host.api.put(f"{path}/secrets", json={"name": "9", "text": hidden})).text,
        (await host.api.put(f"{path}/secrets", content=f'{{"name": "S", "text": "{hidden}"')).text,
        (await host.deploy("script-0", "prod", bindings=[{**secret, "name": "no name"}])).text,
        (await host.deploy("script-0", "prod", bindings=[{**secret, "more": [hidden]}, secret])).text,
    ]
    ok(await host.api.post(ROTATION))
    said.append(str(await rotated(host)))
    ok(await host.api.delete(f"{path}/secrets/S"))
    await finish_deletions(host.services)
    said.append(caplog.text)
    said.append(str(host.state()))
    for text in said:
        assert hidden not in text
    # Nor in any file: the databases with their logs, and whatever else is there.
    for file in host.folder.rglob("*"):
        assert not file.is_file() or hidden.encode() not in file.read_bytes(), file
