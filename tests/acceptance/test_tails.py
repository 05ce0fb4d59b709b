"""Tail consumers: what became of a script's events reaches the worker that it names, whatever way they ended, and tails
do not tail each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cli.client import Part
from tests.acceptance.platform import Platform, wait_until
from tests.acceptance.test_javascript import ESM, upload
from tests.support.javascript_engine import built_engine

built_engine()

#: (script, source, metadata): it is deployed on SCRIPT.localhost, as tenant acme's.
Put = Callable[..., None]

#: Says what it is told in its own log.
TAIL = """
    export default { async tail(events, env, ctx) {
        for (const event of events) console.log(JSON.stringify(event));
    } };
"""


@pytest.fixture
def put(platform: Platform) -> Put:
    namespaces = "/client/v4/accounts/default/workers/dispatch/namespaces"
    platform.api("POST", namespaces, {"name": "tests"})  # refused where it is there
    routed: set[str] = set()

    def put_script(script: str, source: str, **metadata: object) -> None:
        part = Part("index.js", source.encode(), ESM, "index.js")
        _, told = upload(platform, script, part, main_module="index.js", tenant="acme", **metadata)
        assert told["success"], told
        if script not in routed:
            routed.add(script)
            platform.run("routes", "add", f"{script}.localhost", "--namespace", "tests", "--script", script)

    return put_script


def items(platform: Platform, tail: str) -> list[dict[str, Any]]:
    """What the tail worker was told, in the order of the events' times."""
    path = f"/client/v4/accounts/default/workers/dispatch/namespaces/tests/scripts/{tail}/logs"
    lines = platform.api("GET", path)[1]["result"]["lines"]
    told = [json.loads(line["text"]) for line in lines if line["text"].startswith("{")]
    return sorted(told, key=lambda item: int(item["eventTimestamp"]))


def test_the_consumer_is_told_of_each_event_with_its_logs_and_exceptions(
    platform: Platform, put: Put
) -> None:
    put("tail-told", TAIL)
    source = """
        export default { async fetch(request, env, ctx) {
            console.warn('asked for', new URL(request.url).pathname);
            if (request.url.endsWith('/throws')) throw new TypeError('no: really');
            if (request.url.endsWith('/spins')) for (;;);
            return new Response('fine', { status: 201 });
        } };"""
    put("tail-shop", source, tail_consumers=[{"service": "tail-told"}])
    for path in ("/fine", "/throws", "/spins"):
        platform.request("tail-shop.localhost", path, headers={"authorization": "Bearer x", "x-seen": "1"})
    wait_until(lambda: len(items(platform, "tail-told")) >= 3)
    fine, throws, spins = items(platform, "tail-told")
    assert (fine["scriptName"], fine["dispatchNamespace"], fine["outcome"]) == ("tail-shop", "tests", "ok")
    request = fine["event"]["request"]
    assert (request["method"], request["url"].endswith("/fine")) == ("GET", True)
    assert (request["headers"]["authorization"], request["headers"]["x-seen"]) == ("REDACTED", "1")
    assert fine["event"]["response"] == {"status": 201}
    assert [(line["level"], line["message"]) for line in fine["logs"]] == [("warn", ["asked for /fine"])]
    assert fine["exceptions"] == []
    assert throws["outcome"] == "exception"
    (exception,) = throws["exceptions"]
    assert (exception["name"], exception["message"]) == ("TypeError", "no: really")
    assert "at fetch (index.js:4:" in exception["stack"]
    assert spins["outcome"] == "exceededCpu"
    assert spins["cpuTime"] >= 50
    assert spins["exceptions"][0]["name"] == "Error"


def test_tails_are_not_tailed(platform: Platform, put: Put) -> None:
    """A tail worker that names itself, calls a script that names it, and fails: each would go on for ever."""
    put("tail-loop", TAIL)
    answers = "export default { fetch() { return new Response('called'); } };"
    put("tail-called", answers, tail_consumers=[{"service": "tail-loop"}])
    loop = """
        export default {
            async tail(events, env) {
                for (const event of events) console.log(JSON.stringify(event));
                console.log('said ' + await (await env.CALLED.fetch('https://a/')).text());
                throw new Error('on purpose');
            },
        };"""
    called = {"type": "service", "name": "CALLED", "service": "tail-called"}
    put("tail-loop", loop, bindings=[called], tail_consumers=[{"service": "tail-loop"}])
    assert platform.request("tail-called.localhost").body == "called"

    def said() -> list[str]:
        path = "/client/v4/accounts/default/workers/dispatch/namespaces/tests/scripts/tail-loop/logs"
        return [line["text"] for line in platform.api("GET", path)[1]["result"]["lines"]]

    wait_until(lambda: any("on purpose" in text for text in said()))
    # Whatever was to come of that one would be told with the next one, which is later than it.
    platform.request("tail-called.localhost", "/again")
    wait_until(lambda: sum(text == "said called" for text in said()) == 2)
    assert [item["event"]["request"]["url"][-6:] for item in items(platform, "tail-loop")] == [
        "lhost/",
        "/again",
    ]
    assert {item["scriptName"] for item in items(platform, "tail-loop")} == {"tail-called"}


def test_traces_are_counted_by_what_became_of_them(platform: Platform, put: Put) -> None:
    put("tail-fails", "export default { tail() { throw new Error('on purpose'); } };")
    source = "export default { fetch() { return new Response('fine'); } };"
    put("tail-counted", source, tail_consumers=[{"service": "tail-fails"}])
    failed = 'tenantry_traces_total{result="failed"}'
    before = platform.metrics().get(failed, 0)
    assert platform.request("tail-counted.localhost").body == "fine"
    wait_until(lambda: platform.metrics().get(failed, 0) > before)
