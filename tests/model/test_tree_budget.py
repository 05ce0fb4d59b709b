"""One budget for a tree of workers: what one uses is not there for the others."""

from __future__ import annotations

import pytest

from model.errors import OperationError, OperationErrorCode
from model.limits import Limits
from model.tree_budget import Share, TreeBudget

MS = 1_000_000


class Guest:
    def __init__(self, limit_ms: int = 50) -> None:
        self.cpu_ns = 0
        self.cpu_budget_ns = limit_ms * MS


def test_who_joins_gets_what_is_left_and_never_more_than_its_own() -> None:
    first, short, long = Guest(50), Guest(10), Guest(2_000)
    first.cpu_ns = 30 * MS
    budget = TreeBudget(Limits(cpu_ms=50), first)
    budget.join(short)
    budget.join(long)
    assert (short.cpu_budget_ns, long.cpu_budget_ns) == (10 * MS, 20 * MS)


def test_what_one_used_the_others_have_no_more() -> None:
    first, second, third = Guest(50), Guest(50), Guest(50)
    budget = TreeBudget(Limits(cpu_ms=50), first)
    first.cpu_ns = 5 * MS
    budget.join(second)
    budget.join(third)
    second.cpu_ns = 25 * MS
    budget.leave(second)
    budget.leave(second)
    assert budget.left_ns == 20 * MS
    assert first.cpu_budget_ns == 25 * MS
    assert third.cpu_budget_ns == 20 * MS
    third.cpu_ns = 20 * MS
    budget.settle()
    assert first.cpu_budget_ns == first.cpu_ns
    with pytest.raises(OperationError, match="50 ms of CPU time") as caught:
        budget.check_cpu()
    assert caught.value.code is OperationErrorCode.LIMIT_EXCEEDED


def test_subrequests_at_the_limit_and_beyond() -> None:
    budget = TreeBudget(Limits(subrequests=3), None, 1)
    budget.count_subrequest()
    budget.count_subrequest()
    with pytest.raises(OperationError, match="limit of 3 subrequests") as caught:
        budget.count_subrequest()
    assert caught.value.code is OperationErrorCode.LIMIT_EXCEEDED
    assert budget.subrequests == 3


def test_computing_at_the_limit_and_beyond() -> None:
    budget = TreeBudget(Limits(cpu_ms=5))
    budget.computed_ns = 5 * MS - 1
    budget.check_computing()
    budget.computed_ns += 1
    with pytest.raises(OperationError, match="limit of 5 ms") as caught:
        budget.check_computing()
    assert caught.value.code is OperationErrorCode.LIMIT_EXCEEDED


def test_what_another_process_says_is_taken_off_as_far_as_it_was_given() -> None:
    budget = TreeBudget(Limits(cpu_ms=50, subrequests=50))
    assert budget.left() == Share(50, 50)
    budget.charge(budget.left(), 29_500_000, 7)
    assert budget.left() == Share(21, 43)
    budget.charge(budget.left(), 1 << 60, 1 << 60)
    assert (budget.left_ns, budget.subrequests) == (0, 50)


def test_a_share_only_narrows() -> None:
    assert Share(5, 9).narrowed(None) == {"cpu_ms": 5, "subrequests": 9}
    assert Share(5, 9).narrowed({"cpu_ms": 9, "subrequests": 5}) == {"cpu_ms": 5, "subrequests": 5}
