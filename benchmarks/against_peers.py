"""Rows against other programs that run tenants' code, or could: workerd, Extism, wasmtime-py's own classes.

Each peer is run as its own documentation says, and does no more than it must; see benchmarks/peers.py for how it
comes here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

from benchmarks import peers, proc
from benchmarks.bulk_deploy import deploy_copies
from benchmarks.figures import Figure, from_ratios
from benchmarks.host import NAMESPACE, BenchHost, distinct, expect_ok, sample
from benchmarks.load import LoadGenerator, get
from benchmarks.memory import settled
from benchmarks.raw_http import RawConnection
from benchmarks.throughput import compare, one_core, ratio_figure, raw_server
from benchmarks.workerd_peer import workerd

ROUNDS = 12
TENANTS = 200
#: Of the tenants: how many have a module of their own.
DISTINCT = 50
_COLD = 120
_GROUP = 30
_DENSITY = 40
_DENSITY_STEPS = (0, 1, 2, 3, 4)


def workerd_throughput() -> list[Figure]:
    """Ours routes by host name to a fresh sandbox; workerd's dispatcher passes the request to a warm isolate."""
    peers.workerd()
    module = sample("hello")
    with one_core() as (host, load, core), workerd(TENANTS) as peer:
        proc.pin(peer.pid, {core})
        for number in range(DISTINCT):
            host.deploy(f"t{number}", distinct(module, number), f"t{number}.localhost")
        deploy_copies(host.data, "t0", range(DISTINCT, TENANTS))
        _deploy_dispatcher(host)
        one = [get("t0.localhost")]
        every = [get(f"t{number}.localhost") for number in range(TENANTS)]
        by_header = [
            f"GET / HTTP/1.1\r\nHost: apps.localhost\r\nx-tenant: t{number}\r\nAccept: */*\r\n\r\n".encode()
            for number in range(TENANTS)
        ]
        for port in (host.port, peer.services, peer.loader):
            with RawConnection(port) as connection:
                for request in every:  # all of them are resident
                    connection.timed(request)
        services, loader = "workerd, dispatcher → tenant worker", "workerd, dispatcher → its dynamic loader"
        through = "hello through dispatch"
        rows = [
            (f"{through}, 1 tenant", f"{services}, 1 tenant", one, peer.services, one, 1.5),
            (f"{through}, {TENANTS} tenants", f"{services}, {TENANTS}", every, peer.services, every, 2.0),
            (f"{through}, {TENANTS} tenants", f"{loader}, {TENANTS}", every, peer.loader, every, 2.0),
            (
                f"hello through the platform's own dispatch worker, {TENANTS} tenants",
                f"{services}, {TENANTS}",
                by_header,
                peer.services,
                every,
                2.0,
            ),
        ]
        figures = []
        for row, (work, against, ours, port, theirs, goal) in enumerate(rows):
            # Connected only now: workerd closes what has been idle for 5 s.
            load.connect(f"theirs {row}", port, theirs)
            load.connect(f"ours {row}", host.port, ours)
            pairs = compare(load, (f"ours {row}", host.worker_pid), (f"theirs {row}", peer.pid), ROUNDS)
            figures.append(ratio_figure(work, against, pairs, goal))
        return figures


def _deploy_dispatcher(host: BenchHost) -> None:
    host.deploy(
        "dispatcher", sample("dispatcher"), "apps.localhost", namespace=None, dispatch={"TENANTS": NAMESPACE}
    )
    expect_ok(host.request("apps.localhost", headers={"x-tenant": "t0"}), "the dispatch worker")


