"""Dispatch hooks as a platform engineer writes them, good and bad."""

from __future__ import annotations

import asyncio
import time

from dispatch.hook import HookEnv
from model.messages import IncomingRequest, Response

NOT_A_FUNCTION = 3


async def by_header(request: IncomingRequest, env: HookEnv) -> Response:
    headers = dict(request.headers)
    name, host = headers[b"x-tenant"].decode(), headers.get(b"x-egress")
    worker = env.dispatcher.get(
        name,
        params={"plan": "free"},
        limits={"cpu_ms": 40},
        outbound={"to": name},
        egress=None if host is None else [host.decode()],
    )
    return await worker.fetch(request)


async def narrowed(request: IncomingRequest, env: HookEnv) -> Response:
    return await env.dispatcher.get("acme", egress=["API.example.com"]).fetch(request)


async def narrowed_to_everything(request: IncomingRequest, env: HookEnv) -> Response:
    return await env.dispatcher.get("acme", egress=["*"]).fetch(request)


async def too_slow(request: IncomingRequest, env: HookEnv) -> Response:
    await asyncio.sleep(30)
    return Response(200)


async def holds_the_loop(request: IncomingRequest, env: HookEnv) -> Response:
    await asyncio.sleep(0)
    time.sleep(0.06)
    return Response(200)


async def answers_nothing(request: IncomingRequest, env: HookEnv) -> None:
    await asyncio.sleep(0)


async def catches_timeouts_of_its_own(request: IncomingRequest, env: HookEnv) -> Response:
    try:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(30)
    except TimeoutError:
        return Response(203)
    return Response(500)


async def of_three(request: IncomingRequest, env: HookEnv, more: object) -> Response:
    return Response(200)


def not_async(request: IncomingRequest, env: HookEnv) -> Response:
    return Response(200)
