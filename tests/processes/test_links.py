"""Rule: exchanges over one link keep apart, wait for slow readers, and end at once when a process ends; a peer
that breaks the rules loses the link and nothing else. Sockets are real ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable

import pytest

from model.errors import ProcessLost, UpstreamError
from model.messages import StreamClosed
from processes.exchange import CHUNK_BYTES, FROM_OPENER, WINDOW_BYTES, Exchange, Kind
from processes.links import FRAMES_A_TURN, MAX_ANSWERING, MAX_PAYLOAD_BYTES, Link
from tests.support.waiting import until

Answer = Callable[[Exchange, bytes], None]


class Ends:
    """A link's two ends in one loop, each with the exchanges that it was asked."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[tuple[Exchange, bytes]] = asyncio.Queue()
        self.asked_back: asyncio.Queue[tuple[Exchange, bytes]] = asyncio.Queue()
        self.here = Link("there", lambda *asked: self.asked_back.put_nowait(asked), lambda link: None)
        self.there = Link("here", lambda *asked: self.asked.put_nowait(asked), lambda link: None)


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    made = Ends()
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    await made.here.connect(ours)
    await made.there.connect(theirs)
    yield made
    made.here.close()
    made.there.close()
    await until(lambda: made.here.lost and made.there.lost)


async def ask(ends: Ends, question: bytes = b"?") -> tuple[Exchange, Exchange]:
    asking = ends.here.open(question)
    answering, heard = await ends.asked.get()
    assert heard == question
    return asking, answering


async def test_an_answer_has_a_head_a_body_and_a_result(ends: Ends) -> None:
    asking, answering = await ask(ends)
    answering.send_head(b"head")
    await answering.write(b"body")
    answering.end()
    answering.finish(b"result")
    assert await asking.head() == b"head"
    assert await asking.read() == b"body"
    assert await asking.read() == b""
    assert await asking.result() == b"result"
    assert ends.here.is_idle
    assert ends.there.is_idle


async def test_a_short_answer_is_here_whole_when_its_head_is_seen(ends: Ends) -> None:
    """So that whoever passes it on may send it in one piece."""
    asking, answering = await ask(ends)
    answering.send_head(b"head")
    await answering.write(b"one")
    await answering.write(b"two")
    answering.end()
    assert await asking.head() == b"head"
    assert asking.is_here
    assert asking.take() == b"onetwo"


async def test_an_exchange_may_end_without_an_answer(ends: Ends) -> None:
    asking, answering = await ask(ends)
    answering.finish(b"refused")
    assert await asking.head() is None
    assert await asking.result() == b"refused"


async def test_both_sides_ask_at_once_with_the_same_numbers(ends: Ends) -> None:
    asking, answering = await ask(ends)
    back = ends.there.open(b"and you?")
    answering_back, question = await ends.asked_back.get()
    assert question == b"and you?"
    answering_back.finish(b"back")
    answering.finish(b"forth")
    assert await asking.result() == b"forth"
    assert await back.result() == b"back"


async def test_a_question_s_body_is_sent_when_it_is_read_and_not_before(ends: Ends) -> None:
    asking, answering = await ask(ends)
    wanted = asyncio.ensure_future(asking.wanted())
    await asyncio.sleep(0.02)
    assert not wanted.done()
    reading = asyncio.ensure_future(answering.read())
    await wanted
    await asking.write(b"data")
    asking.end()
    assert await reading == b"data"
    assert await answering.read() == b""
    assert answering.bytes_in == 4


