"""Workers in JavaScript against workerd: the same source on both, ours in a heap that is new for every request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import Final

from benchmarks import peers, proc
from benchmarks.figures import Figure, from_ratios
from benchmarks.host import BenchHost, expect_ok
from benchmarks.js_bundles.bundling import HONO_APP, bundled
from benchmarks.load import LoadGenerator, get
from benchmarks.memory import settled
from benchmarks.raw_http import RawConnection
from benchmarks.throughput import compare, one_core, ratio_figure
from benchmarks.workerd_peer import workerd

_HELLO: Final = 'export default { fetch() { return new Response("Hello!\\n"); } };\n'
_ROUNDS: Final = 12
_ALONE: Final = 160
_GROUP: Final = 20
_TENANTS: Final = 16
_STEPS: Final = 3


def workerd_reused() -> list[Figure]:
    """Its isolate serves one request after the other, and what one leaves in a global the next one sees."""
    peers.workerd()
    with one_core() as (host, load, core), workerd(1, _HELLO) as peer:
        proc.pin(peer.pid, {core})
        host.deploy("t0", _HELLO.encode(), "t0.localhost")
        expect_ok(host.request("t0.localhost"), "hello")
        load.connect("theirs", peer.services, [get("t0.localhost")])
        load.connect("ours", host.port, [get("t0.localhost")])
        pairs = compare(load, ("ours", host.worker_pid), ("theirs", peer.pid), _ROUNDS)
    work, against = (
        "JavaScript hello through dispatch, a fresh heap each",
        "workerd, dispatcher → tenant, reused isolate",
    )
    return [ratio_figure(work, against, pairs, 0.35)]


def workerd_fresh() -> list[Figure]:
    """Both give every request a heap of its own. As many at once as in every other row, and then one alone."""
    peers.workerd()
    with one_core() as (host, load, core), workerd(1, _HELLO) as peer:
        proc.pin(peer.pid, {core})
        host.deploy("t0", _HELLO.encode(), "t0.localhost")
        request = get("t0.localhost")
        load.connect("theirs", peer.fresh, [request])
        load.connect("ours", host.port, [request])
        pairs = compare(load, ("ours", host.worker_pid), ("theirs", peer.pid), _ROUNDS)
        with RawConnection(host.port) as to_us, RawConnection(peer.fresh) as to_them:
            alone = [(to_us.timed(request), to_them.timed(request)) for _ in range(_ALONE)]
    against = "workerd, an isolate made for each request (its loader's `load`)"
    return [
        ratio_figure("JavaScript hello, a fresh heap each", against, pairs, 10.0),
        _one_at_a_time(alone, against),
    ]


def _one_at_a_time(took: Sequence[tuple[float, float]], against: str) -> Figure:
    """How soon either answers who asks alone, in seconds (ours, theirs): a core that has just slept, on both sides."""
    groups = [took[at : at + _GROUP] for at in range(0, len(took), _GROUP)]
    medians = [tuple(map(median, zip(*group, strict=True))) for group in groups]
    ours, theirs = (median(side) * 1e3 for side in zip(*took, strict=True))
    return from_ratios(
        "latency of JavaScript hello in a fresh heap, one connection, one request at a time",
        against,
        [them / us for us, them in medians],
        10.0,
        at_least=True,
        note=f"p50 {ours:.2f} against {theirs:.2f} ms; {len(took)} requests each",
    )


def density() -> list[Figure]:
    """Private bytes that one more tenant takes, once it was asked and rests."""
    peers.workerd()
    hono = bundled(HONO_APP).decode()
    return [_density("hello", _HELLO, 50.0), _density("Hono with five routes", hono, 5.0)]


def _density(kind: str, source: str, goal: float) -> Figure:
    ours = median(_growth_of_ours(source))
    sizes = []
    for step in range(_STEPS + 1):
        count = 1 + step * _TENANTS
        with workerd(count, source) as peer:
            with RawConnection(peer.services) as connection:
                for number in range(count):
                    connection.timed(get(f"t{number}.localhost"))
            sizes.append(settled(peer.pid))
    theirs = [(after - before) / _TENANTS for before, after in pairwise(sizes)]
    note = f"{ours / 1024:.1f} KiB against {median(theirs) / 1024:,.0f} KiB; {_STEPS} groups of {_TENANTS}"
    return from_ratios(
        f"an idle JavaScript tenant's memory ({kind}), how many times smaller",
        "workerd, an isolate",
        [size / ours for size in theirs],
        goal,
        at_least=True,
        note=note,
    )


def _growth_of_ours(source: str) -> Iterator[float]:
    with BenchHost(workers=1) as host, LoadGenerator() as load:
        host.deploy("first", source.encode(), "first.localhost")
        load.connect("first", host.port, [get("first.localhost")])
        pid = host.worker_pid
        load.closed("first", 2.0, pid)
        numbers = range(_STEPS * _TENANTS)
        for number in numbers:
            # Each has bytes of its own, and so a memory of its own.
            host.deploy(f"t{number}", f"{source}\n// {number}\n".encode(), f"t{number}.localhost")
        before = settled(pid)
        for start in numbers[::_TENANTS]:
            with RawConnection(host.port) as connection:
                for number in range(start, start + _TENANTS):
                    connection.timed(get(f"t{number}.localhost"))
            after = settled(pid)
            yield max(1.0, (after - before) / _TENANTS)
            before = after
