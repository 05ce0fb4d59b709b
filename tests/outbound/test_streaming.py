"""Rule held: bytes flow both ways as fast as the slower side takes them and no faster; every silence,
size and early leave has an end; what is left early is let go.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import tracemalloc

import pytest

from model.errors import OperationError, OperationErrorCode, UpstreamError
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from tests.outbound.conftest import WayOut, read_all
from tests.outbound.test_gateway import PieceSource, as_source
from tests.support.upstream import Upstream, UpstreamRequest, respond

MIB = 1 << 20


def policy_with(limits: str) -> str:
    return f"version: 1\nrules: [{{name: local, action: allow, open_cidrs: [127.0.0.0/8], {limits}}}]"


async def count_body(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
    total = 0
    async for piece in request.chunks():
        total += len(piece)
    respond(writer, 200, str(total).encode())


async def send_much(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
    total = int(request.target.removeprefix("/"))
    writer.write(f"HTTP/1.1 200 X\r\ncontent-length: {total}\r\n\r\n".encode())
    for _ in range(total // MIB):
        writer.write(bytes(MIB))
        await writer.drain()


async def test_200_mib_go_up_and_down_with_flat_memory(way_out: WayOut) -> None:
    async with Upstream(count_body) as up, Upstream(send_much) as down:
        await read_all(await way_out.fetch(f"http://127.0.0.1:{up.port}/", "POST", body=PieceSource(1)))
        gc.collect()
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        source = PieceSource(200 * 16)
        response = await way_out.fetch(f"http://127.0.0.1:{up.port}/", "POST", body=source)
        assert await read_all(response) == str(200 * MIB).encode()
        assert source.closed
        response = await way_out.fetch(f"http://127.0.0.1:{down.port}/{200 * MIB}")
        total = 0
        while piece := await as_source(response.body).read():
            total += len(piece)
        assert total == 200 * MIB
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024
    assert way_out.last_record().bytes_down == 200 * MIB
    assert not tracemalloc.is_tracing()


async def test_a_reader_that_stops_stops_the_upstream(way_out: WayOut) -> None:
    sent = 0

    async def endless(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
            await writer.drain()
            sent += 65_536

    async with Upstream(endless) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        body = as_source(response.body)
        await body.read()
        stopped_at = -1
        while stopped_at < sent < 32 * MIB:  # until it goes on no more
            stopped_at = sent
            await asyncio.sleep(0.3)
        assert sent < 32 * MIB  # both kernels' socket buffers and ours
        body.close()
        body.close()
        assert await body.read() == b""
        await upstream.closed()
    assert way_out.connector.in_use == 0
    assert way_out.last_record().reason is Reason.CANCELLED


async def test_an_upstream_that_does_not_read_stops_the_guest(way_out: WayOut) -> None:
    async def deaf(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    source = PieceSource(10_000)
    way_out.policy = parse_policy(policy_with("timeout_ms: 500"))
    async with Upstream(deaf) as upstream:
        with pytest.raises(OperationError) as caught:
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", "POST", body=source)
        assert caught.value.code is OperationErrorCode.TIMEOUT
    assert source.left > 9_000
    assert source.closed
    assert way_out.connector.in_use == 0


async def test_the_clock_stands_still_while_the_guest_is_waited_for(way_out: WayOut) -> None:
    class SlowSource(PieceSource):
        async def read(self) -> bytes:
            await asyncio.sleep(1.0)
            return await super().read()

    way_out.policy = parse_policy(policy_with("timeout_ms: 800"))
    async with Upstream(count_body) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", "POST", body=SlowSource(2, 10))
        assert await read_all(response) == b"20"


@pytest.mark.parametrize("drip", [False, True])
async def test_an_upstream_slow_with_its_headers_times_out(way_out: WayOut, drip: bool) -> None:
    async def slow(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\n")
        for _ in range(20 if drip else 0):
            writer.write(b"x")
            await asyncio.sleep(0.02)
        await request.reader.read()

    way_out.policy = parse_policy(policy_with("timeout_ms: 200"))
    async with Upstream(slow) as upstream:
        with pytest.raises(OperationError, match=r"0\.2 s .*\(upstream\.timeout\)") as caught:
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        assert caught.value.code is OperationErrorCode.TIMEOUT
        await upstream.closed()
    assert way_out.connector.in_use == 0


async def test_silence_in_mid_body_times_out_but_a_slow_reader_does_not(way_out: WayOut) -> None:
    async def half(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nhello")
        if request.target == "/silent":
            await request.reader.read()
        writer.write(b"world")

    way_out.policy = parse_policy(policy_with("timeout_ms: 800"))
    async with Upstream(half) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        await asyncio.sleep(1.0)
        assert await read_all(response) == b"helloworld"
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/silent")
        with pytest.raises(UpstreamError, match="nothing for 800 ms"):
            await read_all(response)
        await upstream.closed()
    assert way_out.last_record().reason is Reason.UPSTREAM_TIMEOUT


async def test_a_fetch_cancelled_before_its_response_releases_all(way_out: WayOut) -> None:
    arrived = asyncio.Event()

    async def hang(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await request.reader.read(1)

    source = PieceSource(0)
    async with Upstream(hang) as upstream:
        task = asyncio.create_task(way_out.fetch(f"http://127.0.0.1:{upstream.port}/", "POST", body=source))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await upstream.closed()
    assert source.closed
    assert way_out.connector.in_use == 0
    assert way_out.last_record().reason is Reason.CANCELLED


async def test_response_limits_hold_announced_and_streamed(way_out: WayOut) -> None:
    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        size = int(request.target.removeprefix("/"))
        if request.method == "PUT":
            head = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n"
            writer.write(head + f"{size:x}\r\n".encode() + bytes(size) + b"\r\n0\r\n\r\n")
        else:
            respond(writer, 200, bytes(size))

    way_out.policy = parse_policy(policy_with("max_response_bytes: 100"))
    async with Upstream(reply) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        for method in ("GET", "PUT"):
            assert len(await read_all(await way_out.fetch(f"{url}/100", method))) == 100
        with pytest.raises(OperationError, match="max_response_bytes") as caught:
            await way_out.fetch(f"{url}/101")
        assert caught.value.code is OperationErrorCode.LIMIT_EXCEEDED
        response = await way_out.fetch(f"{url}/101", "PUT")
        with pytest.raises(UpstreamError, match="larger than 100 bytes"):
            await read_all(response)
    assert way_out.connector.in_use == 0
    assert way_out.last_record().reason is Reason.RESPONSE_TOO_LARGE


async def test_request_limits_hold_for_bytes_and_streams(way_out: WayOut) -> None:
    way_out.policy = parse_policy(policy_with("max_request_bytes: 100"))
    async with Upstream(count_body) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/"
        for body in (bytes(100), PieceSource(10, 10)):
            assert await read_all(await way_out.fetch(url, "POST", body=body)) == b"100"
        for body in (bytes(101), PieceSource(11, 10)):
            with pytest.raises(OperationError, match="max_request_bytes is 100") as caught:
                await way_out.fetch(url, "POST", body=body)
            assert caught.value.code is OperationErrorCode.LIMIT_EXCEEDED
        with pytest.raises(OperationError, match="max_request_bytes"):
            await way_out.fetch(url, "POST", [(b"content-length", b"101")], PieceSource(0))
    assert way_out.connector.in_use == 0


async def test_a_streams_declared_length_is_sent_and_held(way_out: WayOut) -> None:
    async with Upstream(count_body) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/"
        length = [(b"content-length", b"30")]
        assert await read_all(await way_out.fetch(url, "POST", length, PieceSource(3, 10))) == b"30"
        assert upstream.requests[0].header("content-length") == "30"
        for count in (2, 4):
            with pytest.raises(OperationError, match="content-length says 30") as caught:
                await way_out.fetch(url, "POST", length, PieceSource(count, 10))
            assert caught.value.code is OperationErrorCode.INVALID_ARGUMENT


async def test_a_source_that_breaks_off_breaks_the_request(way_out: WayOut) -> None:
    source = PieceSource(3, breaks=True)
    async with Upstream(count_body) as upstream:
        with pytest.raises(OperationError, match="broke off before its end"):
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", "POST", body=source)
        await upstream.closed()
    assert source.closed


async def test_large_bytes_go_up_whole(way_out: WayOut) -> None:
    async with Upstream(count_body) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", "PUT", body=bytes(5 * MIB + 1))
        assert await read_all(response) == str(5 * MIB + 1).encode()
        assert upstream.requests[0].header("content-length") == str(5 * MIB + 1)
    assert way_out.last_record().bytes_up == 5 * MIB + 1


async def test_an_echo_streams_while_the_request_still_goes_up(way_out: WayOut) -> None:
    async def echo(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
        async for piece in request.chunks():
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with Upstream(echo) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", "POST", body=PieceSource(320))
        total = 0
        while piece := await as_source(response.body).read():
            total += len(piece)
        assert total == 20 * MIB


async def test_an_early_answer_ends_the_upload(way_out: WayOut) -> None:
    async def refuse(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        respond(writer, 413, b"no")

    source = PieceSource(100_000)
    async with Upstream(refuse) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", "POST", body=source)
        assert response.status == 413
        assert await read_all(response) == b"no"
        await upstream.closed()
    assert source.closed
    assert source.left > 90_000


async def test_a_cancelled_read_loses_no_bytes(way_out: WayOut) -> None:
    release = asyncio.Event()

    async def later(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\n")
        await release.wait()
        writer.write(b"hello")

    async with Upstream(later) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(as_source(response.body).read(), 0.05)
        release.set()
        assert await read_all(response) == b"hello"
