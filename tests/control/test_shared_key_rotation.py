"""Machines of one platform come to a new root key while all serve: none seals under a key that another lacks."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from control.key_rotation import next_key_path
from control.secret_sealing import RootKeySealer
from control.shared_key_rotation import OtherMachine, SharedKeyRotation, lacking
from model.identity import DEFAULT_ACCOUNT, NamespaceName, ScriptName
from model.scripts import ScriptRef
from storage.failures import StorageLost
from storage.keys import RootKey, Unsealable, unseal
from storage.secret_rotation import SealedRows
from tests.control.support import Host, ok
from tests.support.waiting import until

PROD = NamespaceName("prod")


class Platform:
    """What the machines share, in memory."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.held: dict[str, tuple[str, ...]] = {}
        self.away = False


class Keys:
    """The PlatformKeys of the machine `name`."""

    def __init__(self, platform: Platform, name: str) -> None:
        self._platform = platform
        self._name = name

    def _there(self) -> Platform:
        if self._platform.away:
            raise StorageLost("the database does not answer")
        return self._platform

    def root_key(self) -> str:
        return self._there().key_id

    def change_root_key(self, old_id: str, new_id: str) -> bool:
        if self._there().key_id != old_id:
            return False
        self._platform.key_id = new_id
        return True

    def hold(self, key_ids: Sequence[str]) -> None:
        self._there().held[self._name] = tuple(key_ids)

    def others(self) -> Sequence[OtherMachine]:
        return [OtherMachine(name, keys) for name, keys in self._there().held.items() if name != self._name]


class Machine:
    """Over a store that both have: as if each entry of the log were there at once."""

    def __init__(self, host: Host, platform: Platform, name: str) -> None:
        folder = host.folder / name
        folder.mkdir()
        self.path = folder / "root-key"
        shutil.copy(host.folder / "root-key", self.path)
        self._host = host
        self._platform = platform
        self.name = name
        self.start()

    def start(self) -> None:
        self.sealer = RootKeySealer(RootKey.load(self.path))
        keys = Keys(self._platform, self.name)
        rows = SealedRows(self._host.store.database)
        self.rotation = SharedKeyRotation(self.sealer, rows, self.path, keys, every_s=0.01, settle_s=0.05)
        self.rotation.go_on()

    def reads(self, number: int) -> str:
        """The secret of script `number`, as a worker process of this machine opens it. Raises Unsealable."""
        ref = ScriptRef(PROD, ScriptName(f"script-{number}"))
        stored = self._host.store.secret_ciphertext(ref, "S")
        assert stored is not None
        version, sealed = stored
        key = self.sealer.key_for(DEFAULT_ACCOUNT, ref, "S", version, sealed)
        from bindings.secret_store import secret_info

        return unseal(key, sealed, secret_info(DEFAULT_ACCOUNT, ref, "S", version)).decode()

    def take(self, path: Path) -> None:
        """The operator copies another machine's key here."""
        shutil.copy(path, next_key_path(self.path))


@pytest.fixture
async def host_with_secrets(host: Host) -> Host:
    await host.namespace()
    for number in range(3):
        secret = {"type": "secret_text", "name": "S", "text": f"text {number}"}
        ok(await host.deploy(f"script-{number}", "prod", bindings=[secret]))
    return host


@pytest.fixture
async def pair(host_with_secrets: Host) -> AsyncIterator[tuple[Platform, Machine, Machine]]:
    platform = Platform(host_with_secrets.root_key.key_id)
    a, b = (Machine(host_with_secrets, platform, name) for name in ("a", "b"))
    await until(lambda: len(platform.held) == 2)
    yield platform, a, b
    for machine in (a, b):
        machine.rotation.close()


Pair = tuple[Platform, Machine, Machine]


