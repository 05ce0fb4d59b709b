"""A tenant's huge module slows nobody while it is loaded, and several events that want it map it once."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from pathlib import Path

import pytest

from runtime.aot_cache import SMALL_BYTES, AotCache, ModuleFacts, OpenImage
from runtime.instance_pool import InstancePool
from runtime.linking import make_linker
from tests.security.calling import caller
from tests.support.guests import engine


@pytest.fixture
def verified_in(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each verification: whether it was on the loop's thread."""
    seen: list[bool] = []
    verify = AotCache._verified

    def noted(cache: AotCache, digest: str, descriptor: int, size: int) -> OpenImage:
        seen.append(threading.current_thread() is threading.main_thread())
        return verify(cache, digest, descriptor, size)

    monkeypatch.setattr(AotCache, "_verified", noted)
    return seen


async def test_large_image_is_verified_off_the_loop_and_mapped_once(
    tmp_path: Path, verified_in: list[bool]
) -> None:
    cache = AotCache(tmp_path, b"k" * 32)
    digests = []
    for size in (0, 4 * SMALL_BYTES):
        wasm = caller(padding=bytes(range(1, 256)) * (size // 255))
        digest = hashlib.sha256(wasm).hexdigest()
        module = engine().compile(wasm)
        cache.store(digest, ModuleFacts(False), module.image())
        module.close()
        digests.append(digest)

    async def recompile(_digest: str, why: str) -> None:
        raise AssertionError(why)

    pool = InstancePool(engine(), make_linker(engine()), cache, recompile, max_modules=1)
    small, large = digests
    await pool.load(small, "tenant")
    assert verified_in == [True]
    assert pool.load_small(large, "tenant") is None
    loaded = await asyncio.gather(*(pool.load(large, "tenant") for _ in range(5)))
    assert verified_in[1:] == [False] * 5
    assert all(each is loaded[0] for each in loaded)
    assert len(pool) == 1
    assert pool._images.held.bytes == cache.size(large) > SMALL_BYTES
    # And small again: what was evicted was closed, what is mapped is usable.
    await pool.load(small, "tenant")
    assert (len(pool), pool._images.held.bytes) == (1, cache.size(small))
