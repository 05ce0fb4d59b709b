"""Whether a tenant may have one more of something: asked inside the transaction that makes it."""

from __future__ import annotations

from storage.control_failures import ChangeRefused, Rule
from storage.control_records import Owner, Read
from storage.migrations import load_queries
from storage.tenant_quotas import Limit, Quota, effective, refusal


def limits_of(read: Read, owner: Owner) -> dict[Quota, Limit]:
    return effective(read(load_queries("tenants")["quotas"], (owner.namespace, owner.tenant)))


def require_room(read: Read, owner: Owner, quota: Quota) -> None:
    """`quota` is one of the counts. Nothing holds the account's own.

    Raises ChangeRefused: quota_exceeded, tenant_leaving.
    """
    if owner.namespace is None or owner.tenant is None:
        return
    require_staying(read, owner)
    limit = limits_of(read, owner)[quota]
    if limit.value is None:
        return
    key = (owner.namespace, owner.tenant)
    used: int = read(load_queries("tenants")[f"count_{quota}"], key)[0][0]
    if used >= limit.value:
        raise ChangeRefused(Rule.QUOTA_EXCEEDED, refusal(owner, quota, limit, used, 1))


def require_staying(read: Read, owner: Owner) -> None:
    """What is made for a tenant while it is being deleted might outlive it. Raises ChangeRefused: tenant_leaving."""
    rows = read(load_queries("tenants")["deletion"], (owner.namespace, owner.tenant))
    if rows and rows[0][1] is None:
        raise ChangeRefused(
            Rule.TENANT_LEAVING, f"{owner} is being deleted; wait until that is done, then make it again"
        )
