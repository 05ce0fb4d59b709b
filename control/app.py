"""The control listener's ASGI app: who may ask, which endpoint answers, and the envelope around whatever happens.

Addresses are matched as they were sent and decoded after that: a KV key may hold "/", which arrives as `%2F`.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from control.authentication import authenticate
from control.call import Call, Endpoint, too_large
from control.deletions import finish_deletions
from control.envelope import ApiError, Code, failure, translate
from control.host_check import Refusal
from control.resources import (
    accounts,
    analytics,
    audit,
    d1,
    d1_transfers,
    events,
    health,
    hostnames,
    kv,
    kv_values,
    logs,
    machines,
    materials,
    namespaces,
    plain_workers,
    policy,
    queue_consumers,
    queue_messages,
    queues,
    root_key,
    routes,
    schedules,
    script_settings,
    scripts,
    secrets,
    tenants,
)
from control.services import ControlServices
from model.errors import PlatformFault

LOG = logging.getLogger("tenantry.control")

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *accounts.ENDPOINTS,
    *namespaces.ENDPOINTS,
    *tenants.ENDPOINTS,
    *scripts.ENDPOINTS,
    *script_settings.ENDPOINTS,
    *plain_workers.ENDPOINTS,
    *secrets.ENDPOINTS,
    *logs.ENDPOINTS,
    *events.ENDPOINTS,
    *schedules.ENDPOINTS,
    *routes.ENDPOINTS,
    *hostnames.ENDPOINTS,
    *policy.ENDPOINTS,
    *materials.ENDPOINTS,
    *root_key.ENDPOINTS,
    *audit.ENDPOINTS,
    *analytics.ENDPOINTS,
    *kv.ENDPOINTS,
    *kv_values.ENDPOINTS,
    *queues.ENDPOINTS,
    *queue_messages.ENDPOINTS,
    *queue_consumers.ENDPOINTS,
    *d1.ENDPOINTS,
    *d1_transfers.ENDPOINTS,
    *machines.ENDPOINTS,
    *health.ENDPOINTS,
)
_OPEN_PATHS: Final = frozenset(endpoint.path for endpoint in ENDPOINTS if endpoint.is_open)
_TOKEN: Final = "tenantry.token"  # noqa: S105 - a key of the scope


def create_control_app(services: ControlServices) -> Starlette:
    """Answers any request with an envelope (values and metrics apart); raises nothing."""
    by_path: dict[str, dict[str, Endpoint]] = defaultdict(dict)
    for endpoint in ENDPOINTS:
        by_path[endpoint.path][endpoint.method] = endpoint

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await finish_deletions(services)
        yield

    app = Starlette(
        # Without `methods` a Route takes all: which are right is for `_endpoint` to say, in an envelope.
        routes=[Route(path, _PathApp(services, methods)) for path, methods in by_path.items()],
        middleware=[Middleware(_Gate, services=services)],
        exception_handlers={HTTPException: _no_route},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


class _Gate:
    """Host, Origin and token come before anything else, so that nothing is told to who may not ask."""

    def __init__(self, app: ASGIApp, services: ControlServices) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope = self._admit(scope)
            except Exception as error:  # whatever it is, it becomes an envelope
                await _failed(error, scope)(scope, receive, send)
                return
        elif scope["type"] != "lifespan":
            return  # a WebSocket: not accepting it refuses it
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> Scope:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        refusal = self._services.hosts.check(
            [value for name, value in headers if name == b"host"],
            [value for name, value in headers if name == b"origin"],
            tls=scope["scheme"] == "https",
        )
        if refusal is not None:
            raise ApiError(421 if refusal is Refusal.HOST else 403, Code.HOST, refusal.value)
        raw: bytes | None = scope.get("raw_path")
        path = scope["path"] if raw is None else raw.partition(b"?")[0].decode("latin-1")
        admitted = {**scope, "path": path, "root_path": ""}
        if path not in _OPEN_PATHS:
            credentials = [value for name, value in headers if name == b"authorization"]
            admitted[_TOKEN] = authenticate(self._services.tokens, credentials)
        return admitted


class _PathApp:
    """All methods of one path. A class, since Starlette gives only functions a list of methods."""

    def __init__(self, services: ControlServices, methods: Mapping[str, Endpoint]) -> None:
        self._services = services
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as error:  # whatever it is, it becomes an envelope
            response = _failed(error, scope)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self._methods.get(method)
        if endpoint is None:
            allowed = ", ".join(sorted(self._methods))
            raise ApiError(
                405,
                Code.METHOD,
                f"method {method[:20]} is not allowed here; {allowed} are",
                headers={"allow": allowed},
            )
        params = {name: _decode(name, value) for name, value in request.path_params.items()}
        account = params.get("account")
        if account is not None and account not in self._services.accounts:
            raise ApiError(
                404,
                Code.NO_ROUTE,
                f"Could not route to account {account[:80]!r}: this host has"
                f" {', '.join(sorted(self._services.accounts))}",
            )
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > endpoint.body_bytes:
            raise too_large(endpoint.body_bytes)
        call = Call(self._services, request, params, endpoint.body_bytes, request.scope.get(_TOKEN))
        try:
            return await endpoint.handler(call)
        finally:
            call.release()


def _decode(name: str, text: str) -> str:
    """Once, strictly. Raises ApiError(400)."""
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ApiError(
            400, Code.VALIDATION, f"{name}: the address is not %-encoded UTF-8 there", name
        ) from None


async def _no_route(request: Request, error: Exception) -> Response:
    path = request.scope["path"]
    return failure(
        ApiError(404, Code.NO_ROUTE, f"Could not route to {path[:200]}, perhaps the address is misspelled")
    )


def _failed(error: Exception, scope: Scope) -> Response:
    known = translate(error)
    if known is None:
        LOG.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
        return failure(ApiError(500, Code.INTERNAL, "the host failed; its log has the reason"))
    if isinstance(error, PlatformFault):
        LOG.error("%s %s: %s (%s)", scope["method"], scope["path"], error.message, error.detail)
    return failure(known)
