"""What is set for one hostname pattern: `…/workers/dispatch/hostnames/{hostname}`."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from control.call import Call, Endpoint, rfc3339
from control.envelope import success
from control.resources.addresses import WORKERS
from control.route_request import parse_route_pattern
from storage.control_records import HostnameRecord

_HOSTNAME = f"{WORKERS}/dispatch/hostnames/{{hostname}}"


class HostnameSettings(msgspec.Struct, forbid_unknown_fields=True):
    header_routes: bool


async def put(call: Call) -> Response:
    wanted = await call.json(HostnameSettings)
    record = await call.store.routes.put_hostname(
        _pattern(call), header_routes=wanted.header_routes, force=call.flag("force")
    )
    return success(_show(record))


async def get(call: Call) -> Response:
    return success(_show(call.store.routes.hostname(_pattern(call))))


async def delete(call: Call) -> Response:
    await call.store.routes.delete_hostname(_pattern(call), force=call.flag("force"))
    return success(None)


def _pattern(call: Call) -> str:
    return parse_route_pattern(call.params["hostname"], "hostname")


def _show(record: HostnameRecord) -> dict[str, Any]:
    return {
        "hostname": record.pattern,
        "header_routes": record.header_routes,
        "modified_on": rfc3339(record.modified_at_ms),
    }


ENDPOINTS = [
    Endpoint("PUT", _HOSTNAME, put),
    Endpoint("GET", _HOSTNAME, get),
    Endpoint("DELETE", _HOSTNAME, delete),
]
