"""All that the API stands on, handed in once; protocols only, so that a test brings small ones of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from control.body_room import BodyRoom
from control.d1_transfers import D1Transfers
from control.host_check import HostRules
from control.module_uploads import ModuleUploads
from control.publishing import Publisher
from model.capabilities import KvEntry, KvPage, KvWritten, QueueMessage
from model.clock import unix_s
from model.identity import DEFAULT_ACCOUNT, AccountId, NamespaceName
from model.observer import LogLine
from model.queues import QueueSettings, QueueSettingsChange
from model.scripts import ScriptRef
from model.sql import SqlExecuted, SqlResult, SqlStatement
from runtime.module_problems import ScriptError
from storage.analytics_query import Answer, Scope
from storage.analytics_store import DatasetInfo
from storage.audit_store import AuditPage, AuditQuery
from storage.control_records import Owner
from storage.control_store import ControlStore
from storage.cron_protocol import CronStore
from storage.d1.service import Restored
from storage.queue_protocol import DeadLettering, PulledMessage, PullsSettled, Settled, StoredMessage
from storage.replication.machines import MachineSeen
from storage.token_store import TokenStore


class KvContents(Protocol):
    """Keys and values by namespace id: storage.kv_store.KvStore."""

    def open(self, namespace_id: str, key: str, /) -> KvEntry | Awaitable[KvWritten | None] | None:
        """What a value above 1 MiB is in is the caller's to close."""

    async def get_entry(self, namespace_id: str, key: str) -> KvEntry | None: ...

    async def put_many(self, namespace_id: str, entries: Sequence[tuple[str, KvEntry]]) -> None: ...

    async def delete_many(self, namespace_id: str, keys: Sequence[str]) -> None: ...

    async def list(self, namespace_id: str, prefix: str, limit: int, cursor: str | None) -> KvPage: ...

    async def delete_namespace(self, namespace_id: str) -> int: ...

    async def usage(self, namespace_id: str) -> tuple[int, int]: ...


class QueueContents(Protocol):
    """Messages and settings by queue id: storage.queue_protocol.QueueStorage has the contract."""

    async def send(self, queue_id: str, messages: Sequence[QueueMessage]) -> Sequence[str]: ...

    async def pull(
        self, queue_id: str, count: int, lease_ms: int, used_up: DeadLettering
    ) -> list[PulledMessage]: ...

    async def settle_pulled(
        self, queue_id: str, acknowledged: Sequence[str], retried: Mapping[str, int], used_up: DeadLettering
    ) -> PullsSettled: ...

    async def peek(self, queue_id: str, count: int) -> list[StoredMessage]: ...

    async def remove(self, queue_id: str, refs: Sequence[str]) -> list[str]: ...

    async def settings(self, queue_ids: Sequence[str]) -> dict[str, QueueSettings]: ...

    async def change_settings(self, queue_id: str, change: QueueSettingsChange) -> QueueSettings: ...

    async def purge(self, queue_id: str) -> int: ...

    async def delete_queue(self, queue_id: str) -> int: ...

    async def stored(self, queue_id: str) -> tuple[int, int]:
        """(messages, bytes of their bodies)."""


class D1Contents(Protocol):
    """SQL databases by id, run where tenants' SQL runs; whose threads it takes is by `owner`."""

    async def create(self, database_id: str) -> None: ...

    async def delete(self, database_id: str) -> None: ...

    async def file_size(self, database_id: str) -> int: ...

    async def tables(self, database_id: str, owner: Owner) -> int: ...

    async def batch(
        self, database_id: str, statements: Sequence[SqlStatement], owner: Owner
    ) -> list[SqlResult]: ...

    async def export(
        self, database_id: str, owner: Owner, *, schema: bool, data: bool, tables: Sequence[str]
    ) -> bytes: ...

    async def load(self, database_id: str, dump: bytes, owner: Owner) -> SqlExecuted: ...

    async def bookmark(self, database_id: str, owner: Owner, at_ms: int | None) -> tuple[int, int]: ...

    async def restore(
        self, database_id: str, owner: Owner, bookmark: int | None, at_ms: int | None
    ) -> Restored: ...


class ObjectStore(Protocol):
    """Module bytes by sha256, hex. Calls block: they are made in a thread."""

    def put(self, data: bytes) -> str: ...

    def get(self, digest: str) -> bytes: ...


