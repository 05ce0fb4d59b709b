"""Requests over connections to exactly the address that was approved, and the bytes both ways.

Rules of this file: a connection comes from `dial` alone; nothing is read from the environment (no proxy, no
netrc); no cookies, no redirects, no decompression; a connection is never shared between two pool keys.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import aiohttp
from multidict import CIMultiDict

from model.clock import monotonic_s
from model.identity import NamespaceName
from model.messages import Header, Headers
from outbound.dial import DialFailed, Route
from outbound.header_hygiene import MAX_HEADERS, answer_problem
from outbound.http_pool import Open, Pool, Request, build_url, timeouts, url_of
from outbound.quotas import MOST_RUNNING
from outbound.reasons import Reason
from outbound.retries import IDEMPOTENT
from outbound.target import Target
from outbound.tls_contexts import TlsContexts
from outbound.upload import SilenceClock, Upload
from outbound.upstream_body import Bounds, ByteMeter, UpstreamBody, out_of_time

_READ_BUFFER: Final = 64 * 1024


class PoolKey(NamedTuple):
    """Who may reuse a connection: all of it must be equal."""

    tenant: str
    policy_version: str
    rule: str
    scheme: str
    host: str
    address: str
    port: int
    #: Digest of the TLS settings; "" for those of rules that say nothing.
    tls: str = ""
    #: Identity of the egress proxy; "" for none.
    proxy: str = ""
    #: A tenant's name is its own in one namespace alone.
    namespace: NamespaceName | None = None


class UpstreamFailure(Exception):
    """It did not work. `reason` is one of the fault reasons; the message is safe to show.

    `sent` is False when nothing of the request can have reached the upstream.
    """

    def __init__(self, reason: Reason, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.sent = sent


@dataclass(slots=True)
class UpstreamResponse:
    status: int
    #: As they came.
    headers: Headers
    #: Bytes when all of it was here with the headers: then it has ended already.
    body: bytes | UpstreamBody


class Connector:
    """One a process. Make it inside a running loop; `close` it at the end.

    At most `max_pools` pool keys are kept, the least recently used idle one goes first; one key has at most
    `per_pool` connections, each closed after `idle_s` without use. While more than `max_kept` connections are open,
    none is kept for another request. `extra_ca_pem` are certificates trusted
    beside the system's.
    """

    def __init__(
        self,
        *,
        extra_ca_pem: str | None = None,
        max_pools: int = 1_024,
        per_pool: int = 64,
        idle_s: float = 15.0,
        max_kept: int = MOST_RUNNING,
    ) -> None:
        self.tls = TlsContexts(extra_ca_pem)
        self._max_pools = max_pools
        self._per_pool = per_pool
        self._idle_s = idle_s
        self._open = Open(max_kept)
        self._pools: OrderedDict[PoolKey, Pool] = OrderedDict()
        self._closing: set[asyncio.Future[None]] = set()
        self._loop = asyncio.get_running_loop()

    @property
    def pools(self) -> Iterable[PoolKey]:
        return tuple(self._pools)

    @property
    def open(self) -> int:
        """Connections, in use or not."""
        return self._open.count

    @property
    def in_use(self) -> int:
        """Requests whose response has not ended."""
        return sum(pool.in_use for pool in self._pools.values())

    async def request(
        self,
        key: PoolKey,
        route: Route,
        target: Target,
        method: str,
        headers: list[Header],
        upload: Upload,
        bounds: Bounds,
        on_end: Callable[[int, Reason | None], None],
        meter: ByteMeter | None = None,
    ) -> UpstreamResponse:
        """Send one request along `route` and return when the response's headers are whole.

        `bounds.silence_s` bounds every silence of the upstream; while the guest's own body makes us wait, the
        clock stands still. `on_end(bytes_down, reason)` is called once when the body has ended, been closed
        or failed; not when this raises, and not for a body of bytes. Raises UpstreamFailure, BodyRefused, and
        ValueError when `key` is of another address than `route` (a bug). Cancelling closes the connection.
        """
        pinned = route.pinned
        if (key.address, key.port, key.host) != (pinned.address, pinned.port, target.host):
            raise ValueError("pool key and pinned address differ")
        pool = self._pool(key, route)
        pool.in_use += 1
        streams = False
        try:
            response = await self._send(pool, route, target, method, headers, upload, bounds)
            raw = response.raw_headers
            if response.status == 407 and pool.proxy_url is not None:
                response.close()
                raise UpstreamFailure(Reason.PROXY_FAILED, "the egress proxy wants other credentials (407)")
            content = response.content
            if content.is_eof() and content.total_bytes <= bounds.max_response_bytes:
                # The response ended itself with its last byte: an upload that goes on was cancelled, and the
                # connection went back, or is closed with the upload.
                whole = content.read_nowait()
                if meter is not None and not meter.pass_bytes(len(whole)):
                    raise UpstreamFailure(Reason.LIMIT_QUOTA_BYTES, meter.message)
                return UpstreamResponse(response.status, raw, whole)
            streams = True
        finally:
            if not streams:
                pool.in_use -= 1

        def ended(count: int, reason: Reason | None) -> None:
            pool.in_use -= 1
            on_end(count, reason)

        body = UpstreamBody(response, bounds, ended, meter)
        return UpstreamResponse(response.status, raw, body)

    async def close(self) -> None:
        """Close every connection, also those in use."""
        pools, self._pools = list(self._pools.values()), OrderedDict()
        for pool in pools:
            await pool.close()
        if self._closing:
            await asyncio.wait(self._closing)

    def _pool(self, key: PoolKey, route: Route) -> Pool:
        pool = self._pools.get(key)
        if pool is not None:
            self._pools.move_to_end(key)
            return pool
        if len(self._pools) >= self._max_pools:
            # All in use: one more is kept; requests in flight are bounded elsewhere.
            idle = next((name for name, old in self._pools.items() if old.in_use == 0), None)
            if idle is not None:
                closing = asyncio.ensure_future(self._pools.pop(idle).shut())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
        pool = self._pools[key] = Pool(route, self._per_pool, self._idle_s, self._open)
        return pool

    async def _send(
        self,
        pool: Pool,
        route: Route,
        target: Target,
        method: str,
        headers: list[Header],
        upload: Upload,
        bounds: Bounds,
    ) -> aiohttp.ClientResponse:
        left_s = bounds.until_s - monotonic_s()
        silence_s = min(bounds.silence_s, left_s)
        connect_s = min(bounds.connect_s, silence_s)
        wait_s = min(silence_s + connect_s, left_s)
        fields: CIMultiDict[str] = CIMultiDict()
        # The library writes UTF-8; header_hygiene has refused what is not.
        for name, value in headers:
            fields.add(name.decode("ascii"), value.decode("utf-8"))
        fields.add("host", target.authority)
        if upload.length is not None:
            fields.add("content-length", str(upload.length))
        if pool.proxy_url is not None and route.proxy is not None and route.proxy.authorization:
            fields.add("proxy-authorization", route.proxy.authorization)
        url = url_of(target) if pool.proxy_url is None else build_url(target, route.pinned.address)
        try:
            while True:
                request = Request(
                    method,
                    url,
                    headers=fields,
                    data=upload.data(),
                    loop=self._loop,
                    proxy=pool.proxy_url,
                )
                connection = await pool.connect(request, [], timeouts(wait_s, connect_s))
                protocol: Any = connection.protocol  # a Connection: `Pool` makes no other
                was_used = protocol.used
                protocol.begin()
                # The silence before the headers is ours to watch, that between pieces of the body the library's.
                clock = upload.clock = SilenceClock(self._loop, protocol, silence_s)
                try:
                    protocol.set_response_params(
                        skip_payload=method == "HEAD",
                        read_until_eof=True,
                        auto_decompress=False,
                        read_timeout=None,
                        read_bufsize=_READ_BUFFER,
                        max_line_size=16 * 1024,
                        max_field_size=32 * 1024,
                        max_headers=MAX_HEADERS,
                    )
                    response = await request.send(connection)
                    try:
                        await response.start(connection)
                    except BaseException:
                        response.close()
                        raise
                    version = response.version or (0, 0)
                    problem = answer_problem(response.status, version, response.raw_headers)
                    if problem:
                        response.close()
                        protocol.close()  # a whole one has gone back to the pool already
                        raise UpstreamFailure(Reason.UPSTREAM_FAILED, f"{target.host} {problem}")
                    if not response.content.is_eof():
                        protocol.read_timeout = bounds.silence_s
                        protocol.start_timeout()
                    return response
                except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                    connection.close()
                    # RFC 9112 §9.3.1: the other side closed a kept connection while we wrote to it.
                    if not was_used or method not in IDEMPOTENT or not upload.is_repeatable:
                        raise
                except BaseException:
                    connection.close()
                    raise
                finally:
                    clock.stop()
                    upload.clock = None
        except DialFailed as error:
            raise UpstreamFailure(error.reason, error.message, sent=False) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if upload.refused is not None:
                raise upload.refused from error
            if monotonic_s() >= bounds.until_s:
                raise UpstreamFailure(Reason.UPSTREAM_TIMEOUT, out_of_time(bounds.total_ms)) from error
            raise _translated(error, target.host, silence_s) from error


def _translated(error: BaseException, host: str, timeout_s: float) -> UpstreamFailure:
    """What the library raised, as ours. Its texts hold addresses and never go further."""
    match error:
        case TimeoutError():
            return UpstreamFailure(
                Reason.UPSTREAM_TIMEOUT, f"{host} sent no response headers within {timeout_s:g} s"
            )
        case aiohttp.ClientResponseError():
            return UpstreamFailure(Reason.UPSTREAM_FAILED, f"{host} sent a response that is not HTTP/1.1")
    return UpstreamFailure(Reason.UPSTREAM_FAILED, f"{host} closed the connection before it answered")
