"""The upstream of the egress benchmarks: a hello of a few bytes, and as many zeros as are asked for.

Prints its port and serves until its stdin is closed. As little as HTTP allows, so that it never is what is
measured.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

_HELLO = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n\r\nhello\n"
_PIECE = bytes(256 * 1024)


class _Upstream(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""
        self._left = 0
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, self._received = self._received.partition(b"\r\n\r\n")
        if not end:
            self._received = head
            return
        path = head.split(b" ", 2)[1]
        if path == b"/hello":
            self._transport.write(_HELLO)
        else:
            self._left = int(path.removeprefix(b"/zeros/"))
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % self._left)
            self._send()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._send()

    def _send(self) -> None:
        while self._left and not self._full:
            piece = _PIECE[: self._left]
            self._left -= len(piece)
            self._transport.write(piece)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Upstream, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
