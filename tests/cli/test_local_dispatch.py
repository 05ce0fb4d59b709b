"""Rule held: a request that this host makes to itself reaches dispatch as one from outside would, streams both ways
as fast as the slower side takes it, and ends with whichever side leaves first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cli.local_dispatch import LocalDispatch, Message
from dispatch.received import AsgiBody, receive_request
from dispatch.route_index import RouteIndex
from dispatch.trusted_proxies import TrustedProxies
from model.errors import UpstreamError
from model.messages import Body, ByteSource, Headers, OutgoingRequest, Response, StreamClosed
from outbound.target import parse_target
from tests.dispatch.support import MemoryRoutes, make_route
from tests.outbound.conftest import event, read_all

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def local(app: App) -> LocalDispatch:
    routes = MemoryRoutes()
    routes.put_routes("a.example", make_route("shop", prefix="/shop"))
    return LocalDispatch(app, RouteIndex(routes).match, frozenset({443}))


async def ask(
    app: App, url: str = "https://a.example/shop?q=1", headers: Headers = (), body: Body = None
) -> Response:
    answering = local(app)(parse_target(url), OutgoingRequest("POST", url, headers, body), event())
    assert answering is not None
    return await answering


async def respond(send: Send, status: int, *pieces: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"x", b"y")]})
    for piece in pieces[:-1]:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": pieces[-1] if pieces else b""})


async def test_dispatch_reads_it_as_a_request_from_nobody_it_trusts() -> None:
    seen: list[Any] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        request = receive_request(scope, receive, "ray", TrustedProxies(("0.0.0.0/0", "::/0")))
        seen.append(request)
        assert isinstance(request.body, AsgiBody)
        request.body.limit_bytes = 100
        await respond(send, 201, await request.body.read())

    headers = [
        (b"x-forwarded-for", b"10.1.1.1"),
        (b"x-forwarded-proto", b"http"),
        (b"tenantry-hop", b"1.a.b"),
        (b"x-k", b"v"),
    ]
    response = await ask(app, headers=headers, body=b"ping")
    assert (response.status, response.body, list(response.headers)) == (201, b"ping", [(b"x", b"y")])
    (request,) = seen
    assert (request.url, request.hostname, request.path) == (
        "https://a.example/shop?q=1",
        "a.example",
        "/shop",
    )
    assert (request.client.ip, request.client.tls, request.hop) == ("", True, b"1.a.b")
    got = dict(request.headers)
    assert got[b"x-forwarded-for"] == b""
    assert got[b"x-forwarded-proto"] == b"https"
    assert got[b"x-k"] == b"v"


@pytest.mark.parametrize(
    "url", ["https://a.example/other", "https://b.example/shop", "https://a.example:8443/shop"]
)
def test_what_no_route_or_port_leads_to_is_not_ours(url: str) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        raise AssertionError

    assert local(app)(parse_target(url), OutgoingRequest("GET", url), event()) is None


class Pieces:
    def __init__(self, count: int, breaks: bool = False) -> None:
        self.left = count
        self.breaks = breaks
        self.closed = False

    async def read(self) -> bytes:
        if self.left == 0:
            if self.breaks:
                raise StreamClosed
            return b""
        self.left -= 1
        return b"x" * 10

    def close(self) -> None:
        self.closed = True


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    request = receive_request(scope, receive, "ray", TrustedProxies())
    assert isinstance(request.body, AsgiBody)
    request.body.limit_bytes = 10_000
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while piece := await request.body.read():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def test_bodies_stream_both_ways() -> None:
    assert await read_all(await ask(echo, body=Pieces(100))) == b"x" * 1_000


async def test_a_reader_that_stops_stops_the_worker() -> None:
    source = Pieces(100)
    response = await ask(echo, body=source)
    for _ in range(20):
        await asyncio.sleep(0)
    assert source.left >= 97, "one piece waits, and one is on its way"
    body = as_source(response.body)
    body.close()
    assert await body.read() == b""


async def test_a_request_body_that_breaks_off_is_a_visitor_who_left() -> None:
    response = await ask(echo, body=Pieces(3, breaks=True))
    with pytest.raises(UpstreamError, match="broke off"):
        await read_all(response)


async def test_leaving_tells_the_worker_at_once() -> None:
    left, refused = asyncio.Event(), asyncio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        visitor = scope["extensions"]["tenantry.visitor"]
        visitor.on_leave = left.set
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
        except OSError:
            refused.set()

    response = await ask(app)
    body = as_source(response.body)
    assert await body.read() == b"x"
    body.close()
    assert left.is_set()
    async with asyncio.timeout(60):
        await refused.wait()


async def test_giving_up_before_an_answer_tells_the_worker() -> None:
    began, left = asyncio.Event(), asyncio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        scope["extensions"]["tenantry.visitor"].on_leave = left.set
        began.set()
        await left.wait()

    task = asyncio.create_task(ask(app))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left.is_set()


@pytest.mark.parametrize("raises", [False, True])
async def test_an_app_that_says_nothing_is_an_upstream_that_did_not_answer(raises: bool) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if raises:
            raise RuntimeError("a bug")

    with pytest.raises(UpstreamError, match=r"a\.example did not answer"):
        await ask(app)


async def test_a_response_that_breaks_off_is_never_taken_for_whole() -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    response = await ask(app)
    with pytest.raises(UpstreamError, match="broke off"):
        await read_all(response)


def as_source(body: Body) -> ByteSource:
    assert body is not None
    assert not isinstance(body, bytes)
    return body
