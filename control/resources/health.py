"""For who watches the host: `/healthz` and `/readyz` (open, they say nothing of tenants), `/metrics`."""

from __future__ import annotations

from starlette.responses import Response

from control.call import Call, Endpoint
from control.envelope import ApiError, Code, success
from storage.failures import StorageError


async def healthz(call: Call) -> Response:
    """This process answers."""
    return success({"status": "ok"})


async def readyz(call: Call) -> Response:
    """The host can do its work; 503 with the reasons when it can't."""
    reasons = [*call.services.unready()]
    try:
        call.store.probe()
    except StorageError as error:
        reasons.append(f"storage: {error.message}")
    if reasons:
        raise ApiError(503, Code.INTERNAL, f"not ready: {', '.join(reasons)}", headers={"retry-after": "1"})
    # Not a reason: a machine that can't be told of changes serves what it knows, and all would be out at once.
    replicas = list(call.services.replication())
    return success({"status": "ready", **({"replication": replicas} if replicas else {})})


async def metrics(call: Call) -> Response:
    return Response(call.services.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def processes(call: Call) -> Response:
    """Each process of the host: its state, and what the kernel holds it to now."""
    return success(list(call.services.processes()))


ENDPOINTS = [
    Endpoint("GET", "/healthz", healthz, is_open=True),
    Endpoint("GET", "/readyz", readyz, is_open=True),
    Endpoint("GET", "/metrics", metrics),
    Endpoint("GET", "/processes", processes),
]
