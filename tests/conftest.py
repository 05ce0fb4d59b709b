"""No test reaches beyond this machine: whatever a bug in the gateway, or in a test, would let through ends here.

import-linter and ruff hold who may import sockets; this catches what both miss, at the moment of the call. It
sees Python's own sockets, in this process: uvloop's are libuv's, and a host under test is another process.
"""

from __future__ import annotations

import ipaddress
import sys

from hypothesis import HealthCheck, settings

from tests.support.postgres import database_address, own_postgres, postgres, stores_address
from tests.support.s3 import bucket, own_s3, s3

__all__ = [
    "LeftTheMachine",
    "bucket",
    "database_address",
    "own_postgres",
    "own_s3",
    "postgres",
    "s3",
    "stays_here",
    "stores_address",
]

#: How long an example takes on a machine that others use too says nothing.
settings.register_profile(
    "tests", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

#: Documentation blocks (RFC 5737, 3849): nobody is there, so that tests may try.
_NOBODY = [ipaddress.ip_network(block) for block in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
_NOBODY_6 = ipaddress.ip_network("2001:db8::/32")


class LeftTheMachine(BaseException):
    """Not an Exception: no handler may take it for a failed connection."""


def stays_here(host: object) -> bool:
    """Whether a connection to `host`, an address or a name, needs no other machine."""
    if not isinstance(host, str):
        return host is None
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host in ("", "localhost") or host.endswith(".localhost")
    if isinstance(address, ipaddress.IPv6Address):
        return address.is_loopback or address.is_unspecified or address in _NOBODY_6
    return address.is_loopback or address.is_unspecified or any(address in block for block in _NOBODY)


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        # AF_UNIX's is a path, and a socket that is connected sends to none.
        if isinstance(address, tuple) and address and not stays_here(address[0]):
            raise LeftTheMachine(f"{event} to {address}")
    elif event == "socket.getaddrinfo" and not stays_here(arguments[0]):
        raise LeftTheMachine(f"{event} of {arguments[0]!r}")


sys.addaudithook(_guard)
