"""`tenantry deploy`: what is sent and in which order, what is refused before anything is sent, what stays."""

from __future__ import annotations

import json
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from cli.deployment import parse_secret_lines
from cli.errors import BadUsage
from tests.cli.conftest import Run
from tests.cli.recording_api import Asked, RecordingApi, ok, refused
from tests.cli.wasm import worker_module

NAMESPACES = "/workers/dispatch/namespaces"
SCRIPT = f"{NAMESPACES}/production/scripts/hello"
ROUTES = "/workers/dispatch/routes"
UPLOADED = ok({"id": "hello", "handlers": ["fetch"], "startup_time_ms": 3, "deployment_id": "d" * 32})


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "hello.wasm"
    path.write_bytes(worker_module())
    return path


@pytest.fixture
def host(api: RecordingApi) -> RecordingApi:
    """A host with the namespace `production` and nothing else."""
    api.on("GET", f"{NAMESPACES}/production", ok({"namespace_name": "production"}))
    api.on("GET", f"{NAMESPACES}/tenants", refused(404, 100119, "no such namespace"))
    api.on("POST", NAMESPACES, ok({"namespace_name": "made"}))
    api.on("GET", "/storage/kv/namespaces", ok([], page=1, per_page=100, count=0, total_count=0))
    api.on("POST", "/storage/kv/namespaces", ok({"id": "1" * 32, "title": "carts"}))
    api.on("GET", "/queues", ok([]))
    api.on("POST", "/queues", ok({"queue_id": "2" * 32, "queue_name": "orders"}))
    api.on("GET", ROUTES, ok([]))
    api.on("POST", ROUTES, ok({"id": "r1", "hostname": "hello.localhost"}))
    api.on("GET", f"{NAMESPACES}/production/scripts/auth", ok({"script": {"id": "auth"}}))
    api.on("PUT", SCRIPT, UPLOADED)
    api.on("PUT", "/workers/scripts/hello", UPLOADED)
    return api


def parts_of(asked: Asked) -> dict[str, Message[str, str]]:
    head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
    parsed = message_from_bytes(head + asked.body)
    return {
        str(part.get_param("name", header="content-disposition")): part
        for part in parsed.walk()
        if not part.is_multipart()
    }


def metadata_of(asked: Asked) -> Any:
    payload = parts_of(asked)["metadata"].get_payload(decode=True)
    assert isinstance(payload, bytes)
    return json.loads(payload)


def test_what_the_top_level_said_is_shown_with_its_trace_as_lines(
    host: RecordingApi, run: Run, module: Path
) -> None:
    trace = "Uncaught Error: no\x1b[2J\n    at price (index.js:3:1)"
    logs = [{"level": 1, "text": "hello"}, {"level": 4, "text": trace}]
    host.on("PUT", SCRIPT, ok({"id": "hello", "handlers": ["fetch"], "startup_logs": logs}))
    ended = run("deploy", str(module), "--name", "hello", "--namespace", "production")
    assert ended.err.splitlines()[-3:] == [
        "info: hello",
        "error: Uncaught Error: no\\x1b[2J",
        "        at price (index.js:3:1)",
    ]


def test_module_travels_as_a_part_with_its_name_and_type(host: RecordingApi, run: Run, module: Path) -> None:
    ended = run("deploy", str(module), "--name", "hello", "--namespace", "production")
    assert ended.code == 0
    assert ended.out.startswith("deployed production/hello: ")
    assert "handlers fetch" in ended.out
    assert "started in 3 ms" in ended.out
    part = parts_of(host.only("PUT"))["main.wasm"]
    assert part.get_filename() == "main.wasm"
    assert part.get_content_type() == "application/wasm"
    assert part.get_payload(decode=True) == module.read_bytes()
    assert host.calls() == [f"GET {NAMESPACES}/production", f"PUT {SCRIPT}"]


