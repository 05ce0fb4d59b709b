"""What one more costs in private memory of a worker process: a suspended guest, a resident idle tenant."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from itertools import pairwise

from benchmarks import proc
from benchmarks.figures import Figure, from_ratios
from benchmarks.host import BenchFailed, BenchHost, distinct, expect_ok, sample
from benchmarks.load import LoadGenerator, get

GROUPS = 4
GUESTS_A_GROUP = 250
TENANTS_A_GROUP = 50
SUSPENDED_BYTES = 64 * 1024
TENANT_BYTES = 100 * 1024


def suspended() -> list[Figure]:
    """Guests that sleep, each with its connection, store, stack and session."""
    with BenchHost(workers=1) as host, LoadGenerator() as load:
        host.deploy("hostile", sample("hostile"), "hostile.localhost")
        host.deploy("hello", sample("hello"), "hello.localhost")
        load.connect("hello", host.port, [get("hello.localhost")])
        pid = host.worker_pid
        load.closed("hello", 2.0, pid)  # what any busy process has taken once
        sizes = [settled(pid)]
        for group in range(GROUPS):
            before = host.metrics().get("tenantry_suspended_events", 0)
            for start in range(0, GUESTS_A_GROUP, 50):
                load.begin_noise(
                    f"{group}.{start}",
                    host.port,
                    [get("hostile.localhost", "/wait?ms=60000")] * min(50, GUESTS_A_GROUP),
                )
            _wait_for(host, before + GUESTS_A_GROUP)
            sizes.append(settled(pid))
        for group in range(GROUPS):
            for start in range(0, GUESTS_A_GROUP, 50):
                load.end_noise(f"{group}.{start}")
    return [_figure("memory of a suspended guest", sizes, GUESTS_A_GROUP, SUSPENDED_BYTES)]


def _wait_for(host: BenchHost, suspended: float) -> None:
    deadline = time.monotonic() + 15
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


def _ask(host: BenchHost, hostname: str) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": hostname})
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
