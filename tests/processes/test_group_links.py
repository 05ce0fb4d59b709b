"""Rule: the door reaches each group's processes as they come and go; a death costs what ran there, a drain
nothing; whoever finds no process waits a little, then is told. Doors and sockets are real ones.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from model.errors import LoadShed, ProcessLost
from processes import group_links
from processes.doors import Door, door_pair
from processes.exchange import Exchange
from processes.group_links import LinksToDoor, LinksToGroups
from tests.support.waiting import until


class Group:
    """The doors of a group's processes, as a supervisor holds them, and lives of those processes."""

    def __init__(self) -> None:
        self.pairs = {name: door_pair() for name in ("free-0", "free-1")}
        self.alive: list[LinksToDoor] = []
        #: (process, question), as they were asked.
        self.heard: list[tuple[str, bytes]] = []
        self.held: list[Exchange] = []
        self.asked_at_door: list[tuple[str, bytes]] = []

    def near(self, *names: str) -> dict[str, Door]:
        return {name: Door(self.pairs[name][0].dup()) for name in names}

    def close(self) -> None:
        for ends in self.pairs.values():
            for end in ends:
                end.close()

    def begin(self, name: str) -> LinksToDoor:
        """A process with this name: it answers at once, unless it is asked to hold the answer."""

        def asked(exchange: Exchange, question: bytes, group: str) -> None:
            assert group == "free"
            self.heard.append((name, question))
            if question == b"hold":
                self.held.append(exchange)
            else:
                exchange.finish(name.encode())

        made = LinksToDoor("free", Door(self.pairs[name][1].dup()), asked)
        made.start()
        self.alive.append(made)
        return made

    def at_door(self, *names: str) -> LinksToGroups:
        def called(exchange: Exchange, question: bytes, group: str) -> None:
            self.asked_at_door.append((group, question))
            exchange.finish(b"from the door")

        made = LinksToGroups("worker-0", self.near(*names), called)
        made.start()
        return made


@pytest.fixture
async def group() -> AsyncIterator[Group]:
    made = Group()
    yield made
    for process in made.alive:
        process.close()
        assert await process.drained(60)
    made.close()


async def result(door: LinksToGroups, question: bytes = b"?") -> bytes:
    return await (await door.open("free", question)).result()


async def test_a_question_waits_for_a_process_that_starts(group: Group) -> None:
    door = group.at_door("free-0")
    waiting = asyncio.ensure_future(result(door))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    group.begin("free-0")
    assert await waiting == b"free-0"
    assert door.up("free") == 1
    door.close()


async def test_after_a_death_the_successor_is_asked_and_what_ran_is_lost(group: Group) -> None:
    door = group.at_door("free-0")
    first = group.begin("free-0")
    running = await door.open("free", b"hold")
    await until(lambda: bool(group.held))
    first.close()
    with pytest.raises(ProcessLost):
        await running.result()
    waiting = asyncio.ensure_future(result(door))
    group.begin("free-0")
    assert await waiting == b"free-0"
    door.close()


async def test_whoever_waits_too_long_is_turned_away_and_then_everybody_at_once(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_links, "WAIT_S", 1.0)
    door = group.at_door("free-0")
    with pytest.raises(LoadShed, match="no process of isolation group free runs now"):
        await door.open("free", b"?")
    with pytest.raises(LoadShed):
        door.open("free", b"?").send(None)  # without a wait
    door.close()


