"""Connections to exactly the address that was approved, and the bytes both ways.

Rules of this file: a name is never dialled, and the last thing before a connect is a guard that compares
the socket's address with the approved one; nothing is read from the environment (no proxy, no netrc);
no cookies, no redirects, no decompression; a connection is never shared between two pool keys.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from model.messages import Header
from outbound.addresses import Pinned
from outbound.header_hygiene import MAX_HEADER_BYTES, MAX_HEADERS
from outbound.reasons import Reason
from outbound.target import Target
from outbound.upload import BodyRefused, SilenceClock, Upload
from outbound.upstream_body import UpstreamBody

_SKIP_AUTO: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
#: What an upstream may take to accept a connection; a rule's shorter timeout wins.
CONNECT_TIMEOUT_S: Final = 10.0


class PoolKey(NamedTuple):
    """Who may reuse a connection: all of it must be equal. TLS settings are the connector's own."""

    tenant: str
    policy_version: str
    rule: str
    scheme: str
    host: str
    address: str
    port: int


class UpstreamFailure(Exception):
    """It did not work. `reason` is one of the fault reasons; the message is safe to show.

    `sent` is False when nothing of the request can have reached the upstream.
    """

    def __init__(self, reason: Reason, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.sent = sent


class AddressNotApproved(OSError):
    """The guard stopped a connect to an address that was never approved: a bug, and the last net under it."""


@dataclass(slots=True)
class UpstreamResponse:
    status: int
    #: As they came.
    headers: list[Header]
    body: UpstreamBody


class _PinnedResolver(AbstractResolver):
    """Answers every name with the one approved address, as a numeric host: nothing is looked up."""

    def __init__(self, pinned: Pinned) -> None:
        self._pinned = pinned

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=self._pinned.address,
                port=self._pinned.port,
                family=socket.AF_INET6 if ":" in self._pinned.address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


def guarded_socket(pinned: Pinned, address_info: tuple[Any, ...]) -> socket.socket:
    """A TCP socket for `address_info` (as of getaddrinfo), which must be the approved address.

    Raises AddressNotApproved. The HTTP library calls this for every connect, IP literals included.
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


class _Pool:
    """The connections of one key."""

    __slots__ = ("in_use", "session")

    def __init__(self, pinned: Pinned, tls: ssl.SSLContext, limit: int, idle_s: float) -> None:
        connector = aiohttp.TCPConnector(
            resolver=_PinnedResolver(pinned),
            use_dns_cache=False,
            socket_factory=lambda info: guarded_socket(pinned, info),
            ssl=tls,
            limit=limit,
            keepalive_timeout=idle_s,
            happy_eyeballs_delay=None,
        )
        self.session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_SKIP_AUTO,
            auto_decompress=False,
            trust_env=False,
            read_bufsize=64 * 1024,
            max_line_size=16 * 1024,
            max_field_size=32 * 1024,
            max_headers=MAX_HEADERS,
            timeout=aiohttp.ClientTimeout(),
        )
        self.in_use = 0


class Connector:
    """One a process. Make it inside a running loop; `close` it at the end.

    `extra_ca_pem` are certificates trusted beside the system's. At most `max_pools` pool keys are kept,
    the least recently used idle one goes first; one key has at most `per_pool` connections, each closed
    after `idle_s` without use.
    """

    def __init__(
        self,
        *,
        extra_ca_pem: str | None = None,
        max_pools: int = 1_024,
        per_pool: int = 64,
        idle_s: float = 15.0,
    ) -> None:
        self._tls = ssl.create_default_context()
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        if extra_ca_pem is not None:
            self._tls.load_verify_locations(cadata=extra_ca_pem)
        self._max_pools = max_pools
        self._per_pool = per_pool
        self._idle_s = idle_s
        self._pools: OrderedDict[PoolKey, _Pool] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def pools(self) -> Iterable[PoolKey]:
        return tuple(self._pools)

    @property
    def in_use(self) -> int:
        """Requests whose response has not ended."""
        return sum(pool.in_use for pool in self._pools.values())

    async def request(
        self,
        key: PoolKey,
        pinned: Pinned,
        target: Target,
        method: str,
        headers: list[Header],
        upload: Upload,
        *,
        timeout_ms: int,
        max_response_bytes: int,
        on_end: Callable[[int, Reason | None], None],
    ) -> UpstreamResponse:
        """Send one request to `pinned` and return when the response's headers are whole.

        `timeout_ms` bounds every silence of the upstream; while the guest's own body makes us wait, the
        clock stands still. `on_end(bytes_down, reason)` is called once when the body has ended, been
        closed or failed; not when this raises. Raises UpstreamFailure, BodyRefused, and ValueError when
        `key` is of another address than `pinned` (a bug). Cancelling closes the connection.
        """
        if (key.address, key.port, key.host) != (pinned.address, pinned.port, target.host):
            raise ValueError("pool key and pinned address differ")
        pool = self._pool(key, pinned)
        pool.in_use += 1
        try:
            response = await self._send(pool, target, method, headers, upload, timeout_ms / 1_000)
        except BaseException:
            pool.in_use -= 1
            raise

        def ended(count: int, reason: Reason | None) -> None:
            pool.in_use -= 1
            on_end(count, reason)

        body = UpstreamBody(response, max_response_bytes, timeout_ms, ended)
        size = sum(len(name) + len(value) for name, value in response.raw_headers)
        if response.status == 101 or size > MAX_HEADER_BYTES:
            body.abandon()
            pool.in_use -= 1
            what = "switched protocols" if response.status == 101 else f"sent {size} bytes of headers"
            raise UpstreamFailure(Reason.UPSTREAM_FAILED, f"{target.host} {what}")
        return UpstreamResponse(response.status, list(response.raw_headers), body)

    async def close(self) -> None:
        """Close every connection, also those in use."""
        pools, self._pools = list(self._pools.values()), OrderedDict()
        for pool in pools:
            await pool.session.close()
        if self._closing:
            await asyncio.wait(self._closing)

    def _pool(self, key: PoolKey, pinned: Pinned) -> _Pool:
        pool = self._pools.get(key)
        if pool is not None:
            self._pools.move_to_end(key)
            return pool
        if len(self._pools) >= self._max_pools:
            # All in use: one more is kept; requests in flight are bounded elsewhere.
            idle = next((name for name, old in self._pools.items() if old.in_use == 0), None)
            if idle is not None:
                task = asyncio.create_task(self._pools.pop(idle).session.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        pool = self._pools[key] = _Pool(pinned, self._tls, self._per_pool, self._idle_s)
        return pool

    async def _send(
        self,
        pool: _Pool,
        target: Target,
        method: str,
        headers: list[Header],
        upload: Upload,
        timeout_s: float,
    ) -> aiohttp.ClientResponse:
        url = _url(target)
        # The library writes UTF-8; header_hygiene has refused what is not.
        fields = [(name.decode("ascii"), value.decode("utf-8")) for name, value in headers]
        fields.append(("host", target.authority))
        if upload.length is not None:
            fields.append(("content-length", str(upload.length)))
        try:
            async with asyncio.timeout(timeout_s) as timeout:
                upload.clock = SilenceClock(timeout, timeout_s)
                return await pool.session.request(
                    method,
                    url,
                    headers=fields,
                    data=upload.data(),
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(
                        total=None,
                        sock_connect=min(CONNECT_TIMEOUT_S, timeout_s),
                        sock_read=timeout_s,
                    ),
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if upload.refused is not None:
                raise upload.refused from error
            raise _translated(error, target.host, timeout_s) from error
        finally:
            upload.clock = None


def _url(target: Target) -> URL:
    if len(target.path) + len(target.query) <= 512:
        return _remembered(target)
    return _build(target)


def _build(target: Target) -> URL:
    """For the HTTP library, which must change nothing of it."""
    return URL.build(
        scheme=target.scheme,
        host=target.host,
        port=target.port,
        path=target.path,
        query_string=target.query,
        encoded=True,
    )


_remembered = lru_cache(maxsize=4_096)(_build)


def _translated(error: BaseException, host: str, timeout_s: float) -> UpstreamFailure:
    """What the library raised, as ours. Its texts hold addresses and never go further."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return UpstreamFailure(
                Reason.TLS_FAILED, f"TLS with {host} failed: {_tls_words(error)}", sent=False
            )
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, AddressNotApproved):
            return UpstreamFailure(Reason.ADDRESS_NOT_CLASSIFIED, f"{host} was not dialled", sent=False)
        case aiohttp.ClientConnectorError():
            words = os.strerror(error.os_error.errno) if error.os_error.errno else "no connection"
            return UpstreamFailure(
                Reason.CONNECT_FAILED, f"{host} can't be connected to: {words}", sent=False
            )
        case aiohttp.ConnectionTimeoutError():
            return UpstreamFailure(Reason.CONNECT_TIMEOUT, f"{host} did not accept in time", sent=False)
        case TimeoutError():
            return UpstreamFailure(
                Reason.UPSTREAM_TIMEOUT, f"{host} sent no response headers within {timeout_s:g} s"
            )
        case aiohttp.ClientResponseError():
            return UpstreamFailure(Reason.UPSTREAM_FAILED, f"{host} sent a response that is not HTTP/1.1")
    return UpstreamFailure(Reason.UPSTREAM_FAILED, f"{host} closed the connection before it answered")


def _tls_words(error: BaseException) -> str:
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return inner.verify_message
    return str(getattr(inner, "reason", "") or "no handshake").lower().replace("_", " ")


__all__ = [
    "AddressNotApproved",
    "BodyRefused",
    "Connector",
    "PoolKey",
    "UpstreamFailure",
    "UpstreamResponse",
    "guarded_socket",
]
