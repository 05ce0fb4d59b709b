"""The commands against the real control API, over a real listener and real files: both sides mean the same.

Only compiling is left out (the publisher of tests.control reads a module, and compiles nothing).
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from control.host_check import HostRules
from tests.cli.conftest import Ended, Run
from tests.control.support import Host, worker_module

POLICY = "# ours\nversion: 1\nrules:\n  - name: all\n    action: allow\n    host: api.example.com\n"


class _TellingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()


class Listening:
    """The control app on a free port of loopback, in a thread with its own loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = threading.Event()
        self.url = ""
        self.host: Host
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Listening:
        self._thread.start()
        assert self._started.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    async def _serve(self) -> None:
        self.host = Host(self._folder)
        config = uvicorn.Config(self.host.app, "127.0.0.1", 0, log_level="error", lifespan="on")
        self._server = _TellingServer(config)
        serving = asyncio.create_task(self._server._serve())
        await self._server.listens.wait()
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.host.services.hosts = HostRules.of_listener("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}"
        self._started.set()
        await serving
        await self.host.close()


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    monkeypatch.delenv("TENANTRY_TOKEN", raising=False)
    with Listening(folder) as server:
        monkeypatch.setenv("TENANTRY_URL", server.url)
        yield server


@pytest.fixture
def do(listening: Listening, run: Run, tmp_path: Path) -> Run:
    """Run a command that must end well, with the admin token of the data folder."""

    def command(*arguments: str, stdin: bytes = b"") -> Ended:
        ended = run(*arguments, "--data", str(tmp_path / "data"), stdin=stdin)
        assert ended.code == 0, ended.err
        return ended

    return command


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "worker.wasm"
    path.write_bytes(worker_module("fetch", "queue", "scheduled"))
    return str(path)


def test_a_first_day(listening: Listening, do: Run, module: str, tmp_path: Path) -> None:
    deployed = do(
        *("deploy", module, "--name", "shop", "--namespace", "production", "--tenant", "acme"),
        *("--tag", "plan:free", "--var", "GREETING=Hi", "--kv", "CARTS=acme-carts"),
        *("--queue", "ORDERS=acme-orders", "--limit", "cpu_ms=200", "--hostname", "shop.example"),
        *("--secret", "KEY", "--secret", "PIN"),
        stdin=b"KEY=k\nPIN=p\n",
    )
    assert "handlers fetch, queue, scheduled" in deployed.out
    assert "made dispatch namespace production\n" in deployed.err
    do(
        "deploy",
        module,
        "--name",
        "router",
        "--dispatch",
        "TENANTS=production",
        "--hostname",
        "*.shop.example",
    )

    shown = json.loads(do("scripts", "get", "production", "shop", "--json").out)
    assert shown["script"]["tenant"] == "acme"
    assert shown["settings"]["limits"] == {"cpu_ms": 200}
    kinds = {binding["name"]: binding["type"] for binding in shown["settings"]["bindings"]}
    assert kinds == {
        "GREETING": "plain_text",
        "KEY": "secret_text",
        "PIN": "secret_text",
        "CARTS": "kv_namespace",
        "ORDERS": "queue",
    }
    assert "tenant    acme" in do("scripts", "get", "production", "shop").out
    assert "shop" in do("scripts", "list", "production", "--tag", "plan:free").out
    assert "router" in do("scripts", "list", "-").out
    assert "production" in do("namespaces", "list").out
    routes = do("routes", "list").out
    assert "production/shop" in routes
    assert "-/router" in routes


def test_secrets_stay_over_a_deploy_and_go_when_deleted(do: Run, module: str) -> None:
    do("deploy", module, "--name", "s", "--secret", "KEY", stdin=b"one\n")
    do("secrets", "put", "-", "s", "OTHER", stdin=b"two")
    do("deploy", module, "--name", "s", "--var", "A=b")
    names = [row["name"] for row in json.loads(do("secrets", "list", "-", "s", "--json").out)]
    assert names == ["KEY", "OTHER"]
    do("secrets", "delete", "-", "s", "KEY")
    assert "KEY" not in do("secrets", "list", "-", "s").out


def test_deploy_twice_changes_no_route_and_makes_nothing_new(do: Run, module: str) -> None:
    arguments = (
        "deploy",
        module,
        "--name",
        "s",
        "--namespace",
        "p",
        "--kv",
        "K=t",
        "--hostname",
        "a.example",
    )
    do(*arguments)
    again = json.loads(do(*arguments, "--json").out)
    assert (again["made"], again["routes"]) == ([], [])


def test_tenants_do_not_share_by_name(do: Run, run: Run, module: str, tmp_path: Path) -> None:
    do("deploy", module, "--name", "a", "--namespace", "p", "--tenant", "a", "--kv", "K=carts")
    data = ("--data", str(tmp_path / "data"))
    refused = run(
        "deploy", module, "--name", "b", "--namespace", "p", "--tenant", "b", "--kv", "K=carts", *data
    )
    assert refused.code == 1
    assert "--share K" in refused.err
    # Without --tenant it is the host that knows whose the worker is.
    unsaid = run("deploy", module, "--name", "b", "--namespace", "p", "--kv", "K=carts", *data)
    assert unsaid.code == 1
    assert "tenant 'a'" in unsaid.err
    do(
        "deploy",
        module,
        "--name",
        "b",
        "--namespace",
        "p",
        "--tenant",
        "b",
        "--kv",
        "K=carts",
        "--share",
        "K",
    )


def test_kv_round_trip(do: Run, run: Run, tmp_path: Path) -> None:
    do("kv", "namespaces", "create", "settings")
    (tmp_path / "v").write_bytes(b"\0\xff\r\n")
    do(
        "kv",
        "put",
        "settings",
        "a/b é",
        "--file",
        str(tmp_path / "v"),
        "--ttl",
        "600",
        "--metadata",
        '{"n": 1}',
    )
    do("kv", "put", "settings", "empty", "")
    assert do("kv", "get", "settings", "a/b é").out_bytes == b"\0\xff\r\n"
    shown = json.loads(do("kv", "get", "settings", "a/b é", "--json").out)
    assert shown["metadata"] == {"n": 1}
    assert shown["expiration"] > 0
    assert [key["name"] for key in json.loads(do("kv", "list", "settings", "--json").out)] == [
        "a/b é",
        "empty",
    ]
    do("kv", "delete", "settings", "empty")
    gone = run("kv", "get", "settings", "empty", "--data", str(tmp_path / "data"))
    assert gone.code == 1
    assert "key not found" in gone.err
    long = run("kv", "get", "settings", "k" * 513, "--data", str(tmp_path / "data"))
    assert long.code == 1
    assert "512" in long.err
    do("kv", "namespaces", "delete", "settings")


def test_queue_with_a_consumer(do: Run, module: str) -> None:
    do("deploy", module, "--name", "billing", "--namespace", "p")
    do("queues", "create", "orders")
    do("queues", "create", "failed")
    do(
        *("queues", "consumer", "add", "orders", "--namespace", "p", "--script", "billing"),
        *("--batch-size", "5", "--dead-letter-queue", "failed"),
    )
    (consumer,) = json.loads(do("queues", "consumer", "list", "orders", "--json").out)
    assert consumer["settings"]["batch_size"] == 5
    assert "p/billing" in do("queues", "consumer", "list", "orders").out
    assert "goes on" in do("queues", "info", "orders").out
    do("queues", "pause", "orders")
    assert "paused" in do("queues", "list").out
    do("queues", "update", "orders", "--retention", "3600")
    do("queues", "send", "orders", '{"id": 7}', "--delay", "60")
    assert '{"id":7}' in do("queues", "peek", "orders").out
    shown = do("queues", "info", "orders").out
    assert "delivery   paused" in shown
    assert "retention  3600 s" in shown
    assert "1 messages" in shown
    assert "consumer   p/billing" in shown
    do("queues", "purge", "orders")
    do("queues", "consumer", "remove", "orders")
    do("queues", "delete", "orders")
    assert "orders" not in do("queues", "list").out


def test_queue_that_is_pulled(do: Run, module: str) -> None:
    do("queues", "create", "orders", "--delivery-delay", "0")
    do("queues", "consumer", "add", "orders", "--pull")
    assert "(pulls)" in do("queues", "consumer", "list", "orders").out
    do("queues", "send", "orders", "{}")
    do("queues", "send", "orders", "--content-type", "text", "two")
    first, second = json.loads(do("queues", "pull", "orders", "--json").out)
    do("queues", "ack", "orders", first["lease_id"])
    assert "retried 1" in do("queues", "ack", "orders", second["lease_id"], "--retry").out
    (again,) = json.loads(do("queues", "pull", "orders", "--json").out)
    assert (again["attempts"], again["body"]) == (2, "two")
    assert "acknowledged 1" in do("queues", "ack", "orders", again["lease_id"]).out
    assert "is none of this queue" in do("queues", "ack", "orders", again["lease_id"]).err
    assert "no message" in do("queues", "pull", "orders").err


def test_routes_by_header_need_the_hostname_s_leave(do: Run, run: Run, module: str, tmp_path: Path) -> None:
    do("deploy", module, "--name", "s", "--hostname", "a.example")
    beta = ("routes", "add", "a.example", "--header", "X-Beta=1", "--script", "s")
    refused = run(*beta, "--data", str(tmp_path / "data"))
    assert refused.code == 1
    assert "header_routes" in refused.err
    do("routes", "enable-headers", "a.example")
    do(*beta)
    tie = run(*beta, "--data", str(tmp_path / "data"))
    assert tie.code == 1
    assert "code 20002" in tie.err
    missing = run("routes", "add", "b.example", "--script", "none", "--data", str(tmp_path / "data"))
    assert missing.code == 1
    assert "none" in missing.err
    route = json.loads(do("routes", "list", "--hostname", "a.example", "--json").out)[0]
    do("routes", "delete", route["id"])


def test_policy_is_kept_as_written(do: Run, run: Run, module: str, tmp_path: Path) -> None:
    do("namespaces", "create", "p")
    (tmp_path / "policy.yaml").write_text(POLICY)
    for namespace in ("p", "-"):
        assert "version" in do("policy", "set", namespace, str(tmp_path / "policy.yaml")).out
        assert do("policy", "get", namespace).out == POLICY
    (tmp_path / "other.yaml").write_text(POLICY.replace("ours", "others"))
    do("policy", "set", "p", str(tmp_path / "other.yaml"), "--message", "a try")
    newest, first = json.loads(do("policy", "versions", "p", "--json").out)
    assert (newest["message"], first["author"]["name"]) == ("a try", "admin")
    do("policy", "rollback", "p", str(first["version"]), "--if-version", str(newest["version"]))
    assert do("policy", "get", "p").out == POLICY
    do("policy", "set", "p", str(tmp_path / "other.yaml"), "--tenant", "acme", "--widen")
    assert [each["layer"] for each in json.loads(do("policy", "list", "p", "--json").out)] == [
        "namespace",
        "tenant",
    ]
    do("policy", "delete", "p", "--tenant", "acme")
    do("policy", "delete", "p")
    assert run("policy", "get", "p", "--data", str(tmp_path / "data")).code == 1


def test_trigger_and_logs(listening: Listening, do: Run, module: str) -> None:
    do("deploy", module, "--name", "s", "--namespace", "p")
    assert do("trigger", "scheduled", "p", "s", "--time", "5").out == "p/s: ok, 0.0 ms of CPU\n"
    ((ref, kind, payload),) = listening.host.triggered
    assert (str(ref), kind, payload) == ("p/s", "scheduled", {"cron": "* * * * *", "scheduled_time_ms": 5})
    assert do("logs", "p", "s").out == ""


def test_doctor_and_a_token_made_beside_the_running_host(
    do: Run, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = json.loads(do("doctor", "--json").out)
    assert {c["name"]: c["state"] for c in checks if c["name"] in ("host", "ready", "token")} == {
        "host": "ok",
        "ready": "ok",
        "token": "ok",
    }
    token = do("token", "create", "--local").out.strip()
    monkeypatch.setenv("TENANTRY_TOKEN", token)
    assert run("namespaces", "list").code == 0
    monkeypatch.setenv("TENANTRY_TOKEN", "x" * 43)
    assert run("namespaces", "list").code == 4


def test_namespace_in_use_goes_by_force(do: Run, run: Run, module: str, tmp_path: Path) -> None:
    do("deploy", module, "--name", "s", "--namespace", "p", "--hostname", "a.example")
    refused = run("namespaces", "delete", "p", "--data", str(tmp_path / "data"))
    assert refused.code == 1
    assert "--force" in refused.err
    do("namespaces", "delete", "p", "--force")
    assert do("routes", "list").out == ""


def test_a_material_is_kept_and_never_shown(do: Run, run: Run, module: str, tmp_path: Path) -> None:
    do("namespaces", "create", "p")
    for namespace in ("p", "-"):
        do("material", "put", namespace, "token", stdin=b"s3cr3t\n")
        shown = do("material", "list", namespace, "--json").out
        assert [each["name"] for each in json.loads(shown)] == ["token"]
        assert "s3cr3t" not in shown
        do("material", "delete", namespace, "token")
    assert run("material", "delete", "p", "token", "--data", str(tmp_path / "data")).code == 1


def test_an_empty_audit_says_so(do: Run) -> None:
    do("namespaces", "create", "p")
    for place in ((), ("-",), ("p",)):
        assert "no record" in do("audit", *place, "--since", "1d").err
