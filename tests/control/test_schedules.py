"""Schedules over the API: Cloudflare's shape, for plain and namespaced scripts, and the history of their runs."""

from __future__ import annotations

import pytest

from model.cron import MINUTE_MS
from model.identity import ScriptName
from model.schedules import DueRun, RunEnd
from model.scripts import ScriptRef
from storage.schedule_records import SCHEDULES_PER_SCRIPT
from tests.control.support import Host, ok, refused, script_path, worker_module


async def put(host: Host, path: str, *crons: str) -> list[str]:
    shown = ok(await host.api.put(path, json=[{"cron": cron} for cron in crons]))
    assert all(schedule["created_on"] == schedule["modified_on"] for schedule in shown["schedules"])
    return [schedule["cron"] for schedule in shown["schedules"]]


@pytest.mark.parametrize("namespace", [None, "prod"])
async def test_schedules_are_set_as_a_whole(host: Host, namespace: str | None) -> None:
    if namespace:
        await host.namespace(namespace)
    ok(await host.deploy("report", namespace, module=worker_module("fetch", "scheduled")))
    path = script_path("report", namespace) + "/schedules"
    assert ok(await host.api.get(path)) == {"schedules": []}
    assert await put(host, path, "*/5 * * * *", " 0  3 * * MON", "0 3 * * MON") == [
        "*/5 * * * *",
        "0 3 * * MON",
    ]
    before = ok(await host.api.get(path))
    # What stays, stays as it was; a deploy changes nothing of them.
    ok(await host.deploy("report", namespace, module=worker_module("scheduled", note="again")))
    assert ok(await host.api.get(path)) == before
    assert await put(host, path, "0 3 * * MON", "1 * * * *") == ["0 3 * * MON", "1 * * * *"]
    assert ok(await host.api.get(path))["schedules"][0] == before["schedules"][1]
    # As it was shown, sent back.
    ok(await host.api.put(path, json=ok(await host.api.get(path))["schedules"]))
    assert await put(host, path) == []


async def test_what_is_refused_changes_nothing(host: Host) -> None:
    ok(await host.deploy("plain"))
    ok(await host.deploy("report", module=worker_module("scheduled")))
    path = script_path("report") + "/schedules"
    assert await put(host, path, "0 3 * * *") == ["0 3 * * *"]
    state = host.state()
    bad = [{"cron": "* * * * *"}, {"cron": "0 0 * * 0"}]
    assert "day of week '0'" in refused(await host.api.put(path, json=bad), 400, 10100, "[1].cron")
    many = [{"cron": f"{minute} * * * *"} for minute in range(SCHEDULES_PER_SCRIPT + 1)]
    refused(await host.api.put(path, json=many), 400, 10100)
    refused(await host.api.put(path, json={"crons": []}), 400, 10026)
    refused(await host.api.put(path, json=[{"cron": 5}]), 400, 10026)
    missing = script_path("missing") + "/schedules"
    refused(await host.api.put(missing, json=[]), 404, 10007)
    refused(await host.api.get(missing), 404, 10007)
    refused(await host.api.get(missing + "/history"), 404, 10007)
    plain = script_path("plain") + "/schedules"
    refused(await host.api.put(plain, json=[{"cron": "* * * * *"}]), 400, 10069)
    ok(await host.api.put(plain, json=[]))
    assert host.state() == state


async def test_schedules_go_with_their_script(host: Host) -> None:
    await host.namespace()
    for namespace in (None, "prod"):
        ok(await host.deploy("report", namespace, module=worker_module("scheduled")))
        await put(host, script_path("report", namespace) + "/schedules", "0 3 * * *")
    ok(await host.api.delete(script_path("report")))
    assert [s.ref.namespace for s in await host.store.schedules.page(None, 10)] == ["prod"]
    ok(await host.api.delete(script_path("report", "prod").rpartition("/scripts/")[0] + "?force=true"))
    assert await host.store.schedules.page(None, 10) == []


async def test_history_is_shown_newest_first_and_only_of_this_script(host: Host) -> None:
    ok(await host.deploy("report", module=worker_module("scheduled")))
    path = script_path("report") + "/schedules"
    await put(host, path, "* * * * *", "*/2 * * * *")
    every, every_two = host.store.schedules.of_script(ScriptRef(None, ScriptName("report")))
    due_ms = every.created_at_ms // MINUTE_MS * MINUTE_MS - MINUTE_MS
    for number, (schedule, outcome) in enumerate([(every, "ok"), (every_two, "exception"), (every, None)]):
        (run,) = await host.cron.begin([DueRun(schedule, due_ms + number)], "m")
        if outcome is not None:
            await host.cron.end(
                run.id, RunEnd(outcome, "why" if outcome != "ok" else "", run.started_at_ms + 5, 1_500)
            )
    shown = ok(await host.api.get(path + "/history"))
    assert {run["outcome"] for run in shown} == {None, "exception", "ok"}
    (failed,) = ok(await host.api.get(path + "/history", params={"cron": "*/2 * * * *"}))
    assert (failed["error"], failed["wall_ms"], failed["cpu_us"], failed["missed"]) == ("why", 5, 1_500, 0)
    assert failed["late_ms"] > 0
    assert len(ok(await host.api.get(path + "/history", params={"limit": "1"}))) == 1
    refused(await host.api.get(path + "/history", params={"limit": "101"}), 400, 10021, "limit")
    # Another script of the same name, later: what was before it is not its to see.
    ok(await host.api.delete(script_path("report")))
    ok(await host.deploy("report", module=worker_module("scheduled")))
    assert ok(await host.api.get(path + "/history")) == []