def test_metadata_has_every_kind_of_binding(host: RecordingApi, run: Run, module: Path) -> None:
    run(
        *("deploy", str(module), "--name", "hello", "--namespace", "production", "--tenant", "acme"),
        *("--tag", "plan:free", "--tag", "eu", "--var", "GREETING=Hi=there", "--var", "EMPTY="),
        *("--kv", "CARTS=carts", "--queue", "ORDERS=orders", "--service", "AUTH=auth"),
        *(
            "--dispatch",
            "TENANTS=tenants",
            "--secret",
            "KEY",
            "--limit",
            "cpu_ms=200",
            "--compatibility-flag",
            "nodejs_compat",
        ),
        stdin=b"s3cret\n",
    )
    assert metadata_of(host.only("PUT")) == {
        "main_module": "main.wasm",
        "tags": ["plan:free", "eu"],
        "tenant": "acme",
        "limits": {"cpu_ms": 200},
        "compatibility_flags": ["nodejs_compat"],
        "keep_bindings": ["secret_text"],
        "bindings": [
            {"type": "plain_text", "name": "GREETING", "text": "Hi=there"},
            {"type": "plain_text", "name": "EMPTY", "text": ""},
            {"type": "secret_text", "name": "KEY", "text": "s3cret"},
            {"type": "kv_namespace", "name": "CARTS", "namespace_id": "1" * 32},
            {"type": "queue", "name": "ORDERS", "queue_name": "orders"},
            {"type": "service", "name": "AUTH", "service": "auth"},
            {"type": "dispatch_namespace", "name": "TENANTS", "namespace": "tenants"},
        ],
    }


def test_service_that_is_not_there_is_told_before_anything_is_made(
    host: RecordingApi, run: Run, module: Path
) -> None:
    for plain in ("/workers/scripts/billing", "/workers/scripts/auth"):
        host.on("GET", plain, refused(404, 10007, "no such script"))
    host.on("GET", f"{NAMESPACES}/production/scripts/billing", refused(404, 10092, "no such script"))
    for namespace, target, shown in (
        (("--namespace", "production"), "billing", "production/billing or -/billing"),
        ((), "auth", "-/auth"),  # a plain script's services are plain scripts
    ):
        ended = run(
            *("deploy", str(module), "--name", "hello", *namespace, "--kv", "C=carts"),
            *("--service", f"S={target}"),
        )
        assert ended.code == 1
        assert f"--service S={target}: there is no script {shown}; nothing deployed" in ended.err
    assert not [call for call in host.calls() if not call.startswith("GET")]


def test_entry_point_of_a_service_and_tail_consumers_are_named(
    host: RecordingApi, run: Run, module: Path
) -> None:
    host.on("GET", f"{NAMESPACES}/production/scripts/prices", ok({"id": "prices"}))
    ended = run(
        *("deploy", str(module), "--name", "hello", "--namespace", "production"),
        *("--service", "PRICES=prices#Admin", "--service", "OWN=hello", "--tail", "watch", "--tail", "all"),
    )
    assert ended.code == 0, ended.err
    metadata = metadata_of(host.only("PUT"))
    assert metadata["bindings"] == [
        {"type": "service", "name": "PRICES", "service": "prices", "entrypoint": "Admin"},
        {"type": "service", "name": "OWN", "service": "hello"},
    ]
    assert metadata["tail_consumers"] == [{"service": "watch"}, {"service": "all"}]


def test_plain_script_may_be_a_service_of_a_namespaced_one(
    host: RecordingApi, run: Run, module: Path
) -> None:
    host.on("GET", f"{NAMESPACES}/production/scripts/billing", refused(404, 10092, "no such script"))
    host.on("GET", "/workers/scripts/billing", ok({"id": "billing"}))
    ended = run(
        *("deploy", str(module), "--name", "hello", "--namespace", "production", "--service", "S=billing")
    )
    assert ended.code == 0


def test_what_is_missing_is_made_before_the_upload(host: RecordingApi, run: Run, module: Path) -> None:
    ended = run(
        *("deploy", str(module), "--name", "hello", "--kv", "C=carts", "--queue", "Q=orders"),
        *("--dispatch", "T=tenants"),
    )
    assert [call for call in host.calls() if not call.startswith("GET")] == [
        f"POST {NAMESPACES}",
        "POST /storage/kv/namespaces",
        "POST /queues",
        "PUT /workers/scripts/hello",
    ]
    assert ended.err == "made dispatch namespace tenants\nmade KV namespace carts\nmade queue orders\n"


