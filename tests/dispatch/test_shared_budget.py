"""A budget that a worker of another process spends of: it learns what is left, and what it used is taken off."""

from __future__ import annotations

from collections.abc import Mapping

from dispatch.handover import AnswerHead, Question, Result, encode, parse_question, result_of_ending
from dispatch.remote_worker import RemoteWorker
from model.capabilities import EventContext
from model.errors import LoadShed, ProcessLost
from model.identity import DEFAULT_ACCOUNT, RayId, ScriptName, TenantId, VersionId
from model.limits import Limits
from model.messages import Client, IncomingRequest
from model.observer import Observer
from model.outcome import EventOutcome
from model.scripts import ScriptRef, ScriptVersion
from model.tree_budget import TreeBudget
from runtime.metering import Ending
from tests.support.guests import OpenPermit, Remembered

MS = 1_000_000
HERE = ScriptVersion(
    DEFAULT_ACCOUNT,
    ScriptRef(None, ScriptName("b")),
    TenantId("t"),
    VersionId("1"),
    "0" * 64,
    frozenset({"fetch"}),
)


class Elsewhere:
    """The other process, which answers 200 and `result`."""

    def __init__(self, result: bytes) -> None:
        self.questions: list[Question] = []
        self.refusal: Exception | None = None
        self._result = result
        self.is_here = True

    async def open(self, payload: bytes) -> Elsewhere:
        if self.refusal is not None:
            raise self.refusal
        self.questions.append(parse_question(payload))
        return self

    async def head(self) -> bytes | None:
        return encode(AnswerHead(200, []))

    async def result(self) -> bytes:
        return self._result

    async def read(self) -> bytes:
        return b""

    async def wanted(self) -> None: ...

    async def write(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def break_off(self, why: str) -> None: ...

    def cancel(self) -> None: ...

    def lose(self) -> None: ...

    def take(self) -> bytes:
        return b""


async def fetch(
    elsewhere: Elsewhere, budget: TreeBudget | None, limits: Mapping[str, int] | None = None
) -> Ending:
    context = EventContext(
        DEFAULT_ACCOUNT, None, ScriptName("a"), VersionId("1"), TenantId("t"), (), RayId("0" * 16), 1, OpenPermit(),
        budget=budget,
    )  # fmt: skip
    client = Client("192.0.2.1", False, "0" * 16)
    request = IncomingRequest("GET", "http://a.example/", "a.example", "/", [], None, None, client)
    worker = RemoteWorker(HERE, elsewhere.open, Observer())
    return await worker.fetch(request, Remembered(), context, {}, limits)


def used(cpu_ms: int, subrequests: int) -> bytes:
    return encode(Result(EventOutcome.OK, "", cpu_ns=cpu_ms * MS, subrequests=subrequests))


async def test_it_is_told_what_is_left_and_what_it_used_is_taken_off() -> None:
    budget = TreeBudget(Limits(cpu_ms=50, subrequests=50), None, 10)
    elsewhere = Elsewhere(used(20, 4))
    await fetch(elsewhere, budget)
    await fetch(elsewhere, budget, {"cpu_ms": 5})
    first, second = elsewhere.questions
    assert (first.shares_budget, first.limits) == (True, {"cpu_ms": 50, "subrequests": 40})
    assert second.limits == {"cpu_ms": 5, "subrequests": 36}
    assert (budget.left_ns, budget.subrequests) == (10 * MS, 18)


async def test_without_one_nothing_is_shared() -> None:
    elsewhere = Elsewhere(used(20, 4))
    await fetch(elsewhere, None, {"cpu_ms": 5})
    (asked,) = elsewhere.questions
    assert (asked.shares_budget, asked.limits) == (False, {"cpu_ms": 5})
    assert asked.budget_within(Limits()) is None


async def test_who_was_never_run_has_used_nothing() -> None:
    budget = TreeBudget(Limits(subrequests=50), None, 10)
    elsewhere = Elsewhere(used(20, 4))
    for refusal in (LoadShed("full"), ProcessLost("none is there")):
        elsewhere.refusal = refusal
        await fetch(elsewhere, budget)
    assert budget.subrequests == 10


def test_the_other_side_makes_a_budget_of_it_and_tells_what_was_used() -> None:
    asked = Question(
        None, "b", "GET", "", "", "/", [], None, False, None, "", False, "0" * 16, 1, 0, {}, {},
        {"cpu_ms": 7, "subrequests": 2}, None, None, shares_budget=True,
    )  # fmt: skip
    budget = budget_of(asked)
    assert (budget.limits.cpu_ms, budget.limits.subrequests) == (7, 2)
    budget.count_subrequest()
    told = result_of_ending(Ending(EventOutcome.OK), budget)
    assert told == used(0, 1)


def budget_of(asked: Question) -> TreeBudget:
    budget = asked.budget_within(Limits())
    assert budget is not None
    return budget
