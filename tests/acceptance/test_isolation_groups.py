"""Rule: a group's workers run in its own processes and nowhere else, whatever leads to them; visitors notice
nothing but that a neighbour's death is not theirs.

`ran_in` reads the access log, which each process writes of its own events.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.client import Part, encode_multipart
from demo.upstream import start_api, start_dns
from tests.acceptance import test_tenants
from tests.acceptance.platform import SAMPLES, Platform, read_head, read_response, wait_until
from tests.support.javascript_engine import built_engine

#: Two tiers by tag, a customer by namespace, and the account's plain workers.
GROUPS = "free:tag=tier:free&workers=2,vip:namespace=acme"
FREE = ("--tag", "tier:free")
DOOR = {"worker-0", "worker-1"}
FREE_PROCESSES = {"free-0", "free-1"}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """For all tests that break no process; each uses names of its own."""
    made = Platform(tmp_path_factory.mktemp("groups"), start_dns(), start_api(), GROUPS, 3)
    try:
        made.start()
        yield made
    finally:
        code = made.stop()
    assert code == 0


@pytest.fixture
def own_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    made = Platform(tmp_path_factory.mktemp("own"), start_dns(), start_api(), GROUPS, 3)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def events(host: Platform) -> float:
    """That are there, as the last snapshot of each process has it."""
    figures = host.metrics()
    return figures["tenantry_running_events"] + figures["tenantry_suspended_events"]


def told(host: Platform, script: str, times: int = 1) -> set[str]:
    """Where the events of a script ran, once the log has so many of them."""
    wait_until(lambda: host.log().count(f'"script":"{script}"') >= times)
    return host.ran_in(script)


def test_each_visitor_reaches_the_processes_of_the_group(host: Platform) -> None:
    host.deploy("hello", "a-free", *FREE)
    host.deploy("hello", "a-vip", namespace="acme")
    host.deploy("hello", "a-other")
    for _ in range(12):
        for name in ("a-free", "a-vip", "a-other"):
            assert host.request(f"{name}.localhost").body == "Hello from C!\n"
    assert told(host, "a-free", 12) == FREE_PROCESSES
    assert told(host, "a-vip", 12) == {"vip-0"}
    assert told(host, "a-other", 12) <= DOOR


def test_one_connection_may_ask_workers_of_several_groups_in_turn(host: Platform) -> None:
    host.deploy("hello", "b-free", *FREE)
    host.deploy("hello", "b-vip", namespace="acme")
    host.deploy("hello", "b-other")
    names = ["b-free", "b-other", "b-vip", "b-free", "b-vip"]
    with host.connect() as sock:
        sock.sendall(b"".join(f"GET / HTTP/1.1\r\nHost: {n}.localhost\r\n\r\n".encode() for n in names[:2]))
        data = b""
        while data.count(b"Hello from C!") < 2:
            data += sock.recv(65536)
        for name in names[2:]:
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode())
            assert read_response(sock)[0] == 200
    assert told(host, "b-free", 2) <= FREE_PROCESSES
    assert told(host, "b-vip", 2) == {"vip-0"}
    assert told(host, "b-other") <= DOOR


def test_a_tag_moves_a_worker_at_its_next_deploy(host: Platform) -> None:
    host.deploy("hello", "c-moves")
    assert host.request("c-moves.localhost").status == 200
    assert told(host, "c-moves") <= DOOR
    host.deploy("hello", "c-moves", *FREE)
    for _ in range(6):
        assert host.request("c-moves.localhost").status == 200
    assert told(host, "c-moves", 7) - DOOR == FREE_PROCESSES
    before = host.log().count('"script":"c-moves"')
    host.deploy("hello", "c-moves")
    for _ in range(6):
        assert host.request("c-moves.localhost").status == 200
    wait_until(lambda: host.log().count('"script":"c-moves"') == before + 6)
    lines = [json.loads(line) for line in host.log().splitlines() if '"script":"c-moves"' in line]
    assert {line["process"] for line in lines[before:]} <= DOOR


ESM = "application/javascript+module"


def upload(host: Platform, script: str, part: Part, **metadata: object) -> None:
    head = Part(
        "metadata",
        json.dumps({"main_module": "index.js", "tenant": "acme", **metadata}).encode(),
        "application/json",
    )
    content_type, body = encode_multipart([head, part])
    path = f"/client/v4/accounts/default/workers/dispatch/namespaces/tests/scripts/{script}"
    _, answer = host.api("PUT", path, body, headers={"Content-Type": content_type})
    assert answer["success"], answer


def test_javascript_calls_and_is_tailed_across_groups(host: Platform) -> None:
    built_engine()

    def put(script: str, source: str, **metadata: object) -> None:
        upload(host, script, Part("index.js", source.encode(), ESM, "index.js"), **metadata)

    host.deploy("hello", "js-first", "--tenant", "acme")  # the namespace
    put(
        "js-tail",
        "export default { tail(events) { for (const e of events) console.log(JSON.stringify(e)); } };",
    )
    callee = """
        import { WorkerEntrypoint } from 'cloudflare:workers';
        export class Admin extends WorkerEntrypoint { sum(a, b) { return [a + b, this.ctx.props.of]; } }
        export default { fetch() { return new Response('not this'); } };"""
    tailed = [{"service": "js-tail"}]
    put("js-callee", callee, tail_consumers=tailed)
    caller = (
        "export default { async fetch(request, env) { return Response.json(await env.ADMIN.sum(1, 2)); } };"
    )
    admin = {
        "type": "service",
        "name": "ADMIN",
        "service": "js-callee",
        "entrypoint": "Admin",
        "props": {"of": "x"},
    }
    put("js-caller", caller, bindings=[admin], tags=["tier:free"], tail_consumers=tailed)
    host.run("routes", "add", "js-caller.localhost", "--namespace", "tests", "--script", "js-caller")
    answer = host.request("js-caller.localhost")
    assert (answer.status, answer.body) == (200, '[3,"x"]')
    assert told(host, "js-caller") <= FREE_PROCESSES
    assert told(host, "js-callee") <= DOOR
    path = "/client/v4/accounts/default/workers/dispatch/namespaces/tests/scripts/js-tail/logs"

    def traced() -> dict[str, object]:
        lines = host.api("GET", path)[1]["result"]["lines"]
        items = [json.loads(line["text"]) for line in lines]
        return {item["scriptName"]: item["event"] for item in items}

    wait_until(lambda: len(traced()) == 2)
    assert traced()["js-callee"] == {"rpcMethod": "sum"}
    assert "request" in str(traced()["js-caller"])
    assert told(host, "js-tail") <= DOOR


def test_limits_hold_and_their_pages_are_the_same(host: Platform) -> None:
    host.deploy("hostile", "d-free", *FREE)
    host.deploy("hostile", "d-late", *FREE, "--limit", "wall_ms=500")
    late = host.request("d-late.localhost", "/wait?ms=60000", headers={"Accept": "application/json"})
    assert (late.status, "1103" in late.body) == (504, True)
    for path, status, code in (
        ("/spin", 503, "1102"),
        ("/memory", 503, "1102"),
        ("/trap", 500, "1101"),
        ("/no-response", 500, "1101"),
        ("/smuggle?name=transfer-encoding&value=chunked", 500, "1101"),
    ):
        answer = host.request("d-free.localhost", path, headers={"Accept": "application/json"})
        assert (answer.status, code in answer.body) == (status, True), (path, answer)
    assert told(host, "d-free", 5) | told(host, "d-late") <= FREE_PROCESSES


def test_a_response_that_breaks_off_is_not_taken_for_whole(host: Platform) -> None:
    host.deploy("hostile", "e-free", *FREE)
    with host.connect() as sock:
        sock.sendall(b"GET /half HTTP/1.1\r\nHost: e-free.localhost\r\n\r\n")
        status, headers, body = read_head(sock)
        while more := sock.recv(65536):
            body += more
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    assert b"the first half" in body
    assert not body.endswith(b"0\r\n\r\n")


def test_an_upload_and_a_download_stream_through(host: Platform) -> None:
    raised = ("--limit", "cpu_ms=60000", "--limit", "operations=100000")
    host.deploy("upload_sum", "f-up", *FREE, *raised)
    host.deploy("big_download", "f-down", *FREE, *raised)
    host.deploy("echo", "f-through", *FREE, *raised)
    host.deploy("upload_sum", "f-up-here", *raised)
    data = os.urandom(20_000_000)
    there = host.request("f-up.localhost", method="POST", body=data)
    assert there.body == host.request("f-up-here.localhost", method="POST", body=data).body
    assert there.body.startswith("20000000 ")
    assert len(host.request("f-down.localhost", "/?bytes=20000000").body) == 20_000_000
    text = b"0123456789" * 500_000
    for path in ("/", "/?pass"):
        assert host.request("f-through.localhost", path, method="POST", body=text).body.encode() == text
    assert told(host, "f-through", 2) <= FREE_PROCESSES


def test_a_body_over_its_limit_is_refused_at_once_or_broken_off_in_the_middle(host: Platform) -> None:
    answers = []
    for name, more in (("g-free", FREE), ("g-other", ())):
        host.deploy("upload_sum", name, *more, "--limit", "request_body_bytes=100000")
        assert host.request(f"{name}.localhost", method="POST", body=b"x" * 100_001).status == 413
        with host.connect() as sock:
            head = f"POST / HTTP/1.1\r\nHost: {name}.localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            sock.sendall(head + b"%x\r\n%b\r\n0\r\n\r\n" % (100_001, b"x" * 100_001))
            status, _, body = read_response(sock)
        answers.append((status, body))
    assert answers[0] == answers[1]
    assert b"100000 bytes is the limit" in answers[0][1]


def test_a_slow_visitor_holds_up_the_worker_and_not_the_memory_of_the_door(host: Platform) -> None:
    host.deploy("hostile", "h-free", *FREE, "--limit", "cpu_ms=60000", "--limit", "operations=100000")
    wait_until(lambda: events(host) == 0)  # those of other tests are no sign of ours
    with host.connect() as sock:
        sock.sendall(b"GET /endless HTTP/1.1\r\nHost: h-free.localhost\r\n\r\n")
        assert read_head(sock)[0] == 200
        wait_until(lambda: host.metrics()["tenantry_suspended_events"] == 1)
        # Nobody reads: were the worker not held up, it would pour until its limits end it.
        ended = host.log().count('"script":"h-free"')
        time.sleep(1.0)
        assert host.log().count('"script":"h-free"') == ended == 0
        for _ in range(50):
            assert sock.recv(1 << 16)
    assert told(host, "h-free") <= FREE_PROCESSES
    assert '"script":"h-free"' in host.log()


def test_a_visitor_who_leaves_ends_the_event_in_the_group_s_process(host: Platform) -> None:
    host.deploy("hostile", "i-free", *FREE, "--limit", "cpu_ms=20000")
    host.deploy("upload_sum", "i-up", *FREE)
    wait_until(lambda: events(host) == 0)  # those of other tests are no sign of ours
    for question in (
        b"GET /wait?ms=60000 HTTP/1.1\r\nHost: i-free.localhost\r\n\r\n",
        b"GET /spin HTTP/1.1\r\nHost: i-free.localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: i-up.localhost\r\nContent-Length: 1000000\r\n\r\nonly a part",
    ):
        with host.connect() as sock:
            sock.sendall(question)
            wait_until(lambda: events(host) > 0)  # to leave in the middle, not before
        wait_until(lambda: events(host) == 0)
    wait_until(lambda: host.log().count('"script":"i-free"') == 2)
    lines = [json.loads(line) for line in host.log().splitlines() if '"script":"i-' in line]
    assert {line["process"] for line in lines} <= FREE_PROCESSES
    assert {line["outcome"] for line in lines if line["script"] == "i-free"} == {"canceled"}


RUNS_ON = """
export default {
  async fetch(request, env, ctx) {
    const { hostname, pathname } = new URL(request.url);
    const note = (what) => env.LEFT.put(`${hostname}${pathname} ${what}`, "1");
    const left = new Promise((resolve) => request.signal.addEventListener("abort", resolve));
    ctx.waitUntil(left.then(() => scheduler.wait(50)).then(() => note("worked")));
    if (pathname === "/stream") {
      return new Response(new ReadableStream({
        start: (out) => out.enqueue(new Uint8Array(10)),
        pull: () => scheduler.wait(60_000),
        cancel: () => note("cancelled"),
      }));
    }
    await note("began");
    await scheduler.wait(60_000);
  },
};
"""


def test_work_in_javascript_runs_on_when_its_visitor_leaves(host: Platform, tmp_path: Path) -> None:
    (tmp_path / "runs_on.js").write_text(RUNS_ON)

    def wait_for(*keys: str) -> None:
        wait_until(
            lambda: set(keys) <= {key["name"] for key in json.loads(host.run("kv", "list", "left", "--json"))}
        )

    for name, where in (("r-free", FREE), ("r-door", ())):
        hostname = f"{name}.localhost"
        host.run(
            *("deploy", str(tmp_path / "runs_on.js"), "--name", name, "--namespace", "tests"),
            *("--hostname", hostname, "--kv", "LEFT=left", *where),
        )
        with host.connect() as sock:
            sock.sendall(f"GET /before HTTP/1.1\r\nHost: {hostname}\r\n\r\n".encode())
            wait_for(f"{hostname}/before began")
        with host.connect() as sock:
            sock.sendall(f"GET /stream HTTP/1.1\r\nHost: {hostname}\r\n\r\n".encode())
            assert read_head(sock)[0] == 200
        wait_for(f"{hostname}/before worked", f"{hostname}/stream worked", f"{hostname}/stream cancelled")
    assert told(host, "r-free", 2) <= FREE_PROCESSES
    assert told(host, "r-door", 2) <= DOOR
    lines = [json.loads(line) for line in host.log().splitlines() if '"script":"r-' in line]
    assert [line["outcome"] for line in lines] == ["canceled"] * 4


def test_queues_are_delivered_in_the_group_of_their_consumer(host: Platform) -> None:
    host.deploy("queue_producer", "j-sends", "--queue", "QUEUE=j-mails")
    host.deploy("queue_consumer", "j-takes", "--kv", "SEEN=j-seen", namespace="acme")
    host.run(
        *("queues", "consumer", "add", "j-mails", "--namespace", "acme", "--script", "j-takes"),
        *("--max-wait-ms", "0"),
    )
    for number in range(10):
        sent = host.request("j-sends.localhost", method="POST", body=f"letter {number}".encode())
        assert sent.status == 202
    wait_until(lambda: len(json.loads(host.run("kv", "list", "j-seen", "--json"))) >= 11, 60)
    assert told(host, "j-takes") == {"vip-0"}


def test_scheduled_runs_by_hand_in_the_group(host: Platform) -> None:
    host.deploy("scheduled", "k-nightly", "--kv", "RUNS=k-runs", namespace="acme")
    for _ in range(3):
        host.run("trigger", "scheduled", "acme", "k-nightly", "--cron", "0 3 * * *")
    assert told(host, "k-nightly", 3) == {"vip-0"}


def test_a_service_in_another_group_runs_there_and_answers_here(host: Platform) -> None:
    tenant = ("--tenant", "l-tenant")
    host.deploy("hello", "l-back", *tenant, *FREE)
    host.deploy("service_caller", "l-front", *tenant, "--service", "BACKEND=l-back")
    assert host.request("l-front.localhost").body == "Hello from C!\n"
    assert told(host, "l-front") <= DOOR
    assert told(host, "l-back") <= FREE_PROCESSES


def test_a_group_s_worker_calls_out_by_its_bindings(host: Platform) -> None:
    """free → the door's own processes, and free → vip by way of them."""
    tenant = ("--tenant", "m-tenant")
    host.deploy("hello", "m-back", *tenant)
    host.deploy("service_caller", "m-front", *tenant, *FREE, "--service", "BACKEND=m-back")
    assert host.request("m-front.localhost").body == "Hello from C!\n"
    assert told(host, "m-back") <= DOOR
    host.deploy("hello", "m-vip", namespace="acme")
    host.deploy("dispatcher", "m-router", *FREE, "--dispatch", "TENANTS=acme", namespace=None)
    answer = host.request("m-router.localhost", headers={"X-Tenant": "m-vip"})
    assert (answer.status, answer.body) == (200, "Hello from C!\n")
    assert told(host, "m-router") <= FREE_PROCESSES
    assert told(host, "m-vip") == {"vip-0"}