def test_what_a_tenant_s_deploy_makes_is_the_tenant_s(host: RecordingApi, run: Run, module: Path) -> None:
    arguments = ("deploy", str(module), "--name", "hello", "--namespace", "production", "--kv", "C=carts")
    run(*arguments, "--tenant", "acme")
    run(*arguments)
    made = [asked.json for asked in host.asked if asked.method == "POST"]
    assert made == [{"title": "carts", "tenant": "acme", "namespace": "production"}, {"title": "carts"}]


def test_what_is_there_is_used(host: RecordingApi, run: Run, module: Path) -> None:
    found = [{"id": "9" * 32, "title": "carts"}, {"id": "8" * 32, "title": "cartsX"}]
    host.on("GET", "/storage/kv/namespaces", ok(found, total_count=2))
    host.on("GET", "/queues", ok([{"queue_id": "7" * 32, "queue_name": "orders"}]))
    run("deploy", str(module), "--name", "hello", "--kv", "C=carts", "--queue", "Q=orders")
    assert not [asked for asked in host.asked if asked.method == "POST"]
    assert metadata_of(host.only("PUT"))["bindings"][0]["namespace_id"] == "9" * 32


def test_title_on_a_later_page_is_found(host: RecordingApi, run: Run, module: Path) -> None:
    first = ok([{"id": f"{i:032}", "title": f"t{i}"} for i in range(100)], total_count=101)
    second = ok([{"id": "9" * 32, "title": "carts"}], total_count=101)
    host.on("GET", "/storage/kv/namespaces", first, second)
    run("deploy", str(module), "--name", "hello", "--kv", "C=carts")
    assert metadata_of(host.only("PUT"))["bindings"][0]["namespace_id"] == "9" * 32


def test_made_by_another_deploy_in_the_meantime_is_used(host: RecordingApi, run: Run, module: Path) -> None:
    found = ok([{"id": "9" * 32, "title": "carts"}], total_count=1)
    host.on("GET", "/storage/kv/namespaces", ok([], total_count=0), found)
    host.on("POST", "/storage/kv/namespaces", refused(400, 10014, "title exists"))
    ended = run("deploy", str(module), "--name", "hello", "--kv", "C=carts")
    assert ended.code == 0
    assert "made" not in ended.err
    assert metadata_of(host.only("PUT"))["bindings"][0]["namespace_id"] == "9" * 32


@pytest.mark.parametrize("flag", ["--kv", "--queue"])
def test_another_tenant_s_resource_is_not_shared_by_name(
    host: RecordingApi, run: Run, module: Path, flag: str
) -> None:
    owner = {"tenant": "zeta", "namespace": "production"}
    host.on("GET", "/storage/kv/namespaces", ok([{"id": "9" * 32, "title": "x", **owner}], total_count=1))
    host.on("GET", "/queues", ok([{"queue_id": "7" * 32, "queue_name": "x", **owner}]))
    ended = run(
        *("deploy", str(module), "--name", "hello", "--namespace", "production", "--tenant", "acme"),
        *(flag, "B=x"),
    )
    assert ended.code == 1
    assert "is tenant 'zeta''s" in ended.err
    assert not [asked for asked in host.asked if asked.method != "GET"]


def test_another_tenant_s_resource_is_shared_when_said(host: RecordingApi, run: Run, module: Path) -> None:
    found = {"id": "9" * 32, "title": "x", "tenant": "zeta", "namespace": "production"}
    host.on("GET", "/storage/kv/namespaces", ok([found], total_count=1))
    host.on("GET", "/workers/scripts/s", ok({"id": "s"}))
    run("deploy", str(module), "--name", "hello", "--kv", "B=x", "--service", "S=s", "--share", "B")
    shared, own = metadata_of(host.only("PUT"))["bindings"]
    assert shared["shared"] is True
    assert "shared" not in own


