"""Rule held: what the gateway decided can be found again by who may ask, and by no look that takes long."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any, cast

import pytest

from model.clock import unix_ms
from storage.audit_store import AuditRow
from tests.control.support import ACCOUNT, NAMESPACES, Host, ok, refused

ALL = f"{ACCOUNT}/egress-audit"
PLAIN = f"{ACCOUNT}/workers/egress-audit"
NS = f"{NAMESPACES}/prod/egress-audit"
ROW = AuditRow(
    1_000, "prod", "acme", "shop", "8f0e", "GET", "https", "api.example.com", 443, "/v1", "allow", "api",
    "namespace", "policy.rule_allow", "policy.rule_allow", "abc", "93.184.216.34", 200, 10, 20, 5, 0, 0,
    '{"tags":["pro"],"params":{"plan":"gold"}}',
)  # fmt: skip


async def test_a_record_is_shown_whole(host: Host) -> None:
    await host.audit.append([ROW])
    (shown,) = ok(await host.api.get(ALL))
    assert shown["at"] == "1970-01-01T00:00:01.000000Z"
    assert (shown["tags"], shown["params"], shown["truncated"]) == (["pro"], {"plan": "gold"}, False)
    assert (shown["egress"], shown["outbound"]) == (None, None)
    for field in dataclasses.fields(AuditRow):
        if field.name != "facts":
            assert shown[field.name] == getattr(ROW, field.name)


async def test_what_a_dispatcher_narrowed_the_call_to_is_shown(host: Host) -> None:
    await host.audit.append([dataclasses.replace(ROW, facts='{"tags":[],"params":{},"egress":[]}')])
    (shown,) = ok(await host.api.get(ALL))
    assert shown["egress"] == []


async def test_what_an_outbound_worker_had_to_do_with_it_is_shown(host: Host) -> None:
    facts = '{"tags":[],"params":{},"outbound":{"worker":"guard","how":"continue"}}'
    await host.audit.append([dataclasses.replace(ROW, facts=facts)])
    (shown,) = ok(await host.api.get(ALL))
    assert shown["outbound"] == {"worker": "guard", "how": "continue"}


async def test_each_place_shows_its_own_and_the_account_shows_all(host: Host) -> None:
    await host.namespace()
    for namespace in ("prod", "other", ""):
        await host.audit.append([dataclasses.replace(ROW, namespace=namespace)])
    assert [each["namespace"] for each in ok(await host.api.get(ALL))] == [None, "other", "prod"]
    assert [each["namespace"] for each in ok(await host.api.get(NS))] == ["prod"]
    assert [each["namespace"] for each in ok(await host.api.get(PLAIN))] == [None]
    refused(await host.api.get(f"{NAMESPACES}/none/egress-audit"), 404, 100119)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("tenant", "tenant"),
        ("script", "script"),
        ("rule", "rule"),
        ("reason", "reason"),
        ("result", "result"),
        ("host", "host"),
        ("ray", "ray_id"),
    ],
)
async def test_a_filter_leaves_what_is_equal(host: Host, name: str, field: str) -> None:
    await host.audit.append([ROW, dataclasses.replace(ROW, **cast("Any", {field: "other"}))])
    shown = ok(await host.api.get(ALL, params={name: "other"}))
    assert [each[field] for each in shown] == ["other"]
    assert ok(await host.api.get(ALL, params={name: "' OR 1=1 --"})) == []


async def test_times_are_milliseconds_or_rfc_3339_and_inclusive(host: Host) -> None:
    second = unix_ms() // 1_000
    at_ms = second * 1_000
    await host.audit.append([dataclasses.replace(ROW, at_ms=at_ms + delta) for delta in (-1, 0, 1)])
    utc = datetime.datetime.fromtimestamp(second, datetime.UTC)
    east = utc.astimezone(datetime.timezone(datetime.timedelta(hours=2)))
    for since, until in ((str(at_ms), str(at_ms)), (utc.strftime("%Y-%m-%dT%H:%M:%SZ"), east.isoformat())):
        shown = ok(await host.api.get(ALL, params={"since": since, "until": until}))
        assert [each["at_ms"] for each in shown] == [at_ms]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("since", "yesterday"),
        ("until", "2026-01-01T00:00:00"),  # without a zone it could be anyone's
        ("order", "up"),
        ("cursor", "x"),
        ("limit", "0"),
        ("limit", "1001"),
        ("host", "h" * 513),
    ],
)
async def test_what_is_asked_wrongly_is_refused_with_its_name(host: Host, name: str, value: str) -> None:
    refused(await host.api.get(ALL, params={name: value}), 400, 10021, name)


async def test_a_reader_that_follows_is_given_each_record_once(host: Host) -> None:
    await host.audit.append([ROW])
    answer = await host.api.get(ALL, params={"order": "asc", "cursor": "0"})
    cursor = answer.json()["result_info"]["cursor"]
    assert len(ok(answer)) == 1
    for ray_id in ("a", "b"):
        await host.audit.append([dataclasses.replace(ROW, ray_id=ray_id)])
        answer = await host.api.get(ALL, params={"order": "asc", "cursor": cursor})
        assert [each["ray_id"] for each in ok(answer)] == [ray_id]
        cursor = answer.json()["result_info"]["cursor"]
    assert ok(await host.api.get(ALL, params={"order": "asc", "cursor": cursor})) == []
