"""Rule: a visitor that takes a response, or sends a body, more slowly than the least rate is ended; time counts
only while there is something to move, and nobody but the visitor is the reason that it does not.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from edge.door import DoorLimits
from tests.edge.conftest import Served, StartServer, Visit, echo
from tests.support.waiting import until

WINDOW_S: Final = 0.4
LIMITS: Final = DoorLimits(min_rate=1_000_000, rate_window_s=WINDOW_S)
#: For who is not slow: a machine that stops this process for a moment is no reason to end them.
PATIENT_WINDOW_S: Final = 1.2
PATIENT: Final = DoorLimits(min_rate=1_000_000, rate_window_s=PATIENT_WINDOW_S)
SIZE: Final = 32 << 20
GET: Final = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST: Final = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n"


async def visit_with_little_room(served: Served) -> Visit:
    """A visitor whose kernel takes a few kilobytes ahead of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (served.address.host, served.address.port))
    return Visit(*await asyncio.open_connection(sock=sock, limit=1024))


async def start_answer(send: Any) -> None:
    headers = [(b"content-length", b"%d" % SIZE)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def whole(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The response is finished, as far as the app knows, before the visitor has any of it."""
    await start_answer(send)
    await send({"type": "http.response.body", "body": b"w" * SIZE})


async def in_pieces(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The response is unfinished while the visitor does not take it."""
    await start_answer(send)
    for _ in range(SIZE >> 20):
        await send({"type": "http.response.body", "body": b"p" * (1 << 20), "more_body": True})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize("app", [whole, in_pieces])
async def test_a_response_read_at_a_trickle_is_broken_off(
    start_server: StartServer, app: Callable[..., Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tenantry.door")
    served = await start_server(app, LIMITS)
    visit = await visit_with_little_room(served)
    await visit.send(GET)

    async def trickle() -> None:
        while await visit.reader.read(1000):  # noqa: ASYNC110 - it is slow on purpose
            await asyncio.sleep(0.02)

    with pytest.raises(ConnectionResetError):  # so the kernel keeps nothing for it either
        await trickle()
    visit.leave()
    await until(lambda: served.server.connection_count == 0)
    assert served.server.door.slow == {"response": 1}
    assert "fewer than 1000000 bytes/s of its response" in caplog.text


@pytest.mark.parametrize("app", [whole, in_pieces])
async def test_a_response_of_which_nothing_is_taken_is_broken_off(
    start_server: StartServer, app: Callable[..., Awaitable[None]]
) -> None:
    served = await start_server(app, LIMITS)
    visit = await visit_with_little_room(served)
    await visit.send(GET)
    await until(lambda: served.server.door.slow["response"] == 1)
    visit.leave()


@pytest.mark.parametrize("app", [whole, in_pieces])
async def test_whoever_keeps_the_rate_gets_all_of_it(
    start_server: StartServer, app: Callable[..., Awaitable[None]]
) -> None:
    """It takes a megabyte in a tenth of a second, for more than two windows."""
    served = await start_server(app, PATIENT)
    visit = await served.visit()
    await visit.send(GET)
    await visit.reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(60):
        for _ in range(SIZE >> 20):
            await visit.reader.readexactly(1 << 20)
            await asyncio.sleep(0.1)
    assert not served.server.door.slow


async def test_a_stream_in_which_there_is_nothing_to_send_may_take_its_time(
    start_server: StartServer,
) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        for word in (b"one", b"two", b"six"):
            await asyncio.sleep(1.2 * PATIENT_WINDOW_S)
            await send({"type": "http.response.body", "body": word, "more_body": word != b"six"})

    served = await start_server(app, PATIENT)
    assert (await served.ask(GET))[2] == b"onetwosix"
    assert not served.server.door.slow


async def test_an_upload_at_a_trickle_gets_408_and_its_app_is_told(start_server: StartServer) -> None:
    told = asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        told.set()

    served = await start_server(app, LIMITS)
    visit = await served.visit()
    await visit.send(POST + b"\r\n")

    async def trickle() -> None:
        while True:
            await visit.send(b"t")
            await asyncio.sleep(0.02)

    trickling = asyncio.create_task(trickle())
    status, head, body = await visit.response()
    trickling.cancel()
    assert (status, body) == (408, b"The request's body came too slowly\n")
    assert b"connection: close" in head
    async with asyncio.timeout(60):
        await told.wait()
    assert served.server.door.slow == {"request": 1}
    assert served.server.door.refused == {408: 1}


async def test_an_upload_that_nobody_reads_yet_is_not_the_visitor_s_fault(start_server: StartServer) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await asyncio.sleep(2 * PATIENT_WINDOW_S)
        await echo(scope, receive, send)

    served = await start_server(app, PATIENT)
    assert (await served.ask(POST + b"\r\n" + b"x" * 1_000_000))[2] == b"1000000"
    assert not served.server.door.slow


async def test_a_visitor_that_waits_to_be_asked_for_its_body_is_not_slow(start_server: StartServer) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await asyncio.sleep(2 * PATIENT_WINDOW_S)
        await echo(scope, receive, send)

    served = await start_server(app, PATIENT)
    visit = await served.visit()
    await visit.send(POST + b"Expect: 100-continue\r\n\r\n")
    assert (await visit.response())[0] == 100
    await visit.send(b"x" * 1_000_000)
    assert (await visit.response())[2] == b"1000000"
    assert not served.server.door.slow
