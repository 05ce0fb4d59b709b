"""What a script may be bound to: everything named exists, and belongs to who binds it.

A resource of the account may be bound to any script; a tenant's only to that tenant's own scripts, unless the
binding says `"shared": true`, which only the platform's token can send.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from model.identity import NamespaceName, ScriptName, TenantId
from model.scripts import BindingKind, BindingSpec, OutboundWorker, ScriptRef, ScriptVersion
from storage.control_failures import ChangeRefused, Rule
from storage.control_records import (
    Owner,
    Read,
    decode_script,
    describe,
    to_kv_namespace,
    to_owner,
    to_queue,
)
from storage.migrations import load_queries
from storage.outbound_workers import check_outbound_worker
from storage.script_removal import script_users

#: Cloudflare's bound on variables and secrets, taken for bindings of all kinds together.
MOST_BINDINGS = 128


@dataclass(frozen=True, slots=True)
class RequestedBinding:
    """One binding as it was asked for. `target` is as in BindingSpec, but a queue goes by its name.
    `field` is where it stands in the metadata.
    """

    kind: BindingKind
    name: str
    target: str
    shared: bool
    field: str
    outbound: OutboundWorker | None = None
    delivery_delay_s: int | None = None
    entrypoint: str | None = None
    props: str | None = None


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """All that an upload says about bindings."""

    requested: Sequence[RequestedBinding] = ()
    #: name → field, of `{type: "inherit"}`.
    inherited: Mapping[str, str] = field(default_factory=dict)
    #: Bindings of the version before that stay, whatever their names, where no other has the name.
    keep: Collection[BindingKind] = ()


@dataclass(frozen=True, slots=True)
class ResolvedBinding:
    """Ready to be stored."""

    spec: BindingSpec
    shared: bool


def resolve_bindings(
    read: Read, ref: ScriptRef, tenant: TenantId, request: BindingRequest, before: ScriptVersion | None
) -> list[ResolvedBinding]:
    """The bindings of the next version, in the order asked, then those kept.

    Raises ChangeRefused: binding_invalid, inherit_invalid, not_the_owner.
    """
    old = {} if before is None else {spec.name: spec for spec in before.bindings}
    old_shared = _shared_names(read, ref) if old else frozenset()
    resolved: dict[str, ResolvedBinding] = {}
    for wanted in request.requested:
        target = wanted.target
        if wanted.kind is BindingKind.QUEUE:
            target = _queue_id(read, wanted)
        spec = BindingSpec(
            wanted.kind,
            wanted.name,
            target,
            wanted.outbound,
            wanted.delivery_delay_s,
            wanted.entrypoint,
            wanted.props,
        )
        _check(read, ref, tenant, spec, wanted.shared, wanted.field)
        resolved[wanted.name] = ResolvedBinding(spec, wanted.shared)
    for name, where in request.inherited.items():
        if name not in old:
            raise ChangeRefused(
                Rule.INHERIT_INVALID,
                f"{where}: {describe(ref)} has no binding {name!r} to inherit; send the binding itself",
                where,
            )
        resolved[name] = ResolvedBinding(old[name], name in old_shared)
        _check(read, ref, tenant, old[name], name in old_shared, where)
    for name, spec in old.items():
        if spec.kind in request.keep and name not in resolved:
            _check(read, ref, tenant, spec, name in old_shared, "keep_bindings")
            resolved[name] = ResolvedBinding(spec, name in old_shared)
    if len(resolved) > MOST_BINDINGS:
        raise ChangeRefused(
            Rule.BINDING_INVALID,
            f"bindings: {len(resolved)} with those kept; at most {MOST_BINDINGS} are allowed",
            "bindings",
        )
    return list(resolved.values())


def check_script_users(read: Read, ref: ScriptRef, tenant: TenantId) -> None:
    """No other tenant's service binding comes to lead to a script because of its name or its new tenant, and neither
    do another's traces.

    Raises ChangeRefused: script_in_use.
    """
    if ref.namespace is None:
        return
    for user in script_users(read, ref):
        if user.tenant != tenant and not user.shared:
            raise ChangeRefused(
                Rule.SCRIPT_IN_USE,
                f"{user.what}, of tenant {user.tenant!r}, would lead to this script of tenant {tenant!r}; take another"
                " name, or deploy that one with shared: true first",
            )


def _check(read: Read, ref: ScriptRef, tenant: TenantId, spec: BindingSpec, shared: bool, where: str) -> None:
    sql = load_queries("control")
    match spec.kind:
        case BindingKind.KV_NAMESPACE:
            rows = read(sql["kv_namespace"], (spec.target,))
            if not rows:
                raise _invalid(where, "namespace_id", f"there is no KV namespace {spec.target[:80]!r}")
            kv = to_kv_namespace(rows[0])
            _check_owner(ref, tenant, kv.owner, shared, where, f"KV namespace {kv.title!r}")
        case BindingKind.QUEUE:
            rows = read(sql["queue"], (spec.target,))
            if not rows:
                raise _invalid(where, "queue_name", "the queue was deleted")
            queue = to_queue(rows[0])
            _check_owner(ref, tenant, queue.owner, shared, where, f"queue {queue.name!r}")
        case BindingKind.D1:
            rows = read(load_queries("d1")["database"], (spec.target,))
            if not rows:
                raise _invalid(where, "id", f"there is no database {spec.target[:80]!r}")
            owner = to_owner(rows[0][2], rows[0][3])
            _check_owner(ref, tenant, owner, shared, where, f"database {rows[0][1]!r}")
        case BindingKind.SERVICE:
            found = _find_service(read, ref, tenant, spec.target, shared, f"{where}.service")
            if found is not None and spec.entrypoint is not None:
                _check_entrypoint(found, spec, f"{where}.entrypoint")
        case BindingKind.DISPATCH_NAMESPACE:
            if ref.namespace is not None:
                raise _invalid(
                    where,
                    "type",
                    "dispatch_namespace is for plain scripts only: with it a script reaches every tenant's",
                )
            if not read(sql["namespace_exists"], (spec.target,)):
                raise _invalid(where, "namespace", f"there is no dispatch namespace {spec.target[:80]!r}")
            if spec.outbound is not None:
                field = f"{where}.outbound"
                check_outbound_worker(read, spec.outbound, NamespaceName(spec.target), field)
        case (
            BindingKind.PLAIN_TEXT
            | BindingKind.JSON
            | BindingKind.SECRET_TEXT
            | BindingKind.RATE_LIMIT
            | BindingKind.CACHE
            | BindingKind.ANALYTICS_ENGINE
        ):
            pass  # nothing that another could own


def check_tail_consumers(read: Read, ref: ScriptRef, tenant: TenantId, names: Sequence[str]) -> None:
    """Each is a worker with a `tail` handler, of the same tenant or a plain one. What the script that is uploaded has
    itself is not known yet, and is left to `check_own`.

    Raises ChangeRefused: binding_invalid, not_the_owner.
    """
    for index, name in enumerate(names):
        where = f"tail_consumers[{index}].service"
        found = _find_service(read, ref, tenant, name, False, where)
        if found is not None:
            _check_tail(found, where)


def check_own(version: ScriptVersion) -> None:
    """What leads from the script to itself is there. Raises ChangeRefused: binding_invalid."""
    for spec in version.bindings:
        own = spec.kind is BindingKind.SERVICE and spec.target == version.ref.script
        if own and spec.entrypoint is not None:
            _check_entrypoint(version, spec, f"binding {spec.name}: entrypoint")
    if version.ref.script in version.tail_consumers:
        _check_tail(version, "tail_consumers")


def _check_entrypoint(target: ScriptVersion, spec: BindingSpec, where: str) -> None:
    there = target.entrypoints
    if there is not None and spec.entrypoint in there:
        return
    has = "it is not in JavaScript" if there is None else f"there are {', '.join(there) or 'none'}"
    raise ChangeRefused(
        Rule.BINDING_INVALID,
        f"{where}: {describe(target.ref)} has no entry point {spec.entrypoint!r}; {has}",
        where,
    )


def _check_tail(target: ScriptVersion, where: str) -> None:
    if "tail" not in target.handlers:
        raise ChangeRefused(
            Rule.BINDING_INVALID, f"{where}: {describe(target.ref)} exports no `tail` handler", where
        )


def _find_service(
    read: Read, ref: ScriptRef, tenant: TenantId, name: str, shared: bool, where: str
) -> ScriptVersion | None:
    """The script that the name leads to from `ref`; None where that is `ref` itself."""
    for namespace in dict.fromkeys((ref.namespace, None)):
        target = ScriptRef(namespace, ScriptName(name))
        if target == ref:
            return None
        rows = read(load_queries("control")["script"], (namespace or "", name))
        if not rows:
            continue
        found = decode_script(rows[0][0])
        if namespace is not None:
            owner = Owner(namespace, found.tenant)
            _check_owner(ref, tenant, owner, shared, where.rpartition(".")[0], f"script {name!r}")
        return found
    places = "the account" if ref.namespace is None else f"namespace {ref.namespace!r} and the account"
    raise ChangeRefused(
        Rule.BINDING_INVALID, f"{where}: there is no script {name[:80]!r} in {places}; upload it first", where
    )


def _check_owner(ref: ScriptRef, tenant: TenantId, owner: Owner, shared: bool, where: str, what: str) -> None:
    if owner.tenant is None or shared or (owner.namespace == ref.namespace and owner.tenant == tenant):
        return
    raise ChangeRefused(
        Rule.NOT_THE_OWNER,
        f'{where}: {what} belongs to {owner}, not to tenant {tenant!r} of {describe(ref)}; "shared": true in'
        " the binding lends it on purpose",
        where,
    )


def _queue_id(read: Read, wanted: RequestedBinding) -> str:
    rows = read(load_queries("control")["queue_named"], (wanted.target,))
    if not rows:
        raise _invalid(wanted.field, "queue_name", f"there is no queue {wanted.target[:80]!r}")
    return to_queue(rows[0]).id


def _shared_names(read: Read, ref: ScriptRef) -> frozenset[str]:
    rows = read(load_queries("control")["shared_bindings"], (ref.namespace or "", ref.script))
    return frozenset(row[0] for row in rows)


def _invalid(where: str, key: str, message: str) -> ChangeRefused:
    return ChangeRefused(Rule.BINDING_INVALID, f"{where}.{key}: {message}", f"{where}.{key}")
