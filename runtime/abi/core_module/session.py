"""Answer what a guest asks with `call`: start operations, wait as it wants, give back what is done.

One Session for each event. It is the GuestEvent that operations see, and owns the event's streams and
pending operations. Runs on the loop, never on the guest's stack.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, cast

from model.capabilities import EventContext, OperationTable, WorkerEnv
from model.errors import OperationError, OperationErrorCode
from model.limits import Limits
from model.messages import ByteSource, Responder
from model.tree_budget import Spender, TreeBudget
from runtime.abi.core_module.calls import REPLY_BYTES, Call, decode_call, encode_reply, encode_result
from runtime.abi.core_module.event_streams import GIVEN_BYTES, EventStreams, integers, too_much_given
from runtime.abi.core_module.leaving import Leaving
from runtime.abi.core_module.operation_failures import internal, operation_error, over_limit
from runtime.abi.core_module.operation_lookup import find
from runtime.abi.core_module.response_steps import ResponseSteps
from runtime.abi.core_module.values import encode
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
#: What nobody has to wait for, most of the time.
_PLAIN: Final = frozenset({type(None), dict, bytes, str, int, bool, list})


class Session:
    """See GuestEvent in model.capabilities for what operations may do with it."""

    __slots__ = (
        "_computed_ns", "_ended", "_given", "_leaving", "_limits", "_on_response_end", "_opened", "_pending", "_ready",
        "_response", "_spender", "_table", "_to_close", "_untaken", "_waiter", "charged_ns", "context", "env",
        "is_closed", "on_resume", "operations", "responder", "response_ended", "subrequests",
    )  # fmt: skip

    def __init__(
        self,
        context: EventContext,
        env: WorkerEnv,
        table: OperationTable,
        limits: Limits,
        responder: Responder | None,
        on_response_end: Callable[[], None],
        spender: Spender | None = None,
    ) -> None:
        """`spender` is the guest."""
        self.context = context
        self.env = env
        self.operations = 0
        self.subrequests = 0
        #: CPU time that others spent for this event.
        self.charged_ns = 0
        #: Of that, what the host computed in the worker's stead.
        self._computed_ns = 0
        self.response_ended = False
        self._table = table
        self._limits = limits
        self._spender = spender
        self.responder = responder
        self._on_response_end = on_response_end
        self._given = HeldBytes()
        self._opened: EventStreams | None = None
        self._pending: dict[int, asyncio.Task[object]] = {}
        #: What is done and has not been taken, by the operation's id, in the order in which it was done.
        self._ready: dict[int, bytes] = {}
        self._untaken = 0
        self._waiter: asyncio.Future[None] | None = None
        #: Called when its wait ends; set by who wants to know.
        self.on_resume: Callable[[], None] | None = None
        self._to_close: list[Callable[[], None]] = []
        self._response: ResponseSteps | None = None
        #: None: nobody asked to be told of the visitor's leaving.
        self._leaving: Leaving | None = None
        #: It is doomed, or over.
        self.is_closed = False
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
    def _response_steps(self) -> ResponseSteps:
        steps = self._response
        if steps is None:
            steps = self._response = ResponseSteps(self)
        return steps

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

    def charge(self, cpu_ns: int) -> None:
        self.charged_ns += cpu_ns

    def lend_budget(self) -> None:
        if self.context.budget is None:
            budget = self.context.budget = TreeBudget(self._limits, self._spender, self.subrequests)
            budget.computed_ns = self._computed_ns
        self.context.budget.check_cpu()

    def check_computing(self) -> None:
        if self._computed_ns >= self._limits.cpu_ms * 1_000_000:
            raise over_limit("CPU time of what the host computes", self._limits.cpu_ms, "ms")
        if self.context.budget is not None:
            self.context.budget.check_computing()

    def charge_computing(self, cpu_ns: int) -> None:
        self._computed_ns += cpu_ns
        self.charged_ns += cpu_ns
        if self.context.budget is not None:
            self.context.budget.computed_ns += cpu_ns

    def close_later(self, close: Callable[[], None]) -> None:
        if self.is_closed:
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
        is_large = len(data) > _SMALL_CALL
        for operation_id, name, binding, args in call.ops:
            if operation_id in self._pending or operation_id in self._ready:
                raise AbiViolation(f"call: operation id {operation_id} is in use")
            # What is written to a stream counts there.
            weight = len(encode(args)) if is_large and name != "stream.write" else 0
            self._start(operation_id, name, binding, args, weight)
        if not self._pending or call.timeout_ms == 0 or self._satisfied(call):
            return self._reply()
        return self._wait(call)

    def _satisfied(self, call: Call) -> bool:
        if call.wait == "none":
            # A cancelled task is done only when the loop has run it.
            return self._none_pending(call.cancel)
        if call.wait == "any":
            return bool(self._ready) or not self._pending
        return self._none_pending(op[0] for op in call.ops)

    def _none_pending(self, operation_ids: Iterable[int]) -> bool:
        return not any(operation_id in self._pending for operation_id in operation_ids)

    async def _wait(self, call: Call) -> bytes:
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
            while not (timed_out or self.is_closed or self._satisfied(call)):
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
        self.is_closed = True
        self.wake()

    def _reply(self) -> bytes:
        """What is done, as much of it as fits; the rest is counted as pending, and comes with the next call."""
        done, self._ready = self._ready, {}
        if self._untaken + _MAP_OVERHEAD > REPLY_BYTES:
            size = _MAP_OVERHEAD
            for operation_id, packed in done.items():
                size += len(packed)
                if size > REPLY_BYTES:
                    self._ready[operation_id] = packed
            for operation_id in self._ready:
                del done[operation_id]
        self._untaken = sum(map(len, self._ready.values()))
        return encode_reply(done.values(), len(self._pending) + len(self._ready))

    # -- operations ----------------------------------------------------------------------------------

    def _start(self, operation_id: int, name: str, binding: object, args: list[Any], weight: int) -> None:
        try:
            if weight and self._given.now + weight > GIVEN_BYTES:
                raise too_much_given()
            result = self._run(name, binding, args)
        except Exception as failure:
            result = operation_error(name, failure)
        if result.__class__ in _PLAIN or not hasattr(result, "__await__"):
            self._deliver(operation_id, result)
            return
        waiting = cast(Awaitable[object], result)
        task = asyncio.ensure_future(_in_words(name, waiting))
        self._pending[operation_id] = task
        self._given.now += weight
        if name.startswith("response."):
            self._response_steps.last = task
        task.add_done_callback(functools.partial(self._finished, operation_id, waiting, weight))

    def _run(self, name: str, binding: object, args: list[Any]) -> object:
        if name not in _UNCOUNTED:
            self.operations += 1
            if self.operations > self._limits.operations:
                raise over_limit("host operations", self._limits.operations, "operations")
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
        operation, lent = find(self._table, self.env, name, binding)
        if operation.subrequest:
            self.subrequests += 1
            if self.subrequests > self._limits.subrequests:
                raise over_limit("subrequests", self._limits.subrequests, "subrequests")
            budget = self.context.budget
            if budget is not None:
                budget.count_subrequest()
        return operation.run(self, lent, args)

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
        if not self.is_closed:
            self._deliver(operation_id, result)
            self.wake()

    def _deliver(self, operation_id: int, result: object) -> None:
        try:
            packed = encode_result(operation_id, result)
        except AbiViolation as error:
            packed = encode_result(operation_id, internal("encoding a result", error))
        if len(packed) > REPLY_BYTES - 2 * _MAP_OVERHEAD:
            packed = encode_result(
                operation_id,
                OperationError(
                    OperationErrorCode.LIMIT_EXCEEDED,
                    f"the result has {len(packed)} bytes; a reply has at most 1 MiB",
                ),
            )
        self._ready[operation_id] = packed
        self._untaken += len(packed)

    # -- operations that belong to the event itself; streams and the response have modules of their own ----

    async def response_settled(self) -> None:
        """Until every operation of the response that was asked for is done, or has failed."""
        if self._response is not None:
            await self._response.settled()

    def end_response(self) -> None:
        self.response_ended = True
        self._on_response_end()

    @property
    def visitor_left(self) -> bool:
        """Before the response had ended; and the guest goes on, since it asked to be told."""
        return self._leaving is not None and self._leaving.left

    def tell_visitor_left(self) -> bool:
        """Whether the guest is told, and so goes on."""
        return self._leaving is not None and not self.is_closed and self._leaving.tell()

    def _wait_for_leaving(self, args: Sequence[object]) -> object:
        if self._leaving is None:
            self._leaving = Leaving()
        return self._leaving.wait(self, args)

    def _sleep(self, args: Sequence[object]) -> object:
        (delay_ms,) = integers("sleep", args, "milliseconds")
        if not 0 <= delay_ms <= _SLEEP_MS:
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, f"sleep: 0 to {_SLEEP_MS} ms")
        return asyncio.sleep(delay_ms / 1000)

    # -- the end -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what is pending and let go of every stream. What storage was handed already completes."""
        self.is_closed = self._ended = True
        # They hold the event and this, which hold them: without the rings no collector is needed.
        self._on_response_end = _nothing
        self._response = None
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


async def _in_words(name: str, waiting: Awaitable[object]) -> object:
    """What `waiting` answers; each of its failures as an OperationError."""
    try:
        return await waiting
    except OperationError:
        raise
    except Exception as failure:
        raise operation_error(name, failure) from failure


_OWN: Final[dict[str, Callable[[Session, Sequence[object]], object]]] = {
    "stream.read": lambda session, args: session._streams.read(args),
    "stream.close": lambda session, args: session._streams.close_one(args),
    "stream.open": lambda session, args: session._streams.open(args),
    "stream.write": lambda session, args: session._streams.write(args),
    "stream.end": lambda session, args: session._streams.end(args),
    "response.start": lambda session, args: session._response_steps.start(args),
    "response.write": lambda session, args: session._response_steps.write(args),
    "response.end": lambda session, args: session._response_steps.end(args),
    "visitor.left": Session._wait_for_leaving,
    "sleep": Session._sleep,
}
