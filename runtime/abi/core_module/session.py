"""Answer what a guest asks with `call`: start operations, wait as it wants, give back what is done.

One Session for each event. It is the GuestEvent that operations see, and owns the event's streams and
pending operations. Runs on the loop, never on the guest's stack.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, cast

from model.capabilities import EventContext, OperationTable, WorkerEnv
from model.errors import (
    LoadShed,
    OperationError,
    OperationErrorCode,
    PlatformFault,
    TenantError,
    UpstreamError,
)
from model.limits import Limits
from model.messages import ByteSource, Responder, StreamClosed
from runtime.abi.core_module.codec import (
    REPLY_BYTES,
    Call,
    decode_call,
    encode,
    encode_reply,
    encode_result,
)
from runtime.abi.core_module.event_streams import (
    GIVEN_BYTES,
    EventStreams,
    as_bytes,
    integers,
    too_much_given,
)
from runtime.abi.core_module.guest_headers import decode_headers
from runtime.capi.guest import AbiViolation
from runtime.streams import HeldBytes

_log = logging.getLogger("tenantry.runtime")

PENDING: Final = 256
#: Results that an event has not taken.
UNTAKEN_BYTES: Final = 4 << 20
#: Arguments of a smaller call are not counted: PENDING of them are no more than one large one.
_SMALL_CALL: Final = 16 * 1024
#: They carry a body's bytes, as many times as it has chunks, and are bounded by CPU and wall time: counted as
#: operations, a worker could not read the 100 MiB that a visitor may send it.
_UNCOUNTED: Final = frozenset({"stream.read", "stream.write", "response.write"})
_SLEEP_MS: Final = 15 * 60_000
_MAP_OVERHEAD: Final = 64


class Session:
    """See GuestEvent in model.capabilities for what operations may do with it."""

    __slots__ = (
        "_closed",
        "_ended",
        "_given",
        "_last_step",
        "_limits",
        "_on_response_end",
        "_opened",
        "_pending",
        "_ready",
        "_responder",
        "_table",
        "_to_close",
        "_turn",
        "_untaken",
        "_waiter",
        "context",
        "env",
        "on_resume",
        "operations",
        "response_ended",
        "subrequests",
    )

    def __init__(
        self,
        context: EventContext,
        env: WorkerEnv,
        table: OperationTable,
        limits: Limits,
        responder: Responder | None,
        on_response_end: Callable[[], None],
    ) -> None:
        self.context = context
        self.env = env
        self.operations = 0
        self.subrequests = 0
        self.response_ended = False
        self._table = table
        self._limits = limits
        self._responder = responder
        self._on_response_end = on_response_end
        self._given = HeldBytes()
        self._opened: EventStreams | None = None
        self._pending: dict[int, asyncio.Task[object]] = {}
        self._ready: list[tuple[int, bytes]] = []
        self._untaken = 0
        self._waiter: asyncio.Future[None] | None = None
        #: Called when its wait ends; set by who wants to know.
        self.on_resume: Callable[[], None] | None = None
        self._to_close: list[Callable[[], None]] = []
        #: The response's operations are carried out one after another, in the order in which they were asked.
        self._turn: asyncio.Lock | None = None
        self._last_step: asyncio.Task[object] | None = None
        #: It is doomed, or over.
        self._closed = False
        self._ended = False

    @property
    def _streams(self) -> EventStreams:
        """Made when they are first asked for: most events have none."""
        streams = self._opened
        if streams is None:
            streams = self._opened = EventStreams(self._given)
            if self._ended:
                streams.close()
        return streams

    @property
    def is_waiting(self) -> bool:
        """The guest waits in a call."""
        return self._waiter is not None

    # -- GuestEvent ----------------------------------------------------------------------------------

    def borrow_stream(self, stream_id: object) -> ByteSource:
        reader = self._streams.give_away(stream_id)
        self._to_close.append(reader.close)
        return reader

    def give_back(self, stream_id: object) -> None:
        """The stream is its lender's again, open, also when the event has ended. Raises as borrow_stream."""
        self._streams.give_away(stream_id)

    def lend_stream(self, source: ByteSource) -> int:
        return self._streams.lend(source)

    def close_later(self, close: Callable[[], None]) -> None:
        if self._closed:
            close()
        else:
            self._to_close.append(close)

    # -- one call ------------------------------------------------------------------------------------

    def answer(self, data: bytes) -> Awaitable[bytes] | bytes:
        """The reply to one `call`: at once when nothing has to be waited for. Raises AbiViolation."""
        call = decode_call(data)
        for operation_id in call.cancel:
            task = self._pending.get(operation_id)
            if task is not None:
                _cancel(task)
        mine: list[int] = []
        is_large = len(data) > _SMALL_CALL
        for operation_id, name, binding, args in call.ops:
            ready = self._ready
            if operation_id in self._pending or (ready and any(done == operation_id for done, _ in ready)):
                raise AbiViolation(f"call: operation id {operation_id} is in use")
            # What is written to a stream counts there.
            weight = len(encode(args)) if is_large and name != "stream.write" else 0
            self._start(operation_id, name, binding, args, weight)
            mine.append(operation_id)
        if not self._pending or self._satisfied(call, mine) or call.timeout_ms == 0:
            return self._reply()
        return self._wait(call, mine)

    def _satisfied(self, call: Call, mine: list[int]) -> bool:
        if call.wait == "none":
            # A cancelled task is done only when the loop has run it.
            return not any(operation_id in self._pending for operation_id in call.cancel)
        if call.wait == "any":
            return bool(self._ready) or not self._pending
        return not any(operation_id in self._pending for operation_id in mine)

    async def _wait(self, call: Call, mine: list[int]) -> bytes:
        loop = asyncio.get_running_loop()
        permit = self.context.permit
        timer = None
        timed_out = False
        if call.timeout_ms is not None:

            def stop() -> None:
                nonlocal timed_out
                timed_out = True
                self.wake()

            timer = loop.call_later(min(call.timeout_ms, _SLEEP_MS) / 1000, stop)
        permit.park()
        try:
            while not (timed_out or self._closed or self._satisfied(call, mine)):
                self._waiter = loop.create_future()
                await self._waiter
        finally:
            permit.unpark()
            self._waiter = None
            if self.on_resume is not None:
                self.on_resume()
            if timer is not None:
                timer.cancel()
        return self._reply()

    def wake(self) -> None:
        """Look again at whether there is something to wait for; also how the driver's dooming gets through."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def stop_waiting(self) -> None:
        """The event is doomed: a wait under way ends now."""
        self._closed = True
        self.wake()

    def _reply(self) -> bytes:
        """What is done, as much of it as fits; the rest is counted as pending, and comes with the next call."""
        size = _MAP_OVERHEAD
        fit = 0
        for _, packed in self._ready:
            size += len(packed)
            if size > REPLY_BYTES:
                break
            fit += 1
        done, self._ready = self._ready[:fit], self._ready[fit:]
        self._untaken -= sum(len(packed) for _, packed in done)
        return encode_reply([packed for _, packed in done], len(self._pending) + len(self._ready))

    # -- operations ----------------------------------------------------------------------------------

    def _start(self, operation_id: int, name: str, binding: object, args: list[Any], weight: int) -> None:
        try:
            if weight and self._given.now + weight > GIVEN_BYTES:
                raise too_much_given()
            result = self._run(name, binding, args)
        except OperationError as error:
            result = error
        if hasattr(result, "__await__"):
            waiting = cast(Awaitable[object], result)
            task = asyncio.ensure_future(self._guarded(name, waiting))
            self._pending[operation_id] = task
            self._given.now += weight
            if name.startswith("response."):
                self._last_step = task
            task.add_done_callback(functools.partial(self._finished, operation_id, waiting, weight))
        else:
            self._deliver(operation_id, result)

    def _run(self, name: str, binding: object, args: list[Any]) -> object:
        if name not in _UNCOUNTED:
            self.operations += 1
            if self.operations > self._limits.operations:
                raise _over("host operations", self._limits.operations, "operations")
        if len(self._pending) >= PENDING:
            raise OperationError(
                OperationErrorCode.LIMIT_EXCEEDED, f"{PENDING} operations are pending; wait for some first"
            )
        if self._untaken > UNTAKEN_BYTES:
            raise OperationError(
                OperationErrorCode.LIMIT_EXCEEDED,
                f"more than {UNTAKEN_BYTES} bytes of results wait; take them with a call of no operations first",
            )
        own = _OWN.get(name)
        if own is not None:
            return own(self, args)
        operation = self._table.get(name)
        if operation is None:
            raise OperationError(
                OperationErrorCode.UNKNOWN_OPERATION,
                f"there is no operation {name[:60]!r}; see docs/bindings.md",
            )
        if operation.subrequest:
            self.subrequests += 1
            if self.subrequests > self._limits.subrequests:
                raise _over("subrequests", self._limits.subrequests, "subrequests")
        lent: object = None
        if operation.binding_kind is not None:
            bound = self.env.bindings.get(binding) if isinstance(binding, str) else None
            if bound is None or bound.kind != operation.binding_kind:
                raise OperationError(
                    OperationErrorCode.UNKNOWN_BINDING,
                    f"{name}: this worker has no {operation.binding_kind} binding {binding!r:.60}",
                )
            lent = bound.value
        try:
            return operation.run(self, lent, args)
        except OperationError:
            raise
        except Exception as error:
            raise _internal(name, error) from error

    async def _guarded(self, name: str, waiting: Awaitable[object]) -> object:
        try:
            return await waiting
        except (OperationError, asyncio.CancelledError):
            raise
        except StreamClosed as error:
            raise OperationError(OperationErrorCode.CLOSED_STREAM, f"{name}: {error}") from error
        except LoadShed as error:
            raise OperationError(OperationErrorCode.LOAD_SHED, f"{name}: {error.message}") from error
        except UpstreamError as error:
            raise OperationError(OperationErrorCode.UPSTREAM_FAILED, f"{name}: {error.message}") from error
        except TenantError as error:  # what a Responder refuses: the worker's status, headers or lengths
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, f"{name}: {error.message}") from error
        except PlatformFault as error:
            _log.error("operation %s failed: %s (%s)", name, error.message, error.detail)
            raise OperationError(OperationErrorCode.UNAVAILABLE, f"{name}: {error.message}") from error
        except Exception as error:
            raise _internal(name, error) from error

    def _finished(
        self, operation_id: int, waiting: Awaitable[object], weight: int, task: asyncio.Task[object]
    ) -> None:
        self._pending.pop(operation_id, None)
        self._given.now -= weight
        result: object
        if task.cancelled():
            if isinstance(waiting, Coroutine):
                waiting.close()  # it may have been cancelled before its first step
            result = OperationError(OperationErrorCode.CANCELLED, "the operation was cancelled")
        else:
            error = task.exception()
            result = error if error is not None else task.result()
        if not self._closed:
            self._deliver(operation_id, result)
            self.wake()

    def _deliver(self, operation_id: int, result: object) -> None:
        try:
            packed = encode_result(operation_id, result)
        except AbiViolation as error:
            packed = encode_result(operation_id, _internal("encoding a result", error))
        if len(packed) > REPLY_BYTES - 2 * _MAP_OVERHEAD:
            packed = encode_result(
                operation_id,
                OperationError(
                    OperationErrorCode.LIMIT_EXCEEDED,
                    f"the result has {len(packed)} bytes; a reply has at most 1 MiB",
                ),
            )
        self._ready.append((operation_id, packed))
        self._untaken += len(packed)

    # -- response, sleep: operations that belong to the event itself; streams have their module -------

    def _response(self, name: str) -> Responder:
        if self._responder is None:
            raise OperationError(
                OperationErrorCode.INVALID_ARGUMENT, f"{name}: this event has no visitor to answer"
            )
        if self.response_ended or self._closed:
            raise OperationError(OperationErrorCode.CLOSED_STREAM, f"{name}: the response has ended")
        return self._responder

    async def _in_turn(self, name: str, step: Callable[[Responder], Awaitable[None]]) -> None:
        turn = self._turn
        if turn is None:
            turn = self._turn = asyncio.Lock()
        async with turn:
            responder = self._response(name)
            starts = name == "response.start"
            if responder.started == starts:
                why = "it has started already" if starts else "response.start comes first"
                raise OperationError(OperationErrorCode.INVALID_ARGUMENT, f"{name}: {why}")
            await step(responder)

    async def response_settled(self) -> None:
        """Until every operation of the response that was asked for is done, or has failed."""
        step = self._last_step
        if step is not None and not step.done():
            await asyncio.wait([step])

    def _response_start(self, args: Sequence[object]) -> object:
        if len(args) != 2 or not isinstance(args[0], int):
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, "response.start: a status and headers")
        try:
            headers = decode_headers(args[1])
        except AbiViolation as error:
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, f"response.start: {error}") from error
        status = args[0]
        return self._in_turn("response.start", lambda responder: responder.start(status, headers))

    def _response_write(self, args: Sequence[object]) -> object:
        if len(args) != 1 or not isinstance(args[0], (bytes, str)):
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, "response.write: bin or str")
        data = as_bytes(args[0])
        return self._in_turn("response.write", lambda responder: responder.write(data))

    def _response_end(self, _args: Sequence[object]) -> object:
        return self._in_turn("response.end", self._end_response)

    async def _end_response(self, responder: Responder) -> None:
        await responder.end()
        self.response_ended = True
        self._on_response_end()

    def _sleep(self, args: Sequence[object]) -> object:
        (delay_ms,) = integers("sleep", args, "milliseconds")
        if not 0 <= delay_ms <= _SLEEP_MS:
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, f"sleep: 0 to {_SLEEP_MS} ms")
        return asyncio.sleep(delay_ms / 1000)

    # -- the end -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what is pending and let go of every stream. What storage was handed already completes."""
        self._closed = self._ended = True
        self._on_response_end = _nothing  # it holds the event, and the event this
        left = self._opened.close() if self._opened is not None else ()
        if not (self._pending or left or self._to_close):
            return  # as most events end
        for task in self._pending.values():
            _cancel(task)
        for close in [*left, *self._to_close]:
            try:
                close()
            except Exception:
                # One source that fails to close must not keep the others open, nor the guest alive.
                _log.exception("closing what an event had borrowed failed")
        self._to_close.clear()


