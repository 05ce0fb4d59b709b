"""A small HTTP/1.1 client over asyncio streams, for the soak: it knows its own port, and says how it failed."""

from __future__ import annotations

import asyncio


class Broken(Exception):
    """The connection ended, or an answer did not come, before the answer was whole."""


class Connection:
    """Kept alive, one request at a time. `port` is its own end, by which the server's process is found."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.port = 0

    async def request(
        self, hostname: str, path: str = "/", method: str = "GET", body: bytes = b"", timeout_s: float = 30.0
    ) -> tuple[int, bytes]:
        """Status and body. Raises Broken; the next request then makes a new connection."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(hostname, path, method, body)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.close()
            raise Broken(f"{method} {hostname}{path[:60]}: {type(error).__name__}: {error}") from error

    async def send_only(self, hostname: str, path: str, method: str = "GET", head: bytes = b"") -> None:
        """A request whose answer nobody will wait for."""
        try:
            await self._open()
            assert self._writer
            self._writer.write(f"{method} {path} HTTP/1.1\r\nHost: {hostname}\r\n".encode() + head + b"\r\n")
            await self._writer.drain()
        except OSError as error:
            self.close()
            raise Broken(str(error)) from error

    async def _open(self) -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._server_port)
            self.port = self._writer.get_extra_info("sockname")[1]

    async def _exchange(self, hostname: str, path: str, method: str, body: bytes) -> tuple[int, bytes]:
        await self._open()
        assert self._reader
        assert self._writer
        head = f"{method} {path} HTTP/1.1\r\nHost: {hostname}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        await self._writer.drain()
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        if headers.get("transfer-encoding") == "chunked":
            answer = await self._chunks()
        else:
            answer = await self._reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), answer

    async def _chunks(self) -> bytes:
        assert self._reader
        parts = []
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readuntil(b"\r\n")
        return b"".join(parts)

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.transport.abort()
