"""Rule held: a followed redirect is a new request, judged from the start and on record by itself; what it takes
along is what the standards say, and never a credential to another origin.
"""

from __future__ import annotations

import asyncio

import pytest

from model.errors import OperationError, OperationErrorCode
from model.messages import Body
from outbound.policy import Result
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from outbound.redirects import headers_along, is_downgrade, join, read_redirect, same_origin
from outbound.target import parse_target
from tests.outbound.conftest import WayOut, read_all, server_tls
from tests.outbound.test_gateway import PieceSource, as_source
from tests.support.upstream import Upstream, UpstreamRequest, respond

BASE = parse_target("https://a.test:8443/x/y/z?q=1")


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("/n", "https://a.test:8443/n"),
        ("n", "https://a.test:8443/x/y/n"),
        ("../n", "https://a.test:8443/x/y/../n"),  # the parser of URLs takes dot segments out
        ("?r=2", "https://a.test:8443/x/y/z?r=2"),
        ("#f", "https://a.test:8443/x/y/z?q=1"),
        ("//b.test/n", "https://b.test/n"),
        ("http://b.test/n", "http://b.test/n"),
        ("HTTPS:n", "HTTPS:n"),  # no '//': the parser refuses what browsers would read as relative
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("./a:b", "https://a.test:8443/x/y/./a:b"),
    ],
)
def test_a_reference_is_joined_to_where_it_stood(reference: str, url: str) -> None:
    assert join(BASE, reference) == url


@pytest.mark.parametrize(
    ("status", "method", "expected"),
    [
        (301, "POST", ("GET", False)),
        (302, "POST", ("GET", False)),
        (303, "POST", ("GET", False)),
        (303, "PUT", ("GET", False)),
        (303, "HEAD", ("HEAD", True)),
        (301, "PUT", ("PUT", True)),  # only POST was ever rewritten by browsers
        (302, "DELETE", ("DELETE", True)),
        (307, "POST", ("POST", True)),
        (308, "POST", ("POST", True)),
        (300, "GET", None),
        (304, "GET", None),
        (200, "GET", None),
    ],
)
def test_the_method_after_a_redirect(status: int, method: str, expected: tuple[str, bool] | None) -> None:
    found = read_redirect(status, [(b"location", b"/n")], BASE, method)
    assert (None if found is None else (found.method, found.keeps_body)) == expected


def test_a_location_that_two_would_read_differently_is_refused() -> None:
    for headers in ([(b"location", b"/a"), (b"location", b"/b")], [(b"location", b"/\xff")]):
        with pytest.raises(ValueError, match="Location"):
            read_redirect(302, headers, BASE, "GET")
    assert read_redirect(302, [], BASE, "GET") is None
    assert read_redirect(302, [(b"location", b"")], BASE, "GET") is None
    assert read_redirect(302, [(b"location", b"/a"), (b"location", b"/a")], BASE, "GET") is not None


def test_what_goes_along() -> None:
    headers = [
        (b"Authorization", b"1"),
        (b"COOKIE", b"2"),
        (b"content-type", b"3"),
        (b"Content-Length", b"4"),
        (b"Host", b"5"),
        (b"x-key", b"6"),
    ]
    kept = headers_along(headers, crosses=True, keeps_body=True)
    assert [name for name, _ in kept] == [b"content-type", b"Content-Length", b"x-key"]
    kept = headers_along(headers, crosses=False, keeps_body=False)
    assert [name for name, _ in kept] == [b"Authorization", b"COOKIE", b"x-key"]


def test_an_origin_is_scheme_host_and_port() -> None:
    for other in ("http://a.test:8443/", "https://b.test:8443/", "https://a.test/"):
        assert not same_origin(BASE, parse_target(other))
    assert same_origin(BASE, parse_target("https://A.test:8443/other"))
    assert is_downgrade(BASE, parse_target("http://a.test/"))
    assert not is_downgrade(parse_target("http://a.test/"), BASE)


FOLLOWING = parse_policy("""
version: 1
rules:
  - {name: no, action: deny, path: /denied}
  - {name: by hand, action: allow, open_cidrs: [127.0.0.1/32], timeout_ms: 5000, path: /by-hand}
  - {name: local, action: allow, open_cidrs: [127.0.0.1/32], timeout_ms: 5000, follow_redirects: 3}
""")


