"""What is counted is in the table, bounded in its labels, and documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.outcome import EventOutcome
from observability.metrics import MAX_CHILDREN, METRICS, Counters, reference
from tests.observability.records import event

ROOT = Path(__file__).parents[2]


def test_document_is_what_the_table_says() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == reference(), (
        "run: python -m observability.metrics > docs/metrics.md"
    )


def test_no_metric_has_a_label_of_a_tenant_script_or_hostname() -> None:
    labels = {label.name for metric in METRICS for label in metric.labels}
    assert labels == {
        "trigger",
        "outcome",
        "result",
        "reason",
        "kind",
        "status",
        "direction",
        "group",
        "state",
    }


def test_names_follow_their_kind() -> None:
    for metric in METRICS:
        assert metric.name.startswith("tenantry_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.name.endswith("_seconds") == (metric.kind == "histogram")


def test_event_counts_everything_it_has() -> None:
    counters = Counters()
    counters.event(event())
    counters.event(event(outcome=EventOutcome.EXCEEDED_CPU))
    samples = counters.samples()
    assert samples["tenantry_events_total", ("fetch", "ok")] == [1]
    assert samples["tenantry_events_total", ("fetch", "exceededCpu")] == [1]
    assert samples["tenantry_events_total", ("queue", "ok")] == [0]  # there from the start
    assert samples["tenantry_request_bytes_total", ()] == [6]
    assert samples["tenantry_response_bytes_total", ()] == [10]
    assert samples["tenantry_subrequests_total", ()] == [4]
    assert samples["tenantry_event_cpu_seconds", ()][0] == 140
    assert samples["tenantry_event_wall_seconds", ()][0] == 3_000


def test_trigger_that_is_not_listed_counts_as_other() -> None:
    counters = Counters()
    counters.event(event(trigger="email"))
    assert counters.samples()["tenantry_events_total", ("other", "ok")] == [1]


@pytest.mark.parametrize(
    ("cpu_us", "bucket"),
    [
        (0, 0),
        (50, 0),  # a bound is inclusive
        (51, 1),
        (30_000_000, 14),
        (30_000_001, 15),  # above all bounds
    ],
)
def test_histogram_puts_a_value_into_the_first_bucket_that_holds_it(cpu_us: int, bucket: int) -> None:
    counters = Counters()
    counters.event(event(cpu_us=cpu_us))
    counts = counters.samples()["tenantry_event_cpu_seconds", ()][1:]
    assert counts.index(1) == bucket
    assert sum(counts) == 1


def test_same_labels_are_the_same_counter() -> None:
    counters = Counters()
    assert counters.count("tenantry_queue_messages_total", "sent") is counters.count(
        "tenantry_queue_messages_total", "sent"
    )


def test_label_value_that_is_not_listed_counts_as_other() -> None:
    counters = Counters()
    counters.count("tenantry_queue_messages_total", "eaten").value += 1
    assert counters.samples()["tenantry_queue_messages_total", ("other",)] == [1]


def test_label_values_from_elsewhere_are_bounded() -> None:
    counters = Counters()
    for number in range(MAX_CHILDREN + 50):
        counters.count("tenantry_egress_decisions_total", "deny", f"reason.{number}").value += 1
    rows = {k: v for k, v in counters.samples().items() if k[0] == "tenantry_egress_decisions_total"}
    assert len(rows) == MAX_CHILDREN + 1
    assert rows["tenantry_egress_decisions_total", ("other", "other")] == [50]


def test_wrong_number_of_labels_and_unknown_names_are_refused() -> None:
    counters = Counters()
    with pytest.raises(ValueError, match="has 1 labels; 2 values"):
        counters.count("tenantry_queue_messages_total", "sent", "more")
    with pytest.raises(KeyError):
        counters.count("tenantry_nothing_total")
    with pytest.raises(ValueError, match="no gauge"):
        counters.gauge("tenantry_subrequests_total", lambda: 1)
    with pytest.raises(ValueError, match="no gauge"):
        counters.gauge("tenantry_running_events", lambda: 1, "label")


def test_gauge_is_read_at_each_snapshot_and_a_failing_one_is_left_out() -> None:
    counters = Counters()
    running = 3

    def fails() -> int:
        raise RuntimeError

    counters.gauge("tenantry_running_events", lambda: running)
    counters.gauge("tenantry_suspended_events", fails)
    assert counters.samples()["tenantry_running_events", ()] == [3]
    running = 4
    assert counters.samples()["tenantry_running_events", ()] == [4]
    assert ("tenantry_suspended_events", ()) not in counters.samples()
