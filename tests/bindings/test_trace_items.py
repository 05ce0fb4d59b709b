"""A trace is told as Cloudflare's TraceItem: its lines as logs, what nobody caught as exceptions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bindings.trace_items import item_of, weight_of
from model.outcome import EventOutcome
from tests.bindings.traces import trace


def test_an_item_has_what_is_known_of_the_event() -> None:
    event = {"queue": "q", "batchSize": 2}
    item = item_of(trace((1, "asked"), (3, "careful"), event=event, is_cut=True))
    assert item == {
        "scriptName": "shop",
        "dispatchNamespace": "prod",
        "scriptTags": ["tenant:acme"],
        "scriptVersion": {"id": item_of(trace())["scriptVersion"]["id"]},  # type: ignore[index]
        "outcome": "ok",
        "event": event,
        "eventTimestamp": 1_000,
        "cpuTime": 2,
        "wallTime": 7,
        "logs": [
            {"timestamp": 1_000, "level": "log", "message": ["asked"]},
            {"timestamp": 1_001, "level": "warn", "message": ["careful"]},
        ],
        "exceptions": [],
        "diagnosticsChannelEvents": [],
        "truncated": True,
        "executionModel": "stateless",
    }


@pytest.mark.parametrize(
    ("text", "name", "message", "stack"),
    [
        (
            "Uncaught TypeError: no: really\n    at f (a.js:1:2)",
            "TypeError",
            "no: really",
            "TypeError: no: really\n    at f (a.js:1:2)",
        ),
        ("Uncaught (in promise) RangeError: far", "RangeError", "far", None),
        ("Uncaught (in add) Error", "Error", "", None),
        ("Uncaught RangeError", "RangeError", "", None),
        ("Uncaught a string: that was thrown", "Error", "a string: that was thrown", None),
        ("Uncaught ", "Error", "", None),
        ("panicked at main.rs", "Error", "panicked at main.rs", None),  # of a worker in wasm
    ],
)
def test_what_nobody_caught_is_an_exception(text: str, name: str, message: str, stack: str | None) -> None:
    item = item_of(trace((5, text)))
    wanted = {"timestamp": 1_000, "name": name, "message": message}
    assert item["exceptions"] == [wanted if stack is None else {**wanted, "stack": stack}]
    assert item["logs"] == []


@pytest.mark.parametrize(
    ("outcome", "error", "lines", "exceptions"),
    [
        (EventOutcome.EXCEEDED_CPU, "over 50 ms", (), [("Error", "over 50 ms")]),
        (EventOutcome.EXCEPTION, "trap", (), [("Error", "trap")]),
        (
            EventOutcome.EXCEPTION,
            "exception: Error: x",
            ((5, "Uncaught Error: x"),),
            [("Error", "x")],
        ),  # once
        (EventOutcome.CANCELED, "left", (), []),
        (EventOutcome.OK, "", (), []),
    ],
)
def test_an_event_that_ended_badly_has_an_exception(
    outcome: EventOutcome, error: str, lines: tuple[tuple[int, str], ...], exceptions: list[tuple[str, str]]
) -> None:
    item = item_of(trace(*lines, outcome=outcome, error=error))
    assert item["outcome"] == outcome.value
    told = item["exceptions"]
    assert isinstance(told, list)
    assert [(each["name"], each["message"]) for each in told] == exceptions


@given(st.lists(st.tuples(st.integers(0, 5), st.text(max_size=60)), max_size=5))
def test_whatever_a_worker_says_is_an_item(lines: list[tuple[int, str]]) -> None:
    one = trace(*lines)
    item = item_of(one)
    assert len(item["logs"]) + len(item["exceptions"]) == len(lines)  # type: ignore[arg-type]
    assert weight_of(one) >= sum(len(text.encode("utf-8", "surrogatepass")) for _, text in lines)


@pytest.mark.parametrize("text", ["a" * 300, "é" * 150, "語" * 100, "\U0001f600" * 75])
def test_what_a_trace_weighs_is_bytes_whatever_they_spell(text: str) -> None:
    empty = weight_of(trace((1, "")))
    assert weight_of(trace((1, text))) - empty == 300
    assert weight_of(trace(error=text)) - weight_of(trace()) == 300
