"""`tenantry serve`: prepare the data folder, then supervise one control and N worker processes."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from dataclasses import dataclass
from typing import Final

from cli.confining import confine_supervisor
from cli.errors import CliError
from cli.javascript_engine import engine_digest
from cli.object_places import bucket_key, open_bucket, place_as_config
from cli.process_logging import log_to_stderr
from cli.replicas import MachineReplicas, joined, machine_id
from cli.serve_settings import ServeSettings
from cli.stores import address_as_config, read_password
from dispatch.hook import InvalidHook, load_hook
from model.isolation import as_config
from processes.child import ProcessSpec
from processes.confinement import InForce
from processes.confinement_probe import probe_confinement
from processes.listeners import PortGroup
from processes.serve_lock import AlreadyServing, serve_lock
from processes.supervisor import Supervisor
from runtime.map_budget import TooFewMaps, max_map_count, plan
from storage.cache_store import cache_migrations
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.database import Database
from storage.failures import StorageLost
from storage.folders import make_folder
from storage.keys import RootKey
from storage.kv_store import kv_migrations
from storage.postgres.address import DatabaseAddress
from storage.queue_store import queue_migrations
from storage.token_store import TokenStore

_log = logging.getLogger("tenantry.confinement")

#: After the drain a worker ends what still runs, and hands in its last lines and figures: only a process that
#: is stuck is killed.
END_S: Final = 10.0


def serve(settings: ServeSettings) -> int:
    """Until SIGTERM or SIGINT; 0 after an orderly stop. Raises CliError when it can't start."""
    log_to_stderr(settings.log_level, "supervisor")
    for hook in settings.hooks:
        try:
            load_hook(hook.name, hook.spec)
        except InvalidHook as error:
            raise CliError(f"--hooks: {error}") from error
    if settings.confinement != "off":
        _try_confinement(settings.confinement)
    if settings.accelerator == "on":
        _try_accelerator()
    make_folder(settings.data, parents=True)
    database = database_of(settings)
    key = None
    if settings.bucket is not None:
        key = bucket_key(settings.objects_key, settings.objects_key_file)
        open_bucket(settings.bucket, key)  # the library may be missing, which is better said now
    for secret in ("TENANTRY_DATABASE_PASSWORD", "TENANTRY_OBJECTS_KEY"):
        os.environ.pop(secret, None)  # children are told by a pipe
    try:
        with serve_lock(settings.data / "serve.lock"):
            keys = _prepare(settings, database)
            in_force = confine_supervisor(settings.data, settings.confinement)
            objects = place_as_config(settings.bucket, key)
            return asyncio.run(_supervise(settings, keys, in_force, database, objects))
    except AlreadyServing as error:
        raise CliError(str(error)) from error


def _try_confinement(mode: str) -> None:
    """Say what a compile child is held to (the others say it themselves); CliError when it is too little."""
    for kind, tried in probe_confinement().items():
        if tried.missing and mode == "require":
            raise CliError(
                f"--confinement require: a {kind} process would be without {', '.join(tried.missing)}",
                hint="tenantry doctor",
            )
        if kind == "compile child":
            _log.info("confinement of each %s: %s", kind, tried)


def _try_accelerator() -> None:
    # Here, since it loads wasmtime, which is of no other use to this process.
    from runtime.capi.accelerator.loading import available

    why_not = available()
    if why_not is not None:
        raise CliError(f"--accelerator on: {why_not}", hint="tenantry doctor")


@dataclass(frozen=True, slots=True)
class _Keys:
    """What worker processes need of the root key, which itself stays with control."""

    aot: bytes
    hop: bytes


def _prepare(settings: ServeSettings, database: DatabaseAddress | None) -> _Keys:
    """Make what is missing in the data folder, migrate what is old, and show the first token once.

    With a `database`, join the platform that it is of.
    """
    data = settings.data
    root = _root_key(settings)
    with joined(data, database, root, settings.root_key_file) as replicas:
        _prepare_control(settings, replicas)
    files = (("kv", kv_migrations()), ("queues", queue_migrations()), ("cache", cache_migrations()))
    for name, migrations in files:
        Database.open(data / f"{name}.db", migrations).close()
    return _Keys(root.derive("aot"), root.derive("hop"))


def _prepare_control(settings: ServeSettings, replicas: MachineReplicas | None) -> None:
    data = settings.data
    sequence = ChangeSequence(data / "changes.seq")
    control, tokens_file = (None, None) if replicas is None else (replicas.control, replicas.tokens)
    store = ControlStore.open(data / "control.db", sequence, replication=control)
    try:
        store.tenants.put_host_quotas(settings.tenant_quotas)
    except StorageLost as error:
        if replicas is None:
            raise
        _log.warning("the quotas of the settings are not the platform's yet: %s", error.message)
    finally:
        store.close()
        sequence.close()
    tokens = TokenStore.open(data / "tokens.db", tokens_file)
    is_new = not (data / "admin-token").exists()
    try:
        token = tokens.ensure_admin_token(data / "admin-token", "" if replicas is None else replicas.machine)
    finally:
        tokens.close()
    if is_new and sys.stderr.isatty():
        sys.stderr.write(f"admin token (also in {data / 'admin-token'}): {token}\n")


