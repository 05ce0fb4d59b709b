"""What grows with the installation: more processes, more tenants, more scripts in storage."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks import proc
from benchmarks.bulk_deploy import deploy_copies
from benchmarks.figures import Figure, from_ratios
from benchmarks.host import BenchHost, sample
from benchmarks.load import LoadGenerator, Slice, get
from benchmarks.throughput import compare, one_core, ratio_figure, zipf

ROUNDS = 16
SLICE_S = 0.5
TENANTS = 10_000
_REQUESTS = 50_000
SCRIPTS = 100_000
STARTS = 10
_MORE_MS = 50.0
_MORE_BYTES = 5 << 20


def processes() -> list[Figure]:
    """Requests for a second of the workers' CPU, twice: with all workers on one core and the load on another,
    which shows what a second process does in vain; and unpinned, as it is run, where on a small machine both
    processes and the load share what there is. Each process has as many connections as the one it is held against:
    a loop that finds more of them ready does more in a turn, and cheaper.
    """
    cores = set(proc.cores())
    with BenchHost(workers=1) as single, BenchHost(workers=2) as double, LoadGenerator() as load:
        sides = {"1": single, "2": double}
        for name, host in sides.items():
            host.deploy("hello", sample("hello"), "hello.localhost")
            load.connect(name, host.port, [get("hello.localhost")], connections=32 * int(name))
        pids = {name: host.process_ids("cli.worker_process") for name, host in sides.items()}
        figures = []
        if len(cores) > 1:
            core = max(cores)
            _pin(pids, {core})
            load.pin(cores - {core})
            figures.append(_processes("pinned to one core", load, pids))
            _pin(pids, cores)
            load.pin(cores)
        figures.append(_processes("unpinned", load, pids))
    return figures


def _pin(pids: Mapping[str, Sequence[int]], cores: set[int]) -> None:
    for pid in (pid for side in pids.values() for pid in side):
        proc.pin(pid, cores)


def _processes(how: str, load: LoadGenerator, pids: Mapping[str, Sequence[int]]) -> Figure:
    slices: dict[str, list[Slice]] = {name: [] for name in pids}
    shares: list[float] = []
    for name in pids:
        load.closed(name, SLICE_S, *pids[name])
    for number in range(ROUNDS):
        for name in sorted(pids, reverse=bool(number % 2)):
            before = [proc.cpu_ns(pid) for pid in pids[name]]
            slices[name].append(load.closed(name, SLICE_S, *pids[name]))
            used = [proc.cpu_ns(pid) - at for pid, at in zip(pids[name], before, strict=True)]
            if name == "2":
                shares.append(min(used) / sum(used))
    ratios = [one.cpu_us / two.cpu_us for one, two in zip(slices["1"], slices["2"], strict=True)]
    note = (
        f"{_cpu(slices['2']):.1f} against {_cpu(slices['1']):.1f} µs a request; the lesser process did "
        f"{median(shares):.0%}; {_rate(slices['2']):,.0f} against {_rate(slices['1']):,.0f} requests a second"
    )
    work = f"requests for a CPU second, 2 processes, {how}"
    return from_ratios(work, f"1 process, {how}", ratios, 0.95, at_least=True, note=note)


def _cpu(slices: Sequence[Slice]) -> float:
    return median(part.cpu_us for part in slices)


def _rate(slices: Sequence[Slice]) -> float:
    return median(part.rate for part in slices)


def many_tenants() -> list[Figure]:
    """Ten thousand tenants, of whom all share one image: what is measured is the routes, versions and workers."""
    with one_core() as (host, load, _):
        host.deploy("one", sample("hello"), "one.localhost")
        deploy_copies(host.data, "one", range(TENANTS))
        load.connect("one", host.port, [get("one.localhost")])
        load.connect("all", host.port, zipf(TENANTS, _REQUESTS))
        load.connect("each", host.port, [get(f"t{number}.localhost") for number in range(TENANTS)])
        pid = host.worker_pid
        load.closed("each", 5.0, pid)
        pairs = compare(load, ("all", pid), ("one", pid))
    return [ratio_figure(f"hello over {TENANTS:,} tenants, Zipf 1.0", "hello of one tenant", pairs, 0.75)]


def startup() -> list[Figure]:
    """Two data folders, started in turns: one with a script, one with all of them and their routes. The first
    start of each is not counted: it takes in the log that the bulk writing left.
    """
    with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as folder:
        empty, full = Path(folder) / "empty", Path(folder) / "full"
        for data in (empty, full):
            with BenchHost(workers=1, data=data) as host:
                host.deploy("one", sample("hello"), "one.localhost")
        deploy_copies(full, "one", range(SCRIPTS))
        for data in (empty, full):
            with BenchHost(workers=1, data=data):
                pass
        took: dict[Path, list[float]] = {empty: [], full: []}
        cpu: dict[Path, list[float]] = {empty: [], full: []}
        sizes: dict[Path, list[int]] = {empty: [], full: []}
        for number in range(STARTS):
            for data in (empty, full) if number % 2 else (full, empty):
                with BenchHost(workers=1, data=data) as host:
                    pids = host.all_process_ids()
                    took[data].append(host.ready_after_s * 1000)
                    cpu[data].append(sum(map(proc.cpu_ns, pids)) / 1e6)
                    sizes[data].append(sum(map(proc.private_bytes, pids)))
    more_ms = [after - before for before, after in zip(took[empty], took[full], strict=True)]
    more_cpu = [after - before for before, after in zip(cpu[empty], cpu[full], strict=True)]
    more_bytes = [after - before for before, after in zip(sizes[empty], sizes[full], strict=True)]
    against = f"a start with one, + {_MORE_MS:.0f} ms"
    return [
        from_ratios(
            f"time to ready with {SCRIPTS:,} scripts in storage",
            against,
            [more / _MORE_MS for more in more_ms],
            1.0,
            at_least=False,
            note=f"{median(took[full]):,.0f} against {median(took[empty]):,.0f} ms, {median(more_ms):+.0f} ms; "
            f"CPU of all processes {median(more_cpu):+.0f} ms",
        ),
        from_ratios(
            f"memory at start with {SCRIPTS:,} scripts in storage, all processes",
            "with one, + 5 MiB",
            [more / _MORE_BYTES for more in more_bytes],
            1.0,
            at_least=False,
            note=f"{median(sizes[full]) / 2**20:.1f} against {median(sizes[empty]) / 2**20:.1f} MiB, "
            f"{median(more_bytes) / 2**20:+.2f} MiB",
        ),
    ]
