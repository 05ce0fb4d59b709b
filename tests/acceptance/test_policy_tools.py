"""Rule held: the tools of an egress policy say of a whole host what it does, and did."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.platform import Platform, wait_until


def written(folder: Path, name: str, *rules: str) -> str:
    (folder / name).write_text(f"version: 1\nrules: [{', '.join(rules)}]\n")
    return str(folder / name)


def test_a_narrowed_call_and_what_another_policy_would_have_said(platform: Platform, tmp_path: Path) -> None:
    platform.deploy("fetch_proxy", "told", "--tenant", "told", "--tag", "plan:pro", namespace="hooked")
    platform.run("routes", "add", "narrowed.localhost", "--hook", "front")
    api = f"{{name: api, action: allow, host: api.demo.example, port: {platform.api_port}, open_cidrs: [127.0.0.1/32]}}"
    platform.run("policy", "set", "hooked", written(tmp_path, "policy.yaml", api))
    url = f"http://api.demo.example:{platform.api_port}/x"

    def asked(egress: str = "") -> int:
        headers = {"X-Tenant": "told", **({"X-Egress": egress} if egress else {})}
        return platform.request("narrowed.localhost", f"/?url={url}", headers=headers).status

    assert [asked(), asked("*.demo.example"), asked("api.demo.example")] == [200, 200, 200]
    assert asked("other.demo.example") == 403

    def audited() -> list[dict[str, object]]:
        lines = platform.run("audit", "hooked", "--tenant", "told", "--json").splitlines()
        return [json.loads(line) for line in lines]

    wait_until(lambda: len(audited()) == 4)
    # Of several processes, so in any order.
    told = [(each["layer"], each["rule"], each["egress"]) for each in audited()]
    assert sorted(told, key=repr) == [
        ("call", "", ["other.demo.example"]),
        ("call", "egress", ["*.demo.example"]),
        ("call", "egress", ["api.demo.example"]),
        ("namespace", "api", None),
    ]
    # Why: as the policies in force say it.
    of = ("--namespace", "hooked", "--tenant", "told", "--tag", "plan:pro", "--dns", "127.0.0.1")
    assert "address 127.0.0.1: opened, may be reached" in platform.run("policy", "explain", url, *of)
    narrow = (*of, "--egress", "other.demo.example")
    assert "deny by no rule of call" in platform.run("policy", "explain", url, *narrow, expect=1)
    # And if the policy were another one?
    same = written(tmp_path, "same.yaml", api)
    replay = ("--namespace", "hooked", "--tag", "plan:pro", "--json")
    found = json.loads(platform.run("policy", "replay", same, *replay, "--fail-on-change"))
    assert (found["changes"], found["unknown"]) == ([], [])
    whole = ("--namespace", "hooked", "--json")
    found = json.loads(platform.run("policy", "replay", same, *whole, "--fail-on-change"))
    assert (found["decisions"], found["unchanged"]) == (4, 4)
    closed = written(tmp_path, "closed.yaml", api.replace(", open_cidrs: [127.0.0.1/32]", ""))
    found = json.loads(platform.run("policy", "replay", closed, *whole, "--fail-on-change", expect=1))
    assert [(each["count"], each["was"]["layer"], each["now"]["reason"]) for each in found["changes"]] == [
        (2, "call", "address.loopback"),
        (1, "namespace", "address.loopback"),
    ]
    assert found["unchanged"] == 1
