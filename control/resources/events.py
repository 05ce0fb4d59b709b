"""Run an event of a script now: `…/scripts/{script}/trigger`."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from control.call import Call, Endpoint
from control.envelope import ApiError, Code, success
from control.resources.addresses import SCRIPT
from storage.control_failures import ChangeRefused, Rule

_KIND = "scheduled"
_CRON_LENGTH = 256


class TriggerRequest(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    cron: str = "* * * * *"
    scheduled_time_ms: int | None = None


async def trigger(call: Call) -> Response:
    """Answers when the event has ended, with how it went."""
    wanted = await call.json(TriggerRequest)
    version = call.store.scripts.get(call.ref)
    if wanted.kind != _KIND:
        raise ApiError(400, Code.VALIDATION, f"kind: {wanted.kind[:40]!r}; {_KIND} is right", "kind")
    if len(wanted.cron) > _CRON_LENGTH or not wanted.cron.isprintable():
        raise ApiError(400, Code.VALIDATION, "cron: at most 256 printable characters are right", "cron")
    at_ms = (
        int(call.services.now_s() * 1000) if wanted.scheduled_time_ms is None else wanted.scheduled_time_ms
    )
    if not 0 <= at_ms < 2**53:
        raise ApiError(
            400,
            Code.VALIDATION,
            f"scheduled_time_ms: {at_ms}; UNIX milliseconds are right",
            "scheduled_time_ms",
        )
    if _KIND not in version.handlers:
        raise ChangeRefused(
            Rule.HANDLER_MISSING,
            f"script {version.ref.script!r} exports no `scheduled` handler; it has"
            f" {', '.join(sorted(version.handlers))}",
        )
    result = await call.services.trigger(
        version.ref, _KIND, {"cron": wanted.cron, "scheduled_time_ms": at_ms}
    )
    return success(dict(result))


ENDPOINTS = [Endpoint("POST", f"{path}/trigger", trigger) for path in SCRIPT]
