"""What a visitor claims about where a request came from is not believed; what a worker sees is whole, and
no larger than allowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from dispatch.received import (
    SMALL_BODY_BYTES,
    AsgiBody,
    ReceivedRequest,
    accept_header,
    receive_request,
    take_body,
)
from dispatch.trusted_proxies import TrustedProxies, plain_ip
from model.errors import UpstreamError, VisitorError
from model.messages import HOP_BY_HOP, ByteSource, Header, IncomingRequest, StreamClosed
from tests.dispatch.http_server import exchange, serving

RAY = "0123456789abcdef"
HOST = (b"host", b"a.example")
NOBODY = TrustedProxies()
SET = {b"x-forwarded-for", b"x-forwarded-proto", b"cf-connecting-ip", b"x-tenantry-ray"}


class Receive:
    """An ASGI receive that gives `messages` and then waits for ever, as for a visitor who says no more."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)
        self.asked = 0

    async def __call__(self) -> dict[str, Any]:
        self.asked += 1
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)


def chunk(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


LEFT = {"type": "http.disconnect"}


def received(
    *headers: Header,
    receive: Receive | None = None,
    trusted: TrustedProxies = NOBODY,
    peer: str = "192.0.2.1",
    path: bytes = b"/",
    query: bytes = b"",
    scheme: str = "http",
    host: Sequence[Header] = (HOST,),
    http_version: str = "1.1",
) -> ReceivedRequest:
    scope = {
        "type": "http",
        "http_version": http_version,
        "method": "GET",
        "scheme": scheme,
        "client": (peer, 1234) if peer else None,
        "raw_path": path,
        "query_string": query,
        "headers": [*host, *headers],
    }
    return receive_request(scope, receive or Receive(), RAY, trusted)


def sent_on(request: IncomingRequest) -> list[Header]:
    """Headers that were not set by the host."""
    return [header for header in request.headers if header[0] not in SET]


def set_by_host(request: IncomingRequest) -> dict[bytes, bytes]:
    found = [header for header in request.headers if header[0] in SET]
    assert len(found) == len(SET)
    return dict(found)


@pytest.mark.parametrize(
    ("host", "path", "query", "scheme", "url", "hostname"),
    [
        (b"A.Example.", b"/x", b"", "http", "http://a.example/x", "a.example"),
        (b"a.example:8787", b"/", b"q=1&r", "http", "http://a.example:8787/?q=1&r", "a.example"),
        (b"a.example", b"/a/../b%2f", b"", "https", "https://a.example/a/../b%2f", "a.example"),  # as sent
        (b"[::1]:80", b"/", b"", "http", "http://[::1]:80/", "::1"),
        (b"127.0.0.1", b"/", b"", "http", "http://127.0.0.1/", "127.0.0.1"),
    ],
)
def test_url_and_hostname(
    host: bytes, path: bytes, query: bytes, scheme: str, url: str, hostname: str
) -> None:
    request = received(host=[(b"host", host)], path=path, query=query, scheme=scheme)
    assert (request.url, request.hostname, request.path) == (url, hostname, path.decode())
    assert request.client.tls is (scheme == "https")
    assert request.client.ray_id == RAY


@pytest.mark.parametrize(
    "host",
    [
        [],
        [HOST, HOST],
        [(b"host", b"")],
        [(b"host", b"a b")],
        [(b"host", b"a/b")],
        [(b"host", b"user@a")],
        [(b"host", b"a:99999")],
        [(b"host", "ä.example".encode())],
    ],
)
def test_anything_but_one_valid_host_is_a_bad_request(host: list[Header]) -> None:
    with pytest.raises(VisitorError) as refused:
        received(host=host)
    assert refused.value.status == 400


@pytest.mark.parametrize("path", [b"*", b"", b"a.example:443", b"/\xc3\xa4"])
def test_targets_that_are_no_path_are_a_bad_request(path: bytes) -> None:
    with pytest.raises(VisitorError) as refused:
        received(path=path)
    assert refused.value.status == 400


def test_order_and_repeats_of_headers_are_kept() -> None:
    headers = [(b"cookie", b"a=1"), (b"x", b"1"), (b"cookie", b"b=2")]
    assert sent_on(received(*headers)) == [HOST, *headers]


FORWARDING = [
    b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-anything",
    b"x-real-ip", b"cf-connecting-ip", b"true-client-ip", b"x-tenantry-ray", b"x-tenantry-anything",
    b"cloudflare-workers-version-overrides", b"tenantry-hop",
]  # fmt: skip


@pytest.mark.parametrize("name", FORWARDING)
def test_forwarding_headers_from_just_anyone_are_removed_and_set_by_us(name: bytes) -> None:
    request = received((name, b"203.0.113.9"))
    assert sent_on(request) == [HOST]
    assert set_by_host(request) == {
        b"x-forwarded-for": b"192.0.2.1",
        b"x-forwarded-proto": b"http",
        b"cf-connecting-ip": b"192.0.2.1",
        b"x-tenantry-ray": RAY.encode(),
    }
    assert request.client.ip == "192.0.2.1"


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        (b"forwarded", True),
        (b"x-forwarded-host", True),
        (b"x-real-ip", True),
        (b"true-client-ip", True),
        (b"cloudflare-workers-version-overrides", True),
        (b"cf-connecting-ip", False),  # ours, from anyone
        (b"x-tenantry-anything", False),
        (b"tenantry-hop", False),  # no worker sees it, but the host does
    ],
)
def test_a_trusted_proxys_headers_pass(name: bytes, passes: bool) -> None:
    request = received((name, b"v"), trusted=TrustedProxies(["192.0.2.0/24"]))
    assert ((name, b"v") in sent_on(request)) is passes