def test_a_dispatcher_at_the_door_lowers_limits_in_the_group(host: Platform) -> None:
    host.deploy("hostile", "n-greedy", "--limit", "cpu_ms=5000", namespace="acme")
    host.deploy("dispatcher", "n-router", "--dispatch", "TENANTS=acme", "--var", "CPU_MS=30", namespace=None)
    answer = host.request("n-router.localhost", "/spin", headers={"X-Tenant": "n-greedy"})
    assert answer.status == 502
    assert "exceededCpu" in answer.body
    assert "30 ms" in answer.body
    assert host.request("n-router.localhost", headers={"X-Tenant": "n-nobody"}).status == 404
    body = b"z" * 3_000_000
    echoed = host.request("n-router.localhost", method="POST", body=body, headers={"X-Tenant": "n-greedy"})
    assert echoed.status == 200
    assert told(host, "n-greedy", 2) == {"vip-0"}


def test_a_service_in_another_group_spends_its_caller_s_cpu_time(host: Platform) -> None:
    tenant = ("--tenant", "zz-tenant")
    host.deploy("hostile", "zz-back", *tenant, *FREE, "--limit", "cpu_ms=5000")
    host.deploy("service_caller", "zz-front", *tenant, "--limit", "cpu_ms=60", "--service", "BACKEND=zz-back")
    assert host.request("zz-front.localhost", "/spin").status in (502, 503)
    assert told(host, "zz-back") <= FREE_PROCESSES
    (line,) = (json.loads(line) for line in host.log().splitlines() if '"script":"zz-back"' in line)
    assert line["outcome"] == "exceededCpu"
    assert 30_000 < line["cpu_us"] < 1_000_000


