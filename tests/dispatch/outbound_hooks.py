"""Outbound hooks as a platform engineer writes them, good and bad: what they do is by path."""

from __future__ import annotations

import asyncio
import time

from dispatch.outbound_hook import OutboundEnv
from model.messages import OutgoingRequest, Response


async def by_path(request: OutgoingRequest, env: OutboundEnv) -> object:
    path = request.url.split("/", 3)[3]
    who = env.params.get("tenantry.script", "")
    if path.startswith("answer"):
        return Response(200, [(b"content-type", b"text/plain")], f"answered for {who}\n".encode())
    if path.startswith("move"):
        return OutgoingRequest("GET", "http://denied.example/", request.headers)
    if path.startswith("raise"):
        raise RuntimeError("a secret of the operator")
    if path.startswith("smuggle"):
        return Response(200, [(b"x", b"a\r\nset-cookie: b")], b"")
    if path.startswith("nothing"):
        return None
    if path.startswith("slow"):
        await asyncio.sleep(60)
    if path.startswith("hold"):
        time.sleep(0.06)
    if path.startswith("read") and request.body is not None and not isinstance(request.body, bytes):
        await request.body.read()
    headers = [*request.headers, (b"x-watched", who.encode())]
    more = OutgoingRequest(request.method, request.url, headers, request.body)
    return await env.fetch(more) if path.startswith("fetch") else more
