"""Throughput, always as a comparison: both servers run, pinned to one core; load comes from another core; the
two sides take turns in short slices, so that whatever else the machine does meets both alike.
"""

from __future__ import annotations

import bisect
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from statistics import median

from benchmarks import proc
from benchmarks.figures import Figure, from_ratios
from benchmarks.host import ROOT, BenchFailed, BenchHost, distinct, expect_ok, sample
from benchmarks.load import LoadGenerator, Slice, get

ROUNDS = 24
SLICE_S = 0.5
TENANTS = 1_000
#: Of the tenants: how many have a module of their own instead of sharing one image.
DISTINCT = 50
_ZIPF_REQUESTS = 20_000


@contextmanager
def one_core() -> Iterator[tuple[BenchHost, LoadGenerator, int]]:
    """A host whose one worker process is alone on a core, a generator on another, and the core's number."""
    cores = proc.cores()
    if len(cores) < 2:
        raise BenchFailed("throughput needs two cores: one for the server, one for the load")
    *others, core = cores
    with BenchHost(workers=1) as host, LoadGenerator(set(others)) as load:
        for pid in (host.pid, *host.process_ids("cli.control_process")):
            proc.pin(pid, set(others))
        proc.pin(host.worker_pid, {core})
        yield host, load, core


def compare(
    load: LoadGenerator, ours: tuple[str, int], theirs: tuple[str, int], rounds: int = ROUNDS
) -> list[tuple[Slice, Slice]]:
    """Slices of the two sides, each given as (name of the connections, server's process id)."""
    for name, pid in (ours, theirs):
        load.closed(name, SLICE_S, pid)
    pairs = []
    for number in range(rounds):
        # Which one is first changes, so that a drift of the machine favours neither.
        if number % 2:
            first = load.closed(*_slice(ours))
            pairs.append((first, load.closed(*_slice(theirs))))
        else:
            second = load.closed(*_slice(theirs))
            pairs.append((load.closed(*_slice(ours)), second))
    return pairs


def _slice(side: tuple[str, int]) -> tuple[str, float, int]:
    return side[0], SLICE_S, side[1]


def ratio_figure(work: str, against: str, pairs: Sequence[tuple[Slice, Slice]], goal: float) -> Figure:
    ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    ratios = [a.rate / b.rate for a, b in pairs]
    cpu = [median(part.cpu_us for part in side) for side in (ours, theirs)]
    note = (
        f"{median(a.rate for a in ours):,.0f} against {median(b.rate for b in theirs):,.0f} requests a second; "
        f"server CPU {cpu[0]:.1f} against {cpu[1]:.1f} µs a request (by that {cpu[1] / cpu[0]:.3f}); core "
        f"{median(a.busy for a in ours):.0%} and {median(b.busy for b in theirs):.0%} busy"
    )
    return from_ratios(work, against, ratios, goal, at_least=True, note=note)


@contextmanager
def raw_server(
    answer: tuple[int, Sequence[tuple[str, str]], bytes],
    cores: set[int],
    *,
    sandbox: str | None = None,
    packages: Path | None = None,
) -> Iterator[tuple[int, int]]:
    """A child that answers with the same headers and body, on the same server: its port and process id.
    `packages` is a folder that it may import from besides.
    """
    given: dict[str, object] = {"headers": [list(pair) for pair in answer[1]], "body": answer[2].decode()}
    if sandbox is not None:
        given["sandbox"] = sandbox
    environment = os.environ if packages is None else os.environ | {"PYTHONPATH": str(packages)}
    raw = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.raw_server"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert raw.stdin
    assert raw.stdout
    try:
        raw.stdin.write(json.dumps(given).encode() + b"\n")
        raw.stdin.flush()
        line = raw.stdout.readline()
        if not line:
            raise BenchFailed("the server that is compared with did not start")
        proc.pin(raw.pid, cores)
        yield int(line), raw.pid
    finally:
        raw.stdin.close()
        raw.wait(10)


def hello() -> list[Figure]:
    with one_core() as (host, load, core):
        host.deploy("hello", sample("hello"), "hello.localhost")
        answer = host.request("hello.localhost")
        expect_ok(answer, "hello")
        with raw_server(answer, {core}) as (port, pid):
            load.connect("ours", host.port, [get("hello.localhost")])
            load.connect("raw", port, [get("hello.localhost")])
            pairs = compare(load, ("ours", host.worker_pid), ("raw", pid))
    return [
        ratio_figure("hello through route + fresh sandbox", "raw ASGI hello on the same uvicorn", pairs, 0.30)
    ]


def tenants() -> list[Figure]:
    with one_core() as (host, load, _):
        module = sample("hello")
        host.deploy("one", module, "one.localhost")
        for number in range(TENANTS):
            own = distinct(module, number) if number < DISTINCT else module
            host.deploy(f"t{number}", own, f"t{number}.localhost")
        load.connect("one", host.port, [get("one.localhost")])
        load.connect("all", host.port, zipf(TENANTS, _ZIPF_REQUESTS))
        pid = host.worker_pid
        # Every tenant is resident before it counts, as it is after a minute of such traffic.
        load.connect("each", host.port, [get(f"t{number}.localhost") for number in range(TENANTS)])
        load.closed("each", 2.0, pid)
        pairs = compare(load, ("all", pid), ("one", pid))
    return [ratio_figure(f"hello over {TENANTS:,} tenants, Zipf 1.0", "hello of one tenant", pairs, 0.80)]


def zipf(tenants: int, count: int) -> list[bytes]:
    """Requests for tenants by popularity 1/rank; ranks are shuffled over names, so that distinct modules are
    among the popular ones as among the others.
    """
    chance = random.Random(7)
    names = list(range(tenants))
    chance.shuffle(names)
    steps = list(accumulate(1 / rank for rank in range(1, tenants + 1)))
    picks = (bisect.bisect_left(steps, chance.random() * steps[-1]) for _ in range(count))
    return [get(f"t{names[pick]}.localhost") for pick in picks]


def kv() -> list[Figure]:
    with one_core() as (host, load, _):
        host.deploy("hello", sample("hello"), "hello.localhost")
        pages = host.make_kv("pages", "reader")
        host.deploy("reader", sample("kv_read"), "reader.localhost", kv={"STORE": pages})
        host.put_kv(pages, "/greeting", b"Hello from KV!\n")
        load.connect("kv", host.port, [get("reader.localhost", "/greeting")])
        load.connect("hello", host.port, [get("hello.localhost")])
        pid = host.worker_pid
        pairs = compare(load, ("kv", pid), ("hello", pid))
    return [ratio_figure("hello with one KV read", "hello", pairs, 0.75)]
