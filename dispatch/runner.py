"""Run a worker for another worker: service bindings, dispatch, outbound workers, inside the caller's tree.

A nested sandbox takes a slot of the tree's permit at once or fails with load_shed; it never waits, so trees
cannot deadlock. Its response streams to the caller through a pipe; when the caller lets go of it, the nested
event is ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from dispatch.outbound_in_force import InForce, check_declared, in_force
from dispatch.remote_worker import RemoteWorker
from dispatch.responses import check_headers
from dispatch.workers import AnyWorker, Workers
from model.call_egress import narrowed
from model.capabilities import CallOptions, EventContext, TreePermit
from model.errors import LoadShed, OperationError, OperationErrorCode
from model.hostname import InvalidHostname, parse_host
from model.identity import RayId
from model.messages import (
    Client,
    Entry,
    Headers,
    IncomingRequest,
    OutgoingRequest,
    RequestChanges,
    Response,
    StreamClosed,
)
from model.outcome import EventOutcome
from model.scripts import OutboundWorker, ScriptRef, ScriptVersion
from runtime.streams import Pipe

MAX_DEPTH: Final = 16
_NOT_FOUND: Final = "Worker not found"


class PipeResponder:
    """A Responder whose receiver is another worker. `response` is set when the worker has started it."""

    def __init__(self, headless: bool, max_header_bytes: int) -> None:
        self.started = False
        self.status = 0
        self.bytes_out = 0
        self.response: asyncio.Future[Response | RequestChanges] = asyncio.get_running_loop().create_future()
        self._headless = headless
        self._max_header_bytes = max_header_bytes
        self._pipe = Pipe()
        self.leave: Callable[[], None] = _nothing

    async def start(self, status: int, headers: Headers) -> None:
        checked = check_headers(status, headers, self._max_header_bytes)
        self.started = True
        self.status = status
        self._give(Response(status, checked, _NestedBody(self._pipe, self)))

    async def write(self, data: bytes) -> None:
        if self._headless or not data:
            return
        await self._pipe.write(data)
        self.bytes_out += len(data)

    async def end(self) -> None:
        self._pipe.end()

    async def send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        self.put_whole(status, headers, body)

    def put_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        checked = check_headers(status, headers, self._max_header_bytes)
        self.started = True
        self.status = status
        self.bytes_out = 0 if self._headless else len(body)
        self._pipe.end()
        self._give(Response(status, checked, b"" if self._headless else body))
        return True

    def abort(self) -> None:
        self._pipe.fail(StreamClosed("the worker failed in the middle of its response"))

    def _give(self, response: Response | RequestChanges) -> None:
        if self.response.cancelled():
            raise StreamClosed("the caller does not wait for the response any more")
        self.response.set_result(response)

    @property
    def ended(self) -> bool:
        return self._pipe.ended


class _OutboundPipe(PipeResponder):
    """An OutboundResponder: the worker answers for another's request, or lets it go on."""

    def go_on(self, changes: RequestChanges) -> None:
        self.started = True
        self._pipe.end()
        self._give(changes)


class _NestedBody:
    """The ByteSource that the caller reads; closing it early ends the nested event."""

    __slots__ = ("_pipe", "_responder")

    def __init__(self, pipe: Pipe, responder: PipeResponder) -> None:
        self._pipe = pipe
        self._responder = responder

    async def read(self) -> bytes:
        return await self._pipe.read()

    def close(self) -> None:
        if not self._pipe.ended:
            self._responder.leave()
        self._pipe.close()


class _Caller:
    """The Visitor of a nested event: the worker that called it."""

    __slots__ = ("left", "on_leave")

    def __init__(self) -> None:
        self.left = False
        self.on_leave: Callable[[], None] | None = None

    def leave(self) -> None:
        if not self.left:
            self.left = True
            if self.on_leave is not None:
                self.on_leave()


def _nothing() -> None:
    return


