"""One event's way through a sandbox: what it is given, what becomes of its answer, how it ends, its record.

The order of closing is here and nowhere else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

from model.capabilities import EventContext
from model.errors import OperationError, PlatformError, PlatformFault
from model.limits import Limits
from model.messages import (
    IncomingRequest,
    OutboundResponder,
    RequestChanges,
    Responder,
    StreamClosed,
    Visitor,
)
from model.observer import EventRecord, LogLine
from model.outcome import PAGES, EventOutcome
from model.tasks import in_task
from runtime import metering
from runtime.abi.core_module import codec, values
from runtime.abi.core_module.codec import GuestException, GuestResponse
from runtime.abi.core_module.wasi import GuestExit
from runtime.aot_cache import ImageUnavailable
from runtime.capi.failures import GuestTrap, PoolExhausted
from runtime.capi.guest import AbiViolation
from runtime.fiber import Stopped
from runtime.instance_pool import LoadedModule
from runtime.memory_budget import expected_bytes
from runtime.metering import Ending
from runtime.running import Running
from runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from runtime.worker import Worker

_OK: Final = Ending(EventOutcome.OK)
_RESULT_BYTES: Final = 1 << 20
#: A poll on the loop is preempted after a tick, so one that lasted this long was in an instruction that can't
#: be (`memory.fill` of 120 MB takes 65 ms): a script that did so begins in the pool lane for a while.
LONG_POLL_NS: Final = 8_000_000
OFF_LOOP_S: Final = 60.0


class Event:
    """What all kinds of events have in common; `FetchEvent` and `BackgroundEvent` say the rest."""

    __slots__ = (
        "context",
        "host",
        "limits",
        "passing_on",
        "request",
        "responder",
        "running",
        "sandbox",
        "started",
        "trigger",
        "visitor",
        "worker",
    )

    def __init__(
        self,
        worker: Worker,
        trigger: str,
        context: EventContext,
        limits: Limits,
        request: IncomingRequest | None = None,
        responder: Responder | None = None,
        visitor: Visitor | None = None,
    ) -> None:
        self.worker = worker
        self.host = worker.host
        self.trigger = trigger
        self.context = context
        self.limits = limits
        self.request = request
        self.responder = responder
        self.visitor = visitor
        self.started = time.monotonic()
        self.sandbox: Sandbox | None = None
        self.running: Running | None = None
        #: The task that passes a body on after the guest is gone: dooming cancels it.
        self.passing_on: asyncio.Task[Any] | None = None

    def encode(self, sandbox: Sandbox) -> bytes:
        """What the handler is given."""
        raise NotImplementedError

    def finish(self, sandbox: Sandbox, result: int) -> Awaitable[None] | None:
        """Take what the handler returned: at once, or in what is to be awaited."""
        raise NotImplementedError

    def run(self) -> Coroutine[Any, Any, Ending]:
        """To the event's end, its record included."""
        pool, digest = self.host.pool, self.worker.version.module_digest
        loaded = pool.get(digest) or pool.load_small(digest)
        return self._load_and_run() if loaded is None else self._run(loaded)

    async def _load_and_run(self) -> Ending:
        try:
            loaded = await self.host.pool.load(self.worker.version.module_digest)
        except ImageUnavailable as error:
            raise PlatformFault("the worker's code can't be loaded now", detail=str(error)) from error
        return await self._run(loaded)

    async def _run(self, loaded: LoadedModule) -> Ending:
        loaded.users += 1
        try:
            ending = await self._run_loaded(loaded)
        finally:
            loaded.users -= 1
            if loaded.evicted:
                loaded.close_if_unused()
        self.report(ending)
        return ending

    async def _run_loaded(self, loaded: LoadedModule) -> Ending:
        host, worker, limits = self.host, self.worker, self.limits
        if loaded.is_javascript and worker.told_bindings is None:
            worker.tell_bindings()
        sandbox = self.sandbox = Sandbox(
            host.engine,
            host.lanes,
            limits,
            self.context,
            worker.env,
            worker.variables,
            host.operations,
            self.responder,
            self._response_ended,
            worker.version.trusted,
            self.started < worker.off_loop_until_s,
        )
        self.running = host.running.add(sandbox, self, self.started + limits.wall_ms / 1000)
        visitor = self.visitor
        ending = _OK
        try:
            if visitor is not None:
                visitor.on_leave = self._visitor_left
                if visitor.left:
                    raise Stopped(metering.CANCELED)
            result = await sandbox.run(
                loaded.pre, self.trigger, self.encode(sandbox), initialize=loaded.initialize
            )
            rest = self.finish(sandbox, result)
            if rest is not None:
                await rest
        except Stopped as stopped:
            ending = metering.ending_of_stop(stopped.why, limits, sandbox.guest.cpu_ns)
        except (GuestTrap, AbiViolation, PoolExhausted, GuestExit, GuestException) as failure:
            ending = metering.ending_of_failure(failure, sandbox.memory_now(), limits)
        except StreamClosed as closed:
            ending = Ending(EventOutcome.RESPONSE_STREAM_DISCONNECTED, str(closed))
        except PlatformError as error:
            ending = Ending(error.outcome, error.message)
        except OperationError as error:  # of a source that the host passed on
            ending = Ending(EventOutcome.EXCEPTION, f"{error.code.value}: {error.message}")
        except asyncio.CancelledError:
            task = self.passing_on
            why = sandbox.guest.doomed
            if task is None or why is None:
                raise
            if task.uncancel() > 0:
                raise  # somebody else cancelled it too
            ending = metering.ending_of_stop(why, limits, sandbox.guest.cpu_ns)
        finally:
            running = self.running
            host.running.remove(running)
            self.running = None  # it refers to this event: without the ring no collector is needed
            if visitor is not None:
                visitor.on_leave = None
            if sandbox.guest.longest_ns > LONG_POLL_NS:
                worker.off_loop_until_s = time.monotonic() + OFF_LOOP_S
            await sandbox.close()
            host.running.gone(running)
            if sandbox.touched or worker.expected_bytes:
                worker.expected_bytes = expected_bytes(worker.expected_bytes, sandbox.touched)
        responder = self.responder
        unfinished = responder is not None and responder.started and not sandbox.session.response_ended
        if responder is not None and unfinished:
            responder.abort()
        return ending

    # -- what can happen meanwhile -------------------------------------------------------------------

    def doom(self, why: str) -> None:
        """End the event: the guest at its next tick, or the passing on of its body."""
        sandbox = self.sandbox
        if sandbox is None or sandbox.guest.doomed is not None:
            return
        sandbox.doom(why)
        if self.passing_on is not None:
            self.passing_on.cancel()

    def _visitor_left(self) -> None:
        self.doom(metering.CANCELED)

    def _response_ended(self) -> None:
        """The visitor has all of it: leaving cancels nothing now, and the rest is background work."""
        if self.visitor is not None:
            self.visitor.on_leave = None
        if self.running is not None:
            self.running.give_until(time.monotonic() + self.limits.background_ms / 1000, metering.BACKGROUND)

    # -- the record ----------------------------------------------------------------------------------

    def drain_lines(self) -> None:
        sandbox = self.sandbox
        if sandbox is None or not sandbox.io.lines:
            return
        context, observer = self.context, self.host.observer
        now_ms = time.time_ns() // 1_000_000
        for level, text in sandbox.take_lines():
            line = text.decode("utf-8", "replace")
            observer.logged(_line(context, now_ms, level, line))

    def report(self, ending: Ending) -> None:
        sandbox, context, request, responder = self.sandbox, self.context, self.request, self.responder
        if sandbox is None:
            return
        if sandbox.io.lines:
            self.drain_lines()
        if sandbox.io.dropped:
            self._note(f"{sandbox.io.dropped} log lines were over this event's limits and were dropped", 3)
        if ending.message and ending.outcome is not EventOutcome.CANCELED:
            self._note(f"{ending.outcome}: {ending.message}", 4)
        status = 0
        if responder is not None:
            status = responder.status if responder.started else PAGES[ending.outcome].status
        self.host.observer.completed(
            EventRecord(
                context.ray_id,
                self.trigger,
                context.namespace,
                context.script,
                context.tenant,
                ending.outcome,
                status,
                sandbox.guest.cpu_ns // 1000,
                int((time.monotonic() - self.started) * 1e6),
                sandbox.peak_memory,
                sandbox.session.subrequests,
                _bytes_in(request),
                0 if responder is None else responder.bytes_out,
                "" if request is None else request.method,
                "" if request is None else request.hostname,
                "" if request is None else request.path,
                ending.message,
                context.depth,
            )
        )

    def _note(self, text: str, level: int) -> None:
        self.host.observer.logged(_line(self.context, time.time_ns() // 1_000_000, level, text))


class FetchEvent(Event):
    """A visitor's request, or another worker's."""

    __slots__ = ("_body_stream", "_given", "_params", "_to")

    def __init__(
        self,
        worker: Worker,
        context: EventContext,
        limits: Limits,
        request: IncomingRequest,
        params: Mapping[str, str],
        responder: Responder,
        visitor: Visitor | None,
    ) -> None:
        super().__init__(worker, "fetch", context, limits, request, responder, visitor)
        self._given = request
        self._params = params
        self._to = responder
        self._body_stream: int | None = None

    def encode(self, sandbox: Sandbox) -> bytes:
        body, body_stream = self._given.body, None
        if body is not None and not isinstance(body, bytes):
            body_stream = self._body_stream = sandbox.session.lend_stream(body)
        worker = self.worker
        return codec.encode_request(
            self._given, worker.env.vars, self._params, body_stream, worker.told_bindings
        )

    def finish(self, sandbox: Sandbox, result: int) -> Awaitable[None] | None:
        """Make of what the handler returned the end of the response."""
        if result == 0:
            return self._settle(sandbox)
        response = codec.decode_response(sandbox.read_result(result, codec.RESPONSE_BYTES))
        responder = self._to
        if responder.started:
            raise AbiViolation("`fetch` returned a Response after it had started to stream one")
        if response.changes is not None:
            self._go_on(sandbox, response.changes)
            return None
        if response.body_stream is not None:
            return self._pass_on(sandbox, response, response.body_stream)
        if not responder.put_whole(response.status, response.headers, response.body):
            return self._send(sandbox, response)
        sandbox.session.response_ended = True
        return None

    def _go_on(self, sandbox: Sandbox, changes: RequestChanges) -> None:
        """An outbound worker lets the request go on, with the body that came with it."""
        responder, session = self._to, sandbox.session
        if not isinstance(responder, OutboundResponder):
            raise AbiViolation("`continue`: only an outbound worker may return it; a Response is right here")
        if self._body_stream is not None:
            try:
                session.give_back(self._body_stream)
            except OperationError as error:
                raise AbiViolation(f"`continue`: the request's body: {error.message}") from error
        responder.go_on(changes)
        session.response_ended = True

    async def _send(self, sandbox: Sandbox, response: GuestResponse) -> None:
        await self._begin_to_wait(sandbox)
        await self._to.send_whole(response.status, response.headers, response.body)
        sandbox.session.response_ended = True

    async def _settle(self, sandbox: Sandbox) -> None:
        """The guest has streamed its response."""
        await self._begin_to_wait(sandbox)
        responder, session = self._to, sandbox.session
        await session.response_settled()
        if not responder.started:
            raise AbiViolation("`fetch` returned 0 without having started a response")
        if not session.response_ended:
            await responder.end()
            session.response_ended = True

    async def _pass_on(self, sandbox: Sandbox, response: GuestResponse, stream_id: int) -> None:
        await self._begin_to_wait(sandbox)
        responder, session = self._to, sandbox.session
        try:
            source = session.borrow_stream(stream_id)
        except OperationError as error:
            raise AbiViolation(f"Response: `body_stream`: {error.message}") from error
        await sandbox.close_guest()
        await responder.start(response.status, response.headers)
        while data := await source.read():
            await responder.write(data)
        await responder.end()
        session.response_ended = True

    async def _begin_to_wait(self, sandbox: Sandbox) -> None:
        """From here on it is this task that waits, for a slow visitor or source: dooming cancels it."""
        self.passing_on = await in_task()
        if sandbox.guest.doomed is not None:
            raise Stopped(sandbox.guest.doomed)


class BackgroundEvent(Event):
    """A batch of messages or a cron tick."""

    __slots__ = ("_value", "answer")

    def __init__(
        self, worker: Worker, context: EventContext, handler: str, value: Mapping[str, object]
    ) -> None:
        super().__init__(worker, handler, context, worker.background_limits)
        self._value = value
        self.answer: object = None

    @property
    def cpu_us(self) -> int:
        return 0 if self.sandbox is None else self.sandbox.guest.cpu_ns // 1000

    def encode(self, sandbox: Sandbox) -> bytes:
        bindings = self.worker.told_bindings
        return values.encode(self._value if bindings is None else {**self._value, "env": bindings})

    def finish(self, sandbox: Sandbox, result: int) -> None:
        if result:
            self.answer = codec.decode_answer(sandbox.read_result(result, _RESULT_BYTES))


def _line(context: EventContext, at_ms: int, level: int, text: str) -> LogLine:
    return LogLine(at_ms, level, text, context.ray_id, context.namespace, context.script, context.tenant)


def _bytes_in(request: IncomingRequest | None) -> int:
    if request is None or request.body is None:
        return 0
    if isinstance(request.body, bytes):
        return len(request.body)
    return int(getattr(request.body, "bytes_in", 0))
