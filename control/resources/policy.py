"""Egress policies: `…/egress-policy` of a dispatch namespace, and of plain scripts."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from control.call import Call, Endpoint, rfc3339
from control.envelope import ApiError, Code, success
from control.resources.addresses import NAMESPACE, WORKERS
from storage.control_failures import ChangeRefused, Rule
from storage.control_records import PolicyRecord

_PATHS = (f"{NAMESPACE}/egress-policy", f"{WORKERS}/egress-policy")
_POLICY_BYTES = 1 << 20


async def put(call: Call) -> Response:
    """The body is the document itself, YAML or JSON; it is kept as it was written."""
    namespace = call.namespace
    if namespace is not None:
        call.store.namespaces.get(namespace)
    try:
        text = (await call.body()).decode()
    except UnicodeDecodeError:
        raise ApiError(400, Code.POLICY, "policy: this is not UTF-8 text", "policy") from None
    try:
        call.services.parse_policy(text)
    except ValueError as error:
        field = str(getattr(error, "field", "")) or "policy"
        where = {
            name: getattr(error, name)
            for name in ("line", "column")
            if getattr(error, name, None) is not None
        }
        raise ApiError(400, Code.POLICY, f"policy: {error}", field, meta=where) from error
    return success(_show(await call.store.policies.put(namespace, text)))


async def get(call: Call) -> Response:
    namespace = call.namespace
    if namespace is not None:
        call.store.namespaces.get(namespace)
    found = call.store.policies.get(namespace)
    if found is None:
        raise ChangeRefused(Rule.POLICY_MISSING, "no egress policy was set here: everything is denied")
    return success(_show(found))


async def delete(call: Call) -> Response:
    await call.store.policies.delete(call.namespace)
    return success(None)


def _show(record: PolicyRecord) -> dict[str, Any]:
    return {
        "version": record.version,
        "policy": record.text,
        "modified_on": rfc3339(record.modified_at_ms),
    }


ENDPOINTS = [
    *(Endpoint("PUT", path, put, body_bytes=_POLICY_BYTES) for path in _PATHS),
    *(Endpoint("GET", path, get) for path in _PATHS),
    *(Endpoint("DELETE", path, delete) for path in _PATHS),
]
