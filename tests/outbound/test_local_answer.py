"""Rule held: a name that leads to this very host is never connected to; where a worker of this host answers for it,
the request is handed over under the same rules, limits and records as any other.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable

import pytest

from model.capabilities import EventContext
from model.errors import OperationError, OperationErrorCode, UpstreamError
from model.messages import Body, ByteSource, OutgoingRequest, Response
from outbound.addresses import AddressRanges
from outbound.hops import HopSigner
from outbound.memory_materials import MemoryMaterials
from outbound.policy import Result
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from outbound.target import Target
from tests.outbound.conftest import CLOSED, WayOut, read_all
from tests.outbound.test_gateway import PieceSource, as_source

OWN = "93.184.216.34"


class Here:
    """Answers for `shop.test` with `body`, and keeps what it was asked."""

    def __init__(self, body: Body = b"hello") -> None:
        self.body = body
        self.asked: list[tuple[Target, OutgoingRequest]] = []

    def __call__(
        self, target: Target, request: OutgoingRequest, context: EventContext
    ) -> Awaitable[Response] | None:
        if target.host != "shop.test":
            return None
        self.asked.append((target, request))
        return self._answer(request)

    async def _answer(self, request: OutgoingRequest) -> Response:
        sent = b""
        if isinstance(request.body, bytes):
            sent = request.body
        elif request.body is not None:
            while piece := await request.body.read():
                sent += piece
        body = self.body + sent if isinstance(self.body, bytes) else self.body
        return Response(
            201, [(b"x-from", b"here"), (b"connection", b"close"), (b"tenantry-hop", b"1.a.b")], body
        )


@pytest.fixture
def at_home(way_out: WayOut) -> WayOut:
    way_out.policy = CLOSED
    way_out.ranges = AddressRanges(frozenset({ipaddress.ip_address(OWN)}), frozenset({443, 8443}))
    way_out.local = Here()
    way_out.rebuild()
    way_out.dns.set("shop.test", OWN)
    way_out.dns.set("nobody.test", OWN)
    return way_out


def asked(way_out: WayOut) -> list[tuple[Target, OutgoingRequest]]:
    assert isinstance(way_out.local, Here)
    return way_out.local.asked


async def test_it_is_answered_here_and_nothing_is_dialled(
    at_home: WayOut, dialled: list[tuple[str, int]]
) -> None:
    response = await at_home.fetch("https://shop.test/a?b=1", "POST", [(b"x-k", b"v")], b"!")
    assert (response.status, list(response.headers)) == (201, [(b"x-from", b"here")])
    assert await read_all(response) == b"hello!"
    target, request = asked(at_home)[0]
    assert (target.host, target.path, request.method) == ("shop.test", "/a", "POST")
    headers = dict(request.headers)
    assert HopSigner(b"k" * 32).verify(headers.pop(b"tenantry-hop")) == 1
    assert headers == {b"x-k": b"v"}
    assert dialled == []
    record = at_home.last_record()
    assert (record.result, record.status, record.bytes_up, record.bytes_down) == (Result.ALLOW, 201, 1, 6)
    assert record.reason is Reason.POLICY_RULE_ALLOW


@pytest.mark.parametrize("length", [b"9" * 18, b"9" * 5_000, b"0" * 5_000 + b"5"])
async def test_a_length_of_many_digits_is_a_large_one(at_home: WayOut, length: bytes) -> None:
    """A worker says what it likes of its own response; here no wire has looked at it."""

    async def answer() -> Response:
        return Response(200, [(b"content-length", length)], PieceSource(5))

    at_home.local = lambda target, request, context: answer()
    at_home.rebuild()
    with pytest.raises(OperationError):
        await at_home.fetch("https://shop.test/")
    assert at_home.last_record().reason is Reason.RESPONSE_TOO_LARGE


async def test_policy_comes_first(at_home: WayOut) -> None:
    at_home.policy = parse_policy("version: 1\nrules: [{name: no, action: deny, host: shop.test}]")
    with pytest.raises(OperationError, match="rule 'no'"):
        await at_home.fetch("https://shop.test/")
    assert asked(at_home) == []


@pytest.mark.parametrize("url", ["https://nobody.test/", f"https://{OWN}/", "https://nobody.test:22/"])
async def test_what_nobody_here_answers_for_is_refused_as_ever(
    at_home: WayOut, dialled: list[tuple[str, int]], url: str
) -> None:
    with pytest.raises(OperationError, match=r"\(address\.(this_host|self_connection)\)") as caught:
        await at_home.fetch(url)
    assert caught.value.code is OperationErrorCode.DENIED
    assert dialled == []


async def test_a_name_that_leads_elsewhere_is_not_ours_to_answer(
    at_home: WayOut, dialled: list[tuple[str, int]]
) -> None:
    """Whoever makes a route for `shop.test` here must not get what is meant for its owner's servers."""
    for addresses in (("10.0.0.1",), ("10.0.0.1", OWN), ("169.254.169.254",)):
        at_home.dns.set("shop.test", *addresses)
        with pytest.raises(OperationError):
            await at_home.fetch("https://shop.test/")
    assert asked(at_home) == []
    assert dialled == []


