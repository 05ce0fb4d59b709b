"""Run one event of one script version, from its bytes to its end: Worker.fetch, .queue, .scheduled.

A Worker is made once for a script version and process; each event gets a sandbox of its own.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from model.capabilities import EventContext, OperationTable, WorkerEnv
from model.errors import OperationError, PlatformError, PlatformFault
from model.limits import BACKGROUND_LIMITS, FETCH_LIMITS, Limits, combine
from model.messages import IncomingRequest, Responder, StreamClosed, Visitor
from model.observer import EventRecord, LogLine, Observer
from model.outcome import PAGES, EventOutcome
from model.scripts import ScriptVersion
from runtime import metering
from runtime.abi.core_module import codec
from runtime.abi.core_module.codec import GuestException
from runtime.abi.core_module.wasi import GuestExit
from runtime.aot_cache import ImageUnavailable
from runtime.capi.engine_store import Engine
from runtime.capi.failures import GuestTrap, PoolExhausted
from runtime.capi.guest import AbiViolation
from runtime.fiber import Lanes, Stopped
from runtime.instance_pool import InstancePool, LoadedModule
from runtime.metering import Ending
from runtime.running import Running, RunningEvents
from runtime.sandbox import Sandbox

_OK: Final = Ending(EventOutcome.OK)
_RESULT_BYTES: Final = 1 << 20
#: A poll on the loop is preempted after a tick, so one that lasted this long was in an instruction that can't
#: be (`memory.fill` of 120 MB takes 65 ms): a script that did so begins in the pool lane for a while.
LONG_POLL_NS: Final = 8_000_000
OFF_LOOP_S: Final = 60.0


@dataclass(slots=True)
class RuntimeHost:
    """What all workers of a process share."""

    engine: Engine
    lanes: Lanes
    pool: InstancePool
    operations: OperationTable
    observer: Observer
    running: RunningEvents


class Worker:
    """`env` is what this version is lent; `version` says what it may use."""

    def __init__(self, host: RuntimeHost, version: ScriptVersion, env: WorkerEnv) -> None:
        self.version = version
        self.env = env
        self._host = host
        self._variables = tuple(f"{name}={value}\0".encode() for name, value in env.vars.items())
        ceiling = host.engine.settings.memory_bytes
        given = {name: value for name, value in version.limits.items() if name in Limits.__slots__}
        self.fetch_limits = _bounded(replace(FETCH_LIMITS, **given), ceiling)
        self.background_limits = _bounded(replace(BACKGROUND_LIMITS, **given), ceiling)
        #: Its events begin in the pool lane until then (monotonic).
        self.off_loop_until_s = 0.0
        # Called in a loop by dispatchers: the same few limits come again and again.
        self._narrowed = functools.lru_cache(maxsize=64)(self._narrow)

    async def fetch(
        self,
        request: IncomingRequest,
        responder: Responder,
        context: EventContext,
        params: Mapping[str, str],
        limits: Mapping[str, int] | None = None,
        visitor: Visitor | None = None,
    ) -> Ending:
        """Answer one request. When the ending is not OK and `responder` has not started, the caller shows a
        page; when it had started, it was aborted.
        """
        allowed = self._narrowed(tuple(sorted(limits.items()))) if limits else self.fetch_limits
        event = _Event(self, "fetch", context, allowed, responder, visitor)

        def prepare(sandbox: Sandbox) -> bytes:
            body_stream = None
            body = request.body
            if body is not None and not isinstance(body, bytes):
                body_stream = sandbox.session.lend_stream(body)
            return codec.encode_request(request, self.env.vars, params, body_stream)

        ending = await event.run(prepare, event.respond)
        event.report(ending, request)
        return ending

    async def background(
        self, handler: str, value: Mapping[str, object], context: EventContext
    ) -> tuple[Ending, object]:
        """Run `queue` or `scheduled` on an event that no visitor waits for; `value` is as the ABI has it.

        The second of the pair is what the handler returned, None for 0.
        """
        event = _Event(self, handler, context, self.background_limits, None, None)
        answer: object = None

        async def read(sandbox: Sandbox, result: int) -> None:
            nonlocal answer
            if result:
                answer = codec.decode_answer(sandbox.read_result(result, _RESULT_BYTES))

        ending = await event.run(lambda _: codec.encode(value), read)
        event.report(ending, None)
        return ending, answer

    def _narrow(self, limits: tuple[tuple[str, int], ...]) -> Limits:
        known = {name: value for name, value in limits if name in Limits.__slots__}
        return combine(self.fetch_limits, replace(self.fetch_limits, **known))


def _bounded(limits: Limits, memory_ceiling: int) -> Limits:
    return replace(limits, memory_bytes=min(limits.memory_bytes, memory_ceiling))


class _Event:
    """One event's way through a sandbox. The order of closing is here and nowhere else."""

    __slots__ = (
        "context",
        "host",
        "limits",
        "passing_on",
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
        responder: Responder | None,
        visitor: Visitor | None,
    ) -> None:
        self.worker = worker
        self.host = worker._host
        self.trigger = trigger
        self.context = context
        self.limits = limits
        self.responder = responder
        self.visitor = visitor
        self.started = time.monotonic()
        self.sandbox: Sandbox | None = None
        self.running: Running | None = None
        #: The task that passes a body on after the guest is gone: dooming cancels it.
        self.passing_on: asyncio.Task[Any] | None = None

    async def run(
        self, prepare: Callable[[Sandbox], bytes], finish: Callable[[Sandbox, int], Awaitable[None]]
    ) -> Ending:
        host, worker = self.host, self.worker
        digest = worker.version.module_digest
        loaded = host.pool.get(digest)
        if loaded is None:
            try:
                loaded = await host.pool.load(digest)
            except ImageUnavailable as error:
                raise PlatformFault("the worker's code can't be loaded now", detail=str(error)) from error
        loaded.users += 1
        try:
            return await self._run_loaded(loaded, prepare, finish)
        finally:
            loaded.users -= 1
            if loaded.evicted:
                loaded.close_if_unused()

    async def _run_loaded(
        self,
        loaded: LoadedModule,
        prepare: Callable[[Sandbox], bytes],
        finish: Callable[[Sandbox, int], Awaitable[None]],
    ) -> Ending:
        host, worker, limits = self.host, self.worker, self.limits
        sandbox = self.sandbox = Sandbox(
            host.engine,
            host.lanes,
            limits,
            self.context,
            worker.env,
            worker._variables,
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
                loaded.pre, self.trigger, prepare(sandbox), initialize=loaded.initialize
            )
            await finish(sandbox, result)
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
            host.running.remove(self.running)
            self.running = None  # it refers to this event: without the ring no collector is needed
            if visitor is not None:
                visitor.on_leave = None
            if sandbox.guest.longest_ns > LONG_POLL_NS:
                worker.off_loop_until_s = time.monotonic() + OFF_LOOP_S
            await sandbox.close()
        responder = self.responder
        unfinished = responder is not None and responder.started and not sandbox.session.response_ended
        if responder is not None and unfinished:
            responder.abort()
        return ending

    # -- the response --------------------------------------------------------------------------------

    async def respond(self, sandbox: Sandbox, result: int) -> None:
        """Make of what `fetch` returned the end of the response."""
        responder, session = self.responder, sandbox.session
        assert responder is not None  # noqa: S101 - a fetch always has one
        # From here on it is this task that waits, for a slow visitor or source: dooming cancels it.
        self.passing_on = asyncio.current_task()
        if result == 0:
            await session.response_settled()
            if not responder.started:
                raise AbiViolation("`fetch` returned 0 without having started a response")
            if not session.response_ended:
                await responder.end()
                session.response_ended = True
            return
        response = codec.decode_response(sandbox.read_result(result, codec.RESPONSE_BYTES))
        if responder.started:
            raise AbiViolation("`fetch` returned a Response after it had started to stream one")
        if response.body_stream is None:
            await responder.send_whole(response.status, response.headers, response.body)
            session.response_ended = True
            return
        try:
            source = session.borrow_stream(response.body_stream)
        except OperationError as error:
            raise AbiViolation(f"Response: `body_stream`: {error.message}") from error
        await sandbox.close_guest()
        await responder.start(response.status, response.headers)
        while data := await source.read():
            await responder.write(data)
        await responder.end()
        session.response_ended = True

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

    def report(self, ending: Ending, request: IncomingRequest | None) -> None:
        sandbox, context, responder = self.sandbox, self.context, self.responder
        if sandbox is None:
            return
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


def _line(context: EventContext, at_ms: int, level: int, text: str) -> LogLine:
    return LogLine(at_ms, level, text, context.ray_id, context.namespace, context.script, context.tenant)


def _bytes_in(request: IncomingRequest | None) -> int:
    if request is None or request.body is None:
        return 0
    if isinstance(request.body, bytes):
        return len(request.body)
    return int(getattr(request.body, "bytes_in", 0))
