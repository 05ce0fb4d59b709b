"""Run guests in tests: one engine for the whole test process, real modules, a responder that remembers.

There can be one engine a process, so every test shares it; everything else is made for each test.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wasmtime import wat2wasm

from dispatch.responses import check_headers
from model.capabilities import EventContext, OperationTable, WorkerEnv
from model.identity import DEFAULT_ACCOUNT, NamespaceName, RayId, ScriptName, TenantId, VersionId
from model.messages import Body, Client, Headers, IncomingRequest
from model.observer import EventRecord, LogLine, Observer
from model.scripts import ScriptRef, ScriptVersion
from runtime.aot_cache import AotCache, ModuleFacts
from runtime.artifact import read_artifact
from runtime.capi.engine_store import Engine, EngineSettings
from runtime.capi.linker import Linker
from runtime.engine import start_engine
from runtime.fiber import Lanes
from runtime.instance_pool import MAX_DELTA_BYTES, InstancePool
from runtime.javascript.bundle import decode, is_bundle
from runtime.javascript.loading import JavaScript
from runtime.javascript.sealed import ScriptFacts
from runtime.linking import make_linker
from runtime.metering import Ending
from runtime.running import RunningEvents
from runtime.worker import RuntimeHost, Worker

SAMPLES = Path(__file__).parents[2] / "sample_workers"

#: The kinds of worker, by how a built one's file name ends. What any worker can rely on is tested on each: components
#: come as the second row.
ABIS: Final[Mapping[str, str]] = {"module": ".wasm"}


@functools.cache
def engine() -> Engine:
    return start_engine(EngineSettings(slots=400))


def sample(name: str, abi: str = "module") -> bytes:
    """A sample worker as it was committed, of one kind."""
    return (SAMPLES / name / f"{name}{ABIS[abi]}").read_bytes()


def wat(text: str) -> bytes:
    return bytes(wat2wasm(text))


class OpenPermit:
    """A TreePermit without limits, which counts."""

    def __init__(self) -> None:
        self.nested_now = 0
        self.parked = 0

    def nested(self) -> None:
        self.nested_now += 1

    def release_nested(self) -> None:
        self.nested_now -= 1

    def park(self) -> None:
        self.parked += 1

    def unpark(self) -> None:
        self.parked -= 1


@dataclass
class Remembered:
    """A Responder that keeps what it was given."""

    started: bool = False
    ended: bool = False
    aborted: bool = False
    status: int = 0
    bytes_out: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    async def start(self, status: int, headers: Headers) -> None:
        self.headers = check_headers(status, headers)
        self.started = True
        self.status = status

    async def write(self, data: bytes) -> None:
        self.body += data
        self.bytes_out += len(data)

    async def end(self) -> None:
        self.ended = True

    async def send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        await self.start(status, headers)
        await self.write(body)
        await self.end()

    def put_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        return False

    def abort(self) -> None:
        self.aborted = True


class RememberingObserver(Observer):
    def __init__(self) -> None:
        self.records: list[EventRecord] = []
        self.lines: list[LogLine] = []

    def completed(self, record: EventRecord) -> None:
        self.records.append(record)

    def logged(self, line: LogLine) -> None:
        self.lines.append(line)

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]


def request(
    method: str = "GET",
    path: str = "/",
    headers: Headers = (),
    body: Body = None,
    host: str = "a.example.com",
) -> IncomingRequest:
    given = [(b"host", host.encode()), *headers]
    return IncomingRequest(
        method,
        f"http://{host}{path}",
        host,
        path,
        given,
        body,
        None,
        Client("127.0.0.1", False, "ray"),
    )


def context(script: str = "worker", namespace: str | None = None, tenant: str = "tenant") -> EventContext:
    return EventContext(
        DEFAULT_ACCOUNT,
        NamespaceName(namespace) if namespace else None,
        ScriptName(script),
        VersionId("v1"),
        TenantId(tenant),
        (),
        RayId("ray"),
        0,
        OpenPermit(),
    )


class Guests:
    """A RuntimeHost over the shared engine, in a temporary folder. `close` at the end of the test.

    `javascript` is the module of the engine that bundles are for; `delta_bytes` are kept of their deltas.
    """

    def __init__(
        self,
        operations: OperationTable | None = None,
        abi: str = "module",
        javascript: bytes = b"",
        delta_bytes: int = MAX_DELTA_BYTES,
    ) -> None:
        self.abi = abi
        self._folder = tempfile.TemporaryDirectory(prefix="tenantry-aot-")
        self._javascript = javascript
        digest = hashlib.sha256(javascript).hexdigest() if javascript else ""
        self.cache = AotCache(Path(self._folder.name), b"k" * 32, digest)
        self.observer = RememberingObserver()
        self.recompiled: list[tuple[str, str]] = []
        self._wasm: dict[str, bytes] = {digest: javascript}
        pool = InstancePool(
            engine(), _linker(engine().accelerated), self.cache, self._recompile, max_delta_bytes=delta_bytes
        )
        self.host = RuntimeHost(engine(), Lanes(1), pool, operations or {}, self.observer, RunningEvents())
        self.host.running.start()

    def sample(self, name: str) -> bytes:
        """The sample worker of the kind that this run of a test is about."""
        return sample(name, self.abi)

    async def _recompile(self, digest: str, reason: str) -> None:
        self.recompiled.append((digest, reason))
        self._compile(digest)

    def _compile(self, digest: str) -> None:
        wasm = self._wasm[digest]
        if is_bundle(wasm):
            seed = hashlib.sha256(wasm).digest()
            loaded = _load_javascript(self._javascript).load(decode(wasm), seed, 128 << 20)
            facts = ScriptFacts(loaded.handlers, loaded.entrypoints)
            self.cache.store_delta(digest, facts, loaded.delta)
            return
        module = engine().compile(wasm)
        self.cache.store(digest, ModuleFacts("_initialize" in read_artifact(wasm).exports), module.image())
        module.close()

    def worker(
        self,
        wasm: bytes,
        *,
        env: WorkerEnv | None = None,
        limits: Mapping[str, int] | None = None,
        trusted: bool = False,
        name: str = "worker",
    ) -> Worker:
        artifact = read_artifact(wasm)
        self._wasm[artifact.digest] = wasm
        if not self.cache.has(artifact.digest):
            self._compile(artifact.digest)
        version = ScriptVersion(
            DEFAULT_ACCOUNT,
            ScriptRef(None, ScriptName(name)),
            TenantId("tenant"),
            VersionId("v1"),
            artifact.digest,
            artifact.handlers or self.cache.read_delta(artifact.digest).facts.handlers,
            limits=limits or {},
            trusted=trusted,
        )
        return Worker(self.host, version, env or WorkerEnv())

    async def fetch(
        self, worker: Worker, incoming: IncomingRequest | None = None
    ) -> tuple[Ending, Remembered]:
        responder = Remembered()
        ending = await worker.fetch(incoming or request(), responder, context(), {})
        return ending, responder

    def close(self) -> None:
        self.host.running.stop()
        self.host.lanes.close()
        self._folder.cleanup()


@functools.cache
def _linker(_accelerated: bool) -> Linker:
    """One for each driver: an engine keeps its callbacks for ever."""
    return make_linker(engine())


@functools.cache
def _load_javascript(wasm: bytes) -> JavaScript:
    module = engine().compile(wasm)
    try:
        return JavaScript(engine(), module.image())
    finally:
        module.close()