def test_the_hop_header_is_handed_to_the_host_from_anyone_since_it_is_signed() -> None:
    assert received((b"tenantry-hop", b"1.ray.mac")).hop == b"1.ray.mac"
    assert received().hop is None


@pytest.mark.parametrize(
    ("said", "ip", "passed_on"),
    [
        ([b"203.0.113.9"], "203.0.113.9", b"203.0.113.9, 192.0.2.1"),
        # The visitor wrote the first itself; the proxy saw the second.
        ([b"1.1.1.1, 203.0.113.9"], "203.0.113.9", b"1.1.1.1, 203.0.113.9, 192.0.2.1"),
        ([b"1.1.1.1", b"203.0.113.9"], "203.0.113.9", b"1.1.1.1, 203.0.113.9, 192.0.2.1"),
        # Through two trusted proxies.
        ([b"203.0.113.9,192.0.2.77"], "203.0.113.9", b"203.0.113.9, 192.0.2.77, 192.0.2.1"),
        ([b"192.0.2.77"], "192.0.2.77", b"192.0.2.77, 192.0.2.1"),
        # What is no address ends the belief.
        ([b"203.0.113.9, unknown"], "192.0.2.1", b"203.0.113.9, unknown, 192.0.2.1"),
        ([b""], "192.0.2.1", b", 192.0.2.1"),
        ([b"2001:DB8::1"], "2001:db8::1", b"2001:DB8::1, 192.0.2.1"),
    ],
)
def test_the_visitor_behind_trusted_proxies(said: list[bytes], ip: str, passed_on: bytes) -> None:
    request = received(
        *((b"x-forwarded-for", value) for value in said), trusted=TrustedProxies(["192.0.2.0/24"])
    )
    assert request.client.ip == ip
    assert set_by_host(request)[b"cf-connecting-ip"] == ip.encode()
    assert set_by_host(request)[b"x-forwarded-for"] == passed_on


@pytest.mark.parametrize(
    ("version", "trusted", "protocol"),
    [
        ("1.1", NOBODY, "HTTP/1.1"),
        ("1.0", NOBODY, "HTTP/1.0"),
        ("9", NOBODY, ""),
        ("1.1", TrustedProxies(["192.0.2.0/24"]), ""),  # that is how the proxy speaks, and not its visitor
    ],
)
def test_the_visitor_s_protocol_is_known_where_nothing_is_between(
    version: str, trusted: TrustedProxies, protocol: str
) -> None:
    assert received(trusted=trusted, http_version=version).client.protocol == protocol


