"""How much neighbours that misbehave cost a small request: p99 beside them against p99 alone.

Open loop: requests come when they are due, and latency counts from then. Nothing is pinned.
"""

from __future__ import annotations

import time
from statistics import median

from benchmarks.figures import Figure, from_ratios, percentile
from benchmarks.host import BenchHost, sample
from benchmarks.load import LoadGenerator, get

ROUNDS = 8
SLICE_S = 2.0
NEIGHBOURS = 4
SHARE_OF_CAPACITY = 0.30
_SETTLE_S = 0.2
_KINDS = {"spin": "/spin", "loop on a host call": "/calls"}


def neighbours() -> list[Figure]:
    with BenchHost(workers=1) as host, LoadGenerator() as load:
        host.deploy("hello", sample("hello"), "hello.localhost")
        # Long enough that none of them ends by itself while it is measured beside.
        host.deploy("hostile", sample("hostile"), "hostile.localhost", limits={"cpu_ms": 30_000})
        load.connect("hello", host.port, [get("hello.localhost")], connections=64)
        pid = host.worker_pid
        capacity = median(load.closed("hello", 0.5, pid).rate for _ in range(6))
        rate = SHARE_OF_CAPACITY * capacity
        alone: list[int] = []
        beside: dict[str, list[int]] = {kind: [] for kind in _KINDS}
        medians: dict[str, list[int]] = {kind: [] for kind in ("", *_KINDS)}
        for seed in range(ROUNDS):
            values = load.open("hello", rate, SLICE_S, seed)
            alone.append(percentile(values, 0.99))
            medians[""].append(percentile(values, 0.5))
            for kind, path in _KINDS.items():
                load.begin_noise(kind, host.port, [get("hostile.localhost", path)] * NEIGHBOURS)
                time.sleep(_SETTLE_S)
                values = load.open("hello", rate, SLICE_S, seed)
                load.end_noise(kind)
                time.sleep(_SETTLE_S)
                beside[kind].append(percentile(values, 0.99))
                medians[kind].append(percentile(values, 0.5))
    figures = []
    for kind, values in beside.items():
        ratios = [with_them / by_itself for with_them, by_itself in zip(values, alone, strict=True)]
        note = (
            f"p99 {median(values) / 1000:.2f} against {median(alone) / 1000:.2f} ms, p50 "
            f"{median(medians[kind]) / 1000:.2f} against {median(medians['']) / 1000:.2f} ms, at {rate:,.0f} "
            f"requests a second ({SHARE_OF_CAPACITY:.0%} of {capacity:,.0f})"
        )
        figures.append(
            from_ratios(
                f"p99 of hello beside {NEIGHBOURS} guests that {kind}",
                "p99 of hello alone",
                ratios,
                5.0,
                at_least=False,
                note=note,
            )
        )
    return figures
