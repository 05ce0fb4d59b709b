"""Cron triggers: which scripts have which. That a due time is run once is for a CronStore to see to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from model.cron_syntax import InvalidCron, parse_cron
from model.identity import TenantId
from model.schedules import Schedule
from model.scripts import ScriptRef
from storage.changes import record_change
from storage.control_failures import ChangeRefused, Rule
from storage.control_records import Read, decode_script, describe, namespace_key, to_ref
from storage.database import Database, Row, Transaction
from storage.migrations import load_queries
from storage.script_removal import script_missing

#: Each is looked at whenever it is due, on every machine.
SCHEDULES_PER_SCRIPT: Final = 25


class ScheduleRecords:
    """Changes are logged as "schedule", `namespace/name`."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("schedules")

    def of_script(self, ref: ScriptRef) -> list[Schedule]:
        """By expression; none for a script that is not there."""
        return _of_script(self._database.read, ref)

    async def page(self, after: Schedule | None, limit: int) -> list[Schedule]:
        """At most `limit` of all scripts, in order of namespace, script and expression, after that one."""
        place = (
            ("", "", "")
            if after is None
            else (namespace_key(after.ref.namespace), after.ref.script, after.cron)
        )
        rows = await self._database.read_in_thread(self._sql["page"], (*place, limit))
        return [_to_schedule(row) for row in rows]

    async def put(self, ref: ScriptRef, crons: Sequence[str]) -> list[Schedule]:
        """Make these the script's schedules. Those that it had already go on as they were.

        Raises ChangeRefused: script_missing and its like, schedule_invalid, handler_missing (there are some, and
        the script exports no `scheduled`).
        """
        wanted = set(check_crons(crons))
        now = self._now_ms()

        def work(tx: Transaction) -> list[Schedule]:
            key = (namespace_key(ref.namespace), ref.script)
            rows = tx.execute(load_queries("control")["script"], key)
            if not rows:
                raise script_missing(ref)
            handlers = decode_script(rows[0][0]).handlers
            if wanted and "scheduled" not in handlers:
                raise ChangeRefused(
                    Rule.HANDLER_MISSING,
                    f"{describe(ref)} exports no `scheduled` handler; it has {', '.join(sorted(handlers))}",
                )
            had = {schedule.cron for schedule in _of_script(tx.execute, ref)}
            for cron in had - wanted:
                tx.execute(self._sql["delete"], (*key, cron))
            for cron in wanted - had:
                tx.execute(self._sql["insert"], (*key, cron, now))
            if had != wanted:
                record_change(tx, "schedule", f"{key[0]}/{key[1]}")
            return _of_script(tx.execute, ref)

        return await self._database.write(work)


def check_crons(crons: Sequence[str]) -> list[str]:
    """Each in its one spelling. Raises ChangeRefused: schedule_invalid."""
    if len(crons) > SCHEDULES_PER_SCRIPT:
        raise ChangeRefused(
            Rule.SCHEDULE_INVALID,
            f"{len(crons)} schedules; a script has {SCHEDULES_PER_SCRIPT} at the most: one expression may name several"
            " minutes, hours or days",
        )
    spelled = []
    for index, cron in enumerate(crons):
        try:
            spelled.append(parse_cron(cron).text)
        except InvalidCron as error:
            field = f"[{index}].cron"
            raise ChangeRefused(Rule.SCHEDULE_INVALID, f"{field}: {error}", field) from None
    return spelled


def _of_script(read: Read, ref: ScriptRef) -> list[Schedule]:
    rows = read(load_queries("schedules")["of_script"], (namespace_key(ref.namespace), ref.script))
    return [_to_schedule(row) for row in rows]


def _to_schedule(row: Row) -> Schedule:
    namespace, script, cron, created_at_ms, tenant = row
    return Schedule(to_ref(namespace, script), cron, created_at_ms, TenantId(tenant))
