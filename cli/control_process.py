"""The control process: `python -m cli.control_process`, started by the supervisor. It runs no tenant code."""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop

from cli import compile_process
from cli.analytics_keeping import PointKeeper, PointRetention, owner_of_points
from cli.audit_keeping import AuditKeeper, AuditRetention
from cli.bucket_fill import BucketFill
from cli.confining import D1, confine_control
from cli.d1_link import D1ByChannel
from cli.javascript_engine import EngineState, HostEngine, engine_of
from cli.object_places import bucket_from_config
from cli.policy_reading import named_materials
from cli.process_logging import log_to_stderr
from cli.publisher import LocalPublisher
from cli.replicas import ImagesAhead, MachineReplicas, ReplicaNews, count_replicas, held_keys, shown
from cli.scheduled_runs import ScheduledRuns
from cli.stores import address_from_config, open_stores
from cli.tail_link import take_over
from control.app import create_control_app
from control.cron_runner import CronRunner
from control.deletions import finish_deletions
from control.envelope import ApiError, Code
from control.host_check import HostRules
from control.key_rotation import KeyRotation
from control.leftovers import Files, LeftoverSweep, Removed
from control.queue_gauges import QueueGauges
from control.secret_sealing import RootKeySealer
from control.services import ControlServices, ObjectStore
from control.shared_key_rotation import SharedKeyRotation
from control.source_traces import SourceTraces
from edge.server import DoorServer
from model.identity import NamespaceName, ScriptName
from model.isolation import DEFAULT_GROUP, IsolationGroups, from_config
from model.scripts import ScriptRef
from observability.kept_totals import KeptTotals
from observability.log_ring import InvalidLogLine, LogRings, from_wire
from observability.metrics import Counters
from observability.totals import InvalidSnapshot, exposition
from processes.bootstrap import Inherited, bootstrap
from processes.channel import Channel, ChannelError
from processes.confinement import InForce, raise_file_limit
from processes.in_force import describe, kernel_view
from runtime.aot_cache import AotCache
from runtime.compile import Compiler
from runtime.compile_queue import FairQueue
from storage.analytics_store import AnalyticsStore, analytics_migrations
from storage.audit_store import AuditStore, audit_migrations
from storage.cache_store import CacheStore, cache_migrations
from storage.changes import ChangeSequence
from storage.control_records import Owner
from storage.control_store import ControlStore
from storage.database import Database
from storage.keys import RootKey, Unsealable
from storage.object_cache import CachedObjectStore, RemoteLeftovers
from storage.object_store import FolderObjectStore
from storage.queue_protocol import Settled
from storage.replication.replica import nothing
from storage.secret_rotation import SealedRows
from storage.tenant_guard import KvWithinQuotas, QueuesWithinQuotas, TenantGuard, measures
from storage.tenant_quotas import Quota
from storage.token_store import TokenStore

_log = logging.getLogger("tenantry.control")

#: A triggered event may take as long as a cron tick.
_TRIGGER_S: Final = 16 * 60.0
#: Compile children at once, each at nice 10: two that hang leave the others' uploads a way.
COMPILE_SLOTS: Final = 3


def main() -> int:
    inherited = bootstrap()
    raise_file_limit()
    log_to_stderr(str(inherited.config["log_level"]), "control")
    # Before it is out of reach.
    javascript = engine_of(inherited.config["javascript"])
    in_force = confine_control(inherited.config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(inherited, in_force, javascript))


