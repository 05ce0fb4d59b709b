"""What clients ask of plain scripts around an upload, in Cloudflare's words: services, deployments, domains.

There are no services, and no versions that wait for their deployment: an upload is live at once. A client that is told
so (10090) uploads with one PUT, as it does a new worker. Source: what wrangler 4 sends and needs back.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from starlette.responses import Response

from control.call import Call, Endpoint, rfc3339
from control.envelope import ApiError, Code, success
from control.resources.addresses import SCRIPT, WORKERS
from control.route_request import parse_route_pattern
from model.scripts import Route, ScriptRef, Target

_NO_WORKERS_DEV: Final = (
    'there is no workers.dev here: `"workers_dev": false` in the worker\'s configuration is right, and its hostnames'
    ' as custom domains: `"routes": [{"pattern": "shop.example", "custom_domain": true}]`'
)
_PLAIN: Final = f"{WORKERS}/scripts/{{script}}"


class Domain(msgspec.Struct):
    hostname: str
    zone_id: str | None = None
    zone_name: str | None = None


DomainList = Annotated[list[Domain], msgspec.Meta(max_length=100)]


class Domains(msgspec.Struct):
    origins: DomainList


class Subdomain(msgspec.Struct):
    enabled: bool = False
    previews_enabled: bool = False


async def service(call: Call) -> Response:
    raise ApiError(
        404,
        Code.SERVICE_MISSING,
        f"there is no service {call.ref.script!r}: this host has scripts, of which an upload is live at once",
    )


async def delete_service(call: Call) -> Response:
    """As some clients delete a plain script."""
    await call.store.scripts.delete(call.ref, force=call.flag("force"))
    return success(None)


async def deployments(call: Call) -> Response:
    """One: what is served."""
    version = call.store.scripts.get(call.ref)
    shown = {
        "id": version.version,
        "source": "api",
        "strategy": "percentage",
        "author_email": "",
        "created_on": rfc3339(version.modified_at_s * 1000),
        "versions": [{"version_id": version.version, "percentage": 100}],
    }
    return success({"deployments": [shown]})


async def worker(call: Call) -> Response:
    version = call.store.scripts.get(call.ref)
    shown = {
        "id": version.ref.script,
        "name": version.ref.script,
        "tags": list(version.tags),
        "created_on": rfc3339(version.created_at_s * 1000),
        "updated_on": rfc3339(version.modified_at_s * 1000),
        "subdomain": {"enabled": False, "previews_enabled": False},
    }
    return success(shown)


async def subdomain(call: Call) -> Response:
    raise ApiError(404, Code.NO_WORKERS_DEV, _NO_WORKERS_DEV)


async def get_subdomain(call: Call) -> Response:
    call.store.scripts.get(call.ref)
    return success({"enabled": False, "previews_enabled": False})


async def put_subdomain(call: Call) -> Response:
    """What is off stays off."""
    wanted = await call.json(Subdomain)
    if wanted.enabled or wanted.previews_enabled:
        raise ApiError(
            400, Code.NO_WORKERS_DEV, _NO_WORKERS_DEV, "enabled" if wanted.enabled else "previews_enabled"
        )
    return await get_subdomain(call)


async def domain_changes(call: Call) -> Response:
    """What `put_domains` would do with these."""
    call.store.scripts.get(call.ref)
    added, kept, conflicting = await _compare(call, await call.json(DomainList, "domains"))
    return success(
        {
            "added": [{"hostname": hostname} for hostname in added],
            "updated": [{"hostname": hostname, "modified": False} for hostname in kept],
            "removed": [],
            "conflicting": [{"hostname": hostname} for hostname in conflicting],
        }
    )


async def put_domains(call: Call) -> Response:
    """Lead each hostname to the script. One that leads elsewhere is refused before anything is changed; none that led
    here before is taken away, since routes are made by others too.
    """
    call.store.scripts.get(call.ref)
    added, kept, conflicting = await _compare(call, (await call.json(Domains)).origins)
    if conflicting:
        raise ApiError(
            409,
            Code.ROUTE_TIE,
            f"origins: {conflicting[0]!r} leads to something else; delete that route first, nothing was changed",
            "origins",
        )
    for hostname in added:
        await call.store.routes.create(Route("", hostname, "", (), Target(script=call.ref)))
    return success([{"hostname": hostname, "service": call.ref.script} for hostname in (*added, *kept)])


async def _compare(call: Call, domains: list[Domain]) -> tuple[list[str], list[str], list[str]]:
    """Hostnames that lead nowhere yet, that lead to the script, and that lead elsewhere."""
    added: list[str] = []
    kept: list[str] = []
    conflicting: list[str] = []
    target = Target(script=ScriptRef(None, call.ref.script))
    for index, domain in enumerate(domains):
        pattern = parse_route_pattern(domain.hostname, f"origins[{index}].hostname")
        found, _ = await call.store.routes.page(pattern, -1, 0)
        whole = [
            record.route for record in found if not record.route.path_prefix and not record.route.headers
        ]
        if not whole:
            added.append(pattern)
        else:
            (kept if whole[0].target == target else conflicting).append(pattern)
    return list(dict.fromkeys(added)), list(dict.fromkeys(kept)), list(dict.fromkeys(conflicting))


ENDPOINTS = [
    Endpoint("GET", f"{WORKERS}/services/{{script}}", service),
    Endpoint("DELETE", f"{WORKERS}/services/{{script}}", delete_service),
    Endpoint("GET", f"{WORKERS}/workers/{{script}}", worker),
    Endpoint("GET", f"{WORKERS}/subdomain", subdomain),
    *(Endpoint("GET", f"{path}/deployments", deployments) for path in SCRIPT),
    Endpoint("GET", f"{_PLAIN}/subdomain", get_subdomain),
    Endpoint("POST", f"{_PLAIN}/subdomain", put_subdomain),
    Endpoint("POST", f"{_PLAIN}/domains/changeset", domain_changes),
    Endpoint("PUT", f"{_PLAIN}/domains/records", put_domains),
]
