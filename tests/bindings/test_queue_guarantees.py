"""What a queue promises while its senders and deliverers are killed with -9, all at once: each acknowledged message is
delivered; none is delivered by two at a time while a lease holds; one that kills or fails whoever takes it ends in the
dead-letter queue. (tests/acceptance/test_crash.py kills the host around it.)
"""

from __future__ import annotations

import asyncio
import itertools
import random
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from model.capabilities import QueueMessage
from storage.database import Database
from storage.queue_protocol import Backlog
from storage.queue_store import QueueStore, queue_migrations
from tests.support import queue_child

WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Line:
    word: str
    at_s: float
    name: str
    body: str
    attempts: int


class World:
    """Senders and deliverers over one file; `killed` says when each was about to be."""

    def __init__(self, folder: Path) -> None:
        self.path, self.journal = folder / "queues.db", folder / "journal"
        self.journal.touch()
        self.database = Database.open(self.path, queue_migrations())
        self.store = QueueStore(self.database)
        self.killed: dict[str, float] = {}
        self._names = itertools.count()
        self._alive: dict[str, dict[str, subprocess.Popen[bytes]]] = defaultdict(dict)

    def start(self, what: str) -> None:
        name = f"{what}{next(self._names)}"
        self._alive[what][name] = queue_child.start(what, self.path, self.journal, name)

    def at_work(self) -> list[str]:
        """Deliverers that have begun a message and not ended it."""
        ended = {(line.name, line.body, line.attempts) for line in self.lines("end")}
        begun = [line for line in self.lines("begin") if (line.name, line.body, line.attempts) not in ended]
        return [line.name for line in begun if line.name in self._alive["deliver"]]

    def kill(self, what: str, chance: random.Random, among: Sequence[str] = ()) -> None:
        name = chance.choice(list(among or self._alive[what]))
        process = self._alive[what].pop(name)
        self.killed[name] = time.monotonic()
        process.kill()
        process.wait()

    def replace_dead(self, what: str) -> None:
        """Those that a message has killed."""
        for name, process in list(self._alive[what].items()):
            if process.poll() is not None:
                del self._alive[what][name]
                self.start(what)

    def lines(self, word: str) -> list[Line]:
        found = []
        for text in self.journal.read_text().splitlines():
            kind, at_s, name, body, attempts = text.split()
            if kind == word:
                found.append(Line(kind, float(at_s), name, body, int(attempts)))
        return found

    def close(self) -> None:
        for processes in self._alive.values():
            for process in processes.values():
                process.kill()
                process.wait()
        self.database.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def overlaps(begins: list[Line], ends: list[Line], killed: dict[str, float]) -> list[tuple[Line, Line]]:
    """Deliveries that began while another one of the same message was still at work: not ended, and not killed."""
    ended = {(line.name, line.body, line.attempts): line.at_s for line in ends}
    by_body: dict[str, list[Line]] = defaultdict(list)
    for line in begins:
        by_body[line.body].append(line)
    return [
        (one, other)
        for lines in by_body.values()
        for one, other in itertools.combinations(sorted(lines, key=lambda line: line.at_s), 2)
        if other.at_s
        < min(ended.get((one.name, one.body, one.attempts), float("inf")), killed.get(one.name, float("inf")))
    ]


async def test_queue_keeps_its_promises_while_everybody_is_killed(world: World) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    poison = ["deadly-1", "failing-1"]
    await world.store.send("poisoned", [QueueMessage(body.encode(), "text") for body in poison])
    for what in ("send", "send", "deliver", "deliver", "deliver"):
        world.start(what)
    for kills in range(1, 7):
        # Each time there is more: nobody is killed before he has begun.
        wanted = 30 * kills
        await until(world, lambda wanted=wanted: len(world.lines("sent")) > wanted)
        await until(world, lambda wanted=wanted: len(world.lines("begin")) > wanted)
        await asyncio.sleep(chance.uniform(0, 0.05))  # the random point
        what = "send" if kills % 3 == 0 else "deliver"
        # Somebody who is in a delivery, if one is: it may end before the kill all the same.
        world.kill(what, chance, world.at_work() if what == "deliver" else ())
        world.start(what)
    for _ in range(2):
        world.kill("send", chance)

    def is_over() -> bool:
        return world.store.backlog("orders") == world.store.backlog("poisoned") == Backlog()

    await until(world, is_over)
    sent = {line.body for line in world.lines("sent")}
    begins, ends = world.lines("begin"), world.lines("end")
    assert len(sent) > 180
    assert not sent - {line.body for line in ends}, f"seed {seed}: acknowledged, and delivered by nobody"
    assert any(line.attempts > 1 and line.body in sent for line in begins), "no kill was in a delivery"
    # One that a message has killed was killed when it began.
    deadly = {line.name: line.at_s for line in begins if line.body.startswith("deadly")}
    assert not overlaps(begins, ends, world.killed | deadly), f"seed {seed}"
    dead = await world.store.peek("dead", 10)
    assert sorted(message.body.decode() for message in dead) == poison
    for body in poison:
        assert [line.attempts for line in begins if line.body == body] == [1, 2]


async def until(world: World, fact: object) -> None:
    assert callable(fact)
    end = time.monotonic() + WAIT_S
    while not fact():
        assert time.monotonic() < end, "it did not happen in time"
        world.replace_dead("deliver")
        await asyncio.sleep(0.02)


def test_an_overlap_would_be_seen() -> None:
    begins = [Line("begin", 1.0, "a", "m", 1), Line("begin", 2.0, "b", "m", 2)]
    assert overlaps(begins, [Line("end", 3.0, "a", "m", 1)], {}) == [(begins[0], begins[1])]
    assert overlaps(begins, [], {"a": 2.5}) == [(begins[0], begins[1])]
    assert overlaps(begins, [], {"a": 1.5}) == []
    assert overlaps(begins, [Line("end", 1.9, "a", "m", 1)], {}) == []
