"""What each client command asks of the API, and what it shows of the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.client import ApiClient
from cli.commands import logs
from cli.commands.trigger import scheduled_time_ms
from cli.errors import BadUsage, Unreachable
from tests.cli.conftest import Run
from tests.cli.recording_api import Answer, RecordingApi, ok, refused

NAMESPACES = "/workers/dispatch/namespaces"
ROUTES = "/workers/dispatch/routes"
KV = "/storage/kv/namespaces"
ID = "a" * 32


# Names and paths.


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (("namespaces", "create", "p"), f"POST {NAMESPACES}"),
        (("namespaces", "delete", "p", "--yes"), f"DELETE {NAMESPACES}/p"),
        (("scripts", "list", "p"), f"GET {NAMESPACES}/p/scripts"),
        (("scripts", "list", "-"), "GET /workers/scripts"),
        (("scripts", "delete", "p", "s"), f"DELETE {NAMESPACES}/p/scripts/s"),
        (("scripts", "delete", "-", "s"), "DELETE /workers/scripts/s"),
        (("secrets", "list", "p", "s"), f"GET {NAMESPACES}/p/scripts/s/secrets"),
        (("secrets", "delete", "-", "s", "K"), "DELETE /workers/scripts/s/secrets/K"),
        (("routes", "list"), f"GET {ROUTES}"),
        (("routes", "delete", "x/y"), f"DELETE {ROUTES}/x%2Fy"),
        (("routes", "enable-headers", "*.A.example"), "PUT /workers/dispatch/hostnames/%2A.a.example"),
        (("kv", "namespaces"), f"GET {KV}"),
        (("kv", "namespaces", "--json"), f"GET {KV}"),
        (("queues", "list"), "GET /queues"),
    ],
)
def test_command_asks(api: RecordingApi, run: Run, arguments: tuple[str, ...], call: str) -> None:
    method, _, path = call.partition(" ")
    api.on(method, path, ok([] if method == "GET" else {}))
    ended = run(*arguments)
    assert ended.code == 0, ended.err
    assert api.calls() == [call]


@pytest.mark.parametrize("name", ["Upper", "a/b", "..", "", "x" * 64])
def test_bad_name_is_refused_here(api: RecordingApi, run: Run, name: str) -> None:
    ended = run("scripts", "get", "p", name)
    assert ended.code == 2
    assert "script name" in ended.err
    assert api.asked == []


def test_what_is_in_use_goes_only_by_force(api: RecordingApi, run: Run) -> None:
    path = f"{NAMESPACES}/p"
    api.on("DELETE", path, refused(409, 100121, "namespace 'p' is in use: script 's'"), ok())
    ended = run("namespaces", "delete", "p")
    assert ended.code == 1
    assert "hint: --force deletes it all the same" in ended.err
    assert run("namespaces", "delete", "p", "--force").code == 0
    assert [asked.query for asked in api.asked] == [{}, {"force": ["true"]}]


@pytest.mark.parametrize(
    ("arguments", "outbound"),
    [
        (("--service", "guard"), {"service": "guard"}),
        (("--service", "g", "--in", "own", "--param", "plan"),
         {"service": "g", "namespace": "own", "params": [{"name": "plan"}]}),
        (("--hook", "watch"), {"hook": "watch"}),
        (("--none",), None),
    ],
)  # fmt: skip
def test_who_is_asked_before_requests_leave(
    api: RecordingApi, run: Run, arguments: tuple[str, ...], outbound: object
) -> None:
    api.on("PUT", f"{NAMESPACES}/p", ok({}))
    ended = run("namespaces", "outbound", "p", *arguments)
    assert ended.code == 0, ended.err
    assert [json.loads(asked.body) for asked in api.asked] == [{"outbound": outbound}]


@pytest.mark.parametrize("arguments", [(), ("--none", "--hook", "x"), ("--hook", "x", "--in", "own")])
def test_half_said_outbound_workers_are_refused_here(
    api: RecordingApi, run: Run, arguments: tuple[str, ...]
) -> None:
    assert run("namespaces", "outbound", "p", *arguments).code == 2
    assert api.asked == []


# Lists.


def test_list_is_a_table_and_json_is_what_the_api_gave(api: RecordingApi, run: Run) -> None:
    found = [
        {"namespace_name": "production", "script_count": 12, "trusted_workers": False, "created_on": "2026"}
    ]
    api.on("GET", NAMESPACES, ok(found))
    assert run("namespaces", "list").out.splitlines() == [
        "NAME        WORKERS  TRUSTED  MADE",
        "production  12       no       2026",
    ]
    assert json.loads(run("namespaces", "list", "--json").out) == found


def test_empty_list_says_so_beside_the_result(api: RecordingApi, run: Run) -> None:
    api.on("GET", NAMESPACES, ok([]))
    ended = run("namespaces", "list")
    assert (ended.out, ended.err) == ("", "no dispatch namespace yet\n")
    assert run("namespaces", "list", "--json").out == "[]\n"


def test_pages_are_read_to_their_end(api: RecordingApi, run: Run) -> None:
    first = [{"queue_name": f"q{i}"} for i in range(100)]
    api.on("GET", "/queues", ok(first, total_count=101), ok([{"queue_name": "last"}], total_count=101))
    assert len(json.loads(run("queues", "list", "--json").out)) == 101
    assert [asked.query["page"] for asked in api.asked] == [["1"], ["2"]]


def test_cursor_is_followed_to_its_end_even_past_an_empty_page(api: RecordingApi, run: Run) -> None:
    api.on("GET", KV, ok([{"id": ID, "title": "t"}]))
    pages = [ok([{"name": "a"}], cursor="c1"), ok([], cursor="c2"), ok([{"name": "b"}], cursor="")]
    api.on("GET", f"{KV}/{ID}/keys", *pages)
    assert [key["name"] for key in json.loads(run("kv", "list", "t", "--json").out)] == ["a", "b"]
    assert [asked.query.get("cursor") for asked in api.asked[1:]] == [None, ["c1"], ["c2"]]


def test_limit_ends_a_list(api: RecordingApi, run: Run) -> None:
    api.on("GET", KV, ok([{"id": ID, "title": "t"}]))
    api.on("GET", f"{KV}/{ID}/keys", ok([{"name": "a"}, {"name": "b"}], cursor="more"))
    run("kv", "list", "t", "--limit", "2", "--prefix", "a&b")
    assert api.asked[-1].query == {"limit": ["2"], "prefix": ["a&b"]}
    assert len(api.asked) == 2


def test_scripts_are_filtered_by_tag(api: RecordingApi, run: Run) -> None:
    api.on("GET", f"{NAMESPACES}/p/scripts", ok([{"id": "s", "tags": ["a"], "handlers": ["fetch"]}]))
    assert "s" in run("scripts", "list", "p", "--tag", "plan:free", "--tag", "eu").out
    assert api.asked[0].query["tags"] == ["plan:free:yes,eu:yes"]


def test_script_is_shown_with_its_bindings(api: RecordingApi, run: Run) -> None:
    api.on(
        "GET",
        f"{NAMESPACES}/p/scripts/s",
        ok({"script": {"id": "s", "handlers": ["fetch"], "tenant": "acme"}}),
    )
    bindings = [
        {"type": "kv_namespace", "name": "CARTS", "namespace_id": ID},
        {"type": "secret_text", "name": "KEY"},
    ]
    settings = {"bindings": bindings, "limits": {"cpu_ms": 200}, "tags": ["eu"]}
    api.on("GET", f"{NAMESPACES}/p/scripts/s/settings", ok(settings))
    out = run("scripts", "get", "p", "s").out
    assert f"binding   CARTS: kv_namespace {ID}\n" in out
    assert "binding   KEY: secret_text\n" in out
    assert "limit     cpu_ms = 200\n" in out
    assert "tenant    acme\n" in out
    assert json.loads(run("scripts", "get", "p", "s", "--json").out)["settings"] == settings


# Routes.


def test_route_is_added_with_path_and_headers(api: RecordingApi, run: Run) -> None:
    api.on("POST", ROUTES, ok({"id": "r1", "hostname": "*.shop.example"}))
    ended = run(
        *("routes", "add", "*.Shop.example", "--path", "/api", "--header", "X-Beta=1=2"),
        *("--namespace", "p", "--script", "s"),
    )
    assert api.asked[0].json == {
        "hostname": "*.shop.example",
        "path_prefix": "/api",
        "headers": [{"name": "X-Beta", "value": "1=2"}],
        "target": {"namespace": "p", "script": "s"},
    }
    assert ended.out == "route r1: *.shop.example/api → p/s\n"


def test_route_to_a_plain_script_has_no_namespace(api: RecordingApi, run: Run) -> None:
    api.on("POST", ROUTES, ok({"id": "r1", "hostname": "*"}))
    run("routes", "add", "*", "--script", "router")
    assert api.asked[0].json == {"hostname": "*", "target": {"script": "router"}}


@pytest.mark.parametrize("host", ["a..b", "*.com", "a.*.b", "1.2.3", "a:b"])
def test_hostname_that_is_none_is_refused_here(api: RecordingApi, run: Run, host: str) -> None:
    ended = run("routes", "add", host, "--script", "s")
    assert ended.code == 2
    assert "hostname" in ended.err
    assert api.asked == []


def test_tie_of_routes_is_the_host_s_refusal(api: RecordingApi, run: Run) -> None:
    api.on("POST", ROUTES, refused(409, 10020, "route ties with r0"))
    ended = run("routes", "add", "a.example", "--script", "s")
    assert (ended.code, ended.err) == (1, "error: route ties with r0 (code 10020)\n")


# KV.


@pytest.fixture
def store(api: RecordingApi) -> RecordingApi:
    api.on("GET", KV, ok([{"id": ID, "title": "settings"}], total_count=1))
    return api


def test_value_comes_out_byte_for_byte(store: RecordingApi, run: Run) -> None:
    store.on("GET", f"{KV}/{ID}/values/a%2Fb%20%C3%A9", Answer(200, b"\0\xff\r\n"))
    assert run("kv", "get", "settings", "a/b é").out_bytes == b"\0\xff\r\n"


def test_value_as_json_has_metadata_and_expiration(store: RecordingApi, run: Run) -> None:
    store.on("GET", f"{KV}/{ID}/values/k", Answer(200, b"\xff", {"expiration": "1900000000"}))
    store.on("GET", f"{KV}/{ID}/metadata/k", ok({"type": "x"}))
    assert json.loads(run("kv", "get", "settings", "k", "--json").out) == {
        "key": "k",
        "value": "/w==",
        "base64": True,
        "metadata": {"type": "x"},
        "expiration": 1900000000,
    }


def test_absent_key_is_a_refusal(store: RecordingApi, run: Run) -> None:
    store.on("GET", f"{KV}/{ID}/values/k", refused(404, 10009, "key not found"))
    ended = run("kv", "get", "settings", "k")
    assert (ended.code, ended.out) == (1, "")
    assert "key not found (code 10009)" in ended.err


def test_id_works_where_no_title_is_known(store: RecordingApi, run: Run) -> None:
    other = "b" * 32
    store.on("GET", f"{KV}/{other}/values/k", Answer(200, b"v"))
    assert run("kv", "get", other, "k").out == "v"


def test_unknown_title_says_how_to_list_and_make(store: RecordingApi, run: Run) -> None:
    ended = run("kv", "get", "none", "k")
    assert ended.code == 1
    assert "'none'" in ended.err
    assert "kv namespaces create" in ended.err


def test_put_sends_raw_bytes_and_expiration(store: RecordingApi, run: Run, tmp_path: Path) -> None:
    store.on("PUT", f"{KV}/{ID}/values/k", ok())
    (tmp_path / "v").write_bytes(b"\0\1")
    assert run("kv", "put", "settings", "k", "--file", str(tmp_path / "v"), "--ttl", "60").code == 0
    asked = store.only("PUT")
    assert asked.body == b"\0\1"
    assert asked.query == {"expiration_ttl": ["60"]}


def test_empty_value_is_a_value(store: RecordingApi, run: Run) -> None:
    store.on("PUT", f"{KV}/{ID}/values/k", ok())
    assert run("kv", "put", "settings", "k", "").code == 0
    assert store.only("PUT").body == b""


def test_put_with_metadata_is_multipart(store: RecordingApi, run: Run) -> None:
    store.on("PUT", f"{KV}/{ID}/values/k", ok())
    run("kv", "put", "settings", "k", "v", "--metadata", '{"a": 1}')
    asked = store.only("PUT")
    assert asked.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="metadata"\r\nContent-Type: application/json\r\n\r\n{"a": 1}\r\n' in asked.body


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "either VALUE or --file"),
        (("v", "--file", "-"), "either VALUE or --file"),
        (("v", "--metadata", "{"), "--metadata is no JSON"),
        (("v", "--ttl", "59"), "60"),
        (("--file", "/nonexistent/v"), "No such file"),
    ],
)
def test_bad_put_is_refused_here(
    store: RecordingApi, run: Run, arguments: tuple[str, ...], expected: str
) -> None:
    ended = run("kv", "put", "settings", "k", *arguments)
    assert ended.code == 2
    assert expected in ended.err
    assert store.asked == []


def test_value_over_the_limit_is_refused_here(store: RecordingApi, run: Run, tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate((25 << 20) + 1)
    ended = run("kv", "put", "settings", "k", "--file", str(tmp_path / "big"))
    assert ended.code == 2
    assert "26214400 bytes" in ended.err


def test_tenant_and_namespace_of_a_resource_go_together(api: RecordingApi, run: Run) -> None:
    api.on("POST", KV, ok({"id": ID, "title": "t"}))
    assert run("kv", "namespaces", "create", "t", "--tenant", "acme").code == 2
    assert run("kv", "namespaces", "create", "t", "--tenant", "acme", "--namespace", "p").code == 0
    assert api.asked[0].json == {"title": "t", "tenant": "acme", "namespace": "p"}


# Queues.


@pytest.fixture
def queue(api: RecordingApi) -> RecordingApi:
    api.on("GET", "/queues", ok([{"queue_id": ID, "queue_name": "orders"}]))
    return api


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (('{"id": 7}',), {"body": {"id": 7}, "content_type": "json"}),
        (("null",), {"body": None, "content_type": "json"}),
        (("7", "--content-type", "text"), {"body": "7", "content_type": "text"}),
        (("1", "--delay", "5"), {"body": 1, "content_type": "json", "delay_seconds": 5}),
        (("-",), {"body": [1], "content_type": "json"}),
    ],
)
def test_message_is_sent(
    queue: RecordingApi, run: Run, arguments: tuple[str, ...], message: dict[str, Any]
) -> None:
    queue.on("POST", f"/queues/{ID}/messages", ok())
    assert run("queues", "send", "orders", *arguments, stdin=b"[1]").code == 0
    assert queue.only("POST").json == message


def test_message_that_is_no_json_hints_at_text(queue: RecordingApi, run: Run) -> None:
    ended = run("queues", "send", "orders", "hello")
    assert ended.code == 2
    assert "--content-type text" in ended.err
    assert queue.asked == []


def test_consumer_is_added_with_the_settings_given(queue: RecordingApi, run: Run) -> None:
    queue.on("POST", f"/queues/{ID}/consumers", ok({"consumer_id": "c1"}))
    ended = run(
        *("queues", "consumer", "add", "orders", "--script", "billing", "--namespace", "p"),
        *("--batch-size", "50", "--max-wait-ms", "0", "--dead-letter-queue", "failed"),
    )
    assert queue.only("POST").json == {
        "type": "worker",
        "script_name": "billing",
        "dispatch_namespace": "p",
        "settings": {"batch_size": 50, "max_wait_time_ms": 0},
        "dead_letter_queue": "failed",
    }
    assert "consumer c1" in ended.out


def test_consumer_that_pulls_is_no_script(queue: RecordingApi, run: Run) -> None:
    queue.on("POST", f"/queues/{ID}/consumers", ok({"consumer_id": "c1"}))
    ended = run("queues", "consumer", "add", "orders", "--pull", "--visibility-timeout-ms", "5000")
    assert queue.only("POST").json == {"type": "http_pull", "settings": {"visibility_timeout_ms": 5000}}
    assert "whoever pulls" in ended.out
    for wrong in ((), ("--pull", "--script", "billing")):
        assert run("queues", "consumer", "add", "orders", *wrong).code == 2


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (("pause", "orders"), {"delivery_paused": True}),
        (("resume", "orders"), {"delivery_paused": False}),
        (("update", "orders", "--delivery-delay", "0"), {"delivery_delay": 0}),
        (("update", "orders", "--retention", "60"), {"message_retention_period": 60}),
    ],
)
def test_one_setting_of_a_queue_is_changed(
    queue: RecordingApi, run: Run, arguments: tuple[str, ...], settings: dict[str, Any]
) -> None:
    queue.on("PATCH", f"/queues/{ID}", ok({}))
    assert run("queues", *arguments).code == 0
    assert queue.only("PATCH").json == {"settings": settings}


def test_update_of_nothing_is_a_mistake(queue: RecordingApi, run: Run) -> None:
    assert run("queues", "update", "orders").code == 2
    assert queue.asked == []


def test_acknowledgement_says_what_the_host_warns_of(queue: RecordingApi, run: Run) -> None:
    answer = {"ackCount": 0, "retryCount": 1, "warnings": ["lease x had \x1b[31m ended"]}
    queue.on("POST", f"/queues/{ID}/messages/ack", ok(answer))
    ended = run("queues", "ack", "orders", "l1", "l2", "--retry", "--delay", "7")
    assert queue.only("POST").json == {
        "retries": [{"lease_id": "l1", "delay_seconds": 7}, {"lease_id": "l2", "delay_seconds": 7}]
    }
    assert "retried 1" in ended.out
    assert "had \\x1b[31m ended" in ended.err
    assert run("queues", "ack", "orders", "l1", "--delay", "7").code == 2


def test_only_consumer_needs_no_id_and_one_of_two_does(queue: RecordingApi, run: Run) -> None:
    consumers = f"/queues/{ID}/consumers"
    queue.on("DELETE", f"{consumers}/c1", ok())
    queue.on("GET", consumers, ok([{"consumer_id": "c1"}]))
    assert run("queues", "consumer", "remove", "orders").code == 0
    queue.on("GET", consumers, ok([{"consumer_id": "c1"}, {"consumer_id": "c2"}]))
    ended = run("queues", "consumer", "remove", "orders")
    assert ended.code == 1
    assert "2 consumers" in ended.err


def test_unknown_queue_says_how_to_make_one(queue: RecordingApi, run: Run) -> None:
    ended = run("queues", "send", "none", "1")
    assert ended.code == 1
    assert "queues create" in ended.err


# Secrets.


def test_secret_is_put_from_stdin_without_its_last_line_break(api: RecordingApi, run: Run) -> None:
    api.on("PUT", f"{NAMESPACES}/p/scripts/s/secrets", ok({"name": "K", "type": "secret_text"}))
    ended = run("secrets", "put", "p", "s", "K", stdin=b"a\nb\n")
    assert api.asked[0].json == {"name": "K", "text": "a\nb", "type": "secret_text"}
    assert "a\nb" not in ended.out


@pytest.mark.parametrize("stdin", [b"", b"\n", b"\xff\xfe"])
def test_secret_without_a_value_is_refused_here(api: RecordingApi, run: Run, stdin: bytes) -> None:
    assert run("secrets", "put", "p", "s", "K", stdin=stdin).code == 2
    assert api.asked == []


# Logs.


def line(text: str, level: int = 1) -> dict[str, Any]:
    return {"at_ms": 1_700_000_000_123, "level": level, "text": text, "ray_id": "0123456789abcdef"}


def test_logs_show_time_level_ray_and_text_safely(api: RecordingApi, run: Run) -> None:
    lines = [line("hello"), line("\x1b]0;owned\x07", 4)]
    api.on("GET", f"{NAMESPACES}/p/scripts/s/logs", ok({"lines": lines, "cursor": 2}))
    out = run("logs", "p", "s").out.splitlines()
    assert out[0].endswith(".123 info   0123456789abcdef hello")
    assert out[1].endswith(" error  0123456789abcdef \\x1b]0;owned\\x07")
    assert [json.loads(text) for text in run("logs", "p", "s", "--json").out.splitlines()] == lines


def test_a_line_with_line_breaks_goes_on_indented_so_that_none_is_forged(api: RecordingApi, run: Run) -> None:
    forged = "12:00:00.000 error  0123456789abcdef the host is down"
    text = f"Error: no\n    at fetch (a.js:1:2)\n{forged}\r\x1b[2K"
    api.on("GET", f"{NAMESPACES}/p/scripts/s/logs", ok({"lines": [line(text)], "cursor": 1}))
    out = run("logs", "p", "s").out.splitlines()
    assert out[0].endswith(" Error: no")
    assert out[1:] == ["        at fetch (a.js:1:2)", f"    {forged}\\r\\x1b[2K"]


def test_follow_goes_on_from_the_cursor_and_survives_a_restart(
    api: RecordingApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/workers/scripts/s/logs"
    api.on("GET", path, ok({"lines": [line("one")], "cursor": 5}), ok({"lines": [line("two")], "cursor": 6}))
    real, count = ApiClient.get, 0

    def get(client: ApiClient, *arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            raise Unreachable("the host is gone")
        if count == 4:
            raise KeyboardInterrupt
        return real(client, *arguments, **named)

    monkeypatch.setattr(ApiClient, "get", get)
    ended = run("logs", "-", "s", "--follow", "--json")
    assert [json.loads(text)["text"] for text in ended.out.splitlines()] == ["one", "two"]
    assert ended.code == 0  # Ctrl-C is how it ends
    assert "the host is gone; trying again" in ended.err
    assert api.asked[1].query == {"after": ["5"], "wait_ms": [str(logs.WAIT_MS)]}


# Trigger.


@pytest.mark.parametrize(("outcome", "exit_code"), [("ok", 0), ("exceededCpu", 1), ("exception", 1)])
def test_trigger_ends_as_the_event_did(api: RecordingApi, run: Run, outcome: str, exit_code: int) -> None:
    api.on("POST", f"{NAMESPACES}/p/scripts/s/trigger", ok({"outcome": outcome}))
    ended = run("trigger", "scheduled", "p", "s", "--cron", "0 3 * * *", "--time", "1700000000000")
    assert ended.code == exit_code
    assert ended.out.startswith(f"p/s: {outcome}")
    assert api.asked[0].json == {"kind": "scheduled", "cron": "0 3 * * *", "scheduled_time_ms": 1700000000000}


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("1700000000000", 1_700_000_000_000),
        ("2026-01-31T03:00:00Z", 1_769_828_400_000),
        ("2026-01-31T04:00:00+01:00", 1_769_828_400_000),
    ],
)
def test_time_is_read(text: str, ms: int) -> None:
    assert scheduled_time_ms(text) == ms


@pytest.mark.parametrize("text", ["", "tomorrow", "-1", "2026-13-01", "9" * 17])
def test_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadUsage, match="2026-01-31T03:00:00Z"):
        scheduled_time_ms(text)
