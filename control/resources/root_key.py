"""The root key's rotation: `…/root-key/rotation`. Of keys only the ids are told."""

from __future__ import annotations

from starlette.responses import Response

from control.call import Call, Endpoint
from control.envelope import success
from control.resources.addresses import ACCOUNT

ROTATION = f"{ACCOUNT}/root-key/rotation"


async def get(call: Call) -> Response:
    return success(call.services.rotation.state())


async def start(call: Call) -> Response:
    """Idempotent while one is under way. Of several machines it begins once all hold the key that this makes."""
    call.services.rotation.start()
    return success(call.services.rotation.state())


ENDPOINTS = [Endpoint("GET", ROTATION, get), Endpoint("POST", ROTATION, start)]
