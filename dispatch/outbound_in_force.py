"""Which outbound worker stands before an event's way out, and for whom an outbound worker's parts fetch. Pure.

- A dispatcher whose binding names an outbound worker names it for what it calls, and for all that this calls in
  turn by service bindings.
- Everything else of a dispatch namespace (a visitor's request by a route, a hook's call, queues, cron) has the one
  that the namespace names.
- A plain script has none of its own; called by a user worker it is part of that one's event, and has its.
- What an outbound worker calls by service bindings is part of it: it fetches for who asked, and nobody is asked
  again. What it calls in another dispatch namespace is somebody else's worker, with its own outbound worker in
  force: since one is at work already, such a worker has no way out (dispatch.outbound_worker refuses it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from model.capabilities import EventContext
from model.errors import OperationError, OperationErrorCode
from model.scripts import OutboundWorker, ScriptVersion

#: Of params that the host gives an outbound worker: who asks. No dispatcher's param begins so.
RESERVED: Final = "tenantry."


@dataclass(frozen=True, slots=True)
class InForce:
    """As in EventContext. Both: there is no way out."""

    worker: OutboundWorker | None = None
    asker: EventContext | None = None


_NONE: Final = InForce()


def in_force(callee: ScriptVersion, caller: EventContext, named: OutboundWorker | None) -> InForce:
    """For an event of `callee` that `caller` makes; `named` is what the dispatcher's binding says."""
    own, theirs, asker = callee.outbound_worker, caller.outbound_worker, caller.asker
    namespace = callee.ref.namespace
    if named is not None or (namespace is not None and namespace != caller.namespace):
        worker = named or own or theirs
        if worker is None:
            return _NONE
        return InForce(worker, asker)
    if asker is not None:
        return InForce(theirs, asker)
    worker = theirs or own
    return _NONE if worker is None else InForce(worker)


def check_declared(worker: OutboundWorker | None, params: Mapping[str, str]) -> None:
    """Raises OperationError(invalid_argument) when a dispatcher passes a param that nobody could read."""
    for name in params:
        if name.startswith(RESERVED):
            raise OperationError(
                OperationErrorCode.INVALID_ARGUMENT,
                f"outbound.{name}: names that begin with {RESERVED!r} are the platform's; choose another",
            )
        if worker is not None and worker.params is not None and name not in worker.params:
            declared = ", ".join(worker.params) or "none"
            raise OperationError(
                OperationErrorCode.INVALID_ARGUMENT,
                f"outbound.{name}: the outbound worker does not declare this param; declared: {declared}."
                " Add it to `outbound.params` of the dispatch namespace's binding, or of the namespace",
            )


def params_for(worker: OutboundWorker, asker: EventContext) -> dict[str, str]:
    """What the outbound worker reads as `params`: the declared ones that were passed, and who asks."""
    given = asker.outbound_params
    params = {name: value for name, value in given.items() if worker.params is None or name in worker.params}
    params[RESERVED + "tenant"] = asker.tenant
    params[RESERVED + "script"] = asker.script
    if asker.namespace is not None:
        params[RESERVED + "namespace"] = asker.namespace
    return params
