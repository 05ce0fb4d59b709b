"""A hostile visitor on a raw socket slows nobody: what it sends is read a piece a turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop

from edge.protocol import DoorProtocol
from edge.server import DoorServer
from processes.listeners import ListenAddress, PortGroup
from tests.edge.conftest import hello


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Any]:
    """The loop that serves in production reads up to 32 times in one turn."""
    return {"uvloop": uvloop.new_event_loop}


async def _streams(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in (b"one ", b"two ", b""):
        await send({"type": "http.response.body", "body": piece, "more_body": bool(piece)})


@pytest.mark.parametrize(
    ("request_line", "body"),
    [
        (b"GET / HTTP/1.0", b"one two "),
        (b"HEAD / HTTP/1.0", b""),
        (b"GET / HTTP/1.1", b"4\r\none \r\n4\r\ntwo \r\n0\r\n\r\n"),
    ],
)
async def test_http_1_0_visitor_gets_no_chunks(request_line: bytes, body: bytes) -> None:
    """It would take the framing for content: RFC 9112 §6.1 forbids to send it."""
    group = PortGroup(ListenAddress("127.0.0.1", 0))
    server = DoorServer(_streams)
    await server.start([group.open()])
    reader, writer = await asyncio.open_connection(group.address.host, group.address.port)
    writer.write(request_line + b"\r\nHost: a.example\r\nConnection: close\r\n\r\n")
    head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    server.close()
    assert await server.drained(60)
    group.close()
    assert rest == body
    assert (b"transfer-encoding" in head) is (request_line == b"GET / HTTP/1.1")


async def test_body_that_nobody_wants_any_more_is_read_once_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an early answer, chunks of one byte: cheap to send, dear to parse."""
    loop = asyncio.get_running_loop()
    in_this_turn = most = total = 0
    received = DoorProtocol.data_received

    def counted(protocol: DoorProtocol, data: bytes) -> None:
        nonlocal in_this_turn, most, total
        in_this_turn += len(data)
        total += len(data)
        most = max(most, in_this_turn)
        received(protocol, data)

    monkeypatch.setattr(DoorProtocol, "data_received", counted)
    turning = True

    def turn() -> None:
        nonlocal in_this_turn
        in_this_turn = 0
        if turning:
            loop.call_soon(turn)

    group = PortGroup(ListenAddress("127.0.0.1", 0))
    server = DoorServer(hello)
    await server.start([group.open()])
    turn()
    size = 8 << 20
    flood = b"1\r\na\r\n" * (size // 6)

    def send() -> None:
        import socket

        with socket.create_connection((group.address.host, group.address.port), timeout=250) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n")
            sock.recv(1000)
            sock.sendall(flood)
            sock.sendall(b"0\r\n\r\nGET /again HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
            answer = b""
            while data := sock.recv(65536):
                answer += data
        assert answer.endswith(b"/again")

    await asyncio.to_thread(send)
    turning = False
    server.close()
    assert await server.drained(60)
    group.close()
    assert total > size - 6
    assert most <= 1 << 20
