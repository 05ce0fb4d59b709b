"""What a request costs that is handed over to a process of an isolation group, against one that is not: both
processes on one core, so that it is the cost of the hop and not a gain by a second core.
"""

from __future__ import annotations

from statistics import median

from benchmarks import proc
from benchmarks.figures import Figure, from_ratios
from benchmarks.host import BenchFailed, BenchHost, expect_ok, sample
from benchmarks.load import LoadGenerator, Slice, get
from benchmarks.throughput import ROUNDS, SLICE_S

_GROUP = "grouped"
#: By CPU time, which neighbours on the machine disturb less than the rate.
GOAL = 0.55


def handed_over() -> list[Figure]:
    cores = proc.cores()
    if len(cores) < 2:
        raise BenchFailed("throughput needs two cores: one for the server, one for the load")
    *others, core = cores
    options = ("--isolation-groups", f"{_GROUP}:namespace={_GROUP}")
    with BenchHost(workers=1, options=options) as host, LoadGenerator(set(others)) as load:
        pids = host.process_ids("cli.worker_process")
        for pid in pids:
            proc.pin(pid, {core})
        for pid in (host.pid, *host.process_ids("cli.control_process")):
            proc.pin(pid, set(others))
        host.api.post(host.api.path("workers", "dispatch", "namespaces"), {"name": _GROUP})
        host.deploy("here", sample("hello"), "here.localhost")
        host.deploy("there", sample("hello"), "there.localhost", namespace=_GROUP)
        for name in ("here", "there"):
            expect_ok(host.request(f"{name}.localhost"), name)
            load.connect(name, host.port, [get(f"{name}.localhost")])
            load.closed(name, SLICE_S, *pids)
        here: list[Slice] = []
        there: list[Slice] = []
        for number in range(ROUNDS):
            # Which one is first changes, so that a drift of the machine favours neither.
            for name, slices in sorted({"here": here, "there": there}.items(), reverse=bool(number % 2)):
                slices.append(load.closed(name, SLICE_S, *pids))
    ratios = [a.cpu_us / b.cpu_us for a, b in zip(here, there, strict=True)]
    added = median(b.cpu_us - a.cpu_us for a, b in zip(here, there, strict=True))
    note = (
        f"CPU of both processes: {median(b.cpu_us for b in there):.1f} against "
        f"{median(a.cpu_us for a in here):.1f} µs a request, {added:.1f} µs more; "
        f"{median(b.rate for b in there):,.0f} against {median(a.rate for a in here):,.0f} requests a second"
    )
    work = "hello in a process of an isolation group, by CPU time"
    return [from_ratios(work, "hello at the door of the same host", ratios, GOAL, at_least=True, note=note)]
