"""Workers that call workers: a tree's permit is held until the last sandbox of it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import pytest

from dispatch.admission import Admission, AdmissionLimits
from dispatch.runner import TreeRunner
from dispatch.workers import Workers
from model.capabilities import CallOptions, EventContext, GuestEvent, Operation, OperationTable
from model.errors import LoadShed
from model.identity import DEFAULT_ACCOUNT, RayId, ScriptName, TenantId, VersionId
from model.messages import OutgoingRequest, Visitor
from model.outcome import EventOutcome
from model.scripts import ScriptRef
from runtime.capi.guest import live_guests
from runtime.worker import Worker
from tests.security.calling import call, caller
from tests.support.guests import Guests, Remembered, request


class Tree:
    """Workers by name, whose operation `run` calls another one of them."""

    def __init__(
        self,
        limits: AdmissionLimits | None = None,
        make_guests: Callable[[OperationTable], Guests] = Guests,
    ) -> None:
        self.runner = TreeRunner()
        self.admission = Admission(limits)
        self.guests = make_guests({"run": Operation("run", None, False, self._run)})
        self.workers: dict[str, Worker] = {}
        self.runner.use(cast(Workers, self))

    def get(self, ref: ScriptRef) -> Worker | None:
        return self.workers.get(ref.script)

    def deploy(self, name: str, wasm: bytes) -> None:
        self.workers[name] = self.guests.worker(wasm, name=name)

    def _run(self, event: GuestEvent, _lent: object, args: Sequence[object]) -> Any:
        ref = ScriptRef(None, ScriptName(str(args[0])))
        outgoing = OutgoingRequest("GET", "http://worker.example/", (), None)
        return self._status(self.runner.run(ref, outgoing, event.context, CallOptions()))

    async def _status(self, running: Any) -> int:
        return int((await running).status)

    async def visit(self, name: str, visitor: Visitor | None = None) -> EventOutcome:
        """One request as DispatchApp makes it."""
        try:
            permit = self.admission.try_admit("tenant") or await self.admission.wait_admit("tenant")
        except LoadShed:
            return EventOutcome.LOAD_SHED
        context = EventContext(
            DEFAULT_ACCOUNT,
            None,
            ScriptName(name),
            VersionId("v1"),
            TenantId("tenant"),
            (),
            RayId("ray"),
            0,
            permit,
        )
        try:
            ending = await self.workers[name].fetch(request(), Remembered(), context, {}, None, visitor)
        finally:
            if self.runner.has_tree(permit):
                await self.runner.wait_for_tree(permit)
            permit.release()
        return ending.outcome


@pytest.fixture
async def tree() -> AsyncIterator[Tree]:
    made = Tree()
    yield made
    made.guests.close()
    assert live_guests() == 0


def _streamed(*after: object) -> list[Any]:
    """Calls that answer at once, and go on."""
    return [call([1, "response.start", None, 200, []], [2, "response.end", None]), *after]


async def test_worker_called_by_one_that_goes_on_after_its_response_is_waited_for(tree: Tree) -> None:
    """The root has ended; what it called works in the background, and calls yet another one there."""
    tree.deploy("root", caller(call([1, "run", None, "middle"])))
    tree.deploy(
        "middle",
        caller(
            *_streamed(call([3, "sleep", None, 50]), call([4, "run", None, "last"], wait="none")),
            call([5, "sleep", None, 20]),
            answers=False,
        ),
    )
    tree.deploy("last", caller(*_streamed(call([3, "sleep", None, 300])), answers=False))
    assert await tree.visit("root") is EventOutcome.OK
    assert live_guests() == 0
    assert (tree.admission.running, tree.admission.suspended, tree.admission.slots) == (0, 0, 0)
    assert not tree.runner._tasks


class _Leaving:
    """A visitor who leaves when an operation says so."""

    def __init__(self) -> None:
        self.left = False
        self.on_leave: Callable[[], None] | None = None

    def leave(self, _event: GuestEvent, _lent: object, _args: object) -> None:
        asyncio.get_running_loop().call_soon(self._leave)

    def _leave(self) -> None:
        self.left = True
        if self.on_leave is not None:
            self.on_leave()


_ASKS = [1, "visitor.left", None]


async def _visited(tree: Tree, name: str) -> tuple[EventOutcome, dict[str, EventOutcome]]:
    """Of a visitor who leaves at the operation `leave`; with what became of each event of the tree."""
    visitor = _Leaving()
    operations = tree.guests.host.operations
    tree.guests.host.operations = {**operations, "leave": Operation("leave", None, False, visitor.leave)}
    async with asyncio.timeout(20):
        outcome = await tree.visit(name, visitor)
    assert visitor.left
    assert visitor.on_leave is None
    assert live_guests() == 0
    assert (tree.admission.running, tree.admission.suspended, tree.admission.slots) == (0, 0, 0)
    assert not tree.runner._tasks
    return outcome, {record.script: record.outcome for record in tree.guests.observer.records}


async def test_worker_whose_caller_is_left_and_ended_goes_on_where_it_asked_to_be_told(tree: Tree) -> None:
    """It may call yet another one then, in the same tree."""
    tree.deploy("root", caller(call([1, "run", None, "asks"])))
    then = call([3, "run", None, "last"])
    tree.deploy("asks", caller(call(_ASKS, [2, "leave", None], wait="none"), call(wait="any"), then))
    tree.deploy("last", caller(call([1, "sleep", None, 20])))
    outcome, outcomes = await _visited(tree, "root")
    assert outcome is EventOutcome.CANCELED
    assert outcomes == {
        "root": EventOutcome.CANCELED,
        "asks": EventOutcome.CANCELED,
        "last": EventOutcome.OK,
    }


async def test_worker_whose_caller_goes_on_is_left_by_nobody(tree: Tree) -> None:
    tree.deploy(
        "root",
        caller(
            call(_ASKS, [2, "run", None, "called"], wait="any"), call(wait="any"), call([3, "sleep", None, 1])
        ),
    )
    tree.deploy("called", caller(call([1, "leave", None]), call([2, "sleep", None, 20])))
    outcome, outcomes = await _visited(tree, "root")
    assert outcome is EventOutcome.CANCELED
    assert outcomes == {"root": EventOutcome.CANCELED, "called": EventOutcome.OK}


async def test_tree_17_deep_is_refused_and_gives_everything_back(tree: Tree) -> None:
    tree.deploy("again", caller(call([1, "run", None, "again"])))
    assert await tree.visit("again") is EventOutcome.OK
    outcomes = [record.outcome for record in tree.guests.observer.records]
    assert outcomes == [EventOutcome.OK] * 17
    assert (tree.admission.running, tree.admission.slots) == (0, 0)


@pytest.mark.parametrize(
    "limits",
    [
        AdmissionLimits(running=8, suspended=8, slots=64, reserve=8, waiting=100, wait_s=5),
        # So few slots that nested sandboxes find none.
        AdmissionLimits(running=8, suspended=8, slots=12, reserve=2, waiting=100, wait_s=5),
        # So little room to wait that trees are shed at the door.
        AdmissionLimits(running=8, suspended=8, slots=64, reserve=8, waiting=4, wait_s=0.2),
    ],
    ids=["room for all", "few slots", "little room to wait"],
)
async def test_twice_the_cap_of_dispatcher_worker_and_service_all_end(limits: AdmissionLimits) -> None:
    """With their answer or with loadShed, each sandbox of a tree waiting for the one it called: none deadlocks."""
    tree = Tree(limits)
    try:
        tree.deploy("dispatcher", caller(call([1, "run", None, "worker"]), call([2, "sleep", None, 5])))
        tree.deploy("worker", caller(call([1, "sleep", None, 20]), call([2, "run", None, "service"])))
        tree.deploy("service", caller(call([1, "sleep", None, 50])))
        async with asyncio.timeout(60):
            outcomes = await asyncio.gather(*(tree.visit("dispatcher") for _ in range(2 * 8 * 2)))
        assert set(outcomes) <= {EventOutcome.OK, EventOutcome.LOAD_SHED}
        assert outcomes.count(EventOutcome.OK) >= 8
        answered = [record for record in tree.guests.observer.records if record.outcome is EventOutcome.OK]
        served = sum(record.script == "service" for record in answered)
        if limits.slots > 3 * 16 and limits.waiting == 100:
            assert (outcomes.count(EventOutcome.OK), served) == (32, 32)
        elif limits.waiting == 4:
            assert EventOutcome.LOAD_SHED in outcomes
        else:
            assert served < 32  # the others' callers were told that there was no room, and ended
        assert (tree.admission.running, tree.admission.suspended, tree.admission.slots) == (0, 0, 0)
        assert tree.admission.waiting == 0
        assert not tree.runner._tasks
    finally:
        tree.guests.close()
    assert live_guests() == 0


async def test_64_calls_at_once_of_a_tree_that_is_left_give_everything_back(tree: Tree) -> None:
    tree.deploy("sleeper", caller(call([1, "sleep", None, 60_000])))
    tree.deploy("fan", caller(call(*[[n, "run", None, "sleeper"] for n in range(64)], timeout_ms=100)))
    assert await asyncio.gather(*(tree.visit("fan") for _ in range(4))) == [EventOutcome.OK] * 4
    assert live_guests() == 0
    assert (tree.admission.running, tree.admission.suspended, tree.admission.slots) == (0, 0, 0)
    assert not tree.runner._tasks


async def test_place_of_a_waiter_that_was_just_cancelled_is_given_once() -> None:
    """In the turn in which it was cancelled it is still in the queue; turning it away must take it off."""
    admission = Admission(AdmissionLimits(running=1, waiting=1, wait_s=5))
    held = admission.try_admit("holder")
    assert held is not None
    first = asyncio.create_task(admission.wait_admit("holder"))
    await asyncio.sleep(0)
    first.cancel()
    # Stepped by hand, in the same turn: the cancelled task has not run yet.
    second = admission.wait_admit("other")
    second.send(None)
    assert admission.waiting == 1
    with pytest.raises(asyncio.CancelledError):
        second.throw(asyncio.CancelledError())
    await asyncio.wait([first])
    assert first.cancelled()
    held.release()
    assert (admission.running, admission.waiting, admission.slots) == (0, 0, 0)
