"""The other side of the comparison: an ASGI hello on the same server, with the same bytes and headers.

Reads one JSON line (headers, body, and perhaps a `sandbox`: another way to run a guest for each request, see
benchmarks/sandbox_peers.py), prints its port, serves until its stdin is closed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvloop

from edge.server import DoorServer

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def _serve() -> None:
    given = json.loads(sys.stdin.readline())
    headers = [(name.encode(), value.encode()) for name, value in given["headers"]]
    body: bytes = given["body"].encode()
    run: Callable[[], bytes] | None = None
    if "sandbox" in given:
        from benchmarks.sandbox_peers import SANDBOXES  # only here are the peers to be had

        run = SANDBOXES[given["sandbox"]](body)

    async def hello(_scope: Any, _receive: Any, send: Send) -> None:
        answer = body if run is None else run()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(2048)
    sock.setblocking(False)
    server = DoorServer(hello)
    await server.start([sock])
    print(sock.getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
