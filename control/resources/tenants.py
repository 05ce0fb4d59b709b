"""Tenants of a dispatch namespace: who there is, what each owns and may have; and deleting one with all it owns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from control.call import Call, Endpoint, named
from control.deletions import finish_deletions
from control.envelope import ApiError, Code, success
from control.pagination import parse_page
from control.resources.addresses import NAMESPACE
from model.identity import parse_tenant_id
from storage.control_records import Owner
from storage.tenant_quotas import KEY_BYTES, MOST, Limit, Quota
from storage.tenant_records import Owned

TENANTS = f"{NAMESPACE}/tenants"
TENANT = f"{TENANTS}/{{tenant}}"
QUOTAS = f"{TENANT}/quotas"


async def list_all(call: Call) -> Response:
    page = parse_page(call.query)
    namespace = call.required_namespace
    found, total = await call.store.tenants.page(namespace, page.per_page, page.offset)
    shown = [{"tenant": tenant, "namespace": namespace, "usage": counts} for tenant, counts in found]
    return success(shown, page.info(len(found), total))


async def get(call: Call) -> Response:
    owner = _owner(call)
    owned = call.store.tenants.owned(owner)
    usage = {**owned.counts, **await _held(call, owned)}
    return success(
        {
            "tenant": owner.tenant,
            "namespace": owner.namespace,
            "deleting": owned.leaving,
            "usage": usage,
            "quotas": _show_quotas(call.store.tenants.quotas(owner)),
            "secrets": owned.secrets,
            "schedules": owned.schedules,
            "policy_versions": owned.policy_versions,
        }
    )


async def delete(call: Call) -> Response:
    """Goes on with one that was cut short; `done` false: ask again."""
    owner = _owner(call)
    owned = call.store.tenants.owned(owner)
    await call.store.tenants.begin_deletion(owner, force=call.flag("force"))
    await finish_deletions(call.services)
    left = {resource_id for _, resource_id in call.store.pending_deletions.all()}
    mine = {*owned.kv_ids, *owned.queue_ids, *owned.d1_ids}
    return success(
        {
            "tenant": owner.tenant,
            "namespace": owner.namespace,
            "deleted": dict(owned.counts),
            "done": owner not in call.store.tenants.deletions() and not left & mine,
        }
    )


async def get_quotas(call: Call) -> Response:
    return success(_show_quotas(call.store.tenants.quotas(_owner(call))))


async def put_quotas(call: Call) -> Response:
    """All of the tenant's own: `{name: number | null}`; what is left out is as the host has it."""
    owner = _owner(call)
    wanted = await call.json(dict[str, int | None])
    quotas: dict[Quota, int | None] = {}
    for name, value in wanted.items():
        if name not in list(Quota):
            raise ApiError(
                400,
                Code.VALIDATION,
                f"{name[:40]}: there is no such quota; {', '.join(Quota)} are right",
                name[:40],
            )
        if value is not None and not 0 <= value <= MOST:
            raise ApiError(
                400, Code.VALIDATION, f"{name}: {value}; a whole number from 0, or null, is right", name
            )
        quotas[Quota(name)] = value
    await call.store.tenants.put_quotas(owner, quotas)
    return success(_show_quotas(call.store.tenants.quotas(owner)))


async def _held(call: Call, owned: Owned) -> dict[Quota, int]:
    services = call.services
    keys = size = 0
    for namespace_id in owned.kv_ids:
        more_keys, more = await services.kv.usage(namespace_id)
        keys, size = keys + more_keys, size + more
    backlog = sum([(await services.queues.stored(queue_id))[1] for queue_id in owned.queue_ids])
    files = sum([await services.d1.file_size(database_id) for database_id in owned.d1_ids])
    return {Quota.KV_BYTES: size + keys * KEY_BYTES, Quota.QUEUE_BYTES: backlog, Quota.D1_BYTES: files}


def _show_quotas(limits: Mapping[Quota, Limit]) -> dict[str, Any]:
    return {str(quota): {"value": limit.value, "set_by": limit.set_by} for quota, limit in limits.items()}


def _owner(call: Call) -> Owner:
    tenant = named(parse_tenant_id, call.params["tenant"], "tenant")
    return Owner(call.required_namespace, tenant)


ENDPOINTS = [
    Endpoint("GET", TENANTS, list_all),
    Endpoint("GET", TENANT, get),
    Endpoint("DELETE", TENANT, delete),
    Endpoint("GET", QUOTAS, get_quotas),
    Endpoint("PUT", QUOTAS, put_quotas),
]
