"""Workers in JavaScript against wasm ones, and how fast one is deployed."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median, quantiles

from benchmarks.figures import Figure
from benchmarks.host import BenchFailed, BenchHost, expect_ok, sample
from benchmarks.js_bundles.bundling import HONO_APP, LARGE, bundled
from benchmarks.load import Slice, get
from benchmarks.throughput import compare, one_core, ratio_figure

_DEPLOYS = 15
#: Long enough for the next compile child to be ready.
_PAUSE_S = 1.0
_ROUNDS_A_ROUTE = 5
_AUTHORIZED = b"Authorization: Bearer open sesame\r\n"
#: Of js_bundles/hono_app.js.
_HONO = [
    get("hono.localhost"),
    get("hono.localhost", "/json"),
    get("hono.localhost", "/users/7?q=x"),
    b"POST /echo HTTP/1.1\r\nHost: hono.localhost\r\nContent-Length: 7\r\n\r\n" + b'{"a":1}',
    get("hono.localhost", "/admin/stats").replace(b"Accept:", _AUTHORIZED + b"Accept:", 1),
]


def hello() -> list[Figure]:
    with one_core() as (host, load, _):
        host.deploy("hello", sample("hello"), "hello.localhost")
        host.deploy("hello-js", sample("hello_js", ".js"), "hello-js.localhost")
        expect_ok(host.request("hello-js.localhost"), "hello-js")
        load.connect("js", host.port, [get("hello-js.localhost")])
        load.connect("wasm", host.port, [get("hello.localhost")])
        pid = host.worker_pid
        pairs = compare(load, ("js", pid), ("wasm", pid))
    return [
        ratio_figure("JavaScript hello, a fresh heap each", "core-module hello, both routed", pairs, 0.25)
    ]


def hono() -> list[Figure]:
    """Five routes, one after the other. Each request finds the application as its top level left it, so each builds
    Hono's router; warmed up at its deployment, it finds that too.
    """
    return [
        ratio_figure("Hono, five routes, a fresh heap each", "JavaScript hello", _hono_routes(None), 0.4),
        ratio_figure("Hono, five routes, warmed up", "JavaScript hello", _hono_routes("/"), 0.8),
    ]


def _hono_routes(warm_up: str | None) -> list[tuple[Slice, Slice]]:
    """Each route's slices beside hello's."""
    with one_core() as (host, load, _):
        host.deploy("hello-js", sample("hello_js", ".js"), "hello-js.localhost")
        host.deploy("hono", bundled(HONO_APP), "hono.localhost", warm_up=warm_up)
        expect_ok(host.request("hono.localhost", "/users/7?q=x"), "Hono")
        load.connect("hello", host.port, [get("hello-js.localhost")])
        pid = host.worker_pid
        pairs = []
        for number, request in enumerate(_HONO):
            load.connect(f"route {number}", host.port, [request])
            pairs += compare(load, (f"route {number}", pid), ("hello", pid), _ROUNDS_A_ROUTE)
        return pairs


def deploy() -> list[Figure]:
    """From the upload to the first answer of what was uploaded, each a source that the host has not seen."""
    hello = "export default {{ fetch() {{ return new Response('version {number}'); }} }};"
    large = bundled(LARGE).decode()
    with BenchHost(workers=1) as host:
        return [
            _deploy(host, "hello", lambda number: hello.format(number=number), 20.0),
            _deploy(host, f"{len(large) >> 10} KiB", lambda number: f"{large}\n// version {number}", 150.0),
        ]


def _deploy(host: BenchHost, what: str, source: Callable[[int], str], goal_ms: float) -> Figure:
    took: list[float] = []
    for number in range(_DEPLOYS + 1):
        name = f"{what.replace(' ', '').lower()}-{number}"
        time.sleep(_PAUSE_S)
        started = time.perf_counter()
        host.deploy(name, source(number).encode(), f"{name}.localhost")
        body = expect_ok(host.request(f"{name}.localhost"), name)
        if number:  # the first one maps the engine
            took.append((time.perf_counter() - started) * 1000)
        if what == "hello" and body != f"version {number}".encode():
            raise BenchFailed(f"version {number} answered {body!r}")
    low, _, high = (each / goal_ms for each in quantiles(took, n=4))
    return Figure(
        f"JavaScript of {what} deployed and routed, to its first answer",
        f"{goal_ms:g} ms",
        median(took) / goal_ms,
        (low, high),
        1.0,
        at_least=False,
        note=f"p50 {median(took):.1f} ms, least {min(took):.1f}, most {max(took):.1f}; a route is made on the way",
    )