def test_hostname_is_routed_after_the_upload(host: RecordingApi, run: Run, module: Path) -> None:
    ended = run(
        *("deploy", str(module), "--name", "hello", "--namespace", "production"),
        *("--hostname", "Hello.Localhost.", "--hostname", "hello.localhost"),
    )
    assert host.calls()[-2:] == [f"PUT {SCRIPT}", f"POST {ROUTES}"]
    assert host.asked[-1].json == {
        "hostname": "hello.localhost",
        "target": {"namespace": "production", "script": "hello"},
    }
    assert "hello.localhost → production/hello" in ended.out


def route(**target: str | None) -> dict[str, Any]:
    return {"id": "r0", "hostname": "hello.localhost", "path_prefix": "", "headers": [], "target": target}


def test_route_that_leads_there_already_is_left(host: RecordingApi, run: Run, module: Path) -> None:
    host.on("GET", ROUTES, ok([route(namespace=None, script="hello")]))
    ended = run("deploy", str(module), "--name", "hello", "--hostname", "hello.localhost")
    assert ended.code == 0
    assert f"POST {ROUTES}" not in host.calls()


def test_hostname_of_another_worker_is_refused_before_the_upload(
    host: RecordingApi, run: Run, module: Path
) -> None:
    host.on("GET", ROUTES, ok([route(namespace="production", script="other")]))
    ended = run("deploy", str(module), "--name", "hello", "--hostname", "hello.localhost")
    assert ended.code == 1
    assert "leads to production/other already" in ended.err
    assert "tenantry routes delete r0" in ended.err
    assert not [asked for asked in host.asked if asked.method != "GET"]


def test_route_of_a_path_below_is_no_hindrance(host: RecordingApi, run: Run, module: Path) -> None:
    below = {**route(namespace="production", script="other"), "path_prefix": "/api"}
    host.on("GET", ROUTES, ok([below]))
    assert run("deploy", str(module), "--name", "hello", "--hostname", "hello.localhost").code == 0
    assert f"POST {ROUTES}" in host.calls()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--name", "Hello"), "script name 'Hello'"),
        (("--name", "h", "--namespace", "a/b"), "namespace name 'a/b'"),
        (("--name", "h", "--tenant", ""), "tenant id ''"),
        (("--name", "h", "--tag", "a,b"), "tag 'a,b'"),
        (("--name", "h", "--var", "NOVALUE"), "has no '='"),
        (("--name", "h", "--var", "1A=x"), "binding name '1A'"),
        (("--name", "h", "--kv", "A="), "--kv A= leads to nothing"),
        (("--name", "h", "--var", "A=x", "--kv", "A=t"), "--kv A: --var has that name already"),
        (("--name", "h", "--share", "A"), "--share A: no --kv, --d1, --queue or --service"),
        (("--name", "h", "--limit", "cpu=1"), "'cpu' is no limit; cpu_ms, subrequests"),
        (("--name", "h", "--limit", "cpu_ms=-5"), "a whole number is right"),
        (("--name", "h", "--limit", "cpu_ms=0"), "a whole number from 1 to 300000"),
        (("--name", "h", "--hostname", "a..b"), "hostname 'a..b'"),
        (("--name", "h", "--hostname", "*.com"), "public suffix"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(
    host: RecordingApi, run: Run, module: Path, arguments: tuple[str, ...], expected: str
) -> None:
    ended = run("deploy", str(module), *arguments)
    assert ended.code == 2
    assert expected in ended.err
    assert host.asked == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"#!/bin/sh\n", "no WebAssembly"),
        (b"(module)", "WebAssembly text"),
        (b"\0asm\x0d\0\1\0", "component"),
        (worker_module()[:-3], "cut off"),
        (b"\0asm\1\0\0\0", "fetch, queue, scheduled or tail"),
    ],
)
def test_file_that_is_no_worker_is_refused_without_a_round_trip(
    host: RecordingApi, run: Run, tmp_path: Path, data: bytes, expected: str
) -> None:
    path = tmp_path / "bad.wasm"
    path.write_bytes(data)
    ended = run("deploy", str(path), "--name", "hello")
    assert ended.code == 2
    assert f"error: {path}: " in ended.err
    assert expected in ended.err
    assert host.asked == []


