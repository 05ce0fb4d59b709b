"""A real egress proxy on loopback: CONNECT and requests for absolute URLs, by TLS or not, with or without credentials.

It dials what it is told and nothing else, and remembers every request line and header that it was sent.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlsplit


@dataclass(slots=True)
class ProxyRequest:
    line: str
    headers: dict[str, str]


@dataclass(slots=True)
class ConnectProxy:
    """`async with ConnectProxy() as proxy:`; `proxy.port`. `answer` is sent to every CONNECT instead of dialling."""

    tls: ssl.SSLContext | None = None
    authorization: str | None = None
    answer: bytes | None = None
    requests: list[ProxyRequest] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> ConnectProxy:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self.tls)
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

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rest = head.rstrip("\r\n").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (field.partition(":") for field in rest)}
            self.requests.append(ProxyRequest(line, headers))
            if self.authorization is not None and headers.get("proxy-authorization") != self.authorization:
                writer.write(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
                return
            method, url, version = line.split(" ")
            if method == "CONNECT":
                if self.answer is not None:
                    writer.write(self.answer)
                    await writer.drain()
                    await reader.read()
                    return
                host, _, port = url.rpartition(":")
                from_there, upstream = await asyncio.open_connection(host.strip("[]"), int(port))
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                parts = urlsplit(url)
                from_there, upstream = await asyncio.open_connection(parts.hostname, parts.port or 80)
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                kept = [field for field in rest if not field.lower().startswith("proxy-")]
                upstream.write("\r\n".join([f"{method} {path} {version}", *kept]).encode() + b"\r\n\r\n")
            await asyncio.gather(_copy(reader, upstream), _copy(from_there, writer))
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            for one in (writer, upstream):
                if one is not None:
                    one.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    finally:
        sink.transport.abort()
