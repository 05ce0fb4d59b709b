"""Rule held: a rate is kept to, whoever asks and however many keys there are; a key that has to wait is never
forgiven to make room.
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import OperationError, OperationErrorCode, UpstreamError
from model.gcra import gcra
from outbound.policy_parse import parse_policy
from outbound.quotas import Usage
from outbound.rate_limits import RateTable
from outbound.reasons import Reason
from tests.outbound.conftest import WayOut, read_all
from tests.outbound.test_gateway import PieceSource, as_source
from tests.support.upstream import Upstream, UpstreamRequest


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("forgiven_at", "now", "expected"),
    [
        (0.0, 100.0, (102.0, 0.0)),  # rested: as if it had never been used
        (100.0, 100.0, (102.0, 0.0)),
        (108.0, 100.0, (110.0, 0.0)),  # the last of a period's worth
        (109.0, 100.0, (109.0, 1.0)),  # one second early, and nothing is used
        (110.0, 100.0, (110.0, 2.0)),
    ],
)
def test_gcra(forgiven_at: float, now: float, expected: tuple[float, float]) -> None:
    assert gcra(forgiven_at, now, 2.0, 10.0) == expected


@given(
    requests=st.integers(1, 50),
    period_s=st.integers(1, 3_600),
    steps=st.lists(st.floats(0, 100), min_size=1, max_size=300),
)
def test_no_more_pass_than_a_full_period_and_what_came_back(
    requests: int, period_s: int, steps: list[float]
) -> None:
    clock = Clock()
    table = RateTable(clock=clock)
    passed = 0
    began_s = clock.now_s
    for step in steps:
        clock.now_s += step
        wait_s = table.take("key", 1 / requests, period_s)
        if wait_s == 0:
            passed += 1
            assert passed <= requests + (clock.now_s - began_s) * requests / period_s + 1e-3
        else:
            assert wait_s <= period_s / requests + 1e-3
            clock.now_s += wait_s
            assert table.take("key", 1 / requests, period_s) == 0, "the wait that was said is enough"
            passed += 1


def test_a_full_table_lets_rested_keys_go_and_never_one_that_waits() -> None:
    clock = Clock()
    table = RateTable(capacity=3, clock=clock)
    assert table.take("rested", 1 / 10, 10) == 0
    clock.now_s += 5
    for _ in range(2):
        assert table.take("limited", 1 / 2, 100) == 0
    assert table.take("going", 1 / 10, 100) == 0
    assert table.take("one more", 1, 100) == 0
    assert len(table) == 3, "the rested one went"
    assert table.take("limited", 1 / 2, 100) > 0
    assert table.take("another", 1, 100) == 0
    assert len(table) == 3, "then the one that had used least"
    assert table.take("limited", 1 / 2, 100) > 0
    wait_s = table.take("too many", 1, 100)
    assert 0 < wait_s <= 100, "all others wait, so this one does"
    assert len(table) == 3


def limited(limit: str, quotas: str = "") -> str:
    return (
        f"version: 1\n{quotas}\nrules:\n"
        f"  - {{name: local, action: allow, open_cidrs: [127.0.0.0/8], timeout_ms: 5000{limit}}}"
    )


@pytest.mark.parametrize(
    ("per", "still_passes"),
    [
        ("tenant", {("b", "127.0.0.1")}),
        ("destination", {("a", "127.0.0.2"), ("b", "127.0.0.2")}),
        ("tenant_and_destination", {("a", "127.0.0.2"), ("b", "127.0.0.1")}),
    ],
)
async def test_a_rules_rate_limit_holds_by_tenant_and_by_destination(
    way_out: WayOut, per: str, still_passes: set[tuple[str, str]]
) -> None:
    way_out.policy = parse_policy(limited(f", rate_limit: {{requests: 2, period_s: 60, per: {per}}}"))
    async with Upstream(host="0.0.0.0") as upstream:
        for _ in range(2):
            await read_all(await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", tenant="a"))
        with pytest.raises(
            OperationError, match=r"local' is 2 requests in 60 s .*try again in \d+ s"
        ) as caught:
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", tenant="a")
        assert caught.value.code is OperationErrorCode.LIMIT_EXCEEDED
        assert way_out.last_record().reason is Reason.LIMIT_RATE
        for tenant, host in sorted(still_passes):
            assert (await way_out.fetch(f"http://{host}:{upstream.port}/", tenant=tenant)).status == 200
        assert len(upstream.requests) == 2 + len(still_passes)


async def test_a_tenant_has_its_requests_a_minute_and_no_other_tenants(way_out: WayOut) -> None:
    clock = Clock()
    way_out.usage = Usage(clock=clock)
    way_out.rebuild()
    way_out.policy = parse_policy(limited("", "quotas: {requests_per_minute: 2}"))
    async with Upstream() as upstream:
        url = f"http://127.0.0.1:{upstream.port}/"
        for _ in range(2):
            await read_all(await way_out.fetch(url))
        with pytest.raises(OperationError, match=r"requests_per_minute is 2 .*try again in 30 s"):
            await way_out.fetch(url)
        assert way_out.last_record().reason is Reason.LIMIT_QUOTA_REQUESTS
        assert (await way_out.fetch(url, tenant="other")).status == 200
        clock.now_s += 30
        assert (await way_out.fetch(url)).status == 200


async def test_concurrent_requests_count_until_their_bodies_end(way_out: WayOut) -> None:
    async def endless(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nhello")
        await request.reader.read()

    way_out.policy = parse_policy(limited("", "quotas: {concurrent_requests: 1}"))
    async with Upstream(endless) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/"
        response = await way_out.fetch(url)
        with pytest.raises(
            OperationError, match=r"concurrent_requests is 1; .*try again; the platform can raise it"
        ):
            await way_out.fetch(url)
        assert way_out.last_record().reason is Reason.LIMIT_QUOTA_CONNECTIONS
        as_source((await way_out.fetch(url, tenant="other")).body).close()
        as_source(response.body).close()
        as_source((await way_out.fetch(url)).body).close()
        for bad in ("ftp://x/", f"http://127.0.0.1:{upstream.port}/\x00"):
            with pytest.raises(OperationError):
                await way_out.fetch(bad)
        as_source((await way_out.fetch(url)).body).close()


async def test_bytes_a_minute_end_a_body_under_way_and_hold_what_comes_next(way_out: WayOut) -> None:
    async def much(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 10000000\r\n\r\n")
        for _ in range(100):
            writer.write(bytes(100_000))
            await writer.drain()

    clock = Clock()
    way_out.usage = Usage(clock=clock)
    way_out.rebuild()
    way_out.policy = parse_policy(limited("", "quotas: {bytes_per_minute: 1000000}"))
    async with Upstream(much) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/"
        response = await way_out.fetch(url)
        with pytest.raises(UpstreamError, match="bytes_per_minute is 1000000"):
            await read_all(response)
        await upstream.closed()
        record = way_out.last_record()
        assert record.reason is Reason.LIMIT_QUOTA_BYTES
        assert record.bytes_down < 2_000_000
        with pytest.raises(OperationError, match=r"bytes_per_minute .*try again in \d+ s") as caught:
            await way_out.fetch(url)
        assert caught.value.code is OperationErrorCode.LIMIT_EXCEEDED
        as_source((await way_out.fetch(url, tenant="other")).body).close()
        clock.now_s += 120
        as_source((await way_out.fetch(url)).body).close()


async def test_bytes_that_go_up_count_too(way_out: WayOut) -> None:
    async def swallow(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        async for _ in request.chunks():
            pass

    way_out.policy = parse_policy(limited("", "quotas: {bytes_per_minute: 1000000}"))
    async with Upstream(swallow) as upstream:
        source = PieceSource(100)
        with pytest.raises(OperationError, match="bytes_per_minute is 1000000"):
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", "POST", body=source)
        assert source.closed
        assert source.left > 80
        assert way_out.last_record().reason is Reason.LIMIT_QUOTA_BYTES
        with pytest.raises(OperationError, match="bytes_per_minute is 1000000"):
            await way_out.fetch(
                f"http://127.0.0.1:{upstream.port}/", "POST", body=bytes(2_000_000), tenant="b"
            )
    assert way_out.connector.in_use == 0