async def test_no_more_than_a_bound_wait(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_links, "MAX_WAITING", 2)
    door = group.at_door("free-0")
    waiting = [asyncio.ensure_future(result(door)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(LoadShed):
        await door.open("free", b"?")
    group.begin("free-0")
    assert await asyncio.gather(*waiting) == [b"free-0", b"free-0"]
    door.close()


async def test_processes_of_a_group_take_turns_and_the_least_busy_is_asked(group: Group) -> None:
    door = group.at_door("free-0", "free-1")
    group.begin("free-0")
    group.begin("free-1")
    await until(lambda: door.up("free") == 2)
    assert {await result(door), await result(door)} == {b"free-0", b"free-1"}
    held = await door.open("free", b"hold")
    await until(lambda: bool(group.held))
    busy = group.heard[-1][0].encode()
    assert {await result(door) for _ in range(4)} == {b"free-0", b"free-1"} - {busy}
    group.held[0].finish(b"")
    await held.result()
    door.close()


async def test_a_process_that_drains_ends_what_it_has_and_gets_nothing_new(group: Group) -> None:
    door = group.at_door("free-0")
    old = group.begin("free-0")
    running = await door.open("free", b"hold")
    await until(lambda: bool(group.held))
    old.begin_drain()
    await until(lambda: door.up("free") == 0)
    waiting = asyncio.ensure_future(result(door))
    assert not await old.drained(0.05)
    new = group.begin("free-0")
    assert await waiting == b"free-0"
    group.held[0].finish(b"as if nothing were")
    assert await running.result() == b"as if nothing were"
    assert await old.drained(60)
    assert new
    door.close()


async def test_a_door_that_drains_asks_those_that_drain_with_it(group: Group) -> None:
    """The host stops: its groups' processes hear of it at the same time, and serve what is under way."""
    door = group.at_door("free-0")
    process = group.begin("free-0")
    await until(lambda: door.up("free") == 1)
    door.begin_drain()
    process.begin_drain()
    await asyncio.sleep(0.02)
    assert await result(door) == b"free-0"
    assert not await process.drained(0.05)
    door.close()
    assert await process.drained(60)


async def test_a_door_that_drains_a_moment_late_asks_them_too(group: Group) -> None:
    door = group.at_door("free-0")
    process = group.begin("free-0")
    held = await door.open("free", b"hold")
    await until(lambda: bool(group.held))
    process.begin_drain()
    await until(lambda: door.up("free") == 0)
    door.begin_drain()
    assert await result(door) == b"free-0"
    group.held[0].finish(b"")
    await held.result()
    door.close()
    assert await process.drained(60)


async def test_a_group_s_process_reaches_the_door_and_says_of_which_group_it_is(group: Group) -> None:
    process = group.begin("free-0")
    with pytest.raises(LoadShed):
        await process.open(b"?")
    door = group.at_door("free-0")
    await until(lambda: door.up("free") == 1)
    exchange = await process.open(b"call")
    assert await exchange.result() == b"from the door"
    assert group.asked_at_door == [("free", b"call")]
    door.close()


async def test_the_end_of_a_door_ends_only_what_came_through_it(group: Group) -> None:
    first, second = group.at_door("free-0"), group.at_door("free-0")
    group.begin("free-0")
    await until(lambda: first.up("free") == 1 and second.up("free") == 1)
    of_first, of_second = await first.open("free", b"hold"), await second.open("free", b"hold")
    await until(lambda: len(group.held) == 2)
    first.close()
    await until(lambda: any(exchange.cancelled for exchange in group.held))
    with pytest.raises(ProcessLost):
        await of_first.result()
    [survivor] = [exchange for exchange in group.held if not exchange.cancelled]
    survivor.finish(b"still here")
    assert await of_second.result() == b"still here"
    second.close()


async def test_a_process_that_breaks_off_every_link_is_not_knocked_at_all_the_time(group: Group) -> None:
    door = group.at_door("free-0")
    far = Door(group.pairs["free-0"][1].dup())
    knocks: list[float] = []
    while len(knocks) < 4:
        if (found := far.answer()) is not None:
            knocks.append(asyncio.get_running_loop().time())
            found[1].close()
        await asyncio.sleep(0.001)
    assert knocks[-1] - knocks[0] > 2.5 * group_links._KNOCK_AGAIN_S
    door.close()
    far.close()


def test_what_comes_through_a_door_without_such_a_socket_is_dropped() -> None:
    near, far = door_pair()
    door = Door(far)
    read, write = os.pipe()
    near.send(b"no descriptor")
    socket.send_fds(near, [b"a pipe"], [read])
    socket.send_fds(near, [b"two"], [read, write])
    before = len(os.listdir("/proc/self/fd"))
    assert door.answer() is None
    ours = Door(near).knock("worker-7")
    found = door.answer()
    assert found is not None
    assert found[0] == "worker-7"
    found[1].close()
    assert ours is not None
    ours.close()
    assert len(os.listdir("/proc/self/fd")) <= before
    os.close(read)
    os.close(write)
    near.close()
    assert door.answer() is None  # the other end has gone
    door.close()
