"""A real server on a real port, and a visitor that writes bytes as it likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop

from edge.door import DoorLimits
from edge.server import DoorServer
from processes.listeners import ListenAddress, PortGroup

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
StartServer = Callable[..., Awaitable["Served"]]


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    """The loop that serves in production, whose transports close and buffer in their own way."""
    return {"uvloop": uvloop.new_event_loop}


class Visit:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Ignores that the server closed: what it answered is what counts."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            pass

    async def response(self) -> tuple[int, bytes, bytes]:
        """(status, head in lower case, body) of the next response; status 0 when there is none."""
        async with asyncio.timeout(60):
            try:
                head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0, b"", b""
            _, found, rest = head.partition(b"content-length: ")
            body = await self.reader.readexactly(int(rest.partition(b"\r\n")[0])) if found else b""
            return int(head.split(b" ", 2)[1]), head, body

    async def closed(self) -> bool:
        """True once the server has closed and nothing more came."""
        async with asyncio.timeout(60):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    def leave(self) -> None:
        self.writer.transport.abort()


class Served:
    def __init__(self, server: DoorServer, address: ListenAddress) -> None:
        self.server = server
        self.address = address
        self._visits: list[Visit] = []

    async def visit(self) -> Visit:
        visit = Visit(*await asyncio.open_connection(self.address.host, self.address.port))
        self._visits.append(visit)
        return visit

    async def ask(self, data: bytes) -> tuple[int, bytes, bytes]:
        """What one new connection that sends `data` is answered."""
        visit = await self.visit()
        await visit.send(data)
        answer = await visit.response()
        visit.leave()
        return answer

    def leave_all(self) -> None:
        for visit in self._visits:
            visit.leave()


@pytest.fixture
async def start_server() -> AsyncIterator[StartServer]:
    running: list[tuple[Served, PortGroup]] = []

    async def start(app: App, limits: DoorLimits | None = None, **options: Any) -> Served:
        group = PortGroup(ListenAddress("127.0.0.1", 0))
        server = DoorServer(app, limits=limits, **options)
        await server.start([group.open()])
        served = Served(server, group.address)
        running.append((served, group))
        return served

    yield start
    for served, group in running:
        served.leave_all()
        served.server.close()
        assert await served.server.drained(60), "a request's task outlived its connection"
        group.close()


async def hello(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the path; reads no body."""
    body = scope["path"].encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the length of the body, when all of it came."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    body = b"%d" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
