"""One request at a time over a bare socket, with the time that its answer took."""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import Final, Self

from benchmarks.host import BenchFailed

_ANSWER_S: Final = 10.0


class RawConnection:
    """Kept alive; answers must have a Content-Length."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _ANSWER_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def timed(self, request: bytes) -> float:
        """Seconds from the request to the last byte of its answer. Raises BenchFailed when that is no 200."""
        started = time.perf_counter()
        self._socket.sendall(request)
        data = self._socket.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(row[15:]) for row in head.lower().split(b"\r\n") if row.startswith(b"content-length:")), 0
        )
        while len(body) < length and data:
            data = self._socket.recv(65536)
            body += data
        took = time.perf_counter() - started
        if not head.startswith(b"HTTP/1.1 200 ") or len(body) != length:
            raise BenchFailed(f"an answer is no 200: {head[:200]!r}")
        return took


def exchange_once(port: int, request: bytes) -> bool:
    """Whether there is a 200 on a connection of its own."""
    try:
        with RawConnection(port) as connection:
            connection.timed(request)
    except (OSError, BenchFailed):
        return False
    return True
