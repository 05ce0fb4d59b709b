"""What a request costs this process without the kernel's network: `python -m benchmarks.request_path [hello|kv_read]`.

Door, dispatch and sandbox as a worker process has them, on connections whose transport only remembers: 32 requests
come in one turn of the loop and are answered in the next. CPU time of the loop's thread, medians of many turns.
To compare two versions, run it in turns from two checkouts: it is quieter than two servers are.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles
from time import thread_time_ns
from typing import Any

import uvloop

from bindings.kv import StoredKvNamespace
from bindings.operations import OPERATIONS
from dispatch.admission import Admission
from dispatch.app import DispatchApp
from dispatch.route_index import RouteIndex
from dispatch.runner import TreeRunner
from dispatch.trusted_proxies import TrustedProxies
from dispatch.workers import Workers
from edge.protocol import DoorProtocol
from edge.server import DoorServer
from model.capabilities import Binding, KvEntry, WorkerEnv
from model.identity import DEFAULT_ACCOUNT, TenantId, VersionId
from model.scripts import Route, ScriptVersion, Target
from observability.access_log import AccessLog, to_descriptor
from observability.metrics import Counters
from observability.observer import HostObserver
from runtime.artifact import read_artifact
from runtime.worker import Worker
from storage.database import Database
from storage.kv_store import KvStore, kv_migrations
from tests.dispatch.support import MemoryRoutes, ref
from tests.support.guests import Guests, sample

CONNECTIONS = 32
REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tenantry-bench\r\n"
    "Accept: */*\r\nAccept-Encoding: gzip\r\n\r\n"
)


class Wire(asyncio.Transport):
    """A transport that only remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.last = b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 4711) if name in ("peername", "sockname") else default

    def write(self, data: Any) -> None:
        self.written += 1
        self.last = data

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0


async def prepare(name: str, folder: Path) -> tuple[list[DoorProtocol], list[Wire], bytes]:
    guests = Guests(OPERATIONS)
    guests.host.observer = HostObserver(
        Counters(), AccessLog(to_descriptor(os.open(os.devnull, os.O_WRONLY))), lambda _: True
    )
    database = Database.open(folder / "kv.db", kv_migrations())
    kv = KvStore(database)
    await kv.put("space", "/greeting", KvEntry(b"Hello from KV!\n"))
    store = MemoryRoutes()
    script = ref(name)
    wasm = sample(name)
    artifact = read_artifact(wasm)
    guests.worker(wasm)
    version = ScriptVersion(
        DEFAULT_ACCOUNT, script, TenantId("acme"), VersionId("v1"), artifact.digest, artifact.handlers
    )
    store.put_script(version)
    host = f"{name}.localhost".replace("_", "-")
    store.put_routes(host, Route("r", host, "", (), Target(script=script)))
    index = RouteIndex(store)
    env = WorkerEnv(bindings={"STORE": Binding("kv_namespace", StoredKvNamespace(kv, "space"))})
    workers = Workers(index, lambda version: Worker(guests.host, version, env))
    runner = TreeRunner()
    runner.use(workers)
    app = DispatchApp(
        index, workers, runner, Admission(), guests.host.observer, lambda path: None, TrustedProxies(()), {},
        lambda value: 0,
    )  # fmt: skip
    server = DoorServer(app, at_once=app.begin)
    await server.start([])
    wires = [Wire() for _ in range(CONNECTIONS)]
    doors = [server._protocol() for _ in wires]
    for door, wire in zip(doors, wires, strict=True):
        door.connection_made(wire)
    path = "/greeting" if name == "kv_read" else "/"
    request = REQUEST.format(path=path, host=host).encode()
    return doors, wires, request


async def turn(doors: list[DoorProtocol], wires: list[Wire], request: bytes, due: int) -> None:
    for door in doors:
        door.data_received(request)
    while wires[-1].written < due:  # noqa: ASYNC110 - it is the loop's turns that are measured
        await asyncio.sleep(0)


async def measure(name: str, turns: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        doors, wires, request = await prepare(name, Path(folder))
        spent = []
        for number in range(turns):
            start = thread_time_ns()
            await turn(doors, wires, request, number + 1)
            spent.append((thread_time_ns() - start) / 1000 / CONNECTIONS)
        if b" 200 OK\r\n" not in wires[0].last:
            raise SystemExit(wires[0].last)
        return spent[turns // 10 :]


def main() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 else "hello"
    turns = int(sys.argv[2]) if len(sys.argv) > 2 else 1500
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        spent = runner.run(measure(name, turns))
    first, middle = quantiles(spent, n=20)[0], median(spent)
    print(
        f"{name}: {middle:.1f} µs a request (a twentieth below {first:.1f}, least {min(spent):.1f})",
        flush=True,
    )
    os._exit(0)  # threads of the log and of storage are still there


if __name__ == "__main__":
    sys.exit(main())
