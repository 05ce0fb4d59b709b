"""What keeps that a due time is run once, and the history: SQLite for one machine, PostgreSQL for several."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from model.cron import count_due
from model.cron_syntax import parse_cron
from model.schedules import UNKNOWN, BegunRun, DueRun, RunEnd, RunRecord
from model.scripts import ScriptRef

#: Runs of one script that the history keeps.
RUNS_PER_SCRIPT: Final = 100
#: A run ends within 15 minutes. One that has not ended after this was lost with its machine.
LONGEST_RUN_MS: Final = 20 * 60 * 1000
SWEEP_ROWS: Final = 500
ERROR_CHARACTERS: Final = 500
LOST: Final = "the host ended during this run; how it ended is not known"


class CronStore(Protocol):
    """Several machines may use the same one. Methods raise StorageError subclasses."""

    async def claimed(self) -> Mapping[tuple[ScriptRef, str], int]:
        """Of each script and expression, the latest due time that was begun."""

    async def begin(self, due: Sequence[DueRun], machine: str) -> list[BegunRun]:
        """Those of `due` that nobody has begun, and that are now begun by `machine`: durable, once for each due
        time whoever asks. An earlier due time of the same schedule is never begun after a later one. `due` has no
        schedule twice.
        """

    async def end(self, run_id: str, end: RunEnd) -> None:
        """Idempotent: the first end stays."""

    async def abandon(self, machine: str | None) -> int:
        """Ends, as UNKNOWN, what `machine` left open when it ended, and what can't run any more. How many."""

    async def runs(self, ref: ScriptRef, cron: str | None, limit: int) -> list[RunRecord]:
        """The newest `limit` runs of a script, of one expression or all (None), newest first."""

    async def scripts(self, after: ScriptRef | None, limit: int) -> list[ScriptRef]:
        """Scripts of which there is anything here, by namespace and name."""

    async def forget(self, ref: ScriptRef, keep: Collection[str] | None = None) -> None:
        """All of a script that is gone; with `keep`, only what was begun of other expressions than these."""

    async def sweep(self, before_ms: int) -> int:
        """Removes some of the runs begun before then; how many, SWEEP_ROWS when there may be more."""


def missed_before(due: DueRun, previous_ms: int) -> int:
    """How many due times nobody ran between the one begun before (0: none) and this one. Pure."""
    since_ms = max(previous_ms, due.schedule.created_at_ms)
    return count_due(parse_cron(due.schedule.cron), since_ms, due.due_ms)


def to_run(row: Sequence[Any]) -> RunRecord:
    """Of a row of the statement `runs`, in both engines."""
    run_id, cron, due_ms, started_ms, missed, machine, ended_ms, outcome, error, cpu_us = row
    end = None if ended_ms is None else RunEnd(outcome or UNKNOWN, error or "", ended_ms, cpu_us)
    return RunRecord(run_id, cron, due_ms, started_ms, missed, machine, end)
