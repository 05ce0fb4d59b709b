"""What was said of single messages before a queue handler threw holds; of all others nothing is said."""

from __future__ import annotations

from typing import Any

import pytest

from tests.javascript.harness import Answer, tenant

MESSAGES: list[dict[str, Any]] = [
    {"id": f"m{n}", "timestamp_ms": 0, "attempts": 1, "body": n, "content_type": "json"} for n in range(4)
]
SAID = "batch.messages[0].ack(); batch.messages[1].retry({ delaySeconds: 30 }); batch.messages[2].retry();"


async def deliver(body: str) -> Answer:
    source = f"export default {{ async queue(batch, env, ctx) {{ {body} }} }};"
    return await tenant(source).background("queue", {"queue": "q", "messages": MESSAGES})


@pytest.mark.parametrize(
    ("said", "ack", "retry"),
    [
        ("", [], []),
        (SAID, ["m0"], [["m1", 30], "m2"]),
        ("batch.ackAll();", ["m0", "m1", "m2", "m3"], []),
        ("batch.messages[3].retry(); batch.ackAll();", ["m0", "m1", "m2"], ["m3"]),
        (
            "batch.messages[3].ack(); batch.retryAll({ delaySeconds: 5 });",
            ["m3"],
            [[f"m{n}", 5] for n in range(3)],
        ),
    ],
)
@pytest.mark.parametrize("waits", ["", "await scheduler.wait(1);"])
async def test_what_was_said_before_a_throw_holds(
    said: str, ack: list[str], retry: list[Any], waits: str
) -> None:
    answer = await deliver(f"{said} {waits} throw new Error('no');")
    assert answer.error == "exception: Error: no"
    assert answer.value == {
        "error": {"code": "exception", "message": "Error: no"},
        "ack": ack,
        "retry": retry,
    }
    assert [line.split("\n")[0] for line in answer.lines] == ["Uncaught Error: no"]


async def test_what_is_said_once_the_handler_has_thrown_counts_for_nothing() -> None:
    answer = await deliver("setTimeout(() => batch.ackAll(), 1); throw new Error('no');")
    assert answer.value == {"error": {"code": "exception", "message": "Error: no"}, "ack": [], "retry": []}
