"""Modules and images that no script refers to go, in the background; whatever anybody may still want stays."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from control.leftovers import Files, LeftoverSweep, Removed, suspects
from model.identity import NamespaceName, ScriptName
from model.scripts import ScriptRef
from runtime.aot_cache import AotCache, ImageUnavailable, ModuleFacts
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.object_store import FolderObjectStore
from storage.script_records import Deployment

GRACE_S = 3600.0


class Stored:
    """A host's control.db, objects and images, in which time passes by changing files' ages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sequence = ChangeSequence(folder / "changes.seq")
        self.store = ControlStore.open(folder / "control.db", self.sequence)
        self.objects = FolderObjectStore(folder / "objects")
        self.images = AotCache(folder / "aot", b"k" * 32)
        self.told: list[tuple[str, Removed]] = []
        self.sweep = self.make_sweep()

    def make_sweep(self) -> LeftoverSweep:
        kinds: dict[str, Files] = {"modules": self.objects, "images": self.images}
        foreign = self.images.remove_foreign
        return LeftoverSweep(
            self.store.scripts, kinds, foreign, lambda *told: self.told.append(told), GRACE_S
        )

    async def deploy(self, name: str, module: bytes) -> str:
        digest = self.objects.put(module)
        if self.images.has(digest):
            self.images.touch(digest)
        else:
            self.images.store(digest, ModuleFacts(False), b"image of " + module)
        deployment = Deployment(ScriptRef(None, ScriptName(name)))
        await self.store.scripts.deploy(deployment, digest, frozenset({"fetch"}), lambda *_: b"")
        return digest

    def has(self, digest: str) -> tuple[bool, bool]:
        return self.objects.exists(digest), self.images.has(digest)

    def age(self, seconds: float = GRACE_S + 1) -> None:
        then = time.time() - seconds
        for path in (*self.folder.glob("objects/*/*"), *self.folder.glob("aot/*")):
            os.utime(path, (then, then))

    def close(self) -> None:
        self.store.close()
        self.sequence.close()


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    made = Stored(tmp_path)
    yield made
    made.close()


async def test_what_no_script_refers_to_goes_at_the_second_sweep(stored: Stored) -> None:
    kept, gone = await stored.deploy("kept", b"a"), await stored.deploy("gone", b"b")
    replaced = await stored.deploy("changed", b"c")
    await stored.deploy("changed", b"d")
    await stored.store.scripts.delete(ScriptRef(None, ScriptName("gone")), force=False)
    stored.age()
    await stored.sweep.sweep()
    assert stored.has(gone) == stored.has(replaced) == (True, True)
    image_bytes = stored.images.size(gone) + stored.images.size(replaced)
    swept = await stored.sweep.sweep()
    assert stored.has(gone) == stored.has(replaced) == (False, False)
    assert stored.has(kept) == (True, True)
    assert swept.removed == {"modules": Removed(2, 2), "images": Removed(2, image_bytes)}
    assert stored.told[-2:] == list(swept.removed.items())
    assert not list(stored.folder.glob("aot/*" + gone + "*"))


async def test_an_upload_under_way_keeps_what_was_left_over_before(stored: Stored) -> None:
    """Its module is there from long ago, and no script refers to it until the upload commits."""
    digest = await stored.deploy("first", b"m")
    await stored.store.scripts.delete(ScriptRef(None, ScriptName("first")), force=False)
    stored.age()
    await stored.sweep.sweep()
    assert stored.objects.put(b"m") == digest
    stored.images.touch(digest)
    await stored.sweep.sweep()
    assert stored.has(digest) == (True, True)


async def test_what_is_young_stays_however_often_it_is_looked_at(stored: Stored) -> None:
    digest = stored.objects.put(b"just uploaded")
    for _ in range(3):
        await stored.sweep.sweep()
    assert stored.objects.exists(digest)


async def test_scripts_of_every_namespace_and_page_count(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.leftovers._PAGE", 2)
    monkeypatch.setattr("control.leftovers._PAUSE_S", 0)
    await stored.store.namespaces.create(NamespaceName("spaces"), trusted=False)
    digests = [await stored.deploy(f"plain{n}", b"p%d" % n) for n in range(4)]
    for number in range(3):
        digest = stored.objects.put(b"n%d" % number)
        ref = ScriptRef(NamespaceName("spaces"), ScriptName(f"plain{number}"))
        await stored.store.scripts.deploy(Deployment(ref), digest, frozenset({"fetch"}), lambda *_: b"")
        digests.append(digest)
    stored.age()
    for _ in range(2):
        swept = await stored.sweep.sweep()
    assert swept.kept == 7
    assert all(stored.objects.exists(digest) for digest in digests)


async def test_images_of_another_engine_go_when_they_are_old(stored: Stored) -> None:
    digest = await stored.deploy("kept", b"a")
    other = stored.folder / "aot" / f"{digest}-{'0' * 32}.cwasm"
    torn = stored.folder / "aot" / ".tmp-left"
    strange = stored.folder / "aot" / "README"
    for path in (other, torn, strange):
        path.write_bytes(b"x")
    await stored.sweep.sweep()
    assert other.exists()
    stored.age()
    await stored.sweep.sweep()
    assert not any(path.exists() for path in (other, torn))
    assert strange.exists()
    assert stored.has(digest) == (True, True)


async def test_an_image_that_is_mapped_stays_readable_and_the_next_one_is_made_anew(stored: Stored) -> None:
    digest = stored.objects.put(b"m")
    stored.images.store(digest, ModuleFacts(True), b"native code")
    with stored.images.open(digest) as image:
        stored.age()
        for _ in range(2):
            await stored.sweep.sweep()
        assert not stored.images.has(digest)
        assert Path(image.path).read_bytes().startswith(b"native code")
    with pytest.raises(ImageUnavailable, match="never compiled"):
        stored.images.open(digest)


def test_one_sweep_takes_so_many_and_no_more() -> None:
    assert len(suspects((f"{n}" for n in range(10)), {"3"}, most=4)) == 4
    assert suspects(["a", "b"], {"a"}, most=4) == {"b"}


def test_a_put_in_the_middle_of_a_removal_ends_with_the_module_there(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The removal has seen how old the file is; now somebody is told that it is kept."""
    digest = stored.objects.put(b"m")
    stored.age()
    putting = threading.Thread(target=stored.objects.put, args=(b"m",))
    now = time.time()

    def in_the_middle() -> float:
        putting.start()
        putting.join(0.2)
        return now

    monkeypatch.setattr("storage.object_store.time", SimpleNamespace(time=in_the_middle))
    assert stored.objects.remove_stale(digest, GRACE_S) == 1
    putting.join(10)
    assert stored.objects.get(digest) == b"m"
