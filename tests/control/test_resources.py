"""Namespaces, KV, queues, policies, logs: what is made is there, for who may have it, until it is deleted."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import pytest

from control.deletions import finish_deletions
from model.identity import NamespaceName, RayId, ScriptName
from model.observer import LogLine
from model.queues import ConsumerRecord, ConsumerSettings
from model.scripts import OutboundWorker, ScriptRef
from storage.failures import DiskFull
from storage.scratch import SCRATCH
from tests.control.support import (
    KV,
    NAMESPACES,
    QUEUES,
    ROUTES,
    Host,
    ok,
    refused,
    script_path,
    worker_module,
)


async def test_namespaces(host: Host) -> None:
    made = ok(await host.api.post(NAMESPACES, json={"name": "prod"}))
    assert made["namespace_name"] == "prod"
    assert made["trusted_workers"] is False
    ok(await host.api.post(NAMESPACES, json={"name": "dev"}))
    ok(await host.deploy("shop", "prod"))
    shown = ok(await host.api.get(NAMESPACES))
    assert [(each["namespace_name"], each["script_count"]) for each in shown] == [("dev", 0), ("prod", 1)]
    assert ok(await host.api.get(f"{NAMESPACES}?page=2")) == []
    ok(await host.api.delete(f"{NAMESPACES}/dev"))
    refused(await host.api.get(f"{NAMESPACES}/dev"), 404, 100119)


async def test_trusting_a_namespace_holds_for_its_scripts_at_once(host: Host) -> None:
    await host.namespace()
    ok(await host.deploy("shop", "prod"))
    ref = ScriptRef(NamespaceName("prod"), ScriptName("shop"))
    before = host.sequence.load()
    ok(await host.api.put(f"{NAMESPACES}/prod", json={"name": "prod", "trusted_workers": True}))
    version = host.store.script(ref)
    assert version is not None
    assert version.trusted is True
    assert host.store.changes_since(before)[1] == [("namespace", "prod")]
    ok(await host.api.patch(f"{NAMESPACES}/prod", json={"trusted_workers": False}))
    version = host.store.script(ref)
    assert version is not None
    assert version.trusted is False


async def test_an_outbound_worker_holds_for_its_namespace_at_once(host: Host) -> None:
    await host.namespace()
    ok(await host.deploy("shop", "prod"))
    ok(await host.deploy("guard"))
    ref = ScriptRef(NamespaceName("prod"), ScriptName("shop"))
    place = f"{NAMESPACES}/prod"
    wanted = {"service": "guard", "params": [{"name": "plan"}]}
    before = host.sequence.load()
    assert ok(await host.api.put(place, json={"outbound": wanted}))["outbound"] == wanted
    version = host.store.script(ref)
    assert version is not None
    guard = ScriptRef(None, ScriptName("guard"))
    assert version.outbound_worker == OutboundWorker(guard, None, ("plan",))
    assert host.store.changes_since(before)[1] == [("namespace", "prod")]
    # What says nothing of it leaves it.
    assert ok(await host.api.put(place, json={"trusted_workers": True}))["outbound"] == wanted
    assert ok(await host.api.patch(place, json={"outbound": {"hook": "watch"}}))["outbound"] == {
        "hook": "watch"
    }
    shown = ok(await host.api.get(place))
    assert (shown["outbound"], shown["trusted_workers"]) == ({"hook": "watch"}, True)
    assert ok(await host.api.patch(place, json={"outbound": None}))["outbound"] is None
    version = host.store.script(ref)
    assert version is not None
    assert version.outbound_worker is None
    made = ok(await host.api.post(NAMESPACES, json={"name": "new", "outbound": {"service": "guard"}}))
    assert made["outbound"] == {"service": "guard"}


@pytest.mark.parametrize(
    ("outbound", "field"),
    [
        ({"service": "nobody"}, "outbound"),
        ({"service": "shop", "namespace": "prod"}, "outbound"),  # whose requests it would see
        ({"service": "guard", "hook": "watch"}, "outbound"),
        ({}, "outbound"),
        ({"service": "guard", "param": []}, "outbound.param"),
        ({"service": 3}, "outbound.service"),
        ({"hook": "Not A Hook"}, "outbound.hook"),
        ({"hook": "watch", "namespace": "prod"}, "outbound.hook"),
        ({"service": "guard", "params": "plan"}, "outbound.params"),
        ({"service": "guard", "params": [{"name": ""}]}, "outbound.params[0]"),
        ({"service": "guard", "params": ["p"] * 65}, "outbound.params"),
    ],
)
async def test_an_outbound_worker_that_can_t_be_is_refused(
    host: Host, outbound: dict[str, Any], field: str
) -> None:
    await host.namespace()
    ok(await host.deploy("shop", "prod"))
    ok(await host.deploy("guard"))
    state = host.state()
    response = await host.api.patch(f"{NAMESPACES}/prod", json={"outbound": outbound})
    refused(response, 400, 10021, field)
    assert host.state() == state


async def test_an_outbound_worker_in_use_goes_only_by_force(host: Host) -> None:
    await host.namespace()
    ok(await host.deploy("guard"))
    ok(await host.api.patch(f"{NAMESPACES}/prod", json={"outbound": {"service": "guard"}}))
    binding = {
        "type": "dispatch_namespace",
        "name": "TENANTS",
        "namespace": "prod",
        "outbound": {
            "worker": {"service": "guard", "environment": "production"},
            "params": [{"name": "plan"}],
        },
    }
    ok(await host.deploy("front", bindings=[binding]))
    (shown,) = ok(await host.api.get(f"{script_path('front')}/bindings"))
    assert shown["outbound"] == {"worker": {"service": "guard"}, "params": [{"name": "plan"}]}
    message = refused(await host.api.delete(script_path("guard")), 409, 10064)
    assert "dispatch binding TENANTS of script front" in message
    assert "namespace prod" in message
    ok(await host.api.delete(f"{script_path('guard')}?force=true"))


async def test_a_namespace_goes_with_what_is_in_it_only_by_force(host: Host) -> None:
    await host.namespace()
    ok(await host.deploy("shop", "prod"))
    kv = ok(await host.api.post(KV, json={"title": "t", "tenant": "shop", "namespace": "prod"}))
    ok(await host.api.put(f"{KV}/{kv['id']}/values/k", content=b"v"))
    target = {"namespace": "prod", "script": "shop"}
    ok(await host.api.post(ROUTES, json={"hostname": "a.example.com", "target": target}))
    ok(await host.api.put(f"{NAMESPACES}/prod/egress-policy", content="version: 1\nrules: []\n"))
    state = host.state()
    assert "script shop" in refused(await host.api.delete(f"{NAMESPACES}/prod"), 409, 100121)
    assert host.state() == state
    ok(await host.api.delete(f"{NAMESPACES}/prod?force=true"))
    left = {name: rows for name, rows in host.state() if rows}
    assert set(left) == {"changes", "schema_migrations"}
    assert await host.services.kv.get_entry(kv["id"], "k") is None


@pytest.mark.parametrize("key", ["k", "a/b", "ключ", "a%2Fb", "a b+c?&#", "..a", "\0"])
async def test_a_kv_key_may_hold_anything(host: Host, key: str) -> None:
    from urllib.parse import quote

    kv = ok(await host.api.post(KV, json={"title": "t"}))["id"]
    path = f"{KV}/{kv}/values/{quote(key, safe='')}"
    refused(await host.api.get(path), 404, 10009)
    ok(await host.api.put(path, content=b"\0\xff"))
    response = await host.api.get(path)
    assert response.content == b"\0\xff"
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert [each["name"] for each in ok(await host.api.get(f"{KV}/{kv}/keys"))] == [key]
    ok(await host.api.delete(path))
    refused(await host.api.get(path), 404, 10009)
    ok(await host.api.delete(path))  # idempotent


async def test_large_value_of_kv_is_given_in_pieces_and_whole(host: Host) -> None:
    kv = ok(await host.api.post(KV, json={"title": "large"}))["id"]
    value = b"0123456789abcdef" * (160 << 10) + b"!"  # 2.5 MiB
    expiration = int(time.time()) + 600
    ok(await host.api.put(f"{KV}/{kv}/values/k?expiration={expiration}", content=value))
    found = await host.api.get(f"{KV}/{kv}/values/k")
    assert found.content == value
    assert found.headers["content-length"] == str(len(value))
    assert found.headers["content-type"] == "application/octet-stream"
    assert found.headers["expiration"] == str(expiration)
    assert ok(await host.api.get(f"{KV}/{kv}/metadata/k")) is None
    assert (SCRATCH.held, SCRATCH.files) == (0, 0)


async def test_a_kv_value_has_metadata_and_an_expiration(host: Host) -> None:
    kv = ok(await host.api.post(KV, json={"title": "t"}))["id"]
    path = f"{KV}/{kv}/values/k"
    at = int(time.time()) + 1_000
    files: Any = {"value": (None, b"v"), "metadata": (None, '{"a": [1]}')}
    ok(await host.api.put(f"{path}?expiration={at}", files=files))
    assert (await host.api.get(path)).headers["expiration"] == str(at)
    assert ok(await host.api.get(f"{KV}/{kv}/metadata/k")) == {"a": [1]}
    (shown,) = ok(await host.api.get(f"{KV}/{kv}/keys"))
    assert shown == {"name": "k", "expiration": at, "metadata": {"a": [1]}}
    ok(await host.api.put(f"{path}?expiration_ttl=60", content=b"w"))
    assert ok(await host.api.get(f"{KV}/{kv}/metadata/k")) is None


async def test_kv_keys_are_listed_in_byte_order_by_prefix_and_cursor(host: Host) -> None:
    kv = ok(await host.api.post(KV, json={"title": "t"}))["id"]
    names = ["b", "a2", "é", "a1", "Z", "a3"]
    ok(await host.api.put(f"{KV}/{kv}/bulk", json=[{"key": name, "value": name} for name in names]))
    assert [key["name"] for key in ok(await host.api.get(f"{KV}/{kv}/keys"))] == sorted(
        names, key=lambda name: name.encode()
    )
    first = (await host.api.get(f"{KV}/{kv}/keys", params={"prefix": "a", "limit": 2})).json()
    assert [key["name"] for key in first["result"]] == ["a1", "a2"]
    cursor = first["result_info"]["cursor"]
    rest = (
        await host.api.get(f"{KV}/{kv}/keys", params={"prefix": "a", "limit": 2, "cursor": cursor})
    ).json()
    assert [key["name"] for key in rest["result"]] == ["a3"]
    assert rest["result_info"] == {"count": 1, "cursor": ""}


async def test_kv_in_bulk(host: Host) -> None:
    kv = ok(await host.api.post(KV, json={"title": "t"}))["id"]
    entries = [
        {"key": "a", "value": base64.b64encode(b"\xff").decode(), "base64": True, "metadata": {"m": 1}},
        *({"key": f"k{number}", "value": "5"} for number in range(1_200)),
    ]
    assert ok(await host.api.put(f"{KV}/{kv}/bulk", json=entries)) == {
        "successful_key_count": 1_201,
        "unsuccessful_keys": [],
    }
    got = ok(
        await host.api.post(f"{KV}/{kv}/bulk/get", json={"keys": ["a", "k1", "none"], "withMetadata": True})
    )
    assert got["values"]["a"]["metadata"] == {"m": 1}
    assert got["values"]["none"] is None
    got = ok(await host.api.post(f"{KV}/{kv}/bulk/get", json={"keys": ["k1"], "type": "json"}))
    assert got["values"] == {"k1": 5}
    ok(await host.api.request("DELETE", f"{KV}/{kv}/bulk", json=["a", "k1"]))
    ok(await host.api.post(f"{KV}/{kv}/bulk/delete", json=[f"k{number}" for number in range(2, 1_200)]))
    assert [key["name"] for key in ok(await host.api.get(f"{KV}/{kv}/keys"))] == ["k0"]


async def test_kv_namespaces(host: Host) -> None:
    first = ok(await host.api.post(KV, json={"title": "b"}))
    second = ok(await host.api.post(KV, json={"title": "a"}))
    assert len(first["id"]) == 32
    assert first["supports_url_encoding"] is True
    listed = (await host.api.get(f"{KV}?per_page=1000&order=title&direction=asc")).json()
    assert [each["title"] for each in listed["result"]] == ["a", "b"]
    assert listed["result_info"]["total_count"] == 2
    assert ok(await host.api.get(f"{KV}?per_page=1000&page=2")) == []
    assert [each["title"] for each in ok(await host.api.get(f"{KV}?order=title&direction=desc"))] == [
        "b",
        "a",
    ]
    refused(await host.api.put(f"{KV}/{second['id']}", json={"title": "b"}), 400, 10014, "title")
    assert ok(await host.api.put(f"{KV}/{second['id']}", json={"title": "c"}))["title"] == "c"
    assert ok(await host.api.get(f"{KV}/{second['id']}"))["title"] == "c"


async def test_a_bound_kv_namespace_is_deleted_only_by_force(host: Host) -> None:
    kv = ok(await host.api.post(KV, json={"title": "t"}))["id"]
    ok(await host.api.put(f"{KV}/{kv}/values/k", content=b"v"))
    ok(await host.deploy("shop", bindings=[{"type": "kv_namespace", "name": "KV", "namespace_id": kv}]))
    state = host.state()
    message = refused(await host.api.delete(f"{KV}/{kv}"), 409, 20006)
    assert "'shop'" in message
    assert host.state() == state
    ok(await host.api.delete(f"{KV}/{kv}?force=true"))
    refused(await host.api.get(f"{KV}/{kv}/values/k"), 404, 10013)
    assert await host.services.kv.get_entry(kv, "k") is None
    assert host.store.pending_deletions.all() == []


async def test_a_deletion_that_was_cut_short_is_finished_at_the_next_start(host: Host) -> None:
    kv = ok(await host.api.post(KV, json={"title": "t"}))["id"]
    ok(await host.api.put(f"{KV}/{kv}/values/k", content=b"v"))
    await host.store.kv_namespaces.delete(kv, force=False)  # and the process ends here
    assert await host.services.kv.get_entry(kv, "k") is not None
    await finish_deletions(host.services)
    assert await host.services.kv.get_entry(kv, "k") is None
    assert host.store.pending_deletions.all() == []


async def test_a_disk_that_fails_after_a_deletion_does_not_undo_the_answer(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kv = ok(await host.api.post(KV, json={"title": "t"}))["id"]

    async def fail(namespace_id: str) -> int:
        raise DiskFull("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(host.services.kv, "delete_namespace", fail)
        ok(await host.api.delete(f"{KV}/{kv}"))
    assert "the disk is full" in caplog.text
    assert host.store.pending_deletions.all() == [("kv", kv)]
    other = ok(await host.api.post(KV, json={"title": "t"}))["id"]
    ok(await host.api.delete(f"{KV}/{other}"))
    assert host.store.pending_deletions.all() == []


async def test_queues(host: Host) -> None:
    # wrangler says text/plain
    response = await host.api.post(
        QUEUES, content=b'{"queue_name": "jobs"}', headers={"content-type": "text/plain;charset=UTF-8"}
    )
    made = ok(response)
    assert len(made["queue_id"]) == 32
    assert made["consumers_total_count"] == 0
    ok(await host.api.post(QUEUES, json={"queue_name": "other", "settings": {"delivery_delay": None}}))
    assert [each["queue_name"] for each in ok(await host.api.get(QUEUES))] == ["jobs", "other"]
    assert [each["queue_name"] for each in ok(await host.api.get(f"{QUEUES}?page=1&name=other&name=x"))] == [
        "other"
    ]
    assert ok(await host.api.get(f"{QUEUES}?page=2&name=other")) == []
    path = f"{QUEUES}/{made['queue_id']}"
    assert ok(await host.api.patch(path, json={"queue_name": "tasks"}))["queue_name"] == "tasks"
    ok(await host.api.delete(path))
    refused(await host.api.get(path), 404, 11000)


async def test_messages_are_sent_and_purged(host: Host) -> None:
    queue = ok(await host.api.post(QUEUES, json={"queue_name": "jobs"}))["queue_id"]
    path = f"{QUEUES}/{queue}"
    assert len(ok(await host.api.post(f"{path}/messages", json={"body": {"a": 1}}))["message_ids"]) == 1
    batch = [
        {"body": "text", "content_type": "text"},
        {"body": base64.b64encode(b"\xff").decode(), "content_type": "bytes", "delay_seconds": 5},
    ]
    ok(await host.api.post(f"{path}/messages/batch", json={"messages": batch, "delay_seconds": 1}))
    peeked = await host.queues.peek(queue, 10)
    assert [(message.content_type, message.body) for message in peeked] == [
        ("json", b'{"a":1}'),
        ("text", b"text"),
        ("bytes", b"\xff"),
    ]
    assert ok(await host.api.post(f"{path}/messages/purge"))["removed"] == 3
    ok(await host.api.post(f"{path}/purge", json={"delete_messages_permanently": True}))


async def test_a_queue_shows_the_scripts_that_may_send_to_it(host: Host) -> None:
    await host.namespace()
    queue = ok(await host.api.post(QUEUES, json={"queue_name": "jobs"}))["queue_id"]
    assert ok(await host.api.get(f"{QUEUES}/{queue}"))["producers"] == []
    binding = {"type": "queue", "name": "Q", "queue_name": "jobs"}
    ok(await host.deploy("shop", "prod", bindings=[binding, binding | {"name": "AGAIN"}]))
    ok(await host.deploy("front", bindings=[binding]))
    shown = ok(await host.api.get(f"{QUEUES}/{queue}"))
    assert shown["producers"] == [
        {"type": "worker", "script": "front"},
        {"type": "worker", "script": "shop", "dispatch_namespace": "prod"},
    ]
    assert shown["producers_total_count"] == 2


async def test_a_consumer_is_what_delivery_reads(host: Host) -> None:
    await host.namespace()
    ok(await host.deploy("shop", "prod", module=worker_module("queue")))
    dead = ok(await host.api.post(QUEUES, json={"queue_name": "dead"}))["queue_id"]
    queue = ok(await host.api.post(QUEUES, json={"queue_name": "jobs"}))["queue_id"]
    before = host.sequence.load()
    body = {
        "type": "worker",
        "script_name": "shop",
        "dispatch_namespace": "prod",
        "settings": {"batch_size": 5, "max_wait_time_ms": 0, "max_retries": 100, "retry_delay": None,
                     "max_concurrency": None},
        "dead_letter_queue": "dead",
    }  # fmt: skip
    made = ok(await host.api.post(f"{QUEUES}/{queue}/consumers", json=body))
    assert made["dead_letter_queue"] == "dead"
    ref = ScriptRef(NamespaceName("prod"), ScriptName("shop"))
    assert host.store.queue_consumers() == [
        ConsumerRecord(queue, "jobs", ref, ConsumerSettings(5, 0, 100, 0, dead))
    ]
    assert host.store.changes_since(before)[1] == [("consumer", queue)]
    path = f"{QUEUES}/{queue}/consumers/{made['consumer_id']}"
    ok(await host.api.put(path, json={"script_name": "shop", "dispatch_namespace": "prod"}))
    assert host.store.queue_consumers() == [ConsumerRecord(queue, "jobs", ref, ConsumerSettings())]
    assert ok(await host.api.get(f"{QUEUES}/{queue}"))["consumers_total_count"] == 1
    ok(await host.api.delete(path))
    assert ok(await host.api.get(f"{QUEUES}/{queue}/consumers")) == []
    refused(await host.api.delete(path), 404, 11001)


async def test_a_queue_that_takes_dead_letters_is_deleted_only_by_force(host: Host) -> None:
    ok(await host.deploy("shop", module=worker_module("queue")))
    dead = ok(await host.api.post(QUEUES, json={"queue_name": "dead"}))["queue_id"]
    queue = ok(await host.api.post(QUEUES, json={"queue_name": "jobs"}))["queue_id"]
    ok(
        await host.api.post(
            f"{QUEUES}/{queue}/consumers",
            json={"script_name": "shop", "settings": {"dead_letter_queue": "dead"}},
        )
    )
    assert "'jobs'" in refused(await host.api.delete(f"{QUEUES}/{dead}"), 409, 20007)
    ok(await host.api.delete(f"{QUEUES}/{dead}?force=true"))
    assert host.store.queue_consumers()[0].settings.dead_letter_queue_id is None
    ok(await host.api.delete(f"{QUEUES}/{queue}?force=true"))
    assert host.store.queue_consumers() == []


async def test_logs_of_several_processes_are_shown_in_the_order_of_their_times(host: Host) -> None:
    """Lines come in batches, a process at a time."""
    await host.namespace()
    ok(await host.deploy("shop", "prod"))
    for at_ms, text in ((2, "b"), (4, "d"), (1, "a"), (3, "c")):
        host.logs.lines.append(
            LogLine(at_ms, 1, text, RayId("ray"), NamespaceName("prod"), ScriptName("shop"), "shop")
        )
    shown = ok(await host.api.get(script_path("shop", "prod") + "/logs"))
    assert [line["text"] for line in shown["lines"]] == ["a", "b", "c", "d"]


async def test_logs_come_after_a_cursor_and_are_waited_for(host: Host) -> None:
    await host.namespace()
    ok(await host.deploy("shop", "prod"))
    path = script_path("shop", "prod") + "/logs"

    def line(text: str, tenant: str = "shop") -> LogLine:
        return LogLine(5, 1, text, RayId("ray"), NamespaceName("prod"), ScriptName("shop"), tenant)

    host.logs.lines.append(line("of another tenant, who had this name before", "former"))
    host.logs.lines.append(line("one"))
    shown = ok(await host.api.get(path))
    assert shown == {"lines": [{"at_ms": 5, "level": 1, "text": "one", "ray_id": "ray"}], "cursor": 2}
    assert ok(await host.api.get(f"{path}?after=2&wait_ms=1")) == {"lines": [], "cursor": 2}
    waiting = asyncio.create_task(host.api.get(f"{path}?after=2&wait_ms=30000"))
    await asyncio.sleep(0.01)
    host.logs.lines.append(line("two"))
    host.logs.arrived.set()
    assert [each["text"] for each in ok(await waiting)["lines"]] == ["two"]
    refused(await host.api.get(f"{path}?wait_ms=30001"), 400, 10021, "wait_ms")
    refused(await host.api.get(script_path("none", "prod") + "/logs"), 404, 10092)
