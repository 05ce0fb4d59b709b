"""How much neighbours that misbehave cost a small request: p99 beside them against p99 alone.

Open loop: requests come when they are due, and latency counts from then. Nothing is pinned.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.figures import Figure, from_ratios, percentile
from benchmarks.host import BenchHost, sample
from benchmarks.load import LoadGenerator, get

ROUNDS = 5
SLICE_S = 1.8
NEIGHBOURS = 8
SHARE_OF_CAPACITY = 0.30
_SETTLE_S = 0.3


@dataclass(frozen=True, slots=True)
class Kind:
    """What each of the neighbours does; `ends`: it answers by itself, and is asked again at once."""

    does: str
    path: str
    goal: float
    ends: bool = False


_KINDS: Final = (
    Kind("spin", "/spin", 3.0),
    Kind("loop on `log`", "/log", 5.0),
    Kind("loop on a clock", "/clock", 5.0),
    Kind("loop on `memory.fill`", "/fill", 5.0),
    # What is left of 128 MiB beside its stack and data.
    Kind("touch 128 MiB and return", "/memory?mib=126", 5.0, ends=True),
    Kind("loop on a host call", "/calls", 5.0),
)


def neighbours() -> list[Figure]:
    """Each of the neighbours is a tenant of its own."""
    with BenchHost(workers=1) as host, LoadGenerator() as load, LoadGenerator() as churn:
        host.deploy("hello", sample("hello"), "hello.localhost")
        for number in range(NEIGHBOURS):
            # Long enough that none of them ends by itself while it is measured beside.
            limits = {"cpu_ms": 30_000}
            host.deploy(f"hostile{number}", sample("hostile"), f"hostile{number}.localhost", limits=limits)
        load.connect("hello", host.port, [get("hello.localhost")], connections=64)
        pid = host.worker_pid
        capacity = median(load.closed("hello", 0.5, pid).rate for _ in range(4))
        rate = SHARE_OF_CAPACITY * capacity
        alone: list[list[int]] = []
        beside: dict[Kind, list[list[int]]] = {kind: [] for kind in _KINDS}
        answers: dict[str, int] = {}
        for seed in range(ROUNDS):
            alone.append(load.open("hello", rate, SLICE_S, seed))
            for kind in _KINDS:
                requests = [get(f"hostile{number}.localhost", kind.path) for number in range(NEIGHBOURS)]
                if kind.ends:
                    churn.begin_churn(kind.does, host.port, requests, SLICE_S + _SETTLE_S)
                else:
                    churn.begin_noise(kind.does, host.port, requests)
                time.sleep(_SETTLE_S)
                beside[kind].append(load.open("hello", rate, SLICE_S, seed))
                if kind.ends:
                    for status, count in churn.end_churn(kind.does).items():
                        answers[status] = answers.get(status, 0) + count
                else:
                    churn.end_noise(kind.does)
                time.sleep(_SETTLE_S)
    return [_figure(kind, beside[kind], alone, rate, capacity, answers) for kind in _KINDS]


def _figure(
    kind: Kind,
    beside: list[list[int]],
    alone: list[list[int]],
    rate: float,
    capacity: float,
    answers: dict[str, int],
) -> Figure:
    def milliseconds(rounds: list[list[int]], share: float) -> float:
        return median(percentile(values, share) for values in rounds) / 1000

    ratios = [
        percentile(with_them, 0.99) / percentile(by_itself, 0.99)
        for with_them, by_itself in zip(beside, alone, strict=True)
    ]
    note = (
        f"p99 {milliseconds(beside, 0.99):.2f} against {milliseconds(alone, 0.99):.2f} ms, p50 "
        f"{milliseconds(beside, 0.5):.2f} against {milliseconds(alone, 0.5):.2f} ms, at {rate:,.0f} "
        f"requests a second ({SHARE_OF_CAPACITY:.0%} of {capacity:,.0f})"
    )
    if kind.ends:
        told = ", ".join(f"{count} × {status}" for status, count in sorted(answers.items()))
        note += f"; their answers: {told or 'none'}"
    return from_ratios(
        f"p99 of hello beside {NEIGHBOURS} tenants that {kind.does}",
        "p99 of hello alone",
        ratios,
        kind.goal,
        at_least=False,
        note=note,
    )