class SecretSealer(Protocol):
    def seal(self, account: AccountId, ref: ScriptRef, name: str, version: int, text: str) -> bytes:
        """What `bindings.secret_store` opens. Pure."""

    def seal_material(
        self, namespace: NamespaceName | None, name: str, version: int, plaintext: bytes
    ) -> bytes:
        """What a worker process opens with the key of this material's version. Pure."""


class LogReader(Protocol):
    """Lines that guests wrote, of every process: observability.log_ring.LogRings."""

    def read(self, ref: ScriptRef, after: int, /) -> tuple[Sequence[LogLine], int]:
        """Those after the cursor `after` (0: all that are kept), and the cursor to go on from."""

    def wait(self, ref: ScriptRef, after: int, timeout_s: float, /) -> Awaitable[object]:
        """Until there is a line after `after`, at most `timeout_s`."""


class TraceReader(Protocol):
    """control.source_traces.SourceTraces."""

    async def shown(self, lines: Sequence[LogLine], /) -> Sequence[LogLine]:
        """The lines, with the places of stack traces in them as their authors know them."""

    async def of_refused(self, error: ScriptError, module: bytes, /) -> ScriptError:
        """What an upload failed with, as its author knows it."""


class AuditReader(Protocol):
    """What the outbound gateway decided: storage.audit_store.AuditStore."""

    async def query(self, wanted: AuditQuery, /) -> AuditPage: ...


class Analytics(Protocol):
    """Data points of workers: storage.analytics_store.AnalyticsStore."""

    async def query(self, sql: str, scope: Scope) -> Answer: ...

    async def datasets(
        self, namespace: str | None, tenant: str | None, limit: int, offset: int
    ) -> tuple[list[DatasetInfo], int]: ...

    async def forget(self, namespace: str, tenant: str) -> None: ...


class KeptResponses(Protocol):
    """What workers have in their caches: storage.cache_store.CacheStore."""

    async def forget(self, namespace: str, tenant: str) -> None: ...


class Rotation(Protocol):
    """Of the root key: control.key_rotation.KeyRotation, or control.shared_key_rotation's."""

    def start(self) -> None: ...

    def state(self) -> Mapping[str, Any]: ...


#: (script, "scheduled" or "queue", payload) → how it went, from a worker process.
Trigger = Callable[[ScriptRef, str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


@dataclass(slots=True)
class ControlServices:
    store: ControlStore
    tokens: TokenStore
    kv: KvContents
    queues: QueueContents
    cron: CronStore
    d1: D1Contents
    objects: ObjectStore
    #: Into `objects`.
    uploads: ModuleUploads
    sealer: SecretSealer
    rotation: Rotation
    publisher: Publisher
    logs: LogReader
    traces: TraceReader
    audit: AuditReader
    analytics: Analytics
    responses: KeptResponses
    trigger: Trigger
    #: An egress policy's text → (kind, name) of each material that it names. Raises ValueError with a message
    #: that names line and field.
    read_policy: Callable[[str], Collection[tuple[str, str]]]
    #: The names that the control listener goes by.
    hosts: HostRules
    #: Prometheus text.
    metrics: Callable[[], str] = lambda: ""
    #: Why the host is not ready; empty when it is.
    unready: Callable[[], Sequence[str]] = tuple
    #: Of each process of the host: who it is, how it is, what holds it.
    processes: Callable[[], Sequence[Mapping[str, object]]] = tuple
    #: Told what became of messages that were pulled.
    queue_settled: Callable[[Settled], None] = lambda settled: None
    #: Of each replica, where this is one machine of several: how far it is.
    replication: Callable[[], Sequence[Mapping[str, object]]] = tuple
    #: All of the platform, as they told of themselves last. Blocks; raises StorageError.
    machines: Callable[[], Sequence[MachineSeen]] = tuple
    bodies: BodyRoom = field(default_factory=BodyRoom)
    #: Dumps of SQL databases on their way.
    transfers: D1Transfers = field(default_factory=D1Transfers)
    now_s: Callable[[], float] = unix_s
    accounts: frozenset[AccountId] = field(default_factory=lambda: frozenset({DEFAULT_ACCOUNT}))