def _nothing() -> None:
    pass


def _cancel(task: asyncio.Task[object]) -> None:
    """Cancel it once it has taken its first step: what an operation would await may be a coroutine that it was
    handed, which nobody else closes.
    """
    task.get_loop().call_soon(task.cancel)


def _over(what: str, limit: int, field: str) -> OperationError:
    return OperationError(
        OperationErrorCode.LIMIT_EXCEEDED,
        f"over the limit of {limit} {what} an event; the platform can raise `limits.{field}` of this script",
    )


def _internal(name: str, error: BaseException) -> OperationError:
    _log.error("operation %s failed in the host", name, exc_info=error)
    return OperationError(OperationErrorCode.INTERNAL, f"{name}: the platform failed; it is logged there")


_OWN: Final[dict[str, Callable[[Session, Sequence[object]], object]]] = {
    "stream.read": lambda session, args: session._streams.read(args),
    "stream.close": lambda session, args: session._streams.close_one(args),
    "stream.open": lambda session, args: session._streams.open(args),
    "stream.write": lambda session, args: session._streams.write(args),
    "stream.end": lambda session, args: session._streams.end(args),
    "response.start": Session._response_start,
    "response.write": Session._response_write,
    "response.end": Session._response_end,
    "sleep": Session._sleep,
}
