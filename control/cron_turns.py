"""Whose due run begins next, while more are due than may run at once. Pure.

All of a platform's nightly runs are due in the same minute. They begin as there is room, the owners in turn, so that
one with a thousand does not stand before the others; a run is late by what it waited, and is told so. No random
delays: who wants another minute can say so in the expression.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from model.identity import NamespaceName, TenantId
from model.schedules import DueRun, Schedule
from model.scripts import ScriptRef

#: Runs of a machine at once; each may last 15 minutes, most of it waiting.
MOST_RUNNING: Final = 128
#: Of one owner, however little room there is.
LEAST_SHARE: Final = 2
_SHARE_OF_FREE: Final = 4

Owner = tuple[NamespaceName | None, TenantId]
_Key = tuple[ScriptRef, str]


def owner_of(schedule: Schedule) -> Owner:
    return schedule.ref.namespace, schedule.tenant


def has_room(owner_running: int, running: int, most: int) -> bool:
    """Whether one more of an owner may run: a quarter of what is free is anybody's, so something is always left
    until there are very many owners.
    """
    return running < most and owner_running < max((most - running) // _SHARE_OF_FREE, LEAST_SHARE)


class CronTurns:
    """What waits, at most once a schedule, and how many run of whom."""

    def __init__(self, most: int = MOST_RUNNING) -> None:
        self._most = most
        self._waiting: OrderedDict[Owner, OrderedDict[_Key, DueRun]] = OrderedDict()
        self._running: dict[Owner, int] = {}
        self.running = 0

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, due: Iterable[DueRun]) -> None:
        """A later due time takes the place of an earlier one that still waits."""
        for run in due:
            of_owner = self._waiting.setdefault(owner_of(run.schedule), OrderedDict())
            key = (run.schedule.ref, run.schedule.cron)
            before = of_owner.get(key)
            if before is None or before.due_ms <= run.due_ms:
                of_owner[key] = run

    def take(self, count: int) -> list[DueRun]:
        """At most `count` that may run now, and count as running from here on."""
        taken: list[DueRun] = []
        passed = 0
        while len(taken) < count and passed < len(self._waiting) and self.running < self._most:
            owner, of_owner = next(iter(self._waiting.items()))
            self._waiting.move_to_end(owner)
            if not has_room(self._running.get(owner, 0), self.running, self._most):
                passed += 1
                continue
            passed = 0
            _, run = of_owner.popitem(last=False)
            if not of_owner:
                del self._waiting[owner]
            self._running[owner] = self._running.get(owner, 0) + 1
            self.running += 1
            taken.append(run)
        return taken

    def ended(self, schedule: Schedule) -> None:
        """One that `take` gave is over, or was another machine's."""
        owner = owner_of(schedule)
        self.running -= 1
        left = self._running.pop(owner) - 1
        if left:
            self._running[owner] = left
