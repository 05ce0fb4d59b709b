"""DispatchApp: the ASGI entry. One value grows on its way down; failures become one page here.

received → matched → admitted → executed → recorded. Nothing below knows who called.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any, Final

from dispatch.admission import Admission, Permit
from dispatch.hook import Dispatcher, Hook, HookEnv
from dispatch.received import AsgiBody, ReceivedRequest, accept_header, receive_request, take_body
from dispatch.responses import AsgiResponder, StayingVisitor
from dispatch.route_index import RouteIndex
from dispatch.routing import NoRoute
from dispatch.runner import TreeRunner
from dispatch.trusted_proxies import TrustedProxies
from dispatch.workers import AnyWorker, Workers
from model.capabilities import EventContext
from model.errors import PlatformError, PlatformFault, VisitorError
from model.hostname import is_ip_literal
from model.identity import (
    DEFAULT_ACCOUNT,
    NamespaceName,
    RayId,
    ScriptName,
    TenantId,
    VersionId,
    new_ray_id,
)
from model.messages import StreamClosed
from model.observer import EventRecord, Observer
from model.outcome import PAGES, EventOutcome
from runtime.metering import Ending

_log = logging.getLogger("tenantry.dispatch")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_NO_PARAMS: Final[Mapping[str, str]] = {}
#: Code of the page for a hostname or path that nothing answers.
NO_ROUTE: Final = 1108
#: Answers a path of the host itself; None when it is none of its.
HealthAnswer = Callable[[str], tuple[int, bytes] | None]


class DispatchApp:
    """`health(path)` answers /healthz and /readyz, where no tenant has a route for the name. `hops_of(value)`
    verifies a hop header: how many hosts of this platform the request has passed.
    """

    def __init__(
        self,
        index: RouteIndex,
        workers: Workers,
        runner: TreeRunner,
        admission: Admission,
        observer: Observer,
        health: HealthAnswer,
        trusted: TrustedProxies,
        hooks: Mapping[str, tuple[Hook, NamespaceName]],
        hops_of: Callable[[bytes], int],
    ) -> None:
        self._index = index
        self._workers = workers
        self._runner = runner
        self._admission = admission
        self._observer = observer
        self._health = health
        self._trusted = trusted
        self._hooks = hooks
        self._hops_of = hops_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rest = self.begin(scope, receive, send)
        if rest is not None:
            await rest

    def begin(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None] | None:
        """Answer as far as can be done without waiting; None when that was all, else what is to be awaited at once."""
        if scope["type"] != "http":
            return None  # neither WebSockets nor lifespan events are announced to this app
        ray_id = new_ray_id()
        extensions = scope["extensions"]
        visitor = extensions.get("tenantry.visitor") or StayingVisitor()
        responder = AsgiResponder(
            send, scope["method"], ray_id, visitor, put=extensions.get("tenantry.put_whole")
        )
        started = time.monotonic()
        request: ReceivedRequest | None = None
        try:
            request = receive_request(scope, receive, ray_id, self._trusted)
            rest = self._begin(request, responder, visitor, ray_id)
        except (PlatformError, StreamClosed) as error:
            return self._fail(error, request, responder, started, ray_id, scope)
        return None if rest is None else self._end(rest, request, responder, started, ray_id, scope)

    def _begin(
        self, request: ReceivedRequest, responder: AsgiResponder, visitor: Any, ray_id: RayId
    ) -> Coroutine[Any, Any, None] | None:
        routed = self._index.match(request.hostname, request.path, request.headers)
        if isinstance(routed, NoRoute):
            return self._answer_unrouted(request, responder, routed)
        ref = routed.target.script
        if ref is None:
            return self._run_hook(str(routed.target.hook), request, responder, ray_id)
        worker = self._workers.get(ref)
        if worker is None:
            raise VisitorError(
                "there is no worker here", detail=f"a route leads to {ref}, which is not there"
            )
        if "fetch" not in worker.version.handlers:
            raise VisitorError("there is no worker here", detail=f"{ref} has no `fetch` handler")
        responder.max_header_bytes = worker.fetch_limits.response_header_bytes
        if request.body is None:
            permit = self._admission.try_admit(worker.version.tenant, worker.expected_bytes)
            if permit is not None:
                return self._run(worker, request, responder, visitor, ray_id, permit)
        return self._run_later(worker, request, responder, visitor, ray_id)

    async def _run_later(
        self,
        worker: AnyWorker,
        request: ReceivedRequest,
        responder: AsgiResponder,
        visitor: Any,
        ray_id: RayId,
    ) -> None:
        if request.body is not None:
            await take_body(request, worker.fetch_limits.request_body_bytes)
        permit = await self._admission.wait_admit(worker.version.tenant, worker.expected_bytes)
        rest = self._run(worker, request, responder, visitor, ray_id, permit)
        if rest is not None:
            await rest

    def _run(
        self,
        worker: AnyWorker,
        request: ReceivedRequest,
        responder: AsgiResponder,
        visitor: Any,
        ray_id: RayId,
        permit: Permit,
    ) -> Coroutine[Any, Any, None] | None:
        version = worker.version
        try:
            context = EventContext(
                version.account,
                version.ref.namespace,
                version.ref.script,
                version.version,
                version.tenant,
                version.tags,
                ray_id,
                0,
                permit,
                _NO_PARAMS,
                request.client.ip,
                0 if request.hop is None else self._hops_of(request.hop),
                outbound_worker=version.outbound_worker,
                http_protocol=request.client.protocol,
            )
            ending = worker.begin_fetch(request, responder, context, _NO_PARAMS, None, visitor)
        except BaseException:
            permit.release()
            raise
        if isinstance(ending, Ending) and responder.started and not self._runner.has_tree(permit):
            permit.release()
            return None
        return self._finish(ending, request, responder, permit)

    async def _finish(
        self,
        ending: Ending | Coroutine[Any, Any, Ending],
        request: ReceivedRequest,
        responder: AsgiResponder,
        permit: Permit,
    ) -> None:
        try:
            if not isinstance(ending, Ending):
                ending = await ending
            if not responder.started:
                # A body over its limit broke off under the worker's hands: that is the visitor's to know.
                too_large = request.body.failure if isinstance(request.body, AsgiBody) else None
                await responder.send_error(too_large or ending.outcome, accept_header(request.headers))
        finally:
            await self._give_back(permit)

    async def _give_back(self, permit: Permit) -> None:
        """When the last sandbox of its tree has ended."""
        try:
            if self._runner.has_tree(permit):
                await self._runner.wait_for_tree(permit)
        finally:  # also when it is cancelled while it waits
            permit.release()

    async def _end(
        self,
        rest: Coroutine[Any, Any, None],
        request: ReceivedRequest,
        responder: AsgiResponder,
        started: float,
        ray_id: RayId,
        scope: Scope,
    ) -> None:
        try:
            await rest
        except (PlatformError, StreamClosed) as error:
            await self._fail(error, request, responder, started, ray_id, scope)

    async def _run_hook(
        self, name: str, request: ReceivedRequest, responder: AsgiResponder, ray_id: RayId
    ) -> None:
        """A dispatch worker in trusted Python. Its sandboxes are those of the workers that it gets."""
        found = self._hooks.get(name)
        if found is None:
            raise PlatformFault(
                "dispatch failed", detail=f"a route leads to the hook {name!r}, which is not loaded"
            )
        hook, namespace = found
        if request.body is not None:
            await take_body(request, 100 << 20)
        tenant = TenantId("platform")
        permit = self._admission.try_admit(tenant) or await self._admission.wait_admit(tenant)
        try:
            context = EventContext(
                DEFAULT_ACCOUNT,
                None,
                ScriptName(name),
                VersionId("hook"),
                tenant,
                (),
                ray_id,
                0,
                permit,
                _NO_PARAMS,
                request.client.ip,
                0 if request.hop is None else self._hops_of(request.hop),
                http_protocol=request.client.protocol,
            )
            response = await hook.run(request, HookEnv(Dispatcher(self._runner, namespace, context)))
            if response.body is None or isinstance(response.body, bytes):
                await responder.send_whole(response.status, response.headers, response.body or b"")
                return
            try:
                await responder.start(response.status, response.headers)
                while data := await response.body.read():
                    await responder.write(data)
                await responder.end()
            finally:
                response.body.close()
        finally:
            await self._give_back(permit)

    async def _answer_unrouted(
        self, request: ReceivedRequest, responder: AsgiResponder, reason: NoRoute
    ) -> None:
        if request.hostname == "localhost" or is_ip_literal(request.hostname):
            answer = self._health(request.path)
            if answer is not None:
                status, body = answer
                await responder.send_whole(status, [(b"content-type", b"application/json")], body)
                return
        raise VisitorError(
            f"no worker answers for {request.hostname}{request.path[:200]}: {reason.reason}", code=NO_ROUTE
        )

    async def _fail(
        self,
        error: PlatformError | StreamClosed,
        request: ReceivedRequest | None,
        responder: AsgiResponder,
        started: float,
        ray_id: RayId,
        scope: Scope,
    ) -> None:
        """Show the page, and write the one line of a request that no worker has recorded."""
        if isinstance(error, StreamClosed):
            error = PlatformFault(str(error), outcome=EventOutcome.CANCELED)
        elif error.detail:
            _log.warning("ray %s: %s (%s)", ray_id, error.message, error.detail)
        accept = accept_header(scope["headers"])
        await responder.send_error(error, accept)
        page = PAGES[error.outcome]
        self._observer.completed(
            EventRecord(
                ray_id,
                "fetch",
                None,
                "",
                "",
                error.outcome,
                responder.status or error.status or page.status,
                0,
                int((time.monotonic() - started) * 1e6),
                0,
                0,
                0,
                responder.bytes_out,
                scope["method"],
                "" if request is None else request.hostname,
                "" if request is None else request.path,
                error.message,
            )
        )
