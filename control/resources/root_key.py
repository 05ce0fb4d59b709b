"""The root key's rotation: `…/root-key/rotation`. Of keys only the ids are told."""

from __future__ import annotations

from starlette.responses import Response

from control.call import Call, Endpoint
from control.envelope import ApiError, Code, success
from control.resources.addresses import ACCOUNT

ROTATION = f"{ACCOUNT}/root-key/rotation"


async def get(call: Call) -> Response:
    return success(call.services.rotation.state())


async def start(call: Call) -> Response:
    """Idempotent while one is under way."""
    if call.services.rotation.shared and not call.flag("alone"):
        raise ApiError(
            409,
            Code.VALIDATION,
            "alone: other machines of this platform would open nothing that is sealed under the new key; stop them,"
            " ask again with ?alone=true, and copy the new root key to them before they start",
            "alone",
        )
    call.services.rotation.start()
    return success(call.services.rotation.state())


ENDPOINTS = [Endpoint("GET", ROTATION, get), Endpoint("POST", ROTATION, start)]
