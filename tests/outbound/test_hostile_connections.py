"""Rule held: bytes that nobody asked for are never an answer, and framing without end is cut by what it weighs, long
before a timeout: not its memory, its time on the loop, nor its bytes are anybody else's loss.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from model.errors import OperationError, UpstreamError
from outbound.http_pool import MAX_INFORMATIONAL
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from tests.outbound.conftest import WayOut, read_all
from tests.support.upstream import Upstream, UpstreamRequest, respond

OK = b"HTTP/1.1 200 X\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
EMPTY = OK + b"content-length: 0\r\n\r\n"

#: What comes first, and what comes then, again and again. None of it is a body's byte.
ENDLESS = {
    "blank lines before the status": (b"", b"\r\n"),
    "informational responses": (b"", b"HTTP/1.1 103 E\r\n\r\n"),
    "a version": (b"HTTP/1.", b"1"),
    "a reason": (b"HTTP/1.1 200 ", b"x"),
    "a header's name": (OK, b"x"),
    "white space before a value": (OK + b"x:", b" "),
    "a value": (OK + b"x: ", b"y"),
    "headers": (OK, b"x: y\r\n"),
    "folds": (OK + b"x: y\r\n", b" \r\n"),
    "zeros before a chunk's size": (CHUNKED, b"0"),
    "a chunk's extension": (CHUNKED + b"5;", b"x"),
    "a quoted extension": (CHUNKED + b'5;a="', b"x"),
    "extensions": (CHUNKED + b"5", b";a=b"),
    "extensions of small chunks": (CHUNKED, b"1;" + b"x" * 60 + b"\r\nx\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"x: y\r\n"),
    "a trailer": (CHUNKED + b"0\r\nx: ", b"y"),
}


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "after a pause"])
@pytest.mark.parametrize("name", ENDLESS)
async def test_framing_without_end_is_cut_by_its_weight(way_out: WayOut, name: str, apart: bool) -> None:
    head, unit = ENDLESS[name]
    sent = 0

    async def endless(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head)
        if apart:
            await writer.drain()
            await started.wait()
        while True:
            writer.write(unit * 1_000)
            sent += len(unit) * 1_000
            await writer.drain()

    way_out.policy = parse_policy(
        "version: 1\nrules: [{name: a, action: allow, open_cidrs: [127.0.0.0/8], timeout_ms: 60000}]"
    )
    started = asyncio.Event()

    async def fetch_whole(url: str) -> None:
        fetching = asyncio.create_task(way_out.fetch(url))
        if head.startswith(CHUNKED):
            await asyncio.wait([fetching], timeout=5 if apart else 0)
        started.set()
        await read_all(await fetching)

    async with asyncio.timeout(60), Upstream(endless) as upstream:
        with pytest.raises((OperationError, UpstreamError)):
            await fetch_whole(f"http://127.0.0.1:{upstream.port}/")
        await upstream.closed()
    assert sent < 24 << 20  # what sockets hold, and what was taken
    assert way_out.last_record().reason is Reason.UPSTREAM_FAILED
    assert way_out.connector.in_use == 0


async def test_some_informational_responses_are_no_flood(way_out: WayOut) -> None:
    async def hints(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 E\r\nlink: x\r\n\r\n" * MAX_INFORMATIONAL)
        respond(writer, 200, b"hello")

    async with Upstream(hints) as upstream:
        for _ in range(2):
            assert await read_all(await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")) == b"hello"
        assert upstream.connections == 1


async def test_a_body_in_the_smallest_chunks_is_a_body(way_out: WayOut) -> None:
    async def crumbs(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for _ in range(400):
            writer.write(b"1\r\nx\r\n" * 1_000)
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with Upstream(crumbs) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        assert await read_all(response) == b"x" * 400_000


@pytest.mark.parametrize("length", [b"9" * 18, b"0" * 5_000 + b"50"])
async def test_a_length_of_many_digits_is_a_large_one(way_out: WayOut, length: bytes) -> None:
    async def begin(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"content-length: " + length + b"\r\n\r\nhello")

    async with Upstream(begin) as upstream:
        with pytest.raises(OperationError):
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        await upstream.closed()
    assert way_out.last_record().reason is Reason.RESPONSE_TOO_LARGE


Unasked = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def once(writer: asyncio.StreamWriter) -> None:
    respond(writer, 200, b"evil")
    await writer.drain()


async def half(writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"content-length: 100000\r\n\r\nevil")
    await writer.drain()


async def without_end(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(EMPTY * 1_000)
        await writer.drain()


@pytest.mark.parametrize("unasked", [once, half, without_end])
async def test_an_answer_that_nobody_asked_for_is_nobodys(way_out: WayOut, unasked: Unasked) -> None:
    """Sent over a connection that rests: the library would keep it for the next request."""

    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        respond(writer, 200, request.target.encode())
        if request.target == "/first":
            await writer.drain()
            await rests.wait()
            await unasked(writer)

    rests = asyncio.Event()
    async with asyncio.timeout(60), Upstream(reply) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        assert await read_all(await way_out.fetch(f"{url}/first")) == b"/first"
        rests.set()
        await upstream.closed()
        assert await read_all(await way_out.fetch(f"{url}/second")) == b"/second"
        assert upstream.connections == 2


async def test_answers_behind_an_answer_whose_upload_goes_on_are_dropped(way_out: WayOut) -> None:
    """The request's own body holds the connection: what comes meanwhile must not pile up."""

    async def flood(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        respond(writer, 200, b"early")
        writer.write(EMPTY * 20_000)
        await writer.drain()

    class Slow:
        def __init__(self) -> None:
            self.closed = asyncio.Event()
            self.pieces = [b"first"]

        async def read(self) -> bytes:
            if self.pieces:
                return self.pieces.pop()
            await self.closed.wait()
            return b""

        def close(self) -> None:
            self.closed.set()

    async with asyncio.timeout(60), Upstream(flood) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", "POST", body=Slow())
        assert await read_all(response) == b"early"
        await upstream.closed()
    assert way_out.connector.in_use == 0
