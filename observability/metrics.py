"""Counters of one process: plain numbers that a request adds to, and the table of what they mean.

Rules of this file: every metric is a row of METRICS, from which docs/metrics.md is made; labels are bounded,
so there is never a tenant, script or hostname in one; counting costs about a microsecond an event and never
fails. Other processes' numbers come as snapshots: `observability.totals` sums and shows them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from model.observer import EventRecord
from model.outcome import EventOutcome

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"

#: A label whose values come from elsewhere may have so many together with its neighbours; the rest is OTHER.
MAX_CHILDREN = 256
OTHER = "other"

#: Upper bounds in µs, inclusive. CPU: around the default limits (50 ms a fetch, 30 s a batch) and the 25 µs
#: of the smallest sandbox. Wall: up to the 15 minutes of a batch.
CPU_BOUNDS_US: Final = (
    *(50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000),
    *(100_000, 250_000, 1_000_000, 5_000_000, 30_000_000),
)
WALL_BOUNDS_US: Final = (
    *(250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000),
    *(1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000, 900_000_000),
)


@dataclass(frozen=True, slots=True)
class Label:
    """`values` are all that there can be, or () when they come from elsewhere (`source` says from where)."""

    name: str
    values: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: str
    help: str
    labels: tuple[Label, ...] = ()
    #: Of a histogram, in µs; shown in seconds.
    bounds_us: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """How many numbers one child has: [n], or [sum in µs, one count a bucket, one above all bounds]."""
        return 2 + len(self.bounds_us) if self.kind == HISTOGRAM else 1


_TRIGGER = Label("trigger", ("fetch", "queue", "scheduled", "tail"))
_OUTCOME = Label("outcome", tuple(outcome.value for outcome in EventOutcome))
_GROUP = Label("group", source="the groups that --isolation-groups names")

METRICS: Final = (
    Metric("tenantry_events_total", COUNTER, "Events that ended, nested ones too.", (_TRIGGER, _OUTCOME)),
    Metric(
        "tenantry_event_cpu_seconds",
        HISTOGRAM,
        "CPU time of an event: its guest's, and of decoding what it asked for.",
        bounds_us=CPU_BOUNDS_US,
    ),
    Metric(
        "tenantry_event_wall_seconds",
        HISTOGRAM,
        "Time from an event's start to its end.",
        bounds_us=WALL_BOUNDS_US,
    ),
    Metric("tenantry_request_bytes_total", COUNTER, "Body bytes of requests that workers were given."),
    Metric("tenantry_response_bytes_total", COUNTER, "Body bytes of responses that workers gave."),
    Metric(
        "tenantry_subrequests_total", COUNTER, "Requests that left a sandbox: fetch, KV, queues, services."
    ),
    Metric(
        "tenantry_egress_decisions_total",
        COUNTER,
        "Requests to the outside that the gateway decided about.",
        (Label("result", ("allow", "deny")), Label("reason", source="the reasons of the egress policy")),
    ),
    Metric(
        "tenantry_queue_messages_total",
        COUNTER,
        "Messages of queues, by what became of them; a delivery that is retried counts each time.",
        (Label("result", ("sent", "acknowledged", "retried", "dead_lettered", "dropped", "not_taken")),),
    ),
    Metric(
        "tenantry_queue_backlog_messages",
        GAUGE,
        "Messages that all queues hold: ready, delayed and leased. Machines on one database show the same ones.",
    ),
    Metric("tenantry_queue_backlog_bytes", GAUGE, "Bytes of their bodies."),
    Metric(
        "tenantry_queue_longest_wait",
        GAUGE,
        "Seconds for which the message that waits longest could have been delivered; paused queues are left out.",
    ),
    Metric("tenantry_queues_paused", GAUGE, "Queues whose delivery is paused."),
    Metric(
        "tenantry_door_refused_total",
        COUNTER,
        "Requests and connections that were refused before a worker saw them.",
        (Label("status", ("400", "408", "431", "501", "503")),),
    ),
    Metric(
        "tenantry_slow_visitors_total",
        COUNTER,
        "Visitors that were ended because they took a response, or sent a request's body, too slowly.",
        (Label("direction", ("request", "response")),),
    ),
    Metric(
        "tenantry_traces_total",
        COUNTER,
        "Traces of events for tail consumers; dropped ones found no room, or nobody to be told.",
        (Label("result", ("delivered", "failed", "dropped")),),
    ),
    Metric("tenantry_log_lines_total", COUNTER, "Log lines of guests that were kept."),
    Metric("tenantry_log_lines_dropped_total", COUNTER, "Log lines of guests that found no room."),
    Metric("tenantry_access_lines_dropped_total", COUNTER, "Access lines that a slow or broken stdout cost."),
    Metric("tenantry_channel_messages_dropped_total", COUNTER, "Messages to control that found no room."),
    Metric("tenantry_audit_records_dropped_total", COUNTER, "Egress audit records that nobody will see."),
    Metric("tenantry_analytics_points_total", COUNTER, "Data points of workers that were kept."),
    Metric(
        "tenantry_analytics_points_dropped_total",
        COUNTER,
        "Data points of workers that found no room, or whose script is gone.",
    ),
    Metric(
        "tenantry_leftovers_removed_total",
        COUNTER,
        "Stored modules, and their images, that no script referred to any more.",
        (Label("kind", ("modules", "images", "shared modules")),),
    ),
    Metric(
        "tenantry_leftovers_removed_bytes_total",
        COUNTER,
        "What removing them freed.",
        (Label("kind", ("modules", "images", "shared modules")),),
    ),
    Metric(
        "tenantry_replication_lag",
        GAUGE,
        "Seconds for which this machine has not been known to hold all control data of the platform.",
        (Label("kind", ("control", "tokens")),),
    ),
    Metric(
        "tenantry_replication_position",
        GAUGE,
        "The last entry of the platform's log that this machine has.",
        (Label("kind", ("control", "tokens")),),
    ),
    Metric(
        "tenantry_replication_applied_total",
        COUNTER,
        "Entries of other machines that were applied here.",
        (Label("kind", ("control", "tokens")),),
    ),
    Metric(
        "tenantry_replication_conflicts_total",
        COUNTER,
        "How often what is here did not fit the platform's log. Anything but 0 needs a look.",
        (Label("kind", ("control", "tokens")),),
    ),
    Metric(
        "tenantry_cron_missed_total",
        COUNTER,
        "Due times of cron triggers that nobody ran: the host was down, or too busy for too long.",
    ),
    Metric("tenantry_cron_waiting", GAUGE, "Due runs of cron triggers that wait for room."),
    Metric("tenantry_running_events", GAUGE, "Events that hold a sandbox and want the CPU."),
    Metric("tenantry_suspended_events", GAUGE, "Events that hold a sandbox and wait for the host."),
    Metric(
        "tenantry_processes",
        GAUGE,
        "Processes that report to control.",
        (Label("kind", ("control", "worker")),),
    ),
    Metric(
        "tenantry_process_restarts_total",
        COUNTER,
        "Processes that the supervisor started again after they had died.",
        (Label("kind", ("control", "worker")),),
    ),
    Metric(
        "tenantry_javascript_engine",
        GAUGE,
        "1 for what control found on the disk when it started: the JavaScript engine that the host uses (in_use);"
        " another one, which a restart of the host takes up (rebuilt); none (missing).",
        (Label("state", ("in_use", "rebuilt", "missing")),),
    ),
    Metric("tenantry_group_processes", GAUGE, "Worker processes of an isolation group that run.", (_GROUP,)),
    Metric(
        "tenantry_group_process_restarts_total",
        COUNTER,
        "Processes of an isolation group that the supervisor started again after they had died.",
        (_GROUP,),
    ),
)
BY_NAME: Final = {metric.name: metric for metric in METRICS}

#: (metric's name, label values in the table's order) → its numbers (Metric.size says how many).
Samples = dict[tuple[str, tuple[str, ...]], list[int | float]]


class Count:
    """One counter with its labels settled: `count.value += n` is all there is to it."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Histogram:
    __slots__ = ("bounds", "counts", "sum_us")

    def __init__(self, bounds_us: tuple[int, ...]) -> None:
        self.bounds = bounds_us
        self.counts = [0] * (len(bounds_us) + 1)
        self.sum_us = 0

    def observe(self, value_us: int) -> None:
        self.counts[bisect_left(self.bounds, value_us)] += 1
        self.sum_us += value_us


