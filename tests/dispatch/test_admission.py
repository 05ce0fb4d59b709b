"""Nothing leaks, nothing goes below zero, nobody waits for ever, and one tenant can't take everybody's room."""

from __future__ import annotations

import asyncio
import random

import pytest

from dispatch.admission import Admission, AdmissionLimits, Counts, Decision, Permit, decide, share
from model.capabilities import TreePermit
from model.errors import LoadShed
from model.outcome import EventOutcome

LIMITS = AdmissionLimits(
    running=100, suspended=1_000, slots=2_000, reserve=200, least_share=10, waiting=20, wait_s=0.05
)


@pytest.mark.parametrize(
    ("used", "limit", "tenants", "allowed"),
    [
        (0, 256, 1, 256),
        (128, 256, 50, 256),  # half full: no cut yet
        (129, 256, 1, 127),  # above: free ÷ tenants
        (129, 256, 4, 31),
        (200, 256, 50, 10),  # never below the least
        (256, 256, 1, 10),
    ],
)
def test_share(used: int, limit: int, tenants: int, allowed: int) -> None:
    assert share(used, limit, tenants, 10) == allowed


@pytest.mark.parametrize(
    ("counts", "decision"),
    [
        (Counts(), Decision.ADMIT),
        (Counts(running=99), Decision.ADMIT),
        (Counts(running=100), Decision.WAIT),
        (Counts(running=100, waiting=19), Decision.WAIT),
        (Counts(running=100, waiting=20), Decision.SHED),
        (Counts(suspended=999), Decision.ADMIT),
        (Counts(suspended=1_000), Decision.WAIT),  # counted apart from running ones
        (Counts(slots=1_799), Decision.ADMIT),
        (Counts(slots=1_800), Decision.WAIT),  # the reserve is no longer whole
        (Counts(running=50, tenant_running=50), Decision.ADMIT),
        (Counts(running=51, tenant_running=49, active_tenants=1), Decision.WAIT),
        (Counts(running=51, tenant_running=48, active_tenants=1), Decision.ADMIT),
        (Counts(running=80, tenant_running=10, active_tenants=4), Decision.WAIT),
        (Counts(running=80, tenant_running=9, active_tenants=4), Decision.ADMIT),
        (Counts(suspended=600, tenant_suspended=100, active_tenants=4), Decision.WAIT),
        (Counts(suspended=600, tenant_suspended=99, active_tenants=4), Decision.ADMIT),
    ],
)
def test_decisions(counts: Counts, decision: Decision) -> None:
    assert decide(LIMITS, counts) is decision


MIB = 1 << 20
BUDGET = AdmissionLimits(memory_bytes=1_000 * MIB, wait_s=0.05)


@pytest.mark.parametrize(
    ("counts", "decision"),
    [
        (Counts(asked=128 * MIB), Decision.ADMIT),
        (Counts(asked=5_000 * MIB), Decision.ADMIT),  # alone, whatever it takes
        (Counts(expected=10 * MIB, asked=5_000 * MIB), Decision.WAIT),
        (Counts(expected=872 * MIB, asked=128 * MIB), Decision.ADMIT),
        (Counts(expected=873 * MIB, asked=128 * MIB), Decision.WAIT),
        (Counts(expected=2_000 * MIB), Decision.ADMIT),  # who is not known for much is not held up
        (
            Counts(expected=600 * MIB, tenant_expected=300 * MIB, asked=9 * MIB, active_tenants=4),
            Decision.WAIT,
        ),
        (
            Counts(expected=600 * MIB, tenant_expected=99 * MIB, asked=9 * MIB, active_tenants=4),
            Decision.ADMIT,
        ),
        (Counts(expected=600 * MIB, asked=128 * MIB, active_tenants=40), Decision.ADMIT),
    ],
)
def test_decisions_by_expected_memory(counts: Counts, decision: Decision) -> None:
    assert decide(BUDGET, counts) is decision


async def test_expected_memory_is_given_back_and_who_waits_for_it_is_let_in() -> None:
    admission = Admission(BUDGET)
    permits = [admission.try_admit(f"t{n}", 400 * MIB) for n in range(2)]
    assert all(permits)
    assert admission.try_admit("t2", 400 * MIB) is None
    small = admission.try_admit("t2")
    assert small is not None
    waiting = asyncio.ensure_future(admission.wait_admit("t2", 400 * MIB))
    await asyncio.sleep(0)
    assert permits[0] is not None
    permits[0].release()
    third = await waiting
    assert admission.expected == 800 * MIB
    with pytest.raises(LoadShed):
        await admission.wait_admit("t3", 400 * MIB)
    for permit in (permits[1], small, third):
        assert permit is not None
        permit.release()
    assert (admission.expected, admission.running, admission.active_tenants) == (0, 0, 0)