def test_workers_that_call_each_other_across_groups_come_to_an_end(host: Platform) -> None:
    tenant = ("--tenant", "o-tenant")
    host.deploy("hello", "o-two", *tenant)
    host.deploy("service_caller", "o-one", *tenant, *FREE, "--service", "BACKEND=o-two")
    host.deploy("service_caller", "o-two", *tenant, "--service", "BACKEND=o-one")
    answer = host.request("o-one.localhost")
    assert answer.status == 502
    assert told(host, "o-one", 9) <= FREE_PROCESSES
    assert told(host, "o-two", 8) <= DOOR

    def deepest() -> int:
        return max(
            int(json.loads(line)["depth"]) for line in host.log().splitlines() if '"script":"o-' in line
        )

    wait_until(lambda: deepest() >= 16)  # each process writes its own lines
    assert deepest() == 16


def test_a_secret_s_key_goes_to_the_group_that_runs_its_worker(host: Platform) -> None:
    wasm = str(SAMPLES / "gatekeeper" / "gatekeeper.wasm")
    deploy = ("deploy", wasm, "--name", "p-vault", "--namespace", "acme", "--hostname", "p-vault.localhost")
    host.run(*deploy, "--secret", "API_KEY", stdin="s3cret-of-p")
    assert host.request("p-vault.localhost", headers={"X-Key": "guess"}).status == 401
    assert host.request("p-vault.localhost", headers={"X-Key": "s3cret-of-p"}).status == 200
    assert told(host, "p-vault", 2) == {"vip-0"}


