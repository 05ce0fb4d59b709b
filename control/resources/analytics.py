"""Data points that workers wrote: `…/analytics_engine/sql`, as Cloudflare's SQL API, and which datasets there are."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response

from control.call import Call, Endpoint, named, rfc3339
from control.envelope import JSON_TYPE, ApiError, Code, success
from control.pagination import parse_page
from control.resources.addresses import ACCOUNT
from model.errors import OperationError, OperationErrorCode
from model.identity import parse_namespace_name, parse_tenant_id
from storage.analytics_query import Answer, Scope
from storage.analytics_store import DatasetInfo
from storage.d1.limits import SQL_BYTES

_SQL: Final = f"{ACCOUNT}/analytics_engine/sql"
#: What the SQL itself is to blame for.
_BLAMED: Final = frozenset(
    {
        OperationErrorCode.INVALID_ARGUMENT,
        OperationErrorCode.DENIED,
        OperationErrorCode.LIMIT_EXCEEDED,
        OperationErrorCode.TIMEOUT,
    }
)


async def query(call: Call) -> Response:
    """The body is the SQL itself."""
    try:
        sql = (await call.body()).decode()
    except UnicodeDecodeError:
        raise ApiError(400, Code.BODY, "body: this is no UTF-8; SQL is right", "body") from None
    return await _run(call, sql)


async def query_by_address(call: Call) -> Response:
    return await _run(call, call.query.get("query", ""))


async def datasets(call: Call) -> Response:
    page = parse_page(call.query)
    namespace, tenant = _owner(call)
    found, total = await call.services.analytics.datasets(namespace, tenant, page.per_page, page.offset)
    return success([_show(info) for info in found], page.info(len(found), total))


async def _run(call: Call, sql: str) -> Response:
    namespace, tenant = _owner(call)
    scope = Scope() if namespace is None else Scope(namespace, tenant)
    try:
        answer = await call.services.analytics.query(sql, scope)
    except OperationError as error:
        if error.code in _BLAMED:
            raise ApiError(400, Code.VALIDATION, f"query: {error.message}", "query") from error
        raise
    content = msgspec.json.encode(_as_cloudflare_answers(answer))
    return Response(content, media_type=JSON_TYPE, headers={"cache-control": "no-store"})


def _owner(call: Call) -> tuple[str | None, str | None]:
    """Of the address: a namespace that is there, and a tenant of it; None where it says nothing."""
    namespace, tenant = call.query.get("namespace"), call.query.get("tenant")
    if namespace is None:
        if tenant is not None:
            raise ApiError(
                400, Code.VALIDATION, "namespace: missing; a tenant is one of a namespace", "namespace"
            )
        return None, None
    place = named(parse_namespace_name, namespace, "namespace")
    call.store.namespaces.get(place)
    return place, None if tenant is None else named(parse_tenant_id, tenant, "tenant")


def _as_cloudflare_answers(answer: Answer) -> dict[str, Any]:
    return {
        "meta": [
            {"name": name, "type": kind} for name, kind in zip(answer.columns, answer.types, strict=True)
        ],
        "data": [
            {name: _json(value) for name, value in zip(answer.columns, row, strict=True)}
            for row in answer.rows
        ],
        "rows": len(answer.rows),
    }


def _json(value: object) -> object:
    """Bytes, of which points have none, in hex."""
    return value.hex() if isinstance(value, bytes) else value


def _show(info: DatasetInfo) -> dict[str, Any]:
    return {
        "dataset": info.name,
        "namespace": info.namespace or None,
        "tenant": info.tenant or None,
        "points": info.points,
        "bytes": info.bytes,
        "created_on": rfc3339(info.made_at_ms),
        "oldest": info.oldest,
        "newest": info.newest,
    }


ENDPOINTS = [
    Endpoint("POST", _SQL, query, SQL_BYTES),
    Endpoint("GET", _SQL, query_by_address),
    Endpoint("GET", f"{ACCOUNT}/analytics_engine/datasets", datasets),
]
