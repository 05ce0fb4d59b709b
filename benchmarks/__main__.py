"""`make bench`: measure every row, print the table, write build/bench.json. 1 when a goal is missed."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

from benchmarks import (
    accelerator,
    against_peers,
    d1,
    egress_decide,
    egress_fetch,
    isolation,
    javascript,
    javascript_peers,
    latency,
    memory,
    rule_expressions,
    scale,
    storage,
    throughput,
)
from benchmarks.figures import Figure
from benchmarks.host import ROOT, BenchFailed
from benchmarks.peers import PeerMissing

BENCHES: Final[dict[str, Callable[[], list[Figure]]]] = {
    "hello": throughput.hello,
    "tenants": throughput.tenants,
    "kv": throughput.kv,
    "d1": d1.point_query,
    "group_commit": storage.group_commit,
    "writers": storage.writers,
    "kv_list": storage.listing,
    "delivery": storage.delivery,
    "pops": storage.pops,
    "accelerator": accelerator.accelerator,
    "isolation": isolation.handed_over,
    "neighbours": latency.neighbours,
    "suspended": memory.suspended,
    "idle": memory.tenants,
    "processes": scale.processes,
    "many": scale.many_tenants,
    "startup": scale.startup,
    "expressions": rule_expressions.expressions,
    "decide": egress_decide.decide_rules,
    "decide_tenants": egress_decide.decide_tenants,
    "fetch": egress_fetch.small_fetch,
    "fetch_stream": egress_fetch.stream,
    "js": javascript.hello,
    "js_hono": javascript.hono,
    "js_deploy": javascript.deploy,
    "js_workerd": javascript_peers.workerd_reused,
    "js_fresh": javascript_peers.workerd_fresh,
    "js_density": javascript_peers.density,
    "workerd": against_peers.workerd_throughput,
    "cold": against_peers.cold,
    "density": against_peers.density,
    "extism": against_peers.extism,
    "wasmtime_py": against_peers.wasmtime_py,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=BENCHES, help="one of them instead of all")
    only: str | None = parser.parse_args().only
    # Servers and folders are taken down on the way out: a SIGTERM alone would leave them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"{_machine()}; spread is the quartiles\n", flush=True)
    figures: list[Figure] = []
    failed = False
    for name in [only] if only else BENCHES:
        started = time.monotonic()
        try:
            measured = BENCHES[name]()
        except PeerMissing as reason:
            print(f"{name} is skipped: {reason}", flush=True)
            continue
        except BenchFailed as error:
            print(f"{name} was not measured: {error}", file=sys.stderr)
            failed = True
            continue
        figures += measured
        for figure in measured:
            print(figure.line(), flush=True)
        print(f"      (ONLY={name}, {time.monotonic() - started:.0f} s)", flush=True)
    target = ROOT / "build" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([figure.record() for figure in figures], indent=2) + "\n")
    print(f"\nwritten to {target.relative_to(ROOT)}")
    return 1 if failed or not all(figure.holds for figure in figures) else 0


def _machine() -> str:
    model = platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next(
                (row.split(":", 1)[1].strip() for row in lines if row.startswith("model name")), model
            )
    except OSError:
        pass
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} × {model}, Python {platform.python_version()}, load before {load:.1f}"


if __name__ == "__main__":
    sys.exit(main())
