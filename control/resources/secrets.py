"""Secrets of a script: names go out, texts never do."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from control.call import Call, Endpoint, named
from control.envelope import ApiError, Code, success
from control.resources.addresses import SCRIPT
from control.upload_metadata import secret_text
from model.identity import parse_binding_name
from storage.control_failures import ChangeRefused, Rule

_TYPE = "secret_text"
_BULK_BYTES = 1 << 20


class PutSecret(msgspec.Struct):
    name: str
    text: str
    type: str = _TYPE


class BulkSecret(msgspec.Struct):
    text: str
    name: str | None = None
    type: str = _TYPE


class BulkSecrets(msgspec.Struct):
    secrets: dict[str, BulkSecret | None]


async def list_all(call: Call) -> Response:
    return success([_show(name) for name in call.store.secrets.names(call.ref)])


async def put(call: Call) -> Response:
    wanted = await call.json(PutSecret)
    _check_type(wanted.type, "type")
    name = named(parse_binding_name, wanted.name, "name")
    await _change(call, {name: secret_text(wanted.text, "text")})
    return success(_show(name))


async def get(call: Call) -> Response:
    name = call.params["name"]
    if name not in call.store.secrets.names(call.ref):
        raise ChangeRefused(Rule.SECRET_MISSING, f"script {call.ref.script!r} has no secret {name[:80]!r}")
    return success(_show(name))


async def delete(call: Call) -> Response:
    await _change(call, {call.params["name"]: None})
    return success(None)


async def bulk(call: Call) -> Response:
    """A merge patch: null deletes. All or none."""
    wanted = (await call.json(BulkSecrets)).secrets
    texts: dict[str, str | None] = {}
    for name, secret in wanted.items():
        parsed = named(parse_binding_name, name, "secrets")
        if secret is None:
            texts[parsed] = None
            continue
        _check_type(secret.type, f"secrets.{parsed}.type")
        texts[parsed] = secret_text(secret.text, f"secrets.{parsed}.text")
    await _change(call, texts)
    return success([_show(name) for name in call.store.secrets.names(call.ref)])


async def _change(call: Call, texts: dict[str, str | None]) -> None:
    ref = call.ref

    def seal(name: str, version: int, text: str) -> bytes:
        return call.services.sealer.seal(call.account, ref, name, version, text)

    await call.store.secrets.change(ref, texts, seal)


def _check_type(kind: str, field: str) -> None:
    if kind != _TYPE:
        raise ApiError(400, Code.VALIDATION, f"{field}: {kind[:40]!r}; {_TYPE} is right", field)


def _show(name: str) -> dict[str, Any]:
    return {"name": name, "type": _TYPE}


ENDPOINTS = [
    *(Endpoint("GET", f"{path}/secrets", list_all) for path in SCRIPT),
    *(Endpoint("PUT", f"{path}/secrets", put) for path in SCRIPT),
    *(Endpoint("GET", f"{path}/secrets/{{name}}", get) for path in SCRIPT),
    *(Endpoint("DELETE", f"{path}/secrets/{{name}}", delete) for path in SCRIPT),
    *(Endpoint("PATCH", f"{path}/secrets-bulk", bulk, body_bytes=_BULK_BYTES) for path in SCRIPT),
]