def test_metrics_and_readiness_know_the_groups(host: Platform) -> None:
    figures = host.metrics()
    assert figures['tenantry_group_processes{group="free"}'] == 2
    assert figures['tenantry_group_processes{group="vip"}'] == 1
    assert host.api("GET", "/readyz")[0] == 200
    assert "group free: 2 worker processes run" in host.run("doctor", "--data", str(host.data))


def test_pages_of_a_tenant_s_failure_keep_the_ray_of_the_log(host: Platform) -> None:
    host.deploy("hostile", "q-free", *FREE)
    ray = host.request("q-free.localhost", "/trap").headers["x-tenantry-ray"]
    wait_until(lambda: ray in host.log())
    [line] = [json.loads(line) for line in host.log().splitlines() if f'"{ray}"' in line]
    assert (line["script"], line["outcome"], line["status"]) == ("q-free", "exception", 500)
    assert line["process"] in FREE_PROCESSES
    wait_until(lambda: "unreachable" in host.run("logs", "tests", "q-free"))


FACTS = [
    fact for name, fact in vars(test_tenants).items() if name.startswith("test_") and "egress" not in name
]


@pytest.fixture(scope="module")
def all_in_groups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A host on which no tenant's worker runs at the door."""
    groups = "ours:namespace=-,theirs:namespace=tests&namespace=lowered&namespace=hooked&workers=2"
    made = Platform(tmp_path_factory.mktemp("all"), start_dns(), start_api(), groups, 3)
    try:
        made.start()
        yield made
    finally:
        code = made.stop()
    assert code == 0


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__.removeprefix("test_"))
def test_what_a_tenant_s_developer_relies_on_is_so_in_a_group_too(
    all_in_groups: Platform, fact: Callable[[Platform], None]
) -> None:
    fact(all_in_groups)


