"""The HTTP library below its session: pools of connections that `dial` made, and requests that say what they are given.

Its session would cost a third of the time of a small request: cookies, redirects, middlewares and merged headers
would have to be switched off one by one for each.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from multidict import CIMultiDict
from yarl import URL

from outbound.dial import Route, dial
from outbound.target import Target


class Connection(ResponseHandler):
    """Knows whether a request went over it before."""

    used = False


class Request(ClientRequest):
    """One whose headers are those that it was given: the library adds framing, and nothing else."""

    _skip_auto_headers = CIMultiDict({"Content-Type": None})

    def update_headers(self, headers: Any) -> None:
        self.headers = headers

    def update_auto_headers(self, skip_auto_headers: Any) -> None:
        """Neither Accept, Accept-Encoding nor User-Agent."""

    def update_host(self, url: URL) -> None:
        """The target was parsed, and has no userinfo that would become a header."""

    def update_cookies(self, cookies: Any) -> None:
        """None but the worker's own."""

    def update_auth(self, auth: Any, trust_env: bool = False) -> None:
        """None but the worker's own, or the rule's."""

    def update_content_encoding(self, data: Any) -> None:
        """Nothing is compressed on its way."""


class Pool(aiohttp.BaseConnector):
    """The connections of one key."""

    def __init__(self, route: Route, limit: int, idle_s: float) -> None:
        super().__init__(limit=limit, keepalive_timeout=idle_s)
        self._route = route
        self.in_use = 0
        # In the library's own URL form: the request line of plain HTTP through a proxy has the whole URL.
        proxied = route.proxy is not None and route.tls is None
        self.proxy_url = URL.build(scheme="http", host="proxy.invalid") if proxied else None

    async def shut(self) -> None:
        await self.close()

    async def _create_connection(self, req: ClientRequest, traces: Any, timeout: Any) -> ResponseHandler:
        loop = asyncio.get_running_loop()
        return await dial(self._route, lambda: Connection(loop), timeout.sock_connect)

    def _update_proxy_auth_header_and_build_proxy_req(self, req: ClientRequest) -> ClientRequest:
        return req  # what the proxy is to know stands in the request's headers already


@lru_cache(maxsize=256)
def timeouts(wait_s: float, connect_s: float) -> aiohttp.ClientTimeout:
    """`wait_s` is for one of a pool's connections to become free, and to be made."""
    return aiohttp.ClientTimeout(connect=wait_s, sock_connect=connect_s)


def url_of(target: Target) -> URL:
    if len(target.path) + len(target.query) <= 512:
        return _remembered(target)
    return build_url(target, target.host)


def build_url(target: Target, host: str) -> URL:
    """For the HTTP library, which must change nothing of it."""
    return URL.build(
        scheme=target.scheme,
        host=host,
        port=target.port,
        path=target.path,
        query_string=target.query,
        encoded=True,
    )


@lru_cache(maxsize=4_096)
def _remembered(target: Target) -> URL:
    return build_url(target, target.host)
