"""Rule: an address says exactly where we listen; a port is ours alone, though many listen on it."""

from __future__ import annotations

import pytest

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
