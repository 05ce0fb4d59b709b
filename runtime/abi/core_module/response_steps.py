"""The operations `response.*` of one event: they are carried out one after another, in the order in which they were
asked, whether or not the guest waits in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from model.errors import OperationError, OperationErrorCode
from model.messages import Responder
from runtime.abi.core_module.event_streams import as_bytes
from runtime.abi.core_module.guest_headers import decode_headers
from runtime.capi.guest import AbiViolation


class Answering(Protocol):
    """The event, as far as its response goes."""

    responder: Responder | None
    response_ended: bool

    @property
    def is_closed(self) -> bool: ...

    @property
    def visitor_left(self) -> bool: ...

    def end_response(self) -> None:
        """The visitor has all of it."""


class ResponseSteps:
    """Each operation gets its arguments as the guest sent them, and answers what is to be awaited."""

    __slots__ = ("_event", "_turn", "last")

    def __init__(self, event: Answering) -> None:
        self._event = event
        self._turn = asyncio.Lock()
        #: The latest that was asked for.
        self.last: asyncio.Task[object] | None = None

    def start(self, args: Sequence[object]) -> Awaitable[None]:
        if len(args) != 2 or not isinstance(args[0], int):
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, "response.start: a status and headers")
        try:
            headers = decode_headers(args[1])
        except AbiViolation as error:
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, f"response.start: {error}") from error
        status = args[0]
        return self._in_turn("response.start", lambda responder: responder.start(status, headers))

    def write(self, args: Sequence[object]) -> Awaitable[None]:
        if len(args) != 1 or not isinstance(args[0], (bytes, str)):
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, "response.write: bin or str")
        data = as_bytes(args[0])
        return self._in_turn("response.write", lambda responder: responder.write(data))

    def end(self, _args: Sequence[object]) -> Awaitable[None]:
        return self._in_turn("response.end", self._end)

    async def settled(self) -> None:
        """Until every one that was asked for is done, or has failed."""
        if self.last is not None and not self.last.done():
            await asyncio.wait([self.last])

    async def _in_turn(self, name: str, step: Callable[[Responder], Awaitable[None]]) -> None:
        async with self._turn:
            responder = self._responder(name)
            starts = name == "response.start"
            if responder.started == starts:
                why = "it has started already" if starts else "response.start comes first"
                raise OperationError(OperationErrorCode.INVALID_ARGUMENT, f"{name}: {why}")
            await step(responder)

    def _responder(self, name: str) -> Responder:
        event = self._event
        if event.responder is None:
            raise OperationError(
                OperationErrorCode.INVALID_ARGUMENT, f"{name}: this event has no visitor to answer"
            )
        if event.visitor_left:
            raise OperationError(OperationErrorCode.CLOSED_STREAM, f"{name}: the visitor has left")
        if event.response_ended or event.is_closed:
            raise OperationError(OperationErrorCode.CLOSED_STREAM, f"{name}: the response has ended")
        return event.responder

    async def _end(self, responder: Responder) -> None:
        await responder.end()
        self._event.end_response()