async def test_a_slow_reader_holds_up_its_own_writer_and_no_other(ends: Ends) -> None:
    slow, slow_answering = await ask(ends)
    quick, quick_answering = await ask(ends)
    written = 0

    async def pour() -> None:
        nonlocal written
        while True:
            await slow_answering.write(b"x" * CHUNK_BYTES)
            written += CHUNK_BYTES

    pouring = asyncio.ensure_future(pour())
    await until(lambda: written >= WINDOW_BYTES)
    await asyncio.sleep(0.02)
    assert written == WINDOW_BYTES
    quick_answering.finish(b"done")
    assert await quick.result() == b"done"
    for _ in range(WINDOW_BYTES // CHUNK_BYTES):
        await slow.read()
    await until(lambda: written > WINDOW_BYTES)
    pouring.cancel()


async def test_a_large_body_comes_whole_and_in_order(ends: Ends) -> None:
    asking, answering = await ask(ends)
    data = b"".join(number.to_bytes(4, "big") for number in range(700_000))

    async def send() -> None:
        answering.send_head(b"")
        await answering.write(data)
        answering.end()
        answering.finish(b"")

    sending = asyncio.ensure_future(send())
    await asking.head()
    got = bytearray()
    while chunk := await asking.read():
        got += chunk
    await sending
    assert bytes(got) == data


async def test_whoever_answers_is_told_when_the_asker_leaves(ends: Ends) -> None:
    asking, answering = await ask(ends)
    told: list[bool] = []
    answering.on_cancel = lambda: told.append(True)
    reading = asyncio.ensure_future(answering.read())
    asking.cancel()
    asking.cancel()
    await until(lambda: bool(told))
    assert told == [True]
    with pytest.raises(StreamClosed):
        await reading
    with pytest.raises(StreamClosed):
        await answering.write(b"too late")
    answering.finish(b"canceled")
    assert await asking.result() == b"canceled"


async def test_a_writer_that_waits_for_room_is_woken_when_the_asker_leaves(ends: Ends) -> None:
    asking, answering = await ask(ends)
    writing = asyncio.ensure_future(answering.write(b"x" * 4 * WINDOW_BYTES))
    await asyncio.sleep(0.02)
    assert not writing.done()
    asking.cancel()
    with pytest.raises(StreamClosed):
        await writing


async def test_a_body_that_broke_off_is_an_error_of_its_reader(ends: Ends) -> None:
    asking, answering = await ask(ends)
    reading = asyncio.ensure_future(answering.read())
    await asking.wanted()
    asking.break_off("the limit is 3 bytes")
    with pytest.raises(UpstreamError, match="the limit is 3 bytes"):
        await reading
    # Whoever reads it may answer with what was wrong.
    answering.send_head(b"400")
    await answering.write(b"too long")
    answering.end()
    assert await asking.head() == b"400"
    assert asking.take() == b"too long"


async def test_an_answer_without_an_end_is_never_taken_for_whole(ends: Ends) -> None:
    asking, answering = await ask(ends)
    answering.send_head(b"")
    await answering.write(b"half")
    answering.finish(b"it failed")
    await asking.head()
    assert not asking.is_here
    assert await asking.read() == b"half"
    with pytest.raises(StreamClosed):
        await asking.read()


async def test_the_end_of_a_process_ends_its_exchanges_at_once(ends: Ends) -> None:
    asking, answering = await ask(ends)
    told: list[bool] = []
    answering.on_cancel = lambda: told.append(True)
    waiting = asyncio.ensure_future(asking.result())
    await asyncio.sleep(0)
    ends.there.close()
    with pytest.raises(ProcessLost):
        await waiting
    await until(lambda: ends.there.lost)
    assert told == [True]
    with pytest.raises(ProcessLost):
        ends.here.open(b"?")


async def test_a_question_may_be_given_up(ends: Ends) -> None:
    asking, answering = await ask(ends)
    waiting = asyncio.ensure_future(asking.head())
    await asyncio.sleep(0)
    asking.lose()
    with pytest.raises(ProcessLost, match="did not answer in time"):
        await waiting
    await until(lambda: answering.cancelled)


def frame(kind: int, number: int, payload: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("!IBI", len(payload) if length is None else length, kind, number) + payload


async def say(sock: socket.socket, data: bytes) -> None:
    """Whatever the other end does with it: it may have hung up in the middle."""
    sock.setblocking(False)
    with contextlib.suppress(ConnectionError):
        await asyncio.get_running_loop().sock_sendall(sock, data)


#: What a process that somebody else has taken over may send to the one that asks it.
BROKEN_ANSWERS = [
    frame(Kind.HEAD, 1, length=MAX_PAYLOAD_BYTES + 1),  # larger than anything of ours
    frame(99, 1),  # no kind
    frame(Kind.CANCEL, 1),  # a word of the asker's
    frame(Kind.BROKEN, 1),
    frame(Kind.HEAD, 1) * 2,
    frame(Kind.WINDOW, 1, b"abc"),
    frame(Kind.END, 1) + frame(Kind.DATA, 1, b"after its end"),
    frame(Kind.DATA, 1, b"x" * (CHUNK_BYTES + 1)),
    frame(Kind.DATA, 1, b"x" * CHUNK_BYTES) * 5,  # over its window
    frame(Kind.OPEN | FROM_OPENER, 7) * 2,  # a number that is in use
    frame(Kind.OPEN | FROM_OPENER, 7) + frame(Kind.DATA | FROM_OPENER, 7, b"nobody asked for it"),
    frame(Kind.OPEN | FROM_OPENER, 7) + frame(Kind.RESULT | FROM_OPENER, 7),  # a word of the answerer's
]


@pytest.mark.parametrize("sent", BROKEN_ANSWERS)
async def test_a_peer_that_breaks_the_rules_loses_the_link(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    link = Link("hostile", lambda exchange, question: None, lambda link: None)
    await link.connect(ours)
    with theirs:
        asking = link.open(b"?")
        await say(theirs, sent)
        async with asyncio.timeout(60):
            with pytest.raises(ProcessLost):
                await asking.result()
    assert link.lost


@pytest.mark.parametrize(
    "sent",
    [
        frame(Kind.RESULT, 99, b"of an exchange that is over"),
        frame(Kind.DATA | FROM_OPENER, 99, b"x"),
        frame(Kind.DATA, 1, b"x" * CHUNK_BYTES) * 4,  # its window, to the byte
        frame(Kind.WINDOW, 1, struct.pack("!I", 2**32 - 1)),  # more than anybody grants: cut
    ],
)
async def test_what_is_late_or_at_the_limit_is_no_offence(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    link = Link("careful", lambda exchange, question: None, lambda link: None)
    await link.connect(ours)
    with theirs:
        asking = link.open(b"?")
        await say(theirs, sent + frame(Kind.RESULT, 1, b"done"))
        async with asyncio.timeout(60):
            assert await asking.result() == b"done"
        link.close()
    await until(lambda: link.lost)


async def test_a_peer_that_floods_leaves_time_for_others() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    asked: list[int] = []

    def refuse(exchange: Exchange, question: bytes) -> None:
        asked.append(1)
        exchange.finish(b"no")

    link = Link("flooding", refuse, lambda link: None)
    await link.connect(ours)
    with theirs:
        flood = b"".join(frame(Kind.OPEN | FROM_OPENER, number) for number in range(5_000))
        sending = asyncio.ensure_future(say(theirs, flood))
        most = before = 0
        async with asyncio.timeout(60):
            while len(asked) < 5_000:
                await asyncio.sleep(0)
                most, before = max(most, len(asked) - before), len(asked)
        await sending
        assert most <= 2 * FRAMES_A_TURN  # a turn's, and of the read that came with it
        link.close()
    await until(lambda: link.lost)


async def test_a_peer_that_opens_more_than_any_process_runs_loses_the_link() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    link = Link("greedy", lambda exchange, question: None, lambda link: None)
    await link.connect(ours)
    with theirs:
        await say(theirs, b"".join(frame(Kind.OPEN | FROM_OPENER, n) for n in range(MAX_ANSWERING)))
        await asyncio.sleep(0.1)
        assert not link.lost
        await say(theirs, frame(Kind.OPEN | FROM_OPENER, MAX_ANSWERING))
        await until(lambda: link.lost)


async def test_frames_may_come_in_any_pieces(ends: Ends) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    link = Link("slow", lambda exchange, question: None, lambda link: None)
    await link.connect(ours)
    with theirs:
        asking = link.open(b"?")
        for byte in frame(Kind.HEAD, 1, b"head") + frame(Kind.RESULT, 1, b"result"):
            await say(theirs, bytes([byte]))
        async with asyncio.timeout(60):
            assert await asking.head() == b"head"
            assert await asking.result() == b"result"
        link.close()
    await until(lambda: link.lost)


async def test_a_question_too_long_to_send_is_refused_here(ends: Ends) -> None:
    with pytest.raises(ValueError, match="at most"):
        ends.here.open(b"x" * (MAX_PAYLOAD_BYTES + 1))