def _root_key(settings: ServeSettings) -> RootKey:
    """The key; a new one on a folder that has none yet. Raises CliError when it is lost: with another one the
    host would serve, and every worker that reads a secret would fail.
    """
    path = settings.root_key_file or settings.data / "root-key"
    if not path.exists() and (settings.data / "control.db").exists():
        if not settings.new_root_key:
            raise CliError(
                f"the root key {path} is not there, and only it opens the secrets that {settings.data} holds",
                hint=f"put it back from where you keep it, as {path}, mode 0600 (or name its place with"
                " --root-key-file). If it is lost, start once with --new-root-key, and set each secret anew",
            )
        _log.warning("a new root key is made: set each secret anew, the old ones stay closed (%s)", path)
    return RootKey.load_or_create(path)


async def _supervise(
    settings: ServeSettings,
    keys: _Keys,
    in_force: InForce,
    database: DatabaseAddress | None,
    objects: dict[str, str] | None,
) -> int:
    try:
        maps = plan(max_map_count())
    except TooFewMaps as error:
        raise CliError(str(error)) from error
    try:
        http = PortGroup(settings.http)
        control = PortGroup(settings.control)
    except OSError as error:
        raise CliError(f"cannot listen: {error}") from error
    groups = settings.isolation_groups
    common: dict[str, object] = {
        "data": str(settings.data),
        "log_level": settings.log_level,
        "aot_key": keys.aot,
        "drain_s": settings.drain_s,
        "confinement": settings.confinement,
        "accelerator": settings.accelerator,
        "root_key_file": str(settings.root_key_file or settings.data / "root-key"),
        "slots": maps.slots,
        "modules": maps.modules,
        "workers": settings.workers + sum(group.workers for group in groups.groups),
        "groups": as_config(groups),
        "run": secrets.token_hex(8),
        "database": address_as_config(database),
        "machine": "" if database is None else machine_id(settings.data),
        "javascript": engine_digest(),
    }
    resolver = settings.resolver
    worker_config = common | {
        "resolver": [resolver.host, resolver.port] if resolver else None,
        "hop_key": keys.hop,
        "database_addresses": [] if database is None else await addresses_of(database),
        "visitor_ports": [http.address.port],
        "listener_ports": [http.address.port, control.address.port],
        "trusted_proxies": list(settings.trusted_proxies),
        "min_rate": settings.min_rate,
        "hooks": [[hook.name, hook.spec, hook.namespace] for hook in settings.hooks],
    }
    control_config = common | {
        "host": control.address.host,
        "port": control.address.port,
        "names": list(settings.control_names),
        # Worker processes have no use for modules' bytes: they are not told the key.
        "objects": objects,
        "audit_days": settings.audit_days,
        "audit_mb": settings.audit_mb,
        "analytics_days": settings.analytics_days,
        "analytics_mb": settings.analytics_mb,
    }
    supervisor = Supervisor(
        control=ProcessSpec("control", _argv("cli.control_process"), control_config, control),
        worker=ProcessSpec("worker", _argv("cli.worker_process"), worker_config, http),
        workers=settings.workers,
        # Hooks run at the door, before it is known whose worker they call.
        groups=[
            (
                ProcessSpec(
                    "worker", _argv("cli.worker_process"), worker_config | {"hooks": []}, None, group.name
                ),
                group.workers,
            )
            for group in groups.groups
        ],
        drain_s=settings.drain_s + END_S,
        in_force=in_force,
    )
    running = asyncio.ensure_future(supervisor.run())
    ready = asyncio.ensure_future(supervisor.ready())
    await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        print(f"serving http://{http.address}  (API: http://{control.address})", flush=True)
    ready.cancel()
    return await running


async def addresses_of(database: DatabaseAddress) -> list[str]:
    """What its name leads to now: addresses that no tenant's request may reach, whatever a policy opens."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(database.host, database.port)
    except OSError as error:
        _log.warning("%s has no address now: %s", database, error)
        return []
    return sorted({str(row[4][0]).partition("%")[0] for row in found})


def database_of(settings: ServeSettings) -> DatabaseAddress | None:
    """With its password. Raises CliError."""
    if settings.database is None:
        return None
    password, path = settings.database_password, settings.database_password_file
    return settings.database.with_password(password if path is None else read_password(path))


def _argv(module: str) -> list[str]:
    return [sys.executable, "-m", module]
