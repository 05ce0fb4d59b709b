"""How many events at once: pure counters decide, a small object holds them and the waiting.

A visitor's whole tree of sandboxes (dispatch worker → user worker → service → outbound worker) has one
permit. A tree is *running* while any of its sandboxes wants the CPU and *suspended* while all of them are
parked in a host operation; the two are counted apart, since 5,000 waiting ones cost memory and 256 running
ones cost everybody's time. Sandboxes inside a tree take slots of the instance pool and never wait for one:
trees that wait for slots that waiting trees hold would wait for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from model.errors import LoadShed


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Of one process. `slots` is what its instance pool has; of those, `reserve` are for nested sandboxes:
    a tree is admitted only while more than that is free. `memory_bytes`: what its trees may be expected to touch,
    all together, by the peaks of those before them.
    """

    running: int = 256
    suspended: int = 5_000
    #: Trees × 2, and the reserve.
    slots: int = 12_000
    reserve: int = 1_488
    #: Above half full nobody's share is cut below this.
    least_share: int = 10
    waiting: int = 512
    wait_s: float = 1.0
    retry_after_s: int = 1
    memory_bytes: int = 1 << 62

    def __post_init__(self) -> None:
        for name in (
            "running",
            "suspended",
            "slots",
            "least_share",
            "waiting",
            "retry_after_s",
            "memory_bytes",
        ):
            if getattr(self, name) < (0 if name == "waiting" else 1):
                raise ValueError(f"{name} {getattr(self, name)}: too small")
        if not 0 <= self.reserve < self.slots:
            raise ValueError(f"reserve {self.reserve}: 0 to {self.slots - 1}, below slots")

    @staticmethod
    def for_slots(slots: int, memory_bytes: int = 1 << 62) -> AdmissionLimits:
        """The defaults for an instance pool of `slots` (at least 8), with an eighth of it as reserve."""
        return AdmissionLimits(slots=slots, reserve=slots // 8, memory_bytes=memory_bytes)


class Decision(Enum):
    ADMIT = "admit"
    #: There is no room now, and room to wait.
    WAIT = "wait"
    #: There is neither, or waiting would be pointless.
    SHED = "shed"


@dataclass(slots=True)
class Counts:
    """What a decision looks at. `tenant_…` are the asking tenant's, `active_tenants` counts it too. `expected`: bytes
    that trees are expected to touch; `asked`, those of the one that asks.
    """

    running: int = 0
    suspended: int = 0
    slots: int = 0
    waiting: int = 0
    tenant_running: int = 0
    tenant_suspended: int = 0
    active_tenants: int = 1
    expected: int = 0
    tenant_expected: int = 0
    asked: int = 0


def share(used: int, limit: int, active_tenants: int, least: int) -> int:
    """How many of `limit` one tenant may hold: all up to half full, then max(least, free ÷ tenants)."""
    if 2 * used <= limit:
        return limit
    return max(least, (limit - used) // max(1, active_tenants))


def decide(limits: AdmissionLimits, counts: Counts) -> Decision:
    """Whether one more tree of this tenant may run. Pure."""
    has_room = (
        counts.running < limits.running
        and counts.suspended < limits.suspended
        and limits.slots - counts.slots > limits.reserve
        and counts.tenant_running
        < share(counts.running, limits.running, counts.active_tenants, limits.least_share)
        and counts.tenant_suspended
        < share(counts.suspended, limits.suspended, counts.active_tenants, limits.least_share)
        and _has_memory(limits, counts)
    )
    if has_room:
        return Decision.ADMIT
    return Decision.WAIT if counts.waiting < limits.waiting else Decision.SHED


def _has_memory(limits: AdmissionLimits, counts: Counts) -> bool:
    """Who asks for more than there is gets it alone; who is not known for much is not held up."""
    if not counts.asked or not counts.expected:
        return True
    if counts.expected + counts.asked > limits.memory_bytes:
        return False
    return counts.tenant_expected < share(
        counts.expected, limits.memory_bytes, counts.active_tenants, counts.asked
    )


#: Of nearly all tenants; stays empty.
_NO_WAITERS: Final[deque[_Waiter]] = deque(maxlen=0)


class _Holder:
    """One tenant's part; forgotten when it holds nothing and nobody waits for it."""

    __slots__ = ("expected", "running", "suspended", "tenant", "waiters")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.running = 0
        self.suspended = 0
        self.expected = 0
        self.waiters = _NO_WAITERS

    def weight(self) -> int:
        return self.running + self.suspended + len(self.waiters)


class _Waiter:
    __slots__ = ("expected", "future", "holder", "timer")

    def __init__(self, holder: _Holder, future: asyncio.Future[Permit], expected: int) -> None:
        self.expected = expected
        self.holder = holder
        self.future = future
        self.timer: asyncio.TimerHandle | None = None


class Permit:
    """A TreePermit. Whoever was given it calls `release` when the last sandbox of the tree has ended;
    that gives back all that the tree still holds, so that no failure in between can leak.
    """

    __slots__ = ("_admission", "_expected", "_holder", "_nested", "_parked", "_released")

    def __init__(self, admission: Admission, holder: _Holder, expected: int) -> None:
        self._expected = expected
        self._admission = admission
        self._holder = holder
        self._nested = 0
        self._parked = 0
        self._released = False

    def nested(self) -> None:
        """One more sandbox in this tree. Raises LoadShed when there is no slot; never waits."""
        admission = self._admission
        if self._released:
            raise LoadShed("this event has ended; it can't start another worker")
        if admission.slots >= admission.limits.slots:
            raise LoadShed(
                f"no room for another sandbox: all {admission.limits.slots} of this process are taken",
                retry_after_s=admission.limits.retry_after_s,
            )
        admission.slots += 1
        if self._parked > self._nested:
            self._resume()
        self._nested += 1

    def release_nested(self) -> None:
        if self._released or not self._nested:
            return
        self._nested -= 1
        self._admission.slots -= 1
        if self._parked > self._nested + 1:
            # A sandbox that was ended while parked does not unpark.
            self._parked = self._nested + 1
        elif self._parked > self._nested:
            self._suspend()
        self._admission.freed()

    def park(self) -> None:
        """One sandbox of this tree began to wait for a host operation."""
        if self._released or self._parked > self._nested:
            return
        self._parked += 1
        if self._parked > self._nested:
            self._suspend()
            self._admission.freed()

    def unpark(self) -> None:
        """It goes on. Never waits, so running trees may exceed their limit for a while; new ones wait."""
        if self._released or not self._parked:
            return
        if self._parked > self._nested:
            self._resume()
        self._parked -= 1

    def release(self) -> None:
        """Give everything back. Idempotent."""
        if self._released:
            return
        self._released = True
        admission, holder = self._admission, self._holder
        admission.slots -= 1 + self._nested
        if self._expected:
            admission.expected -= self._expected
            holder.expected -= self._expected
        if self._parked > self._nested:
            admission.suspended -= 1
            holder.suspended -= 1
        else:
            admission.running -= 1
            holder.running -= 1
        admission.forget_if_idle(holder)
        if admission.waiting:
            admission.freed()

    def _suspend(self) -> None:
        admission, holder = self._admission, self._holder
        admission.running -= 1
        holder.running -= 1
        admission.suspended += 1
        holder.suspended += 1

    def _resume(self) -> None:
        admission, holder = self._admission, self._holder
        admission.suspended -= 1
        holder.suspended -= 1
        admission.running += 1
        holder.running += 1


_FULL: Final = "the platform is busy; this request waited as long as it may"
_CROWDED: Final = "the platform is busy; too many requests wait already"


class Admission:
    """The counts of one process, and who waits. Not for several threads."""

    def __init__(self, limits: AdmissionLimits | None = None) -> None:
        self.limits = limits or AdmissionLimits()
        self.running = 0
        self.suspended = 0
        #: Sandboxes of all trees, nested ones too.
        self.slots = 0
        #: Bytes that its trees are expected to touch.
        self.expected = 0
        self.waiting = 0
        #: Requests turned away, since the start.
        self.shed = 0
        #: Tenants that get no new event now, since the process is short of memory and they hold the most.
        self.shedding: frozenset[str] = frozenset()
        self._holders: dict[str, _Holder] = {}
        #: Tenants with waiters, in the order in which their turn comes.
        self._turns: dict[str, _Holder] = {}
        # Below these no rule can refuse, so that the common case is three compares.
        self._easy_running = self.limits.running // 2
        self._easy_suspended = self.limits.suspended // 2
        self._easy_slots = self.limits.slots - self.limits.reserve

    @property
    def is_full(self) -> bool:
        """Whether a tenant that runs nothing would have to wait: what /readyz tells a load balancer."""
        return self._decide(None) is not Decision.ADMIT

    @property
    def active_tenants(self) -> int:
        return len(self._holders)

    def try_admit(self, tenant: str, expected: int = 0) -> Permit | None:
        """A permit at once, or None: then `await wait_admit(tenant)`. Raises LoadShed when memory is short.

        `expected`: how many bytes this event is expected to touch, if it is known for much.
        """
        if self.shedding and tenant in self.shedding:
            self.shed += 1
            raise LoadShed(
                "the process is short of memory, and this tenant's events hold the most of it",
                retry_after_s=self.limits.retry_after_s,
            )
        holder = self._holders.get(tenant)
        is_easy = (
            self.running < self._easy_running
            and self.suspended < self._easy_suspended
            and self.slots < self._easy_slots
        )
        # Nobody is overtaken: whoever still waits after the last release waits for its own share.
        if (expected or not is_easy) and self._decide(holder, expected) is not Decision.ADMIT:
            return None
        if holder is None:
            holder = self._holders[tenant] = _Holder(tenant)
        self.running += 1
        self.slots += 1
        holder.running += 1
        if expected:
            self.expected += expected
            holder.expected += expected
        return Permit(self, holder, expected)

    async def wait_admit(self, tenant: str, expected: int = 0) -> Permit:
        """A permit within `limits.wait_s`. Raises LoadShed: after that, or at once when too many wait.

        When the waiting room is full the tenant that holds and awaits the most loses its youngest waiter,
        or is turned away if it is the one who asks.
        """
        permit = self.try_admit(tenant, expected)
        if permit is not None:
            return permit
        if self.waiting >= self.limits.waiting and not self._make_place(tenant):
            self.shed += 1
            raise LoadShed(_CROWDED, retry_after_s=self.limits.retry_after_s)
        loop = asyncio.get_running_loop()
        holder = self._holders.get(tenant)
        if holder is None:
            holder = self._holders[tenant] = _Holder(tenant)
        waiter = _Waiter(holder, loop.create_future(), expected)
        if holder.waiters is _NO_WAITERS:
            holder.waiters = deque()
        holder.waiters.append(waiter)
        self._turns.setdefault(tenant, holder)
        self.waiting += 1
        waiter.timer = loop.call_later(self.limits.wait_s, self._turn_away, waiter, _FULL)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and not waiter.future.exception():
                waiter.future.result().release()  # granted in the same turn in which we were cancelled
            else:
                self._leave(waiter)
                self.freed()  # fewer active tenants are larger shares
            raise

    def freed(self) -> None:
        """Room may have come: let in who waits, one of each tenant in turn. Called by permits."""
        progress = bool(self._turns)
        while progress:
            progress = False
            for holder in list(self._turns.values()):
                if not self._has_room():
                    return
                if holder.waiters and self._decide(holder, holder.waiters[0].expected) is Decision.ADMIT:
                    self._let_in(holder)
                    progress = True

    def _let_in(self, holder: _Holder) -> None:
        waiter = holder.waiters[0]
        self._leave(waiter)
        if waiter.future.done():  # cancelled, and its task has not run since
            return
        if holder.waiters:  # behind the others until its next turn
            del self._turns[holder.tenant]
            self._turns[holder.tenant] = holder
        self._holders[holder.tenant] = holder  # `_leave` forgets a tenant that holds nothing
        self.running += 1
        self.slots += 1
        holder.running += 1
        self.expected += waiter.expected
        holder.expected += waiter.expected
        waiter.future.set_result(Permit(self, holder, waiter.expected))

    def _has_room(self) -> bool:
        """Whether any tenant at all could be let in."""
        limits = self.limits
        return (
            self.running < limits.running
            and self.suspended < limits.suspended
            and limits.slots - self.slots > limits.reserve
        )

    def forget_if_idle(self, holder: _Holder) -> None:
        if not holder.running and not holder.suspended and not holder.waiters:
            self._holders.pop(holder.tenant, None)

    def _decide(self, holder: _Holder | None, asked: int = 0) -> Decision:
        return decide(
            self.limits,
            Counts(
                running=self.running,
                suspended=self.suspended,
                slots=self.slots,
                waiting=self.waiting,
                tenant_running=holder.running if holder else 0,
                tenant_suspended=holder.suspended if holder else 0,
                active_tenants=len(self._holders) + (holder is None),
                expected=self.expected,
                tenant_expected=holder.expected if holder else 0,
                asked=asked,
            ),
        )

    def _make_place(self, tenant: str) -> bool:
        """Turn away a waiter of the largest tenant, if one is larger than `tenant` would be."""
        asking = self._holders.get(tenant)
        largest = max(self._turns.values(), key=_Holder.weight, default=None)
        if largest is None or largest.weight() <= (asking.weight() if asking else 0) + 1:
            return False
        self._turn_away(largest.waiters[-1], _CROWDED)
        return True

    def _turn_away(self, waiter: _Waiter, why: str) -> None:
        self._leave(waiter)
        if waiter.future.done():  # cancelled, and its task has not run since: its place is free all the same
            return
        self.shed += 1
        waiter.future.set_exception(LoadShed(why, retry_after_s=self.limits.retry_after_s))
        self.freed()  # fewer active tenants are larger shares

    def _leave(self, waiter: _Waiter) -> None:
        """Take it off the queue, if it still is there."""
        if waiter.timer is None:
            return
        waiter.timer.cancel()
        waiter.timer = None
        holder = waiter.holder
        holder.waiters.remove(waiter)
        self.waiting -= 1
        if not holder.waiters:
            del self._turns[holder.tenant]
        self.forget_if_idle(holder)
