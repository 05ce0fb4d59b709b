"""KV namespaces: `…/storage/kv/namespaces`. Their keys and values are in `kv_values`."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from control.call import Call, Endpoint, owner_fields, parse_owner, rfc3339
from control.deletions import finish_deletions
from control.envelope import ApiError, Code, success
from control.pagination import parse_page
from control.resources.addresses import ACCOUNT
from storage.control_records import KvNamespaceRecord

NAMESPACES = f"{ACCOUNT}/storage/kv/namespaces"
NAMESPACE = f"{NAMESPACES}/{{kv}}"
_TITLE_BYTES = 512


class CreateKvNamespace(msgspec.Struct):
    title: str
    tenant: str | None = None
    namespace: str | None = None


class RenameKvNamespace(msgspec.Struct):
    title: str


async def create(call: Call) -> Response:
    wanted = await call.json(CreateKvNamespace)
    owner = parse_owner(wanted.tenant, wanted.namespace)
    return success(_show(await call.store.kv_namespaces.create(_title(wanted.title), owner)))


async def list_all(call: Call) -> Response:
    page = parse_page(call.query)
    order = _choice(call, "order", "id", "title")
    descending = _choice(call, "direction", "asc", "desc") == "desc"
    found, total = await call.store.kv_namespaces.page(order, descending, page.per_page, page.offset)
    return success([_show(record) for record in found], page.info(len(found), total))


async def get(call: Call) -> Response:
    return success(_show(call.store.kv_namespaces.get(call.params["kv"])))


async def rename(call: Call) -> Response:
    title = _title((await call.json(RenameKvNamespace)).title)
    return success(_show(await call.store.kv_namespaces.rename(call.params["kv"], title)))


async def delete(call: Call) -> Response:
    await call.store.kv_namespaces.delete(call.params["kv"], force=call.flag("force"))
    await finish_deletions(call.services)
    return success(None)


def _title(title: str) -> str:
    if not title.strip() or len(title.encode()) > _TITLE_BYTES or not title.isprintable():
        raise ApiError(
            400,
            Code.VALIDATION,
            f"title: {title[:80]!r}; 1 to {_TITLE_BYTES} bytes of printable text are right",
            "title",
        )
    return title


def _choice(call: Call, name: str, *allowed: str) -> str:
    value = call.query.get(name, allowed[0])
    if value not in allowed:
        raise ApiError(400, Code.VALIDATION, f"{name}: {value[:40]!r}; {' or '.join(allowed)} is right", name)
    return value


def _show(record: KvNamespaceRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "title": record.title,
        "supports_url_encoding": True,
        "created_on": rfc3339(record.created_at_ms),
        **owner_fields(record.owner),
    }


ENDPOINTS = [
    Endpoint("POST", NAMESPACES, create),
    Endpoint("GET", NAMESPACES, list_all),
    Endpoint("GET", NAMESPACE, get),
    Endpoint("PUT", NAMESPACE, rename),
    Endpoint("DELETE", NAMESPACE, delete),
]
