"""What the way out costs: fetches through the whole gateway against the same HTTP client library used bare, to a
real server on loopback, in one process, the two sides taking turns.

The client is what is measured, and it keeps a core busy by itself: a side's throughput is its work for each second
of this process's CPU time, which other programs on the machine disturb less than the clock.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median

import aiohttp
import uvloop

from benchmarks.figures import Figure, from_ratios
from benchmarks.host import ROOT, BenchFailed
from model.capabilities import EventContext
from model.clock import monotonic_s
from model.identity import AccountId, NamespaceName, RayId, ScriptName, TenantId, VersionId
from model.messages import OutgoingRequest
from outbound.audit import AuditQueue
from outbound.connector import Connector
from outbound.gateway import Gateway
from outbound.policy_layers import Layer, LayerKind, effective_policy
from outbound.policy_parse import parse_policy
from outbound.resolver import Resolver

ROUNDS = 15
REQUESTS = 3_000
CONNECTIONS = 16
STREAM_BYTES = 1 << 30
STREAM_ROUNDS = 5
#: How much more the process may have had resident after the streams than before: buffers, and no body.
FLAT_BYTES = 32 << 20

_POLICY = parse_policy("""
version: 1
rules:
  - {name: others, action: deny, host: ads.example}
  - {name: upstream, action: allow, scheme: http, host: 127.0.0.1, open_cidrs: [127.0.0.0/8]}
""")


class _NoPermit:
    def nested(self) -> None:
        """No sandbox is nested here."""

    def release_nested(self) -> None:
        """No sandbox is nested here."""

    def park(self) -> None:
        """Nothing else runs."""

    def unpark(self) -> None:
        """Nothing else runs."""


@dataclass(slots=True)
class _Sides:
    port: int
    session: aiohttp.ClientSession
    gateway: Gateway

    async def bare_hello(self) -> None:
        async with self.session.get(f"http://127.0.0.1:{self.port}/hello") as response:
            await response.read()

    async def gateway_hello(self) -> None:
        response = await self.gateway.fetch(
            OutgoingRequest("GET", f"http://127.0.0.1:{self.port}/hello", [(b"accept", b"*/*")]), _event()
        )
        if response.body is not None and not isinstance(response.body, bytes):
            while await response.body.read():
                pass

    async def bare_stream(self) -> None:
        total = 0
        async with self.session.get(f"http://127.0.0.1:{self.port}/zeros/{STREAM_BYTES}") as response:
            while piece := await response.content.readany():
                total += len(piece)
        _expect(total)

    async def gateway_stream(self) -> None:
        total = 0
        response = await self.gateway.fetch(
            OutgoingRequest("GET", f"http://127.0.0.1:{self.port}/zeros/{STREAM_BYTES}"), _event()
        )
        if response.body is None or isinstance(response.body, bytes):
            raise BenchFailed("the stream came as one piece")
        while piece := await response.body.read():
            total += len(piece)
        _expect(total)


def small_fetch() -> list[Figure]:
    return _run(_small_fetch)


def stream() -> list[Figure]:
    return _run(_stream)


async def _small_fetch() -> Figure:
    async def side(one: Callable[[], Awaitable[None]]) -> float:
        async def some() -> None:
            for _ in range(REQUESTS // CONNECTIONS):
                await one()

        before = time.process_time()
        await asyncio.gather(*(some() for _ in range(CONNECTIONS)))
        return (time.process_time() - before) / REQUESTS * 1e6

    async with _sides() as sides:
        await side(sides.gateway_hello)
        pairs = [(await side(sides.bare_hello), await side(sides.gateway_hello)) for _ in range(ROUNDS)]
    bare, ours = (median(pair[index] for pair in pairs) for index in (0, 1))
    return from_ratios(
        "a fetch through the gateway: policy, addresses, pool, audit",
        "the same client library bare",
        [bare / ours for bare, ours in pairs],
        0.7,
        at_least=True,
        note=f"{ours:.0f} µs of CPU a fetch, {bare:.0f} µs bare",
    )


async def _stream() -> Figure:
    async def side(one: Callable[[], Awaitable[None]]) -> float:
        before = time.process_time()
        await one()
        return time.process_time() - before

    async with _sides() as sides:
        await side(sides.gateway_hello)
        await side(sides.bare_stream)
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pairs = [
            (await side(sides.bare_stream), await side(sides.gateway_stream)) for _ in range(STREAM_ROUNDS)
        ]
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) * 1_024
    if grown > FLAT_BYTES:
        raise BenchFailed(f"memory grew by {grown >> 20} MiB while {STREAM_ROUNDS} GiB passed")
    return from_ratios(
        "1 GiB streamed through the gateway",
        "the same client library bare",
        [bare / ours for bare, ours in pairs],
        0.8,
        at_least=True,
        note=f"{median(ours for _, ours in pairs):.2f} s of CPU; {grown >> 10} KiB more resident at its peak",
    )


def _run(measure: Callable[[], Awaitable[Figure]]) -> list[Figure]:
    async def one() -> Figure:
        return await measure()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return [runner.run(one())]


@asynccontextmanager
async def _sides() -> AsyncIterator[_Sides]:
    command = [sys.executable, "-m", "benchmarks.upstream_server"]
    server = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    port = int(server.stdout.readline())
    connector, resolver = Connector(), Resolver([("127.0.0.1", 9)])
    effective = effective_policy([Layer(LayerKind.NAMESPACE, _POLICY)])
    audit = AuditQueue(lambda record: None)
    gateway = Gateway(lambda context: effective, resolver, connector, audit, hop_key=b"k" * 32)
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64))
    try:
        yield _Sides(port, session, gateway)
    finally:
        await session.close()
        await connector.close()
        await resolver.close()
        server.kill()
        server.communicate()


def _event() -> EventContext:
    """Another ray each time, as each visitor's request has."""
    return EventContext(
        AccountId("default"),
        NamespaceName("bench"),
        ScriptName("hello"),
        VersionId("v1"),
        TenantId("t1"),
        (),
        RayId(f"{int(monotonic_s() * 1e9):x}"),
        0,
        _NoPermit(),
    )


def _expect(total: int) -> None:
    if total != STREAM_BYTES:
        raise BenchFailed(f"{total} bytes came instead of {STREAM_BYTES}")