def test_a_file_of_no_kind_is_refused_with_the_kinds_there_are(
    host: RecordingApi, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "worker.py").write_text("def fetch(): ...")
    ended = run("deploy", str(tmp_path / "worker.py"), "--name", "s")
    assert ended.code == 2
    assert ".mjs" in ended.err
    assert ".ts" in ended.err
    assert host.asked == []


def test_missing_file_is_named(host: RecordingApi, run: Run, tmp_path: Path) -> None:
    ended = run("deploy", str(tmp_path / "none.wasm"), "--name", "hello")
    assert ended.code == 2
    assert "none.wasm: No such file" in ended.err


def test_refused_upload_says_what_was_made_before(host: RecordingApi, run: Run, module: Path) -> None:
    host.on("PUT", "/workers/scripts/hello", refused(400, 10021, "module: traps when it starts"))
    ended = run("deploy", str(module), "--name", "hello", "--kv", "C=carts", "--hostname", "h.localhost")
    assert ended.code == 1
    assert "error: module: traps when it starts (code 10021)" in ended.err
    assert "made before that, and empty: KV namespace carts" in ended.err
    assert f"POST {ROUTES}" not in host.calls()


def test_module_may_come_on_stdin(host: RecordingApi, run: Run) -> None:
    assert run("deploy", "-", "--name", "hello", stdin=worker_module()).code == 0
    ended = run("deploy", "-", "--name", "hello", "--secret", "K", stdin=b"x")
    assert ended.code == 2
    assert "both want stdin" in ended.err
    ended = run("deploy", "-", "--name", "hello", stdin=b"export default { fetch() {} };")
    assert (ended.code, "hint: stdin takes a .wasm module; JavaScript is" in ended.err) == (2, True)


def test_json_has_script_routes_and_what_was_made(host: RecordingApi, run: Run, module: Path) -> None:
    ended = run(
        "deploy", str(module), "--name", "hello", "--kv", "C=carts", "--hostname", "hello.localhost", "--json"
    )
    value = json.loads(ended.out)
    assert value["script"]["id"] == "hello"
    assert value["routes"] == [{"id": "r1", "hostname": "hello.localhost"}]
    assert value["made"] == ["KV namespace carts"]
    assert ended.err == ""


@pytest.mark.parametrize(
    ("names", "text", "values"),
    [
        (["K"], "v\n", {"K": "v"}),
        (["K"], "v\r\n", {"K": "v"}),
        (["K"], "K=v\n", {"K": "v"}),
        (["K"], "J=v\n", {"K": "J=v"}),  # not its name, so part of the value
        (["K"], "-----BEGIN\nabc\n-----END\n", {"K": "-----BEGIN\nabc\n-----END"}),
        (["K", "L"], "L=2\nK=a=b\n\n", {"K": "a=b", "L": "2"}),
    ],
)
def test_secret_lines(names: list[str], text: str, values: dict[str, str]) -> None:
    assert parse_secret_lines(names, text) == values


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (["K"], "", "no value"),
        (["K", "K"], "v", "given twice"),
        (["K", "L"], "K=1\n", "--secret L: stdin holds no value"),
        (["K", "L"], "hunter2\nL=2\n", "line 1 of stdin"),
        (["K", "L"], "M=hunter2\n", "line 1 of stdin"),
        (["K", "L"], "K=1\nK=hunter2\nL=3\n", "line 2 of stdin gives K a second time"),
    ],
)
def test_secret_lines_that_are_wrong_are_refused_without_quoting_a_value(
    names: list[str], text: str, expected: str
) -> None:
    with pytest.raises(BadUsage) as caught:
        parse_secret_lines(names, text)
    assert expected in caught.value.message
    assert "hunter2" not in caught.value.message
