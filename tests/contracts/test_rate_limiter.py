"""The contract of RateLimiter, held by the public fake and by the table that processes share alike: a key that has
rested may use all of its limit at once, then it comes back evenly, and what was refused is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bindings.memory import MemoryRateLimiter
from bindings.rate_limit import SharedRateLimiter
from model.capabilities import RateLimiter
from model.identity import NamespaceName, TenantId
from model.rates import RateLimit
from storage.shared_rates import SharedRates


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


Make = Callable[[int, int], RateLimiter]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "shared"])
def make(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:
        if request.param == "memory":
            yield lambda limit, period_s: MemoryRateLimiter(limit, period_s, clock)
            return
        rates = SharedRates(tmp_path / "rates", clock)
        stack.callback(rates.close)
        namespace, tenant = NamespaceName("prod"), TenantId("acme")
        yield lambda limit, period_s: SharedRateLimiter(
            rates, namespace, tenant, RateLimit("7", limit, period_s)
        )


@pytest.mark.parametrize(("limit", "period_s"), [(1, 10), (3, 10), (1, 60), (100, 60), (1_000, 60)])
def test_a_rested_key_has_all_of_its_limit_at_once(make: Make, limit: int, period_s: int) -> None:
    limiter = make(limit, period_s)
    assert [limiter.limit("k") for _ in range(limit)] == [True] * limit
    assert not limiter.limit("k")


def test_what_was_used_comes_back_evenly(make: Make, clock: Clock) -> None:
    limiter = make(4, 10)
    assert [limiter.limit("k") for _ in range(5)] == [True] * 4 + [False]
    clock.now += 2.4
    assert not limiter.limit("k")  # a quarter of ten seconds it takes
    clock.now += 0.2
    assert limiter.limit("k")
    assert not limiter.limit("k")
    clock.now += 5.0
    assert [limiter.limit("k") for _ in range(3)] == [True, True, False]
    clock.now += 60
    assert [limiter.limit("k") for _ in range(5)] == [True] * 4 + [False]


def test_what_is_refused_is_not_counted(make: Make, clock: Clock) -> None:
    limiter = make(1, 10)
    assert limiter.limit("k")
    for _ in range(20):
        clock.now += 0.49
        assert not limiter.limit("k")
    clock.now += 0.3
    assert limiter.limit("k")


def test_keys_are_counted_apart(make: Make) -> None:
    limiter = make(1, 60)
    keys = ["", "a", "b", "\u00e4", "a\0", "k" * 512]
    assert [limiter.limit(key) for key in keys] == [True] * len(keys)
    assert [limiter.limit(key) for key in keys] == [False] * len(keys)
