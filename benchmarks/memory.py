"""What one more costs in private memory of a worker process: a suspended guest, a resident idle tenant."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

from benchmarks import proc
from benchmarks.figures import Figure, from_ratios, percentile
from benchmarks.host import BenchFailed, BenchHost, distinct, expect_ok, sample
from benchmarks.load import LoadGenerator, get

GROUPS = 4
TENANTS_A_GROUP = 50
TENANT_BYTES = 100 * 1024

SLEEPERS_A_GROUP = 125
#: As many as any tenant may have of a process that is nearly full.
GUESTS_A_SLEEPER = 10
#: The limit of 5,000 suspended events leaves room for one who asks.
GUESTS = GROUPS * SLEEPERS_A_GROUP * GUESTS_A_SLEEPER - 10
SUSPENDED_BYTES = 32 * 1024
_ROUNDS = 5
_SLICE_S = 1.8
_SHARE_OF_CAPACITY = 0.30
_LONG = {"wall_ms": 900_000}


def suspended() -> list[Figure]:
    """Guests that sleep, each with its connection, store, stack and session; and a small request beside them."""
    with BenchHost(workers=1) as host, LoadGenerator() as load, LoadGenerator() as sleepers:
        host.deploy("hello", sample("hello"), "hello.localhost")
        names = [f"sleeper{number}" for number in range(GROUPS * SLEEPERS_A_GROUP)]
        for name in names:
            host.deploy(name, sample("hostile"), f"{name}.localhost", limits=_LONG)
            expect_ok(
                _ask(host, f"{name}.localhost", "/wait?ms=1"), name
            )  # what a tenant costs is another row
        load.connect("hello", host.port, [get("hello.localhost")], connections=64)
        pid = host.worker_pid
        rate = _SHARE_OF_CAPACITY * median(load.closed("hello", 0.5, pid).rate for _ in range(4))
        alone = [load.open("hello", rate, _SLICE_S, seed) for seed in range(_ROUNDS)]
        sizes, count = [settled(pid)], 0
        for group in range(GROUPS):
            for name in names[group * SLEEPERS_A_GROUP : (group + 1) * SLEEPERS_A_GROUP]:
                asked = min(GUESTS_A_SLEEPER, GUESTS - count)
                request = get(f"{name}.localhost", "/wait?ms=900000")
                sleepers.begin_noise(name, host.port, [request] * asked)
                count += asked
            _wait_for(host, count)
            sizes.append(settled(pid))
        beside = [load.open("hello", rate, _SLICE_S, seed) for seed in range(_ROUNDS)]
        _wait_for(host, count)  # none of them ended meanwhile
        for name in names:
            sleepers.end_noise(name)
    return [
        _figure("memory of a suspended guest", sizes, GUESTS // GROUPS, SUSPENDED_BYTES),
        _late(beside, alone),
    ]


def _late(beside: list[list[int]], alone: list[list[int]]) -> Figure:
    ratios = [
        percentile(with_them, 0.99) / percentile(by_itself, 0.99)
        for with_them, by_itself in zip(beside, alone, strict=True)
    ]
    with_them, by_itself = (
        median(percentile(values, 0.99) for values in rounds) / 1000 for rounds in (beside, alone)
    )
    note = f"p99 {with_them:.2f} against {by_itself:.2f} ms"
    return from_ratios(
        f"p99 of hello beside {GUESTS:,} suspended guests",
        "p99 of hello alone",
        ratios,
        3.0,
        at_least=False,
        note=note,
    )


def _wait_for(host: BenchHost, suspended: float) -> None:
    deadline = time.monotonic() + 30
    while host.metrics().get("tenantry_suspended_events", 0) < suspended:
        if time.monotonic() > deadline:
            raise BenchFailed(
                f"{host.metrics().get('tenantry_suspended_events')} guests are suspended, not {suspended:.0f}"
            )
        time.sleep(0.2)


def tenants() -> list[Figure]:
    """Tenants that were asked once and then rest: one with a module of its own, one that shares an image."""
    module = sample("hello")
    own = _tenants("with a module of its own", lambda number: distinct(module, number))
    shared = _tenants("that shares its module", lambda _: module)
    return [*own, *shared]


def _tenants(kind: str, module_of: Callable[[int], bytes]) -> list[Figure]:
    with BenchHost(workers=1) as host, LoadGenerator() as load:
        host.deploy("hello", sample("hello"), "hello.localhost")
        load.connect("hello", host.port, [get("hello.localhost")])
        pid = host.worker_pid
        load.closed("hello", 2.0, pid)
        numbers = range(GROUPS * TENANTS_A_GROUP)
        for number in numbers:
            host.deploy(f"t{number}", module_of(number), f"t{number}.localhost")
        sizes, maps = [settled(pid)], proc.maps(pid)
        for group in range(GROUPS):
            for number in numbers[group * TENANTS_A_GROUP : (group + 1) * TENANTS_A_GROUP]:
                expect_ok(_ask(host, f"t{number}.localhost"), f"tenant {number}")
            sizes.append(settled(pid))
        maps = proc.maps(pid) - maps
    note = f"{maps / len(numbers):.1f} memory maps each"
    return [_figure(f"memory of a resident idle tenant {kind}", sizes, TENANTS_A_GROUP, TENANT_BYTES, note)]


def _ask(host: BenchHost, hostname: str, path: str = "/") -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": hostname})
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()
    finally:
        connection.close()


def settled(pid: int) -> int:
    """Private bytes, once sockets are closed and sandboxes deleted."""
    time.sleep(1.0)
    return proc.private_bytes(pid)


def _figure(work: str, sizes: list[int], group: int, goal_bytes: int, note: str = "") -> Figure:
    each = [(after - before) / group for before, after in pairwise(sizes)]
    middle = sorted(each)[len(each) // 2]
    text = f"{middle / 1024:.1f} KiB each, over {len(each)} groups of {group}" + (f"; {note}" if note else "")
    ratios = [size / goal_bytes for size in each]
    return from_ratios(work, f"{goal_bytes // 1024} KiB", ratios, 1.0, at_least=False, note=text)
