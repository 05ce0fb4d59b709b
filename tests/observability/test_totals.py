"""The sum over all processes never goes back, whoever dies, and what is sent wrongly changes nothing."""

from __future__ import annotations

import msgpack
import pytest
from prometheus_client.parser import text_string_to_metric_families

from observability.metrics import METRICS, Counters, Samples
from observability.totals import InvalidSnapshot, Totals, exposition, merge, parse_snapshot
from tests.observability.records import event

OK = ("tenantry_events_total", ("fetch", "ok"))
RUNNING = ("tenantry_running_events", ())


def worker(events: int, running: int = 0) -> Counters:
    counters = Counters()
    counters.gauge("tenantry_running_events", lambda: running)
    for _ in range(events):
        counters.event(event())
    return counters


def through_the_channel(counters: Counters) -> object:
    return msgpack.unpackb(msgpack.packb(counters.snapshot()))


def test_snapshots_of_several_processes_are_summed() -> None:
    totals = Totals()
    totals.update("worker-0/10", through_the_channel(worker(2, running=1)))
    totals.update("worker-1/11", through_the_channel(worker(3, running=4)))
    merged = totals.merged(worker(5).samples())
    assert merged[OK] == [10]
    assert merged[RUNNING] == [5]
    assert merged["tenantry_event_cpu_seconds", ()][0] == 700


def test_newer_snapshot_replaces_the_older_of_its_process() -> None:
    totals = Totals()
    for events in (1, 2, 3):
        totals.update("worker-0/10", through_the_channel(worker(events)))
    assert totals.merged()[OK] == [3]


def test_dead_process_stays_summed_without_its_gauges() -> None:
    totals = Totals()
    totals.update("worker-0/10", through_the_channel(worker(2, running=7)))
    totals.ended("worker-0/10")
    totals.ended("worker-0/10")
    totals.update("worker-0/12", through_the_channel(worker(1, running=1)))
    assert totals.merged()[OK] == [3]
    assert totals.merged()[RUNNING] == [1]


def test_process_that_started_again_under_its_old_name_does_not_take_numbers_back() -> None:
    totals = Totals()
    totals.update("worker-0", through_the_channel(worker(5)))
    totals.update("worker-0", through_the_channel(worker(1)))
    assert totals.merged()[OK] == [6]
    totals.update("worker-0", [])  # zeros are left out: it started once more
    assert totals.merged()[OK] == [6]


@pytest.mark.parametrize(
    ("snapshot", "message"),
    [
        (None, "list of at most"),
        ([["a", [], [1]]] * 10_000, "list of at most"),
        (["row"], "a row is"),
        ([["tenantry_subrequests_total", []]], "a row is"),
        ([[b"tenantry_subrequests_total", [], [1]]], "name is a string"),
        ([["tenantry_subrequests_total", ["a"], [1]]], "0 label values"),
        ([["tenantry_queue_messages_total", [1], [1]]], "1 label values"),
        ([["tenantry_queue_messages_total", ["x" * 129], [1]]], "1 label values"),
        ([["tenantry_subrequests_total", [], [1, 2]]], "1 numbers"),
        ([["tenantry_subrequests_total", [], [-1]]], "zero or more"),
        ([["tenantry_subrequests_total", [], [float("nan")]]], "zero or more"),
        ([["tenantry_subrequests_total", [], [float("inf")]]], "zero or more"),
        ([["tenantry_subrequests_total", [], [True]]], "zero or more"),
        ([["tenantry_subrequests_total", [], ["1"]]], "zero or more"),
        ([["tenantry_event_cpu_seconds", [], [1]]], "17 numbers"),
    ],
)
def test_what_is_no_snapshot_is_refused_and_changes_nothing(snapshot: object, message: str) -> None:
    totals = Totals()
    totals.update("worker-0", through_the_channel(worker(2)))
    with pytest.raises(InvalidSnapshot, match=message):
        totals.update("worker-0", snapshot)
    assert totals.merged()[OK] == [2]


def test_metric_of_another_release_is_left_out() -> None:
    assert parse_snapshot([["tenantry_future_total", [], [1]]]) == {}


def test_merge_leaves_its_inputs_alone() -> None:
    one: Samples = {OK: [1]}
    assert merge([one, {OK: [2]}, {RUNNING: [3]}]) == {OK: [3], RUNNING: [3]}
    assert one == {OK: [1]}


def test_exposition_is_prometheus_text_with_every_metric_named() -> None:
    text = exposition(worker(3, running=2).samples())
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in METRICS:
        assert metric.name.removesuffix("_total") in families
    assert 'tenantry_events_total{outcome="ok",trigger="fetch"} 3.0' in text
    assert "tenantry_running_events 2.0" in text
    cpu = {
        sample.labels.get("le", sample.name): sample.value
        for sample in families["tenantry_event_cpu_seconds"].samples
    }
    assert cpu["5e-05"] == 0  # 70 µs each: none in the first bucket, all from the second on
    assert cpu["0.0001"] == cpu["+Inf"] == cpu["tenantry_event_cpu_seconds_count"] == 3
    assert cpu["tenantry_event_cpu_seconds_sum"] == pytest.approx(210e-6)


def test_exposition_of_nothing_is_still_valid() -> None:
    assert len(list(text_string_to_metric_families(exposition({})))) == len(METRICS)
