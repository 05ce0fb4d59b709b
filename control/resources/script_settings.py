"""What a deployed script is bound to and tagged with: `…/settings`, `…/bindings`, `…/tags`."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from control.call import Call, Endpoint
from control.compatibility import show_compatibility
from control.envelope import ApiError, Code, success
from control.outbound_setting import show_bound_outbound
from control.rate_limit_setting import show_rate_limit
from control.resources.addresses import SCRIPT
from control.upload_metadata import TENANT_TAG, parse_tags, show_limits
from model.scripts import BindingKind, BindingSpec
from storage.control_failures import ChangeRefused


async def settings(call: Call) -> Response:
    version = call.store.scripts.get(call.ref)
    return success(
        {
            "bindings": [_show(call, spec) for spec in version.bindings],
            "tags": list(version.tags),
            "tenant": version.tenant,
            "limits": show_limits(version.limits),
            "handlers": sorted(version.handlers),
            "logpush": False,
            "tail_consumers": [{"service": name} for name in version.tail_consumers],
            "usage_model": "standard",
            **show_compatibility(version),
        }
    )


async def bindings(call: Call) -> Response:
    return success([_show(call, spec) for spec in call.store.scripts.get(call.ref).bindings])


async def get_tags(call: Call) -> Response:
    return success(list(call.store.scripts.get(call.ref).tags))


async def put_tags(call: Call) -> Response:
    tags = parse_tags(await call.json(list[str]), "tags")
    version = call.store.scripts.get(call.ref)
    for tag in tags:
        if tag.startswith(TENANT_TAG) and tag != f"{TENANT_TAG}{version.tenant}":
            raise ApiError(
                400,
                Code.VALIDATION,
                f"tags: {tag!r}, but the script belongs to tenant {version.tenant!r}; an upload changes that",
                "tags",
            )
    return success(list((await call.store.scripts.set_tags(version.ref, tags)).tags))


def _show(call: Call, spec: BindingSpec) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": spec.kind, "name": spec.name}
    match spec.kind:
        case BindingKind.PLAIN_TEXT:
            shown["text"] = spec.target
        case BindingKind.JSON:
            shown["json"] = msgspec.Raw(spec.target.encode())
        case BindingKind.KV_NAMESPACE:
            shown["namespace_id"] = spec.target
        case BindingKind.QUEUE:
            shown["queue_name"] = _queue_name(call, spec.target)
            if spec.delivery_delay_s is not None:
                shown["delivery_delay"] = spec.delivery_delay_s
        case BindingKind.D1:
            shown["id"] = shown["database_id"] = spec.target
        case BindingKind.SERVICE:
            shown["service"] = spec.target
            if spec.entrypoint is not None:
                shown["entrypoint"] = spec.entrypoint
            if spec.props is not None:
                shown["props"] = msgspec.Raw(spec.props.encode())
        case BindingKind.DISPATCH_NAMESPACE:
            shown["namespace"] = spec.target
            if spec.outbound is not None:
                shown["outbound"] = show_bound_outbound(spec.outbound)
        case BindingKind.CACHE:
            shown["cache_name"] = spec.target
        case BindingKind.ANALYTICS_ENGINE:
            shown["dataset"] = spec.target
        case BindingKind.RATE_LIMIT:
            shown |= show_rate_limit(spec.target)
        case BindingKind.SECRET_TEXT:
            pass  # never shown
    return shown


def _queue_name(call: Call, queue_id: str) -> str:
    try:
        return call.store.queues.get(queue_id).name
    except ChangeRefused:
        return queue_id  # deleted by force; the id is all that is left of it


ENDPOINTS = [
    *(Endpoint("GET", f"{path}/settings", settings) for path in SCRIPT),
    *(Endpoint("GET", f"{path}/bindings", bindings) for path in SCRIPT),
    *(Endpoint("GET", f"{path}/tags", get_tags) for path in SCRIPT),
    *(Endpoint("PUT", f"{path}/tags", put_tags) for path in SCRIPT),
]
