"""Rule: what is not exactly one well-formed request of bounded size ends in a named refusal, its
connection is closed, and no app has seen it. Every row was accepted, or left open, by the parser alone.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import pytest

from edge.door import DoorLimits, Visitor
from tests.edge.conftest import StartServer, echo, hello
from tests.support.waiting import until

HOST = b"Host: a.example\r\n"
KIB = 1024


def head(*fields: bytes, line: bytes = b"GET /x HTTP/1.1", host: bytes = HOST) -> bytes:
    return line + b"\r\n" + host + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def padded(total: int) -> bytes:
    """A head whose request line and fields are `total` bytes, as the limit counts them."""
    bare = len(b"/x") + 14 + len(HOST) + len(b"pad: \r\n")
    return head(b"pad: " + b"p" * (total - bare))


REFUSED = [
    ("two Hosts", head(b"Host: b.example"), 400, b"two host"),
    ("two equal Hosts", head(b"Host: a.example"), 400, b"two host"),
    ("no Host", head(host=b""), 400, b"no host"),
    ("no Host in HTTP/1.0", head(line=b"GET / HTTP/1.0", host=b""), 400, b"no host"),
    ("empty Host", head(host=b"Host:\r\n"), 400, b"host is empty"),
    ("Host with a space", head(host=b"Host: a b\r\n"), 400, b"no hostname"),
    ("Host with a path", head(host=b"Host: a/b\r\n"), 400, b"no hostname"),
    ("Host with a user", head(host=b"Host: u@a\r\n"), 400, b"no hostname"),
    ("Host with a comma", head(host=b"Host: a,b\r\n"), 400, b"no hostname"),
    ("Host not ASCII", head(host=b"Host: \xc3\xa4.example\r\n"), 400, b"not ascii"),
    ("Host port 0", head(host=b"Host: a:0\r\n"), 400, b"bad port"),
    ("Host port 65536", head(host=b"Host: a:65536\r\n"), 400, b"bad port"),
    ("Host of a short address", head(host=b"Host: 127.1\r\n"), 400, b"ends in a number"),
    ("Host of a broken IPv6", head(host=b"Host: [::g]\r\n"), 400, b"no ipv6 address"),
    ("Host of a cut IPv6", head(host=b"Host: [::1\r\n"), 400, b"bracket"),
    ("CL and TE", head(b"Content-Length: 3", b"Transfer-Encoding: chunked"), 400, b""),
    ("TE and CL", head(b"Transfer-Encoding: chunked", b"Content-Length: 3"), 400, b""),
    ("duplicate CL", head(b"Content-Length: 3", b"Content-Length: 3"), 400, b""),
    ("CL list", head(b"Content-Length: 3, 3"), 400, b""),
    ("CL with a sign", head(b"Content-Length: +3"), 400, b""),
    ("TE identity", head(b"Transfer-Encoding: identity"), 501, b"only be chunked"),
    ("TE gzip, chunked", head(b"Transfer-Encoding: gzip, chunked"), 501, b"only be chunked"),
    ("TE in HTTP/1.0", head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"), 501, b"http/1.1"),
    ("bare LF", b"GET / HTTP/1.1\nHost: a.example\n\n", 400, b""),
    ("bare CR in a value", head(b"X: a\rb"), 400, b""),
    ("obs-fold", head(b"X: a\r\n b"), 400, b""),
    ("NUL in a value", head(b"X: a\0b"), 400, b""),
    ("space before the colon", head(b"X : a"), 400, b""),
    ("HTTP/2.0", head(line=b"GET / HTTP/2.0"), 400, b"http/1.1 is spoken"),
    ("HTTP/0.9", head(line=b"GET / HTTP/0.9"), 400, b"http/1.1 is spoken"),
    ("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00", 400, b""),
    ("absolute-form of another host", head(line=b"GET http://b.example/ HTTP/1.1"), 400, b"another host"),
    ("absolute-form of another port", head(line=b"GET http://a.example:81/ HTTP/1.1"), 400, b"another host"),
    ("absolute-form with a user", head(line=b"GET http://u@a.example/ HTTP/1.1"), 400, b"without user"),
    ("absolute-form of ftp", head(line=b"GET ftp://a.example/ HTTP/1.1"), 400, b""),
    ("asterisk-form", head(line=b"OPTIONS * HTTP/1.1"), 400, b"neither a path"),
    ("authority-form", head(line=b"CONNECT a.example:80 HTTP/1.1"), 400, b""),
    ("fragment", head(line=b"GET /a#b HTTP/1.1"), 400, b"fragment"),
    ("path not ASCII", head(line=b"GET /\xff HTTP/1.1"), 400, b""),
    ("129 headers", head(*[b"x: y"] * 128), 431, b"129 headers"),
    ("1000 headers", head(*[b"x: y"] * 999), 431, b"1000 headers"),
    ("one byte over 64 KiB", padded(64 * KIB + 1), 431, b"longer than 65536"),
    ("70 KB header", head(b"X: " + b"x" * 70_000), 431, b"longer than 65536"),
    ("70 KB target", head(line=b"GET /" + b"x" * 70_000 + b" HTTP/1.1"), 431, b"longer than 65536"),
]

ACCEPTED = [
    ("Host with port and capitals", head(host=b"Host: A.Example:8787\r\n"), b"/x"),
    ("Host of an IPv6 address", head(host=b"Host: [::1]:80\r\n"), b"/x"),
    ("128 headers", head(*[b"x: y"] * 127), b"/x"),
    ("64 KiB exactly", padded(64 * KIB), b"/x"),
    ("absolute-form", head(line=b"GET http://A.example:80/y HTTP/1.1"), b"/y"),
    ("absolute-form without path", head(line=b"GET http://a.example HTTP/1.1"), b"/"),
    ("HTTP/1.0", head(line=b"GET /x HTTP/1.0"), b"/x"),
    ("empty lines before", b"\r\n\r\n" + head(), b"/x"),
    ("an upgrade that we don't speak", head(b"Connection: Upgrade", b"Upgrade: h2c"), b"/x"),
]


@pytest.mark.parametrize(("data", "status", "says"), [pytest.param(*r[1:], id=r[0]) for r in REFUSED])
async def test_refused_with_a_reason_and_closed(
    start_server: StartServer, data: bytes, status: int, says: bytes
) -> None:
    seen: list[str] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await hello(scope, receive, send)

    served = await start_server(app)
    visit = await served.visit()
    await visit.send(data)
    got, header, body = await visit.response()
    assert (got, seen) == (status, [])
    assert b"connection: close" in header
    assert says in body.lower()
    assert await visit.closed()
    assert served.server.door.refused == {status: 1}


@pytest.mark.parametrize(("data", "path"), [pytest.param(*r[1:], id=r[0]) for r in ACCEPTED])
async def test_accepted(start_server: StartServer, data: bytes, path: bytes) -> None:
    served = await start_server(hello)
    status, _, body = await served.ask(data)
    assert (status, body) == (200, path)


async def test_a_head_is_bounded_however_it_is_cut(start_server: StartServer) -> None:
    served = await start_server(hello)
    for size in (1_000, 30_000, 65_000):
        visit = await served.visit()
        big = head(b"X: " + b"x" * 70_000)
        for start in range(0, len(big), size):
            await visit.send(big[start : start + size])
            await asyncio.sleep(0.002)
        assert (await visit.response())[0] == 431


async def test_a_200_mb_header_is_cut_off_early_and_costs_no_memory(start_server: StartServer) -> None:
    served = await start_server(hello)
    visit = await served.visit()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chunk, sent = b"x" * (1 << 20), 0
    visit.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    try:
        while sent < 200 << 20:
            visit.writer.write(chunk)
            await visit.writer.drain()
            sent += len(chunk)
    except ConnectionError:
        pass
    assert sent < 20 << 20, "what fits into the kernel's buffers, and the megabyte read to be polite"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * KIB, "KiB"


async def test_a_small_head_with_a_large_body_in_one_chunk_is_no_large_head(
    start_server: StartServer,
) -> None:
    served = await start_server(echo)
    size = 200_000
    data = head(b"Content-Length: %d" % size, line=b"POST / HTTP/1.1") + b"b" * size
    assert (await served.ask(data))[2] == b"200000"


async def test_trailers_do_not_reach_the_scope_and_are_bounded(start_server: StartServer) -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    served = await start_server(app)
    chunked = head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1") + b"3\r\nabc\r\n0\r\n"
    status, _, body = await served.ask(chunked + b"Host: evil\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
    assert (status, body) == (200, b"3")
    assert [name for name, _ in scopes[0]["headers"]] == [b"host", b"transfer-encoding"]
    assert (await served.ask(chunked + b"x: y\r\n" * 129 + b"\r\n"))[0] == 400

    visit = await served.visit()
    visit.writer.write(chunked + b"X: ")
    await asyncio.sleep(0.05)
    for _ in range(20):
        await visit.send(b"x" * 64 * KIB)
    assert (await visit.response())[0] == 431


async def test_pipelined_requests_are_answered_in_order(start_server: StartServer) -> None:
    served = await start_server(hello)
    visit = await served.visit()
    await visit.send(b"".join(head(line=b"GET /%d HTTP/1.1" % n) for n in range(10)))
    assert [(await visit.response())[2] for _ in range(10)] == [b"/%d" % n for n in range(10)]


async def test_a_refusal_comes_after_the_answers_to_what_came_before_it(start_server: StartServer) -> None:
    async def slow(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)
        await hello(scope, receive, send)

    served = await start_server(slow)
    visit = await served.visit()
    await visit.send(head() + head(line=b"GET /2 HTTP/1.1") + head(host=b"") + head(line=b"GET /4 HTTP/1.1"))
    assert [(await visit.response())[0] for _ in range(3)] == [200, 200, 400]
    assert await visit.closed()


async def test_too_many_pipelined_requests_are_refused(start_server: StartServer) -> None:
    served = await start_server(hello, DoorLimits(pipelined=4))
    for count, statuses in ((5, [200] * 5), (6, [200] * 5 + [400])):
        visit = await served.visit()
        await visit.send(head() * count)
        assert [(await visit.response())[0] for _ in range(count)] == statuses


async def test_broken_framing_in_a_body_ends_that_request(start_server: StartServer) -> None:
    served = await start_server(echo)
    visit = await served.visit()
    await visit.send(head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1") + b"3\r\nabc\r\nzz\r\n")
    assert (await visit.response())[0] == 400
    assert await visit.closed()


QUICK = DoorLimits(header_timeout_s=0.2, keep_alive_s=0.2, linger_s=0.2)


async def test_a_silent_visitor_is_closed_without_a_word(start_server: StartServer) -> None:
    served = await start_server(hello, QUICK)
    visit = await served.visit()
    assert await visit.closed()


async def test_a_half_sent_header_gets_408_even_when_it_drips(start_server: StartServer) -> None:
    served = await start_server(hello, QUICK)
    visit = await served.visit()
    await visit.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    for _ in range(1_000):
        if served.server.door.refused[408]:
            break
        await visit.send(b"x")
        await asyncio.sleep(0.01)
    assert (await visit.response())[0] == 408
    assert await visit.closed()


async def test_a_second_request_s_header_has_the_header_timeout_too(start_server: StartServer) -> None:
    served = await start_server(hello, DoorLimits(header_timeout_s=0.2, keep_alive_s=60))
    visit = await served.visit()
    await visit.send(head() + b"GET / HT")
    assert (await visit.response())[0] == 200
    assert (await visit.response())[0] == 408


async def test_empty_lines_keep_no_idle_connection_open(start_server: StartServer) -> None:
    served = await start_server(hello, DoorLimits(header_timeout_s=1.0, keep_alive_s=1.0))
    for first in (b"", head()):
        visit = await served.visit()
        await visit.send(first)
        if first:
            assert (await visit.response())[0] == 200
        for _ in range(1_000):
            if not served.server.connection_count:
                break
            await visit.send(b"\r\n")
            await asyncio.sleep(0.01)
        assert not served.server.connection_count


async def test_an_idle_keep_alive_connection_is_closed_after_its_time(start_server: StartServer) -> None:
    served = await start_server(hello, DoorLimits(keep_alive_s=1.0))
    visit = await served.visit()
    for _ in range(3):
        await visit.send(head())
        assert (await visit.response())[0] == 200
    assert await visit.closed()
    assert not served.server.door.refused


async def test_a_body_that_nobody_wants_is_read_for_a_while_only(start_server: StartServer) -> None:
    served = await start_server(hello, DoorLimits(linger_s=0.2, keep_alive_s=60))
    visit = await served.visit()
    await visit.send(head(b"Content-Length: 1000000000", line=b"POST /x HTTP/1.1"))
    assert (await visit.response())[0] == 200
    for _ in range(1_000):
        if not served.server.connection_count:
            break
        await visit.send(b"x")
        await asyncio.sleep(0.01)
    assert not served.server.connection_count


async def test_after_an_unwanted_body_came_whole_the_connection_goes_on(start_server: StartServer) -> None:
    served = await start_server(hello)
    visit = await served.visit()
    await visit.send(head(b"Content-Length: 300000", line=b"POST /x HTTP/1.1"))
    assert (await visit.response())[2] == b"/x"
    await visit.send(b"x" * 300_000 + head(line=b"GET /next HTTP/1.1"))
    assert (await visit.response())[2] == b"/next"


async def test_more_connections_than_allowed_get_503_and_retry_after(start_server: StartServer) -> None:
    served = await start_server(hello, DoorLimits(connections=2))
    first, _ = await served.visit(), await served.visit()
    third = await served.visit()
    status, header, _ = await third.response()
    assert (status, b"retry-after: 1" in header) == (503, True)
    first.leave()
    await until(lambda: served.server.connection_count == 1)
    assert (await served.ask(head()))[0] == 200


class Stay:
    """An app that notes when its visitor leaves, and what it was doing."""

    def __init__(self, doing: str) -> None:
        self.doing = doing
        self.begun = asyncio.Event()
        self.left = asyncio.Event()
        self.visitor: Visitor | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.visitor = scope["extensions"]["tenantry.visitor"]
        self.visitor.on_leave = self.left.set
        self.begun.set()
        if self.doing == "upload":
            while (await receive())["type"] != "http.disconnect":
                pass
        elif self.doing == "download":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while not self.visitor.left:
                await send({"type": "http.response.body", "body": b"d" * 65_536, "more_body": True})
                await asyncio.sleep(0)
        await self.left.wait()


@pytest.mark.parametrize("doing", ["waiting", "upload", "download"])
async def test_an_app_is_told_once_that_its_visitor_left(start_server: StartServer, doing: str) -> None:
    app = Stay(doing)
    served = await start_server(app)
    visit = await served.visit()
    if doing == "upload":
        await visit.send(head(b"Content-Length: 1000000", line=b"POST / HTTP/1.1") + b"u" * 100_000)
    else:
        await visit.send(head())
    await app.begun.wait()
    await asyncio.sleep(0.05)
    assert not app.left.is_set()
    visit.leave()
    await asyncio.wait_for(app.left.wait(), 60)
    assert app.visitor is not None
    assert app.visitor.left


async def test_the_running_app_is_told_though_another_request_is_pipelined(start_server: StartServer) -> None:
    app = Stay("upload")
    served = await start_server(app)
    visit = await served.visit()
    await visit.send(head() * 3)
    await app.begun.wait()
    await asyncio.sleep(0.05)
    visit.leave()
    await asyncio.wait_for(app.left.wait(), 60)


async def test_after_the_response_nobody_is_told(start_server: StartServer) -> None:
    visitors: list[Visitor] = []
    told: list[bool] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        visitor = scope["extensions"]["tenantry.visitor"]
        visitors.append(visitor)
        visitor.on_leave = lambda: told.append(True)
        await hello(scope, receive, send)
        await asyncio.sleep(0.1)

    served = await start_server(app)
    visit = await served.visit()
    await visit.send(head())
    await visit.response()
    visit.leave()
    await asyncio.sleep(0.2)
    assert (told, visitors[0].left) == ([], False)


async def test_the_visitor_carries_the_parsed_host(start_server: StartServer) -> None:
    names: list[object] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        hostname = scope["extensions"]["tenantry.visitor"].hostname
        names.append((hostname.name, hostname.port))
        await hello(scope, receive, send)

    served = await start_server(app)
    await served.ask(head(host=b"Host: A.Example.:8787\r\n"))
    assert names == [("a.example", 8787)]


async def test_early_answer_reaches_an_uploader_who_wants_the_connection_closed(
    start_server: StartServer,
) -> None:
    """Closing with bytes unread makes the kernel send a reset, which may overtake the answer."""
    served = await start_server(hello)
    visit = await served.visit()
    await visit.send(head(b"Content-Length: 30000000", b"Connection: close", line=b"POST /x HTTP/1.1"))
    for _ in range(30):
        await visit.send(b"x" * 1_000_000)
    assert (await visit.response())[2] == b"/x"
    assert await visit.closed()
