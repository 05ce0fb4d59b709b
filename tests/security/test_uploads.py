"""Uploads, however many and however shaped, cost control a bounded amount of memory, and never an inconsistency."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control.body_room import BodyRoom
from runtime.aot_cache import AotCache, ModuleFacts
from tests.control.support import Host, refused, script_path

MIB = 1 << 20


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    built = Host(tmp_path)
    yield built
    await built.close()


async def test_bodies_under_way_are_bounded_together_and_room_comes_back(host: Host) -> None:
    """Four uploads that stop before their end hold 8 MiB; a fifth is told to come back, a small one is not."""
    await host.namespace()
    host.services.bodies = BodyRoom(8 * MIB)
    head = (
        b'--b\r\ncontent-disposition: form-data; name="metadata"\r\n\r\n{"main_module": "m"}'
        b'\r\n--b\r\ncontent-disposition: form-data; name="m"; filename="m"\r\n'
        b"content-type: application/wasm\r\n\r\n"
    )
    stalled = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield head + bytes(2 * MIB - 1024)
        await stalled.wait()

    async def put(name: str, content: AsyncIterator[bytes] | bytes) -> int:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        answer = await host.api.put(script_path(name, "prod"), content=content, headers=headers)
        if answer.status_code == 503:
            assert "try again" in refused(answer, 503, 10002)
            assert answer.headers["retry-after"] == "5"
        return answer.status_code

    puts = [asyncio.create_task(put(f"stalling-{number}", stalling())) for number in range(4)]
    async with asyncio.timeout(60):
        while host.services.bodies.held < 4 * (2 * MIB - 1024):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    assert await put("large", head + bytes(MIB) + b"\r\n--b--\r\n") == 503
    assert await put("small", head + b"no wasm\r\n--b--\r\n") == 400
    stalled.set()
    assert await asyncio.gather(*puts) == [400] * 4
    assert host.services.bodies.held == 0


@pytest.fixture
def cache(tmp_path: Path) -> AotCache:
    return AotCache(tmp_path / "aot", b"k" * 32)


def test_same_module_of_two_tenants_at_once_becomes_one_good_image(cache: AotCache) -> None:
    """Both are stored by threads of one process, at the same time, under the same name."""
    image = bytes(range(256)) * 40_000
    failures: list[BaseException] = []

    def store() -> None:
        try:
            for _ in range(5):
                cache.store("d" * 64, ModuleFacts(True), image)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=store) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with cache.open("d" * 64) as opened:
        assert Path(opened.path).read_bytes().startswith(image)
    assert [path.suffix for path in cache._folder.iterdir()] == [".cwasm"]


def test_image_that_does_not_fit_the_disk_leaves_no_half_of_it(
    cache: AotCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        cache.store("d" * 64, ModuleFacts(False), b"image")
    assert list(cache._folder.iterdir()) == []
    assert not cache.has("d" * 64)
