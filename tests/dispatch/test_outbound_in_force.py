"""Rule: every event of a user worker has an outbound worker before its way out, by whatever way it came about; an
outbound worker and its parts have none, and fetch for who asked; nobody is asked about itself.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from dispatch.outbound_in_force import InForce, check_declared, in_force, params_for
from model.capabilities import EventContext
from model.errors import OperationError, OperationErrorCode
from model.identity import DEFAULT_ACCOUNT, NamespaceName, ScriptName, TenantId, VersionId
from model.scripts import OutboundWorker, ScriptRef, ScriptVersion
from tests.support.guests import context

OWN = OutboundWorker(ScriptRef(None, ScriptName("own")))
NAMED = OutboundWorker(ScriptRef(None, ScriptName("named")), None, ("plan",))
OTHER = OutboundWorker(None, "hook")


def version(namespace: str | None, own: OutboundWorker | None = None) -> ScriptVersion:
    ref = ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName("callee"))
    return ScriptVersion(
        DEFAULT_ACCOUNT, ref, TenantId("t"), VersionId("1"), "", frozenset({"fetch"}), outbound_worker=own
    )


def event(
    namespace: str | None, worker: OutboundWorker | None = None, asker: EventContext | None = None
) -> EventContext:
    return structs.replace(context("caller", namespace), outbound_worker=worker, asker=asker)


ASKER = context("asker", "prod", "acme")


@pytest.mark.parametrize(
    ("callee", "caller", "named", "expected"),
    [
        # A dispatch worker's call: the binding's word, else the namespace's.
        (version("prod"), event(None), NAMED, InForce(NAMED)),
        (version("prod", OWN), event(None), NAMED, InForce(NAMED)),
        (version("prod", OWN), event(None), None, InForce(OWN)),
        (version("prod"), event(None), None, InForce()),
        # A service of a user worker: in its namespace, and a plain script, what its caller has.
        (version("prod", OWN), event("prod", NAMED), None, InForce(NAMED)),
        (version("prod", OWN), event("prod"), None, InForce(OWN)),  # named since the caller began
        (version(None), event("prod", OWN), None, InForce(OWN)),
        (version(None), event("prod"), None, InForce()),
        (version(None), event(None), None, InForce()),
        # A plain script on behalf of a user worker dispatches: the other namespace's, else what it has.
        (version("staging", OTHER), event(None, OWN), None, InForce(OTHER)),
        (version("staging"), event(None, OWN), None, InForce(OWN)),
        # An outbound worker's own parts: nobody is asked, they fetch for the asker.
        (version(None), event(None, None, ASKER), None, InForce(None, ASKER)),
        (version("tools", OWN), event("tools", None, ASKER), None, InForce(None, ASKER)),
        # Somebody else's worker that it calls: nobody may be left out, and nobody is asked about itself.
        (version("prod", OWN), event(None, None, ASKER), None, InForce(OWN, ASKER)),
        (version("prod"), event(None, None, ASKER), NAMED, InForce(NAMED, ASKER)),
        (version("prod"), event("prod", OWN, ASKER), None, InForce(OWN, ASKER)),
        # Without an outbound worker it is a worker like any: it fetches for itself.
        (version("prod"), event(None, None, ASKER), None, InForce()),
    ],
)
def test_who_stands_before_an_event(
    callee: ScriptVersion, caller: EventContext, named: OutboundWorker | None, expected: InForce
) -> None:
    assert in_force(callee, caller, named) == expected


@pytest.mark.parametrize(
    ("worker", "params", "refused"),
    [
        (None, {"anything": ""}, ""),
        (OWN, {"anything": ""}, ""),
        (NAMED, {"plan": "gold"}, ""),
        (NAMED, {"plan": "gold", "colour": "red"}, "outbound.colour: the outbound worker does not declare"),
        (replace(NAMED, params=()), {"plan": "gold"}, "declared: none."),
        (None, {"tenantry.tenant": "other"}, "are the platform's"),
    ],
)
def test_params_are_those_declared(
    worker: OutboundWorker | None, params: dict[str, str], refused: str
) -> None:
    if not refused:
        check_declared(worker, params)
        return
    with pytest.raises(OperationError) as caught:
        check_declared(worker, params)
    assert caught.value.code is OperationErrorCode.INVALID_ARGUMENT
    assert refused in caught.value.message


def test_it_reads_what_it_declares_and_who_asks() -> None:
    asker = structs.replace(ASKER, outbound_params={"plan": "gold", "of the policy": "alone"})
    who = {"tenantry.tenant": "acme", "tenantry.script": "asker", "tenantry.namespace": "prod"}
    assert params_for(NAMED, asker) == {"plan": "gold", **who}
    assert params_for(OWN, asker) == {"plan": "gold", "of the policy": "alone", **who}
    plain = structs.replace(asker, namespace=None, outbound_params={})
    assert "tenantry.namespace" not in params_for(OWN, plain)
