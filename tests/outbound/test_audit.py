"""Rule held: every decision is on record once, without secrets; a keeper that is slow or broken costs
records, which are counted, and never a request.
"""

from __future__ import annotations

import asyncio

import pytest

from model.clock import unix_ms
from model.errors import OperationError
from model.identity import RayId, ScriptName, TenantId
from outbound.audit import AuditQueue, AuditRecord
from outbound.hops import HopSigner
from outbound.policy import Result
from outbound.reasons import Reason
from tests.outbound.conftest import CLOSED, WayOut, read_all
from tests.support.upstream import Upstream, UpstreamRequest


def record(method: str) -> AuditRecord:
    return AuditRecord(unix_ms(), TenantId("t"), None, ScriptName("s"), RayId("r"), method)


async def test_records_are_written_in_order_on_later_turns() -> None:
    written: list[str] = []
    queue = AuditQueue(lambda one: written.append(one.method))
    for number in range(200):
        queue.record(record(str(number)))
    assert written == []
    for _ in range(5):
        await asyncio.sleep(0)
    assert written == [str(number) for number in range(200)]
    assert queue.dropped == 0


async def test_what_is_too_much_is_dropped_and_counted() -> None:
    written: list[str] = []
    queue = AuditQueue(lambda one: written.append(one.method), capacity=3)
    for number in range(5):
        queue.record(record(str(number)))
    queue.flush()
    assert (written, queue.dropped) == (["0", "1", "2"], 2)


async def test_a_keeper_that_raises_loses_its_record_only() -> None:
    def write(one: AuditRecord) -> None:
        if one.method == "1":
            raise OSError("disk full")
        written.append(one.method)

    written: list[str] = []
    queue = AuditQueue(write)
    for number in range(3):
        queue.record(record(str(number)))
    queue.flush()
    assert (written, queue.dropped) == (["0", "2"], 1)


async def test_each_decision_is_recorded_once_without_query_or_headers(way_out: WayOut) -> None:
    more = asyncio.Event()

    async def in_two(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 4\r\n\r\nab")
        await more.wait()
        writer.write(b"cd")

    async with Upstream(in_two) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/p?token=s3cret"
        response = await way_out.fetch(url, headers=[(b"authorization", b"s3cret")])
        way_out.audit.flush()
        assert way_out.records == [], "not before all of it is over"
        more.set()
        await read_all(response)
        assert response.body is not None
        assert not isinstance(response.body, bytes)
        response.body.close()
    for bad in ("http://u:s3cret@127.0.0.1/", "http://10.0.0.1/?s3cret", "ftp://s3cret/"):
        way_out.policy = CLOSED
        with pytest.raises(OperationError) as caught:
            await way_out.fetch(bad)
        assert "s3cret" not in caught.value.message
    way_out.audit.flush()
    assert [(r.result, r.reason) for r in way_out.records] == [
        (Result.ALLOW, Reason.POLICY_RULE_ALLOW),
        (Result.DENY, Reason.URL_USERINFO),
        (Result.DENY, Reason.ADDRESS_PRIVATE),
        (Result.DENY, Reason.URL_SCHEME),
    ]
    assert "s3cret" not in repr(way_out.records)
    first = way_out.records[0]
    assert (first.tenant, first.namespace, first.script, first.ray_id) == ("t1", "customers", "shop", "8f0e")
    assert (first.scheme, first.host, first.path, first.method) == ("http", "127.0.0.1", "/p", "GET")


def test_a_hop_value_counts_only_when_we_signed_it() -> None:
    signer = HopSigner(b"a" * 16)
    value = signer.sign(3, "8f0e-x\r\n")
    assert value.startswith(b"3.8f0e-x.")
    assert signer.verify(value) == 3
    assert HopSigner(b"b" * 16).verify(value) == 0
    for forged in (
        b"2" + value[1:],
        value[:-1] + b"z",
        value.replace(b"8f0e", b"8f0f"),
        b"",
        None,
        b"3.x." + b"0" * 32,
    ):
        assert signer.verify(forged) == 0
    with pytest.raises(ValueError, match="fewer than 16"):
        HopSigner(b"short")
