"""Begun due times and history of cron triggers in one SQLite file, for a single machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

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
from storage.database import Database, Transaction
from storage.migrations import Migrations, load_queries


def cron_migrations() -> Migrations:
    """What `Database.open` needs for the file that a SqliteCronStore stands on."""
    return Migrations.load("cron")


class SqliteCronStore:
    """Implements storage.cron_protocol.CronStore. Use from one event loop."""

    def __init__(self, database: Database, now_ms: Callable[[], int] = unix_ms) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("cron")

    async def claimed(self) -> dict[tuple[ScriptRef, str], int]:
        rows = await self._database.read_in_thread(self._sql["claimed"])
        return {(to_ref(namespace, script), cron): due_ms for namespace, script, cron, due_ms in rows}

    async def begin(self, due: Sequence[DueRun], machine: str) -> list[BegunRun]:
        ids = [new_id() for _ in due]
        now = self._now_ms()

        def work(tx: Transaction) -> list[BegunRun]:
            begun = []
            for run_id, wanted in zip(ids, due, strict=True):
                schedule = wanted.schedule
                key = (namespace_key(schedule.ref.namespace), schedule.ref.script)
                rows = tx.execute(self._sql["claim"], (*key, schedule.cron, wanted.due_ms))
                if not rows:
                    continue
                missed = missed_before(wanted, rows[0][0])
                row = (run_id, *key, schedule.cron, wanted.due_ms, now, missed, machine)
                tx.execute(self._sql["begin"], row)
                tx.execute(self._sql["prune"], (*key, RUNS_PER_SCRIPT - 1))
                begun.append(BegunRun(run_id, wanted, missed, now))
            return begun

        return await self._database.write(work)

    async def end(self, run_id: str, end: RunEnd) -> None:
        row = (run_id, end.ended_at_ms, end.outcome, end.error[:ERROR_CHARACTERS], end.cpu_us)
        await self._database.write(partial(_execute, self._sql["end"], row))

    async def abandon(self, machine: str | None) -> int:
        now = self._now_ms()
        row = (now, UNKNOWN, LOST, machine, now - LONGEST_RUN_MS)
        return await self._database.write(partial(_execute, self._sql["abandon"], row))

    async def runs(self, ref: ScriptRef, cron: str | None, limit: int) -> list[RunRecord]:
        wanted = (namespace_key(ref.namespace), ref.script, cron, limit)
        return [to_run(row) for row in await self._database.read_in_thread(self._sql["runs"], wanted)]

    async def scripts(self, after: ScriptRef | None, limit: int) -> list[ScriptRef]:
        place = ("", "") if after is None else (namespace_key(after.namespace), after.script)
        rows = await self._database.read_in_thread(self._sql["scripts"], (*place, limit))
        return [to_ref(namespace, script) for namespace, script in rows]

    async def forget(self, ref: ScriptRef, keep: Collection[str] | None = None) -> None:
        key = (namespace_key(ref.namespace), ref.script)

        def work(tx: Transaction) -> None:
            for (cron,) in tx.execute(self._sql["claims_of_script"], key):
                if keep is None or cron not in keep:
                    tx.execute(self._sql["delete_claim"], (*key, cron))
            if keep is None:
                tx.execute(self._sql["delete_runs"], key)

        await self._database.write(work)

    async def sweep(self, before_ms: int) -> int:
        return await self._database.write(partial(_execute, self._sql["sweep"], (before_ms, SWEEP_ROWS)))


def _execute(sql: str, row: Sequence[str | int | None], tx: Transaction) -> int:
    tx.execute(sql, row)
    return tx.changes()
