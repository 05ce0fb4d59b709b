"""Materials that egress policies name: `…/egress-materials` of a dispatch namespace and of plain scripts. Names
and expiry go out, values never do.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import Response

from control.call import Call, Endpoint, named, rfc3339
from control.envelope import Code, success
from control.material_reading import BUNDLE_BYTES, PutMaterial, read_material
from control.pagination import parse_page
from control.resources.addresses import EGRESS
from control.resources.policy import author_of
from model.identity import parse_material_name
from storage.egress_records import MaterialRecord

#: JSON writes a line break in two bytes.
_BODY_BYTES: Final = 2 * BUNDLE_BYTES


async def put(call: Call) -> Response:
    namespace, name = call.namespace, _name(call)
    if namespace is not None:
        call.store.namespaces.get(namespace)
    sent = await call.json(PutMaterial)
    read = await asyncio.to_thread(read_material, sent, call.services.now_s())
    sealer = call.services.sealer

    def seal(version: int) -> bytes:
        return sealer.seal_material(namespace, name, version, read.plaintext)

    made = await call.store.materials.put(namespace, name, read.kind, seal, read.shown, author_of(call))
    return success(_show(made), messages=[{"code": Code.MATERIAL, "message": text} for text in read.warnings])


async def list_all(call: Call) -> Response:
    namespace = call.namespace
    if namespace is not None:
        call.store.namespaces.get(namespace)
    page = parse_page(call.query)
    found, total = await call.store.materials.page(namespace, page.per_page, page.offset)
    return success([_show(record) for record in found], page.info(len(found), total))


async def get(call: Call) -> Response:
    return success(_show(call.store.materials.get(call.namespace, _name(call))))


async def delete(call: Call) -> Response:
    await call.store.materials.delete(call.namespace, _name(call), force=call.flag("force"))
    return success(None)


def _name(call: Call) -> str:
    return named(parse_material_name, call.params["name"], "")


def _show(record: MaterialRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "kind": record.kind,
        "version": record.version,
        **record.shown,
        "author": {"token_id": record.author.token_id, "name": record.author.name},
        "created_on": rfc3339(record.created_at_ms),
        "modified_on": rfc3339(record.modified_at_ms),
    }


_MATERIALS: Final = tuple(f"{place}/egress-materials" for place in EGRESS)

ENDPOINTS = [
    *(Endpoint("GET", path, list_all) for path in _MATERIALS),
    *(Endpoint("PUT", f"{path}/{{name}}", put, body_bytes=_BODY_BYTES) for path in _MATERIALS),
    *(Endpoint("GET", f"{path}/{{name}}", get) for path in _MATERIALS),
    *(Endpoint("DELETE", f"{path}/{{name}}", delete) for path in _MATERIALS),
]
