"""`tenantry policy explain`: the walk through the rules, from files or from a host's policies in force."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from outbound import resolver
from tests.cli.conftest import Run
from tests.cli.recording_api import RecordingApi, ok, refused
from tests.support.dns_server import DnsServer

POLICY = """\
version: 1
rules:
  - {name: one, action: allow, host: one.test}
  - {name: two, action: allow, host: two.test}
  - {name: three, action: allow, host: three.test}
  - {name: four, action: allow, host: four.test}
  - {name: five, action: allow, host: five.test}
  - {name: writes, action: deny, host: api.test, method: POST}
  - name: api
    action: allow
    host: api.test
    scheme: https
    timeout_ms: 5000
    headers: {set: {x-team: shop}, remove: [x-debug]}
    secrets: [{header: authorization, secret: key, template: "Bearer {secret}"}]
    open_cidrs: [10.1.2.0/24]
"""
ACME = "version: 1\nrules: [{name: extra, action: allow, host: extra.test}]"
URL = "https://api.test/v1"
NS = "/workers/dispatch/namespaces/production/egress-policy"
NONE = refused(404, 20021, "no policy")


@pytest.fixture
def policy(tmp_path: Path) -> str:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "acme.yaml").write_text(ACME)
    return str(tmp_path / "policy.yaml")


def test_the_walk_and_what_the_rule_does(run: Run, policy: str) -> None:
    ended = run("policy", "explain", URL, "--tenant", "acme", "--policy", policy, "--dns", "10.1.2.3")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "GET https://api.test/v1",
        "namespace (enforce, 7 rules)",
        "  line 3: 'one' (allow) host is api.test, not one.test",
        "  line 4: 'two' (allow) host is api.test, not two.test",
        "  line 5: 'three' (allow) host is api.test, not three.test",
        "  … and 2 more for other hosts (--all shows them)",
        "  line 8: 'writes' (deny) method is GET, not POST",
        "  line 9: 'api' (allow) matches: policy.rule_allow",
        "policy: allow by rule 'api' of namespace, policy.rule_allow",
        "  limits: timeout_ms 5,000, connect_ms 10,000, total_ms 900,000, max_response_bytes 1,073,741,824, "
        "max_request_bytes 1,073,741,824",
        "  removes header x-debug",
        "  sets header x-team: shop",
        "  injects header authorization: Bearer {secret:key}",
        "  opens: 10.1.2.0/24",
        "address 10.1.2.3: opened, may be reached",
        "allow: policy.rule_allow",
    ]
    whole = run("policy", "explain", URL, "--tenant", "acme", "--policy", policy, "--all").out
    assert "line 7: 'five'" in whole


def test_one_bad_address_denies(run: Run, policy: str) -> None:
    of = ("--tenant", "acme", "--policy", policy, "--dns", "10.1.2.3", "--dns", "127.0.0.1")
    ended = run("policy", "explain", URL, *of)
    assert ended.code == 1
    assert ended.out.endswith("address 127.0.0.1: loopback, denies the whole name\ndeny: address.loopback\n")


def test_what_is_refused_before_the_policy_says_why(run: Run, policy: str) -> None:
    ended = run("policy", "explain", "https://a@api.test/", "--tenant", "acme", "--policy", policy)
    assert ended.code == 1
    assert "send an Authorization header (url.userinfo)" in ended.out


def test_a_narrowed_call_names_its_layer(run: Run, policy: str) -> None:
    of = ("--tenant", "acme", "--policy", policy, "--egress", "other.test")
    assert "call (enforce, 1 rule)" in run("policy", "explain", URL, *of).out
    assert run("policy", "explain", URL, *of, "--egress", "*").code == 2


def test_a_param_has_any_name(run: Run, policy: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nrules: [{name: eu, action: allow, params: {data-region: eu}}]"
    )
    of = ("--tenant", "acme", "--policy", policy)
    assert run("policy", "explain", URL, *of, "--param", "data-region=eu").code == 0
    ended = run("policy", "explain", URL, *of, "--param", "data-region=us")
    assert (ended.code, "param data-region is us, not eu" in ended.out) == (1, True)


def test_layers_of_files(run: Run, policy: str, tmp_path: Path) -> None:
    of = ("--tenant", "acme", "--policy", policy, "--layer", f"tenant:acme={tmp_path / 'acme.yaml'}")
    ended = run("policy", "explain", "https://extra.test/", *of, "--widen", "tenant:acme", "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["layer"], found["rule"]) == (0, "tenant:acme", "extra")
    assert [step["unmet"] for step in found["walk"]][-2:] == [None, None]


def test_policies_in_force_are_asked_for(api: RecordingApi, run: Run) -> None:
    api.on("GET", NS, ok({"policy": POLICY, "widen": False}))
    api.on("GET", f"{NS}/tags/plan%3Afree", NONE)
    api.on("GET", f"{NS}/tenants/acme", ok({"policy": ACME, "widen": True}))
    of = ("--tenant", "acme", "--namespace", "production", "--tag", "plan:free")
    ended = run("policy", "explain", "https://extra.test/", *of)
    assert (ended.code, "tenant:acme (enforce, widens, 1 rule)" in ended.out) == (0, True)
    assert len(api.asked) == 3


def test_a_namespace_that_is_not_there_is_no_empty_policy(api: RecordingApi, run: Run) -> None:
    api.on("GET", NS, refused(404, 100119, "there is no such namespace"))
    ended = run("policy", "explain", URL, "--tenant", "acme", "--namespace", "production")
    assert (ended.code, "no such namespace" in ended.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--namespace NS of a host, or --policy FILE"),
        (["--policy", "P", "--dns", "10.0.0.1", "--resolve"], "--dns and --resolve"),
        (["--policy", "P", "--dns", "x"], "no IPv4 or IPv6 address"),
        (["--policy", "P", "--method", "\udcff"], "no UTF-8"),
        (["--namespace", "production", "--widen", "tenant:acme"], "--widen goes with --layer"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    run: Run, policy: str, arguments: list[str], words: str
) -> None:
    given = [policy if argument == "P" else argument for argument in arguments]
    ended = run("policy", "explain", URL, "--tenant", "acme", *given)
    assert (ended.code, words in ended.err) == (2, True)


@contextmanager
def dns_in_a_thread(**names: str) -> Iterator[tuple[str, int]]:
    """A real DNS server beside the command, which has a loop of its own."""
    started: Future[tuple[str, int]] = Future()
    ended = threading.Event()

    async def serve() -> None:
        async with DnsServer() as server:
            for name, address in names.items():
                server.set(f"{name}.test", address)
            started.set_result(server.server)
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        yield started.result(timeout=60)
    finally:
        ended.set()
        thread.join()


def test_a_name_is_resolved_as_the_gateway_does(
    run: Run, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = ("--tenant", "acme", "--policy", policy, "--resolve")
    with dns_in_a_thread(api="10.1.2.9", one="169.254.169.254") as server:
        monkeypatch.setattr(resolver, "Resolver", partial(resolver.Resolver, [server]))
        assert "address 10.1.2.9: opened, may be reached" in run("policy", "explain", URL, *of).out
        ended = run("policy", "explain", "https://one.test/", *of)
        assert "address 169.254.169.254: metadata_service, denies the whole name" in ended.out
        ended = run("policy", "explain", "https://two.test/", *of)
        assert ended.out.endswith("deny: resolve.not_found\n")
