"""Rule: either end may be slow, hostile, dead or restarted, and the other only ever sees a False, a
counter, or a named error in bounded time and memory.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from processes.channel import (
    QUEUE_BYTES,
    Channel,
    ChannelClosed,
    ChannelFull,
    RequestFailed,
    RequestLost,
    RequestTimedOut,
    channel_pair,
)
from processes.framing import MAX_MESSAGE_BYTES, MessageTooLarge
from tests.support.waiting import until

Pair = tuple[Channel, Channel]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two ends; the second is started by the test, as by a process that is slow to start."""
    near, far = (Channel(end) for end in channel_pair())
    near.start()
    yield near, far
    near.close()
    far.close()


async def test_notifications_arrive_whole_and_in_order_also_those_sent_before_the_start(pair: Pair) -> None:
    near, far = pair
    got: list[object] = []
    far.on_notification("n", got.append)
    sent = [{"a": [1, "x", b"y", None, 1.5]}, "small", b"L" * 300_000, 2]
    assert all(near.notify("n", value) for value in sent)
    far.start()
    await until(lambda: len(got) == 4)
    assert got == sent


async def test_a_request_is_answered_and_many_at_once(pair: Pair) -> None:
    near, far = pair

    async def double(payload: object) -> object:
        assert isinstance(payload, int)
        await asyncio.sleep(0.01 if payload % 2 else 0)
        return payload * 2

    far.on_request("double", double)
    far.start()
    assert await asyncio.gather(*(near.request("double", n) for n in range(100))) == [
        2 * n for n in range(100)
    ]


async def test_the_largest_payload_passes_and_one_above_is_refused(pair: Pair) -> None:
    near, far = pair

    async def size(payload: object) -> object:
        assert isinstance(payload, bytes)
        return len(payload)

    far.on_request("size", size)
    far.start()
    largest = MAX_MESSAGE_BYTES - 64
    assert await near.request("size", b"x" * largest) == largest
    with pytest.raises(MessageTooLarge):
        await near.request("size", b"x" * MAX_MESSAGE_BYTES)


async def test_a_request_without_an_answer_ends_at_its_time_and_leaves_nothing(pair: Pair) -> None:
    near, far = pair
    with pytest.raises(RequestTimedOut):
        await near.request("r", timeout_s=0.05)

    async def late(payload: object) -> object:
        return payload

    far.on_request("r", late)
    far.start()
    await until(lambda: near.counters["dropped_stale"] == 1)
    assert not near._waiting


async def test_a_handler_s_refusal_a_bug_and_an_unknown_kind_are_told(pair: Pair) -> None:
    near, far = pair

    async def refuse(payload: object) -> object:
        raise RequestFailed("no such secret")

    async def broken(payload: object) -> object:
        raise ZeroDivisionError("details that stay here")

    async def unpackable(payload: object) -> object:
        return object()

    for kind, handler in (("refuse", refuse), ("broken", broken), ("unpackable", unpackable)):
        far.on_request(kind, handler)
    far.start()
    for kind, says in (
        ("refuse", "no such secret"),
        ("broken", "broken: failed"),
        ("unpackable", "cannot hold"),
        ("nothing", "no such request"),
    ):
        with pytest.raises(RequestFailed, match=says):
            await near.request(kind)
    assert far.counters["handler_failed"] == 1


async def test_a_broken_notification_handler_does_not_end_the_channel(pair: Pair) -> None:
    near, far = pair
    got: list[object] = []

    def handler(payload: object) -> None:
        got.append(payload)
        raise ZeroDivisionError

    far.on_notification("n", handler)
    far.start()
    near.notify("n", 1)
    near.notify("n", 2)
    near.notify("unheard of", 3)
    await until(lambda: far.counters["unknown_kind"] == 1)
    assert (got, far.counters["handler_failed"]) == ([1, 2], 2)


