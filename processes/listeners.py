"""Listening sockets: made by the supervisor, inherited by the process that accepts on them."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from typing import Final

#: To find a port that nobody takes between two looks.
_ATTEMPTS: Final = 10


class BadListenAddress(ValueError):
    """The message names the address, what was wrong, and what would be right."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """`host` is an IP literal without brackets; port 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback


def parse_listen_address(text: str) -> ListenAddress:
    """`127.0.0.1:8787`, `[::1]:8787` or `localhost:8787` (127.0.0.1). Raises BadListenAddress.

    A name is refused: which of its addresses is meant could change with every look-up.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not port.isascii() or int(port) > 65_535:
        raise BadListenAddress(f"{text[:80]!r}: HOST:PORT with a port from 0 to 65535 is right")
    if host == "localhost":
        host = "127.0.0.1"
    if host.startswith("[") and host.endswith("]"):
        if ":" not in host:
            raise BadListenAddress(f"{text[:80]!r}: brackets belong around an IPv6 address, and only there")
        host = host[1:-1]
    elif ":" in host:
        raise BadListenAddress(f"{text[:80]!r}: an IPv6 address stands in brackets, as in [::1]:{port}")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise BadListenAddress(
            f"{text[:80]!r}: {host[:60]!r} is no IP address; 127.0.0.1, 0.0.0.0 or [::] are"
        ) from None
    return ListenAddress(address.compressed, int(port))


class PortGroup:
    """One TCP port, on which each process has a listener of its own (SO_REUSEPORT).

    The kernel spreads new connections over the listeners by hash; a listener keeps its queue as long as
    anyone holds it open, so a process that is restarted finds the connections that came meanwhile.
    """

    def __init__(self, address: ListenAddress) -> None:
        """Reserve the port. Raises OSError (EADDRINUSE, EACCES, EADDRNOTAVAIL)."""
        #: Bound, never listening: it gets no connection, but keeps the port ours while every listener is
        #: closed (all processes in back-off).
        self._anchor = _reserved(address)
        self.address = ListenAddress(address.host, self._anchor.getsockname()[1])

    def open(self) -> socket.socket:
        """A new listener. It gets connections once its process listens, which a server does when it is
        ready: one that never gets that far has no visitor waiting. It then stays so for the successor.
        """
        return _bound(self.address, shared=True)

    def close(self) -> None:
        self._anchor.close()


def _reserved(address: ListenAddress) -> socket.socket:
    """The anchor. Of a port that the kernel chose, somebody's outgoing connection may be faster: then another."""
    attempts = 1 if address.port else _ATTEMPTS
    while True:
        attempts -= 1
        # With SO_REUSEPORT a second platform of the same user could share our port, and our visitors,
        # unnoticed: so ask for it alone first.
        with _bound(address, shared=False) as alone:
            alone.listen(1)
            port = alone.getsockname()[1]
        try:
            return _anchored(ListenAddress(address.host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not attempts:
                raise


def _anchored(address: ListenAddress) -> socket.socket:
    """Without SO_REUSEADDR, since a socket that has it, and doesn't listen, reserves nothing; but what is
    left of an earlier owner's connections (TIME_WAIT) may allow no other.
    """
    try:
        return _bound(address, shared=True, reuse_address=False)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return _bound(address, shared=True)


def _bound(address: ListenAddress, *, shared: bool, reuse_address: bool = True) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse_address))
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6 and address.host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((address.host, address.port))
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
