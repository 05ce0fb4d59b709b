"""Modules stay mapped while they are used and there is room; what can't be loaded is compiled again, once."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.aot_cache import AotCache, ImageUnavailable, ModuleFacts, OpenImage
from runtime.capi.guest import Guest
from runtime.instance_pool import InstancePool, LoadedModule
from runtime.linking import make_linker
from tests.support.guests import engine, wat
from tests.support.waiting import until


class Pool:
    """A pool over a real cache, with `count` modules to load."""

    def __init__(self, folder: Path, count: int = 5, **bounds: int) -> None:
        self.cache = AotCache(folder, b"k" * 32)
        self.wasm: dict[str, bytes] = {}
        self.recompiled: list[str] = []
        self.compiling = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.works = True
        for n in range(count):
            wasm = wat(f'(module (memory (export "memory") 1) (global i32 (i32.const {n})))')
            digest = hashlib.sha256(wasm).hexdigest()
            self.wasm[digest] = wasm
            self.compile(digest)
        self.digests = list(self.wasm)
        self.pool = InstancePool(engine(), make_linker(engine()), self.cache, self._recompile, **bounds)

    def compile(self, digest: str) -> None:
        module = engine().compile(self.wasm[digest])
        self.cache.store(digest, ModuleFacts(False), module.image())
        module.close()

    async def _recompile(self, digest: str, reason: str) -> None:
        self.recompiled.append(reason)
        self.compiling.set()
        if self.gate is not None:
            await self.gate.wait()
        if not self.works:
            raise ImageUnavailable("the bytes are gone")
        self.compile(digest)

    def forget(self, digest: str) -> None:
        for path in self.cache._folder.glob(f"{digest}*"):
            path.unlink()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "aot"


def is_open(loaded: LoadedModule) -> bool:
    try:
        return bool(loaded.pre.pointer)
    except ValueError:
        return False


async def test_module_is_mapped_once(folder: Path) -> None:
    pool = Pool(folder)
    first = await pool.pool.load(pool.digests[0], "tenant")
    assert await pool.pool.load(pool.digests[0], "tenant") is first
    assert pool.pool.get(pool.digests[0]) is first
    assert pool.pool.get(pool.digests[1]) is None
    assert pool.recompiled == []


async def test_least_recently_used_goes_first(folder: Path) -> None:
    pool = Pool(folder, max_modules=3)
    loaded = [await pool.pool.load(digest, "tenant") for digest in pool.digests[:3]]
    pool.pool.get(pool.digests[0])
    await pool.pool.load(pool.digests[3], "tenant")
    assert [is_open(module) for module in loaded] == [True, False, True]
    assert len(pool.pool) == 3
    await pool.pool.load(pool.digests[4], "tenant")
    assert [is_open(module) for module in loaded] == [True, False, False]


async def test_a_mapped_module_holds_one_descriptor_and_its_instances_none(folder: Path) -> None:
    """What `cli.descriptors` counts with. Memory is laid out from the image's own file: no memfd beside it. Slots
    that rest keep a few images of modules that are gone; those of earlier tests are closed as their slots are used.
    """
    pool = Pool(folder, count=0)
    for number in range(40):
        data = f'(data (i32.const 0) "first {number}") (data (i32.const 150000) "second")'
        wasm = wat(f'(module (memory (export "memory") 3) {data})')
        digest = hashlib.sha256(wasm).hexdigest()
        pool.wasm[digest] = wasm
        pool.compile(digest)
    gc.collect()  # so that nothing that others left is counted
    memfds = held("/memfd:")
    loaded = [await pool.pool.load(digest, "tenant") for digest in pool.wasm]
    guests: list[Guest] = []
    try:
        for module in loaded:
            for _ in range(3):
                guest = Guest(engine(), 1 << 20, 1_000_000_000)
                guests.append(guest)
                guest.begin_instantiate(module.pre)
                while not guest.poll():
                    pass
                guest.finish()
        assert held(str(folder)) == 40
        assert held("/memfd:") <= memfds
    finally:
        for guest in guests:
            guest.close()
        for module in loaded:
            module.evicted = True
            module.close_if_unused()
    assert held(str(folder)) <= 10


def held(beginning: str) -> int:
    """Descriptors of this process, of files whose names begin so."""
    files = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            files.append(os.readlink(entry))
    return sum(file.startswith(beginning) for file in files)


async def test_who_leaves_while_a_large_image_is_verified_leaves_no_descriptor(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(folder, count=1)
    entered, go_on, opened = threading.Event(), threading.Event(), threading.Event()
    open_image = pool.cache.open

    def held(digest: str) -> OpenImage:
        entered.set()
        go_on.wait(60)
        image = open_image(digest)
        opened.set()
        return image

    monkeypatch.setattr(pool.cache, "open_small", lambda _digest: None)  # as of one that is large
    monkeypatch.setattr(pool.cache, "open", held)
    loading = asyncio.create_task(pool.pool.load(pool.digests[0], "tenant"))
    await asyncio.to_thread(entered.wait, 60)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    go_on.set()
    await asyncio.to_thread(opened.wait, 60)
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before, 20)


async def test_mapped_bytes_are_bounded_but_one_module_always_fits(folder: Path) -> None:
    probe = Pool(folder)
    size = (await probe.pool.load(probe.digests[0], "tenant")).place.size
    pool = Pool(folder, max_bytes=size + size // 2)
    first = await pool.pool.load(pool.digests[0], "tenant")
    second = await pool.pool.load(pool.digests[1], "tenant")
    assert (is_open(first), is_open(second), len(pool.pool)) == (False, True, 1)
    tiny = Pool(folder, max_bytes=1)
    only = await tiny.pool.load(tiny.digests[0], "tenant")
    assert is_open(only)


async def test_tenant_with_many_modules_pushes_out_its_own(folder: Path) -> None:
    pool = Pool(folder, count=8, max_modules=4)
    theirs = [await pool.pool.load(digest, name) for name, digest in zip("bc", pool.digests[:2], strict=True)]
    for digest in pool.digests[2:]:
        await pool.pool.load(digest, "a")
    assert all(map(is_open, theirs))
    assert len(pool.pool) == 4
    assert [digest for digest in pool.digests if pool.pool.get(digest)] == pool.digests[:2] + pool.digests[
        -2:
    ]


async def test_module_in_use_is_closed_only_afterwards(folder: Path) -> None:
    pool = Pool(folder, max_modules=1)
    used = await pool.pool.load(pool.digests[0], "tenant")
    used.users += 2
    await pool.pool.load(pool.digests[1], "tenant")
    assert used.evicted
    assert is_open(used)
    used.users -= 1
    used.close_if_unused()
    assert is_open(used)
    used.users -= 1
    used.close_if_unused()
    assert not is_open(used)
    again = await pool.pool.load(pool.digests[0], "tenant")
    assert again is not used
    assert is_open(again)


async def test_small_image_is_mapped_without_waiting(folder: Path) -> None:
    pool = Pool(folder)
    loaded = pool.pool.load_small(pool.digests[0], "tenant")
    assert loaded is not None
    assert is_open(loaded)
    assert pool.pool.get(pool.digests[0]) is loaded
    assert await pool.pool.load(pool.digests[0], "tenant") is loaded


async def test_what_somebody_has_to_wait_for_is_left_to_load(folder: Path) -> None:
    pool = Pool(folder)
    missing, forged, refused, _, _ = pool.digests
    pool.forget(missing)
    [path] = folder.glob(f"{forged}*.cwasm")
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    pool.cache.store(refused, ModuleFacts(False), b"not an image at all")
    for digest in (missing, forged, refused):
        assert pool.pool.load_small(digest, "tenant") is None
    assert (len(pool.pool), pool.recompiled) == (0, [])
    for digest in (missing, forged, refused):
        assert is_open(await pool.pool.load(digest, "tenant"))
    assert len(pool.recompiled) == 3


async def test_missing_image_is_compiled_again(folder: Path) -> None:
    pool = Pool(folder)
    pool.forget(pool.digests[0])
    assert is_open(await pool.pool.load(pool.digests[0], "tenant"))
    assert len(pool.recompiled) == 1
    assert "never compiled" in pool.recompiled[0]


async def test_forged_image_is_never_mapped_but_compiled_again(folder: Path) -> None:
    pool = Pool(folder)
    [path] = folder.glob(f"{pool.digests[0]}*.cwasm")
    path.write_bytes(path.read_bytes() + b"\0")
    assert is_open(await pool.pool.load(pool.digests[0], "tenant"))
    assert "MAC is wrong" in pool.recompiled[0]


async def test_authenticated_image_that_the_engine_refuses_is_compiled_again(folder: Path) -> None:
    pool = Pool(folder)
    pool.cache.store(pool.digests[0], ModuleFacts(False), b"not an image at all")
    assert is_open(await pool.pool.load(pool.digests[0], "tenant"))
    assert len(pool.recompiled) == 1


async def test_many_who_wait_for_one_image_compile_it_once(folder: Path) -> None:
    pool = Pool(folder)
    pool.gate = asyncio.Event()
    pool.forget(pool.digests[0])
    waiting = [asyncio.create_task(pool.pool.load(pool.digests[0], "tenant")) for _ in range(5)]
    await pool.compiling.wait()
    waiting[0].cancel()
    await asyncio.sleep(0)
    pool.gate.set()
    loaded = await asyncio.gather(*waiting[1:])
    assert all(each is loaded[0] for each in loaded)
    assert waiting[0].cancelled()
    assert len(pool.recompiled) == 1


async def test_recompiling_that_fails_is_tried_anew_by_the_next(folder: Path) -> None:
    pool = Pool(folder)
    pool.works = False
    pool.forget(pool.digests[0])
    for _ in range(2):
        with pytest.raises(ImageUnavailable, match="bytes are gone"):
            await pool.pool.load(pool.digests[0], "tenant")
    pool.works = True
    assert is_open(await pool.pool.load(pool.digests[0], "tenant"))
    assert len(pool.recompiled) == 3
