"""A normal return acknowledges all that was not asked to be retried; a failure retries the whole batch; and
what a guest returns is a verdict or a named error.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bindings.delivery_verdict import FAILED, BatchVerdict, QueueBatch, parse_verdict, retries_of, verdict_of
from model.errors import LoadShed, OperationError, OperationErrorCode
from model.outcome import EventOutcome
from storage.queue_protocol import StoredMessage

IDS = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("returned", "retried"),
    [
        (None, {}),
        ({}, {}),
        ({"ack": ["a"]}, {}),
        ({"retry": [["a", 5]]}, {"a": 5}),
        ({"retry": [["a", 0], ["b"], "c"]}, {"a": 0, "b": 30, "c": 30}),
        ({"retry": [["a", None]]}, {"a": 30}),
        ({"ack": ["a", "b"], "retry": [["b", 1]]}, {"b": 1}),  # in both: once too often
        ({"retry": [["unknown", 1]]}, {}),
        ({"ack": None, "retry": None, "more": 1}, {}),
        ({"error": {"code": "c", "message": "m"}}, {"a": 30, "b": 30, "c": 30}),
        ({"error": None, "ack": ["a"], "retry": [["b", 2]]}, {"b": 2, "c": 30}),
        ({"error": "no", "ack": ["a"], "retry": [["a", 1]]}, {"a": 1, "b": 30, "c": 30}),
    ],
)
def test_what_a_return_means(returned: object, retried: dict[str, int]) -> None:
    assert retries_of(IDS, parse_verdict(returned), 30) == retried


@pytest.mark.parametrize(
    ("verdict", "retried"),
    [
        (FAILED, {"a": 30, "b": 30, "c": 30}),
        (BatchVerdict(failed=True, acknowledged=frozenset("a"), retry={"b": 2}), {"b": 2, "c": 30}),
    ],
)
def test_failure_retries_all_but_the_acknowledged(verdict: BatchVerdict, retried: dict[str, int]) -> None:
    assert retries_of(IDS, verdict, 30) == retried


@pytest.mark.parametrize(
    ("outcome", "answer", "retried"),
    [
        (EventOutcome.OK, None, []),
        (EventOutcome.OK, {"retry": ["a"]}, ["a"]),
        (EventOutcome.EXCEPTION, None, IDS),  # a trap
        (EventOutcome.EXCEEDED_CPU, None, IDS),
        (EventOutcome.EXCEPTION, {"error": {}, "ack": ["a"]}, ["b", "c"]),
        (EventOutcome.EXCEEDED_MEMORY, {"error": {}, "ack": ["a"]}, ["b", "c"]),
    ],
)
def test_verdict_is_of_the_event_s_end_and_of_what_its_guest_said(
    outcome: EventOutcome, answer: object, retried: list[str]
) -> None:
    assert list(retries_of(IDS, verdict_of(outcome, "why", answer), 30)) == retried


def test_event_that_found_no_sandbox_has_no_verdict() -> None:
    with pytest.raises(LoadShed, match="no sandbox"):
        verdict_of(EventOutcome.LOAD_SHED, "no sandbox was free", None)


@pytest.mark.parametrize(
    "returned",
    [
        1,
        [],
        "ok",
        {"ack": "a"},
        {"ack": [1]},
        {"ack": ["a"] * 201},
        {"retry": [["a", -1]]},
        {"retry": [["a", 43_201]]},
        {"retry": [["a", 1, 2]]},
        {"retry": [[]]},
        {"retry": [[1, 1]]},
        {"retry": [None]},
        {"retry": {"a": 1}},
        {"error": {}, "ack": "a"},
    ],
)
def test_wrong_return_is_an_error_by_name(returned: object) -> None:
    with pytest.raises(OperationError) as caught:
        parse_verdict(returned)
    assert caught.value.code is OperationErrorCode.INVALID_ARGUMENT


_ANY = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ack", "retry"]), inner),
)


@given(_ANY | st.fixed_dictionaries({}, optional={"ack": _ANY, "retry": _ANY}))
def test_whatever_a_guest_returns_is_a_verdict_or_a_named_error(value: Any) -> None:
    refusal: OperationError | None = None
    try:
        parse_verdict(value)
    except OperationError as error:
        refusal = error
    assert refusal is None or refusal.code is OperationErrorCode.INVALID_ARGUMENT


def test_guest_sees_the_batch_as_the_abi_says() -> None:
    batch = QueueBatch(
        "orders",
        (
            StoredMessage("1", 1000, 1, "json", b'{"a":1}'),
            StoredMessage("2", 1001, 3, "text", "ä".encode()),
            StoredMessage("3", 1002, 1, "bytes", b"\xff"),
        ),
    )
    assert batch.guest_value({"A": "b"}) == {
        "queue": "orders",
        "messages": [
            {"id": "1", "timestamp_ms": 1000, "attempts": 1, "body": {"a": 1}, "content_type": "json"},
            {"id": "2", "timestamp_ms": 1001, "attempts": 3, "body": "ä", "content_type": "text"},
            {"id": "3", "timestamp_ms": 1002, "attempts": 1, "body": b"\xff", "content_type": "bytes"},
        ],
        "vars": {"A": "b"},
    }
