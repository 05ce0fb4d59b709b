"""What holds over several processes at once, on both engines: no more batches of a queue at a time than its consumer
may have, whoever dies; and nothing delivered while the queue is paused.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from model.capabilities import QueueMessage
from model.clock import monotonic_s
from model.queues import ConsumerSettings, QueueSettingsChange
from storage.postgres.address import DatabaseAddress
from storage.queue_protocol import QueueStorage
from tests.bindings.delivering import opened, start
from tests.support.postgres import migrate

WAIT_S = 90.0
#: Far above what a process may be held up by a busy machine: a lease that is not renewed in time is no lease.
LEASE_S = 4.0


class World:
    def __init__(self, where: Path | DatabaseAddress, store: QueueStorage, folder: Path) -> None:
        self.where = where
        self.store = store
        self.journal = folder / "journal"
        self.journal.touch()
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, mode: str, settings: ConsumerSettings) -> None:
        self.processes.append(start(self.where, self.journal, mode, LEASE_S, settings))

    def kill(self, pid: int) -> None:
        """And say so in the journal, once it is dead."""
        (process,) = (process for process in self.processes if process.pid == pid)
        process.kill()
        process.wait()
        self.say("killed", pid)

    def say(self, word: str, pid: int = 0) -> None:
        with self.journal.open("a") as journal:
            journal.write(f"{word} {pid}\n")

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.journal.read_text().splitlines()]

    def running(self) -> list[Counter[int]]:
        """After each line: how many messages each process was at work on. Who was killed is at work no more."""
        now: Counter[int] = Counter()
        states: list[Counter[int]] = []
        for word, pid, *_ in self.lines():
            match word:
                case "begin":
                    now[int(pid)] += 1
                case "end":
                    now[int(pid)] -= 1
                case "killed":
                    del now[int(pid)]
            states.append(+now)
        return states

    async def send(self, count: int) -> None:
        for first in range(0, count, 100):
            numbers = range(first, min(first + 100, count))
            await self.store.send("q", [QueueMessage(b"%d" % number, "text") for number in numbers])

    async def until(self, fact: Callable[[], Awaitable[bool] | bool]) -> None:
        end = monotonic_s() + WAIT_S
        while True:
            found = fact()
            if found if isinstance(found, bool) else await found:
                return
            assert monotonic_s() < end, (
                f"it did not happen in time; the journal ends with {self.lines()[-5:]}"
            )
            await asyncio.sleep(0.02)

    async def is_empty(self) -> bool:
        return await self.store.stored("q") == (0, 0)


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    where: Path | DatabaseAddress = tmp_path / "queues.db"
    if request.param == "postgres":
        where = request.getfixturevalue("database_address")
        assert isinstance(where, DatabaseAddress)
        await migrate(where)
    async with opened(where) as store:
        made = World(where, store, tmp_path)
        yield made
        for process in made.processes:
            process.kill()
            process.wait()


async def test_no_more_batches_run_than_allowed_and_work_goes_on_when_a_process_is_killed(
    world: World,
) -> None:
    settings = ConsumerSettings(batch_size=1, max_wait_ms=0, max_concurrency=3)
    await world.send(30)
    for _ in range(2):
        world.start("slow", settings)
    # Both are at work, on three together: more than one each.
    await world.until(lambda: any(len(state) == 2 and state.total() == 3 for state in world.running()))
    await world.until(lambda: bool(world.running()[-1]))
    killed = next(iter(world.running()[-1]))
    world.kill(killed)
    ended = len(world.lines())
    await world.until(lambda: any(line[0] == "end" for line in world.lines()[ended:]))
    await world.until(world.is_empty)
    states = world.running()
    assert max(state.total() for state in states) == 3
    assert {line[2] for line in world.lines() if line[0] == "end"} == {str(number) for number in range(30)}
    assert await world.store.stored("dlq") == (0, 0)


async def test_only_one_batch_runs_of_a_consumer_that_may_have_one_and_its_lease_is_waited_for(
    world: World,
) -> None:
    settings = ConsumerSettings(batch_size=2, max_wait_ms=0, max_concurrency=1)
    await world.send(4)
    world.start("hang", settings)
    await world.until(lambda: sum(line[0] == "begin" for line in world.lines()) == 2)
    world.start("work", settings)
    await world.until(lambda: sum(line[0] == "ready" for line in world.lines()) == 2)
    await asyncio.sleep(2 * LEASE_S)  # it is renewed
    assert sum(line[0] == "begin" for line in world.lines()) == 2
    world.kill(world.processes[0].pid)
    await world.until(world.is_empty)
    assert max(state.total() for state in world.running()) == 2  # two messages: one batch


async def test_nothing_is_delivered_while_the_queue_is_paused_and_all_of_it_afterwards(world: World) -> None:
    settings = ConsumerSettings(batch_size=5, max_wait_ms=0)
    for _ in range(2):
        world.start("work", settings)
    await world.until(lambda: sum(line[0] == "ready" for line in world.lines()) == 2)
    await world.send(20)
    await world.until(world.is_empty)
    await world.store.change_settings("q", QueueSettingsChange(delivery_paused=True))
    world.say("paused")
    await world.send(60)
    await asyncio.sleep(1.0)  # fifty looks of each process
    assert world.lines()[-1][0] == "paused"
    assert (await world.store.stored("q"))[0] == 60
    await world.store.change_settings("q", QueueSettingsChange(delivery_paused=False))
    await world.until(world.is_empty)
    begun = Counter(line[2] for line in world.lines() if line[0] == "begin")
    assert begun == Counter([str(number) for number in range(60)] + [str(number) for number in range(20)])