async def test_one_address_that_may_not_be_reached_denies_the_whole_answer(at_home: WayOut) -> None:
    at_home.dns.set("shop.test", OWN, "10.0.0.1")
    with pytest.raises(OperationError):
        await at_home.fetch("https://shop.test/")
    assert asked(at_home) == []


async def test_a_circle_of_workers_ends(at_home: WayOut) -> None:
    at_home.hops = 8
    with pytest.raises(OperationError, match=r"\(request\.loop\)"):
        await at_home.fetch("https://shop.test/")
    assert asked(at_home) == []


async def test_streams_both_ways_are_counted_and_let_go(at_home: WayOut) -> None:
    down = PieceSource(3, 10)
    at_home.local = Here(down)
    at_home.rebuild()
    up = PieceSource(5, 100)
    response = await at_home.fetch("https://shop.test/", "POST", body=up)
    assert await read_all(response) == b"x" * 30
    assert up.closed
    assert down.closed
    record = at_home.last_record()
    assert (record.bytes_up, record.bytes_down) == (500, 30)


async def test_limits_hold(at_home: WayOut) -> None:
    at_home.policy = parse_policy(
        "version: 1\nrules: [{name: any, action: allow, max_request_bytes: 99, max_response_bytes: 29}]"
    )
    down = PieceSource(3, 10)
    at_home.local = Here(down)
    at_home.rebuild()
    with pytest.raises(OperationError, match="max_request_bytes is 99"):
        await at_home.fetch("https://shop.test/", "POST", body=bytes(100))
    with pytest.raises(OperationError, match="max_request_bytes is 99"):
        await at_home.fetch("https://shop.test/", "POST", body=PieceSource(10, 10))
    with pytest.raises(UpstreamError, match="max_response_bytes"):
        await read_all(await at_home.fetch("https://shop.test/"))
    assert down.closed
    assert at_home.last_record().reason is Reason.RESPONSE_TOO_LARGE
    at_home.local = Here(bytes(30))
    at_home.rebuild()
    with pytest.raises(OperationError, match="max_response_bytes"):
        await at_home.fetch("https://shop.test/")


async def test_a_reader_that_leaves_lets_the_worker_go(at_home: WayOut) -> None:
    down = PieceSource(1_000)
    at_home.local = Here(down)
    at_home.rebuild()
    body = as_source((await at_home.fetch("https://shop.test/")).body)
    await body.read()
    body.close()
    assert down.closed
    assert at_home.last_record().reason is Reason.CANCELLED


async def test_the_total_timeout_holds_for_a_worker_that_does_not_answer(at_home: WayOut) -> None:
    class Stuck(ByteSource):
        closed = False

        async def read(self) -> bytes:
            await asyncio.Event().wait()
            raise AssertionError

        def close(self) -> None:
            self.closed = True

    at_home.policy = parse_policy("version: 1\nrules: [{name: any, action: allow, total_ms: 500}]")
    stuck = Stuck()
    with pytest.raises(OperationError, match="total_ms"):
        await at_home.fetch("https://shop.test/", "POST", body=stuck)
    assert stuck.closed
    at_home.local = Here(stuck)
    at_home.rebuild()
    response = await at_home.fetch("https://shop.test/")
    with pytest.raises(UpstreamError, match="total_ms"):
        await read_all(response)


async def test_a_secret_is_injected_for_a_worker_of_this_host_too(at_home: WayOut) -> None:
    at_home.materials = MemoryMaterials(secrets={"k": "s3cret-value"})
    at_home.rebuild()
    at_home.policy = parse_policy("""
version: 1
rules: [{name: a, action: allow, scheme: https, host: shop.test, secrets: [{header: x-key, secret: k}]}]
""")
    await at_home.fetch("https://shop.test/")
    assert dict(asked(at_home)[0][1].headers)[b"x-key"] == b"s3cret-value"