async def test_a_peer_that_does_not_read_costs_a_full_queue_and_no_more(pair: Pair) -> None:
    near, far = pair
    chunk = b"x" * 100_000
    sent = 0
    while near.notify("n", chunk):
        sent += 1
        assert sent < 1_000
    assert near.queued_bytes <= QUEUE_BYTES
    assert near.counters["dropped_full"] == 1
    with pytest.raises(ChannelFull):
        await near.request("r", chunk)
    got: list[object] = []
    far.on_notification("n", got.append)
    far.start()
    await until(lambda: len(got) == sent)
    assert near.queued_bytes == 0
    assert near.notify("n", chunk)


async def test_small_messages_are_bounded_by_number(pair: Pair) -> None:
    near, _ = pair
    sent = 0
    while near.notify("n", sent):
        sent += 1
        assert sent < 10_000


async def test_garbage_is_dropped_and_counted(pair: Pair) -> None:
    near, far = pair
    got: list[object] = []
    near.on_notification("n", got.append)
    for data in (b"", b"x", b"\x74\x31" * 20_000, os.urandom(1000)):
        far._sock.send(data)
    far.notify("n", "good")
    await until(lambda: got == ["good"])
    assert near.counters["dropped_garbage"] == 4
    assert not near.closed


async def test_more_requests_at_once_than_allowed_are_refused(pair: Pair) -> None:
    near, far = pair
    gate = asyncio.Event()

    async def wait(payload: object) -> object:
        return await gate.wait()

    far.on_request("wait", wait)
    far.start()
    asked = [asyncio.ensure_future(near.request("wait")) for _ in range(300)]
    await until(lambda: sum(request.done() for request in asked) == 300 - 256)
    gate.set()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(result, RequestFailed) for result in results) == 300 - 256


async def test_closing_an_end_ends_what_waits_and_the_other_end(pair: Pair) -> None:
    near, far = pair

    async def never(payload: object) -> object:
        return await asyncio.Event().wait()

    far.on_request("r", never)
    far.start()
    asked = asyncio.ensure_future(near.request("r"))
    await asyncio.sleep(0.01)
    near.close()
    near.close()
    with pytest.raises(ChannelClosed):
        await asked
    with pytest.raises(ChannelClosed):
        await near.request("r")
    assert not near.notify("n")
    await until(lambda: far.closed)


PEER = """
import asyncio, os, socket, sys
from processes.channel import Channel
from processes.framing import Message, MessageType, encode

sock = socket.socket(fileno=int(sys.argv[1]))
if sys.argv[2] == "torn":  # says half of a message and dies
    for packet in encode(Message(MessageType.NOTIFICATION, 0, "n", b"x" * 200_000), 5, 0)[:3]:
        sock.send(packet)
    os._exit(9)

async def main():
    channel = Channel(sock)
    done = asyncio.Event()
    async def who(payload):
        asyncio.get_running_loop().call_later(0.05, done.set)
        return [os.getpid(), payload]
    channel.on_request("who", who)
    channel.start()
    channel.notify("n", "whole")
    await done.wait()

asyncio.run(main())
"""


async def test_a_channel_survives_its_peer_s_death_in_mid_message_and_its_restart() -> None:
    ours, theirs = channel_pair()
    channel = Channel(ours)
    got: list[object] = []
    peers: list[int] = []
    channel.on_notification("n", got.append)
    channel.on_peer = lambda: peers.append(1)
    channel.start()

    def start(mode: str) -> asyncio.Future[subprocess.CompletedProcess[bytes]]:
        command = [sys.executable, "-c", PEER, str(theirs.fileno()), mode]
        run = asyncio.to_thread(subprocess.run, command, pass_fds=[theirs.fileno()], timeout=60, check=False)
        return asyncio.ensure_future(run)

    assert (await start("torn")).returncode == 9
    # Asked while nobody is there: it waits in the socket for whoever comes.
    asked = asyncio.ensure_future(channel.request("who", "early", timeout_s=60))
    assert (await start("serve")).returncode == 0
    first = await asked
    asked = asyncio.ensure_future(channel.request("who", "again", timeout_s=60))
    assert (await start("serve")).returncode == 0
    second = await asked
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert (first[1], second[1], first[0] != second[0]) == ("early", "again", True)
    assert (got, len(peers), channel.counters["torn"]) == (["whole", "whole"], 3, 1)
    channel.close()
    theirs.close()


