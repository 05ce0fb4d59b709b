"""Dispatch namespaces: `…/workers/dispatch/namespaces`."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from control.call import Call, Endpoint, named, rfc3339
from control.deletions import finish_deletions
from control.envelope import ApiError, Code, success
from control.outbound_setting import parse_outbound, show_outbound
from control.pagination import MOST_PER_PAGE, parse_page
from control.resources.addresses import NAMESPACE, NAMESPACES
from model.identity import parse_namespace_name
from model.scripts import OutboundWorker
from storage.control_records import NamespaceRecord


class CreateNamespace(msgspec.Struct):
    name: str
    trusted_workers: bool = False
    outbound: dict[str, Any] | None = None


class ChangeNamespace(msgspec.Struct):
    """`outbound` null takes the outbound worker away; left out, it stays."""

    name: str | None = None
    trusted_workers: bool | None = None
    outbound: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET


async def create(call: Call) -> Response:
    wanted = await call.json(CreateNamespace)
    name = named(parse_namespace_name, wanted.name, "name")
    outbound = _parse(wanted.outbound)
    made = await call.store.namespaces.create(name, trusted=wanted.trusted_workers, outbound=outbound)
    return success(_show(made))


async def list_all(call: Call) -> Response:
    # Clients that know no paging here get all that one page holds.
    page = parse_page(call.query, MOST_PER_PAGE)
    found, total = await call.store.namespaces.page(page.per_page, page.offset)
    return success([_show(record) for record in found], page.info(len(found), total))


async def get(call: Call) -> Response:
    return success(_show(call.store.namespaces.get(call.required_namespace)))


async def change(call: Call) -> Response:
    wanted = await call.json(ChangeNamespace)
    name = call.required_namespace
    record = call.store.namespaces.get(name)
    if wanted.name not in (None, name):
        raise ApiError(
            400,
            Code.INVALID_NAME,
            f"name: a namespace can't be renamed, since routes and policies name it; {name!r} or nothing is right",
            "name",
        )
    given = wanted.outbound
    outbound = None if isinstance(given, msgspec.UnsetType) else _parse(given)
    if wanted.trusted_workers is not None or given is not msgspec.UNSET:
        record = await call.store.namespaces.change(
            name, wanted.trusted_workers, lambda before: before if given is msgspec.UNSET else outbound
        )
    return success(_show(record))


async def delete(call: Call) -> Response:
    await call.store.namespaces.delete(call.required_namespace, force=call.flag("force"))
    await finish_deletions(call.services)
    return success(None)


def _parse(outbound: dict[str, Any] | None) -> OutboundWorker | None:
    return None if outbound is None else parse_outbound(outbound, "outbound")


def _show(record: NamespaceRecord) -> dict[str, Any]:
    return {
        "namespace_id": record.id,
        "namespace_name": record.name,
        "script_count": record.script_count,
        "trusted_workers": record.trusted,
        "outbound": None if record.outbound_worker is None else show_outbound(record.outbound_worker),
        "created_on": rfc3339(record.created_at_ms),
        "created_by": None,
        "modified_on": rfc3339(record.modified_at_ms),
        "modified_by": None,
    }


ENDPOINTS = [
    Endpoint("POST", NAMESPACES, create),
    Endpoint("GET", NAMESPACES, list_all),
    Endpoint("GET", NAMESPACE, get),
    Endpoint("PUT", NAMESPACE, change),
    Endpoint("PATCH", NAMESPACE, change),
    Endpoint("DELETE", NAMESPACE, delete),
]
