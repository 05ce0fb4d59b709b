"""The data plane of one worker process, joined: stores, runtime, bindings, gateway, dispatch."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from bindings.analytics import PointSink
from bindings.delivery_verdict import BatchVerdict, QueueBatch, verdict_of
from bindings.env import build_env
from bindings.operations import OPERATIONS
from bindings.queue_delivery import DeliverySettings, QueueDelivery
from bindings.secret_store import SealedSecrets
from bindings.tail_delivery import RunTail, TailDelivery
from bindings.trace_items import Item
from cli.egress_policies import EgressPolicies
from cli.isolation import Isolation
from cli.local_dispatch import LocalDispatch
from cli.policy_reading import join_layers
from cli.stores import open_stores
from cli.worker_materials import MaterialKeyFor, WorkerMaterials
from dispatch.admission import Admission, AdmissionLimits
from dispatch.app import DispatchApp
from dispatch.hook import Hook
from dispatch.outbound_worker import OutboundWorkers
from dispatch.remote_worker import RemoteWorker
from dispatch.route_index import ALL, RouteIndex
from dispatch.runner import TreeRunner
from dispatch.trusted_proxies import TrustedProxies
from dispatch.workers import AnyWorker, Workers
from model.capabilities import EventContext
from model.errors import OperationError, OperationErrorCode, PlatformFault
from model.identity import NamespaceName, new_ray_id
from model.observer import Observer
from model.outcome import EventOutcome
from model.queues import ConsumerRecord
from model.scripts import ScriptRef, ScriptVersion
from outbound.addresses import AddressRanges
from outbound.audit import AuditSink
from outbound.connector import Connector
from outbound.gateway import Gateway
from outbound.hops import HopSigner
from outbound.host_addresses import host_addresses
from outbound.quotas import MOST_RUNNING, Usage
from outbound.resolver import Resolver
from outbound.target import canonical_url
from runtime.aot_cache import AotCache
from runtime.capi.engine_store import Engine
from runtime.fiber import Lanes
from runtime.instance_pool import MAX_MODULES, InstancePool
from runtime.linking import make_linker
from runtime.memory_budget import for_events, resident_bytes
from runtime.running import RunningEvents
from runtime.worker import RuntimeHost, Worker
from storage.cache_store import CacheStore, cache_migrations
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.d1.jobs import D1Room
from storage.d1.placement import Placement
from storage.d1.service import D1Service
from storage.d1.shared_databases import SharedDatabases
from storage.d1.store import D1Store
from storage.database import Database
from storage.failures import StorageError
from storage.postgres.address import DatabaseAddress
from storage.queue_protocol import Settled
from storage.replication.postgres_thread import PostgresThread
from storage.shared_rates import FILE_NAME as RATES_FILE
from storage.shared_rates import SharedRates
from storage.tenant_guard import KvWithinQuotas, QueuesWithinQuotas, TenantGuard, measures
from storage.tenant_quotas import Quota

_log = logging.getLogger("tenantry.data_plane")

T = TypeVar("T")

_CHECK_LOG_S: Final = 1.0
#: For what tail consumers are still to be told when the process ends.
_LAST_TRACES_S: Final = 2.0
#: In the data folder: a file for each SQL database.
D1_FOLDER: Final = "d1"
#: Where visitors reach this host when something before it passes their connections on.
_WEB_PORTS: Final = frozenset({80, 443})


@dataclass(frozen=True, slots=True)
class DataPlaneSettings:
    data: Path
    #: None: the servers of /etc/resolv.conf.
    resolver: tuple[str, int] | None
    #: Derived from the root key, for their one purpose.
    aot_key: bytes
    hop_key: bytes
    #: Ports that the platform listens on: no subrequest may reach them on this host.
    listener_ports: frozenset[int]
    #: Those of them on which visitors come.
    visitor_ports: frozenset[int]
    #: What this process may have resident before it sheds.
    memory_share_bytes: int
    trusted_proxies: tuple[str, ...] = ()
    hooks: Mapping[str, tuple[Hook, NamespaceName]] = field(default_factory=dict)
    max_modules: int = MAX_MODULES
    #: Connections to upstreams, half of them in use and half at rest.
    max_outbound: int = 2 * MOST_RUNNING
    d1: D1Room = field(default_factory=D1Room)
    #: Where KV and queues are; None: files of the data folder.
    database: DatabaseAddress | None = None
    #: What it is reached by: no subrequest may go there.
    database_addresses: frozenset[str] = frozenset()
    #: Which machine of several this is, where there is a database.
    machine: str = ""
    #: Its name: whoever had it before has died.
    process: str = ""
    #: Digest of the JavaScript engine; "" where there is none.
    javascript: str = ""


@dataclass(frozen=True, slots=True)
class ControlLink:
    """What a worker process asks of control."""

    secret_key: Callable[[ScriptRef, str, int], Awaitable[bytes]]
    material_key: MaterialKeyFor
    #: (module digest, why) → the image is there.
    recompile: Callable[[str, str], Awaitable[None]]
    #: Traces for a consumer that runs in other processes, as `TailDelivery` has it run.
    tail: RunTail


class DataPlane:
    """Make it inside the running loop; `close` it when nothing runs any more."""

    def __init__(
        self,
        settings: DataPlaneSettings,
        engine: Engine,
        observer: Observer,
        audit: AuditSink,
        points: PointSink,
        link: ControlLink,
        on_settled: Callable[[str, int], None],
        on_traces: Callable[[str, int], None],
        on_unexplained_memory: Callable[[int], None],
        isolation: Isolation | None = None,
    ) -> None:
        """`isolation`: None on a host without isolation groups."""
        data = settings.data
        self._sequence = ChangeSequence(data / "changes.seq")
        self.store = ControlStore.open(data / "control.db", self._sequence, read_only=True)
        self._stores = open_stores(data, settings.database, "worker")
        self._kv, self._queues = self._stores.kv, self._stores.queues
        self._rates = SharedRates(data / RATES_FILE)
        self._cache_database = Database.open(data / "cache.db", cache_migrations())
        self._cache = CacheStore(self._cache_database)
        self._points = points
        placement, measured = None, measures(self._kv, self._queues, data / D1_FOLDER)
        if settings.database is not None:
            thread = PostgresThread(settings.database, "tenantry d1")
            placement = Placement(data / D1_FOLDER, thread, settings.machine)
            measured[Quota.D1_BYTES] = SharedDatabases(thread, settings.machine).bytes_of
        self.d1 = D1Service(D1Store(data / D1_FOLDER, room=settings.d1, placement=placement))
        self._guard = TenantGuard(self.store.database.read, self.store.sequence, measured)
        self._kv_within = KvWithinQuotas(self._kv, self._guard)
        self.d1.store.room_for = partial(self._guard.room, Quota.D1_BYTES)
        self.index = RouteIndex(self.store)
        self.index.on_change(self._changed)
        self._policies = EgressPolicies(self.store.policies, self.index.refresh, join_layers)
        self.index.on_change(self._policies.changed)
        materials = WorkerMaterials(self.store.materials, link.material_key, self.index.refresh)
        self.index.on_change(materials.changed)
        self._consumers: list[ConsumerRecord] | None = None
        signer = HopSigner(settings.hop_key)
        own = frozenset(map(ipaddress.ip_address, [*host_addresses(), *settings.database_addresses]))
        database_ports = frozenset({settings.database.port} if settings.database else ())
        self._resolver = Resolver([settings.resolver] if settings.resolver else None)
        self._connector = Connector(max_kept=settings.max_outbound // 2)
        self._gateway = Gateway(
            self._policies.policy_for,
            self._resolver,
            self._connector,
            audit,
            hop_key=settings.hop_key,
            ranges=AddressRanges(own, settings.listener_ports | database_ports),
            hops_of=lambda context: context.hops,
            materials=materials,
            usage=Usage(most_running=settings.max_outbound // 2),
            local=LocalDispatch(
                lambda scope, receive, send: self.app(scope, receive, send),
                self.index.match,
                settings.visitor_ports | _WEB_PORTS,
            ),
        )
        self._secrets = SealedSecrets(self.store.secret_ciphertext, link.secret_key)
        self._runner = TreeRunner()
        self._way_out = OutboundWorkers(
            self._gateway,
            self._runner,
            canonical_url,
            {name: hook for name, (hook, _) in settings.hooks.items()},
            None if isolation is None else isolation.remote_hook,
        )
        cache = AotCache(data / "aot", settings.aot_key, settings.javascript)
        self.pool = InstancePool(engine, make_linker(engine), cache, link.recompile, settings.max_modules)
        memory_bytes = for_events(settings.memory_share_bytes, resident_bytes())
        self.admission = Admission(AdmissionLimits.for_slots(engine.settings.slots, memory_bytes))
        self.running = RunningEvents(settings.memory_share_bytes, self._shed, on_unexplained_memory)
        self.lanes = Lanes()
        self.tails = TailDelivery(self.index.script, self._run_tail, on_traces)
        self._host = RuntimeHost(
            engine, self.lanes, self.pool, OPERATIONS, observer, self.running, self.tails.offer
        )
        self.workers = Workers(self.index, self._make_worker)
        self._runner.use(self.workers)
        self._isolation = isolation
        if isolation is not None:
            isolation.join(
                self.index,
                self.workers,
                self._runner,
                self.admission,
                self._way_out.ask,
                self.store.outbound_workers,
            )
        self.app = DispatchApp(
            self.index,
            self.workers,
            self._runner,
            self.admission,
            observer,
            self._health,
            TrustedProxies(settings.trusted_proxies),
            settings.hooks,
            signer.verify,
        )
        self._on_settled = on_settled
        self._tail_elsewhere = link.tail
        self.delivery = QueueDelivery(
            self._queues,
            self._list_consumers,
            self._run_batch,
            DeliverySettings(holder=f"{settings.machine}/{settings.process}"),
            on_settled=lambda consumer, settled: self._settled(settled),
        )
        self.draining = False
        self._delivery_stopped: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin what runs beside requests: sweeping, queue delivery, reading the change log."""
        self._stores.start()
        self.running.start()
        self.d1.start()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self.delivery.run()),
            loop.create_task(self._check_log()),
            loop.create_task(self._kv.sweep_forever()),
            loop.create_task(self._queues.sweep_forever()),
        ]

    def _shed(self, tenants: frozenset[str]) -> None:
        self.admission.shedding = tenants
        if tenants:
            _log.warning("short of memory: no new events for %d tenants", len(tenants))

    def unready(self) -> list[str]:
        """Why this process should get no new visitors; empty when it should."""
        reasons = []
        if self.draining:
            reasons.append("draining")
        if self.admission.is_full:
            reasons.append("full: no room for another event")
        for probe in (self.store.database.probe, self._stores.probe):
            try:
                probe()
            except StorageError as error:
                reasons.append(f"storage: {error.message}")
                break
        return reasons

    async def trigger(self, ref: ScriptRef, kind: str, payload: Mapping[str, object]) -> dict[str, object]:
        """Run `scheduled` once, now: a cron trigger is due, or somebody asked for it by hand; or `tail`, for another
        group's process. Whatever is raised, nothing has run.
        """
        if self.draining:
            raise OperationError(OperationErrorCode.UNAVAILABLE, "this process is about to end; try again")
        worker = self.workers.get(ref)
        if worker is None:
            raise OperationError(OperationErrorCode.WORKER_NOT_FOUND, f"Worker not found: {ref}")
        if isinstance(worker, RemoteWorker):
            raise OperationError(
                OperationErrorCode.UNAVAILABLE, f"{ref} has just moved to other processes; try again"
            )
        if kind == "tail" and kind in worker.version.handlers:
            ended_well = await self._run_tail(ref, payload["traces"], int(payload["hops"]))  # type: ignore[arg-type, call-overload]  # as control checked
            return {"outcome": "ok" if ended_well else "exception"}
        if kind != "scheduled" or kind not in worker.version.handlers:
            raise OperationError(
                OperationErrorCode.INVALID_ARGUMENT,
                f"{ref} has no `{kind}` handler; deploy one that exports it",
            )
        event = {"late_ms": 0, "missed": 0, **payload, "vars": worker.env.vars}
        ending, cpu_us = await self._background(worker, partial(worker.scheduled, event))
        return {"outcome": str(ending.outcome), "error": ending.message, "cpu_us": cpu_us}

    def begin_drain(self, drain_s: float) -> None:
        """Be unready, and lease no more batches; those that run may go on for `drain_s`."""
        self.draining = True
        self._delivery_stopped = asyncio.get_running_loop().create_task(self.delivery.stop(drain_s))

    async def close(self) -> None:
        """End what still runs, and let go of everything. `begin_drain` comes first."""
        await self.tails.stop(_LAST_TRACES_S)
        self.running.doom_all()
        if self._delivery_stopped is not None:
            await self._delivery_stopped
        await self.running.drained(5.0)
        self.running.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connector.close()
        await self._resolver.close()
        self._policies.close()
        self.lanes.close()
        await self.d1.close()
        await self._stores.close()
        self._rates.close()
        self._cache_database.close()
        self.store.close()

    # -- made once a version -------------------------------------------------------------------------

    def _make_worker(self, version: ScriptVersion) -> AnyWorker:
        if self._isolation is not None and not self._isolation.runs_here(version):
            return self._isolation.remote(version)
        env = build_env(
            version,
            kv=self._kv_within,
            queues=QueuesWithinQuotas(self._queues, self._guard, partial(self._on_settled, "sent")),
            d1=self.d1.store,
            rates=self._rates,
            cache=self._cache,
            points=self._points,
            secrets=self._secrets,
            runner=self._runner,
            fetcher=self._way_out,
            lookup=self.index.script,
        )
        return Worker(self._host, version, env)

    def _changed(self, kind: str, key: str) -> None:
        if kind in (ALL, "consumer", "script", "namespace"):
            self._consumers = None

    # -- events without a visitor --------------------------------------------------------------------

    def _list_consumers(self) -> list[ConsumerRecord]:
        self.index.refresh()
        if self._consumers is None:
            # One whose script is gone, or has no handler now, stays out: its messages wait instead of
            # using up their retries on nobody.
            self._consumers = [c for c in self.store.queue_consumers() if self._can_consume(c)]
        return self._consumers

    def _can_consume(self, consumer: ConsumerRecord) -> bool:
        version = self.index.script(consumer.script)
        if version is None or "queue" not in version.handlers:
            return False
        return self._isolation is None or self._isolation.runs_here(version)

    async def _run_batch(self, consumer: ConsumerRecord, batch: QueueBatch) -> BatchVerdict:
        """Raises PlatformFault when nothing has run."""
        worker = self.workers.get(consumer.script)
        if not isinstance(worker, Worker) or "queue" not in worker.version.handlers:
            raise PlatformFault(f"{consumer.script} is not there")
        event = batch.guest_value(worker.env.vars)
        ending, answer = await self._background(worker, partial(worker.background, "queue", event))
        return verdict_of(ending.outcome, ending.message, answer)

    async def _run_tail(self, ref: ScriptRef, items: Sequence[Item], hops: int) -> bool:
        """Raises PlatformFault when nothing has run."""
        worker = self.workers.get(ref)
        if isinstance(worker, RemoteWorker):
            return await self._tail_elsewhere(ref, items, hops)
        if worker is None:
            raise PlatformFault(f"{ref} is not there")
        event = {"traces": list(items), "vars": dict(worker.env.vars)}
        run = partial(worker.background, "tail", event)
        ending, _ = await self._background(worker, run, hops=hops, untraced=True)
        return ending.outcome is EventOutcome.OK

    async def _background(
        self,
        worker: Worker,
        run: Callable[[EventContext], Awaitable[T]],
        *,
        hops: int = 0,
        untraced: bool = False,
    ) -> T:
        version = worker.version
        expected = worker.expected_bytes
        permit = self.admission.try_admit(version.tenant, expected)
        if permit is None:
            permit = await self.admission.wait_admit(version.tenant, expected)
        try:
            context = EventContext(
                version.account,
                version.ref.namespace,
                version.ref.script,
                version.version,
                version.tenant,
                version.tags,
                new_ray_id(),
                0,
                permit,
                hops=hops,
                outbound_worker=version.outbound_worker,
                untraced=untraced,
            )
            return await run(context)
        finally:
            if self._runner.has_tree(permit):
                await self._runner.wait_for_tree(permit)
            permit.release()

    def _settled(self, settled: Settled) -> None:
        for result, count in asdict(settled).items():
            if count:
                self._on_settled(result, count)

    # -- around --------------------------------------------------------------------------------------

    def _health(self, path: str) -> tuple[int, bytes] | None:
        if path == "/healthz":
            return 200, b'{"status":"ok"}\n'
        if path == "/readyz":
            reasons = self.unready()
            body = json.dumps({"ready": not reasons, "reasons": reasons}).encode() + b"\n"
            return (503 if reasons else 200), body
        return None

    async def _check_log(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_LOG_S)
            try:
                if self.store.check_sequence():
                    self.index.check_log()
            except StorageError as error:
                _log.warning("the change log was not read: %s (%s)", error.message, error.detail)