class Hops:
    """Answers by path: (status, Location), or the request itself."""

    def __init__(self, ways: dict[str, tuple[int, str]]) -> None:
        self.ways = ways

    async def __call__(self, request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        body = await request.body()
        status, location = self.ways.get(request.target, (200, ""))
        if location:
            respond(writer, status, b"moved", f"location: {location}")
        else:
            respond(writer, status, f"{request.method} {request.target} ".encode() + body)


async def test_each_hop_is_a_request_and_a_record_of_its_own(way_out: WayOut) -> None:
    way_out.policy = FOLLOWING
    async with Upstream(Hops({"/a": (302, "b/c?d=1"), "/b/c?d=1": (307, "/e")})) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/a")
        assert await read_all(response) == b"GET /e "
        assert upstream.connections == 1
    way_out.audit.flush()
    assert [(r.path, r.status, r.redirect, r.retry) for r in way_out.records] == [
        ("/a", 302, 0, 0),
        ("/b/c", 307, 1, 0),
        ("/e", 200, 2, 0),
    ]


@pytest.mark.parametrize(
    ("status", "method", "body", "expected"),
    [
        (303, "POST", b"data", b"GET /to "),
        (301, "POST", b"data", b"GET /to "),
        (307, "POST", b"data", b"POST /to data"),
        (308, "PUT", b"data", b"PUT /to data"),
        (307, "DELETE", None, b"DELETE /to "),
    ],
)
async def test_method_and_body_along_the_way(
    way_out: WayOut, status: int, method: str, body: bytes | None, expected: bytes
) -> None:
    way_out.policy = FOLLOWING
    async with Upstream(Hops({"/from": (status, "/to")})) as upstream:
        headers = [(b"content-type", b"text/plain")] if body else []
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/from", method, headers, body)
        assert await read_all(response) == expected
        kept = upstream.requests[1].header("content-type")
        assert kept == ("text/plain" if body and method in expected.decode() else None)


@pytest.mark.parametrize("body", [PieceSource(1, 10), bytes(100_000)])
async def test_a_body_that_cannot_be_sent_again_hands_the_redirect_to_the_worker(
    way_out: WayOut, body: Body
) -> None:
    way_out.policy = FOLLOWING
    async with Upstream(Hops({"/from": (307, "/to"), "/see": (303, "/to")})) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        response = await way_out.fetch(f"{url}/from", "POST", body=body)
        assert (response.status, dict(response.headers)[b"location"]) == (307, b"/to")
        if isinstance(body, bytes):
            assert await read_all(await way_out.fetch(f"{url}/see", "POST", body=body)) == b"GET /to "


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/", Reason.ADDRESS_METADATA_SERVICE),
        ("http://127.0.0.2/", Reason.ADDRESS_LOOPBACK),
        ("http://[::ffff:10.0.0.1]/", Reason.ADDRESS_PRIVATE),
        ("http://inside.test/", Reason.ADDRESS_PRIVATE),
        ("/denied", Reason.POLICY_RULE_DENY),
        ("http://user@127.0.0.1/", Reason.URL_USERINFO),
        ("http://2130706433/", Reason.URL_IP_SPELLING),
        ("file:///etc/passwd", Reason.URL_SCHEME),
        ("gopher://127.0.0.1/", Reason.URL_SCHEME),
        ("http:/127.0.0.2/", Reason.URL_MALFORMED),
        ("\\\\127.0.0.2\\x", Reason.URL_BACKSLASH),
    ],
)
async def test_a_redirect_goes_nowhere_that_the_worker_could_not_go(
    way_out: WayOut, dialled: list[tuple[str, int]], location: str, reason: Reason
) -> None:
    way_out.policy = FOLLOWING
    way_out.dns.set("inside.test", "10.0.0.1")
    async with Upstream(Hops({"/": (302, location)})) as upstream:
        with pytest.raises(OperationError) as caught:
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        assert caught.value.code is OperationErrorCode.DENIED
        assert dialled == [("127.0.0.1", upstream.port)]
    assert way_out.last_record().reason is reason
    assert way_out.connector.in_use == 0


async def test_a_redirect_chain_that_rebinds_is_not_dialled(
    way_out: WayOut, dialled: list[tuple[str, int]]
) -> None:
    way_out.policy = FOLLOWING
    answers = ["127.0.0.1", "127.0.0.2"]
    way_out.dns.set_answer("rebind.test", "A", lambda n: [("rebind.test.", "A", answers[min(n, 1)])])
    async with Upstream(Hops({"/": (302, "/again")})) as upstream:
        with pytest.raises(OperationError, match="loopback"):
            await way_out.fetch(f"http://rebind.test:{upstream.port}/")
    assert {address for address, _ in dialled} == {"127.0.0.1"}


