"""Rule: an address says exactly where we listen; a port is ours alone, though many listen on it."""

from __future__ import annotations

import socket

import pytest

from processes import listeners
from processes.listeners import BadListenAddress, ListenAddress, PortGroup, parse_listen_address


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8787", "127.0.0.1", 8787, True),
        ("127.9.9.9:0", "127.9.9.9", 0, True),
        ("localhost:65535", "127.0.0.1", 65535, True),
        ("[::1]:80", "::1", 80, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        ("[::]:80", "::", 80, False),
        ("[0:0:0::1]:80", "::1", 80, True),
        ("10.0.0.1:80", "10.0.0.1", 80, False),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int, loopback: bool) -> None:
    address = parse_listen_address(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert parse_listen_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "HOST:PORT"),
        ("8787", "HOST:PORT"),
        ("127.0.0.1", "HOST:PORT"),
        ("127.0.0.1:", "HOST:PORT"),
        ("127.0.0.1:65536", "65535"),
        ("127.0.0.1:-1", "HOST:PORT"),
        ("127.0.0.1:٣", "HOST:PORT"),
        ("::1:80", "brackets"),
        ("[127.0.0.1]:80", "brackets"),
        ("example.com:80", "no IP address"),
        (":80", "no IP address"),
        ("127.1:80", "no IP address"),
    ],
)
def test_what_is_no_address_is_refused_with_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(BadListenAddress, match=says):
        parse_listen_address(text)


def test_many_listeners_share_one_port_and_nobody_else_gets_it() -> None:
    group = PortGroup(ListenAddress("127.0.0.1", 0))
    listeners = [group.open() for _ in range(3)]
    for listener in listeners:
        listener.listen()
    assert {listener.getsockname()[1] for listener in listeners} == {group.address.port}
    with pytest.raises(OSError, match="in use"):
        PortGroup(group.address)
    for listener in listeners:
        listener.close()
    with pytest.raises(OSError, match="in use"):
        PortGroup(group.address)
    group.open().close()
    group.close()
    PortGroup(group.address).close()


@pytest.mark.parametrize("chosen", [True, False])
def test_a_port_that_is_taken_at_once_is_given_up_if_the_kernel_chose_it(
    monkeypatch: pytest.MonkeyPatch, chosen: bool
) -> None:
    """Between the look whether it is free and the claim, a connection that somebody opens may get it."""
    free = PortGroup(ListenAddress("127.0.0.1", 0))
    wanted = 0 if chosen else free.address.port
    free.close()
    takers: list[socket.socket] = []
    anchored = listeners._anchored

    def slow(address: ListenAddress) -> socket.socket:
        if not takers:
            taker = socket.socket()
            taker.bind((address.host, address.port))
            takers.append(taker)
        return anchored(address)

    monkeypatch.setattr(listeners, "_anchored", slow)
    if chosen:
        group = PortGroup(ListenAddress("127.0.0.1", wanted))
        assert group.address.port != takers[0].getsockname()[1]
        group.close()
    else:
        with pytest.raises(OSError, match="in use"):
            PortGroup(ListenAddress("127.0.0.1", wanted))
    takers[0].close()
