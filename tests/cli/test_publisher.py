"""What an upload goes through on its host: JavaScript is loaded by an engine that is made once, and again when its
image or a worker's delta is gone.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.publisher import LocalPublisher
from runtime.aot_cache import AotCache
from runtime.compile import Compiler, _nothing
from runtime.compile_answers import Compiled, LoadedScript
from runtime.compile_queue import FairQueue
from runtime.module_problems import InvalidModule, ModuleProblem, ScriptFailed
from storage.failures import DiskFull
from storage.object_store import FolderObjectStore
from tests.runtime.test_compile import bundle_of
from tests.support.guests import sample
from tests.support.toy_engine import toy_engine

ENGINE = hashlib.sha256(toy_engine()).hexdigest()


class CountingCompiler(Compiler):
    def __init__(self) -> None:
        super().__init__()
        self.compiled: list[bytes] = []
        self.loaded = 0

    async def compile(self, wasm: bytes, memory_bytes: int) -> Compiled:
        self.compiled.append(wasm)
        return await super().compile(wasm, memory_bytes)

    async def load(
        self, bundle: bytes, memory_bytes: int, keep: Callable[[LoadedScript], object] = _nothing
    ) -> LoadedScript:
        self.loaded += 1
        return await super().load(bundle, memory_bytes, keep)


class Host:
    def __init__(self, folder: Path, javascript: bytes = b"", started_with: str | None = None) -> None:
        self.objects = FolderObjectStore(folder / "objects")
        digest = hashlib.sha256(javascript).hexdigest() if javascript else ""
        self.cache = AotCache(folder / "aot", b"k" * 32, digest if started_with is None else started_with)
        self.compiler = CountingCompiler()
        self.publisher = LocalPublisher(self.objects, self.cache, self.compiler, FairQueue(2), javascript)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, toy_engine())


async def test_engine_is_made_once_for_all_who_upload_at_once(host: Host) -> None:
    prepared = await asyncio.gather(*(host.publisher.prepare(bundle_of(letter), letter) for letter in "abcd"))
    assert {each.handlers for each in prepared} == {frozenset({"fetch"})}
    assert host.compiler.compiled == [toy_engine()]
    assert host.compiler.loaded == 4
    assert host.cache.has(ENGINE)
    for each in prepared:
        assert host.cache.read_delta(each.digest).facts.entrypoints == ("Api",)


async def test_bundle_that_is_here_already_is_not_loaded_again(host: Host) -> None:
    first = await host.publisher.prepare(bundle_of("a"), "me")
    again = await host.publisher.prepare(bundle_of("a"), "somebody else")
    assert (again.digest, again.handlers) == (first.digest, first.handlers)
    assert host.compiler.loaded == 1


async def test_engine_of_an_earlier_start_is_used(tmp_path: Path, host: Host) -> None:
    await host.publisher.warm()
    await host.compiler.close()
    later = Host(tmp_path, toy_engine())
    await later.publisher.prepare(bundle_of("a"), "me")
    assert later.compiler.compiled == []


async def test_host_goes_on_with_its_engine_when_another_was_built(tmp_path: Path, host: Host) -> None:
    """Control starts again, and finds another engine on the disk than its host was started with."""
    await host.publisher.warm()
    await host.compiler.close()
    later = Host(tmp_path, b"", started_with=ENGINE)
    await later.publisher.warm()
    prepared = await later.publisher.prepare(bundle_of("a"), "me")
    assert prepared.handlers == {"fetch"}
    later.objects.put(bundle_of("a"))
    later.cache.remove_stale(prepared.digest, -1.0)
    await later.publisher.remake(prepared.digest)
    assert later.cache.has_delta(prepared.digest)
    # What was compiled of its engine is gone, too: then it says what to do.
    later.cache.remove_stale(ENGINE, -1.0)
    with pytest.raises(InvalidModule, match="restart the host, which takes the new one up") as caught:
        await later.publisher.remake(ENGINE)
    assert caught.value.code is ModuleProblem.NO_JAVASCRIPT
    with pytest.raises(InvalidModule, match="restart the host"):
        await later.publisher.prepare(bundle_of("b"), "me")
    await later.compiler.close()


async def test_image_and_delta_are_made_again(host: Host) -> None:
    prepared = await host.publisher.prepare(bundle_of("a"), "me")
    host.objects.put(bundle_of("a"))
    before = host.cache.read_delta(prepared.digest)
    for digest in (ENGINE, prepared.digest):
        assert host.cache.remove_stale(digest, -1.0) > 0
        await host.publisher.remake(digest)
        assert host.cache.has(digest)
    assert host.cache.read_delta(prepared.digest) == before
    assert host.compiler.compiled == [toy_engine()] * 2


async def test_delta_that_the_disk_has_no_room_for_is_the_host_s_fault(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patched:
        patched.setattr(host.cache, "store_delta", full)
        with pytest.raises(DiskFull):
            await host.publisher.prepare(bundle_of("a"), "me")
    prepared = await host.publisher.prepare(bundle_of("a"), "me")
    assert host.cache.read_delta(prepared.digest).facts.handlers == {"fetch"}


async def test_script_s_own_error_keeps_its_place(host: Host) -> None:
    with pytest.raises(ScriptFailed) as caught:
        await host.publisher.prepare(bundle_of("e"), "me")
    assert (caught.value.error.file, caught.value.error.line) == ("worker.js", 3)
    assert caught.value.code is ModuleProblem.SCRIPT_FAILED
    # And the next one is none the worse for it.
    assert (await host.publisher.prepare(bundle_of("a"), "me")).handlers == {"fetch"}


async def test_host_without_an_engine_refuses_javascript_and_takes_wasm(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with pytest.raises(InvalidModule, match="started without a JavaScript engine") as caught:
        await host.publisher.prepare(bundle_of("a"), "me")
    assert caught.value.code is ModuleProblem.NO_JAVASCRIPT
    assert (await host.publisher.prepare(sample("hello"), "me")).handlers == {"fetch"}
    await host.publisher.warm()
    await host.compiler.close()


async def test_engine_that_does_not_compile_is_an_error_and_ends_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path, b"\0asm\1\0\0\0\x01")
    await host.publisher.warm()
    with pytest.raises(InvalidModule, match="does not compile") as caught:
        await host.publisher.prepare(bundle_of("a"), "me")
    assert caught.value.code is ModuleProblem.NO_JAVASCRIPT
    await host.compiler.close()
