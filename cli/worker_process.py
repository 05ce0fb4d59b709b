"""A worker process: `python -m cli.worker_process`, started by the supervisor with what it needs in a pipe."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from bindings.trace_items import Item
from cli.confining import confine_worker
from cli.d1_link import answer_control
from cli.data_plane import ControlLink, DataPlane, DataPlaneSettings
from cli.descriptors import DescriptorShares, share_out
from cli.isolation import Isolation
from cli.process_logging import log_to_stderr
from cli.stores import address_from_config
from cli.tail_link import hand_over
from cli.telemetry import WorkerTelemetry
from dispatch.hook import Hook, load_hook
from edge.door import DoorLimits
from edge.server import DoorServer
from model.errors import OperationError, OperationErrorCode
from model.identity import NamespaceName, ScriptName
from model.isolation import DEFAULT_GROUP, from_config
from model.scripts import ScriptRef
from processes.bootstrap import Inherited, bootstrap
from processes.channel import Channel, ChannelError
from processes.confinement import InForce, raise_file_limit
from runtime.aot_cache import ImageUnavailable
from runtime.capi.engine_store import Engine, EngineSettings
from runtime.engine import start_engine
from runtime.memory_budget import share_bytes

_log = logging.getLogger("tenantry.worker")

#: Compiling again can take as long as compiling did.
_RECOMPILE_S: Final = 150.0
_SECRET_S: Final = 5.0
#: A process that is full already when it is this young would be full again at once.
_LEAST_LIFE_S: Final = 60.0


def main() -> int:
    inherited = bootstrap()
    descriptors = share_out(raise_file_limit())
    log_to_stderr(str(inherited.config["log_level"]), inherited.name)
    rows = inherited.config["hooks"]
    hooks = {name: (load_hook(name, spec), NamespaceName(ns)) for name, spec, ns in rows}
    in_force = confine_worker(inherited.config, [spec.partition(":")[0] for _, spec, _ in rows])
    # Threads from here on, and none before: they have what this one is left with.
    engine = start_engine(
        EngineSettings(slots=int(inherited.config["slots"]), accelerator=inherited.config["accelerator"])
    )
    _log.info("guests run by %s", "the compiled accelerator" if engine.accelerated else "ctypes alone")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(inherited, engine, hooks, descriptors, in_force))


async def _serve(
    inherited: Inherited,
    engine: Engine,
    hooks: Mapping[str, tuple[Hook, NamespaceName]],
    descriptors: DescriptorShares,
    in_force: InForce,
) -> int:
    config = inherited.config
    control = inherited.channels["control"]
    telemetry = WorkerTelemetry(control, inherited.name)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    started = loop.time()

    def give_way(resident: int) -> None:
        """The process is full of what no running event accounts for: let a fresh one take its place."""
        if loop.time() - started > _LEAST_LIFE_S and not stop.is_set():
            _log.warning("%d MiB resident that no event accounts for: this process gives way", resident >> 20)
            stop.set()

    groups = from_config(config)
    isolation = None
    if groups:
        group = inherited.group or DEFAULT_GROUP
        isolation = Isolation(groups, inherited.name, group, inherited.doors, telemetry.observer)
    plane = DataPlane(
        DataPlaneSettings(
            Path(config["data"]),
            tuple(config["resolver"]) if config["resolver"] else None,
            config["aot_key"],
            config["hop_key"],
            frozenset(config["listener_ports"]),
            frozenset(config["visitor_ports"]),
            share_bytes(int(config["workers"])),
            tuple(config["trusted_proxies"]),
            hooks,
            min(descriptors.modules, int(config["modules"])),
            descriptors.outbound,
            database=address_from_config(config["database"]),
            database_addresses=frozenset(config["database_addresses"]),
            machine=str(config["machine"]),
            process=inherited.name,
            javascript=config["javascript"],
        ),
        engine,
        telemetry.observer,
        telemetry.audit,
        telemetry.points,
        _link(control),
        telemetry.queue_settled,
        telemetry.traces,
        give_way,
        isolation,
    )
    telemetry.watch(plane)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    control.on_request("trigger", _trigger(plane))
    control.on_request("d1", answer_control(plane.d1))
    control.on_notification("control_loaded", lambda _: plane.index.clear())
    control.start()
    plane.start()
    telemetry.start()
    limits = DoorLimits(connections=descriptors.connections, min_rate=int(config["min_rate"]))
    # A process of an isolation group has no listener, and stays without connections.
    server = DoorServer(plane.app, limits=limits, at_once=plane.app.begin)
    telemetry.watch_door(server.door)
    await server.start(inherited.listeners, inherited.visitors)
    if isolation is not None:
        isolation.start()
    # What is there now stays: no full collection need walk the modules and tables of start-up again.
    gc.collect()
    gc.freeze()
    inherited.ready(in_force)
    await stop.wait()
    _log.info("draining")
    drain_s = float(config["drain_s"])
    plane.begin_drain(drain_s)
    if isolation is not None:
        isolation.begin_drain()
    draining_since = loop.time()
    server.begin_drain()
    inherited.leaving()
    if not await server.drained(drain_s):
        _log.warning("some requests did not end within %g s and are ended now", drain_s)
    if isolation is not None:
        await isolation.drained(drain_s - (loop.time() - draining_since))
    await plane.close()
    if isolation is not None:
        isolation.close()
    server.close()
    await telemetry.close()
    control.close()
    return 0


def _link(control: Channel) -> ControlLink:
    async def secret_key(ref: ScriptRef, name: str, version: int) -> bytes:
        wanted = {"namespace": ref.namespace, "script": ref.script, "name": name, "version": version}
        try:
            key = await control.request("secret_key", wanted, _SECRET_S, repeatable=True)
        except ChannelError as error:
            raise OperationError(
                OperationErrorCode.UNAVAILABLE, f"secret {name}: its key can't be had now; try again"
            ) from error
        if not isinstance(key, bytes):
            raise OperationError(OperationErrorCode.UNAVAILABLE, f"secret {name}: there is no key for it")
        return key

    async def material_key(namespace: NamespaceName | None, name: str, version: int) -> bytes:
        wanted = {"namespace": namespace, "name": name, "version": version}
        try:
            key = await control.request("material_key", wanted, _SECRET_S, repeatable=True)
        except ChannelError as error:
            raise OperationError(
                OperationErrorCode.UNAVAILABLE, f"material {name}: its key can't be had now; try again"
            ) from error
        if not isinstance(key, bytes):
            raise OperationError(OperationErrorCode.UNAVAILABLE, f"material {name}: there is no key for it")
        return key

    async def recompile(digest: str, why: str) -> None:
        _log.warning("module %s is compiled again: %s", digest, why)
        try:
            await control.request("recompile", {"digest": digest, "why": why}, _RECOMPILE_S, repeatable=True)
        except ChannelError as error:
            raise ImageUnavailable(str(error)) from error

    async def tail(ref: ScriptRef, items: Sequence[Item], hops: int) -> bool:
        return await hand_over(control.request, ref, items, hops)

    return ControlLink(secret_key, material_key, recompile, tail)


def _trigger(plane: DataPlane) -> Any:
    async def run(payload: object) -> object:
        if not isinstance(payload, Mapping):
            raise ChannelError("trigger: a map is expected")
        namespace = payload.get("namespace")
        ref = ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName(str(payload["script"])))
        try:
            return await plane.trigger(ref, str(payload["kind"]), payload["event"])
        except OperationError as error:
            return {"refused": error.message, "code": str(error.code)}

    return run


if __name__ == "__main__":
    sys.exit(main())
