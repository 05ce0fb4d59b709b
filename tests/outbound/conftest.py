"""A whole way out on loopback: DNS server, resolver, connector, gateway, and the records it writes."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache

import pytest
import trustme
import uvloop

from model.capabilities import EventContext
from model.identity import AccountId, NamespaceName, RayId, ScriptName, TenantId, VersionId
from model.messages import Body, Headers, OutgoingRequest, Response
from outbound.addresses import AddressRanges
from outbound.audit import AuditQueue, AuditRecord
from outbound.connector import Connector
from outbound.door import LocalDispatch
from outbound.gateway import Gateway
from outbound.memory_materials import MemoryMaterials
from outbound.policy import EgressPolicy
from outbound.policy_layers import EffectivePolicy, Layer, LayerKind, effective_policy
from outbound.policy_parse import parse_policy
from outbound.quotas import Usage
from outbound.resolver import Resolver
from tests.support.dns_server import DnsServer

#: Everything may be asked for, and loopback is open: what the address rules add is seen with `CLOSED`.
OPEN = parse_policy("""
version: 1
rules:
  - {name: local, action: allow, open_cidrs: [127.0.0.0/8, "::1/128"], timeout_ms: 2000}
""")
CLOSED = parse_policy("version: 1\nrules: [{name: any, action: allow, timeout_ms: 2000}]")


#: TLS over transports is each loop's own, and `tenantry serve` runs on uvloop.
_BOTH_LOOPS = (
    "test_egress_proxy.py",
    "test_hostile_connections.py",
    "test_request_bytes.py",
    "test_secret_nowhere.py",
    "test_tenants_apart.py",
    "test_tls_contexts.py",
    "test_upstream_answers.py",
)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.name in _BOTH_LOOPS:
        loops["uvloop"] = uvloop.new_event_loop
    return loops


class NoPermit:
    def nested(self) -> None:
        raise AssertionError("no sandbox is nested here")

    def release_nested(self) -> None:
        raise AssertionError("no sandbox is nested here")

    def park(self) -> None:
        """The runtime's business."""

    def unpark(self) -> None:
        """The runtime's business."""


@lru_cache(maxsize=8)
def alone(policy: EgressPolicy) -> EffectivePolicy:
    """What holds where a namespace's policy is all there is."""
    return effective_policy([Layer(LayerKind.NAMESPACE, policy)])


def event(tenant: str = "t1", ray_id: str = "8f0e") -> EventContext:
    return EventContext(
        account=AccountId("default"),
        namespace=NamespaceName("customers"),
        script=ScriptName("shop"),
        version=VersionId("v1"),
        tenant=TenantId(tenant),
        tags=(),
        ray_id=RayId(ray_id),
        depth=0,
        permit=NoPermit(),
    )


@dataclass(slots=True)
class WayOut:
    dns: DnsServer
    resolver: Resolver
    connector: Connector
    policy: EgressPolicy = OPEN
    ranges: AddressRanges = field(default_factory=AddressRanges)
    hops: int = 0
    materials: MemoryMaterials = field(default_factory=MemoryMaterials)
    usage: Usage = field(default_factory=Usage)
    local: LocalDispatch | None = None
    records: list[AuditRecord] = field(default_factory=list)
    gateway: Gateway = field(init=False)
    audit: AuditQueue = field(init=False)

    def __post_init__(self) -> None:
        self.audit = AuditQueue(self.records.append)
        self.rebuild()

    def rebuild(self) -> None:
        """After `ranges`, `connector` or another part was changed."""
        self.gateway = Gateway(
            lambda context: alone(self.policy),
            self.resolver,
            self.connector,
            self.audit,
            hop_key=b"k" * 32,
            ranges=self.ranges,
            hops_of=lambda context: self.hops,
            materials=self.materials,
            usage=self.usage,
            local=self.local,
        )

    async def fetch(
        self, url: str, method: str = "GET", headers: Headers = (), body: Body = None, tenant: str = "t1"
    ) -> Response:
        return await self.gateway.fetch(OutgoingRequest(method, url, headers, body), event(tenant))

    def last_record(self) -> AuditRecord:
        self.audit.flush()
        return self.records[-1]


async def read_all(response: Response) -> bytes:
    body = response.body
    if body is None or isinstance(body, bytes):
        return body or b""
    pieces = []
    while piece := await body.read():
        pieces.append(piece)
    return b"".join(pieces)


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(*names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
async def way_out() -> AsyncIterator[WayOut]:
    async with DnsServer() as dns:
        resolver = Resolver([dns.server], timeout_s=2.0)
        connector = Connector(extra_ca_pem=authority().cert_pem.bytes().decode())
        yield WayOut(dns, resolver, connector)
        await connector.close()
        await resolver.close()


class Dialled:
    """Every address that this process connects a socket to, from the interpreter's own audit event."""

    def __init__(self) -> None:
        self.on = False
        self.addresses: list[tuple[str, int]] = []

    def hook(self, name: str, args: tuple[object, ...]) -> None:
        if self.on and name == "socket.connect" and isinstance(args[1], tuple):
            self.addresses.append((str(args[1][0]), int(args[1][1])))


@cache
def _watch() -> Dialled:
    watch = Dialled()
    sys.addaudithook(watch.hook)  # can't be taken away again, so there is one for all tests
    return watch


@pytest.fixture
def dialled() -> Iterator[list[tuple[str, int]]]:
    watch = _watch()
    watch.addresses = []
    watch.on = True
    yield watch.addresses
    watch.on = False
