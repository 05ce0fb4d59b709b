"""Rule held: only what does no harm twice is sent twice, no oftener than the rule says and never past the total
timeout; each attempt is judged, counted and on record.
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import OperationError, OperationErrorCode
from model.messages import Body
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from outbound.retries import MAX_BACKOFF_S, asked_for_s, is_repeatable, pause_s
from outbound.rule_actions import Retries
from tests.outbound.conftest import WayOut, read_all
from tests.outbound.test_gateway import PieceSource
from tests.support.upstream import Upstream, UpstreamRequest, respond


@given(
    attempts=st.integers(0, 5),
    backoff_ms=st.integers(1, 60_000),
    done=st.integers(0, 8),
    left_s=st.floats(0, 900),
    jitter=st.floats(0, 1),
    asked_s=st.floats(0, 100),
)
def test_a_pause_is_bounded_and_fits_what_is_left(
    attempts: int, backoff_ms: int, done: int, left_s: float, jitter: float, asked_s: float
) -> None:
    found = pause_s(Retries(attempts, backoff_ms), done, left_s, jitter, asked_s)
    if done >= attempts:
        assert found is None
    if found is not None:
        full_s = min(backoff_ms / 1_000 * 2**done, MAX_BACKOFF_S)
        assert found < left_s
        assert max(full_s / 2, asked_s) - 1e-9 <= found <= max(full_s, asked_s) + 1e-9


@pytest.mark.parametrize(
    ("method", "body", "expected"),
    [
        ("GET", None, True),
        ("PUT", b"small", True),
        ("DELETE", b"", True),
        ("PUT", bytes(65_536), True),
        ("PUT", bytes(65_537), False),
        ("PUT", PieceSource(1), False),
        ("POST", None, False),
        ("PATCH", b"", False),
    ],
)
def test_what_can_be_repeated(method: str, body: Body, expected: bool) -> None:
    assert is_repeatable(method, body) is expected


def test_retry_after_in_seconds_counts_and_a_date_does_not() -> None:
    assert asked_for_s([(b"retry-after", b"7")]) == 7
    assert asked_for_s([(b"retry-after", b"Wed, 21 Oct 2026 07:28:00 GMT")]) == 0
    assert asked_for_s([]) == 0


def policy(more: str = "", timeout_ms: int = 5_000) -> str:
    return f"""
version: 1
rules:
  - name: local
    action: allow
    open_cidrs: [127.0.0.0/8]
    timeout_ms: {timeout_ms}
    retries: {{attempts: 2, backoff_ms: 10}}
    {more}
