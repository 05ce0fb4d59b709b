"""A host's queues, on both engines: paused, nothing is delivered and nothing is lost, whoever dies; what is pulled over
HTTP stays pulled when the process that gave it has died.
"""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.upstream import start_api, start_dns
from tests.acceptance.platform import Platform, wait_until
from tests.support.postgres import PASSWORD

QUEUES = "/client/v4/accounts/default/queues"


@pytest.fixture(params=["sqlite", "postgres"])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    made = Platform(tmp_path, start_dns(), start_api())
    settings: tuple[str, ...] = ()
    if request.param == "postgres":
        password = tmp_path / "password"
        password.write_text(PASSWORD + "\n")
        password.chmod(0o600)
        address = request.getfixturevalue("database_address")
        settings = ("--database", str(address), "--database-password-file", str(password))
    try:
        made.start(*settings)
        yield made
    finally:
        made.stop()


def call(platform: Platform, method: str, path: str, body: object = None) -> Any:
    status, envelope = platform.api(method, path, body)
    assert status == 200, envelope
    return envelope["result"]


def send(platform: Platform, count: int) -> set[str]:
    for number in range(count):
        assert platform.request("sender.localhost", method="POST", body=b"m%d" % number).status == 202
    return {f"m{number}" for number in range(count)}


def info(platform: Platform) -> Any:
    return json.loads(platform.run("queues", "info", "mails", "--json"))


def test_paused_queue_keeps_what_is_sent_while_processes_die(platform: Platform) -> None:
    platform.deploy("queue_producer", "sender", "--queue", "QUEUE=mails")
    platform.deploy("queue_consumer", "taker", "--kv", "SEEN=seen")
    platform.run(
        *("queues", "consumer", "add", "mails", "--namespace", "tests", "--script", "taker"),
        *("--batch-size", "2", "--max-wait-ms", "0", "--max-concurrency", "3"),
    )

    def seen() -> int:
        return len(json.loads(platform.run("kv", "list", "seen", "--json")))

    platform.run("queues", "pause", "mails")
    send(platform, 30)
    for pid in platform.workers():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(platform.workers()) == platform.process_count, 60)
    # As of a look that control takes every few seconds.
    wait_until(lambda: platform.metrics().get("tenantry_queue_backlog_messages") == 30, 60)
    assert platform.metrics()["tenantry_queues_paused"] == 1
    assert seen() == 0
    shown = info(platform)
    assert shown["settings"]["delivery_paused"] is True
    assert shown["metrics"]["backlog_count"] == 30
    assert shown["consumers"][0]["settings"]["max_concurrency"] == 3

    platform.run("queues", "resume", "mails")
    wait_until(lambda: info(platform)["metrics"]["backlog_count"] == 0, 60)
    assert seen() == 30 + 1  # one key a message, and `latest`
    wait_until(
        lambda: platform.metrics().get('tenantry_queue_messages_total{result="acknowledged"}') == 30, 60
    )
    wait_until(lambda: platform.metrics().get("tenantry_queues_paused") == 0, 60)


def test_what_is_pulled_is_kept_for_who_has_it_when_the_process_that_gave_it_dies(platform: Platform) -> None:
    platform.deploy("queue_producer", "sender", "--queue", "QUEUE=mails")
    platform.run("queues", "create", "dead")
    platform.run(
        *("queues", "consumer", "add", "mails", "--pull", "--max-retries", "1"),
        *("--dead-letter-queue", "dead", "--visibility-timeout-ms", "600000"),
    )
    path = f"{QUEUES}/{info(platform)['queue_id']}/messages"
    sent = send(platform, 4)
    first = call(platform, "POST", f"{path}/pull", {"batch_size": 3})["messages"]
    (control,) = platform.controls()
    os.kill(control, signal.SIGKILL)

    second: list[Any] = []

    def has_pulled() -> bool:
        try:
            status, envelope = platform.api("POST", f"{path}/pull", {"batch_size": 3})
        except OSError:  # the next process does not listen yet
            return False
        second.extend(envelope["result"]["messages"] if status == 200 else ())
        return bool(second)

    wait_until(has_pulled, 60)
    assert sorted(bodies(first) + bodies(second)) == sorted(sent)  # none of them twice
    done, other, retried = [each["lease_id"] for each in first]
    verdict = {"acks": [{"lease_id": done}, {"lease_id": other}], "retries": [{"lease_id": retried}]}
    assert call(platform, "POST", f"{path}/ack", verdict) == {"ackCount": 2, "retryCount": 1, "warnings": []}
    (again,) = call(platform, "POST", f"{path}/pull", {"visibility_timeout_ms": 1})["messages"]
    assert (again["attempts"], bodies([again])) == (2, bodies(first[2:]))

    # Its lease is over, and it was delivered as often as it may be: the next pull takes it away.
    def is_dead() -> bool:
        assert call(platform, "POST", f"{path}/pull", {})["messages"] == []
        return len(json.loads(platform.run("queues", "peek", "dead", "--json"))) == 1

    wait_until(is_dead)
    answer = call(platform, "POST", f"{path}/ack", {"acks": [{"lease_id": again["lease_id"]}]})
    assert answer["ackCount"] == 0
    assert again["lease_id"] in answer["warnings"][0]
    assert info(platform)["metrics"]["backlog_count"] == 1


def bodies(messages: list[Any]) -> list[str]:
    return [base64.b64decode(each["body"]).decode() for each in messages]
