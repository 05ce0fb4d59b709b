"""The real protocol class on a real socket, in front of one ASGI callable; and a client that shows bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[int]:
    """The port where `app` answers."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = Config(app, log_config=None, access_log=False, ws="none", lifespan="off", interface="asgi3")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpToolsProtocol(config, state, {}), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            await asyncio.wait(list(state.tasks), timeout=60)


async def exchange(port: int, request: bytes) -> bytes:
    """All bytes that come back until the server closes; `request` should ask for that."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()