class TreeRunner:
    """The WorkerRunner of a process."""

    def __init__(self) -> None:
        self._workers: Workers | None = None
        self._tasks: dict[TreePermit, set[asyncio.Task[None]]] = {}

    def use(self, workers: Workers) -> None:
        """Workers are lent this runner, so it comes first and learns of them here, once, at start."""
        self._workers = workers

    async def run(
        self, ref: ScriptRef, request: OutgoingRequest, caller: EventContext, options: CallOptions
    ) -> Response:
        """See model.capabilities.WorkerRunner."""
        worker = self.find(ref, options.entry)
        stands = in_force(worker.version, caller, options.outbound_worker)
        if options.outbound_params:
            check_declared(stands.worker, options.outbound_params)
        responder = PipeResponder(request.method == "HEAD", worker.fetch_limits.response_header_bytes)
        answer = await self._start(worker, request, responder, caller, options, stands)
        if isinstance(answer, RequestChanges):
            raise AssertionError("only an _OutboundPipe is told changes")
        return answer

    async def run_outbound(
        self,
        worker: AnyWorker,
        outbound: OutboundWorker,
        request: OutgoingRequest,
        asker: EventContext,
        params: Mapping[str, str],
    ) -> Response | RequestChanges:
        """What an outbound worker answers for a request of `asker`, or how it changes it. Raises as `run`."""
        responder = _OutboundPipe(request.method == "HEAD", worker.fetch_limits.response_header_bytes)
        # Another process must know who it is that is asked; here, it has nobody before its own way out.
        named = outbound if isinstance(worker, RemoteWorker) else None
        options = CallOptions(params=params)
        return await self._start(worker, request, responder, asker, options, InForce(named, asker))

    def find(self, ref: ScriptRef, entry: Entry | None = None) -> AnyWorker:
        """Raises OperationError(worker_not_found), also when there is nothing at `entry`."""
        worker = self._workers.get(ref) if self._workers is not None else None
        why = "" if worker is None else no_entry(worker.version, entry)
        if worker is None or why is not None:
            raise OperationError(OperationErrorCode.WORKER_NOT_FOUND, f"{_NOT_FOUND}: {ref.script}{why}")
        return worker

    async def _start(
        self,
        worker: AnyWorker,
        request: OutgoingRequest,
        responder: PipeResponder,
        caller: EventContext,
        options: CallOptions,
        stands: InForce,
    ) -> Response | RequestChanges:
        if caller.depth + 1 > MAX_DEPTH:
            raise OperationError(
                OperationErrorCode.LIMIT_EXCEEDED, f"workers called each other more than {MAX_DEPTH} deep"
            )
        incoming = _incoming(request, caller, options.entry)
        context = _context(worker.version, caller, options, stands)
        try:
            caller.permit.nested()
        except LoadShed as shed:
            raise OperationError(OperationErrorCode.LOAD_SHED, shed.message) from shed
        visitor = _Caller()
        responder.leave = visitor.leave
        task = asyncio.get_running_loop().create_task(
            self._execute(worker, incoming, responder, context, options, visitor)
        )
        tasks = self._tasks.setdefault(caller.permit, set())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        try:
            return await asyncio.shield(responder.response)
        except asyncio.CancelledError:
            responder.response.cancel()
            visitor.leave()
            raise

    async def _execute(
        self,
        worker: AnyWorker,
        request: IncomingRequest,
        responder: PipeResponder,
        context: EventContext,
        options: CallOptions,
        visitor: _Caller,
    ) -> None:
        try:
            ending = await worker.fetch(request, responder, context, options.params, options.limits, visitor)
            if not responder.started and not responder.response.done():
                code = (
                    OperationErrorCode.LOAD_SHED
                    if ending.outcome is EventOutcome.LOAD_SHED
                    else OperationErrorCode.WORKER_FAILED
                )
                responder.response.set_exception(OperationError(code, f"{context.script}: {ending.told}"))
        except Exception as error:
            # Whatever it was, the caller must not wait for ever; the session logs it as the host's fault.
            if not responder.response.done():
                responder.response.set_exception(error)
            else:
                responder.abort()
        finally:
            context.permit.release_nested()

    async def wait_for_tree(self, permit: TreePermit) -> None:
        """Until every nested sandbox of the tree has ended: then its permit may be released."""
        try:
            # Looked up each time: one that goes on after its response may call yet another worker.
            while tasks := self._tasks.get(permit):
                await asyncio.wait(tasks)
        finally:
            self._tasks.pop(permit, None)

    def has_tree(self, permit: TreePermit) -> bool:
        return permit in self._tasks


def _context(
    version: ScriptVersion, caller: EventContext, options: CallOptions, stands: InForce
) -> EventContext:
    return EventContext(
        version.account,
        version.ref.namespace,
        version.ref.script,
        version.version,
        version.tenant,
        version.tags,
        caller.ray_id,
        caller.depth + 1,
        caller.permit,
        {**caller.outbound_params, **options.outbound_params},
        caller.client_ip,
        caller.hops,
        caller,
        stands.worker,
        stands.asker,
        narrowed(caller.egress_hosts, options.egress_hosts),
        budget=caller.budget if options.shares_budget else None,
        http_protocol=caller.http_protocol,
        untraced=caller.untraced,
    )


def no_entry(version: ScriptVersion, entry: Entry | None) -> str | None:
    """Why a call can't go there, to follow the worker's name; None: it can. Pure."""
    if entry is None or (entry.name is None and entry.call is None):
        return None if "fetch" in version.handlers else ": it has no `fetch` handler"
    entrypoints = version.entrypoints
    if entrypoints is None:
        return ": it is not in JavaScript, and so it has `fetch` alone, without entry points and methods"
    if entry.name is not None and entry.name not in entrypoints:
        there = ", ".join(entrypoints) or "none"
        return f": it has no entry point {entry.name!r}; there are {there}"
    return None


def _incoming(request: OutgoingRequest, caller: EventContext, entry: Entry | None) -> IncomingRequest:
    """The called worker's view of a subrequest. Raises OperationError(invalid_argument)."""
    try:
        parts = urlsplit(request.url)
        host = parse_host(parts.netloc.encode("ascii"))
    except (ValueError, InvalidHostname) as error:
        raise OperationError(OperationErrorCode.INVALID_ARGUMENT, f"request.url: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise OperationError(
            OperationErrorCode.INVALID_ARGUMENT, "request.url: an absolute http or https URL is right"
        )
    headers = [*request.headers, (b"host", parts.netloc.encode("ascii"))]
    length = len(request.body) if isinstance(request.body, bytes) else None
    client = Client(caller.client_ip, parts.scheme == "https", RayId(caller.ray_id), caller.http_protocol)
    path = parts.path or "/"
    return IncomingRequest(
        request.method, request.url, host.name, path, headers, request.body, length, client, entry
    )
