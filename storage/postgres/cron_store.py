"""Begun due times and history of cron triggers on PostgreSQL: each due time is begun by one machine of several."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from model.clock import unix_ms
from model.schedules import UNKNOWN, BegunRun, DueRun, RunEnd, RunRecord
from model.scripts import ScriptRef
from storage.control_records import namespace_key, new_id, to_ref
from storage.cron_protocol import (
    ERROR_CHARACTERS,
    LONGEST_RUN_MS,
    LOST,
    RUNS_PER_SCRIPT,
    SWEEP_ROWS,
    missed_before,
    to_run,
)
from storage.migrations import load_queries
from storage.postgres.connection import PgDatabase, PgTransaction
from storage.postgres.schema import POSTGRES_SQL


class PgCronStore:
    """Implements storage.cron_protocol.CronStore. Use from one event loop. The machines' clocks need to agree no
    better than their runs are to be on time: what is begun never depends on them.
    """

    def __init__(self, database: PgDatabase, now_ms: Callable[[], int] = unix_ms) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("cron", POSTGRES_SQL)

    async def claimed(self) -> dict[tuple[ScriptRef, str], int]:
        rows = await self._database.fetch(self._sql["claimed"])
        return {(to_ref(namespace, script), cron): due_ms for namespace, script, cron, due_ms in rows}

    async def begin(self, due: Sequence[DueRun], machine: str) -> list[BegunRun]:
        ids = {new_id(): wanted for wanted in sorted(due, key=_key)}
        by_key = {_key(wanted): run_id for run_id, wanted in ids.items()}
        now = self._now_ms()

        async def work(tx: PgTransaction) -> list[BegunRun]:
            # If this is the second time, the first may have been committed without our knowing.
            before = await tx.fetch(self._sql["begun"], list(ids))
            if before:
                return [BegunRun(run_id, ids[run_id], missed, started) for run_id, missed, started in before]
            keys = list(by_key)
            claimed = await tx.fetch(self._sql["claim"], *_columns(keys, 3), [w.due_ms for w in ids.values()])
            begun = []
            for namespace, script, cron, previous_ms in claimed:
                run_id = by_key[(namespace, script, cron)]
                begun.append(BegunRun(run_id, ids[run_id], missed_before(ids[run_id], previous_ms), now))
            if not begun:
                return []
            await tx.execute(
                self._sql["begin"],
                [run.id for run in begun],
                *_columns([_key(run.due) for run in begun], 3),
                [run.due.due_ms for run in begun],
                [run.missed for run in begun],
                now,
                machine,
            )
            scripts = sorted({_key(run.due)[:2] for run in begun})
            await tx.execute(self._sql["prune"], *_columns(scripts, 2), RUNS_PER_SCRIPT - 1)
            return begun

        return await self._database.write(work, repeatable=True)

    async def end(self, run_id: str, end: RunEnd) -> None:
        error = end.error.replace("\0", "")[:ERROR_CHARACTERS]
        await self._execute("end", run_id, end.ended_at_ms, end.outcome, error, end.cpu_us)

    async def abandon(self, machine: str | None) -> int:
        now = self._now_ms()
        return await self._execute("abandon", now, UNKNOWN, LOST, machine, now - LONGEST_RUN_MS)

    async def runs(self, ref: ScriptRef, cron: str | None, limit: int) -> list[RunRecord]:
        rows = await self._database.fetch(
            self._sql["runs"], namespace_key(ref.namespace), ref.script, cron, limit
        )
        return [to_run(row) for row in rows]

    async def scripts(self, after: ScriptRef | None, limit: int) -> list[ScriptRef]:
        place = ("", "") if after is None else (namespace_key(after.namespace), after.script)
        rows = await self._database.fetch(self._sql["scripts"], *place, limit)
        return [to_ref(namespace, script) for namespace, script in rows]

    async def forget(self, ref: ScriptRef, keep: Collection[str] | None = None) -> None:
        key = (namespace_key(ref.namespace), ref.script)

        async def work(tx: PgTransaction) -> None:
            await tx.execute(self._sql["forget_claims"], *key, None if keep is None else list(keep))
            if keep is None:
                await tx.execute(self._sql["forget_runs"], *key)

        await self._database.write(work, repeatable=True)

    async def sweep(self, before_ms: int) -> int:
        return await self._execute("sweep", before_ms, SWEEP_ROWS)

    async def _execute(self, statement: str, *args: object) -> int:
        async def work(tx: PgTransaction) -> int:
            return await tx.execute(self._sql[statement], *args)

        return await self._database.write(work, repeatable=True)


def _key(due: DueRun) -> tuple[str, str, str]:
    return (namespace_key(due.schedule.ref.namespace), due.schedule.ref.script, due.schedule.cron)


def _columns(rows: Sequence[tuple[str, ...]], count: int) -> list[list[str]]:
    return [[row[at] for row in rows] for at in range(count)]
