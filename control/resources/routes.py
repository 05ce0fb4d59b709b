"""Routes: `…/workers/dispatch/routes`. Which hostname, path and headers lead to which script."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from control.call import Call, Endpoint, rfc3339
from control.envelope import success
from control.pagination import parse_page
from control.resources.addresses import WORKERS
from control.route_request import RouteRequest, parse_route, parse_route_pattern
from model.scripts import Target
from storage.control_records import RouteRecord

_ROUTES = f"{WORKERS}/dispatch/routes"


async def create(call: Call) -> Response:
    route = parse_route(await call.json(RouteRequest))
    return success(_show(await call.store.routes.create(route)))


async def list_all(call: Call) -> Response:
    page = parse_page(call.query)
    hostname = call.query.get("hostname")
    pattern = None if hostname is None else parse_route_pattern(hostname, "hostname")
    found, total = await call.store.routes.page(pattern, page.per_page, page.offset)
    return success([_show(record) for record in found], page.info(len(found), total))


async def get(call: Call) -> Response:
    return success(_show(call.store.routes.get(call.params["route"])))


async def put(call: Call) -> Response:
    route = parse_route(await call.json(RouteRequest), call.params["route"])
    return success(_show(await call.store.routes.replace(route)))


async def delete(call: Call) -> Response:
    await call.store.routes.delete(call.params["route"])
    return success(None)


def _show(record: RouteRecord) -> dict[str, Any]:
    route = record.route
    return {
        "id": route.id,
        "hostname": route.pattern,
        "path_prefix": route.path_prefix,
        "headers": [{"name": name, "value": value} for name, value in route.headers],
        "target": _show_target(route.target),
        "created_on": rfc3339(record.created_at_ms),
    }


def _show_target(target: Target) -> dict[str, Any]:
    if target.script is None:
        return {"hook": target.hook}
    if target.script.namespace is None:
        return {"script": target.script.script}
    return {"namespace": target.script.namespace, "script": target.script.script}


ENDPOINTS = [
    Endpoint("POST", _ROUTES, create),
    Endpoint("GET", _ROUTES, list_all),
    Endpoint("GET", f"{_ROUTES}/{{route}}", get),
    Endpoint("PUT", f"{_ROUTES}/{{route}}", put),
    Endpoint("DELETE", f"{_ROUTES}/{{route}}", delete),
]