class Counters:
    """All counters of this process. For one thread, the loop's.

    Children of labels that are listed in the table are there from the start, so that a rate can be had of
    an outcome's first occurrence.
    """

    def __init__(self) -> None:
        self._counts: dict[str, dict[tuple[str, ...], Count]] = {}
        self._histograms: dict[str, Histogram] = {}
        self._gauges: dict[tuple[str, tuple[str, ...]], Callable[[], int | float]] = {}
        for metric in METRICS:
            if metric.kind == HISTOGRAM:
                self._histograms[metric.name] = Histogram(metric.bounds_us)
            elif metric.kind == COUNTER:
                self._counts[metric.name] = {values: Count() for values in _listed(metric)}
        self._events = _Events(self)
        self._observe_cpu = self._histograms["tenantry_event_cpu_seconds"].observe
        self._observe_wall = self._histograms["tenantry_event_wall_seconds"].observe
        self._bytes_in = self.count("tenantry_request_bytes_total")
        self._bytes_out = self.count("tenantry_response_bytes_total")
        self._subrequests = self.count("tenantry_subrequests_total")

    def count(self, name: str, *values: str) -> Count:
        """The counter with these label values, made when new: keep it where it is used often.

        A value that the table does not list, or the 257th combination of one whose values come from
        elsewhere, is counted as "other". Raises KeyError for a name, ValueError for a number of labels that
        the table does not have.
        """
        children = self._counts[name]
        if (child := children.get(values)) is not None:
            return child
        labels = BY_NAME[name].labels
        if len(values) != len(labels):
            raise ValueError(f"{name} has {len(labels)} labels; {len(values)} values were given")
        known = tuple(
            value if not label.values or value in label.values else OTHER
            for label, value in zip(labels, values, strict=True)
        )
        if len(children) >= MAX_CHILDREN:
            known = (OTHER,) * len(labels)
        return children.setdefault(known, Count())

    def gauge(self, name: str, read: Callable[[], int | float], *values: str) -> None:
        """Show what `read` says at each snapshot. Raises ValueError if the table has no such gauge."""
        metric = BY_NAME.get(name)
        if metric is None or metric.kind != GAUGE or len(values) != len(metric.labels):
            raise ValueError(f"{name} is no gauge with {len(values)} labels")
        self._gauges[name, values] = read

    def event(self, record: EventRecord) -> None:
        """Once an event."""
        self._events[record.trigger][record.outcome].value += 1
        self._observe_cpu(record.cpu_us)
        self._observe_wall(record.wall_us)
        self._bytes_out.value += record.bytes_out
        if record.bytes_in:
            self._bytes_in.value += record.bytes_in
        if record.subrequests:
            self._subrequests.value += record.subrequests

    def samples(self) -> Samples:
        """A copy of all numbers as they are now; a gauge that fails is left out."""
        samples: Samples = {}
        for name, children in self._counts.items():
            for values, child in children.items():
                samples[name, values] = [child.value]
        for name, histogram in self._histograms.items():
            samples[name, ()] = [histogram.sum_us, *histogram.counts]
        for key, read in self._gauges.items():
            try:
                samples[key] = [read()]
            except Exception:  # noqa: S112 - whoever gave it may be shutting down; the others still count
                continue
        return samples

    def snapshot(self) -> list[list[object]]:
        """`samples` as MessagePack-able rows [name, [label values], [numbers]]; zeros are left out."""
        return [
            [name, list(values), numbers]
            for (name, values), numbers in self.samples().items()
            if any(numbers)
        ]


