"""Where the time of a first request goes, by stage: `python -m benchmarks.cold_stages`. For docs/performance.md.

Some hundred tenants with modules of their own, in the database and the AOT cache, each asked once and a warm one
between any two, in one process, with the thread's CPU clock read between the stages. Not in it: uvicorn and the
kernel's network, which a first request takes as any other does; confinement.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from statistics import median
from time import thread_time_ns
from typing import Any, Final

import uvloop

from benchmarks.host import distinct
from dispatch.received import receive_request
from dispatch.responses import AsgiResponder
from dispatch.route_index import RouteIndex
from dispatch.routing import Routed
from dispatch.trusted_proxies import TrustedProxies
from dispatch.workers import Workers
from edge.door import Visitor
from model.capabilities import EventContext, WorkerEnv
from model.hostname import parse_host
from model.identity import DEFAULT_ACCOUNT, NamespaceName, ScriptName, TenantId, VersionId, new_ray_id
from model.scripts import HostnameRoutes, Route, ScriptRef, ScriptVersion, Target
from observability.access_log import AccessLog, to_descriptor
from observability.metrics import Counters
from observability.observer import HostObserver
from runtime.aot_cache import ModuleFacts
from runtime.artifact import Artifact, read_artifact
from runtime.fetch_event import FetchEvent
from runtime.metering import Ending
from runtime.worker import Worker
from storage.changes import ChangeSequence, record_change
from storage.control_records import encode_hostname
from storage.control_store import ControlStore
from storage.database import Transaction
from storage.migrations import load_queries
from storage.script_records import store_version
from tests.support.guests import Guests, OpenPermit, engine, sample

_TENANTS: Final = 300
_WARM_ROUNDS: Final = 300


class _Tenants:
    """t0 … are asked once; the last one is the warm one."""

    def __init__(self, folder: Path) -> None:
        self.guests = Guests()
        self.guests.host.observer = HostObserver(
            Counters(), AccessLog(to_descriptor(os.open(os.devnull, os.O_WRONLY))), lambda _: True
        )
        artifacts = [self._compile(distinct(sample("hello"), number)) for number in range(_TENANTS + 1)]
        sequence = ChangeSequence(folder / "changes.seq")
        writer = ControlStore.open(folder / "control.db", sequence)
        writer.database.write_blocking(lambda tx: _deploy(tx, artifacts))
        writer.close()
        self.index = RouteIndex(ControlStore.open(folder / "control.db", sequence, read_only=True))
        host = self.guests.host
        self.workers = Workers(self.index, lambda version: Worker(host, version, WorkerEnv()))
        self.trusted = TrustedProxies(())
        self.spent: dict[str, dict[str, list[int]]] = {"first": {}, "warm": {}}

    def _compile(self, wasm: bytes) -> Artifact:
        artifact = read_artifact(wasm)
        module = engine().compile(wasm)
        self.guests.cache.store(artifact.digest, ModuleFacts(False), module.image())
        module.close()
        return artifact

    async def ask(self, number: int, kind: str) -> None:
        """One request; its times are kept as `kind`."""
        name = f"t{number}.localhost".encode()
        scope = {
            "method": "GET", "scheme": "http", "raw_path": b"/", "query_string": b"", "client": ("127.0.0.1", 4711),
            "headers": [(b"host", name), (b"accept", b"*/*")],
        }  # fmt: skip
        spent = self.spent[kind]
        clock = thread_time_ns()

        def mark(stage: str) -> None:
            nonlocal clock
            spent.setdefault(stage, []).append(thread_time_ns() - clock)
            clock = thread_time_ns()

        visitor = Visitor(parse_host(name))
        mark("parse the host name")
        ray_id = new_ray_id()
        responder = AsgiResponder(_send, "GET", ray_id, visitor)
        request = receive_request(scope, _receive, ray_id, self.trusted)
        mark("receive")
        routed = self.index.match(request.hostname, request.path, request.headers)
        mark("route")
        assert isinstance(routed, Routed)
        assert routed.target.script is not None
        worker = self.workers.get(routed.target.script)
        mark("version, worker")
        assert isinstance(worker, Worker)
        pool, digest = self.guests.host.pool, worker.version.module_digest
        loaded = pool.get(digest)
        if loaded is None:
            image = self.guests.cache.open_small(digest)
            assert image is not None
            mark("read the image, check its MAC")
            loaded = pool._map(digest, worker.version.tenant, image)
            mark("map and link it")
        version = worker.version
        context = EventContext(
            version.account, version.ref.namespace, version.ref.script, version.version, version.tenant,
            version.tags, ray_id, 0, OpenPermit(), {}, request.client.ip, 0,
        )  # fmt: skip
        event = FetchEvent(worker, context, worker.fetch_limits, request, {}, responder, visitor)
        begun = event._begin(loaded)
        if not isinstance(begun, Ending):
            await begun
        mark("the event, its first touch of the code, its record")
        assert responder.status == 200


def _deploy(tx: Transaction, artifacts: list[Artifact]) -> None:
    for number, artifact in enumerate(artifacts):
        name = f"t{number}"
        hostname = f"{name}.localhost"
        ref = ScriptRef(NamespaceName("bench"), ScriptName(name))
        version = ScriptVersion(
            DEFAULT_ACCOUNT, ref, TenantId(name), VersionId(name), artifact.digest, artifact.handlers
        )
        store_version(tx, version)
        record = encode_hostname(HostnameRoutes((Route(name, hostname, "", (), Target(ref)),)))
        tx.execute(load_queries("control")["put_hostname_record"], (hostname, record))
        record_change(tx, "route", hostname)


async def _send(_message: MutableMapping[str, Any]) -> None:
    pass


async def _receive() -> MutableMapping[str, Any]:
    return {"type": "http.disconnect"}


async def measure() -> dict[str, dict[str, float]]:
    """`first` and `warm` → stage → median µs."""
    with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as folder:
        tenants = _Tenants(Path(folder))
        for _ in range(_WARM_ROUNDS):
            await tenants.ask(_TENANTS, "warm")
        tenants.spent["warm"].clear()
        for number in range(_TENANTS):
            await tenants.ask(number, "first")
            await tenants.ask(_TENANTS, "warm")
        tenants.guests.close()
        return {
            kind: {stage: median(values) / 1000 for stage, values in stages.items()}
            for kind, stages in tenants.spent.items()
        }


def main() -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        spent = runner.run(measure())
    first, warm = spent["first"], spent["warm"]
    print(f"{'µs':40} first   warm")
    for stage, spent_us in first.items():
        print(f"{stage:40} {spent_us:5.1f}  {warm.get(stage, 0.0):5.1f}")
    print(f"{'sum':40} {sum(first.values()):5.1f}  {sum(warm.values()):5.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