async def test_https_is_not_left_for_http(way_out: WayOut) -> None:
    way_out.policy = FOLLOWING
    way_out.dns.set("api.test", "127.0.0.1")
    async with Upstream() as plain:
        location = f"http://api.test:{plain.port}/"
        async with Upstream(Hops({"/": (301, location)}), tls=server_tls("api.test")) as upstream:
            with pytest.raises(OperationError, match="from https to http") as caught:
                await way_out.fetch(f"https://api.test:{upstream.port}/")
        assert plain.connections == 0
    assert caught.value.code is OperationErrorCode.DENIED
    assert way_out.last_record().reason is Reason.REDIRECT_DOWNGRADE


async def test_circles_and_long_chains_end(way_out: WayOut) -> None:
    way_out.policy = FOLLOWING
    ways = {"/loop": (302, "/pool"), "/pool": (302, "/loop")} | {
        f"/{n}": (302, f"/{n + 1}") for n in range(9)
    }
    async with Upstream(Hops(ways)) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        for path, words in (("/loop", "in a circle"), ("/0", "more than 3 redirects")):
            with pytest.raises(OperationError, match=words) as caught:
                await way_out.fetch(url + path)
            assert caught.value.code is OperationErrorCode.LIMIT_EXCEEDED
            assert way_out.last_record().reason is Reason.REDIRECT_LIMIT
        assert [request.target for request in upstream.requests] == ["/loop", "/pool", "/0", "/1", "/2", "/3"]
        assert (await way_out.fetch(f"{url}/6")).status == 200, "three are right"


async def test_a_rule_that_does_not_follow_hands_the_redirect_over(way_out: WayOut) -> None:
    way_out.policy = FOLLOWING
    async with Upstream(Hops({"/": (302, "/by-hand"), "/by-hand": (302, "/x")})) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        assert (response.status, dict(response.headers)[b"location"]) == (302, b"/x")
    assert way_out.last_record().result is Result.ALLOW


async def test_the_body_of_a_followed_redirect_is_let_go(way_out: WayOut) -> None:
    async def endless(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        if request.target == "/to":
            respond(writer, 200, b"there")
            return
        writer.write(b"HTTP/1.1 302 X\r\nlocation: /to\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + bytes(4_096) + b"\r\n")
            await writer.drain()

    way_out.policy = FOLLOWING
    async with Upstream(endless) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        assert await read_all(response) == b"there"
    way_out.audit.flush()
    assert [(r.status, r.reason) for r in way_out.records] == [
        (302, Reason.POLICY_RULE_ALLOW),
        (200, Reason.POLICY_RULE_ALLOW),
    ]
    assert way_out.connector.in_use == 0


async def test_the_total_timeout_is_of_all_hops_together(way_out: WayOut) -> None:
    async def slow(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15)
        respond(writer, 302, b"", f"location: {request.target}x")

    way_out.policy = parse_policy("""
version: 1
rules:
  - {name: local, action: allow, open_cidrs: [127.0.0.1/32], follow_redirects: 20, total_ms: 500}
""")
    async with Upstream(slow) as upstream:
        with pytest.raises(OperationError, match="within 500 ms, the egress policy's total_ms") as caught:
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        assert caught.value.code is OperationErrorCode.TIMEOUT
        assert len(upstream.requests) <= 4


async def test_the_total_timeout_ends_a_body_that_drips_and_one_that_nobody_reads(way_out: WayOut) -> None:
    async def drip(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    way_out.policy = parse_policy("""
version: 1
rules: [{name: local, action: allow, open_cidrs: [127.0.0.1/32], timeout_ms: 1000, total_ms: 1500}]
""")
    async with Upstream(drip) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/"
        read = await way_out.fetch(url)
        unread = await way_out.fetch(url)
        with pytest.raises(Exception, match="total_ms"):
            await read_all(read)
        await upstream.closed()
        with pytest.raises(Exception, match="total_ms"):
            await as_source(unread.body).read()
    assert way_out.connector.in_use == 0
    assert way_out.last_record().reason is Reason.UPSTREAM_TIMEOUT
