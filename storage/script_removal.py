"""Remove a script and what leads to it, inside a transaction."""

from __future__ import annotations

from typing import NamedTuple

from model.identity import TenantId
from model.scripts import BindingKind, ScriptRef
from storage.changes import record_change
from storage.control_failures import ChangeRefused, Rule, listed
from storage.control_records import Read, describe, namespace_key, to_ref
from storage.database import Transaction
from storage.hostname_index import refresh_pattern
from storage.migrations import load_queries


def script_missing(ref: ScriptRef, field: str = "") -> ChangeRefused:
    rule = Rule.SCRIPT_MISSING if ref.namespace is None else Rule.NAMESPACED_SCRIPT_MISSING
    return ChangeRefused(rule, f"there is no {describe(ref)}; upload it first", field)


def require_script(read: Read, ref: ScriptRef, field: str = "") -> None:
    """Raises ChangeRefused: script_missing, namespaced_script_missing."""
    if not script_exists(read, ref):
        raise script_missing(ref, field)


def script_exists(read: Read, ref: ScriptRef) -> bool:
    return bool(read(load_queries("control")["script"], (namespace_key(ref.namespace), ref.script)))


class ScriptUser(NamedTuple):
    """`what` leads to a script: a service binding, or that it is a tail consumer."""

    what: str
    tenant: TenantId
    shared: bool


def script_users(read: Read, ref: ScriptRef) -> list[ScriptUser]:
    """The others whose service binding, or whose traces, go to `ref`, or would.

    A name is looked up in the binder's own namespace first, then among plain scripts.
    """
    found = []
    for namespace, script, binding, tenant, shared, kind in read(
        load_queries("control")["script_users"], (ref.script,)
    ):
        binder = to_ref(namespace, script)
        if binder == ref or (ref.namespace is not None and binder.namespace != ref.namespace):
            continue
        shadow = ScriptRef(binder.namespace, ref.script)
        if ref.namespace is None and binder.namespace is not None and script_exists(read, shadow):
            continue
        what = f"service binding {binding}" if kind == BindingKind.SERVICE else "tail_consumers"
        found.append(ScriptUser(f"{what} of {describe(binder)}", TenantId(tenant), bool(shared)))
    return found


def remove_script(tx: Transaction, ref: ScriptRef, *, force: bool) -> None:
    """`force` removes its routes and queue consumers with it; service bindings to it then lead nowhere, as
    traces do, and nothing leaves where it is the outbound worker.

    Raises ChangeRefused: script_missing, namespaced_script_missing, script_in_use (names them).
    """
    sql = load_queries("control")
    key = (namespace_key(ref.namespace), ref.script)
    require_script(tx.execute, ref)
    routes = tx.execute(sql["routes_of_script"], (*key, -1))
    consumers = tx.execute(sql["consumers_of_script"], key)
    users = [f"route {row[1]}{row[2]} ({row[0]})" for row in routes]
    users += [f"the consumer of queue {row[2]!r}" for row in consumers]
    users += [user.what for user in script_users(tx.execute, ref)]
    users += [f"{row[0]}, whose outbound worker it is" for row in tx.execute(sql["outbound_users"], key)]
    if users and not force:
        raise ChangeRefused(
            Rule.SCRIPT_IN_USE,
            f"{describe(ref)} is in use by {listed(users)}; delete these first, or add ?force=true, which"
            " removes routes and consumers with it",
        )
    for row in routes:
        tx.execute(sql["delete_route"], (row[0],))
    for pattern in dict.fromkeys(row[1] for row in routes):
        refresh_pattern(tx, pattern)
    for consumer_id, queue_id, _ in consumers:
        tx.execute(sql["delete_consumer"], (consumer_id,))
        record_change(tx, "consumer", queue_id)
    tx.execute(sql["delete_script"], key)
    record_change(tx, "script", f"{key[0]}/{key[1]}")
    record_change(tx, "secret", f"{key[0]}/{key[1]}")
