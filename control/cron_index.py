"""Which schedules are due: kept by expression, so that ten thousand of one expression cost one search. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from model.cron import last_due_ms, next_due_ms
from model.cron_syntax import parse_cron
from model.schedules import DueRun, Schedule
from model.scripts import ScriptRef


class CronIndex:
    """`replace` what changed, `take_due` when `next_ms` has come. A due time that nobody came for in time is made up
    for once, at the latest of those that were missed.
    """

    def __init__(self) -> None:
        self._of_script: dict[ScriptRef, dict[str, Schedule]] = {}
        self._by_cron: dict[str, dict[ScriptRef, Schedule]] = {}
        self._next: list[tuple[int, str]] = []

    def __contains__(self, schedule: Schedule) -> bool:
        found = self._of_script.get(schedule.ref, {}).get(schedule.cron)
        return found is not None and found.created_at_ms == schedule.created_at_ms

    @property
    def next_ms(self) -> int | None:
        return self._next[0][0] if self._next else None

    def scripts(self) -> list[ScriptRef]:
        return list(self._of_script)

    def replace(
        self,
        ref: ScriptRef,
        schedules: Sequence[Schedule],
        now_ms: int,
        begun_ms: Callable[[Schedule], int] = lambda schedule: 0,
    ) -> list[DueRun]:
        """These are a script's schedules from now on. Answers those of the new ones whose time has come already.

        `begun_ms`: the latest due time of a schedule that somebody has begun; 0: none.
        """
        before = self._of_script.pop(ref, {})
        for cron in before:
            del self._by_cron[cron][ref]
        if schedules:
            self._of_script[ref] = {schedule.cron: schedule for schedule in schedules}
        overdue = []
        for schedule in schedules:
            self._list(schedule, now_ms)
            known = before.get(schedule.cron)
            if known is None or known.created_at_ms != schedule.created_at_ms:
                due_ms = last_due_ms(parse_cron(schedule.cron), now_ms)
                if due_ms is not None and due_ms > max(schedule.created_at_ms, begun_ms(schedule)):
                    overdue.append(DueRun(schedule, due_ms))
        return overdue

    def take_due(self, now_ms: int) -> list[DueRun]:
        """What has become due since the last time, each schedule once."""
        due = []
        while self._next and self._next[0][0] <= now_ms:
            _, text = heapq.heappop(self._next)
            group = self._by_cron[text]
            if not group:
                del self._by_cron[text]
                continue
            cron = parse_cron(text)
            due_ms = last_due_ms(cron, now_ms)
            if due_ms is not None:
                due += [DueRun(s, due_ms) for s in group.values() if s.created_at_ms < due_ms]
            self._push(text, now_ms)
        return due

    def _list(self, schedule: Schedule, now_ms: int) -> None:
        group = self._by_cron.get(schedule.cron)
        if group is None:
            group = self._by_cron[schedule.cron] = {}
            self._push(schedule.cron, now_ms)
        group[schedule.ref] = schedule

    def _push(self, text: str, now_ms: int) -> None:
        next_ms = next_due_ms(parse_cron(text), now_ms)
        if next_ms is not None:
            heapq.heappush(self._next, (next_ms, text))
