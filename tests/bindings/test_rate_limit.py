"""What a guest may say to a rate limit, and what an upload may say of one."""

from __future__ import annotations

from typing import Any

import pytest

from bindings.memory import MemoryEvent, MemoryRateLimiter
from bindings.operations import OPERATIONS
from control.envelope import ApiError
from control.rate_limit_setting import parse_rate_limit, show_rate_limit
from model.capabilities import WorkerEnv
from model.errors import OperationError, OperationErrorCode
from model.rates import RateLimit, decode_rate_limit, encode_rate_limit


def limit(*args: object) -> object:
    return OPERATIONS["rate_limit.limit"].run(MemoryEvent(WorkerEnv()), MemoryRateLimiter(1, 60), args)


@pytest.mark.parametrize("key", ["", "k", "k" * 512, "\u00e4" * 256])
def test_keys_that_are_right(key: str) -> None:
    assert limit({"key": key}) == {"success": True}


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("k",),
        ({},),
        ({"key": "k", "limit": 5},),
        ({"key": b"k"},),
        ({"key": None},),
        ({"key": "k" * 513},),
        ({"key": "\ud800"},),
        ({"key": "k"}, {}),
        (["key", "k"],),
    ],
)
def test_what_is_no_key_is_said(args: tuple[object, ...]) -> None:
    with pytest.raises(OperationError) as refused:
        limit(*args)
    assert refused.value.code is OperationErrorCode.INVALID_ARGUMENT


def binding(**changes: Any) -> dict[str, Any]:
    return {"namespace_id": "1001", "simple": {"limit": 100, "period": 60}} | changes


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (binding(), RateLimit("1001", 100, 60)),
        (binding(namespace_id=7), RateLimit("7", 100, 60)),
        (binding(namespace_id="a-B_9"), RateLimit("a-B_9", 100, 60)),
        (binding(simple={"limit": 1, "period": 10}), RateLimit("1001", 1, 10)),
        (binding(simple={"limit": 1_000_000, "period": 10}), RateLimit("1001", 1_000_000, 10)),
    ],
)
def test_a_binding_is_stored_and_shown_as_it_was_sent(given: dict[str, Any], wanted: RateLimit) -> None:
    parsed = parse_rate_limit(given, "bindings[0]")
    assert parsed == wanted
    assert decode_rate_limit(encode_rate_limit(parsed)) == parsed
    assert show_rate_limit(encode_rate_limit(parsed)) == given | {"namespace_id": wanted.namespace_id}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "namespace_id"),
        (binding(namespace_id=""), "namespace_id"),
        (binding(namespace_id="a/b"), "namespace_id"),
        (binding(namespace_id="a" * 65), "namespace_id"),
        (binding(namespace_id=True), "namespace_id"),
        (binding(simple=None), "simple"),
        (binding(simple={}), "simple.limit"),
        (binding(simple={"limit": 0, "period": 10}), "simple.limit"),
        (binding(simple={"limit": 1_000_001, "period": 10}), "simple.limit"),
        (binding(simple={"limit": True, "period": 10}), "simple.limit"),
        (binding(simple={"limit": 1.5, "period": 10}), "simple.limit"),
        (binding(simple={"limit": 1}), "simple.period"),
        (binding(simple={"limit": 1, "period": 30}), "simple.period"),
        (binding(simple={"limit": 1, "period": 60.0}), "simple.period"),
    ],
)
def test_what_is_wrong_with_a_binding_is_named(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_rate_limit(given, "bindings[0]")
    assert refused.value.field == f"bindings[0].{field}"
