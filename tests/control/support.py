"""A control API over real files in a folder, and a client that is the platform's operator.

Only what starts processes is small here: the publisher reads modules with the real reader, but compiles nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from starlette.applications import Starlette

from cli.d1_link import D1ByChannel, answer_control
from cli.policy_reading import named_materials
from control.app import create_control_app
from control.host_check import HostRules
from control.key_rotation import KeyRotation
from control.module_uploads import ModuleUploads
from control.publishing import PreparedModule
from control.secret_sealing import RootKeySealer
from control.services import ControlServices
from control.source_traces import SourceTraces
from model.observer import LogLine
from model.scripts import ScriptRef
from runtime.artifact import read_artifact
from storage.analytics_store import AnalyticsStore, analytics_migrations
from storage.audit_store import AuditStore, audit_migrations
from storage.cache_store import CacheStore, cache_migrations
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.cron_store import SqliteCronStore, cron_migrations
from storage.d1.service import D1Service
from storage.d1.store import D1Store
from storage.database import Database
from storage.keys import RootKey
from storage.kv_store import KvStore, kv_migrations
from storage.object_store import FolderObjectStore
from storage.queue_store import QueueStore, queue_migrations
from storage.secret_rotation import SealedRows
from storage.tenant_guard import KvWithinQuotas, QueuesWithinQuotas, TenantGuard, measures
from storage.tenant_quotas import Quota
from storage.token_store import TokenStore

AUTHORITY = "127.0.0.1:8788"
BASE = f"http://{AUTHORITY}"
ACCOUNT = "/client/v4/accounts/default"
NAMESPACES = f"{ACCOUNT}/workers/dispatch/namespaces"
ROUTES = f"{ACCOUNT}/workers/dispatch/routes"
KV = f"{ACCOUNT}/storage/kv/namespaces"
QUEUES = f"{ACCOUNT}/queues"


def _section(number: int, *items: bytes) -> bytes:
    body = bytes([len(items)]) + b"".join(items)
    return bytes([number, len(body)]) + body


def worker_module(*handlers: str, note: str = "") -> bytes:
    """A worker that starts and does nothing; `note` makes its bytes, and so its digest, others."""
    handlers = handlers or ("fetch",)
    functions = [b"\0"] + [b"\1"] * len(handlers)
    exports = [b"\x06memory\2\0", b"\x05alloc\0\0"]
    exports += [bytes([len(name)]) + name.encode() + bytes([0, 1 + n]) for n, name in enumerate(handlers)]
    bodies = [b"\4\0\x41\0\x0b"] + [b"\4\0\x42\0\x0b"] * len(handlers)
    custom = b"\4note" + note.encode()
    return (
        b"\0asm\1\0\0\0"
        + _section(1, b"\x60\1\x7f\1\x7f", b"\x60\2\x7f\x7f\1\x7e")
        + _section(3, *functions)
        + _section(5, b"\0\1")
        + _section(7, *exports)
        + _section(10, *bodies)
        + (bytes([0, len(custom)]) + custom if note else b"")
    )


class ReadingPublisher:
    """Reads a module as the real one does first."""

    def __init__(self) -> None:
        self.prepared: list[bytes] = []
        self.failure: Exception | None = None
        #: What an instance begins with.
        self.memory_bytes = 0

    async def prepare(self, module: bytes, owner: str) -> PreparedModule:
        if self.failure is not None:
            raise self.failure
        artifact = read_artifact(module)
        self.prepared.append(module)
        return PreparedModule(artifact.digest, artifact.handlers, 3, memory_bytes=self.memory_bytes)


@dataclass
class ListedLogs:
    """Lines in a list."""

    lines: list[LogLine] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def read(self, ref: ScriptRef, after: int, /) -> tuple[Sequence[LogLine], int]:
        own = [line for line in self.lines if (line.namespace, line.script) == (ref.namespace, ref.script)]
        return own[after:], len(own)

    async def wait(self, ref: ScriptRef, after: int, timeout_s: float, /) -> None:
        try:
            await asyncio.wait_for(self.arrived.wait(), timeout_s)
        except TimeoutError:
            pass


class Host:
    """All of it in one folder; `api` speaks as the operator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sequence = ChangeSequence(folder / "changes.seq")
        self.store = ControlStore.open(folder / "control.db", self.sequence)
        self.tokens = TokenStore.open(folder / "tokens.db")
        self.root_key = RootKey.load_or_create(folder / "root-key")
        self._kv = Database.open(folder / "kv.db", kv_migrations())
        self._queues = Database.open(folder / "queues.db", queue_migrations())
        self.cron_database = Database.open(folder / "cron.db", cron_migrations())
        self.cron = SqliteCronStore(self.cron_database)
        self.audit = AuditStore(Database.open(folder / "audit.db", audit_migrations()))
        self.analytics = AnalyticsStore(Database.open(folder / "analytics.db", analytics_migrations()))
        self.responses_database = Database.open(folder / "cache.db", cache_migrations())
        self.responses = CacheStore(self.responses_database)
        (folder / "d1").mkdir(exist_ok=True)
        self.d1 = D1Service(D1Store(folder / "d1"))
        self.publisher = ReadingPublisher()
        self.logs = ListedLogs()
        self.triggered: list[tuple[ScriptRef, str, Mapping[str, Any]]] = []
        self.reasons: list[str] = []
        kv, queues = KvStore(self._kv), QueueStore(self._queues)
        self.queues = queues
        self.guard = TenantGuard(
            self.store.database.read, self.store.sequence, measures(kv, queues, folder / "d1")
        )
        self.d1.store.room_for = partial(self.guard.room, Quota.D1_BYTES)
        self.sealer = RootKeySealer(self.root_key)
        self.rotation = KeyRotation(self.sealer, SealedRows(self.store.database), folder / "root-key")
        self.objects = objects = FolderObjectStore(folder / "objects")
        self.services = ControlServices(
            store=self.store,
            tokens=self.tokens,
            kv=KvWithinQuotas(kv, self.guard),
            queues=QueuesWithinQuotas(queues, self.guard),
            cron=self.cron,
            d1=D1ByChannel(folder / "d1", self._ask_d1),
            objects=objects,
            uploads=ModuleUploads(objects, objects),
            sealer=self.sealer,
            rotation=self.rotation,
            publisher=self.publisher,
            logs=self.logs,
            traces=SourceTraces(objects.get),
            audit=self.audit,
            analytics=self.analytics,
            responses=self.responses,
            trigger=self._trigger,
            read_policy=named_materials,
            hosts=HostRules.of_listener("127.0.0.1", 8788),
            metrics=lambda: "tenantry_events_total 1\n",
            unready=lambda: self.reasons,
        )
        self.token = self.tokens.ensure_admin_token(folder / "admin-token")
        self.app: Starlette = create_control_app(self.services)
        self.api = self.client({"authorization": f"Bearer {self.token}"})

    def client(self, headers: Mapping[str, str] | None = None) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(self.app)
        return httpx2.AsyncClient(transport=transport, base_url=BASE, headers=dict(headers or {}))

    async def close(self) -> None:
        await self.api.aclose()
        self.rotation.close()
        await self.d1.close()
        for closing in (
            self.store,
            self.tokens,
            self._kv,
            self._queues,
            self.cron_database,
            self.audit,
            self.analytics,
            self.responses_database,
            self.sequence,
        ):
            closing.close()

    def state(self) -> tuple[Any, ...]:
        """Everything that control keeps, and the change log: to show that a refused request changed nothing."""
        tables = self.store.database.read(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
        return tuple(
            (name, self.store.database.read(f"SELECT * FROM {name} ORDER BY 1, 2"))  # noqa: S608
            for (name,) in tables
        )

    async def _ask_d1(self, namespace: str | None, asked: Mapping[str, Any], timeout_s: float) -> Any:
        """What the channel to a worker process does, without its frames: MessagePack there and back."""
        answer = await answer_control(self.d1)(msgspec.msgpack.decode(msgspec.msgpack.encode(asked)))
        return msgspec.msgpack.decode(msgspec.msgpack.encode(answer))

    async def _trigger(self, ref: ScriptRef, kind: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        self.triggered.append((ref, kind, payload))
        return {"outcome": "ok", "cpu_us": 12}

    async def namespace(self, name: str = "prod") -> str:
        ok(await self.api.post(NAMESPACES, json={"name": name}))
        return name

    async def deploy(
        self,
        name: str,
        namespace: str | None = None,
        *,
        module: bytes | None = None,
        **metadata: Any,
    ) -> httpx2.Response:
        return await self.api.put(
            script_path(name, namespace), files=upload(module or worker_module(), **metadata)
        )


def script_path(name: str, namespace: str | None = None) -> str:
    if namespace is None:
        return f"{ACCOUNT}/workers/scripts/{name}"
    return f"{NAMESPACES}/{namespace}/scripts/{name}"


def upload(module: bytes, **metadata: Any) -> dict[str, Any]:
    """The parts that a well-behaved client sends."""
    metadata = {"main_module": "main.wasm", **metadata}
    return {
        "metadata": (None, json.dumps(metadata), "application/json"),
        "main.wasm": ("main.wasm", module, "application/wasm"),
    }


def ok(response: httpx2.Response) -> Any:
    """The result of an answer that must be a success."""
    body = response.json()
    assert response.status_code == 200, body
    assert body["success"] is True
    assert body["errors"] == []
    return body["result"]


def refused(response: httpx2.Response, status: int, code: int, field: str | None = None) -> str:
    """The message of an answer that must be a refusal."""
    body = response.json()
    assert response.status_code == status, body
    assert body["success"] is False
    assert body["result"] is None
    (error,) = body["errors"]
    assert error["code"] == code, error
    if field is not None:
        assert error.get("source", {}).get("pointer") == field, error
        assert field in error["message"]
    assert isinstance(error["message"], str)
    return str(error["message"])
