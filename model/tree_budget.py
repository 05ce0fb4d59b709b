"""What an event, and all that it calls by service bindings, may use together.

Without it a worker could make of its limits as many as it has calls: a dispatcher that gives one 5 ms would have given
them to each sandbox below it. Each worker's own limits hold besides.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from model.errors import OperationError, OperationErrorCode
from model.limits import Limits


class Spender(Protocol):
    """A guest: what it has used of the CPU, and where it is ended."""

    cpu_ns: int
    cpu_budget_ns: int


@dataclass(frozen=True, slots=True)
class Share:
    """What one call may use that another process runs."""

    cpu_ms: int
    subrequests: int

    def narrowed(self, limits: Mapping[str, int] | None) -> dict[str, int]:
        """`limits`, and none of them above this."""
        given = dict(limits or {})
        given["cpu_ms"] = min(self.cpu_ms, given.get("cpu_ms", self.cpu_ms))
        given["subrequests"] = min(self.subrequests, given.get("subrequests", self.subrequests))
        return given


class TreeBudget:
    """`limits` are those of the event that calls first, `first` is its guest, `subrequests` what it has used of them.

    One loop's. Guests that run at once spend at once: `settle`, 20 times a second, brings their ends together.
    """

    __slots__ = ("_gone_ns", "_spenders", "computed_ns", "ends_at_s", "limits", "subrequests")

    def __init__(self, limits: Limits, first: Spender | None = None, subrequests: int = 0) -> None:
        self.limits = limits
        self.subrequests = subrequests
        #: CPU time that the host computed in the workers' stead.
        self.computed_ns = 0
        #: No event of it goes on for longer than the first may, its background included (monotonic).
        self.ends_at_s = time.monotonic() + (limits.wall_ms + limits.background_ms) / 1000
        self._gone_ns = 0
        self._spenders: set[Spender] = set() if first is None else {first}

    @property
    def spent_ns(self) -> int:
        return self._gone_ns + sum(one.cpu_ns for one in self._spenders)

    @property
    def left_ns(self) -> int:
        return max(0, self.limits.cpu_ms * 1_000_000 - self.spent_ns)

    def join(self, spender: Spender) -> None:
        spender.cpu_budget_ns = min(spender.cpu_budget_ns, spender.cpu_ns + self.left_ns)
        self._spenders.add(spender)

    def leave(self, spender: Spender) -> None:
        """It has ended. Idempotent."""
        if spender in self._spenders:
            self._spenders.remove(spender)
            self._gone_ns += spender.cpu_ns
            self.settle()

    def settle(self) -> None:
        """Nobody may use more than is left for all."""
        left_ns = self.left_ns
        for one in self._spenders:
            one.cpu_budget_ns = min(one.cpu_budget_ns, one.cpu_ns + left_ns)

    def check_cpu(self) -> None:
        """Raises OperationError(limit_exceeded)."""
        if self.left_ns == 0:
            raise OperationError(
                OperationErrorCode.LIMIT_EXCEEDED,
                f"over the limit of {self.limits.cpu_ms} ms of CPU time an event and what it calls by service "
                "bindings, together; the platform can raise `limits.cpu_ms` of the script that called first",
            )

    def count_subrequest(self) -> None:
        """Raises OperationError(limit_exceeded)."""
        if self.subrequests >= self.limits.subrequests:
            raise OperationError(
                OperationErrorCode.LIMIT_EXCEEDED,
                f"over the limit of {self.limits.subrequests} subrequests an event and what it calls by service "
                "bindings, together; the platform can raise `limits.subrequests` of the script that called first",
            )
        self.subrequests += 1

    def check_computing(self) -> None:
        """Raises OperationError(limit_exceeded)."""
        if self.computed_ns >= self.limits.cpu_ms * 1_000_000:
            raise OperationError(
                OperationErrorCode.LIMIT_EXCEEDED,
                f"over the limit of {self.limits.cpu_ms} ms of what the host computes for an event and what it calls "
                "by service bindings, together; the platform can raise `limits.cpu_ms` of the script that called first",
            )

    # -- what another process runs -------------------------------------------------------------------

    def left(self) -> Share:
        """For one call. What it uses is taken off when it has ended (`charge`): several at once have each of them
        as much, and are bounded by the room that the other process has.
        """
        return Share(
            cpu_ms=-(-self.left_ns // 1_000_000), subrequests=self.limits.subrequests - self.subrequests
        )

    def charge(self, share: Share, cpu_ns: int, subrequests: int) -> None:
        """What such a call used, as the other process tells."""
        self.subrequests = min(
            self.limits.subrequests, self.subrequests + min(subrequests, share.subrequests)
        )
        self._gone_ns += min(cpu_ns, self.limits.cpu_ms * 1_000_000)
        self.settle()