async def test_our_own_restart_reads_on_where_the_predecessor_stopped() -> None:
    """Both ends are held elsewhere: what the peer said meanwhile is there, replies to the dead are not ours."""
    ours, theirs = channel_pair()
    peer = Channel(theirs)

    async def slow(payload: object) -> object:
        await asyncio.sleep(0.05)
        return payload

    peer.on_request("r", slow)
    peer.start()
    before = Channel(ours.dup())
    before.start()
    asked = asyncio.ensure_future(before.request("r", 1))
    await asyncio.sleep(0.02)
    before.close()
    with pytest.raises(ChannelClosed):
        await asked
    peer.notify("n", "meanwhile")
    await asyncio.sleep(0.1)
    after = Channel(ours)
    got: list[object] = []
    after.on_notification("n", got.append)
    after.start()
    assert await after.request("r", 2) == 2
    assert (got, after.counters["dropped_stale"]) == (["meanwhile"], 1)
    after.close()
    peer.close()


async def test_a_request_to_a_peer_that_has_ended_is_not_waited_for(pair: Pair) -> None:
    """What is asked from then on waits for the successor as ever."""
    near, far = pair
    waiting = asyncio.create_task(near.request("double", 4, timeout_s=600))
    await asyncio.sleep(0)
    near.peer_ended()
    with pytest.raises(RequestLost):
        await waiting

    async def double(payload: object) -> object:
        assert isinstance(payload, int)
        return payload * 2

    again = asyncio.create_task(near.request("double", 5))
    far.on_request("double", double)
    far.start()
    assert await again == 10


async def test_what_a_peer_took_along_when_it_died_is_asked_of_its_successor_at_once() -> None:
    """As a supervisor holds both ends: near lives on, and far's socket goes from one process to the next."""
    ours, theirs = channel_pair()
    near, first = Channel(ours), Channel(theirs.dup())
    near.start()
    taken: list[object] = []

    async def never(payload: object) -> object:
        taken.append(payload)
        return await asyncio.get_running_loop().create_future()

    async def double(payload: object) -> object:
        assert isinstance(payload, int)
        return payload * 2

    first.on_request("r", never)
    first.start()
    again = asyncio.create_task(near.request("r", 4, timeout_s=600, repeatable=True))
    once = asyncio.create_task(near.request("r", 5, timeout_s=600))
    await until(lambda: taken == [4, 5])
    first.close()
    second = Channel(theirs)
    second.on_request("r", double)
    second.start()
    async with asyncio.timeout(60):
        assert await again == 8
    assert not once.done(), "nobody said that this one may be done twice"
    once.cancel()
    await asyncio.gather(once, return_exceptions=True)
    near.close()
    second.close()


async def test_what_a_successor_finds_unread_is_done_once_though_it_is_asked_again(pair: Pair) -> None:
    near, far = pair
    asked: list[object] = []
    release = asyncio.Event()

    async def count(payload: object) -> object:
        asked.append(payload)
        await release.wait()
        return len(asked)

    waiting = asyncio.create_task(near.request("count", 1, repeatable=True))
    await asyncio.sleep(0)
    far.on_request("count", count)
    far.start()  # says so, and near asks again
    far.on_notification("after both", lambda _: release.set())
    await until(lambda: near._assembler.incarnation is not None)
    near.notify("after both")
    assert await waiting == 1
    assert asked == [1]