# -- deaths ------------------------------------------------------------------------------------------


class Load:
    """Requests for one hostname on connections of their own, until told to stop."""

    def __init__(self, host: Platform, hostname: str, connections: int = 2) -> None:
        self._host = host
        self._question = f"GET / HTTP/1.1\r\nHost: {hostname}\r\n\r\n".encode()
        self._stop = threading.Event()
        self.statuses: list[int] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with self._host.connect() as sock:
            while not self._stop.is_set():
                sock.sendall(self._question)
                self.statuses.append(read_response(sock)[0])

    def more(self, count: int) -> None:
        until = len(self.statuses) + count
        wait_until(lambda: len(self.statuses) >= until, 60)

    def end(self) -> list[int]:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        return self.statuses


def test_a_group_s_process_killed_under_load_costs_only_what_ran_in_it(own_host: Platform) -> None:
    own_host.deploy("hello", "r-free", *FREE)
    own_host.deploy("hello", "r-vip", namespace="acme")
    own_host.deploy("hello", "r-other")
    loads = {name: Load(own_host, f"r-{name}.localhost") for name in ("free", "vip", "other")}
    for load in loads.values():
        load.more(50)
    before = own_host.named()
    os.kill(before["vip-0"], signal.SIGKILL)  # all that its group has
    os.kill(before["free-0"], signal.SIGKILL)  # one of two
    for load in loads.values():
        load.more(200)
    wait_until(lambda: own_host.named().get("vip-0", before["vip-0"]) != before["vip-0"])
    for load in loads.values():
        load.more(50)
    statuses = {name: load.end() for name, load in loads.items()}
    assert set(statuses["other"]) == {200}
    for name, wanted in (("free", {200, 500}), ("vip", {200, 500, 503})):
        # What was in the killed process: at most one on each connection. Nobody lost a connection. Where no process of
        # the group was left, its visitors wait; on a busy machine it may take longer than they do.
        assert set(statuses[name]) <= wanted
        assert statuses[name].count(500) <= 2, statuses[name]
    after = own_host.named()
    same = {name for name, pid in before.items() if after.get(name) == pid}
    assert same == set(before) - {"vip-0", "free-0"}
    wait_until(lambda: own_host.metrics()['tenantry_group_process_restarts_total{group="vip"}'] == 1)


