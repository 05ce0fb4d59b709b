"""A visitor's request, or another worker's, on its way through a sandbox: what the handler is given, and what becomes
of what it returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

from model.capabilities import EventContext
from model.errors import OperationError
from model.limits import Limits
from model.messages import IncomingRequest, OutboundResponder, RequestChanges, Responder, Visitor
from model.tasks import in_task
from runtime import metering
from runtime.abi.core_module import codec
from runtime.abi.core_module.codec import GuestResponse
from runtime.capi.guest import AbiViolation
from runtime.event import Event
from runtime.fiber import Stopped
from runtime.sandbox import Sandbox
from runtime.tracing import request_event

if TYPE_CHECKING:
    from runtime.worker import Worker


class FetchEvent(Event):
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
        told, cf = worker.told_bindings, None
        if told is not None and worker.version.trusted:
            protocol = self._given.client.protocol
            cf = {"httpProtocol": protocol} if protocol else {}
        return codec.encode_request(self._given, worker.env.vars, self._params, body_stream, told, cf)

    def asked(self, status: int) -> Mapping[str, object]:
        return request_event(self._given, status)

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
        self.response_ended = True
        return None

    def _go_on(self, sandbox: Sandbox, changes: RequestChanges) -> None:
        """An outbound worker lets the request go on, with the body that came with it."""
        responder = self._to
        if not isinstance(responder, OutboundResponder):
            raise AbiViolation("`continue`: only an outbound worker may return it; a Response is right here")
        if self._body_stream is not None:
            try:
                sandbox.session.give_back(self._body_stream)
            except OperationError as error:
                raise AbiViolation(f"`continue`: the request's body: {error.message}") from error
        responder.go_on(changes)
        self.response_ended = True

    async def _send(self, sandbox: Sandbox, response: GuestResponse) -> None:
        await self._begin_to_wait(sandbox)
        await self._to.send_whole(response.status, response.headers, response.body)
        self.response_ended = True

    async def _settle(self, sandbox: Sandbox) -> None:
        """The guest has streamed its response."""
        await self._begin_to_wait(sandbox)
        responder = self._to
        await sandbox.session.response_settled()
        if not responder.started:
            raise AbiViolation("`fetch` returned 0 without having started a response")
        if not self.response_ended:
            await responder.end()
            self.response_ended = True

    async def _pass_on(self, sandbox: Sandbox, response: GuestResponse, stream_id: int) -> None:
        await self._begin_to_wait(sandbox)
        responder = self._to
        try:
            source = sandbox.session.borrow_stream(stream_id)
        except OperationError as error:
            raise AbiViolation(f"Response: `body_stream`: {error.message}") from error
        await sandbox.close_guest()
        await responder.start(response.status, response.headers)
        while data := await source.read():
            await responder.write(data)
        await responder.end()
        self.response_ended = True

    async def _begin_to_wait(self, sandbox: Sandbox) -> None:
        """From here on it is this task that waits, for a slow visitor or source: dooming cancels it."""
        self.passing_on = await in_task()
        if sandbox.guest.doomed is not None:
            raise Stopped(sandbox.guest.doomed)
        if self.is_abandoned:
            raise Stopped(metering.CANCELED)