def cold() -> list[Figure]:
    """Each tenant is asked once. Ours: the image is on disk, the worker process has never mapped it. Theirs: the
    dynamic loader gets a name that it has never heard; services are made at start, before anybody asks.
    """
    peers.workerd()
    module = sample("hello")
    with BenchHost(workers=1) as host, workerd(1) as peer:
        for number in range(_COLD):
            host.deploy(f"cold{number}", distinct(module, number), f"cold{number}.localhost")
        host.deploy("warm", distinct(module, _COLD), "warm.localhost")
        ours: list[float] = []
        theirs: list[float] = []
        warm: list[float] = []
        with RawConnection(host.port) as to_us, RawConnection(peer.loader) as to_them:
            for _ in range(200):  # both programs and their caches are warm, the tenants are not
                to_us.timed(get("warm.localhost"))
                to_them.timed(get("warm.localhost"))
            for number in range(_COLD):
                request = get(f"cold{number}.localhost")
                ours.append(to_us.timed(request))
                theirs.append(to_them.timed(request))
                warm.append(to_us.timed(get("warm.localhost")))
    ratios = [
        median(theirs[at : at + _GROUP]) / median(ours[at : at + _GROUP]) for at in range(0, _COLD, _GROUP)
    ]
    note = (
        f"p50 {median(ours) * 1e3:.2f} against {median(theirs) * 1e3:.2f} ms (ours once warm: "
        f"{median(warm) * 1e3:.2f} ms); p90 {quantiles(ours, n=10)[-1] * 1e3:.2f} against "
        f"{quantiles(theirs, n=10)[-1] * 1e3:.2f} ms; {_COLD} tenants"
    )
    return [
        from_ratios(
            "speed of a tenant's first request, image on disk",
            "workerd's first request to a new isolate (loader)",
            ratios,
            8.0,
            at_least=True,
            note=note,
        )
    ]


def density() -> list[Figure]:
    """Private bytes that one more tenant takes, once it was asked and rests."""
    peers.workerd()
    ours = list(_growth_of_ours())
    sizes = []
    for step in _DENSITY_STEPS:
        count = 1 + step * _DENSITY
        with workerd(count) as peer:
            with RawConnection(peer.services) as connection:
                for number in range(count):
                    connection.timed(get(f"t{number}.localhost"))
            sizes.append(settled(peer.pid))
    theirs = [(after - before) / _DENSITY for before, after in pairwise(sizes)]
    middle = median(ours)
    note = (
        f"{middle / 1024:.1f} KiB with a module of its own against {median(theirs) / 1024:,.0f} KiB; "
        f"{len(theirs)} groups of {_DENSITY}"
    )
    return [
        from_ratios(
            "a resident idle tenant's memory, how many times smaller",
            "workerd, an isolate",
            [size / middle for size in theirs],
            25.0,
            at_least=True,
            note=note,
        )
    ]


def _growth_of_ours() -> Iterator[float]:
    module = sample("hello")
    with BenchHost(workers=1) as host, LoadGenerator() as load:
        host.deploy("hello", module, "hello.localhost")
        load.connect("hello", host.port, [get("hello.localhost")])
        pid = host.worker_pid
        load.closed("hello", 2.0, pid)
        numbers = range((len(_DENSITY_STEPS) - 1) * _DENSITY)
        for number in numbers:
            host.deploy(f"t{number}", distinct(module, number), f"t{number}.localhost")
        before = settled(pid)
        for start in numbers[::_DENSITY]:
            with RawConnection(host.port) as connection:
                for number in range(start, start + _DENSITY):
                    connection.timed(get(f"t{number}.localhost"))
            after = settled(pid)
            yield max(1.0, (after - before) / _DENSITY)
            before = after


def extism() -> list[Figure]:
    return [_embedded("extism", "an Extism compiled plugin a request, same uvicorn", 4.0, peers.extism())]


def wasmtime_py() -> list[Figure]:
    return [_embedded("wasmtime_py", "wasmtime-py's classes with a pool, same uvicorn", 1.3, None)]


def _embedded(sandbox: str, against: str, goal: float, packages: Path | None) -> Figure:
    with one_core() as (host, load, core):
        host.deploy("hello", sample("hello"), "hello.localhost")
        answer = host.request("hello.localhost")
        expect_ok(answer, "hello")
        with raw_server(answer, {core}, sandbox=sandbox, packages=packages) as (port, pid):
            load.connect("ours", host.port, [get("hello.localhost")])
            load.connect("theirs", port, [get("hello.localhost")])
            pairs = compare(load, ("ours", host.worker_pid), ("theirs", pid), 2 * ROUNDS)
    return ratio_figure("hello through dispatch, with all limits and records", against, pairs, goal)
