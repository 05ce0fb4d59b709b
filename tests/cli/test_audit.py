"""`tenantry audit`: the newest records that were asked for, the oldest of them first."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.recording_api import RecordingApi, ok

ALL = "/egress-audit"


def record(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "id": number, "at_ms": 1_700_000_000_000 + number, "namespace": "prod", "tenant": "acme", "script": "shop",
        "ray_id": f"ray{number}", "method": "GET", "scheme": "https", "host": "api.example.com", "port": 443,
        "path": "/v1", "result": "deny", "rule": "no-ads", "layer": "tenant", "reason": "policy.rule_deny",
        "status": 0, "bytes_up": 0, "bytes_down": 2_048, **changed,
    }  # fmt: skip


def test_records_are_a_table_with_the_oldest_first(api: RecordingApi, run: Run) -> None:
    api.on("GET", ALL, ok([record(2), record(1, host="", rule="", namespace=None)], cursor=""))
    head, first, second = run("audit").out.splitlines()
    assert head.split()[:3] == ["AT", "RAY", "TENANT"]
    assert "ray1" in first
    assert "-/shop" in first
    assert "(no URL)" in first
    for part in ("ray2", "prod/shop", "tenant/no-ads", "GET https://api.example.com:443/v1", "2.0 KiB"):
        assert part in second


def test_a_request_that_an_outbound_worker_let_go_on_names_it(api: RecordingApi, run: Run) -> None:
    step = {"worker": "platform/guard", "how": "continue"}
    api.on("GET", ALL, ok([record(2, outbound=step), record(1, outbound=None)], cursor=""))
    _, without, asked = run("audit").out.splitlines()
    assert "prod/shop via platform/guard" in asked
    assert "via" not in without


def test_a_terminal_obeys_nothing_that_a_worker_wrote(api: RecordingApi, run: Run) -> None:
    api.on("GET", ALL, ok([record(1, path="/\x1b[2J")], cursor=""))
    assert "\x1b" not in run("audit").out


def test_filters_and_places_are_asked_for_as_given(api: RecordingApi, run: Run) -> None:
    for path in (
        ALL,
        "/workers/egress-audit",
        "/workers/dispatch/namespaces/prod/egress-audit",
    ):
        api.on("GET", path, ok([], cursor=""))
    filters = {
        "tenant": "acme",
        "script": "shop",
        "rule": "no ads",
        "reason": "policy.rule_deny",
        "result": "deny",
        "host": "a.example",
        "ray": "8f0e",
    }
    options = [word for name, value in filters.items() for word in (f"--{name}", value)]
    assert run("audit", "prod", *options, "--until", "2026-01-01T00:00:00Z").code == 0
    assert run("audit", "-").code == 0
    assert [call.split()[1] for call in api.calls()] == [
        "/workers/dispatch/namespaces/prod/egress-audit",
        "/workers/egress-audit",
    ]
    asked = api.asked[0].query
    assert {name: asked[name] for name in filters} == {name: [value] for name, value in filters.items()}
    assert asked["until"] == ["1767225600000"]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1_800), ("6h", 21_600), ("2d", 172_800)])
def test_since_is_a_time_ago(api: RecordingApi, run: Run, text: str, seconds: int) -> None:
    api.on("GET", ALL, ok([], cursor=""))
    assert run("audit", "--since", text).code == 0
    ago = time.time() - int(api.asked[0].query["since"][0]) / 1000
    assert seconds <= ago < seconds + 60
    assert run("audit", "--since", "yesterday").code == 2


def test_pages_are_joined_up_to_the_limit(api: RecordingApi, run: Run) -> None:
    api.on("GET", ALL, ok([record(4), record(3)], cursor="3"), ok([], cursor="2"), ok([record(1)], cursor=""))
    shown = [json.loads(line) for line in run("audit", "--json", "--limit", "10").out.splitlines()]
    assert [each["id"] for each in shown] == [1, 3, 4]


def test_following_shows_what_comes_next_once(
    api: RecordingApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.on(
        "GET",
        ALL,
        ok([record(1)], cursor=""),
        ok([record(2)], cursor="2"),
        ok([], cursor="2"),
        ok([record(3)], cursor="3"),
        ok([], cursor="3"),
    )
    waits = 0

    def sleep(seconds: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("cli.commands.audit.time.sleep", sleep)
    ended = run("audit", "--follow", "--json")
    assert ended.code == 0
    assert [json.loads(line)["id"] for line in ended.out.splitlines()] == [1, 2, 3]
    assert [asked.query.get("cursor") for asked in api.asked] == [None, ["1"], ["2"], ["2"], ["3"]]
    assert {tuple(asked.query.get("order", ())) for asked in api.asked[1:]} == {("asc",)}
