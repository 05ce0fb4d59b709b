"""Scripts: upload, look at, delete. Under a dispatch namespace and, plain, under the account."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from control.call import Call, Endpoint, rfc3339
from control.compatibility import show_compatibility
from control.envelope import ApiError, Code, success
from control.javascript_upload import as_parts, is_service_worker
from control.multipart import Part, write_multipart
from control.pagination import decode_after, encode_after, parse_number
from control.publishing import PreparedModule
from control.resources.addresses import SCRIPT, SCRIPTS
from control.script_upload import UPLOAD_BYTES, read_upload
from control.upload_metadata import plan_deployment, show_limits
from model.scripts import ScriptVersion
from runtime.javascript.bundle import decode, is_bundle
from runtime.module_problems import InvalidModule, ScriptFailed
from storage.control_failures import ChangeRefused

_LIST_LIMIT = 1_000
_MOST_FILTERS = 8
#: The name that a module is given back under: what it was called when it was sent is not kept.
_CONTENT_NAME = "main.wasm"
_BOUNDARY = "tenantry-module-7f3a9c"


async def put(call: Call) -> Response:
    """All is checked before the module is compiled, and again in the transaction that makes it the served one:
    until that has committed, the version before is served.
    """
    ref = call.ref
    upload = await read_upload(call)
    deployment = plan_deployment(call.account, ref, upload.metadata)
    call.store.scripts.check(deployment)
    owner = f"{call.account}/{ref.namespace or ''}/{deployment.tenant or ref.script}"

    def seal(name: str, version: int, text: str) -> bytes:
        return call.services.sealer.seal(call.account, ref, name, version, text)

    with call.services.uploads.storing(upload.module) as storing:
        if is_bundle(upload.module):
            # The disk and the sandbox take a few ms each of a small script: it is stored while it is loaded.
            storing.begin()
        prepared = await _prepare(call, upload.module, owner)
        _check_memory(prepared.memory_bytes, deployment.limits)
        digest = await storing.digest()
        with storing.commit(ChangeRefused):
            version = await call.store.scripts.deploy(
                deployment, digest, prepared.handlers, seal, prepared.entrypoints
            )
    startup = {"startup_time_ms": prepared.startup_time_ms, "startup_logs": _show_lines(prepared.lines)}
    return success(_show(version) | startup)


async def list_all(call: Call) -> Response:
    limit = parse_number(call.query, "limit", 1, _LIST_LIMIT, _LIST_LIMIT)
    cursor = call.query.get("cursor", "")
    # By page for clients that know no cursor here: all is on the first.
    if not cursor and parse_number(call.query, "page", 1, 1_000_000, 1) > 1:
        return success([], {"count": 0, "cursor": ""})
    found = await call.store.scripts.page(
        call.namespace,
        after=decode_after(cursor) if cursor else "",
        limit=limit + 1,
        tags=_parse_filter(call.query.get("tags", "")),
    )
    more = encode_after(found[limit - 1].ref.script) if len(found) > limit else ""
    shown = [_show(version) for version in found[:limit]]
    return success(shown, {"count": len(shown), "cursor": more})


async def get(call: Call) -> Response:
    version = call.store.scripts.get(call.ref)
    shown: dict[str, Any] = {
        "created_on": rfc3339(version.created_at_s * 1000),
        "modified_on": rfc3339(version.modified_at_s * 1000),
        "script": _show(version),
    }
    if version.ref.namespace is not None:
        shown["dispatch_namespace"] = version.ref.namespace
    return success(shown)


async def delete(call: Call) -> Response:
    await call.store.scripts.delete(call.ref, force=call.flag("force"))
    return success(None)


async def content(call: Call) -> Response:
    """The modules as they were sent, as a form; a service worker's script that came alone is given back by itself."""
    version = call.store.scripts.get(call.ref)
    module = await asyncio.to_thread(call.services.objects.get, version.module_digest)
    parts, main = [Part(_CONTENT_NAME, _CONTENT_NAME, "application/wasm", module)], _CONTENT_NAME
    if is_bundle(module):
        bundle = decode(module)
        parts, main = as_parts(bundle), bundle.main
        if is_service_worker(bundle) and len(parts) == 1:
            script = Response(parts[0].data, media_type="application/javascript")
            script.headers["etag"] = f'"{version.module_digest}"'
            return script
    boundary = _BOUNDARY
    if boundary.encode() in module:
        # A module made to break out of its part: take a boundary that it can't have known.
        boundary = f"{_BOUNDARY}-{version.module_digest}"
    body = write_multipart(parts, boundary)
    response = Response(body, media_type=f"multipart/form-data; boundary={boundary}")
    # Header values are Latin-1: other names are quoted as in a URL.
    response.headers["cf-entrypoint"] = main if main.isascii() else quote(main)
    response.headers["etag"] = f'"{version.module_digest}"'
    return response


