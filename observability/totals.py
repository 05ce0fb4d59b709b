"""Snapshots of many processes → one sum that never goes back → Prometheus text.

A process that died stays in the sum with its last snapshot; its gauges go with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from observability.metrics import BY_NAME, COUNTER, GAUGE, HISTOGRAM, MAX_CHILDREN, METRICS, Samples

#: More rows than all metrics can have children: what is longer is not one of ours.
_MAX_ROWS = len(METRICS) * (MAX_CHILDREN + 1)


class InvalidSnapshot(ValueError):
    """Another process sent what is no snapshot; the message says which part."""


class Totals:
    """What control knows of all processes' counters. For one thread."""

    def __init__(self) -> None:
        self._latest: dict[str, Samples] = {}
        self._ended: Samples = {}

    def update(self, process: str, snapshot: object) -> None:
        """Take the newest `Counters.snapshot` of `process`, a name that is its own while it lives.

        When a counter went back, it is a new process under an old name: the old one's numbers stay in the
        sum. Raises InvalidSnapshot, and nothing changes.
        """
        samples = parse_snapshot(snapshot)
        before = self._latest.get(process)
        if before is not None and _went_back(before, samples):
            self.ended(process)
        self._latest[process] = samples

    def ended(self, process: str) -> None:
        """This process is no more. Unknown names are ignored."""
        last = self._latest.pop(process, None)
        if last is not None:
            counted = {key: value for key, value in last.items() if BY_NAME[key[0]].kind != GAUGE}
            self._ended = merge([self._ended, counted])

    def merged(self, *more: Samples) -> Samples:
        """The sum over all that were ever heard of, and `more` (control's own `Counters.samples()`)."""
        return merge([self._ended, *self._latest.values(), *more])


def parse_snapshot(snapshot: object) -> Samples:
    """Check rows that came from another process. Names of another release are left out.

    Raises InvalidSnapshot.
    """
    if not isinstance(snapshot, list | tuple) or len(snapshot) > _MAX_ROWS:
        raise InvalidSnapshot(f"a snapshot is a list of at most {_MAX_ROWS} rows")
    samples: Samples = {}
    for row in snapshot:
        if not isinstance(row, list | tuple) or len(row) != 3:
            raise InvalidSnapshot("a row is [name, label values, numbers]")
        name, values, numbers = row
        if not isinstance(name, str):
            raise InvalidSnapshot("a metric's name is a string")
        metric = BY_NAME.get(name)
        if metric is None:
            continue
        if (
            not isinstance(values, list | tuple)
            or len(values) != len(metric.labels)
            or not all(isinstance(value, str) and len(value) <= 128 for value in values)
        ):
            raise InvalidSnapshot(
                f"{name}: {len(metric.labels)} label values of at most 128 characters are right"
            )
        if (
            not isinstance(numbers, list | tuple)
            or len(numbers) != metric.size
            or not all(type(number) in (int, float) and 0 <= number < 2**64 for number in numbers)
        ):
            raise InvalidSnapshot(f"{name}: {metric.size} numbers, zero or more, are right")
        samples[name, tuple(values)] = list(numbers)
    return samples


def merge(snapshots: Iterable[Samples]) -> Samples:
    """The sum of each number over all snapshots. Pure."""
    total: Samples = {}
    for samples in snapshots:
        for key, numbers in samples.items():
            before = total.get(key)
            total[key] = (
                list(numbers) if before is None else [a + b for a, b in zip(before, numbers, strict=True)]
            )
    return total


def exposition(merged: Samples) -> str:
    """Prometheus' text format 0.0.4. Every metric is named, also without a sample."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(merged))
    return generate_latest(registry).decode()


class _Merged(Collector):
    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        by_name: dict[str, list[tuple[tuple[str, ...], list[int | float]]]] = {}
        for (name, values), numbers in sorted(self._samples.items()):
            by_name.setdefault(name, []).append((values, numbers))
        for metric in METRICS:
            labels = [label.name for label in metric.labels]
            children = by_name.get(metric.name, ())
            if metric.kind == HISTOGRAM:
                histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels)
                for values, (sum_us, *counts) in children:
                    histogram.add_metric(values, _cumulative(metric.bounds_us, counts), sum_us / 1e6)
                yield histogram
                continue
            family = (CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily)(
                metric.name, metric.help, labels=labels
            )
            for values, (number,) in children:
                family.add_metric(values, number)
            yield family


def _cumulative(bounds_us: tuple[int, ...], counts: list[int | float]) -> list[tuple[str, float]]:
    """Prometheus' buckets: (upper bound in seconds, how many were at most that)."""
    buckets: list[tuple[str, float]] = []
    total: float = 0
    names = [f"{bound / 1e6:g}" for bound in bounds_us] + ["+Inf"]
    for name, count in zip(names, counts, strict=True):
        total += count
        buckets.append((name, total))
    return buckets


def _went_back(before: Samples, after: Samples) -> bool:
    for key, numbers in before.items():
        if BY_NAME[key[0]].kind == GAUGE:
            continue
        now = after.get(key) or [0] * len(numbers)  # zeros are left out of a snapshot
        if any(a < b for a, b in zip(now, numbers, strict=True)):
            return True
    return False