@pytest.mark.parametrize("wrong", [{"running": 0}, {"slots": 10, "reserve": 10}, {"waiting": -1}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(set(wrong) - {"slots"}))):
        AdmissionLimits(**wrong)


def test_limits_for_a_pool_keep_an_eighth_as_reserve() -> None:
    assert AdmissionLimits.for_slots(800).reserve == 100


def admit(admission: Admission, tenant: str) -> Permit:
    permit = admission.try_admit(tenant)
    assert permit is not None
    return permit


def counts(admission: Admission) -> tuple[int, int, int, int, int]:
    return (
        admission.running,
        admission.suspended,
        admission.slots,
        admission.waiting,
        admission.active_tenants,
    )


def test_a_permit_is_a_tree_permit() -> None:
    tree: TreePermit = admit(Admission(), "a")
    tree.nested()
    tree.release_nested()


def test_one_tenant_alone_stops_at_its_share_and_another_still_gets_in() -> None:
    admission = Admission(LIMITS)
    held = []
    while permit := admission.try_admit("greedy"):
        held.append(permit)
    assert len(held) == 51
    assert not admission.is_full
    small = [admit(admission, "small") for _ in range(10)]
    for permit in held + small:
        permit.release()
    assert counts(admission) == (0, 0, 0, 0, 0)


def test_twice_the_cap_of_nested_trees_all_end() -> None:
    """Trees that want more sandboxes than there are fail at once; none waits for another's."""
    limits = AdmissionLimits(running=1_000, suspended=1_000, slots=200, reserve=50, least_share=1_000)
    admission = Admission(limits)
    trees: list[Permit] = []
    refused_trees = refused_nested = 0
    for _ in range(2 * limits.slots):
        permit = admission.try_admit("t")
        if permit is None:
            refused_trees += 1
            continue
        trees.append(permit)
        for _ in range(3):
            try:
                permit.nested()
            except LoadShed:
                refused_nested += 1
    assert admission.slots <= limits.slots
    # At the last tree admitted the reserve was whole, so that its own nested sandboxes found room.
    assert refused_nested == 0
    assert refused_trees
    while admission.slots < limits.slots:
        trees[0].nested()
    with pytest.raises(LoadShed, match="200 of this process are taken") as shed:
        trees[0].nested()
    assert (shed.value.outcome, shed.value.retry_after_s) == (EventOutcome.LOAD_SHED, 1)
    for permit in trees:
        permit.release()
    assert counts(admission) == (0, 0, 0, 0, 0)


def test_a_tree_is_suspended_only_while_all_of_its_sandboxes_are_parked() -> None:
    admission = Admission()
    permit = admit(admission, "t")
    permit.park()
    assert (admission.running, admission.suspended) == (0, 1)
    permit.nested()  # what it waits for is a worker of its own tree
    assert (admission.running, admission.suspended) == (1, 0)
    permit.park()
    assert (admission.running, admission.suspended) == (0, 1)
    permit.unpark()
    assert (admission.running, admission.suspended) == (1, 0)
    permit.release_nested()
    assert (admission.running, admission.suspended) == (0, 1)
    permit.unpark()
    assert (admission.running, admission.suspended) == (1, 0)
    permit.release()
    assert counts(admission) == (0, 0, 0, 0, 0)


def test_a_nested_sandbox_that_ends_while_parked_does_not_leave_the_tree_suspended_for_ever() -> None:
    admission = Admission()
    permit = admit(admission, "t")
    permit.park()
    permit.nested()
    permit.park()
    permit.release_nested()
    assert (admission.running, admission.suspended) == (0, 1)
    permit.unpark()
    assert (admission.running, admission.suspended) == (1, 0)
    permit.release()


def test_a_released_permit_does_nothing_more() -> None:
    admission = Admission()
    permit = admit(admission, "t")
    permit.nested()
    permit.park()
    permit.release()
    permit.release()
    permit.park()
    permit.unpark()
    permit.release_nested()
    with pytest.raises(LoadShed, match="has ended"):
        permit.nested()
    assert counts(admission) == (0, 0, 0, 0, 0)


async def test_who_waits_gets_the_room_that_is_freed() -> None:
    admission = Admission(AdmissionLimits(running=2, least_share=2))
    held = [admit(admission, "a"), admit(admission, "b")]
    assert admission.is_full
    waiting = asyncio.create_task(admission.wait_admit("c"))
    await asyncio.sleep(0)
    assert admission.waiting == 1
    held[0].park()  # room: it runs no longer
    permit = await waiting
    assert counts(admission) == (2, 1, 3, 0, 3)
    for each in (permit, *held):
        each.release()
    assert counts(admission) == (0, 0, 0, 0, 0)


