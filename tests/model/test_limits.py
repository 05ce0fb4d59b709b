"""Who calls may narrow what the plan gives, never widen it."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from model.limits import BACKGROUND_LIMITS, FETCH_LIMITS, Limits, combine

NAMES = [field.name for field in fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
def test_each_limit_can_be_lowered_and_not_raised(name: str) -> None:
    plan = getattr(FETCH_LIMITS, name)
    lower, higher = replace(FETCH_LIMITS, **{name: plan - 1}), replace(FETCH_LIMITS, **{name: plan + 1})
    assert combine(FETCH_LIMITS, lower) == lower
    assert combine(FETCH_LIMITS, higher) == FETCH_LIMITS
    assert combine(lower, FETCH_LIMITS) == lower


def test_combining_takes_the_lower_of_each_by_itself() -> None:
    one, other = replace(FETCH_LIMITS, cpu_ms=10), replace(FETCH_LIMITS, subrequests=5)
    both = combine(one, other)
    assert (both.cpu_ms, both.subrequests) == (10, 5)
    assert both.memory_bytes == FETCH_LIMITS.memory_bytes


def test_the_defaults_are_the_documented_ones() -> None:
    assert FETCH_LIMITS.cpu_ms == 50
    assert BACKGROUND_LIMITS.cpu_ms == 30_000
    assert (FETCH_LIMITS.wall_ms, BACKGROUND_LIMITS.wall_ms) == (30_000, 900_000)
    assert FETCH_LIMITS.memory_bytes == 128 << 20
    assert (FETCH_LIMITS.subrequests, FETCH_LIMITS.operations) == (50, 1_000)
    assert FETCH_LIMITS.request_body_bytes == 100 << 20