def test_a_process_at_the_door_that_dies_takes_only_its_own_visitors_along(own_host: Platform) -> None:
    """Their events in groups' processes end; those that came through the other door go on."""
    own_host.deploy("hostile", "s-free", *FREE)
    visitors = [own_host.connect() for _ in range(24)]
    for sock in visitors:
        sock.sendall(b"GET /wait?ms=15000 HTTP/1.1\r\nHost: s-free.localhost\r\n\r\n")
    wait_until(lambda: own_host.metrics()["tenantry_suspended_events"] >= 48)  # here, and at the door
    os.kill(own_host.named()["worker-0"], signal.SIGKILL)
    answered = 0
    for sock in visitors:
        try:
            answered += read_response(sock)[0] == 200
        except (AssertionError, OSError):
            pass
        sock.close()
    assert 0 < answered < 24
    wait_until(lambda: own_host.log().count('"script":"s-free"') == 24)
    lines = [json.loads(line) for line in own_host.log().splitlines() if '"script":"s-free"' in line]
    assert sum(line["outcome"] == "ok" for line in lines) == answered
    assert sum(line["outcome"] == "canceled" for line in lines) == 24 - answered
    for _ in range(20):
        assert own_host.request("s-free.localhost").status == 200


def test_a_group_in_a_crash_loop_is_an_alarm_and_no_outage_of_others(own_host: Platform) -> None:
    own_host.deploy("hello", "t-vip", namespace="acme")
    own_host.deploy("hello", "t-other")
    load = Load(own_host, "t-other.localhost", 1)
    for _ in range(5):
        # As soon as there is one: on a busy machine five whole starts take longer than the minute that counts.
        wait_until(lambda: own_host.pid_of("vip-0") > 0)
        killed = own_host.pid_of("vip-0")
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda killed=killed: own_host.pid_of("vip-0") != killed)  # type: ignore[misc]
    wait_until(lambda: own_host.api("GET", "/readyz")[0] == 503)
    assert "vip-0: crash-loop" in json.dumps(own_host.api("GET", "/readyz")[1])
    assert own_host.request("localhost", "/readyz").status == 200
    assert set(load.end()) == {200}
    # It is served again as soon as its process is there, whatever the alarm says.
    wait_until(lambda: own_host.request("t-vip.localhost").status == 200)


