"""A real HTTP/1.1 server on loopback whose handler writes the bytes itself: it can be slow, rude or endless."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType


@dataclass(slots=True)
class UpstreamRequest:
    method: str
    target: str
    #: In the order sent, names in lower case.
    headers: list[tuple[str, str]]
    reader: asyncio.StreamReader

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, by content-length or chunked."""
        if self.header("transfer-encoding") == "chunked":
            while size := int((await self.reader.readline()).strip(), 16):
                while size:
                    piece = await self.reader.read(min(size, 1 << 16))
                    if not piece:
                        raise asyncio.IncompleteReadError(b"", size)
                    size -= len(piece)
                    yield piece
                await self.reader.readline()
            await self.reader.readline()
            return
        left = int(self.header("content-length") or 0)
        while left:
            piece = await self.reader.read(min(left, 1 << 16))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            yield piece

    async def body(self) -> bytes:
        return b"".join([piece async for piece in self.chunks()])


Handler = Callable[[UpstreamRequest, asyncio.StreamWriter], Awaitable[None]]


def respond(writer: asyncio.StreamWriter, status: int, body: bytes, *headers: str) -> None:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


async def say_hello(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
    body = await request.body()
    respond(writer, 200, f"{request.method} {request.target} {request.header('host')} ".encode() + body)


class Upstream:
    """`async with Upstream(handler) as upstream:`; `upstream.port`. Connections are kept alive."""

    def __init__(
        self, handler: Handler = say_hello, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.handler = handler
        self.connections = 0
        self.open_connections = 0
        self._all_closed = asyncio.Event()
        self.requests: list[UpstreamRequest] = []
        self._tls = tls
        self._host = host
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Upstream:
        self._server = await asyncio.start_server(self._connected, self._host, 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def closed(self) -> None:
        """Wait until no connection is open."""
        async with asyncio.timeout(60):
            await self._all_closed.wait()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        self._all_closed.clear()
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                line, *rest = head.rstrip("\r\n").split("\r\n")
                method, target, _ = line.split(" ")
                headers = [(k.strip().lower(), v.strip()) for k, _, v in (h.partition(":") for h in rest)]
                request = UpstreamRequest(method, target, headers, reader)
                self.requests.append(request)
                await self.handler(request, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()
            self.open_connections -= 1
            if not self.open_connections:
                self._all_closed.set()
