"""Cron triggers on a whole host: what came due while it was down runs once when it is back, and is told how late."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from model.cron import MINUTE_MS
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.postgres.address import DatabaseAddress
from tests.acceptance.platform import Platform, wait_until
from tests.acceptance.test_many_machines import new_machine, settings_for


def made_earlier(host: Platform, minutes: int) -> None:
    """The schedules of a host that is down were made so long ago."""
    sequence = ChangeSequence(host.data / "changes.seq")
    store = ControlStore.open(host.data / "control.db", sequence)
    store.database.write_blocking(
        lambda tx: tx.execute(
            "UPDATE schedules SET created_at_ms = created_at_ms - ?", (minutes * MINUTE_MS,)
        )
    )
    store.close()
    sequence.close()


def history(host: Platform, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(host.run("cron", "history", "tests", name, "--json"))
    return found


def test_what_came_due_while_the_host_was_down_runs_once(own_platform: Platform) -> None:
    host = own_platform
    for name in ("report", "report-2"):
        host.deploy("scheduled", name, "--kv", "RUNS=runs-" + name)
    host.deploy("hello", "plain")
    # Twenty minutes ago and ten, and not again while this test runs.
    at = time.time()
    earlier, latest = (int(at // 60 - ago) for ago in (20, 10))
    cron = f"{earlier % 60},{latest % 60} * * * *"
    assert host.run("cron", "set", "tests", "report", cron) == "tests/report: 1 schedule\n"
    host.run("cron", "set", "tests", "report-2", "0 0 1 1 *", "0 0 2 1 *")
    assert cron in host.run("cron", "list", "tests", "report")
    host.run("cron", "set", "tests", "plain", cron, expect=1)
    host.run("cron", "set", "tests", "report", "* * * * 0", expect=2)

    assert host.stop() == 0
    made_earlier(host, 30)
    host.start()
    wait_until(lambda: any(run["outcome"] is not None for run in history(host, "report")))
    (run,) = history(host, "report")
    assert (run["outcome"], run["cron"], run["missed"]) == ("ok", cron, 1)
    assert run["scheduled_time"].startswith(time.strftime("%Y-%m-%dT%H:%M:00", time.gmtime(latest * 60)))
    assert 600_000 <= run["late_ms"] < 900_000
    assert run["cpu_us"] > 0
    assert host.request("report.localhost").body == f"{latest * MINUTE_MS} {cron}\n"
    assert host.request("report-2.localhost").body == "never\n"
    assert host.metrics()["tenantry_cron_missed_total"] == 1

    # A control process that dies forgets nothing that was begun: its successor begins none of it again.
    host.kill_control()
    host.deploy("hello", "later")
    assert history(host, "report") == [run]


def test_machines_that_share_a_database_run_each_due_time_once(
    tmp_path: Path, database_address: DatabaseAddress
) -> None:
    """Waits for the next full minute."""
    a = new_machine(tmp_path / "a")
    machines = [a]
    try:
        a.start(*settings_for(tmp_path / "a", database_address))
        b = new_machine(tmp_path / "b", a)
        machines.append(b)
        b.start(*settings_for(tmp_path / "b", database_address))
        names = [f"report-{number}" for number in range(6)]
        for name in names:
            a.deploy("scheduled", name, "--kv", f"RUNS=runs-{name}")
            a.run("cron", "set", "tests", name, "* * * * *")
        wait_until(
            lambda: all(any(run["outcome"] for run in history(b, name)) for name in names), timeout_s=120
        )
        for name in names:
            runs = history(a, name)
            assert {run["outcome"] for run in runs} <= {"ok", None}
            assert len({run["scheduled_time"] for run in runs}) == len(runs)
            assert all(run["machine"] for run in runs)
    finally:
        for machine in machines:
            machine.stop()
