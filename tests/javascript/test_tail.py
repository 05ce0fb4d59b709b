"""The `tail` handler in JavaScript: what became of other workers' events, as the host tells it."""

from __future__ import annotations

import json

import pytest

from tests.javascript.harness import tenant

TRACE = {
    "scriptName": "shop",
    "outcome": "exception",
    "event": None,
    "logs": [{"timestamp": 1, "level": "log", "message": ["x"]}],
}


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (
            "export default { async tail(events, env, ctx) { ctx.waitUntil(scheduler.wait(1)); say(events, env.A); } };",
            "esm",
        ),
        (
            "import { WorkerEntrypoint } from 'cloudflare:workers';"
            "export default class extends WorkerEntrypoint { tail(events) { say(events, this.env.A); } }",
            "esm",
        ),
        (
            "addEventListener('tail', (event) => { event.waitUntil(scheduler.wait(1)); say(event.events, 1); });",
            "script",
        ),
    ],
    ids=["object", "class", "service worker"],
)
async def test_a_handler_is_given_the_traces(source: str, kind: str) -> None:
    say = "const say = (events, a) => console.log(JSON.stringify([events, typeof a]));"
    worker = tenant(source + say, kind=kind)
    assert worker.loaded["handlers"] == ["tail"]
    answer = await worker.background("tail", {"traces": [TRACE, TRACE]})
    assert answer.error is None
    events, _ = json.loads(answer.lines[0])
    assert events == [TRACE, TRACE]


async def test_what_it_throws_is_its_own() -> None:
    answer = await tenant("export default { tail() { throw new Error('mine'); } };").background(
        "tail", {"traces": []}
    )
    assert answer.error == "exception: Error: mine"
