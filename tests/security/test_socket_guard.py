"""The guard of tests/conftest.py is up: a test that tries to reach another machine does not."""

from __future__ import annotations

import socket

import pytest

from tests.conftest import LeftTheMachine, stays_here


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.255.255.255", True),
        ("128.0.0.0", False),
        ("::1", True),
        ("::2", False),
        ("localhost", True),
        ("a.localhost", True),
        ("a.example", False),
        ("192.0.2.1", True),  # a documentation block: nobody is there
        ("192.0.3.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        (None, True),
    ],
)
def test_what_stays_here(host: str | None, here: bool) -> None:
    assert stays_here(host) is here


def test_nothing_leaves_the_machine() -> None:
    with pytest.raises(LeftTheMachine):
        socket.create_connection(("10.255.255.1", 80), timeout=0.1)
    with pytest.raises(LeftTheMachine):
        socket.getaddrinfo("a.example", 80)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(LeftTheMachine):
        sock.sendto(b"x", ("10.255.255.1", 53))
