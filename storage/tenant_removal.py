"""Remove a tenant with all that is its own, in transactions that hold nobody up: a few scripts or resources each.

The tenant is marked first, so that nothing is made for it meanwhile, and a crash leaves a mark to go on from. What
its KV namespaces, queues and databases hold is removed after that, as with each of these (`pending_deletions`).
Audit records stay: they say what happened.
"""

from __future__ import annotations

from typing import Final

from storage.changes import record_change
from storage.control_failures import ChangeRefused, Rule, listed
from storage.control_records import Owner, describe, to_ref
from storage.egress_records import Layer
from storage.migrations import load_queries
from storage.resource_removal import remove_resource
from storage.script_removal import remove_script
from storage.transaction import Transaction

#: Of one transaction. A script takes its routes with it.
SOME: Final = 20
SOME_VERSIONS: Final = 100


def begin_removal(tx: Transaction, owner: Owner, now_ms: int, *, force: bool) -> None:
    """Raises ChangeRefused: tenant_in_use."""
    sql, key = load_queries("tenants"), (owner.namespace, owner.tenant)
    if not force:
        users = [
            f"binding {row[2]} of {describe(to_ref(row[0], row[1]))}"
            for row in tx.execute(sql["binders_of_tenant"], key)
        ]
        users += [row[0] for row in tx.execute(sql["consumers_of_tenant"], key)]
        users += [row[0] for row in tx.execute(sql["outbound_users"], key)]
        if users:
            raise ChangeRefused(
                Rule.TENANT_IN_USE,
                f"what {owner} owns is used by others: {listed(users)}; deploy these without it first, or add"
                " ?force=true",
            )
    tx.execute(sql["begin_deletion"], (*key, now_ms))


def remove_some(tx: Transaction, owner: Owner, now_ms: int) -> bool:
    """Whether there is more. Idempotent."""
    sql, key = load_queries("tenants"), (owner.namespace, owner.tenant)
    scripts = tx.execute(sql["scripts"], (*key, SOME))
    if scripts:
        for (name,) in scripts:
            remove_script(tx, to_ref(owner.namespace or "", name), force=True)
        return True
    resources = tx.execute(sql["resources"], (*key, SOME))
    if resources:
        for kind, resource_id, _ in resources:
            remove_resource(tx, kind, resource_id, force=True)
        return True
    layer = (owner.namespace, Layer.TENANT, owner.tenant)
    tx.execute(load_queries("egress")["delete_layer"], layer)
    record_change(tx, "policy", f"{owner.namespace}/{Layer.TENANT}/{owner.tenant}")
    tx.execute(
        "DELETE FROM policy_versions WHERE (namespace, layer, name, version) IN (SELECT namespace, layer, name,"
        " version FROM policy_versions WHERE namespace = ? AND layer = ? AND name = ? LIMIT ?)",
        (*layer, SOME_VERSIONS),
    )
    if tx.changes() == SOME_VERSIONS:
        return True
    tx.execute(sql["clear_quotas"], key)
    tx.execute(sql["end_deletion"], (*key, now_ms))
    record_change(tx, "tenant", f"{owner.namespace}/{owner.tenant}")
    return False
