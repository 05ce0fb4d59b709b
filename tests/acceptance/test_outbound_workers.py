"""Rule: whatever a namespace's workers fetch, for a visitor, a queue, a cron tick or another worker, its outbound
worker is asked; what that lets go on the egress policy judges; and when it can't be asked, nothing leaves.

Each test runs on a namespace in the processes at the door, and on one in an isolation group's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from demo.upstream import start_dns
from sample_workers.build import build
from tests.acceptance.platform import SAMPLES, Platform, wait_until
from tests.support.http_upstream import Answering, listening

pytestmark = pytest.mark.toolchain

HERE = Path(__file__).parent
DOOR, GROUP = "asking", "apart"
HOOKS = "front=tests.dispatch.hooks:by_header@hooked,watch=tests.dispatch.outbound_hooks:by_path@hooked"


@dataclass
class Upstream:
    """api.demo.example: it keeps what it was sent, and answers with the body."""

    port: int
    asked: list[tuple[str, str, dict[str, str], int]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"api.demo.example:{self.port}"

    def headers(self, path: str) -> list[dict[str, str]]:
        return [headers for _, asked, headers, _ in self.asked if asked == path]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    made = Upstream(0)

    class Handler(Answering):
        def do_GET(self) -> None:
            body = self.body()
            made.asked.append((self.command, self.path, self.said(), len(body)))
            self.answer(body)

        do_POST = do_PUT = do_GET

    with listening(Handler) as made.port:
        yield made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    for name in ("asker", "dispatch_with_plan"):
        build(HERE / f"{name}.c", folder / f"{name}.wasm")
    return folder


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream, built: Path) -> Iterator[Platform]:
    """With a guard before two namespaces, each with an asker, and a policy that knows the upstream alone."""
    made = Platform(
        tmp_path_factory.mktemp("outbound"), start_dns(), upstream.port, f"vip:namespace={GROUP}", 1
    )
    try:
        made.start("--hooks", HOOKS)
        guard = (
            "--var", f"AUTH_HOST={upstream.host}", "--var", "MOVED_HOST=moved.example",
            "--var", "MOVED_TO=denied.example", "--var", "BLOCKED_HOST=blocked.example",
            "--var", "ANSWERED_HOST=answered.example",
        )  # fmt: skip
        made.tenantry(
            "deploy", str(SAMPLES / "outbound_guard" / "outbound_guard.wasm"), "--name", "guard", *guard,
            "--secret", "TOKEN", stdin="TOKEN=hunter2", quiet=True,
        )  # fmt: skip
        policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
        opened = "open_cidrs: [127.0.0.1/32]"
        policy.write_text(
            "version: 1\nrules: ["
            f"{{name: api, action: allow, host: api.demo.example, port: {upstream.port}, {opened}}}, "
            f"{{name: address, action: allow, host: 127.0.0.1, port: {upstream.port}, {opened}}}]\n"
        )
        for namespace in (DOOR, GROUP):
            made.run("namespaces", "create", namespace)
            made.run("policy", "set", namespace, str(policy))
            deploy_asker(made, built, namespace, upstream)
            stand_before(made, namespace, {"service": "guard", "params": [{"name": "plan"}]})
        yield made
    finally:
        code = made.stop()
    assert code == 0


def deploy_asker(host: Platform, built: Path, namespace: str, upstream: Upstream, *more: str) -> None:
    host.run(
        "deploy", str(built / "asker.wasm"), "--name", "asker", "--namespace", namespace, "--tenant", "acme",
        "--hostname", f"{namespace}.localhost", "--var", f"URL=http://{upstream.host}/background/{namespace}",
        *more,
    )  # fmt: skip


def stand_before(host: Platform, namespace: str, outbound: object) -> None:
    path = f"/client/v4/accounts/default/workers/dispatch/namespaces/{namespace}"
    status, answer = host.api("PATCH", path, {"outbound": outbound})
    assert status == 200, answer
    assert answer["result"]["outbound"] == outbound


def ask(host: Platform, namespace: str, url: str, **given: str | bytes) -> tuple[int, str]:
    answer = host.request(f"{namespace}.localhost", f"/?url={quote(url, safe='')}", **given)  # type: ignore[arg-type]
    return answer.status, answer.body


@pytest.fixture(params=[DOOR, GROUP])
def namespace(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_it_answers_by_itself_and_is_told_who_asks(host: Platform, namespace: str) -> None:
    assert ask(host, namespace, "http://answered.example/x") == (200, f"{namespace}/asker of acme, plan \n")
    assert ask(host, namespace, "http://blocked.example/") == (
        403,
        "This platform's workers do not call that host.\n",
    )


def test_a_request_goes_on_with_what_it_changed(host: Platform, upstream: Upstream, namespace: str) -> None:
    assert ask(host, namespace, f"http://{upstream.host}/auth/{namespace}")[0] == 200
    (headers,) = upstream.headers(f"/auth/{namespace}")
    assert headers["authorization"] == "Bearer hunter2"


def test_the_policy_judges_where_it_sends_a_request_and_in_its_asker_s_name(
    host: Platform, namespace: str
) -> None:
    status, body = ask(host, namespace, "http://moved.example/")
    assert (status, body.partition(":")[0]) == (502, "denied")
    assert "http://denied.example" in body or "denied.example" in body
    status, body = ask(host, namespace, "http://not-allowed.example/")
    assert status == 403, "the guard's own fetch, denied"

    def decisions() -> list[dict[str, object]]:
        lines = [
            json.loads(line) for line in host.log().splitlines() if "egress" in line and ".example" in line
        ]
        return [line for line in lines if line.get("namespace") == namespace and line.get("result") == "deny"]

    wait_until(lambda: {line["host"] for line in decisions()} >= {"denied.example", "not-allowed.example"})
    assert {(line["tenant"], line["script"]) for line in decisions()} == {("acme", "asker")}

    def steps() -> dict[str, object]:
        lines = host.run("audit", namespace, "--result", "deny", "--json").splitlines()
        return {line["host"]: line["outbound"] for line in map(json.loads, lines)}

    wait_until(lambda: steps().keys() >= {"denied.example", "not-allowed.example"})
    assert steps()["denied.example"] == {"worker": "guard", "how": "continue"}
    assert steps()["not-allowed.example"] == {"worker": "guard", "how": "fetch"}


def test_bodies_stream_through_both_ways(host: Platform, upstream: Upstream, namespace: str) -> None:
    body = b"0123456789abcdef" * 300_000
    goes_on, fetched = upstream.host, f"127.0.0.1:{upstream.port}"
    for name in (goes_on, fetched):
        status, answer = ask(host, namespace, f"http://{name}/large/{namespace}", method="POST", body=body)
        assert (status, answer.encode() == body) == (200, True), answer[:300]
    sent = upstream.headers(f"/large/{namespace}")
    assert ["authorization" in headers for headers in sent] == [True, False]


def test_it_sees_the_one_spelling_that_leaves(host: Platform, upstream: Upstream, namespace: str) -> None:
    url = f"HTTP://API.demo.EXAMPLE:{upstream.port}/a/../spelt/{namespace}#fragment"
    assert ask(host, namespace, url)[0] == 200
    (headers,) = upstream.headers(f"/spelt/{namespace}")
    assert headers["authorization"] == "Bearer hunter2", "the guard knew the host"
    status, body = ask(host, namespace, "http://me@answered.example/")
    assert (status, "user name" in body) == (502, True), "what the gateway refuses, nobody is asked about"


@pytest.mark.parametrize("kind", ["cron", "queue"])
def test_what_leaves_in_the_background_is_asked_for_too(
    host: Platform, upstream: Upstream, namespace: str, kind: str
) -> None:
    path = f"/background/{namespace}"
    before = len(upstream.headers(path))
    if kind == "cron":
        host.run("trigger", "scheduled", namespace, "asker")
    else:
        queue = f"jobs-{namespace}"
        host.run("queues", "create", queue)
        host.run("queues", "consumer", "add", queue, "--namespace", namespace, "--script", "asker")
        host.run("queues", "send", queue, "a message", "--content-type", "text")
    wait_until(lambda: len(upstream.headers(path)) > before)
    assert upstream.headers(path)[-1]["authorization"] == "Bearer hunter2"


def test_a_service_of_a_user_worker_is_no_way_around(host: Platform, built: Path, namespace: str) -> None:
    plain, caller = f"plain-{namespace}", f"caller-{namespace}"
    host.run("deploy", str(built / "asker.wasm"), "--name", plain, "--var", "URL=none")
    host.deploy("service_caller", caller, "--service", f"BACKEND={plain}", namespace=namespace)
    answer = host.request(f"{caller}.localhost", "/?url=" + quote("http://answered.example/", safe=""))
    assert (answer.status, answer.body) == (200, f"/{plain} of {plain}, plan \n")


def deploy_dispatcher(host: Platform, built: Path, namespace: str, outbound: object) -> str:
    name = f"front-{namespace}"
    binding = {"type": "dispatch_namespace", "name": "TENANTS", "namespace": namespace, "outbound": outbound}
    metadata = {"main_module": "main.wasm", "bindings": [binding]}
    parts = (
        ("metadata", "application/json", json.dumps(metadata).encode()),
        ("main.wasm", "application/wasm", (built / "dispatch_with_plan.wasm").read_bytes()),
    )
    body = b""
    for part, kind, data in parts:
        head = f'--x\r\ncontent-disposition: form-data; name="{part}"; filename="{part}"\r\n'
        head += f"content-type: {kind}\r\n\r\n"
        body += head.encode() + data + b"\r\n"
    status, answer = host.api(
        "PUT", f"/client/v4/accounts/default/workers/scripts/{name}", body + b"--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )  # fmt: skip
    assert status == 200, answer
    host.run("routes", "add", f"{name}.localhost", "--script", name)
    _, shown = host.api("GET", f"/client/v4/accounts/default/workers/scripts/{name}/bindings")
    assert shown["result"][0]["outbound"] == outbound
    return f"{name}.localhost"


def test_a_dispatcher_names_its_own_and_its_params_are_those_declared(
    host: Platform, built: Path, namespace: str
) -> None:
    outbound = {"worker": {"service": "guard"}, "params": [{"name": "plan"}]}
    stand_before(host, namespace, None)
    try:
        hostname = deploy_dispatcher(host, built, namespace, outbound)
        where = "/?url=" + quote("http://answered.example/", safe="")
        answers = [
            host.request(hostname, where, headers={"x-tenant": "asker", **more})
            for more in (
                {},
                {"x-param": "plan=gold"},
                {"x-param": "colour=red"},
                {"x-param": "tenantry.tenant=me"},
            )
        ]
        own = host.request(f"{namespace}.localhost", where)
    finally:
        stand_before(host, namespace, {"service": "guard", "params": [{"name": "plan"}]})
    assert [answer.status for answer in answers] == [200, 200, 502, 502]
    assert answers[0].body == f"{namespace}/asker of acme, plan \n"
    assert answers[1].body == f"{namespace}/asker of acme, plan gold\n"
    assert answers[2].body.startswith(
        "invalid_argument: outbound.colour: the outbound worker does not declare"
    )
    assert answers[3].body.startswith("invalid_argument: outbound.tenantry.tenant")
    assert (own.status, own.body.partition(":")[0]) == (502, "denied"), "nobody stands before the others"


def test_what_it_uses_is_its_own_and_the_asker_s_event_counts_one_subrequest(
    host: Platform, namespace: str
) -> None:
    path = f"/counted/{namespace}"
    assert ask(host, namespace, f"http://answered.example{path}")[0] == 200

    def lines(text: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in host.log().splitlines() if text in line and '"trigger"' in line]

    wait_until(lambda: len(lines(f'"path":"{path}"')) == 1)
    (guard,) = lines(f'"path":"{path}"')
    wait_until(lambda: len(lines(str(guard["ray_id"]))) == 2)
    asker = next(line for line in lines(str(guard["ray_id"])) if line["script"] == "asker")
    assert (guard["script"], guard["depth"], guard["subrequests"]) == ("guard", 1, 0)
    assert (asker["depth"], asker["subrequests"]) == (0, 1)


@pytest.mark.parametrize(
    ("sample", "path", "code"),
    [
        ("hostile", "/trap", "worker_failed"),
        ("hostile", "/spin", "worker_failed"),
        ("hostile", "/no-response", "worker_failed"),
        ("queue_consumer", "/", ""),
    ],
)
def test_when_it_fails_nothing_leaves(
    host: Platform, upstream: Upstream, namespace: str, sample: str, path: str, code: str
) -> None:
    name = f"bad-{sample.replace('_', '-')}-{namespace}"
    host.run("deploy", str(SAMPLES / sample / f"{sample}.wasm"), "--name", name)
    stand_before(host, namespace, {"service": name})
    before = len(upstream.asked)
    try:
        status, body = ask(host, namespace, f"http://{upstream.host}{path}")
    finally:
        stand_before(host, namespace, {"service": "guard", "params": [{"name": "plan"}]})
    if code:
        assert (status, body) == (
            502,
            f"{code}: the platform's outbound worker failed, so nothing was sent past it\n",
        )
    assert len(upstream.asked) == before


def test_when_it_is_not_there_nothing_leaves(host: Platform, upstream: Upstream, namespace: str) -> None:
    name = f"gone-{namespace}"
    wasm = str(SAMPLES / "outbound_guard" / "outbound_guard.wasm")
    host.run("deploy", wasm, "--name", name)
    stand_before(host, namespace, {"service": name})
    before = len(upstream.asked)
    try:
        path = f"/client/v4/accounts/default/workers/scripts/{name}"
        status, answer = host.api("DELETE", path)
        assert (status, "whose outbound worker it is" in answer["errors"][0]["message"]) == (409, True)
        assert host.api("DELETE", f"{path}?force=true")[0] == 200
        status, body = ask(host, namespace, f"http://{upstream.host}/")
    finally:
        stand_before(host, namespace, {"service": "guard", "params": [{"name": "plan"}]})
    assert (status, body) == (
        502,
        "unavailable: the platform's outbound worker is not there, so nothing was sent past it\n",
    )
    assert len(upstream.asked) == before


def test_a_hook_of_the_operator_s_stands_there_too(
    host: Platform, upstream: Upstream, namespace: str
) -> None:
    stand_before(host, namespace, {"hook": "watch"})
    try:
        here = f"http://{upstream.host}"
        answered = ask(host, namespace, f"{here}/answer")
        body = b"x" * 1_000_000
        passed = [
            ask(host, namespace, f"{here}/{way}/{namespace}", method="POST", body=body)
            for way in ("fetch", "on")
        ]
        held = ask(host, namespace, f"{here}/hold")
        moved, raised, nothing, read = (
            ask(host, namespace, f"{here}/{path}", method="POST", body=body)
            for path in ("move", "raise", "nothing", "read")
        )
        stand_before(host, namespace, {"hook": "not-loaded"})
        missing = ask(host, namespace, f"{here}/answer")
    finally:
        stand_before(host, namespace, {"service": "guard", "params": [{"name": "plan"}]})
    assert answered == (200, "answered for asker\n")
    assert [(status, len(text)) for status, text in passed] == [(200, 1_000_000)] * 2
    for way in ("fetch", "on"):
        assert upstream.headers(f"/{way}/{namespace}")[0]["x-watched"] == "asker"
    assert held[0] == 200
    wait_until(lambda: "hook watch held the event loop" in host.log())
    assert (moved[0], moved[1].partition(":")[0]) == (502, "denied")
    for failed in (raised, nothing, read):
        assert failed == (
            502,
            "worker_failed: the platform's outbound worker failed, so nothing was sent past it\n",
        )
    assert missing[1].startswith("unavailable: the platform's outbound worker is not there")


def test_it_is_not_asked_about_itself(host: Platform, built: Path, upstream: Upstream) -> None:
    """A worker of the namespace that it stands before may not be it; one that fetches is not asked."""
    path = f"/client/v4/accounts/default/workers/dispatch/namespaces/{DOOR}"
    status, answer = host.api("PATCH", path, {"outbound": {"service": "asker", "namespace": DOOR}})
    assert (status, "whose requests it would see" in answer["errors"][0]["message"]) == (400, True)
    host.run("namespaces", "create", "platform-own")
    host.run("deploy", str(built / "asker.wasm"), "--name", "looks", "--namespace", "platform-own")
    own = "/client/v4/accounts/default/workers/dispatch/namespaces/platform-own"
    assert host.api("PATCH", own, {"outbound": {"service": "guard"}})[0] == 200
    stand_before(host, DOOR, {"service": "looks", "namespace": "platform-own"})
    try:
        inner = quote(f"http://{upstream.host}/looked", safe="")
        status, _ = ask(host, DOOR, f"http://anything.example/?url={inner}")
    finally:
        stand_before(host, DOOR, {"service": "guard", "params": [{"name": "plan"}]})
    assert status == 200, "its own fetch went to the gateway, under its asker's policy"
    (headers,) = upstream.headers("/looked")
    assert "authorization" not in headers, "the guard was not asked"


def suspended(host: Platform) -> float:
    return host.metrics()["tenantry_suspended_events"]


def test_a_visitor_who_leaves_ends_all_of_it(host: Platform, namespace: str) -> None:
    name = f"waits-{namespace}"
    host.run("deploy", str(SAMPLES / "hostile" / "hostile.wasm"), "--name", name)
    stand_before(host, namespace, {"service": name})
    wait_until(lambda: suspended(host) == 0)  # those of other tests are no sign of ours
    try:
        with host.connect() as sock:
            url = quote("http://anything.example/wait?ms=20000", safe="")
            sock.sendall(f"GET /?url={url} HTTP/1.1\r\nHost: {namespace}.localhost\r\n\r\n".encode())
            wait_until(lambda: suspended(host) > 0)
        wait_until(lambda: f'"script":"{name}"' in host.log())
    finally:
        stand_before(host, namespace, {"service": "guard", "params": [{"name": "plan"}]})
    lines = [json.loads(line) for line in host.log().splitlines() if f'"script":"{name}"' in line]
    assert [line["outcome"] for line in lines if "outcome" in line] == ["canceled"]
