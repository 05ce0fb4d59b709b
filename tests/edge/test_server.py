"""Rule: draining loses no request whose bytes have come, says `Connection: close` on what it still
answers, and takes nothing new; no signal handler is touched; a thousand visitors leave nothing behind.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from typing import Any

import pytest

from edge.door import DoorLimits
from edge.protocol import DoorProtocol
from edge.server import DoorServer
from tests.edge.conftest import StartServer, hello
from tests.support.waiting import until

REQUEST = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"


def read_all(sock: socket.socket) -> bytes:
    with sock:
        return b"".join(iter(lambda: sock.recv(65536), b""))


class Gate:
    """An app that answers when it is let."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.begun.set()
        await self.open.wait()
        await hello(scope, receive, send)


async def test_a_running_request_is_answered_with_connection_close(start_server: StartServer) -> None:
    gate = Gate()
    served = await start_server(gate)
    visit = await served.visit()
    await visit.send(REQUEST)
    await gate.begun.wait()
    served.server.begin_drain()
    assert not await served.server.drained(0.05)
    gate.open.set()
    status, header, _ = await visit.response()
    assert (status, b"connection: close" in header) == (200, True)
    assert await visit.closed()
    assert await served.server.drained(60)


async def test_a_body_that_ends_early_closes_the_connection_and_is_no_error_of_the_host_s(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker's stream that fails comes to this, as often as the worker likes."""

    async def breaks_off(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        if scope["path"] == "/raise":
            raise ValueError("a fault of ours")

    served = await start_server(breaks_off)
    for path, logged in (("/x", []), ("/raise", ["Exception in ASGI application"])):
        visit = await served.visit()
        await visit.send(REQUEST.replace(b"/x", path.encode()))
        async with asyncio.timeout(60):
            answer = await visit.reader.read()
        assert answer.endswith(b"\r\n\r\n4\r\nhalf\r\n"), (
            "the last chunk is missing, so that the visitor can tell"
        )
        assert [record.getMessage().strip() for record in caplog.records] == logged


async def test_every_pipelined_request_is_answered_and_the_last_says_close(start_server: StartServer) -> None:
    gate = Gate()
    served = await start_server(gate)
    visit = await served.visit()
    await visit.send(REQUEST * 3)
    await gate.begun.wait()
    served.server.begin_drain()
    gate.open.set()
    answers = [await visit.response() for _ in range(3)]
    assert [(status, b"connection: close" in header) for status, header, _ in answers] == [
        (200, False),
        (200, False),
        (200, True),
    ]
    assert await visit.closed()


async def test_a_request_whose_head_is_half_here_is_still_answered(start_server: StartServer) -> None:
    served = await start_server(hello)
    fresh, used = await served.visit(), await served.visit()
    await used.send(REQUEST)
    await used.response()
    for visit in (fresh, used):
        await visit.send(REQUEST[:20])
    for _ in range(20):  # turns, in each of which the server reads
        await asyncio.sleep(0.005)
    served.server.begin_drain()
    for visit in (fresh, used):
        await visit.send(REQUEST[20:])
        status, header, _ = await visit.response()
        assert (status, b"connection: close" in header) == (200, True)


async def test_idle_and_silent_connections_are_closed(start_server: StartServer) -> None:
    served = await start_server(hello, DoorLimits(header_timeout_s=1.0))
    idle, silent = await served.visit(), await served.visit()
    await idle.send(REQUEST)
    await idle.response()
    served.server.begin_drain()
    assert await idle.closed()
    assert await silent.closed()
    assert await served.server.drained(60)


async def test_who_waits_in_the_queue_when_draining_begins_is_answered(start_server: StartServer) -> None:
    """The kernel has shaken hands with them, and the loop has not looked since."""
    served = await start_server(hello)
    waiting = [socket.create_connection((served.address.host, served.address.port), 60) for _ in range(20)]
    served.server.begin_drain()
    for sock in waiting:
        sock.sendall(REQUEST)
    answers = await asyncio.gather(*(asyncio.to_thread(read_all, sock) for sock in waiting))
    assert all(b" 200 OK" in answer and b"connection: close" in answer for answer in answers), answers
    assert await served.server.drained(60)


async def test_a_request_that_came_on_an_idle_connection_just_before_is_answered(
    start_server: StartServer,
) -> None:
    served = await start_server(hello)
    visits = [await served.visit() for _ in range(20)]
    for visit in visits:
        await visit.send(REQUEST)
        await visit.response()
    for visit in visits:
        os.write(visit.writer.get_extra_info("socket").fileno(), REQUEST)
    served.server.begin_drain()
    for visit in visits:
        status, header, _ = await visit.response()
        assert (status, b"connection: close" in header) == (200, True)


async def test_a_listener_that_somebody_else_holds_goes_on_to_listen(start_server: StartServer) -> None:
    """A successor finds in its queue who came between the two."""
    served = await start_server(hello)
    held = served.server._sockets[0].dup()
    served.server.begin_drain()
    answer = asyncio.ensure_future(served.ask(REQUEST))
    assert await served.server.drained(60)
    successor = DoorServer(hello)
    await successor.start([held])
    assert (await answer)[0] == 200
    successor.close()
    assert await successor.drained(60)


async def test_nothing_new_is_accepted_while_draining(start_server: StartServer) -> None:
    served = await start_server(hello)
    served.server.begin_drain()
    served.server.begin_drain()
    with pytest.raises(ConnectionError):
        await served.visit()


async def test_close_breaks_off_what_is_left(start_server: StartServer) -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope["extensions"]["tenantry.visitor"].on_leave = left.set
        begun.set()
        await left.wait()

    served = await start_server(app)
    visit = await served.visit()
    await visit.send(REQUEST)
    await begun.wait()
    served.server.close()
    await asyncio.wait_for(left.wait(), 60)
    assert await visit.closed()


async def test_of_thousands_of_connections_each_is_swept_and_a_few_hundred_at_once(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them idle: each is closed in its time, whichever turn it is in."""
    turns: list[int] = []
    count = 0
    sweep = DoorProtocol.sweep

    def counted(self: DoorProtocol, now: float) -> None:
        nonlocal count
        if not count:
            asyncio.get_running_loop().call_soon(end_of_turn)
        count += 1
        sweep(self, now)

    def end_of_turn() -> None:
        nonlocal count
        turns.append(count)
        count = 0

    monkeypatch.setattr(DoorProtocol, "sweep", counted)
    served = await start_server(hello, DoorLimits(header_timeout_s=1.0))
    visits = [await served.visit() for _ in range(700)]
    assert all(await asyncio.gather(*(visit.closed() for visit in visits)))
    assert max(turns) <= 256
    assert sum(turns) >= 700


async def test_signals_stay_the_process_s(start_server: StartServer) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    served = await start_server(hello)
    await served.ask(REQUEST)
    served.server.begin_drain()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


async def test_a_date_is_sent_when_it_is_wanted(start_server: StartServer) -> None:
    for wanted in (True, False):
        served = await start_server(hello, date_header=wanted)
        assert (b"\r\ndate: " in (await served.ask(REQUEST))[1]) is wanted


async def test_a_thousand_visitors_leave_nothing_behind(start_server: StartServer) -> None:
    """In every way to leave: answered, refused, in mid-head, in mid-request."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/stay":
            await receive()
            await receive()
        else:
            await hello(scope, receive, send)

    served = await start_server(app)

    async def visits() -> None:
        for data in (REQUEST, b"GET / HTTP/1.1\r\n\r\n", REQUEST[:20], REQUEST.replace(b"/x", b"/stay")):
            visit = await served.visit()
            await visit.send(data)
            if data in (REQUEST, b"GET / HTTP/1.1\r\n\r\n"):
                await visit.response()
            visit.leave()

    for _ in range(250):
        await visits()
    await until(lambda: not served.server.connection_count and not served.server.server_state.tasks)
    gc.collect()
    assert not served.server.server_state.tasks
    assert not [thing for thing in gc.get_objects() if isinstance(thing, DoorProtocol)]
