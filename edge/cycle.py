"""One request and its response on a connection: uvicorn's cycle, with what the door adds to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn._types import ASGI3Application, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from edge.readiness import Signal
from model.messages import Headers

if TYPE_CHECKING:
    from edge.connection import DoorConnection

#: An ASGI app that does at once what can be done without waiting; what it answers is left, to be awaited at once.
AtOnce = Callable[[Any, Any, Any], Coroutine[Any, Any, None] | None]

#: A larger body is handed to the transport by itself: joining would copy it.
_JOINED_BYTES: Final = 64 * 1024
_field: Final = b": ".join
_lines: Final = b"\r\n".join


class DoorCycle(RequestResponseCycle):
    def __init__(self, connection: DoorConnection, keep_alive: bool) -> None:
        """As uvicorn's, which takes each part by itself."""
        self.scope = connection.scope
        self.transport = connection.transport
        self.flow = connection.flow
        self.logger = connection.logger
        self.access_logger = connection.access_logger
        self.access_log = connection.access_log
        self.default_headers = connection.server_state.default_headers
        self.message_event = cast(asyncio.Event, Signal())
        self.on_response = connection.on_response_complete
        self.disconnected = False
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = connection.expect_100_continue
        self.body = bytearray()
        self.more_body = True
        self.response_started = False
        self.response_complete = False
        self.chunked_encoding = None
        self.expected_content_length = 0

    def begin(self, app: AtOnce) -> Coroutine[Any, Any, None] | None:
        """As `run_asgi`, but what can be done without waiting is done now; None when that was all."""
        rest: Awaitable[None] | None
        try:
            rest = app(self.scope, self.receive, self.send)
        except Exception as error:
            rest = _raise(error)
        if rest is None and self.response_complete:
            self.on_response = _nothing
            return None
        return self.run_asgi(lambda *_: rest or _wait_for_nothing())

    async def run_asgi(self, app: ASGI3Application) -> None:
        """As uvicorn's, but a body that a worker breaks off, as its own log says, is no error in the host's."""

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)
            if self.response_started and not self.response_complete and not self.disconnected:
                self.disconnected = True
                self.transport.close()

        await super().run_asgi(answer)

    def put_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        """Send a whole response in one write: `scope["extensions"]["tenantry.put_whole"]`.

        `headers` have names in lower case, nothing that would break the framing, and the body's content-length,
        unless the response can have no body; `body` is empty for HEAD. False, and nothing was sent, when
        the visitor is slow or gone: then `send` it.
        """
        if self.flow.write_paused or self.disconnected or self.response_started:
            return False
        if self.default_headers:
            headers = [*self.default_headers, *headers]
        fields = _lines(map(_field, headers))
        end = b"\r\n\r\n" if self.keep_alive else b"\r\nconnection: close\r\n\r\n"
        if not fields:
            end = end[2:]
        transport = self.transport
        if len(body) <= _JOINED_BYTES:
            transport.write(b"".join((STATUS_LINE[status], fields, end, body)))
        else:
            transport.write(b"".join((STATUS_LINE[status], fields, end)))
            transport.write(body)
        self.waiting_for_100_continue = False
        self.response_started = self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            transport.close()
        self.on_response()
        # It would make a ring of scope and cycle, which only the collector could open.
        extensions: Any = self.scope["extensions"]
        del extensions["tenantry.put_whole"]
        return True


class UntilCloseCycle(DoorCycle):
    """Answers HTTP/1.0, which knows no chunks: a body of unknown length ends with the connection."""

    _unframed = False

    async def send(self, message: ASGISendEvent) -> None:
        if not self.response_started:
            headers: Any = message.get("headers", ())
            named = any(name.lower() == b"content-length" for name, _ in headers)
            if not named and self.scope["method"] != "HEAD" and message.get("status") not in (204, 304):
                self._unframed = True
                self.chunked_encoding = False
        elif self._unframed:
            body: Any = message.get("body", b"")
            self.expected_content_length = len(body)
        await super().send(message)


def _nothing() -> None:
    return


async def _wait_for_nothing() -> None:
    return


async def _raise(error: Exception) -> None:
    raise error
