"""When a script's `scheduled` handler runs, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from model.identity import TenantId
from model.scripts import ScriptRef

#: A run's outcome where nobody lived to see its end. The other outcomes are model.outcome's.
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One cron trigger of one script. `cron` is spelled as model.cron_syntax spells it."""

    ref: ScriptRef
    cron: str
    #: Due times before this are not its.
    created_at_ms: int
    tenant: TenantId


@dataclass(frozen=True, slots=True)
class DueRun:
    """A schedule whose time has come."""

    schedule: Schedule
    due_ms: int


@dataclass(frozen=True, slots=True)
class BegunRun:
    """A due time that is ours to run, and nobody else's."""

    id: str
    due: DueRun
    #: Due times before this one that nobody ran; they are not made up for.
    missed: int
    started_at_ms: int

    @property
    def late_ms(self) -> int:
        return max(self.started_at_ms - self.due.due_ms, 0)


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended. `outcome` is of model.outcome, or UNKNOWN; `error` is for the tenant."""

    outcome: str
    error: str
    ended_at_ms: int
    cpu_us: int | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the history has it; `end` None: it still runs."""

    id: str
    cron: str
    due_ms: int
    started_at_ms: int
    missed: int
    machine: str
    end: RunEnd | None
