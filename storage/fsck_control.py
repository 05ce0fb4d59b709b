"""Whether control's records fit together: scripts and modules, routes, bindings, owners, secrets, the change log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from model.identity import AccountId, NamespaceName
from model.scripts import BindingKind, HostnameRoutes, ScriptRef, ScriptVersion
from storage.control_records import (
    TAIL_CONSUMER,
    decode_hostname,
    decode_script,
    describe,
    tail_index,
    to_ref,
    to_route,
)
from storage.data_files import OBJECTS
from storage.failures import StorageError
from storage.fsck_findings import Finding, Repair, error, warning
from storage.migrations import load_queries
from storage.object_store import FolderObjectStore
from storage.sqlite_files import ReadOnlyFile, newest_change

#: (account, script, secret's name, version, sealed) → why it does not open, "" when it does.
SecretProblem = Callable[[AccountId, ScriptRef, str, int, bytes], str]
#: (namespace, material's name, version, sealed) → the same.
MaterialProblem = Callable[[NamespaceName | None, str, int, bytes], str]

_PAGE: Final = 500
_OWNED: Final = (("KV namespace", "kv_namespaces"), ("queue", "queues"), ("database", "d1_databases"))


def check_control(
    file: ReadOnlyFile, data: Path, *, deep: bool, elsewhere: bool = False
) -> Iterator[Finding]:
    """All but the secrets. `elsewhere`: that is where modules are kept, and the folder has some of them."""
    yield from _check_scripts(file, FolderObjectStore(data / OBJECTS), deep=deep, elsewhere=elsewhere)
    yield from _check_routes(file)
    yield from _check_owners(file)
    yield from _check_policies(file)
    yield from _check_log(file)
    for namespace, tenant, _, ended in file.read(load_queries("tenants")["deletions"]):
        if ended is None:
            what = f"the deletion of tenant {tenant!r} of namespace {namespace!r} was cut short"
            yield warning("deletions", what, Repair.DELETIONS)
    yield from _check_deleted_tenants(file)
    count = file.read("SELECT count(*) FROM pending_deletions")[0][0]
    if count:
        what = f"what {count} deleted resources held is still there"
        yield warning("deletions", what, Repair.DELETIONS)


def check_secrets(file: ReadOnlyFile, secret: SecretProblem, material: MaterialProblem) -> Iterator[Finding]:
    """Whether each opens with the root key; what is in them is looked at by nobody."""
    scripts = "SELECT s.record, e.name, e.version, e.sealed FROM secrets e JOIN scripts s ON"
    for record, name, version, sealed in file.read(
        f"{scripts} s.namespace = e.namespace AND s.name = e.script"
    ):
        known = _decoded(record)
        if known is None:
            continue  # its script's record can't be read, which is told elsewhere
        if why := secret(known.account, known.ref, name, version, sealed):
            yield error("secrets", f"secret {name} of {describe(known.ref)} does not open: {why}")
    for namespace, name, version, sealed in file.read(
        "SELECT namespace, name, version, sealed FROM egress_materials"
    ):
        if why := material(NamespaceName(namespace) if namespace else None, name, version, sealed):
            yield error("secrets", f"material {name} of namespace {namespace or '-'} does not open: {why}")


def _check_scripts(
    file: ReadOnlyFile, objects: FolderObjectStore, *, deep: bool, elsewhere: bool
) -> Iterator[Finding]:
    hashed: set[str] = set()
    place = ("", "")
    while rows := file.read(
        "SELECT namespace, name, tenant, record FROM scripts WHERE (namespace, name) > (?, ?)"
        " ORDER BY namespace, name LIMIT ?",
        (*place, _PAGE),
    ):
        place = (rows[-1][0], rows[-1][1])
        for namespace, name, tenant, record in rows:
            ref = to_ref(namespace, name)
            version = _decoded(record)
            if version is None:
                yield error("scripts", f"the record of {describe(ref)} can't be read")
                continue
            if version.ref != ref or version.tenant != tenant:
                yield error("scripts", f"the record of {describe(ref)} is another script's or tenant's")
            digest = version.module_digest
            if digest in hashed:
                continue
            hashed.add(digest)
            if not objects.exists(digest):
                if not elsewhere:
                    yield error("modules", f"{describe(ref)} has no module: {digest} is not in objects/")
            elif deep:
                try:
                    objects.get(digest)
                except StorageError as problem:
                    # It is fetched again.
                    told = warning if elsewhere else error
                    yield told("modules", f"{describe(ref)}: {problem.message}")
            yield from _check_bindings(file, version)


def _check_bindings(file: ReadOnlyFile, version: ScriptVersion) -> Iterator[Finding]:
    ref = version.ref
    key = (ref.namespace or "", ref.script)
    rows = file.read("SELECT name, kind FROM script_bindings WHERE namespace = ? AND script = ?", key)
    expected = {(spec.name, str(spec.kind)) for spec in version.bindings}
    expected |= {(name, TAIL_CONSUMER) for name, _ in tail_index(version)}
    if {(name, kind) for name, kind in rows} != expected:
        yield error("bindings", f"the index of bindings of {describe(ref)} is not what its record says")
    for spec in version.bindings:
        match spec.kind:
            case BindingKind.KV_NAMESPACE:
                found = file.read("SELECT 1 FROM kv_namespaces WHERE id = ?", (spec.target,))
            case BindingKind.QUEUE:
                found = file.read("SELECT 1 FROM queues WHERE id = ?", (spec.target,))
            case BindingKind.D1:
                found = file.read("SELECT 1 FROM d1_databases WHERE id = ?", (spec.target,))
            case BindingKind.DISPATCH_NAMESPACE:
                found = file.read("SELECT 1 FROM namespaces WHERE name = ?", (spec.target,))
            case BindingKind.SERVICE:
                found = file.read(
                    "SELECT 1 FROM scripts WHERE name = ? AND namespace IN ('', ?)", (spec.target, key[0])
                )
            case BindingKind.SECRET_TEXT:
                found = file.read(load_queries("control")["secret"], (*key, spec.name))
            case _:
                continue
        if not found:
            # A deletion by force leaves it so: the worker gets an error when it uses it.
            yield warning("bindings", f"binding {spec.name} of {describe(ref)} leads nowhere")


def _check_routes(file: ReadOnlyFile) -> Iterator[Finding]:
    for route_id, pattern, namespace, script in file.read(
        "SELECT r.id, r.pattern, r.target_namespace, r.target_script FROM routes r LEFT JOIN scripts s"
        " ON s.namespace = r.target_namespace AND s.name = r.target_script"
        " WHERE r.target_script <> '' AND s.name IS NULL"
    ):
        what = f"route {route_id} of {pattern} leads to {describe(to_ref(namespace, script))}, which is not there"
        yield error("routes", what)
    routes: dict[str, list[object]] = {}
    for row in file.read(
        "SELECT id, pattern, path_prefix, headers, target_namespace, target_script, target_hook, created_at_ms"
        " FROM routes ORDER BY pattern, path_prefix DESC, headers, id"
    ):
        routes.setdefault(row[1], []).append(to_route(row).route)
    header_routes = {row[0] for row in file.read("SELECT pattern FROM hostnames WHERE header_routes")}
    records = {row[0]: row[1] for row in file.read("SELECT pattern, record FROM hostname_records")}
    for pattern in sorted(routes.keys() | header_routes | records.keys()):
        wanted = HostnameRoutes(tuple(routes.get(pattern, ())), pattern in header_routes)  # type: ignore[arg-type]
        try:
            record = decode_hostname(records[pattern]) if pattern in records else HostnameRoutes((), False)
        except msgspec.MsgspecError:
            record = None
        if record != wanted:
            what = f"what is looked up for hostname {pattern} is not what its routes say"
            yield error("routes", what, Repair.HOSTNAME_RECORD, pattern)


def _check_owners(file: ReadOnlyFile) -> Iterator[Finding]:
    for kind, table in _OWNED:
        for name, namespace in file.read(
            f"SELECT id, namespace FROM {table} WHERE namespace IS NOT NULL"  # noqa: S608 - one of the three
            " AND namespace NOT IN (SELECT name FROM namespaces)"
        ):
            yield error("owners", f"{kind} {name} is of namespace {namespace!r}, which is not there")
    for namespace, count in file.read(
        "SELECT namespace, count(*) FROM scripts WHERE namespace <> ''"
        " AND namespace NOT IN (SELECT name FROM namespaces) GROUP BY namespace"
    ):
        yield error("owners", f"{count} scripts are in namespace {namespace!r}, which is not there")
    for queue, namespace, script in file.read(
        "SELECT q.name, c.namespace, c.script FROM queue_consumers c JOIN queues q ON q.id = c.queue_id"
        " LEFT JOIN scripts s ON s.namespace = c.namespace AND s.name = c.script"
        " WHERE s.name IS NULL AND c.script <> ''"
    ):
        what = f"the consumer of queue {queue} is {describe(to_ref(namespace, script))}, which is not there"
        yield error("owners", what)


def _check_policies(file: ReadOnlyFile) -> Iterator[Finding]:
    for namespace, layer, name, version in file.read(
        "SELECT l.namespace, l.layer, l.name, l.version FROM policy_layers l LEFT JOIN policy_versions v"
        " ON v.namespace = l.namespace AND v.layer = l.layer AND v.name = l.name AND v.version = l.version"
        " WHERE v.text IS NULL"
    ):
        what = (
            f"the egress policy of {layer} {name!r} of namespace {namespace or '-'} has no version {version}"
        )
        yield error("policies", what)
    for table in (
        "policy_layers",
        "policy_versions",
        "egress_materials",
        "tenant_quotas",
        "tenant_deletions",
    ):
        for (namespace,) in file.read(
            f"SELECT DISTINCT namespace FROM {table} WHERE namespace <> ''"  # noqa: S608 - one of these
            " AND namespace NOT IN (SELECT name FROM namespaces)"
        ):
            yield error("owners", f"{table} has rows of namespace {namespace!r}, which is not there")


def _check_log(file: ReadOnlyFile) -> Iterator[Finding]:
    newest = newest_change(file)
    given = file.read("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")
    if newest > (given[0][0] if given else 0):
        yield error(
            "changes", f"change {newest} has a number that was not given out yet: it would come twice"
        )
    for table in ("secrets", "policy_versions", "egress_materials"):
        ahead = file.read(f"SELECT max(version) FROM {table}")[0][0]  # noqa: S608 - one of these three
        if ahead is not None and ahead > newest:
            yield error("changes", f"{table} has version {ahead}, and the newest change is {newest}")


def _check_deleted_tenants(file: ReadOnlyFile) -> Iterator[Finding]:
    """What a deleted tenant owned before the end of its deletion must not be there."""
    for namespace, tenant, _, ended in file.read(load_queries("tenants")["deletions"]):
        if ended is None:
            continue
        key = (namespace, tenant)
        left = [
            f"{kind} {row[0]}"
            for kind, table in _OWNED
            for row in file.read(
                f"SELECT id FROM {table} WHERE namespace = ? AND tenant = ? AND created_at_ms <= ?",  # noqa: S608
                (*key, ended),
            )
        ]
        for (record,) in file.read("SELECT record FROM scripts WHERE namespace = ? AND tenant = ?", key):
            version = _decoded(record)
            if version is not None and version.modified_at_s * 1000 < ended:
                left.append(describe(version.ref))
        left += [
            f"version {row[0]} of its egress policy"
            for row in file.read(
                "SELECT version FROM policy_versions WHERE namespace = ? AND layer = 'tenant' AND name = ?"
                " AND at_ms <= ?",
                (*key, ended),
            )
        ]
        for each in left:
            yield error(
                "tenants", f"tenant {tenant!r} of namespace {namespace!r} was deleted, but not its {each}"
            )


def _decoded(record: bytes) -> ScriptVersion | None:
    try:
        return decode_script(record)
    except msgspec.MsgspecError:
        return None