class WorkerProcesses:
    """The worker processes as control sees them: through their channels, and as the supervisor reports."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        groups: IsolationGroups,
        group_of: Callable[[ScriptRef], str],
        totals: KeptTotals,
    ) -> None:
        """`group_of`: whose processes may run a script."""
        self.channels = {name: channel for name, channel in channels.items() if name != "supervisor"}
        self.totals = totals
        self.rings = LogRings()
        self.counters = Counters()
        self.reported: list[Mapping[str, Any]] = []
        self._supervisor: Mapping[str, Any] = {}
        #: Name and process id of each worker process that was last reported, of those that start as well.
        self._alive: set[str] = set()
        self.draining = False
        self._dropped_audit: Callable[[], int] = int
        self._points: PointKeeper | None = None
        self._refresh_replicas: Callable[[], None] = nothing
        self._reporting = set(totals.processes)
        self._unready: dict[str, list[str]] = {}
        self._group_of = group_of
        self._has_groups = bool(groups)
        self._turns = {
            group: itertools.cycle(
                [channel for name, channel in self.channels.items() if group_of_process(name) == group]
            )
            for group in (DEFAULT_GROUP, *groups.names)
        }
        for name, channel in self.channels.items():
            channel.on_notification("metrics", partial(self._take_metrics, name))
            channel.on_notification("lines", partial(self._take_lines, group_of_process(name)))
        supervisor = channels["supervisor"]
        supervisor.on_notification("processes", self._take_report)
        # Snapshots leave zeros out; a gauge that is not there would look like a host that is not there.
        self.counters.gauge("tenantry_running_events", lambda: 0)
        self.counters.gauge("tenantry_suspended_events", lambda: 0)
        self.counters.gauge("tenantry_processes", lambda: 1, "control")
        self.counters.gauge("tenantry_processes", lambda: self._running("worker"), "worker")
        for group in groups.names:
            self.counters.gauge("tenantry_group_processes", partial(self._running_of_group, group), group)

    def channel_for(self, ref: ScriptRef) -> Channel:
        """To a worker process of the script's group, the next one in turn."""
        return next(self._turns[self._group_of(ref)])

    def queue_messages(self, result: str, count: int) -> None:
        self.counters.count("tenantry_queue_messages_total", result).value += count

    def pulls_settled(self, settled: Settled) -> None:
        for result, count in asdict(settled).items():
            self.queue_messages(result, count)

    def watch_queues(self, gauges: QueueGauges) -> None:
        self.counters.gauge("tenantry_queue_backlog_messages", gauges.messages)
        self.counters.gauge("tenantry_queue_backlog_bytes", gauges.size)
        self.counters.gauge("tenantry_queue_longest_wait", gauges.longest_wait_s)
        self.counters.gauge("tenantry_queues_paused", gauges.paused)

    def missed_runs(self, count: int) -> None:
        self.counters.count("tenantry_cron_missed_total").value += count

    async def trigger(self, ref: ScriptRef, kind: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run an event in a worker process of the script's group, the next one in turn."""
        wanted = {"namespace": ref.namespace, "script": ref.script, "kind": kind, "event": dict(payload)}
        try:
            answer = await self.channel_for(ref).request("trigger", wanted, _TRIGGER_S)
        except ChannelError as error:
            raise ApiError(503, Code.INTERNAL, f"no worker process ran it: {error}; try again") from error
        if not isinstance(answer, Mapping):
            raise ApiError(500, Code.INTERNAL, "a worker process gave no answer")
        if "refused" in answer:
            raise ApiError(400, Code.VALIDATION, str(answer["refused"]))
        return answer

    async def ask_d1(
        self, groups: IsolationGroups, namespace: str | None, asked: Mapping[str, Any], timeout_s: float
    ) -> object:
        """Of a worker process in which scripts of `namespace` run. Raises ChannelError."""
        names = (DEFAULT_GROUP, *groups.names)
        group = next((name for name in names if groups.may_run(namespace, name)), DEFAULT_GROUP)
        return await next(self._turns[group]).request("d1", asked, timeout_s)

    def keep_audit(self, keeper: AuditKeeper) -> None:
        """Take the workers' audit records there, and count what it drops."""
        for channel in self.channels.values():
            channel.on_notification("audit", keeper.take)
        self._dropped_audit = lambda: keeper.dropped

    def keep_points(self, keeper: PointKeeper) -> None:
        """Take the workers' data points there, and count what becomes of them."""
        for name, channel in self.channels.items():
            channel.on_notification("points", partial(keeper.take, group_of_process(name)))
        self._points = keeper

    def watch_replicas(self, refresh: Callable[[], None]) -> None:
        """`refresh` brings the counts of replication up to date."""
        self._refresh_replicas = refresh

    def control_loaded(self) -> None:
        """control.db is another than it was: what worker processes keep of it is void."""
        for channel in self.channels.values():
            channel.notify("control_loaded")

    def unready(self) -> Sequence[str]:
        if self.draining:
            return ["draining"]
        workers = [p for p in self.reported if p["kind"] == "worker"]
        reasons = {str(p["name"]): [str(p["state"])] for p in workers if p["state"] != "running"}
        for name, said in self._unready.items():
            if said:
                reasons.setdefault(name.partition("/")[0], []).extend(said)
        shown = [f"{name}: {reason}" for name, found in sorted(reasons.items()) for reason in found]
        # One worker process that starts again is no outage, unless it is all that its group has; one that dies
        # over and over needs somebody.
        without = {str(p["group"]) for p in workers} - {
            str(p["group"]) for p in workers if p["name"] not in reasons
        }
        return shown if without or not workers or "crash-loop" in str(shown) else []

    def shown(self) -> list[Mapping[str, object]]:
        """Each process of the host, with what holds it: by the kernel's word, and by its own."""
        processes = [self._supervisor, *self.reported] if self._supervisor else self.reported
        return [describe(p, kernel_view(int(p["pid"])) if p["pid"] else None) for p in processes]

    def left_over(self, kind: str, removed: Removed) -> None:
        self.counters.count("tenantry_leftovers_removed_total", kind).value += removed.files
        self.counters.count("tenantry_leftovers_removed_bytes_total", kind).value += removed.size

    def metrics(self) -> str:
        self.counters.count("tenantry_audit_records_dropped_total").value = self._dropped_audit()
        if self._points is not None:
            self.counters.count("tenantry_analytics_points_total").value = self._points.written
            self.counters.count("tenantry_analytics_points_dropped_total").value = self._points.dropped
        self._refresh_replicas()
        return exposition(self.totals.shown(self.counters.samples()))

    def _running(self, kind: str) -> int:
        return sum(1 for p in self.reported if p["kind"] == kind and p["state"] == "running")

    def _running_of_group(self, group: str) -> int:
        return sum(1 for p in self.reported if p["group"] == group and p["state"] == "running")

    def _take_metrics(self, process: str, payload: object) -> None:
        # A process speaks for itself alone, whoever has it in hand.
        if isinstance(payload, Sequence) and len(payload) == 3 and str(payload[0]).startswith(f"{process}/"):
            try:
                self.totals.update(str(payload[0]), payload[1])
                self._reporting.add(str(payload[0]))
                self._unready[str(payload[0])] = [str(reason) for reason in payload[2]]
            except InvalidSnapshot as error:
                _log.error("a worker process sent no snapshot: %s", error)

    def _take_lines(self, group: str, payload: object) -> None:
        """Lines of scripts that run in `group`; others are not its processes' to write."""
        if not isinstance(payload, Sequence):
            return
        known: dict[ScriptRef, str] = {}
        strange = 0
        for value in payload:
            try:
                line = from_wire(value)
            except InvalidLogLine as error:
                _log.error("a worker process sent no log line: %s", error)
                continue
            if self._has_groups:
                ref = ScriptRef(line.namespace, ScriptName(line.script))
                if ref not in known:
                    known[ref] = self._group_of(ref)
                if known[ref] != group:
                    strange += 1
                    continue
            self.rings.append(line)
        if strange:
            _log.warning(
                "group %s: %d log lines of scripts that do not run there were dropped", group, strange
            )

    def _take_report(self, payload: object) -> None:
        if isinstance(payload, Mapping):
            self.reported = list(payload["processes"])
            self._supervisor = payload["supervisor"]
            alive = {f"{p['name']}/{p['pid']}" for p in self.reported if p["kind"] == "worker" and p["pid"]}
            for ended in self._alive - alive:
                self.channels[ended.partition("/")[0]].peer_ended()
            self._alive = alive
            for name in self._reporting - alive:
                self.totals.ended(name)
                self._unready.pop(name, None)
            self._reporting &= alive
            self.draining = bool(payload["draining"])
            for process in self.reported:
                count = self.counters.count("tenantry_process_restarts_total", str(process["kind"]))
                same_kind = [p for p in self.reported if p["kind"] == process["kind"]]
                count.value = sum(int(p["restarts"]) for p in same_kind)
            for group in {str(p["group"]) for p in self.reported if p["group"]}:
                count = self.counters.count("tenantry_group_process_restarts_total", group)
                count.value = sum(int(p["restarts"]) for p in self.reported if p["group"] == group)


async def _serve(inherited: Inherited, in_force: InForce, javascript: HostEngine) -> int:
    config = inherited.config
    data = Path(config["data"])
    key_path = Path(config["root_key_file"])
    root = RootKey.load(key_path)
    sequence = ChangeSequence(data / "changes.seq")
    database = address_from_config(config["database"])
    told = ReplicaNews()
    replicas = None
    if database is not None:
        replicas = MachineReplicas(
            data,
            database,
            held_keys(root, key_path),
            follows=True,
            on_applied=told.applied,
            on_loaded=told.loaded,
        )
    store = ControlStore.open(
        data / "control.db", sequence, replication=None if replicas is None else replicas.control
    )
    stores = open_stores(data, database, "control", migrates=True)
    cron_store = stores.open_cron()
    # Held open here: whoever closes a file last removes its log, which no worker process may make anew.
    cache_database = Database.open(data / "cache.db", cache_migrations())
    cache_store = CacheStore(cache_database)
    tokens = TokenStore.open(data / "tokens.db", None if replicas is None else replicas.tokens)
    audit_store = AuditStore(Database.open(data / "audit.db", audit_migrations()))
    retention = AuditRetention(float(config["audit_days"]), int(config["audit_mb"]) << 20)
    audit = AuditKeeper(audit_store, retention)
    sealer = RootKeySealer(root)
    rows = SealedRows(store.database)
    rotation = KeyRotation(sealer, rows, key_path)
    if replicas is not None:
        rotation = SharedKeyRotation(sealer, rows, key_path, replicas)
    rotation.go_on()
    folder = FolderObjectStore(data / "objects")
    bucket = bucket_from_config(config["objects"])
    objects: ObjectStore = folder
    if bucket is not None:
        objects = CachedObjectStore(folder, bucket)
    elif replicas is not None:
        objects = CachedObjectStore(folder, replicas.objects())
    cache = AotCache(data / "aot", config["aot_key"], config["javascript"])
    compiler = Compiler(argv=compile_process.argv(config["confinement"]))
    publisher = LocalPublisher(objects, cache, compiler, FairQueue(COMPILE_SLOTS), javascript.wasm)
    groups = from_config(config)

    def group_of(ref: ScriptRef) -> str:
        version = store.script(ref)
        return DEFAULT_GROUP if version is None else groups.group_of(version)

    # The supervisor says how often it has started what; the rest is counted here.
    totals = KeptTotals(data / "totals", config["run"], frozenset({"tenantry_process_restarts_total"}))
    processes = WorkerProcesses(inherited.channels, groups, group_of, totals)
    processes.keep_audit(audit)
    for state in EngineState:
        processes.counters.gauge("tenantry_javascript_engine", partial(int, state is javascript.state), state)
    analytics = AnalyticsStore(Database.open(data / "analytics.db", analytics_migrations()))

    def owner_of(ref: ScriptRef, group: str) -> Owner | None:
        version = store.script(ref)
        if version is None or groups.group_of(version) != group:
            return None
        return owner_of_points(ref, version.tenant)

    points = PointKeeper(
        analytics,
        PointRetention(float(config["analytics_days"]), int(config["analytics_mb"]) << 20),
        owner_of,
        store.tenants.gone,
    )
    processes.keep_points(points)
    _answer_workers(processes, store, sealer, publisher, groups)
    measured = measures(stores.kv, stores.queues, data / D1)
    databases = None if replicas is None else replicas.databases()
    if databases is not None:
        measured[Quota.D1_BYTES] = databases.bytes_of
    guard = TenantGuard(store.database.read, store.sequence, measured)
    services = ControlServices(
        store=store,
        tokens=tokens,
        kv=KvWithinQuotas(stores.kv, guard),
        queues=QueuesWithinQuotas(stores.queues, guard, partial(processes.queue_messages, "sent")),
        cron=cron_store,
        d1=D1ByChannel(data / D1, partial(processes.ask_d1, groups), databases),
        objects=objects,
        sealer=sealer,
        rotation=rotation,
        publisher=publisher,
        logs=processes.rings,
        traces=SourceTraces(objects.get),
        audit=audit_store,
        analytics=analytics,
        responses=cache_store,
        trigger=processes.trigger,
        read_policy=named_materials,
        hosts=HostRules.of_listener(config["host"], int(config["port"]), config["names"]),
        metrics=processes.metrics,
        unready=processes.unready,
        processes=processes.shown,
        replication=partial(shown, replicas),
        machines=tuple if replicas is None else replicas.machines,
        queue_settled=processes.pulls_settled,
    )
    audit.start()
    points.start()
    stores.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    for channel in inherited.channels.values():
        channel.start()
    await finish_deletions(services)
    await _ask_supervisor(inherited.channels["supervisor"], processes)
    server = DoorServer(create_control_app(services))
    await server.start(inherited.listeners)
    kinds: dict[str, Files] = {"modules": folder, "images": cache}
    knows_all: Callable[[], bool] = replicas.current if replicas is not None else lambda: True
    if bucket is not None:
        kinds["modules of the bucket"] = RemoteLeftovers(bucket, knows_all)
    elif replicas is not None:
        kinds["shared modules"] = RemoteLeftovers(replicas.objects(), knows_all)
    sweep = LeftoverSweep(store.scripts, kinds, cache.remove_foreign, processes.left_over)
    cron = CronRunner(
        store,
        cron_store,
        ScheduledRuns(processes.channel_for),
        "" if replicas is None else replicas.machine,
        may_begin=lambda: not processes.draining,
        on_missed=processes.missed_runs,
    )
    processes.counters.gauge("tenantry_cron_waiting", lambda: cron.waiting)
    gauges = QueueGauges(stores.queues)
    processes.watch_queues(gauges)
    beside = [
        asyncio.create_task(work)
        for work in (
            sweep.run(),
            cron.run(),
            cron.sweep_forever(),
            cache_store.sweep_forever(store.tenants.gone),
            gauges.run(),
        )
    ]
    beside.append(asyncio.create_task(publisher.warm()))
    if bucket is not None:
        beside.append(asyncio.create_task(BucketFill(store.scripts, folder, bucket).run()))
    if replicas is not None:
        processes.watch_replicas(count_replicas(processes.counters, replicas))
        ahead = ImagesAhead(store, cache.has, publisher.remake)
        told.join(asyncio.get_running_loop(), ahead.applied, processes.control_loaded)
        beside.append(asyncio.create_task(ahead.run()))
    inherited.ready(in_force)
    await stop.wait()
    rotation.close()
    # The worker processes have ended before this one: how their last runs ended is known by now.
    await cron.stop(1.0)
    for task in beside:
        task.cancel()
    server.begin_drain()
    await server.drained(min(2.0, float(config["drain_s"])))
    server.close()
    await audit.close()
    await compiler.close()
    await points.close()
    await stores.close()
    for closing in (store, tokens, cache_database):
        closing.close()
    if replicas is not None:
        replicas.close()
    return 0


async def _ask_supervisor(supervisor: Channel, processes: WorkerProcesses) -> None:
    try:
        processes._take_report(await supervisor.request("processes", None, 5.0))
    except ChannelError as error:
        _log.warning("the supervisor did not say which processes run: %s", error)


def group_of_process(name: str) -> str:
    """The isolation group of the worker process with this name."""
    group = name.rpartition("-")[0]
    return DEFAULT_GROUP if group == "worker" else group


@contextmanager
def _refusals() -> Iterator[None]:
    """What can't be unsealed here is said in the log, and to who asked."""
    try:
        yield
    except Unsealable as error:
        _log.error("%s", error.message)
        raise ChannelError(error.message) from error


def _answer_workers(
    processes: WorkerProcesses,
    store: ControlStore,
    sealer: RootKeySealer,
    publisher: LocalPublisher,
    groups: IsolationGroups,
) -> None:
    async def secret_key(group: str, payload: object) -> object:
        """The key of one secret of a script that is there and runs in the group that asks, and of no other."""
        if not isinstance(payload, Mapping):
            raise ChannelError("secret_key: a map is expected")
        namespace = payload["namespace"]
        ref = ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName(payload["script"]))
        version = store.script(ref)
        stored = store.secret_ciphertext(ref, payload["name"])
        if version is None or stored is None:
            raise ChannelError(f"{ref} has no such secret")
        if groups.group_of(version) != group:
            raise ChannelError(f"{ref} does not run in isolation group {group}")
        with _refusals():
            return sealer.key_for(version.account, ref, payload["name"], int(payload["version"]), stored[1])

    async def material_key(group: str, payload: object) -> object:
        """The key of the version that a material has now, of a namespace whose scripts may run in the group that asks,
        and of no other.
        """
        if not isinstance(payload, Mapping):
            raise ChannelError("material_key: a map is expected")
        namespace = NamespaceName(payload["namespace"]) if payload["namespace"] else None
        stored = await store.materials.sealed(namespace, str(payload["name"]))
        if stored is None or stored.version != payload["version"]:
            raise ChannelError("there is no such material")
        if not groups.may_run(namespace, group):
            raise ChannelError(f"no script of that namespace runs in isolation group {group}")
        with _refusals():
            return sealer.material_key_for(
                namespace, str(payload["name"]), int(payload["version"]), stored.sealed
            )

    async def recompile(payload: object) -> object:
        if not isinstance(payload, Mapping):
            raise ChannelError("recompile: a map is expected")
        _log.warning("compiling module %s again: %s", payload["digest"], payload["why"])
        await publisher.remake(str(payload["digest"]))
        return True

    async def tail(group: str, payload: object) -> object:
        try:
            return await take_over(
                payload, store.script, lambda version: groups.group_of(version) == group, processes.trigger
            )
        except ApiError as error:
            raise ChannelError(error.message) from error

    for name, channel in processes.channels.items():
        channel.on_request("tail", partial(tail, group_of_process(name)))
        channel.on_request("secret_key", partial(secret_key, group_of_process(name)))
        channel.on_request("material_key", partial(material_key, group_of_process(name)))
        channel.on_request("recompile", recompile)


if __name__ == "__main__":
    sys.exit(main())
