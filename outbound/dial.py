"""Connections: TCP to exactly the address that was approved, a proxy's tunnel, TLS by name. Nothing above this.

Rule of this file: only numeric addresses are dialled, each past `guarded_socket`, which compares the socket's
address with the approved one. No name is looked up here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

from outbound.addresses import Pinned
from outbound.egress_proxy import ProxyFailed, ProxyHop, connect_request, read_answer
from outbound.reasons import Reason

_P = TypeVar("_P", bound=asyncio.Protocol)
_Transport = asyncio.Transport
#: How long the other side may take to say farewell to TLS.
_FAREWELL_S: Final = 1.0


class AddressNotApproved(OSError):
    """The guard stopped a connect to an address that was never approved: a bug, and the last net under it."""


class DialFailed(Exception):
    """No connection, so nothing of a request was sent. The message is safe to show."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Route(NamedTuple):
    """How one target is reached. `server_name` is what its certificate must be for; `tls` None: plain HTTP."""

    pinned: Pinned
    server_name: str
    tls: ssl.SSLContext | None
    proxy: ProxyHop | None = None
    #: Of the connection to an https proxy.
    proxy_tls: ssl.SSLContext | None = None


def guarded_socket(pinned: Pinned, address_info: tuple[Any, ...]) -> socket.socket:
    """A TCP socket for `address_info` (as of getaddrinfo), which must be the approved address.

    Raises AddressNotApproved.
    """
    family, kind, protocol, _, sockaddr = address_info
    approved = ipaddress.ip_address(pinned.address)
    wanted = socket.AF_INET6 if approved.version == 6 else socket.AF_INET
    if (
        kind != socket.SOCK_STREAM
        or family != wanted
        or ipaddress.ip_address(sockaddr[0]) != approved
        or sockaddr[1] != pinned.port
        or (len(sockaddr) == 4 and sockaddr[3] != 0)
    ):
        raise AddressNotApproved(f"connect to {sockaddr[0]} was not approved")
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made


async def dial(route: Route, make: Callable[[], _P], connect_s: float) -> _P:
    """A connected protocol of `make`'s. Raises DialFailed. Cancelling leaves nothing open."""
    name = route.server_name
    try:
        async with asyncio.timeout(connect_s):
            if route.proxy is None:
                return await _direct(route, make)
            return await _through_proxy(route, route.proxy, make)
    except TimeoutError:
        if route.proxy is not None:
            raise DialFailed(Reason.PROXY_FAILED, "the egress proxy did not connect in time") from None
        raise DialFailed(Reason.CONNECT_TIMEOUT, f"{name} did not accept in time") from None
    except ProxyFailed as error:
        raise DialFailed(Reason.PROXY_FAILED, str(error)) from error
    except AddressNotApproved as error:
        raise DialFailed(Reason.ADDRESS_NOT_CLASSIFIED, f"{name} was not dialled") from error
    except ssl.SSLError as error:
        raise DialFailed(Reason.TLS_FAILED, f"TLS with {name} failed: {_tls_words(error)}") from error
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else "no connection"
        raise DialFailed(Reason.CONNECT_FAILED, f"{name} can't be connected to: {words}") from error


async def _direct(route: Route, make: Callable[[], _P]) -> _P:
    connected = await _connect(route.pinned)
    if route.tls is None:
        return await _over(connected, make, None, None)
    try:
        return await _over(connected, make, route.tls, route.server_name)
    except ssl.SSLError:
        raise
    except OSError as error:
        raise _no_handshake(route) from error


async def _through_proxy(route: Route, proxy: ProxyHop, make: Callable[[], _P]) -> _P:
    """For https a tunnel to the pinned address; for http the proxy itself is spoken to."""
    outer_tls = route.proxy_tls if proxy.scheme == "https" else None
    outer_name = proxy.host if outer_tls is not None else None
    connected = await _first(proxy.addresses)
    try:
        if route.tls is None:
            return await _over(connected, make, outer_tls, outer_name)
        tunnel = await _over(connected, _Tunnel, outer_tls, outer_name)
    except OSError as error:
        raise ProxyFailed("the egress proxy can't be connected to by TLS") from error
    transport = tunnel.transport
    protocol = make()
    try:
        await tunnel.open(connect_request(route.pinned, proxy.authorization))
        inner = await asyncio.get_running_loop().start_tls(
            transport,
            protocol,
            route.tls,
            server_hostname=route.server_name,
            ssl_shutdown_timeout=_FAREWELL_S,
        )
        if inner is None:
            raise _no_handshake(route)
    except BaseException as error:
        transport.abort()
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            raise _no_handshake(route) from error
        raise
    protocol.connection_made(inner)
    return protocol


async def _first(addresses: tuple[Pinned, ...]) -> socket.socket:
    failure: OSError | None = None
    for address in addresses:
        try:
            return await _connect(address)
        except OSError as error:
            failure = error
    raise ProxyFailed("the egress proxy can't be connected to") from failure


async def _connect(pinned: Pinned) -> socket.socket:
    is_v6 = ":" in pinned.address
    sockaddr: tuple[Any, ...] = (
        (pinned.address, pinned.port, 0, 0) if is_v6 else (pinned.address, pinned.port)
    )
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    made = guarded_socket(pinned, (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", sockaddr))
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, sockaddr)
    except BaseException:
        made.close()
        raise
    return made


async def _over(
    connected: socket.socket, make: Callable[[], _P], tls: ssl.SSLContext | None, name: str | None
) -> _P:
    try:
        _, protocol = await asyncio.get_running_loop().create_connection(
            make,
            sock=connected,
            ssl=tls,
            server_hostname=name,
            ssl_shutdown_timeout=_FAREWELL_S if tls is not None else None,
        )
    except BaseException:
        connected.close()
        raise
    return protocol


class _Tunnel(asyncio.Protocol):
    """Says CONNECT, and waits for what the proxy says to it."""

    def __init__(self) -> None:
        self._received = b""
        self._stands: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: _Transport

    async def open(self, request: bytes) -> None:
        """Raises ProxyFailed."""
        self.transport.write(request)
        await self._stands

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("_Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            if read_answer(self._received) and not self._stands.done():
                self._stands.set_result(None)
        except ProxyFailed as error:
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(ProxyFailed("the egress proxy closed the connection"))

    def _fail(self, error: ProxyFailed) -> None:
        if not self._stands.done():
            self._stands.set_exception(error)
            self._stands.exception()  # nobody may wait any more


def _no_handshake(route: Route) -> DialFailed:
    """The other side hung up on us in mid-handshake, which says nothing of why."""
    return DialFailed(Reason.TLS_FAILED, f"TLS with {route.server_name} failed: no handshake")


def _tls_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return str(error.reason or "no handshake").lower().replace("_", " ")
