"""Every kind of binding becomes what its operations expect, under its name; text becomes a variable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bindings.env import build_env
from bindings.memory import MemoryCacheStorage, MemoryEvent, MemoryFetcher, MemoryRunner
from bindings.operations import OPERATIONS
from bindings.secret_store import SealedSecrets
from model.analytics import DataPoint
from model.errors import OperationError
from model.identity import DEFAULT_ACCOUNT, NamespaceName, ScriptName, TenantId, VersionId
from model.messages import Response
from model.scripts import BindingKind, BindingSpec, ScriptRef, ScriptVersion
from storage.d1.files import create
from storage.d1.store import D1Store
from storage.database import Database
from storage.kv_store import KvStore, kv_migrations
from storage.queue_store import QueueStore, queue_migrations
from storage.shared_rates import SharedRates

DATABASE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[tuple[KvStore, QueueStore, D1Store]]:
    kv = Database.open(tmp_path / "kv.db", kv_migrations())
    queues = Database.open(tmp_path / "queues.db", queue_migrations())
    create(tmp_path, DATABASE)
    d1 = D1Store(tmp_path)
    yield KvStore(kv), QueueStore(queues), d1
    await d1.close()
    kv.close()
    queues.close()


@dataclass
class ListedPoints:
    taken: list[tuple[ScriptRef, TenantId, str, DataPoint]] = field(default_factory=list)

    def add(self, ref: ScriptRef, tenant: TenantId, dataset: str, point: DataPoint) -> None:
        self.taken.append((ref, tenant, dataset, point))


async def no_key(ref: ScriptRef, name: str, version: int) -> bytes:
    return b""


async def test_each_kind_serves_its_operations(
    stores: tuple[KvStore, QueueStore, D1Store], tmp_path: Path
) -> None:
    kv, queues, d1 = stores
    specs = (
        BindingSpec(BindingKind.PLAIN_TEXT, "GREETING", "hello"),
        BindingSpec(BindingKind.JSON, "CONFIG", '{"a":1}'),
        BindingSpec(BindingKind.SECRET_TEXT, "TOKEN", ""),
        BindingSpec(BindingKind.KV_NAMESPACE, "KV", "n" * 32),
        BindingSpec(BindingKind.QUEUE, "QUEUE", "q" * 32),
        BindingSpec(BindingKind.D1, "DB", DATABASE),
        BindingSpec(BindingKind.RATE_LIMIT, "LIMIT", "2/60/7"),
        BindingSpec(BindingKind.CACHE, "CACHE", "default"),
        BindingSpec(BindingKind.ANALYTICS_ENGINE, "POINTS", "visits"),
        BindingSpec(BindingKind.SERVICE, "AUTH", "auth"),
        BindingSpec(BindingKind.DISPATCH_NAMESPACE, "DISPATCHER", "customers"),
    )
    assert {spec.kind for spec in specs} == set(BindingKind)
    version = ScriptVersion(
        account=DEFAULT_ACCOUNT,
        ref=ScriptRef(NamespaceName("customers"), ScriptName("shop")),
        tenant=TenantId("t"),
        version=VersionId("1"),
        module_digest="",
        handlers=frozenset({"fetch"}),
        bindings=specs,
    )
    rates = SharedRates(tmp_path / "rates")
    points = ListedPoints()
    gateway = MemoryFetcher(lambda request: Response(200))
    env = build_env(
        version,
        kv=kv,
        queues=queues,
        d1=d1,
        rates=rates,
        cache=MemoryCacheStorage(),
        points=points,
        secrets=SealedSecrets(lambda ref, name: None, no_key),
        runner=MemoryRunner(),
        fetcher=gateway,
        lookup=lambda ref: None,
    )
    assert env.vars == {"GREETING": "hello", "CONFIG": '{"a":1}'}
    assert {name: binding.kind for name, binding in env.bindings.items()} == {
        spec.name: spec.kind for spec in specs[2:]
    }
    assert env.fetcher is gateway

    event = MemoryEvent(env)

    async def call(operation: str, binding: str, *args: object) -> object:
        row, lent = OPERATIONS[operation], env.bindings[binding]
        assert row.binding_kind == lent.kind
        result = row.run(event, lent.value, args)
        return result if result is None or isinstance(result, str | dict) else await result  # type: ignore[misc]

    assert await call("kv.put", "KV", "k", b"v") is None
    assert await call("kv.get", "KV", "k") == {"value": b"v", "metadata": None, "expiration": None}
    assert await kv.get_entry("n" * 32, "k") is not None
    await call("queue.send", "QUEUE", {"a": 1})
    assert queues.backlog("q" * 32).messages == 1
    assert (await call("d1.query", "DB", "SELECT 1 AS one"))["results"] == [{"one": 1}]  # type: ignore[index]
    told = [await call("rate_limit.limit", "LIMIT", {"key": "k"}) for _ in range(3)]
    assert told == [{"success": True}, {"success": True}, {"success": False}]
    rates.close()
    answer = {"status": 200, "headers": [["cache-control", "max-age=60"]], "body": b"kept"}
    assert await call("cache.put", "CACHE", {"url": "http://a/"}, answer) == {"stored": True}
    assert (await call("cache.match", "CACHE", {"url": "http://a/"}))["body"] == b"kept"  # type: ignore[index]
    assert await call("analytics.write", "POINTS", {"indexes": ["i"]}) is None
    assert points.taken == [(version.ref, "t", "visits", DataPoint("i", (), (), 1))]
    for operation, binding, args in (
        ("secret.get", "TOKEN", []),
        ("service.fetch", "AUTH", [{"url": "http://a/"}]),
        ("dispatch.fetch", "DISPATCHER", ["x", {"url": "http://a/"}]),
    ):
        with pytest.raises(OperationError, match=r"TOKEN|Worker not found"):
            await call(operation, binding, *args)
