"""Delivery over real processes: a message whose deliverer is killed with -9 comes again, with its attempt
counted, and in any case nobody is given a message that another process is working on.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.capabilities import QueueMessage
from storage.database import Database
from storage.queue_protocol import Backlog
from storage.queue_store import QueueStore, queue_migrations
from tests.bindings.delivering import start


class World:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "queues.db"
        self.journal = folder / "journal"
        self.journal.touch()
        self.database = Database.open(self.path, queue_migrations())
        self.store = QueueStore(self.database)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, mode: str, lease_s: float) -> subprocess.Popen[bytes]:
        self.processes.append(start(self.path, self.journal, mode, lease_s))
        return self.processes[-1]

    def ready(self) -> int:
        return self.journal.read_text().count("ready")

    def lines(self) -> list[list[str]]:
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [line for line in lines if line[0] != "ready"]

    async def until(self, fact: Callable[[], bool]) -> None:
        for _ in range(6000):
            if fact():
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"it did not happen in 60 s; the journal ends with {self.lines()[-5:]}")

    async def send(self, count: int) -> None:
        for first in range(0, count, 100):
            numbers = range(first, min(first + 100, count))
            await self.store.send("q", [QueueMessage(b"%d" % number, "text") for number in numbers])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    for process in world.processes:
        process.kill()
        process.wait()
    world.database.close()


async def test_message_of_a_killed_process_comes_again_with_its_attempt_counted(world: World) -> None:
    await world.send(3)
    dying = world.start("hang", 2.0)
    await world.until(lambda: len(world.lines()) == 3)
    world.start("work", 2.0)
    await asyncio.sleep(4.4)  # longer than two leases: renewed, they hold
    assert len(world.lines()) == 3
    dying.kill()
    await world.until(lambda: world.store.backlog("q") == Backlog())
    ended = [line for line in world.lines() if line[0] == "end"]
    assert sorted((body, attempts) for _, _, body, attempts in ended) == [("0", "2"), ("1", "2"), ("2", "2")]


async def test_several_processes_share_a_queue_without_one_double_delivery(world: World) -> None:
    for _ in range(3):
        world.start("work", 10.0)
    await world.until(lambda: world.ready() == 3)
    await world.send(300)
    await world.until(lambda: world.store.backlog("q") == Backlog())
    begun = [line for line in world.lines() if line[0] == "begin"]
    assert Counter(body for _, _, body, _ in begun) == Counter(str(number) for number in range(300))
    assert len({pid for _, pid, _, _ in begun}) > 1


async def test_nothing_is_lost_while_processes_are_killed(world: World) -> None:
    """At least once: every message is ended by somebody, however often its deliverers die."""
    await world.send(200)
    for _ in range(3):
        process = world.start("work", 2.0)
        seen = len(world.lines())
        await world.until(lambda seen=seen: len(world.lines()) > seen)  # type: ignore[misc]
        process.kill()
        process.wait()
    world.start("work", 2.0)
    await world.until(lambda: world.store.backlog("q") == Backlog())
    assert {body for kind, _, body, _ in world.lines() if kind == "end"} == {str(n) for n in range(200)}
    assert world.store.backlog("dlq") == Backlog()