async def test_tenants_take_turns() -> None:
    admission = Admission(AdmissionLimits(running=1, least_share=5))
    held = admit(admission, "x")
    order: list[str] = []

    async def one(tenant: str) -> None:
        permit = await admission.wait_admit(tenant)
        order.append(tenant)
        permit.release()

    tasks = [asyncio.create_task(one(tenant)) for tenant in ("a", "a", "a", "b", "c")]
    await asyncio.sleep(0)
    held.release()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c", "a", "a"]
    assert counts(admission) == (0, 0, 0, 0, 0)


async def test_waiting_ends_with_load_shed_and_when_to_come_back() -> None:
    admission = Admission(AdmissionLimits(running=1, wait_s=0.02, retry_after_s=3))
    held = admit(admission, "a")
    with pytest.raises(LoadShed) as shed:
        await admission.wait_admit("b")
    assert (shed.value.status, shed.value.retry_after_s) == (503, 3)
    assert admission.shed == 1
    held.release()
    assert counts(admission) == (0, 0, 0, 0, 0)


async def test_a_full_waiting_room_sheds_the_largest_holder_first() -> None:
    admission = Admission(AdmissionLimits(running=2, waiting=3, wait_s=5))
    held = [admit(admission, "large"), admit(admission, "large")]
    large = [asyncio.create_task(admission.wait_admit("large")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(LoadShed):  # the largest itself finds no place
        await admission.wait_admit("large")
    small = asyncio.create_task(admission.wait_admit("small"))  # and loses one to a smaller tenant
    await asyncio.sleep(0)
    assert admission.waiting == 3
    with pytest.raises(LoadShed):
        await large[2]
    for permit in held:
        permit.release()
    permits = [await large[0], await small]
    permits[0].release()
    permits.append(await large[1])
    for permit in permits:
        permit.release()
    assert counts(admission) == (0, 0, 0, 0, 0)


async def test_a_waiter_that_is_cancelled_leaves_and_one_granted_in_the_same_turn_gives_back() -> None:
    admission = Admission(AdmissionLimits(running=1, wait_s=5))
    held = admit(admission, "a")
    early = asyncio.create_task(admission.wait_admit("b"))
    await asyncio.sleep(0)
    early.cancel()
    with pytest.raises(asyncio.CancelledError):
        await early
    assert counts(admission) == (1, 0, 1, 0, 1)
    late = asyncio.create_task(admission.wait_admit("b"))
    await asyncio.sleep(0)
    held.release()  # grants
    late.cancel()  # before the task has run
    with pytest.raises(asyncio.CancelledError):
        await late
    assert counts(admission) == (0, 0, 0, 0, 0)


async def test_a_grant_skips_a_waiter_that_was_cancelled_and_has_not_run_since() -> None:
    admission = Admission(AdmissionLimits(running=1, wait_s=5))
    held = admit(admission, "a")
    gone, next_one = (asyncio.create_task(admission.wait_admit("b")) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    held.release()
    (await next_one).release()
    assert gone.cancelled()
    assert counts(admission) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(8))
async def test_any_sequence_of_calls_ends_at_zero(seed: int) -> None:
    """A model kept beside the counters: after each step both say the same, after the last all is zero."""
    random_ = random.Random(seed)
    limits = AdmissionLimits(
        running=8, suspended=12, slots=30, reserve=4, least_share=2, waiting=5, wait_s=0.001
    )
    admission = Admission(limits)
    permits: list[Permit] = []
    tasks: set[asyncio.Task[Permit]] = set()

    def collect() -> None:
        for task in [task for task in tasks if task.done()]:
            tasks.discard(task)
            if not task.cancelled() and task.exception() is None:
                permits.append(task.result())
            elif not task.cancelled():
                assert isinstance(task.exception(), LoadShed)

    for _ in range(1_500):
        match random_.randrange(9):
            case 0 | 1:
                permit = admission.try_admit(random_.choice("abcd"))
                if permit:
                    permits.append(permit)
            case 2 | 3:
                tasks.add(asyncio.create_task(admission.wait_admit(random_.choice("abcd"))))
            case 4 if tasks:
                random_.choice(list(tasks)).cancel()
            case 5 if permits:
                permits.pop(random_.randrange(len(permits))).release()
            case 6 if permits:
                try:
                    random_.choice(permits).nested()
                except LoadShed:
                    assert admission.slots >= limits.slots
            case 7 if permits:
                random_.choice([Permit.park, Permit.unpark, Permit.release_nested])(random_.choice(permits))
            case _:
                await asyncio.sleep(random_.choice([0, 0, 0.002]))
        collect()
        assert min(counts(admission)) >= 0
        assert admission.slots <= limits.slots
        assert admission.waiting <= limits.waiting
        assert admission.suspended == sum(permit._parked > permit._nested for permit in permits) or tasks
        assert admission.slots == sum(1 + permit._nested for permit in permits) or tasks
    while tasks:
        for permit in permits:
            permit.release()
        permits.clear()
        await asyncio.sleep(0.002)
        collect()
    for permit in permits:
        permit.release()
    assert counts(admission) == (0, 0, 0, 0, 0)
