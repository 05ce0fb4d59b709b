"""One event's way through a sandbox: its beginning, how it ends, its record.

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
from model.messages import IncomingRequest, Responder, StreamClosed, Visitor
from model.observer import EventRecord, LogLine
from model.outcome import PAGES, EventOutcome
from model.traces import EventTrace
from runtime import metering
from runtime.abi.core_module.codec import GuestException
from runtime.abi.core_module.host_calls import ERROR, UNCAUGHT
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
from runtime.tracing import TraceNotes

if TYPE_CHECKING:
    from runtime.worker import Worker

_OK: Final = Ending(EventOutcome.OK)
#: A poll on the loop is preempted after a tick, so one that lasted this long was in an instruction that can't
#: be (`memory.fill` of 120 MB takes 65 ms): a script that did so begins in the pool lane for a while.
LONG_POLL_NS: Final = 8_000_000
OFF_LOOP_S: Final = 60.0


class Event:
    """What all kinds of events have in common; `FetchEvent` and `BackgroundEvent` say the rest, in other modules.

    It is begun without a task, and most events end there: nothing is made for waiting until something waits.
    """

    __slots__ = (
        "_loaded", "context", "host", "is_abandoned", "limits", "passing_on", "request", "responder", "response_ended",
        "running", "sandbox", "started", "trace", "trigger", "uncaught", "visitor", "worker",
    )  # fmt: skip

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
        self.response_ended = False
        #: The visitor left before that, and the guest goes on: what it answers is nobody's any more.
        self.is_abandoned = False
        #: What its script's tail consumers are to be told; None: there are none.
        self.trace = TraceNotes() if worker.is_traced and not context.untraced else None
        #: Lines of exceptions that nobody caught.
        self.uncaught: list[str] = []
        self._loaded: LoadedModule | None = None
        #: The task that passes a body on after the guest is gone: dooming cancels it.
        self.passing_on: asyncio.Task[Any] | None = None

    def encode(self, sandbox: Sandbox) -> bytes:
        """What the handler is given."""
        raise NotImplementedError

    def finish(self, sandbox: Sandbox, result: int) -> Awaitable[None] | None:
        """Take what the handler returned: at once, or in what is to be awaited."""
        raise NotImplementedError

    def asked(self, status: int) -> Mapping[str, object] | None:
        """What it was asked, for its trace. `status` is what was answered, 0 for nothing."""
        raise NotImplementedError

    def begin(self) -> Ending | Coroutine[Any, Any, Ending]:
        """Go as far as can be gone without waiting: to the event's end, its record included, or to what is left of
        it, which is to be awaited at once.
        """
        pool, version = self.host.pool, self.worker.version
        digest = version.module_digest
        loaded = pool.get(digest) or pool.load_small(digest, version.tenant)
        return self._load_and_run() if loaded is None else self._begin(loaded)

    async def run(self) -> Ending:
        """To the event's end, its record included."""
        begun = self.begin()
        return begun if isinstance(begun, Ending) else await begun

    async def _load_and_run(self) -> Ending:
        version = self.worker.version
        try:
            loaded = await self.host.pool.load(version.module_digest, version.tenant)
        except BaseException as error:
            # No sandbox has the body yet, which would close it.
            body = None if self.request is None else self.request.body
            if body is not None and not isinstance(body, bytes):
                body.close()
            if isinstance(error, ImageUnavailable):
                raise PlatformFault("the worker's code can't be loaded now", detail=str(error)) from error
            raise
        begun = self._begin(loaded)
        return begun if isinstance(begun, Ending) else await begun

    def _begin(self, loaded: LoadedModule) -> Ending | Coroutine[Any, Any, Ending]:
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
            loaded.pre,
            self.started < worker.off_loop_until_s,
        )
        deadline_s = self.started + limits.wall_ms / 1000
        budget = self.context.budget
        if budget is not None:
            budget.join(sandbox.guest)
            deadline_s = min(deadline_s, budget.ends_at_s)
        self.running = host.running.add(sandbox, self, deadline_s)
        self.running.budget = budget
        loaded.users += 1
        self._loaded = loaded
        try:
            rest = self._first_slice(sandbox, loaded)
        except BaseException as failure:
            return self._end_of(failure)
        return self._end(_OK) if rest is None else self._wait_for(rest)

    def _first_slice(self, sandbox: Sandbox, loaded: LoadedModule) -> Awaitable[None] | None:
        """What is to be awaited when that was not all of the event."""
        # First of all: from here on the sandbox has the request's body, and closes it.
        event = self.encode(sandbox)
        visitor = self.visitor
        if visitor is not None:
            visitor.on_leave = self._visitor_left
            if visitor.left:
                raise Stopped(metering.CANCELED)
        result = sandbox.begin(loaded.pre, self.trigger, event, initialize=loaded.initialize)
        return (
            self.finish(sandbox, result) if isinstance(result, int) else self._finish_later(sandbox, result)
        )

    async def _finish_later(self, sandbox: Sandbox, result: Awaitable[int]) -> None:
        returned = await result
        if self.is_abandoned:
            raise Stopped(metering.CANCELED)
        rest = self.finish(sandbox, returned)
        if rest is not None:
            await rest

    async def _wait_for(self, rest: Awaitable[None]) -> Ending:
        try:
            await rest
        except BaseException as failure:
            ended = self._end_of(failure)
        else:
            ended = self._end(_OK)
        return ended if isinstance(ended, Ending) else await ended

    def _end_of(self, failure: BaseException) -> Ending | Coroutine[Any, Any, Ending]:
        """The end of an event that failed; what is no event's failure is raised again, when all is closed."""
        ending = self._ending_of(failure)
        return self._close_and_raise(failure) if ending is None else self._end(ending)

    def _ending_of(self, failure: BaseException) -> Ending | None:
        sandbox, limits = self._opened(), self.limits
        match failure:
            case Stopped():
                budget = self.context.budget
                if failure.why == metering.CPU and budget is not None and budget.left_ns == 0:
                    return metering.ending_of_overdraft(budget.limits, budget.spent_ns)
                return metering.ending_of_stop(failure.why, limits, sandbox.guest.cpu_ns)
            case GuestTrap() | AbiViolation() | PoolExhausted() | GuestExit() | GuestException():
                return metering.ending_of_failure(failure, sandbox.memory_now(), limits)
            case StreamClosed():
                return Ending(EventOutcome.RESPONSE_STREAM_DISCONNECTED, str(failure))
            case PlatformError():
                return Ending(failure.outcome, failure.message)
            case OperationError():  # of a source that the host passed on
                return Ending(EventOutcome.EXCEPTION, f"{failure.code.value}: {failure.message}")
            case asyncio.CancelledError():
                task, why = self.passing_on, sandbox.guest.doomed
                if task is None or why is None or task.uncancel() > 0:  # somebody else cancelled it, too
                    return None
                return metering.ending_of_stop(why, limits, sandbox.guest.cpu_ns)
        return None

    def _end(self, ending: Ending) -> Ending | Coroutine[Any, Any, Ending]:
        """Close everything and make the record, which is the ending; or what is to be awaited for it."""
        sandbox = self._opened()
        self._is_over(sandbox)
        if not sandbox.close_at_once():
            return self._end_later(sandbox, ending)
        self._is_closed(sandbox)
        return self._recorded(ending)

    async def _end_later(self, sandbox: Sandbox, ending: Ending) -> Ending:
        try:
            await sandbox.close()
        finally:
            self._is_closed(sandbox)
        return self._recorded(ending)

    async def _close_and_raise(self, failure: BaseException) -> Ending:
        sandbox = self._opened()
        self._is_over(sandbox)
        try:
            await sandbox.close()
        finally:
            self._is_closed(sandbox)
        raise failure

    def _opened(self) -> Sandbox:
        if self.sandbox is None:
            raise ValueError("this event has not begun")
        return self.sandbox

    def _is_over(self, sandbox: Sandbox) -> None:
        """Nothing that happens from now on concerns it."""
        if self.running is not None:
            if self.running.budget is not None:
                self.running.budget.leave(sandbox.guest)
            self.host.running.remove(self.running)
        if self.visitor is not None:
            self.visitor.on_leave = None
        if sandbox.guest.longest_ns > LONG_POLL_NS:
            self.worker.off_loop_until_s = time.monotonic() + OFF_LOOP_S

    def _is_closed(self, sandbox: Sandbox) -> None:
        if self.running is not None:
            self.host.running.gone(self.running)
            self.running = None  # it refers to this event: without the ring no collector is needed
        worker, loaded = self.worker, self._loaded
        if sandbox.touched or worker.expected_bytes:
            worker.expected_bytes = expected_bytes(worker.expected_bytes, sandbox.touched)
        if loaded is not None:
            loaded.users -= 1
            if loaded.evicted:
                loaded.close_if_unused()

    def _recorded(self, ending: Ending) -> Ending:
        responder = self.responder
        if responder is not None and responder.started and not self.response_ended:
            responder.abort()
        self.report(ending)
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
        # A body that is passed on needs its visitor; a guest may have more to do.
        if self.passing_on is None and self._opened().tell_visitor_left():
            self.is_abandoned = True
            if self.running is not None:
                self.running.go_on(self.limits.background_ms / 1000, metering.ABANDONED)
        else:
            self.doom(metering.CANCELED)

    def _response_ended(self) -> None:
        """The visitor has all of it: leaving cancels nothing now, and the rest is background work."""
        self.response_ended = True
        if self.visitor is not None:
            self.visitor.on_leave = None
        if self.running is not None:
            self.running.go_on(self.limits.background_ms / 1000, metering.BACKGROUND)

    # -- the record ----------------------------------------------------------------------------------

    def drain_lines(self) -> None:
        sandbox = self.sandbox
        if sandbox is None or not sandbox.io.lines:
            return
        context, observer = self.context, self.host.observer
        now_ms = time.time_ns() // 1_000_000
        for level, text in sandbox.take_lines():
            line = text.decode("utf-8", "replace")
            if level >= UNCAUGHT:
                self.uncaught.append(line)
            observer.logged(_line(context, now_ms, min(level, ERROR), line, self._traced(line)))
            if self.trace is not None:
                self.trace.add(now_ms, level, line)

    def report(self, ending: Ending) -> None:
        sandbox, context, request, responder = self.sandbox, self.context, self.request, self.responder
        if sandbox is None:
            return
        if sandbox.io.lines:
            self.drain_lines()
        if sandbox.io.dropped:
            self._note(f"{sandbox.io.dropped} log lines were over this event's limits and were dropped", 3)
        if (
            ending.message
            and ending.outcome is not EventOutcome.CANCELED
            and not any(map(ending.is_in, self.uncaught))
        ):
            self._note(ending.told, 4)
        status = 0
        if responder is not None:
            status = responder.status if responder.started else PAGES[ending.outcome].status
        wall_us = int((time.monotonic() - self.started) * 1e6)
        if self.trace is not None:
            self._tell(self.trace, sandbox, ending, wall_us, status)
        self.host.observer.completed(
            EventRecord(
                context.ray_id,
                self.trigger,
                context.namespace,
                context.script,
                context.tenant,
                ending.outcome,
                status,
                sandbox.cpu_us,
                wall_us,
                sandbox.peak_memory,
                sandbox.subrequests,
                _bytes_in(request),
                0 if responder is None else responder.bytes_out,
                "" if request is None else request.method,
                "" if request is None else request.hostname,
                "" if request is None else request.path,
                ending.message,
                context.depth,
            )
        )

    def _tell(self, notes: TraceNotes, sandbox: Sandbox, ending: Ending, wall_us: int, status: int) -> None:
        self.host.traced(
            EventTrace(
                self.context,
                self.worker.version.tail_consumers,
                self.asked(status),
                ending.outcome,
                ending.message,
                time.time_ns() // 1_000_000 - wall_us // 1_000,
                sandbox.cpu_us,
                wall_us,
                tuple(notes.lines),
                sandbox.io.dropped > 0,
            )
        )

    def _traced(self, line: str) -> str:
        """Whoever reads a stack trace looks for its places in the sources of the version that ran."""
        worker = self.worker
        is_trace = worker.told_bindings is not None and "\n    at " in line
        return worker.version.module_digest if is_trace else ""

    def _note(self, text: str, level: int) -> None:
        self.host.observer.logged(_line(self.context, time.time_ns() // 1_000_000, level, text))


def _line(context: EventContext, at_ms: int, level: int, text: str, module: str = "") -> LogLine:
    return LogLine(
        at_ms, level, text, context.ray_id, context.namespace, context.script, context.tenant, module
    )


def _bytes_in(request: IncomingRequest | None) -> int:
    if request is None or request.body is None:
        return 0
    if isinstance(request.body, bytes):
        return len(request.body)
    return int(getattr(request.body, "bytes_in", 0))
