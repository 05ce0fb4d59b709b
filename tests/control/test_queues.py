"""Queues by the API: settings that hold for every consumer, consumers that pull over HTTP, and a look into a queue."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from model.capabilities import QueueMessage
from storage.queue_protocol import Settled
from tests.control.support import QUEUES, Host, ok, refused, script_path, worker_module


async def make(host: Host, name: str = "jobs", **settings: Any) -> str:
    """The address of a new queue."""
    body: dict[str, Any] = {"queue_name": name}
    if settings:
        body["settings"] = settings
    return f"{QUEUES}/{ok(await host.api.post(QUEUES, json=body))['queue_id']}"


async def make_pulled(host: Host, name: str = "jobs", **consumer: Any) -> str:
    path = await make(host, name)
    ok(await host.api.post(f"{path}/consumers", json={"type": "http_pull", **consumer}))
    return path


async def pull(host: Host, path: str, **wanted: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = ok(await host.api.post(f"{path}/messages/pull", json=wanted))["messages"]
    return messages


async def ack(host: Host, path: str, **verdict: Any) -> dict[str, Any]:
    answer: dict[str, Any] = ok(await host.api.post(f"{path}/messages/ack", json=verdict))
    return answer


NOTHING_SET = {"delivery_delay": 0, "delivery_paused": False, "message_retention_period": 345_600}


async def test_settings_are_changed_one_by_one_and_replaced_as_a_whole(host: Host) -> None:
    path = await make(host, delivery_delay=5)
    assert ok(await host.api.get(path))["settings"] == NOTHING_SET | {"delivery_delay": 5}
    # As wrangler's `queues pause-delivery` asks.
    paused = {"queue_name": "jobs", "settings": {"delivery_paused": True}}
    assert ok(await host.api.patch(path, json=paused))["settings"] == NOTHING_SET | {
        "delivery_delay": 5,
        "delivery_paused": True,
    }
    assert ok(await host.api.get(QUEUES))[0]["settings"]["delivery_paused"] is True
    ok(await host.api.patch(path, json={"settings": {"message_retention_period": 60}}))
    assert ok(await host.api.get(path))["settings"]["message_retention_period"] == 60
    renamed = ok(await host.api.patch(path, json={"queue_name": "tasks"}))
    assert (renamed["queue_name"], renamed["settings"]["delivery_delay"]) == ("tasks", 5)
    replaced = ok(await host.api.put(path, json={"queue_name": "tasks", "settings": {"delivery_delay": 1}}))
    assert replaced["settings"] == NOTHING_SET | {"delivery_delay": 1}


async def test_refused_change_changes_no_setting(host: Host) -> None:
    path = await make(host)
    await make(host, "taken")
    wanted = {"queue_name": "taken", "settings": {"delivery_paused": True}}
    refused(await host.api.patch(path, json=wanted), 409, 11009, "queue_name")
    assert ok(await host.api.get(path))["settings"] == NOTHING_SET


async def test_settings_go_with_their_queue(host: Host) -> None:
    path = await make(host, delivery_paused=True)
    ok(await host.api.delete(path))
    assert (await host.queues.totals()).paused == 0


async def test_pulled_messages_are_as_cloudflare_shows_them(host: Host) -> None:
    path = await make_pulled(host)
    sent = [
        {"body": {"a": "ä"}},
        {"body": "text ä", "content_type": "text"},
        {"body": base64.b64encode(b"\xff\x00").decode(), "content_type": "bytes"},
    ]
    ok(await host.api.post(f"{path}/messages/batch", json={"messages": sent}))
    answer = ok(await host.api.post(f"{path}/messages/pull", json={"batch_size": 10}))
    assert answer["message_backlog_count"] == 3
    shown = [(each["metadata"]["CF-Content-Type"], each["body"]) for each in answer["messages"]]
    assert shown == [
        ("json", base64.b64encode('{"a":"ä"}'.encode()).decode()),
        ("text", "text ä"),
        ("bytes", base64.b64encode(b"\xff\x00").decode()),
    ]
    assert {each["attempts"] for each in answer["messages"]} == {1}
    assert all(
        each["timestamp_ms"] > 1_600_000_000_000 and len(each["id"]) == 32 for each in answer["messages"]
    )
    assert await pull(host, path) == []  # short polling: an answer at once


async def test_a_pull_without_a_body_takes_what_the_consumer_says(host: Host) -> None:
    path = await make_pulled(host, settings={"batch_size": 2, "visibility_timeout_ms": 43_200_000})
    for number in range(4):
        ok(await host.api.post(f"{path}/messages", json={"body": number}))
    assert len(ok(await host.api.post(f"{path}/messages/pull"))["messages"]) == 2
    assert (
        len(await pull(host, path, visibility_timeout=1000, batch_size=1)) == 1
    )  # as an older SDK spells it
    assert len(await pull(host, path)) == 1


async def test_pulled_messages_are_acknowledged_and_retried(host: Host) -> None:
    told: list[Settled] = []
    host.services.queue_settled = told.append
    await make(host, "dead")
    path = await make_pulled(host, settings={"max_retries": 1}, dead_letter_queue="dead")
    for number in range(3):
        ok(await host.api.post(f"{path}/messages", json={"body": number}))
    done, later, again = [each["lease_id"] for each in await pull(host, path)]
    verdict = {
        "acks": [{"lease_id": done}],
        "retries": [{"lease_id": later, "delay_seconds": 60}, {"lease_id": again}],
    }
    assert await ack(host, path, **verdict) == {"ackCount": 1, "retryCount": 2, "warnings": []}
    (retried,) = await pull(host, path)
    assert retried["attempts"] == 2
    assert (await ack(host, path, retries=[{"lease_id": retried["lease_id"]}]))["retryCount"] == 1
    assert told == [Settled(acknowledged=1, retried=2), Settled(dead_lettered=1)]
    dead = next(each for each in ok(await host.api.get(QUEUES)) if each["queue_name"] == "dead")
    assert (await host.queues.stored(dead["queue_id"]))[0] == 1
    assert ok(await host.api.get(f"{path}/metrics"))["backlog_count"] == 1


async def test_a_lease_of_another_queue_or_made_up_does_nothing_and_is_told(host: Host) -> None:
    mine, other = await make_pulled(host), await make_pulled(host, "other")
    for path in (mine, other):
        ok(await host.api.post(f"{path}/messages", json={"body": 1}))
    (leased,) = await pull(host, mine)
    wrong = [leased["lease_id"], "0" * 32, "x\n" * 500, leased["id"]]
    answer = await ack(host, other, acks=[{"lease_id": each} for each in wrong])
    assert answer["ackCount"] == 0
    assert len(answer["warnings"]) == len(wrong)
    assert all(len(each) < 300 and "\n" not in each for each in answer["warnings"])
    assert (await ack(host, mine, acks=[{"lease_id": leased["lease_id"]}]))["ackCount"] == 1
    answer = await ack(host, mine, acks=[{"lease_id": leased["lease_id"]}])
    assert answer["ackCount"] == 0
    assert leased["lease_id"] in answer["warnings"][0]


async def test_a_late_acknowledgement_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await make_pulled(host)
    ok(await host.api.post(f"{path}/messages", json={"body": 1}))
    (leased,) = await pull(host, path, visibility_timeout_ms=1000)
    now = host.queues.now_ms
    monkeypatch.setattr(host.queues, "_now_ms", lambda: now + 5_000)
    answer = await ack(host, path, acks=[{"lease_id": leased["lease_id"]}])
    assert answer["ackCount"] == 1
    assert "had ended" in answer["warnings"][0]


async def test_paused_queue_gives_nothing_to_who_pulls(host: Host) -> None:
    path = await make_pulled(host)
    ok(await host.api.patch(path, json={"settings": {"delivery_paused": True}}))
    ok(await host.api.post(f"{path}/messages", json={"body": 1}))
    answer = ok(await host.api.post(f"{path}/messages/pull", json={}))
    assert (answer["messages"], answer["message_backlog_count"]) == ([], 1)
    ok(await host.api.patch(path, json={"settings": {"delivery_paused": False}}))
    assert len(await pull(host, path)) == 1


async def test_a_queue_has_one_consumer_whatever_its_type(host: Host) -> None:
    await host.namespace()
    ok(await host.deploy("shop", "prod", module=worker_module("queue")))
    worker = {"script_name": "shop", "dispatch_namespace": "prod"}
    path = await make(host)
    refused(await host.api.post(f"{path}/messages/pull", json={}), 400, 20009)
    made = ok(await host.api.post(f"{path}/consumers", json={"type": "http_pull"}))
    assert made["settings"] == {
        "batch_size": 5,
        "max_retries": 3,
        "retry_delay": 0,
        "visibility_timeout_ms": 30_000,
    }
    refused(await host.api.post(f"{path}/consumers", json=worker), 409, 11004)
    refused(await host.api.post(f"{path}/consumers", json={"type": "http_pull"}), 409, 11004)
    consumer = f"{path}/consumers/{made['consumer_id']}"
    assert ok(await host.api.get(consumer)) == made
    assert host.store.queue_consumers() == []  # no worker is given anything
    changed = ok(await host.api.put(consumer, json=worker | {"settings": {"max_concurrency": 7}}))
    assert (changed["type"], changed["settings"]["max_concurrency"]) == ("worker", 7)
    (record,) = host.store.queue_consumers()
    assert record.settings.max_concurrency == 7
    refused(await host.api.post(f"{path}/messages/pull", json={}), 400, 20009)
    assert ok(await host.api.put(consumer, json={"type": "http_pull"}))["type"] == "http_pull"
    message = refused(await host.api.delete(path), 409, 20007)
    assert "one that pulls" in message
    ok(await host.api.delete(consumer))
    refused(await host.api.get(consumer), 404, 11001)
    ok(await host.api.delete(path))


async def test_peeked_messages_can_be_removed(host: Host) -> None:
    path = await make(host)
    assert ok(await host.api.get(f"{path}/metrics")) == {
        "backlog_count": 0,
        "backlog_bytes": 0,
        "oldest_message_timestamp_ms": 0,
    }
    queue_id = path.rpartition("/")[2]
    await host.queues.send(queue_id, [QueueMessage(body, "text", 3600) for body in (b"a", b"b", b"c")])
    first, second, _ = ok(await host.api.post(f"{path}/messages/peek"))["messages"]
    assert (first["body"], first["attempts"]) == ("a", 0)
    assert len(ok(await host.api.post(f"{path}/messages/peek", json={"batch_size": 1}))["messages"]) == 1
    refs = [{"ref": second["ref"]}, {"ref": "none"}]
    answer = ok(await host.api.post(f"{path}/messages/purge", json={"refs": refs}))
    assert (answer["removed"], list(answer["warnings"])) == (1, ["none"])
    shown = ok(await host.api.get(f"{path}/metrics"))
    assert (shown["backlog_count"], shown["backlog_bytes"]) == (2, 2)
    assert shown["oldest_message_timestamp_ms"] == first["timestamp_ms"]


async def test_a_binding_has_a_delay_of_its_own(host: Host) -> None:
    await make(host)
    binding = {"type": "queue", "name": "Q", "queue_name": "jobs", "delivery_delay": 30}
    ok(await host.deploy("shop", bindings=[binding, {"type": "queue", "name": "R", "queue_name": "jobs"}]))
    shown = ok(await host.api.get(f"{script_path('shop')}/settings"))["bindings"]
    assert {each["name"]: each.get("delivery_delay") for each in shown} == {"Q": 30, "R": None}