def _check_memory(needed: int, limits: Mapping[str, int]) -> None:
    """Below what it begins with no request could run. Raises ApiError(400)."""
    allowed = limits.get("memory_bytes", needed)
    if allowed < needed:
        raise ApiError(
            400,
            Code.VALIDATION,
            f"limits.memory_mb: {allowed >> 20}; the JavaScript engine and what the worker's top level leaves take"
            f" {-(-needed >> 20)} to begin with",
            "limits.memory_mb",
        )


async def _prepare(call: Call, module: bytes, owner: str) -> PreparedModule:
    try:
        return await call.services.publisher.prepare(module, owner)
    except ScriptFailed as error:
        failed = await call.services.traces.of_refused(error.error, module)
        told = asdict(failed)
        logs = {"startup_logs": _show_lines(told.pop("lines"))}
        raise ApiError(
            400,
            Code.VALIDATION,
            f"main_module: {failed}",
            "main_module",
            meta={"problem": str(error.code), **told, **logs},
        ) from error
    except InvalidModule as error:
        raise ApiError(
            400,
            Code.VALIDATION,
            f"main_module: {error.message}",
            "main_module",
            meta={"problem": str(error.code)},
        ) from error


def _parse_filter(text: str) -> list[tuple[str, bool]]:
    """`production:yes,cust-1:no`."""
    filters: list[tuple[str, bool]] = []
    for item in text.split(",") if text else ():
        tag, _, wanted = item.rpartition(":")
        if not tag or wanted not in ("yes", "no"):
            raise ApiError(
                400, Code.VALIDATION, f"tags: {item[:80]!r}; `tag:yes` or `tag:no` is right", "tags"
            )
        filters.append((tag, wanted == "yes"))
    if len(filters) > _MOST_FILTERS:
        raise ApiError(400, Code.VALIDATION, f"tags: {len(filters)} filters; at most {_MOST_FILTERS}", "tags")
    return filters


def _show(version: ScriptVersion) -> dict[str, Any]:
    return {
        "id": version.ref.script,
        "dispatch_namespace": version.ref.namespace,
        "tenant": version.tenant,
        "tag": version.version,
        "tags": list(version.tags),
        "etag": version.module_digest,
        "deployment_id": version.version,
        "handlers": sorted(version.handlers),
        "limits": show_limits(version.limits),
        "has_assets": False,
        "has_modules": True,
        "logpush": False,
        "tail_consumers": [{"service": name} for name in version.tail_consumers],
        "usage_model": "standard",
        **show_compatibility(version),
        "created_on": rfc3339(version.created_at_s * 1000),
        "modified_on": rfc3339(version.modified_at_s * 1000),
    }


ENDPOINTS = [
    *(Endpoint("GET", path, list_all) for path in SCRIPTS),
    *(Endpoint("PUT", path, put, body_bytes=UPLOAD_BYTES) for path in SCRIPT),
    *(Endpoint("GET", path, get) for path in SCRIPT),
    *(Endpoint("DELETE", path, delete) for path in SCRIPT),
    *(Endpoint("GET", f"{path}/content", content) for path in SCRIPT),
]


def _show_lines(lines: Iterable[tuple[int, str]]) -> list[dict[str, Any]]:
    """As the log of a script shows them: guest-abi's levels, 0 debug … 4 error."""
    return [{"level": level, "text": text} for level, text in lines]
