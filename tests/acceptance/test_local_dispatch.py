"""A worker that fetches a hostname of this very host gets the worker that answers for it, as any visitor would; and
workers that fetch each other in a circle are stopped.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from tests.acceptance.platform import SAMPLES, Platform, wait_until

#: What the platform's DNS server says of it is 127.0.0.1, where the platform itself listens.
HOSTNAME = "api.demo.example"


def test_a_worker_fetches_another_tenants_hostname_through_dispatch(
    platform: Platform, tmp_path: Path
) -> None:
    platform.deploy("fetch_proxy", "asker", "--tenant", "one", namespace="local")
    here = f"http://{HOSTNAME}:{platform.http_port}"
    asking = f"/?url={quote(f'{here}/greet', safe='')}"
    answer = platform.request("asker.localhost", asking)
    assert answer.status == 403, "no policy, no way out: not even to this host"
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"version: 1\nrules: [{{name: here, action: allow, host: {HOSTNAME}}}]\n")
    platform.run("policy", "set", "local", str(policy))
    answer = platform.request("asker.localhost", asking)
    assert answer.status == 403
    assert "self_connection" in answer.body, (
        "no worker answers for the name, and nobody else may be reached there"
    )

    wasm = str(SAMPLES / "hello" / "hello.wasm")
    where = ("--namespace", "others", "--tenant", "two", "--hostname", HOSTNAME)
    platform.run("deploy", wasm, "--name", "answerer", *where)
    answer = platform.request("asker.localhost", asking)
    assert (answer.status, "Hello from C" in answer.body) == (200, True)

    # What is meant for the API is no worker's to read, whatever name it goes by.
    api = f"http://{HOSTNAME}:{platform.control_port}/client/v4/user/tokens/verify"
    answer = platform.request("asker.localhost", f"/?url={quote(api, safe='')}")
    assert answer.status == 403
    assert "self_connection" in answer.body

    def decisions() -> list[dict[str, object]]:
        lines = [
            json.loads(line) for line in platform.log().splitlines() if HOSTNAME in line and "egress" in line
        ]
        return [line for line in lines if line.get("status") and line.get("path") == "/greet"]

    wait_until(lambda: bool(decisions()))
    (decision,) = decisions()
    assert (decision["tenant"], decision["rule"], decision["status"]) == ("one", "here", 200)


def test_workers_that_fetch_each_other_in_a_circle_are_stopped(platform: Platform, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"version: 1\nrules: [{{name: here, action: allow, host: {HOSTNAME}}}]\n")
    platform.deploy("fetch_proxy", "circle", namespace="local")
    platform.run("routes", "add", HOSTNAME, "--path", "/circle", "--namespace", "local", "--script", "circle")
    platform.run("policy", "set", "local", str(policy))
    url = f"http://{HOSTNAME}:{platform.http_port}/circle"
    for _ in range(12):
        url = f"http://{HOSTNAME}:{platform.http_port}/circle?url={quote(url, safe='')}"
    answer = platform.request(HOSTNAME, "/circle?url=" + quote(url, safe=""))
    assert answer.status == 403
    assert "request.loop" in answer.body
