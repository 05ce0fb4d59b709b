"""No counter that was shown goes back when the process which adds them up dies and starts again."""

from __future__ import annotations

from pathlib import Path

import pytest

from observability.kept_totals import KeptTotals
from observability.metrics import Counters, Samples

LINES = "tenantry_log_lines_total"
RUNNING = "tenantry_running_events"
RESTARTS = "tenantry_process_restarts_total"
SWEPT = "tenantry_leftovers_removed_total"


def snapshot(lines: int, running: int = 0) -> list[list[object]]:
    return [[LINES, [], [lines]], [RUNNING, [], [running]]]


def value(samples: Samples, name: str, *labels: str) -> float:
    return samples.get((name, labels), [0])[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "totals"


def test_the_numbers_of_the_dead_and_of_the_living_survive(path: Path) -> None:
    first = KeptTotals(path, "run")
    first.update("worker-0/10", snapshot(5))
    first.update("worker-1/11", snapshot(7))
    first.ended("worker-0/10")
    assert value(first.shown({}), LINES) == 12
    second = KeptTotals(path, "run")
    assert value(second.shown({}), LINES) == 12
    second.update("worker-1/11", snapshot(9))  # it lives, and sends its own sum
    assert value(second.shown({}), LINES) == 14


def test_who_died_while_nobody_added_up_is_ended_later_and_stays_in_the_sum(path: Path) -> None:
    first = KeptTotals(path, "run")
    first.update("worker-0/10", snapshot(5, running=3))
    first.shown({})
    second = KeptTotals(path, "run")
    assert second.processes == {"worker-0/10"}
    assert value(second.shown({}), RUNNING) == 0  # a gauge of the past says nothing
    second.ended("worker-0/10")
    second.update("worker-0/12", snapshot(1))
    assert value(second.shown({}), LINES) == 6


def test_its_own_counters_go_on_but_for_those_that_are_told_anew(path: Path) -> None:
    own = Counters()
    own.count(SWEPT, "modules").value = 4
    own.count(RESTARTS, "worker").value = 2
    KeptTotals(path, "run", frozenset({RESTARTS})).shown(own.samples())
    again = Counters()
    again.count(SWEPT, "modules").value = 1
    again.count(RESTARTS, "worker").value = 2
    shown = KeptTotals(path, "run", frozenset({RESTARTS})).shown(again.samples())
    assert value(shown, SWEPT, "modules") == 5
    assert value(shown, RESTARTS, "worker") == 2
    third = KeptTotals(path, "run", frozenset({RESTARTS})).shown(Counters().samples())
    assert value(third, SWEPT, "modules") == 5


def test_what_nobody_looked_at_is_kept_every_few_seconds(path: Path) -> None:
    now = [0.0]
    totals = KeptTotals(path, "run", now_s=lambda: now[0])
    totals.update("worker-0/10", snapshot(5))
    assert not path.exists()
    now[0] = 5.0
    totals.update("worker-0/10", snapshot(6))
    assert value(KeptTotals(path, "run").shown({}), LINES) == 6


def test_another_run_of_the_host_begins_anew(path: Path) -> None:
    totals = KeptTotals(path, "one")
    totals.update("worker-0/10", snapshot(5))
    totals.shown({})
    assert value(KeptTotals(path, "two").shown({}), LINES) == 0


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x90", b"\x94\xa3run\x01\x02\x03", b"garbage" * 100])
def test_a_damaged_file_is_said_and_left_behind(
    path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(damage)
    totals = KeptTotals(path, "run")
    assert "counters begin anew" in caplog.text
    totals.update("worker-0/10", snapshot(5))
    assert value(totals.shown({}), LINES) == 5
    assert value(KeptTotals(path, "run").shown({}), LINES) == 5


def test_a_disk_that_fails_is_said_once_and_the_numbers_are_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    totals = KeptTotals(tmp_path / "nowhere" / "totals", "run")
    totals.update("worker-0/10", snapshot(5))
    for _ in range(3):
        assert value(totals.shown({}), LINES) == 5
    assert caplog.text.count("may go back") == 1
