"""Run what cron triggers have due: follow the schedules, begin each due time once in the cluster, keep how it ended.

Every machine's control process runs one CronRunner. All of them know what is due; who begins it is settled in the
CronStore, as late as there is room to run it, so that a machine takes no more than it can do. A run whose host dies
under it is not repeated, as nothing is known of how far it came; a due time that nobody began is made up for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from control.cron_index import CronIndex
from control.cron_turns import MOST_RUNNING, CronTurns
from model.clock import unix_ms
from model.identity import NamespaceName, ScriptName
from model.outcome import EventOutcome
from model.schedules import BegunRun, RunEnd, Schedule
from model.scripts import ScriptRef
from storage.control_store import ControlStore
from storage.cron_protocol import SWEEP_ROWS, CronStore
from storage.failures import StorageError

LOG = logging.getLogger("tenantry.cron")

_PAGE: Final = 500
#: Begun in one transaction.
_BATCH: Final = 32
#: How often an end that the disk refused is tried again.
_END_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class CronSettings:
    running: int = MOST_RUNNING
    #: How soon a change of the schedules is seen, and a failed turn tried again.
    poll_s: float = 1.0
    #: Pauses before a run is offered again that no worker process took.
    offers_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    sweep_s: float = 3600.0
    history_ms: int = 30 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Ran:
    """How a worker process says that a run ended: words of model.outcome."""

    outcome: str
    error: str = ""
    cpu_us: int | None = None


class NotTaken(Exception):
    """No worker process took the run; nothing of it has happened. The message says why."""


#: (script, the event) → how it ended. Raises NotTaken.
RunScheduled = Callable[[ScriptRef, Mapping[str, object]], Awaitable[Ran]]


class CronRunner:
    """`run()` in a task of its own; `stop()` ends it."""

    def __init__(
        self,
        control: ControlStore,
        store: CronStore,
        run_scheduled: RunScheduled,
        machine: str,
        *,
        may_begin: Callable[[], bool] = lambda: True,
        on_missed: Callable[[int], None] = lambda count: None,
        settings: CronSettings = CronSettings(),
        now_ms: Callable[[], int] = unix_ms,
    ) -> None:
        """`machine` stays the same when this process starts again, and no other machine has it."""
        self._control = control
        self._store = store
        self._run_scheduled = run_scheduled
        self._machine = machine
        self._may_begin = may_begin
        self._on_missed = on_missed
        self._settings = settings
        self._now_ms = now_ms
        self._index = CronIndex()
        self._turns = CronTurns(settings.running)
        self._sequence = -1
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._abandoned = False

    @property
    def waiting(self) -> int:
        """Due runs that have not begun."""
        return self._turns.waiting

    async def run(self) -> None:
        """Until `stop()`. What fails is logged and tried again at the next turn."""
        failing = False
        while not self._stopping:
            self._wake.clear()
            pause_s = self._settings.poll_s
            try:
                await self._turn()
                failing = False
                pause_s = self._pause_s()
            except StorageError as error:
                if not failing:
                    LOG.warning("schedules are not looked at: %s (%s)", error.message, error.detail)
                failing = True
            except Exception:
                # A bug must not end every tenant's schedules.
                LOG.exception("schedules were not looked at")
            try:
                await asyncio.wait_for(self._wake.wait(), pause_s)
            except TimeoutError:
                continue

    async def stop(self, drain_s: float) -> None:
        """Begin nothing new; those that run may end for `drain_s`."""
        self._stopping = True
        self._wake.set()
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=drain_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def sweep_forever(self) -> None:
        """Until cancelled, remove from the history what is old, or of scripts that are gone."""
        while True:
            await asyncio.sleep(self._settings.sweep_s)
            try:
                await self.sweep()
            except StorageError as error:
                LOG.warning("the history of schedules was not swept: %s (%s)", error.message, error.detail)

    async def sweep(self) -> None:
        await self._store.abandon(None)
        while await self._store.sweep(self._now_ms() - self._settings.history_ms) == SWEEP_ROWS:
            pass
        after: ScriptRef | None = None
        while found := await self._store.scripts(after, _PAGE):
            after = found[-1]
            for ref in found:
                schedules = self._control.schedules.of_script(ref)
                if self._control.script(ref) is None:
                    await self._store.forget(ref)
                else:
                    await self._store.forget(ref, [schedule.cron for schedule in schedules])

    def _pause_s(self) -> float:
        next_ms = self._index.next_ms
        until_s = self._settings.poll_s if next_ms is None else (next_ms - self._now_ms()) / 1000
        return min(max(until_s, 0.001), self._settings.poll_s)

    async def _turn(self) -> None:
        await self._follow()
        self._turns.add(self._index.take_due(self._now_ms()))
        while not self._stopping and self._may_begin():
            taken = self._turns.take(_BATCH)
            due = [run for run in taken if run.schedule in self._index]
            for run in taken:
                if run.schedule not in self._index:  # changed while it waited
                    self._turns.ended(run.schedule)
            if not taken:
                return
            try:
                begun = await self._store.begin(due, self._machine) if due else []
            except BaseException:
                for run in due:
                    self._turns.ended(run.schedule)
                self._turns.add(due)
                raise
            ours = {run.due.schedule for run in begun}
            for run in due:
                if run.schedule not in ours:
                    self._turns.ended(run.schedule)
            for run_begun in begun:
                self._on_missed(run_begun.missed)
                task = asyncio.create_task(self._run_one(run_begun))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    # -- the schedules ---------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Bring the index up to what is stored."""
        if not self._abandoned:
            await self._store.abandon(self._machine)
            self._abandoned = True
        sequence = self._control.sequence()
        if sequence == self._sequence:
            return
        at, changes = (0, None) if self._sequence < 0 else self._control.changes_since(self._sequence)
        if changes is None:
            await self._load()
            self._sequence = sequence
            return
        for ref in {parse_key(key) for kind, key in changes if kind in ("schedule", "script")}:
            schedules = self._control.schedules.of_script(ref)
            self._turns.add(self._index.replace(ref, schedules, self._now_ms()))
        self._sequence = at

    async def _load(self) -> None:
        begun = await self._store.claimed()

        def begun_ms(schedule: Schedule) -> int:
            return begun.get((schedule.ref, schedule.cron), 0)

        gone = set(self._index.scripts())
        last: Schedule | None = None
        of_script: list[Schedule] = []
        while True:
            page = await self._control.schedules.page(last, _PAGE)
            for schedule in page:
                if of_script and of_script[-1].ref != schedule.ref:
                    self._take_up(of_script, begun_ms)
                    of_script = []
                gone.discard(schedule.ref)
                of_script.append(schedule)
            if not page:
                break
            last = page[-1]
        if of_script:
            self._take_up(of_script, begun_ms)
        for ref in gone:
            self._index.replace(ref, [], self._now_ms())

    def _take_up(self, schedules: list[Schedule], begun_ms: Callable[[Schedule], int]) -> None:
        self._turns.add(self._index.replace(schedules[0].ref, schedules, self._now_ms(), begun_ms))

    # -- one run -----------------------------------------------------------------------------------------

    async def _run_one(self, run: BegunRun) -> None:
        try:
            try:
                ran = await self._offer(run)
            except asyncio.CancelledError:
                return  # stopped while it ran: the next start ends it as unknown
            except Exception:
                LOG.exception("%s: its schedule %s was not run", run.due.schedule.ref, run.due.schedule.cron)
                ran = Ran(
                    EventOutcome.INTERNAL_ERROR, "the platform failed to run it; its log has the reason"
                )
            await self._store_end(run, RunEnd(ran.outcome, ran.error, self._now_ms(), ran.cpu_us))
        finally:
            self._turns.ended(run.due.schedule)
            self._wake.set()

    async def _offer(self, run: BegunRun) -> Ran:
        """Again and again while no process takes it: a worker process that restarts must not cost a night's run."""
        due = run.due
        why = ""
        for pause_s in (0.0, *self._settings.offers_s):
            if pause_s:
                await asyncio.sleep(pause_s)
            event = {
                "cron": due.schedule.cron,
                "scheduled_time_ms": due.due_ms,
                "late_ms": max(self._now_ms() - due.due_ms, 0),
                "missed": run.missed,
            }
            try:
                return await self._run_scheduled(due.schedule.ref, event)
            except NotTaken as error:
                why = str(error)
        return Ran(EventOutcome.LOAD_SHED, why)

    async def _store_end(self, run: BegunRun, end: RunEnd) -> None:
        for left in range(_END_TRIES - 1, -1, -1):
            try:
                await self._store.end(run.id, end)
                return
            except StorageError as error:
                LOG.warning("how a scheduled run ended was not stored: %s (%s)", error.message, error.detail)
            if left:
                await asyncio.sleep(self._settings.poll_s)


def parse_key(key: str) -> ScriptRef:
    """`namespace/name` or `/name`, as the change log has it."""
    namespace, _, name = key.partition("/")
    return ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName(name))