def test_a_trusted_proxy_says_what_scheme_the_visitor_used() -> None:
    trusted = TrustedProxies(["192.0.2.1/32"])
    request = received((b"x-forwarded-proto", b"https"), trusted=trusted)
    assert (request.url, request.client.tls) == ("https://a.example/", True)
    odd = received((b"x-forwarded-proto", b"gopher"), trusted=trusted)
    assert odd.url == "http://a.example/"
    beside = received((b"x-forwarded-proto", b"https"), trusted=trusted, peer="192.0.2.2")
    assert beside.url == "http://a.example/"


def test_a_peer_over_a_dual_stack_listener_is_an_ipv4_address() -> None:
    request = received(peer="::ffff:192.0.2.1", trusted=TrustedProxies(["192.0.2.0/24"]))
    assert request.client.ip == "192.0.2.1"
    assert plain_ip("fe80::1%eth0") == "fe80::1"
    assert received(peer="").client.ip == ""


@pytest.mark.parametrize("cidr", ["192.0.2.1/24", "nonsense", "192.0.2.0/33"])
def test_a_trusted_list_with_a_mistake_is_refused_by_name(cidr: str) -> None:
    with pytest.raises(ValueError, match=f"trusted proxy '{cidr}'"):
        TrustedProxies([cidr])


@pytest.mark.parametrize("name", [*sorted(HOP_BY_HOP - {b"transfer-encoding"}), b"expect"])
def test_hop_by_hop_headers_are_removed(name: bytes) -> None:
    assert sent_on(received((name, b"keep-alive"))) == [HOST]


def test_headers_that_connection_names_are_removed_but_not_host_or_length() -> None:
    request = received(
        (b"connection", b"Keep-Alive, X-Private, host, content-length, x-tenantry-ray"),
        (b"x-private", b"v"),
        (b"x-public", b"v"),
        (b"content-length", b"0"),
    )
    assert sent_on(request) == [HOST, (b"x-public", b"v"), (b"content-length", b"0")]
    assert set_by_host(request)[b"x-tenantry-ray"] == RAY.encode()


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"x")],
        [(b"content-length", b"")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"1" * 16)],
        [(b"content-length", b"1"), (b"content-length", b"1")],
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
    ],
)
def test_odd_framing_is_a_bad_request(headers: list[Header]) -> None:
    with pytest.raises(VisitorError) as refused:
        received(*headers)
    assert refused.value.status == 400


def test_no_body_without_length_or_with_length_zero() -> None:
    assert received().body is None
    assert received().content_length is None
    empty = received((b"content-length", b"0"))
    assert (empty.body, empty.content_length) == (None, 0)


async def test_a_small_body_is_waited_for_and_handed_over_as_bytes() -> None:
    receive = Receive(chunk(b"he"), chunk(b""), chunk(b"llo", more=False))
    request = received((b"content-length", b"5"), receive=receive)
    await take_body(request, 100)
    assert request.body == b"hello"


@pytest.mark.parametrize(
    ("length", "is_bytes"), [(SMALL_BODY_BYTES, True), (SMALL_BODY_BYTES + 1, False), (None, False)]
)
async def test_larger_or_chunked_bodies_stream(length: int | None, is_bytes: bool) -> None:
    size = length or 10
    receive = Receive(chunk(b"x" * size, more=False))
    header = (b"content-length", str(length).encode()) if length else (b"transfer-encoding", b"chunked")
    request = received(header, receive=receive)
    await take_body(request, 1 << 20)
    if is_bytes:
        assert request.body == b"x" * size
    else:
        body: ByteSource = request.body  # type: ignore[assignment]
        assert receive.asked == 0
        assert await body.read() == b"x" * size
        assert [await body.read(), await body.read()] == [b"", b""]


