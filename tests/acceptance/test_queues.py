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
from javascript.engine.artifact import BUILT
from sample_workers.build import build
from tests.acceptance.platform import Platform, wait_until
from tests.support.postgres import PASSWORD

HERE = Path(__file__).parent
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


def info(platform: Platform, queue: str = "mails") -> Any:
    return json.loads(platform.run("queues", "info", queue, "--json"))


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


HALF_DONE_JS = """export default { queue(batch) {
  for (const message of batch.messages) if (message.body === "done") message.ack();
  throw new Error("the rest comes again");
} };"""


def test_what_a_consumer_acknowledged_before_it_failed_does_not_come_again(
    platform: Platform, tmp_path: Path
) -> None:
    build(HERE / "half_done.c", tmp_path / "half-wasm.wasm")
    assert used_up_by(platform, tmp_path / "half-wasm.wasm") == ["other"]
    if BUILT.exists():
        (tmp_path / "half-js.js").write_text(HALF_DONE_JS)
        assert used_up_by(platform, tmp_path / "half-js.js") == ["other"]


def used_up_by(platform: Platform, worker: Path) -> list[object]:
    """What a consumer without retries leaves of a batch of "done" and "other"."""
    name, dead = worker.stem, f"{worker.stem}-dead"
    platform.run("deploy", str(worker), "--name", name, "--namespace", "tests")
    platform.run("queues", "create", name)
    platform.run("queues", "create", dead)
    platform.run("queues", "pause", name)  # so that both go in one batch
    for body in ("done", "other"):
        platform.run("queues", "send", name, json.dumps(body))
    platform.run(
        *("queues", "consumer", "add", name, "--namespace", "tests", "--script", name),
        *("--max-wait-ms", "0", "--max-retries", "0", "--dead-letter-queue", dead),
    )
    platform.run("queues", "resume", name)
    wait_until(lambda: info(platform, name)["metrics"]["backlog_count"] == 0, 60)
    return [json.loads(body) for body in bodies(json.loads(platform.run("queues", "peek", dead, "--json")))]


def bodies(messages: list[Any]) -> list[str]:
    return [base64.b64decode(each["body"]).decode() for each in messages]
