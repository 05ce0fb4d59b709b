"""The platform's own workers in JavaScript, as the samples have them. A dispatch worker's limits hold for the worker
that it calls; an outbound worker sees who asks with which plan, decides first and alone; and when it can't be asked
nothing leaves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.acceptance.platform import Platform, wait_until
from tests.support.http_upstream import Answering, listening
from tests.support.javascript_engine import built_engine

built_engine()

NAMESPACE = "shops"

#: /spin takes some 80 ms of CPU time; /fetch?n=… asks ?url= so often, and tells how it ended.
CUSTOMER = """
export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/spin") {
      let sum = 0;
      for (let i = 0; i < 700_000; i++) sum = (sum + i * i) % 1_000_003;
      return new Response(`${sum}\\n`);
    }
    const answers = [];
    try {
      for (let n = 0; n < Number(searchParams.get("n") ?? 1); n++) {
        const answer = await fetch(searchParams.get("url"), { headers: { cookie: "session=1" } });
        answers.push([answer.status, await answer.text()]);
      }
    } catch (error) {
      answers.push(["failed", error.message]);
    }
    return Response.json(answers);
  },
};
"""


@dataclass
class Upstream:
    """It answers with the headers that it got, and counts."""

    port: int
    asked: int = 0

    @property
    def named(self) -> str:
        return f"api.demo.example:{self.port}"

    @property
    def by_address(self) -> str:
        return f"127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    made = Upstream(0)

    class Handler(Answering):
        def do_GET(self) -> None:
            made.asked += 1
            self.answer(json.dumps(self.said()).encode())

    with listening(Handler) as made.port:
        yield made


@pytest.fixture(scope="module")
def shops(platform: Platform, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Two customers, acme with the plan pro, behind the dispatch worker; the outbound worker stands before both."""
    folder = tmp_path_factory.mktemp("shops")
    (folder / "customer.js").write_text(CUSTOMER)
    opened = f"action: allow, port: {upstream.port}, open_cidrs: [127.0.0.1/32]"
    (folder / "policy.yaml").write_text(
        f"version: 1\nrules:\n- {{name: api, host: api.demo.example, {opened}}}\n"
        f"- {{name: address, host: 127.0.0.1, {opened}}}\n"
    )
    for name in ("acme", "globex"):
        host = f"{name}-direct.localhost"
        where = ("--namespace", NAMESPACE, "--hostname", host, "--limit", "cpu_ms=2000")
        platform.run("deploy", str(folder / "customer.js"), "--name", name, *where)
    platform.run("policy", "set", NAMESPACE, str(folder / "policy.yaml"))
    bindings = ("--dispatch", f"DISPATCHER={NAMESPACE}", "--kv", "PLANS=plans-of-shops")
    platform.deploy("dispatcher_js", "shops", "--hostname", "*.shops.localhost", *bindings, namespace=None)
    platform.run("kv", "put", "plans-of-shops", "acme", "pro")
    deploy_guard(platform, upstream)
    platform.run("namespaces", "outbound", NAMESPACE, "--service", "outbound-js", "--param", "plan")
    return platform


def deploy_guard(platform: Platform, upstream: Upstream) -> None:
    platform.deploy("outbound_js", "outbound-js", "--var", f"FREE_HOSTS={upstream.named}", namespace=None)


def asked_for(platform: Platform, name: str, host: str, n: int = 1) -> list[list[object]]:
    """What the customer `name`.localhost was answered when it fetched from `host`."""
    path = f"/fetch?n={n}&url={quote(f'http://{host}/', safe='')}"
    answer = platform.request(f"{name}.localhost", path)
    assert answer.status == 200, answer.body
    found: list[list[object]] = json.loads(answer.body)
    return found


def test_who_is_not_there_is_404(shops: Platform) -> None:
    answer = shops.request("nobody.shops.localhost")
    assert (answer.status, answer.body) == (404, "There is no such shop.\n")


def test_the_dispatch_workers_cpu_limit_is_the_plans(shops: Platform) -> None:
    assert shops.request("acme.shops.localhost", "/spin").status == 200
    answer = shops.request("globex.shops.localhost", "/spin")
    assert (answer.status, answer.body) == (502, "This shop is out of order.\n")
    wait_until(lambda: "globex: " in shops.run("logs", "-", "shops"))
    # Its limits are the call's, not the worker's.
    assert shops.request("globex-direct.localhost", "/spin").status == 200


def test_the_dispatch_workers_subrequest_limit_is_the_plans(shops: Platform, upstream: Upstream) -> None:
    assert [status for status, _ in asked_for(shops, "acme.shops", upstream.named, 4)] == [200] * 4
    found = asked_for(shops, "globex.shops", upstream.named, 4)
    assert [status for status, _ in found] == [200, 200, "failed"]


def test_the_outbound_worker_is_told_plan_and_tenant_and_changes_the_request(
    shops: Platform, upstream: Upstream
) -> None:
    for name, plan_reaches_all in (("acme", True), ("globex", False)):
        ((status, body),) = asked_for(shops, f"{name}.shops", upstream.named)
        assert status == 200
        headers = json.loads(str(body))
        assert headers["x-tenant"] == name
        assert "cookie" not in headers
        before = upstream.asked
        ((status, body),) = asked_for(shops, f"{name}.shops", upstream.by_address)
        assert status == (200 if plan_reaches_all else 403)
        assert upstream.asked - before == int(plan_reaches_all)
    assert body == f"The plan free does not reach {upstream.by_address}.\n"


def test_no_plan_is_what_a_route_passes(shops: Platform, upstream: Upstream) -> None:
    ((status, body),) = asked_for(shops, "acme-direct", upstream.by_address)
    assert (status, body) == (403, f"The plan free does not reach {upstream.by_address}.\n")
    assert asked_for(shops, "acme-direct", upstream.named)[0][0] == 200


def test_the_policy_decides_what_it_fetches(shops: Platform) -> None:
    ((status, _),) = asked_for(shops, "acme.shops", "denied.example")
    assert status in (500, "failed")

    def denials() -> set[tuple[str, str]]:
        lines = map(json.loads, shops.run("audit", NAMESPACE, "--result", "deny", "--json").splitlines())
        return {(line["host"], line["script"]) for line in lines}

    wait_until(lambda: ("denied.example", "acme") in denials())


def test_nothing_leaves_while_it_fails(shops: Platform, upstream: Upstream, tmp_path: Path) -> None:
    script = tmp_path / "outbound-js.js"
    script.write_text("export default { fetch(request) { throw new Error('not today'); } };")
    before = upstream.asked
    try:
        shops.run("deploy", str(script), "--name", "outbound-js")
        ((status, message),) = asked_for(shops, "acme.shops", upstream.named)
        assert status == "failed"
        assert "not today" not in str(message)
        wait_until(lambda: "not today" in shops.run("logs", "-", "outbound-js"))
        script.write_text("export default { scheduled() {} };")
        shops.run("deploy", str(script), "--name", "outbound-js")
        assert asked_for(shops, "acme.shops", upstream.named)[0][0] == "failed"
        assert upstream.asked == before
    finally:
        deploy_guard(shops, upstream)
    assert asked_for(shops, "acme.shops", upstream.named)[0][0] == 200