async def test_all_come_to_the_new_key_once_each_holds_it(pair: Pair, host: Host) -> None:
    platform, a, b = pair
    old = platform.key_id
    a.rotation.start()
    new = RootKey.load(next_key_path(a.path)).key_id
    await until(lambda: a.rotation.state()["waiting_for"] == ["b"])
    # Nothing has happened that b could not open, and nothing will before it can.
    await asyncio.sleep(0.2)
    assert platform.key_id == old
    assert (a.sealer.current.key_id, b.sealer.current.key_id) == (old, old)
    assert a.rotation.state()["rotating"]

    b.take(next_key_path(a.path))
    reads: list[str] = []
    while a.rotation.state()["rotating"] or b.rotation.state()["rotating"] or b.sealer.current.key_id == old:
        # All the while each opens everything, whoever has sealed it anew.
        reads += [machine.reads(number) for machine in (a, b) for number in range(3)]
        await asyncio.sleep(0.001)
    assert set(reads) == {"text 0", "text 1", "text 2"}
    for machine in (a, b):
        assert RootKey.load(machine.path).key_id == new
        assert machine.path.with_name(f"root-key.{old}").exists()
        assert not next_key_path(machine.path).exists()
        assert [machine.reads(number) for number in range(3)] == ["text 0", "text 1", "text 2"]
    assert platform.key_id == new
    # Nothing is left under the old one.
    only_old = RootKeySealer(host.root_key)
    for materials in (False, True):
        for row in await SealedRows(host.store.database).page(materials=materials, after=("", "", "")):
            with pytest.raises(Unsealable):
                only_old.reseal(row)


async def test_machine_that_was_parted_says_which_file_it_lacks_and_goes_on_when_it_is_there(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    platform, a, b = pair
    del platform.held["b"]  # not seen for long: nobody waits for it
    old = platform.key_id
    a.rotation.start()
    await until(lambda: not a.rotation.state()["rotating"])
    assert a.sealer.current.key_id == platform.key_id != old
    with pytest.raises(Unsealable, match=r"root-key\.next"):
        b.reads(0)
    await until(lambda: str(next_key_path(b.path)) in caplog.text)
    b.take(a.path)
    await until(lambda: b.sealer.current.key_id == platform.key_id and not b.rotation.state()["rotating"])
    assert b.reads(0) == "text 0"
    assert RootKey.load(b.path).key_id == platform.key_id


async def test_a_rotation_goes_on_after_the_database_was_away_and_machines_were_started_anew(
    pair: Pair,
) -> None:
    platform, a, b = pair
    old = platform.key_id
    a.rotation.start()
    b.take(next_key_path(a.path))
    platform.away = True
    await asyncio.sleep(0.1)
    for machine in (a, b):
        machine.rotation.close()
        machine.start()
    assert [machine.reads(1) for machine in (a, b)] == ["text 1", "text 1"]
    platform.away = False
    await until(
        lambda: all(
            m.sealer.current.key_id not in (old,) and not m.rotation.state()["rotating"] for m in (a, b)
        )
    )
    assert [machine.reads(1) for machine in (a, b)] == ["text 1", "text 1"]


async def test_start_twice_makes_one_key(pair: Pair) -> None:
    _, a, _ = pair
    a.rotation.start()
    made = RootKey.load(next_key_path(a.path)).key_id
    a.rotation.start()
    assert RootKey.load(next_key_path(a.path)).key_id == made
    assert a.rotation.state()["key_id"] == made


async def test_next_key_that_others_may_read_is_not_taken(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    _, a, b = pair
    a.rotation.start()
    b.take(next_key_path(a.path))
    next_key_path(b.path).chmod(0o644)
    await until(lambda: "0600 is right" in caplog.text or b.sealer.next is not None)
    if b.sealer.next is None:
        next_key_path(b.path).chmod(0o600)
    await until(
        lambda: b.sealer.current.key_id == a.sealer.current.key_id and not b.rotation.state()["rotating"]
    )


@pytest.mark.parametrize(
    ("keys", "holds", "seals"),
    [
        (("new", "old"), True, True),
        (("old", "new"), True, False),
        (("old",), False, False),
        ((), False, False),  # of an older release
    ],
)
def test_who_is_waited_for(keys: tuple[str, ...], holds: bool, seals: bool) -> None:
    others = [OtherMachine("b", keys)]
    assert lacking(others, "new", sealing=False) == ([] if holds else ["b"])
    assert lacking(others, "new", sealing=True) == ([] if seals else ["b"])
