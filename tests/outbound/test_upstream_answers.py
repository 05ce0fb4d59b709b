"""Rule held: an answer that two readers could take differently is refused, what is left of one is never taken for the
next one's, and no answer costs more than its limits: not by size, time, number, or by what it would unpack to.
"""

from __future__ import annotations

import asyncio
import gzip
import resource

import pytest

from model.errors import OperationError, OperationErrorCode, UpstreamError
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from tests.outbound.conftest import WayOut, read_all
from tests.outbound.test_gateway import as_source
from tests.support.upstream import Upstream, UpstreamRequest, respond

OK = "HTTP/1.1 200 X\r\n"
CHUNKED = "transfer-encoding: chunked\r\n\r\n"
HELLO = "5\r\nhello\r\n0\r\n\r\n"

REFUSED = {
    "lengths that agree": f"{OK}content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "lengths that differ": f"{OK}content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "a list of lengths": f"{OK}content-length: 5, 5\r\n\r\nhello",
    "a signed length": f"{OK}content-length: +5\r\n\r\nhello",
    "a negative length": f"{OK}content-length: -5\r\n\r\nhello",
    "length, then chunked": f"{OK}content-length: 5\r\n{CHUNKED}0\r\n\r\n{OK}content-length: 4\r\n\r\nevil",
    "chunked, then length": f"{OK}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{HELLO}",
    "an unknown coding": f"{OK}transfer-encoding: xchunked\r\n\r\n{HELLO}",
    "chunked is not last": f"{OK}transfer-encoding: chunked, gzip\r\n\r\n{HELLO}",
    "a coding nobody asked for": f"{OK}transfer-encoding: gzip, chunked\r\n\r\n{HELLO}",
    "identity and a length": f"{OK}transfer-encoding: identity\r\ncontent-length: 5\r\n\r\nhello",
    "chunked in HTTP/1.0": f"HTTP/1.0 200 X\r\n{CHUNKED}{HELLO}",
    "a space before the colon": f"{OK}content-length : 5\r\n\r\nhello",
    "a name with a space": f"{OK}x y: 1\r\ncontent-length: 5\r\n\r\nhello",
    "an empty name": f"{OK}: 1\r\ncontent-length: 5\r\n\r\nhello",
    "a line without a colon": f"{OK}foo\r\ncontent-length: 5\r\n\r\nhello",
    "NUL in a value": f"{OK}x: a\x00b\r\ncontent-length: 5\r\n\r\nhello",
    "a bare CR in a value": f"{OK}x: a\rb\r\ncontent-length: 5\r\n\r\nhello",
    "a hexadecimal prefix": f"{OK}{CHUNKED}0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk's size without end": f"{OK}{CHUNKED}fffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "chunks ended by LF": f"{OK}{CHUNKED}5\nhello\n0\n\n",
    "bytes after the end": f"{OK}content-length: 5\r\n\r\nhelloextra",
    "a body where none can be": "HTTP/1.1 204 X\r\ncontent-length: 5\r\n\r\nhello",
    "another version": "HTTP/2.0 200 X\r\ncontent-length: 5\r\n\r\nhello",
    "no status": "HTTP/1.1 099 X\r\ncontent-length: 5\r\n\r\nhello",
}
TAKEN = {
    "a folded header": (f"{OK}x: a\r\n b\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
    "lines ended by LF": ("HTTP/1.1 200 X\nx: a\ncontent-length: 5\n\nhello", b"hello"),
    "trailers": (f"{OK}{CHUNKED}5\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n", b"hello"),
    "some early hints": (f"HTTP/1.1 103 E\r\nlink: x\r\n\r\n{OK}content-length: 5\r\n\r\nhello", b"hello"),
    "a length in HTTP/1.0": ("HTTP/1.0 200 X\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
    "a second answer behind it": (
        f"{OK}content-length: 5\r\n\r\nhello{OK}content-length: 4\r\n\r\nevil",
        b"hello",
    ),
}


def answering(answer: str) -> Upstream:
    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        if request.target == "/next":
            respond(writer, 200, b"next")
        else:
            writer.write(answer.encode("latin-1"))

    return Upstream(reply)


@pytest.mark.parametrize("name", REFUSED)
async def test_an_answer_that_two_could_read_differently_is_refused(way_out: WayOut, name: str) -> None:
    async with answering(REFUSED[name]) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        with pytest.raises((OperationError, UpstreamError)):
            await read_all(await way_out.fetch(f"{url}/"))
        assert way_out.last_record().reason is Reason.UPSTREAM_FAILED
        assert await read_all(await way_out.fetch(f"{url}/next")) == b"next"
        assert upstream.connections == 2, "nothing of it is left for the next request"
    assert way_out.connector.in_use == 0


@pytest.mark.parametrize("name", TAKEN)
async def test_an_answer_that_has_one_reading_is_taken(way_out: WayOut, name: str) -> None:
    answer, body = TAKEN[name]
    async with answering(answer) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        assert await read_all(await way_out.fetch(f"{url}/")) == body
        assert await read_all(await way_out.fetch(f"{url}/next")) == b"next"


async def test_a_gzip_bomb_is_passed_on_packed(way_out: WayOut) -> None:
    bomb = gzip.compress(bytes(200 << 20), 1)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        respond(writer, 200, bomb, "content-encoding: gzip")

    async with Upstream(reply) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        assert await read_all(response) == bomb
    assert dict(response.headers)[b"content-encoding"] == b"gzip"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024


async def test_informational_answers_without_end_time_out(way_out: WayOut) -> None:
    async def endless(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 10)
            await writer.drain()
            await asyncio.sleep(0.01)

    way_out.policy = parse_policy(
        "version: 1\nrules: [{name: a, action: allow, open_cidrs: [127.0.0.0/8], timeout_ms: 300}]"
    )
    async with Upstream(endless) as upstream:
        with pytest.raises(OperationError) as caught:
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        assert caught.value.code in (OperationErrorCode.TIMEOUT, OperationErrorCode.UPSTREAM_FAILED)
        await upstream.closed()
    assert way_out.connector.in_use == 0


@pytest.mark.parametrize("unit", [b"x: y\r\n", b"x"])
async def test_headers_without_end_are_cut(way_out: WayOut, unit: bytes) -> None:
    async def endless(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\nx: ")
        while True:
            writer.write(unit * 1_000)
            await writer.drain()

    async with Upstream(endless) as upstream:
        with pytest.raises(OperationError) as caught:
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        assert caught.value.code is OperationErrorCode.UPSTREAM_FAILED
        await upstream.closed()


async def test_a_body_of_tiny_chunks_costs_no_more_than_its_bytes(way_out: WayOut) -> None:
    async def crumbs(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\nx\r\n" * 1_000)
            await writer.drain()

    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with Upstream(crumbs) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        body = as_source(response.body)
        await asyncio.sleep(0.3)  # nobody reads: what piles up is bounded
        total = 0
        while total < 100_000:
            total += len(await body.read())
        body.close()
        await upstream.closed()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024