def test_sighup_replaces_groups_processes_too_and_nobody_fails(own_host: Platform) -> None:
    own_host.deploy("hello", "u-free", *FREE)
    own_host.deploy("hello", "u-vip", namespace="acme")
    before = own_host.named()
    own_host.signal(signal.SIGHUP)

    def all_are_new() -> bool:
        for name in ("u-free", "u-vip"):
            assert own_host.request(f"{name}.localhost").status == 200
        now = own_host.named()
        return all(now.get(name) not in (None, pid) for name, pid in before.items() if name != "control-0")

    wait_until(all_are_new, 90)
    for _ in range(10):
        assert own_host.request("u-vip.localhost").status == 200
    assert own_host.metrics().get('tenantry_group_process_restarts_total{group="vip"}', 0) == 0


def test_sigterm_drains_what_runs_in_a_group(own_host: Platform) -> None:
    own_host.deploy("hostile", "v-free", *FREE)
    with own_host.connect() as busy:
        busy.sendall(b"GET /wait?ms=12000 HTTP/1.1\r\nHost: v-free.localhost\r\n\r\n")
        wait_until(lambda: own_host.metrics()["tenantry_suspended_events"] == 2, 12)
        own_host.signal(signal.SIGTERM)
        status, headers, body = read_response(busy)
        assert (status, body) == (200, b"done\n")
        assert headers["connection"] == "close"
    assert own_host._process is not None
    assert own_host._process.wait(30) == 0
