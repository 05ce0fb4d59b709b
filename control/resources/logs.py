"""What a script's workers wrote: `…/scripts/{script}/logs`, by long poll."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from control.call import Call, Endpoint
from control.envelope import success
from control.pagination import parse_number
from control.resources.addresses import SCRIPT
from model.observer import LogLine

_MOST_WAIT_MS = 30_000


async def read(call: Call) -> Response:
    """Lines after the cursor `after` (0: all that are kept); waits at most `wait_ms` for the first."""
    ref = call.ref
    tenant = call.store.scripts.get(ref).tenant
    after = parse_number(call.query, "after", 0, 10**17, 0)
    wait_ms = parse_number(call.query, "wait_ms", 0, _MOST_WAIT_MS, 0)
    lines, cursor = call.services.logs.read(ref, after)
    if not lines and wait_ms:
        await call.services.logs.wait(ref, after, wait_ms / 1000)
        lines, cursor = call.services.logs.read(ref, after)
    # The name may have been another tenant's yesterday, and the ring still holds what that one's worker wrote.
    own = [line for line in lines if line.tenant == tenant]
    own.sort(key=lambda line: line.at_ms)  # the ring's order is that in which the processes' batches arrived
    shown = await call.services.traces.shown(own)
    return success({"lines": [_show(line) for line in shown], "cursor": cursor})


def _show(line: LogLine) -> dict[str, Any]:
    return {"at_ms": line.at_ms, "level": line.level, "text": line.text, "ray_id": line.ray_id}


ENDPOINTS = [Endpoint("GET", f"{path}/logs", read) for path in SCRIPT]
