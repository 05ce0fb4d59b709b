"""A fetch to a hostname that this host serves: handed to dispatch in this process, as if it had come by a
connection, and never by one.

It comes as from outside: its own ray, admission and limits, no trusted proxy's word. The signed hop header goes
along, so that workers which call each other in a circle are stopped where hosts would be. Only a name that DNS
leads here is asked for (outbound.attempt), so that a route for somebody else's name catches nobody's requests.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from dispatch.routing import NoRoute, Routed
from model.capabilities import EventContext
from model.errors import UpstreamError
from model.messages import Headers, OutgoingRequest, Response, StreamClosed
from outbound.target import Target

_log = logging.getLogger("tenantry.local_dispatch")

Message = MutableMapping[str, Any]
App = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
Match = Callable[[str, str, Headers], Routed | NoRoute]


class LocalDispatch:
    """Implements outbound.door.LocalDispatch. `ports` are those on which visitors reach this host."""

    def __init__(self, app: App, match: Match, ports: frozenset[int]) -> None:
        self._app = app
        self._match = match
        self._ports = ports
        self._running: set[asyncio.Task[None]] = set()

    def __call__(
        self, target: Target, request: OutgoingRequest, context: EventContext
    ) -> Awaitable[Response] | None:
        if target.port not in self._ports:
            return None
        if isinstance(self._match(target.host, target.path, request.headers), NoRoute):
            return None
        return self._answer(target, request)

    async def _answer(self, target: Target, request: OutgoingRequest) -> Response:
        answer = _Answer()
        scope = _scope(target, request, answer)
        task = asyncio.create_task(self._run(scope, _receiving(request), answer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await answer.begun.wait()
        except asyncio.CancelledError:
            answer.close()
            raise
        if answer.status == 0:
            raise UpstreamError(f"{target.host} did not answer")
        return Response(answer.status, answer.headers, answer.whole if answer.whole is not None else answer)

    async def _run(self, scope: Message, receive: Callable[[], Awaitable[Message]], answer: _Answer) -> None:
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            _log.exception("a request of this host to itself")
        finally:
            answer.over()


class _Answer:
    """The other end of ASGI `send`, as a ByteSource; and the visitor, who may leave.

    One piece waits at most: the worker writes as fast as it is read.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        #: 0 until there is one.
        self.status = 0
        self.headers: Headers = ()
        #: The body, when all of it came at once.
        self.whole: bytes | None = None
        #: As model.messages.Visitor.
        self.left = False
        self.on_leave: Callable[[], None] | None = None
        self._pieces: deque[bytes] = deque()
        self._ended = False
        self._broken = False
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    async def send(self, message: Message) -> None:
        if self.left:
            raise OSError("nobody reads any more")
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
            return
        piece: bytes = message.get("body", b"")
        self._ended = not message.get("more_body", False)
        if not self.begun.is_set():
            if self._ended:
                self.whole = piece
            self.begun.set()
        if piece and self.whole is None:
            self._pieces.append(piece)
        self._arrived.set()
        while len(self._pieces) > 1 and not self.left:
            self._room.clear()
            await self._room.wait()

    async def read(self) -> bytes:
        while not self._pieces:
            if self._broken:
                raise UpstreamError("the worker broke off before the response's end")
            if self._ended or self.left:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        self._room.set()
        return self._pieces.popleft()

    def close(self) -> None:
        if self.left or (self._ended and not self._pieces):
            return
        self.left = True
        self._pieces.clear()
        self._room.set()
        self._arrived.set()
        if self.on_leave is not None:
            self.on_leave()

    def over(self) -> None:
        """The app has returned."""
        self._broken = not self._ended
        self.begun.set()
        self._arrived.set()


def _scope(target: Target, request: OutgoingRequest, answer: _Answer) -> Message:
    headers = [(b"host", target.authority.encode("ascii")), *request.headers]
    if isinstance(request.body, bytes):
        headers.append((b"content-length", str(len(request.body)).encode("ascii")))
    elif request.body is not None:
        headers.append((b"transfer-encoding", b"chunked"))
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": target.scheme,
        "path": target.path,
        "raw_path": target.path.encode("ascii"),
        "query_string": target.query.encode("ascii"),
        "root_path": "",
        "headers": headers,
        # Nobody whose word about where a request came from could be trusted.
        "client": None,
        "server": (target.host, target.port),
        "extensions": {"tenantry.visitor": answer},
    }


def _receiving(request: OutgoingRequest) -> Callable[[], Awaitable[Message]]:
    body = request.body
    ended = False

    async def receive() -> Message:
        nonlocal ended
        if ended:
            return {"type": "http.disconnect"}
        if body is None or isinstance(body, bytes):
            ended = True
            return {"type": "http.request", "body": body or b"", "more_body": False}
        try:
            piece = await body.read()
        except (StreamClosed, UpstreamError):
            ended = True
            return {"type": "http.disconnect"}
        ended = not piece
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    return receive