async def test_a_length_over_the_limit_is_413_before_anything_is_read() -> None:
    receive = Receive()
    await take_body(received((b"content-length", b"0"), receive=receive), 0)
    with pytest.raises(VisitorError, match="11 bytes is too large: 10 bytes is the limit") as refused:
        await take_body(received((b"content-length", b"11"), receive=receive), 10)
    assert (refused.value.status, receive.asked) == (413, 0)


async def test_a_chunked_body_is_held_to_the_limit_while_it_streams() -> None:
    receive = Receive(chunk(b"x" * 10), chunk(b"y"), chunk(b"z", more=False))
    request = received((b"transfer-encoding", b"chunked"), receive=receive)
    await take_body(request, 10)
    body = request.body
    assert isinstance(body, AsgiBody)
    assert await body.read() == b"x" * 10  # exactly the limit is allowed
    for _ in range(2):
        with pytest.raises(UpstreamError, match="10 bytes is the limit"):
            await body.read()
    assert body.failure is not None
    assert body.failure.status == 413
    assert receive.asked == 2


async def test_a_visitor_who_leaves_in_mid_upload_closes_the_stream() -> None:
    request = received((b"transfer-encoding", b"chunked"), receive=Receive(chunk(b"x"), LEFT, LEFT))
    await take_body(request, 10)
    body: ByteSource = request.body  # type: ignore[assignment]
    assert await body.read() == b"x"
    for _ in range(2):
        with pytest.raises(StreamClosed):
            await body.read()
    small = received((b"content-length", b"5"), receive=Receive(chunk(b"he"), LEFT))
    with pytest.raises(StreamClosed):
        await take_body(small, 10)


async def test_a_small_body_that_does_not_come_is_408() -> None:
    request = received((b"content-length", b"5"), receive=Receive(chunk(b"he")))
    with pytest.raises(VisitorError, match=r"did not come within 0\.01 s") as refused:
        await take_body(request, 10, timeout_s=0.01)
    assert refused.value.status == 408


async def test_a_body_shorter_than_its_length_is_a_bad_request() -> None:
    request = received((b"content-length", b"5"), receive=Receive(chunk(b"he", more=False)))
    with pytest.raises(VisitorError, match="2 bytes came"):
        await take_body(request, 10)


async def test_a_cancelled_read_loses_nothing_and_a_closed_source_is_at_its_end() -> None:
    receive = Receive()
    request = received((b"transfer-encoding", b"chunked"), receive=receive)
    await take_body(request, 10)
    body: ByteSource = request.body  # type: ignore[assignment]
    reading = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    receive.messages.append(chunk(b"x"))
    assert await body.read() == b"x"
    body.close()
    body.close()
    assert await body.read() == b""


def test_accept_header() -> None:
    assert accept_header([(b"x", b"y"), (b"accept", b"text/html")]) == b"text/html"
    assert accept_header([]) == b""


@pytest.mark.parametrize("size", [0, 5, SMALL_BODY_BYTES, 3_000_000])
@pytest.mark.parametrize("is_chunked", [True, False])
async def test_bodies_over_a_real_connection(size: int, is_chunked: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = receive_request(scope, receive, RAY, NOBODY)
        await take_body(request, 100 << 20)
        total = 0
        if isinstance(request.body, bytes):
            total = len(request.body)
        elif request.body is not None:
            while data := await request.body.read():
                total += len(data)
        said = str(total).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-total", said)]})
        await send({"type": "http.response.body"})

    body = b"x" * size
    framing = b"content-length: %d\r\n\r\n%s" % (size, body)
    if is_chunked:
        parts = b"".join(
            b"%x\r\n%s\r\n" % (len(part), part)
            for part in (body[at : at + 50_000] for at in range(0, size, 50_000))
        )
        framing = b"transfer-encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
    async with serving(app) as port:
        answer = await exchange(port, b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n" + framing)
    assert b"x-total: %d\r\n" % size in answer