class _Events(dict[str, dict[EventOutcome, Count]]):
    """trigger → outcome → its counter: two look-ups an event, and no tuple to make."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        for trigger in _TRIGGER.values:
            self[trigger] = self._row(trigger)

    def __missing__(self, trigger: str) -> dict[EventOutcome, Count]:
        return self._row(OTHER)

    def _row(self, trigger: str) -> dict[EventOutcome, Count]:
        return {
            outcome: self._counters.count("tenantry_events_total", trigger, outcome)
            for outcome in EventOutcome
        }


def _listed(metric: Metric) -> list[tuple[str, ...]]:
    """Every combination of listed label values; none when one label's values come from elsewhere."""
    combinations: list[tuple[str, ...]] = [()]
    for label in metric.labels:
        combinations = [(*before, value) for before in combinations for value in label.values]
    return combinations


def reference() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Made by `python -m observability.metrics` from the table in `observability/metrics.py`; change it there.",
        "",
        "`GET /metrics` on the control listener shows the sum over all processes, those that died included.",
        "Labels are bounded: no metric names a tenant, a script or a hostname. A value that is not listed is",
        f"counted as `{OTHER}`, and so is what comes after {MAX_CHILDREN} combinations of one metric.",
        "",
        "| name | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for metric in METRICS:
        labels = "; ".join(
            f"`{label.name}`: {', '.join(f'`{v}`' for v in label.values) or label.source}"
            for label in metric.labels
        )
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels or '–'} | {metric.help} |")
    lines += ["", "## Buckets", ""]
    for metric in METRICS:
        if metric.bounds_us:
            bounds = ", ".join(f"{bound / 1e6:g}" for bound in metric.bounds_us)
            lines.append(f"- `{metric.name}`, in seconds: {bounds}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(reference(), end="")
