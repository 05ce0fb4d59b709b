"""A worker that runs in a process of another isolation group, as the process that asks sees it.

It stands where a runtime.worker.Worker would: the event is handed over with its body, and the answer comes back
with back-pressure both ways. What runs there keeps the limits, and writes the access line; here it counts as an
event that waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final

from dispatch.handover import Asking, NoMessage, Result, body_follows, parse_head, parse_result, question_of
from model.capabilities import EventContext
from model.errors import OperationError, PlatformError, ProcessLost, TenantError, UpstreamError
from model.limits import FETCH_LIMITS, Limits
from model.messages import ByteSource, BytesSource, IncomingRequest, Responder, StreamClosed, Visitor
from model.observer import EventRecord, Observer
from model.outcome import EventOutcome
from model.scripts import ScriptVersion
from model.tasks import in_task
from runtime.metering import Ending

#: An exchange to ask a question by. Raises PlatformError when there is no process to ask now.
Open = Callable[[bytes], Awaitable[Asking]]

#: On top of the worker's own limits, which the other process keeps: past it that process is taken for lost.
_PATIENCE_S: Final = 10.0


class RemoteWorker:
    """`open` reaches a process that may run it; `observer` is told only of events that the other process can't
    tell of, since it died.
    """

    def __init__(
        self, version: ScriptVersion, open: Open, observer: Observer, *, is_hook: bool = False
    ) -> None:
        """`is_hook`: `version` stands for an outbound hook, which runs there by the script's name."""
        self.version = version
        #: What its events touch counts where they run.
        self.expected_bytes = 0
        self._is_hook = is_hook
        given = {name: value for name, value in version.limits.items() if name in Limits.__slots__}
        self.fetch_limits = replace(FETCH_LIMITS, **given)
        self._open = open
        self._observer = observer
        limits = self.fetch_limits
        self._patience_s = (limits.wall_ms + limits.background_ms) / 1000 + _PATIENCE_S

    def begin_fetch(
        self,
        request: IncomingRequest,
        responder: Responder,
        context: EventContext,
        params: Mapping[str, str],
        limits: Mapping[str, int] | None = None,
        visitor: Visitor | None = None,
    ) -> Coroutine[Any, Any, Ending]:
        """As Worker.begin_fetch: here all of it has to be waited for."""
        return self.fetch(request, responder, context, params, limits, visitor)

    async def fetch(
        self,
        request: IncomingRequest,
        responder: Responder,
        context: EventContext,
        params: Mapping[str, str],
        limits: Mapping[str, int] | None = None,
        visitor: Visitor | None = None,
    ) -> Ending:
        """As Worker.fetch. Raises PlatformError when it was refused before it ran, for a visitor's request;
        OperationError for an asker's `fetch` that failed there.
        """
        started = time.monotonic()
        context.permit.park()
        try:
            await in_task()  # whoever opens it may wait with a deadline
            budget = context.budget
            share = None if budget is None else budget.left()
            if share is not None:
                limits = share.narrowed(limits)
            question = question_of(self.version.ref, request, context, params, limits, hook=self._is_hook)
            exchange = await self._open(question)
            result, problem = await self._follow(exchange, request, responder, visitor)
            if budget is not None and share is not None:
                budget.charge(share, result.cpu_ns, result.subrequests)
            if result.refused:
                raise result.error()
            if result.operation is not None and not responder.started:
                raise OperationError(result.operation, result.message)
            return problem or result.ending()
        except ProcessLost as lost:
            self._record(lost, request, responder, context, started)
            return Ending(lost.outcome, lost.message)
        except PlatformError as error:
            if context.depth:
                return Ending(error.outcome, error.message)  # a caller reads it; only a visitor gets a page
            raise
        finally:
            context.permit.unpark()

    async def _follow(
        self, exchange: Asking, request: IncomingRequest, responder: Responder, visitor: Visitor | None
    ) -> tuple[Result, Ending | None]:
        """How it ended there, and what went wrong here."""
        body = request.body
        sending: asyncio.Task[None] | None = None
        late = asyncio.get_running_loop().call_later(self._patience_s, exchange.lose)
        if visitor is not None:
            visitor.on_leave = exchange.cancel
            if visitor.left:
                exchange.cancel()
        try:
            if body is not None and body_follows(body):
                source = BytesSource(body) if isinstance(body, bytes) else body
                sending = asyncio.get_running_loop().create_task(_send_body(source, exchange))
            problem = await self._pass_on(exchange, responder)
            if visitor is not None and problem is None and responder.started:
                visitor.on_leave = None
            result = parse_result(await exchange.result())
        except NoMessage as error:
            exchange.lose()
            raise ProcessLost("the process that ran this worker broke the rules", detail=str(error)) from None
        except BaseException:
            exchange.cancel()
            raise
        finally:
            late.cancel()
            if visitor is not None:
                visitor.on_leave = None
            if sending is not None:
                sending.cancel()
        return result, problem

    async def _pass_on(self, exchange: Asking, responder: Responder) -> Ending | None:
        """The answer, to whom it is for; what went wrong on this side, where the other can't know of it."""
        head = await exchange.head()
        if head is None:
            return None
        status, headers = parse_head(head)
        finished = False
        try:
            if exchange.is_here:
                await responder.send_whole(status, headers, exchange.take())
            else:
                await responder.start(status, headers)
                while data := await exchange.read():
                    await responder.write(data)
                await responder.end()
            finished = True
        except StreamClosed as closed:
            # Either the visitor left, or the worker failed in the middle: then the result says how.
            exchange.cancel()
            return None if responder.started else Ending(EventOutcome.CANCELED, str(closed))
        except TenantError as error:
            # The other process checks what workers answer, so this one is not what it was.
            exchange.cancel()
            return Ending(error.outcome, error.message)
        finally:
            if not finished and responder.started:
                responder.abort()
        return None

    def _record(
        self,
        lost: ProcessLost,
        request: IncomingRequest,
        responder: Responder,
        context: EventContext,
        started: float,
    ) -> None:
        self._observer.completed(
            EventRecord(
                context.ray_id,
                "fetch",
                context.namespace,
                context.script,
                context.tenant,
                lost.outcome,
                responder.status or lost.status,
                0,
                int((time.monotonic() - started) * 1e6),
                0,
                0,
                0,
                responder.bytes_out,
                request.method,
                request.hostname,
                request.path,
                lost.message,
                context.depth,
            )
        )


async def _send_body(source: ByteSource, exchange: Asking) -> None:
    """The question's body, as fast as the worker reads it."""
    try:
        await exchange.wanted()  # a worker that never reads it must not cost the visitor an upload
        while data := await source.read():
            await exchange.write(data)
        exchange.end()
    except StreamClosed:
        exchange.cancel()  # the sender left; or nobody wants the rest, and then cancelling does nothing
    except (UpstreamError, OperationError) as error:
        exchange.break_off(str(error))
    finally:
        source.close()
