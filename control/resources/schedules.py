"""When a script's `scheduled` handler runs, and how it went: `…/scripts/{script}/schedules`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from control.call import Call, Endpoint, rfc3339
from control.envelope import success
from control.pagination import parse_number
from control.resources.addresses import SCRIPT
from model.schedules import RunRecord, Schedule
from storage.cron_protocol import RUNS_PER_SCRIPT


class ScheduleRequest(msgspec.Struct):
    """What else `get` had shown of it may be sent back."""

    cron: str


async def get(call: Call) -> Response:
    call.store.scripts.get(call.ref)
    return success(_show(call.store.schedules.of_script(call.ref)))


async def put(call: Call) -> Response:
    """All of them at once: those that are not named any more are gone."""
    wanted = await call.json(list[ScheduleRequest])
    version = call.store.scripts.get(call.ref)
    return success(_show(await call.store.schedules.put(version.ref, [schedule.cron for schedule in wanted])))


async def history(call: Call) -> Response:
    """The newest runs first."""
    limit = parse_number(call.query, "limit", 1, RUNS_PER_SCRIPT, RUNS_PER_SCRIPT)
    version = call.store.scripts.get(call.ref)
    runs = await call.services.cron.runs(version.ref, call.query.get("cron"), limit)
    # One of this name that was deleted before may have been somebody else's.
    own = [run for run in runs if run.started_at_ms >= version.created_at_s * 1000]
    return success([_show_run(run) for run in own])


def _show(schedules: Sequence[Schedule]) -> dict[str, Any]:
    return {
        "schedules": [
            {
                "cron": schedule.cron,
                "created_on": rfc3339(schedule.created_at_ms),
                "modified_on": rfc3339(schedule.created_at_ms),
            }
            for schedule in schedules
        ]
    }


def _show_run(run: RunRecord) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": run.id,
        "cron": run.cron,
        "scheduled_time": rfc3339(run.due_ms),
        "started_on": rfc3339(run.started_at_ms),
        "late_ms": max(run.started_at_ms - run.due_ms, 0),
        "missed": run.missed,
        "machine": run.machine,
        "outcome": None,
    }
    if run.end is not None:
        shown |= {
            "outcome": run.end.outcome,
            "ended_on": rfc3339(run.end.ended_at_ms),
            "wall_ms": max(run.end.ended_at_ms - run.started_at_ms, 0),
            "cpu_us": run.end.cpu_us,
            "error": run.end.error,
        }
    return shown


ENDPOINTS = [
    *(Endpoint("GET", f"{path}/schedules", get) for path in SCRIPT),
    *(Endpoint("PUT", f"{path}/schedules", put) for path in SCRIPT),
    *(Endpoint("GET", f"{path}/schedules/history", history) for path in SCRIPT),
]
