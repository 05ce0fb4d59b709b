"""Uploads are compiled one at a time for each owner, owners in turn; nobody waits for another's bomb."""

from __future__ import annotations

import asyncio

import pytest

from model.errors import LoadShed
from runtime.compile_queue import FairQueue


class Uploads:
    """Runs turns, and remembers the order in which they began."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.began: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, owner: str, name: str) -> None:
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._turn(owner, name))
        await self.settle()

    async def _turn(self, owner: str, name: str) -> None:
        async with self.queue.turn(owner):
            self.began.append(name)
            await self.ends[name].wait()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        await self.settle()

    @staticmethod
    async def settle() -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_bomb_holds_one_slot_and_delays_its_owner_only() -> None:
    uploads = Uploads(FairQueue(2))
    await uploads.start("mallory", "bomb")
    await uploads.start("mallory", "bomb 2")
    for number in range(3):
        await uploads.start("alice", f"alice {number}")
        await uploads.end(f"alice {number}")
    assert uploads.began == ["bomb", "alice 0", "alice 1", "alice 2"]
    await uploads.end("bomb")
    assert uploads.began[-1] == "bomb 2"
    await uploads.end("bomb 2")


async def test_so_many_at_once_and_no_more() -> None:
    uploads = Uploads(FairQueue(2))
    for number in range(4):
        await uploads.start(f"owner {number}", f"upload {number}")
    assert uploads.began == ["upload 0", "upload 1"]
    await uploads.end("upload 1")
    assert uploads.began == ["upload 0", "upload 1", "upload 2"]
    for number in (0, 2, 3):
        await uploads.end(f"upload {number}")
    assert uploads.began[-1] == "upload 3"


async def test_owners_take_turns_however_many_uploads_one_has() -> None:
    uploads = Uploads(FairQueue(1))
    for owner, name in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1")):
        await uploads.start(owner, name)
    for _ in range(5):
        await uploads.end(uploads.began[-1])
    assert uploads.began == ["a1", "a2", "b1", "c1", "a3"]


async def test_too_many_are_told_to_come_back_and_one_owner_cannot_fill_the_queue() -> None:
    uploads = Uploads(FairQueue(1, waiting=4, waiting_of_one=2))
    for name in ("a1", "a2", "a3"):
        await uploads.start("a", name)
    with pytest.raises(LoadShed) as shed:
        async with uploads.queue.turn("a"):
            pass
    assert shed.value.retry_after_s == 5
    await uploads.start("b", "b1")
    await uploads.start("c", "c1")
    with pytest.raises(LoadShed):
        async with uploads.queue.turn("d"):
            pass
    while any(not task.done() for task in uploads.tasks.values()):
        await uploads.end(uploads.began[-1])
    assert sorted(uploads.began) == ["a1", "a2", "a3", "b1", "c1"]


async def test_an_upload_that_is_cancelled_gives_its_place_to_the_next() -> None:
    uploads = Uploads(FairQueue(1))
    await uploads.start("a", "a1")
    await uploads.start("b", "b1")
    await uploads.start("c", "c1")
    uploads.tasks["b1"].cancel()
    await uploads.settle()
    # Given its slot and cancelled in the same moment.
    uploads.ends["a1"].set()
    await uploads.tasks["a1"]
    uploads.tasks["c1"].cancel()
    await uploads.settle()
    assert uploads.queue.waiting == 0
    await uploads.start("d", "d1")
    assert uploads.began[-1] == "d1"
    await uploads.end("d1")
