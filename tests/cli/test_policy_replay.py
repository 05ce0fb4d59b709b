"""`tenantry policy replay`: recorded decisions, asked of a changed policy before it is set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.recording_api import RecordingApi, ok, refused

OLD = "version: 1\nrules: [{name: api, action: allow, host: api.test}, {name: cdn, action: allow, host: cdn.test}]"
NEW = """\
version: 1
rules:
  - {name: api, action: allow, host: api.test}
  - {name: signed, action: allow, host: cdn.test, when: 'http.request.uri.query contains "signature="'}
"""
ACME = "version: 1\nrules: [{name: extra, action: allow, host: extra.test}]"
PLACE = "/workers/dispatch/namespaces/production"
NS = f"{PLACE}/egress-policy"
NONE = refused(404, 20021, "no policy")


def record(host: str, rule: str = "", **changed: Any) -> dict[str, Any]:
    reason = "policy.rule_allow" if rule else "policy.default_deny"
    found = {
        "id": 1, "at": "", "at_ms": 1, "namespace": "production", "tenant": "acme", "script": "shop",
        "ray_id": "8f0e", "method": "GET", "scheme": "https", "host": host, "port": 443, "path": "/",
        "result": "allow" if rule else "deny", "rule": rule, "layer": "namespace", "reason": reason,
        "policy_reason": reason, "policy_version": "abc", "address": "93.184.216.34" if rule else "",
        "status": 200, "bytes_up": 0, "bytes_down": 0, "duration_ms": 1, "redirect": 0, "retry": 0,
        "tags": ["plan:free"], "params": {}, "egress": None, "outbound": None, "truncated": False,
    }  # fmt: skip
    return {**found, **changed}


@pytest.fixture
def host(api: RecordingApi) -> RecordingApi:
    api.on("GET", NS, ok({"policy": OLD, "widen": False}))
    api.on("GET", f"{NS}/tenants/acme", ok({"policy": ACME, "widen": True}))
    api.on("GET", f"{NS}/layers", ok([{"layer": "tenant", "name": "acme"}], total_count=1))
    records = [
        record("api.test", "api"),
        record("cdn.test", "cdn", ray_id="2222"),
        record("cdn.test", "cdn"),
        record("extra.test", "extra", layer="tenant:acme"),
        record("other.test"),
        record("", policy_reason="", reason="url.userinfo"),
    ]
    api.on("GET", f"{PLACE}/egress-audit", ok(records, cursor=""))
    return api


@pytest.fixture
def new(tmp_path: Path) -> str:
    (tmp_path / "new.yaml").write_text(NEW)
    return str(tmp_path / "new.yaml")


def test_what_would_change_is_listed_and_what_is_not_known(host: RecordingApi, run: Run, new: str) -> None:
    ended = run("policy", "replay", new, "--namespace", "production", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["decisions"], found["unchanged"], found["refused_before_policy"]) == (6, 3, 1)
    assert (found["changes"], found["other_rules"], found["complete"]) == ([], [], True)
    (unknown,) = found["unknown"]
    assert (unknown["host"], unknown["count"], unknown["not_held"], unknown["ray_id"]) == (
        "cdn.test",
        2,
        ["query"],
        "2222",
    )
    (asked,) = [each for each in host.asked if each.path.endswith("egress-audit")]
    assert int(asked.query["since"][0]) > 0
    # No policy of tags was asked for: none is in force.
    assert not [each for each in host.asked if "/tags/" in each.path]


def test_a_change_is_shown_with_its_count_and_a_ray(
    host: RecordingApi, run: Run, new: str, tmp_path: Path
) -> None:
    (tmp_path / "new.yaml").write_text("version: 1\nrules: [{name: main, action: allow, host: api.test}]")
    ended = run("policy", "replay", new, "--namespace", "production", "--fail-on-change")
    assert ended.code == 1
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert "2 cdn.test allow namespace/cdn policy.rule_allow deny namespace policy.default_deny 2222" in lines
    assert (
        "1 api.test allow namespace/api policy.rule_allow allow namespace/main policy.rule_allow 8f0e"
        in lines
    )
    assert lines[-1] == (
        "6 decisions: 2 would change, 1 by another rule, 2 as before, 0 unknown, 1 refused before the policy"
    )
    assert run("policy", "replay", new, "--namespace", "production").code == 0


def test_a_tenants_policy_stands_beside_the_namespaces(
    host: RecordingApi, run: Run, new: str, tmp_path: Path
) -> None:
    (tmp_path / "new.yaml").write_text("version: 1\nrules: [{name: none, action: deny, host: extra.test}]")
    of = ("policy", "replay", new, "--namespace", "production", "--tenant", "acme", "--json")
    found = json.loads(run(*of).out)
    # It widens, as the one in force does: what none of its rules matches is the namespace's to decide.
    assert [(each["host"], each["now"]["layer"]) for each in found["changes"]] == [
        ("extra.test", "namespace")
    ]
    found = json.loads(run(*of, "--no-widen").out)
    assert [(each["host"], each["now"]["layer"]) for each in found["changes"]] == [
        ("cdn.test", "tenant:acme"),
        ("api.test", "tenant:acme"),
        ("extra.test", "namespace"),
    ]
    assert host.asked[-1].query is not None
    audits = [each for each in host.asked if each.path.endswith("egress-audit")]
    assert audits[0].query["tenant"] == ["acme"]


def test_only_scripts_with_the_tag_are_asked_about(host: RecordingApi, run: Run, new: str) -> None:
    host.on("GET", f"{NS}/tags/plan%3Apro", NONE)
    of = ("--namespace", "production", "--tag", "plan:pro", "--json")
    assert json.loads(run("policy", "replay", new, *of).out)["decisions"] == 0


def test_what_was_left_out_is_said(host: RecordingApi, run: Run, new: str) -> None:
    ended = run("policy", "replay", new, "--namespace", "production", "--limit", "2")
    assert "only the newest 2 were asked about" in ended.err
    assert ended.out.splitlines()[-1].startswith("2 decisions:")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tag", "a", "--tenant", "b"], "one policy at a time"),
        (["--widen"], "--widen goes with --tag or --tenant"),
        (["--since", "yesterday"], "--since 'yesterday'"),
    ],
)
def test_what_does_not_fit_is_refused(
    host: RecordingApi, run: Run, new: str, arguments: list[str], words: str
) -> None:
    ended = run("policy", "replay", new, "--namespace", "production", *arguments)
    assert (ended.code, words in ended.err) == (2, True)
    assert host.asked == []
