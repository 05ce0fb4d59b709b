"""The control process: `python -m cli.control_process`, started by the supervisor. It runs no tenant code."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

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
from cli.worker_processes import WorkerProcesses
from cli.worker_requests import answer_workers
from control.app import create_control_app
from control.cron_runner import CronRunner
from control.deletions import finish_deletions
from control.host_check import HostRules
from control.key_rotation import KeyRotation
from control.leftovers import Files, LeftoverSweep
from control.module_uploads import ModuleUploads
from control.queue_gauges import QueueGauges
from control.secret_sealing import RootKeySealer
from control.services import ControlServices, ObjectStore
from control.shared_key_rotation import SharedKeyRotation
from control.source_traces import SourceTraces
from edge.server import DoorServer
from model.isolation import from_config
from model.scripts import ScriptRef
from observability.kept_totals import KeptTotals
from processes.bootstrap import Inherited, bootstrap
from processes.confinement import InForce, raise_file_limit
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
from storage.keys import RootKey
from storage.object_cache import CachedObjectStore, RemoteLeftovers
from storage.object_store import FolderObjectStore
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
    # The supervisor says how often it has started what; the rest is counted here.
    totals = KeptTotals(data / "totals", config["run"], frozenset({"tenantry_process_restarts_total"}))
    processes = WorkerProcesses(inherited.channels, groups, store.script, totals)
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
    answer_workers(processes, store, sealer, publisher, groups)
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
        uploads=ModuleUploads(objects, folder if objects is folder else None),
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
    await processes.ask_supervisor(inherited.channels["supervisor"])
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


if __name__ == "__main__":
    sys.exit(main())
