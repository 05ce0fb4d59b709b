"""Cron's store without a disk: for tests, and for who wants to try what runs on schedules.

Public, and held to the same contract as the real ones (tests/contracts). Time is what the caller says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from model.clock import unix_ms
from model.schedules import UNKNOWN, BegunRun, DueRun, RunEnd, RunRecord
from model.scripts import ScriptRef
from storage.control_records import namespace_key
from storage.cron_protocol import (
    ERROR_CHARACTERS,
    LONGEST_RUN_MS,
    LOST,
    RUNS_PER_SCRIPT,
    SWEEP_ROWS,
    missed_before,
)


@dataclass(frozen=True, slots=True)
class _Run:
    ref: ScriptRef
    record: RunRecord


class MemoryCronStore:
    """A CronStore in dicts. Machines that share one are given the same."""

    def __init__(self, now_ms: Callable[[], int] = unix_ms) -> None:
        self._now_ms = now_ms
        self._claims: dict[tuple[ScriptRef, str], int] = {}
        #: By id, in the order in which they were begun.
        self._runs: dict[str, _Run] = {}
        self._begun = 0

    async def claimed(self) -> dict[tuple[ScriptRef, str], int]:
        return dict(self._claims)

    async def begin(self, due: Sequence[DueRun], machine: str) -> list[BegunRun]:
        now = self._now_ms()
        begun = []
        for wanted in due:
            schedule = wanted.schedule
            previous_ms = self._claims.get((schedule.ref, schedule.cron), 0)
            if wanted.due_ms <= previous_ms:
                continue
            self._claims[schedule.ref, schedule.cron] = wanted.due_ms
            self._begun += 1
            run = BegunRun(f"{self._begun:032x}", wanted, missed_before(wanted, previous_ms), now)
            record = RunRecord(run.id, schedule.cron, wanted.due_ms, now, run.missed, machine, None)
            self._runs[run.id] = _Run(schedule.ref, record)
            self._prune(schedule.ref)
            begun.append(run)
        return begun

    async def end(self, run_id: str, end: RunEnd) -> None:
        run = self._runs.get(run_id)
        if run is not None and run.record.end is None:
            self._end(run, replace(end, error=end.error[:ERROR_CHARACTERS]))

    async def abandon(self, machine: str | None) -> int:
        now = self._now_ms()
        lost = [
            run
            for run in self._runs.values()
            if run.record.end is None
            and (run.record.machine == machine or run.record.started_at_ms < now - LONGEST_RUN_MS)
        ]
        for run in lost:
            self._end(run, RunEnd(UNKNOWN, LOST, now))
        return len(lost)

    async def runs(self, ref: ScriptRef, cron: str | None, limit: int) -> list[RunRecord]:
        return [record for record in self._newest_first(ref) if cron is None or record.cron == cron][:limit]

    async def scripts(self, after: ScriptRef | None, limit: int) -> list[ScriptRef]:
        known = {ref for ref, _ in self._claims} | {run.ref for run in self._runs.values()}
        return sorted((ref for ref in known if after is None or _place(ref) > _place(after)), key=_place)[
            :limit
        ]

    async def forget(self, ref: ScriptRef, keep: Collection[str] | None = None) -> None:
        for claim in [claim for claim in self._claims if claim[0] == ref]:
            if keep is None or claim[1] not in keep:
                del self._claims[claim]
        if keep is None:
            self._remove([record.id for record in self._newest_first(ref)])

    async def sweep(self, before_ms: int) -> int:
        old = [
            run.record.id
            for run in self._runs.values()
            if run.record.end is not None and run.record.started_at_ms < before_ms
        ][:SWEEP_ROWS]
        self._remove(old)
        return len(old)

    def _end(self, run: _Run, end: RunEnd) -> None:
        self._runs[run.record.id] = replace(run, record=replace(run.record, end=end))

    def _newest_first(self, ref: ScriptRef) -> list[RunRecord]:
        of_script = [run.record for run in self._runs.values() if run.ref == ref]
        return sorted(of_script, key=lambda record: (record.started_at_ms, record.id), reverse=True)

    def _prune(self, ref: ScriptRef) -> None:
        beyond = self._newest_first(ref)[RUNS_PER_SCRIPT:]
        self._remove([record.id for record in beyond if record.end is not None])

    def _remove(self, ids: Sequence[str]) -> None:
        for run_id in ids:
            del self._runs[run_id]


def _place(ref: ScriptRef) -> tuple[str, str]:
    return namespace_key(ref.namespace), ref.script