"""


class Flaky:
    """Fails in turn as `faults` say, then answers."""

    def __init__(self, *faults: str) -> None:
        self.faults = list(faults)

    async def __call__(self, request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        await request.body()
        match self.faults.pop(0) if self.faults else "":
            case "close":
                writer.close()
            case "silence":
                await request.reader.read()
            case "garbage":
                writer.write(b"what?\r\n\r\n")
            case "half":
                writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nhal")
                await writer.drain()
                writer.close()
            case "":
                respond(writer, 200, b"yes")
            case status:
                respond(writer, int(status), b"no", "retry-after: 0")


@pytest.mark.parametrize("fault", ["close", "silence", "garbage", "503", "502", "504"])
@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PUT", b"body")])
async def test_a_fault_before_an_answer_is_tried_again(
    way_out: WayOut, fault: str, method: str, body: bytes | None
) -> None:
    way_out.policy = parse_policy(policy(timeout_ms=400 if fault == "silence" else 5_000))
    async with Upstream(Flaky(fault, fault)) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", method, body=body)
        assert await read_all(response) == b"yes"
        assert len(upstream.requests) == 3
    way_out.audit.flush()
    assert [record.retry for record in way_out.records] == [0, 1, 2]
    assert way_out.connector.in_use == 0


@pytest.mark.parametrize(
    ("faults", "method", "body", "requests"),
    [
        (("close",) * 3, "GET", None, 3),
        (("close",), "POST", None, 1),
        (("close",), "PATCH", b"x", 1),
        (("close",), "PUT", PieceSource(1, 3), 1),
    ],
)
async def test_what_stays_a_fault(
    way_out: WayOut, faults: tuple[str, ...], method: str, body: Body, requests: int
) -> None:
    way_out.policy = parse_policy(policy())
    async with Upstream(Flaky(*faults)) as upstream:
        with pytest.raises(OperationError) as caught:
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", method, body=body)
        assert len(upstream.requests) == requests
    assert caught.value.code is OperationErrorCode.UPSTREAM_FAILED
    way_out.audit.flush()
    assert len(way_out.records) == requests


async def test_other_statuses_and_broken_bodies_are_the_workers_to_judge(way_out: WayOut) -> None:
    way_out.policy = parse_policy(policy())
    async with Upstream(Flaky("500", "429", "half")) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/"
        assert (await way_out.fetch(url)).status == 500
        assert (await way_out.fetch(url)).status == 429
        with pytest.raises(Exception, match="broke off"):
            await read_all(await way_out.fetch(url))
        assert len(upstream.requests) == 3


async def test_the_last_answer_is_handed_over_whatever_its_status(way_out: WayOut) -> None:
    way_out.policy = parse_policy(policy())
    async with Upstream(Flaky("503", "503", "503")) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        assert (response.status, await read_all(response)) == (503, b"no")


async def test_an_upstream_that_asks_for_more_time_than_is_left_gets_no_second_request(
    way_out: WayOut,
) -> None:
    async def busy(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        respond(writer, 503, b"no", "retry-after: 60")

    way_out.policy = parse_policy(policy("total_ms: 2000"))
    async with Upstream(busy) as upstream:
        assert (await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")).status == 503
        assert len(upstream.requests) == 1


async def test_the_total_timeout_ends_retries(way_out: WayOut) -> None:
    way_out.policy = parse_policy(policy("total_ms: 900", 300).replace("attempts: 2", "attempts: 5"))
    async with Upstream(Flaky(*["silence"] * 6)) as upstream:
        with pytest.raises(OperationError) as caught:
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        assert caught.value.code is OperationErrorCode.TIMEOUT
        assert len(upstream.requests) <= 3
    assert way_out.last_record().reason is Reason.UPSTREAM_TIMEOUT


async def test_each_attempt_counts_against_the_rate_limit(way_out: WayOut) -> None:
    way_out.policy = parse_policy(policy("rate_limit: {requests: 2, period_s: 60}"))
    async with Upstream(Flaky(*["close"] * 3)) as upstream:
        with pytest.raises(OperationError, match=r"\(limit\.rate\)"):
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        assert len(upstream.requests) == 2


async def test_each_attempt_is_judged_anew(way_out: WayOut, dialled: list[tuple[str, int]]) -> None:
    way_out.policy = parse_policy(policy().replace("127.0.0.0/8", "127.0.0.1/32"))
    answers = ["127.0.0.1", "127.0.0.2"]
    way_out.dns.set_answer("rebind.test", "A", lambda n: [("rebind.test.", "A", answers[min(n, 1)])])
    async with Upstream(Flaky("close")) as upstream:
        with pytest.raises(OperationError, match="loopback"):
            await way_out.fetch(f"http://rebind.test:{upstream.port}/")
    assert {address for address, _ in dialled} == {"127.0.0.1"}


async def test_a_kept_connection_that_the_upstream_closed_is_no_fault(way_out: WayOut) -> None:
    """Without any retries in the rule: RFC 9112 §9.3.1."""

    async def once(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        await request.body()
        respond(writer, 200, b"yes")
        await writer.drain()
        await asyncio.sleep(0)
        second = await request.reader.read(1)
        assert second
        writer.transport.abort()

    async with Upstream(once) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/"
        assert await read_all(await way_out.fetch(url)) == b"yes"
        assert await read_all(await way_out.fetch(url, "PUT", body=b"again")) == b"yes"
        with pytest.raises(OperationError):  # a POST may have been carried out
            await way_out.fetch(url, "POST", body=b"again")
        assert upstream.connections == 2
