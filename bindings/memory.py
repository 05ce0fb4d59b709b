"""Capabilities without a disk or a network: for tests, and for who wants to try a worker's logic.

Public, and held to the same contracts as the real ones (tests/contracts). Time is what the caller says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from model.analytics import DataPoint
from model.capabilities import (
    Binding,
    CallOptions,
    Charge,
    EventContext,
    KvEntry,
    KvLargeEntry,
    KvPage,
    KvWritten,
    QueueMessage,
    TreePermit,
    WorkerEnv,
    free,
)
from model.clock import monotonic_s, unix_s
from model.errors import OperationError, OperationErrorCode
from model.gcra import gcra
from model.identity import DEFAULT_ACCOUNT, NamespaceName, RayId, ScriptName, TenantId, VersionId
from model.messages import ByteSource, OutgoingRequest, Response
from model.scripts import ScriptRef
from model.sql import SqlExecuted, SqlResult, SqlStatement
from storage.cache_store import CachePlace
from storage.d1.connection import D1Connection
from storage.d1.guard import Asker
from storage.d1.limits import D1Limits
from storage.kv_cursor import decode_cursor
from storage.kv_protocol import (
    CACHE_TTL_S,
    LARGE_BYTES,
    LOOP_VALUE_BYTES,
    incremented,
    page_of,
    too_much_at_once,
)
from storage.scratch import SCRATCH

_CURSOR_KEY: Final = b"in memory, so there is nothing to forge"


class MemoryKvNamespace:
    """A KvNamespace in a dict."""

    def __init__(self, now_s: Callable[[], float] = unix_s) -> None:
        self.entries: dict[bytes, KvEntry] = {}
        self._now_s = now_s

    def get(self, key: str, cache_ttl_s: int = CACHE_TTL_S) -> KvEntry | Awaitable[KvEntry | None] | None:
        entry = self._alive(key.encode())
        if entry is None or len(entry.value) <= LOOP_VALUE_BYTES:
            return entry
        return _later(entry)

    def open(self, key: str, cache_ttl_s: int = CACHE_TTL_S) -> KvEntry | Awaitable[KvWritten | None] | None:
        entry = self._alive(key.encode())
        if entry is None or len(entry.value) <= LOOP_VALUE_BYTES:
            return entry
        return _opened(entry)

    def get_many(
        self, keys: Sequence[str], max_bytes: int
    ) -> Mapping[str, KvEntry] | Awaitable[Mapping[str, KvEntry]]:
        found = {key: entry for key in keys if (entry := self._alive(key.encode())) is not None}
        total = sum(len(entry.value) for entry in found.values())
        if total > max_bytes:
            raise too_much_at_once(len(keys), total, max_bytes)
        return found

    async def put(self, key: str, entry: KvWritten) -> None:
        value = entry.value
        if not isinstance(value, bytes):
            value = value.read_at(0, value.size)
        self.entries[key.encode()] = KvEntry(value, entry.metadata, entry.expiration)

    async def delete(self, key: str) -> None:
        self.entries.pop(key.encode(), None)

    async def increment(self, key: str, delta: int) -> int:
        entry = incremented(self._alive(key.encode()), delta)
        await self.put(key, entry)
        return int(entry.value)

    async def compare_and_swap(self, key: str, expected: bytes | None, entry: KvWritten) -> bool:
        now = self._alive(key.encode())
        if (None if now is None else now.value) != expected:
            return False
        await self.put(key, entry)
        return True

    async def list(self, prefix: str, limit: int, cursor: str | None) -> KvPage:
        start = prefix.encode()
        after = None if cursor is None else decode_cursor(_CURSOR_KEY, "", start, cursor)
        names = sorted(
            key
            for key in self.entries
            if key.startswith(start) and (after is None or key > after) and self._alive(key) is not None
        )
        rows = [(name, self.entries[name].metadata, self.entries[name].expiration) for name in names]
        return page_of(rows, limit, _CURSOR_KEY, "", start)

    def _alive(self, key: bytes) -> KvEntry | None:
        entry = self.entries.get(key)
        if entry is not None and entry.expiration is not None and entry.expiration <= self._now_s():
            return None
        return entry


@dataclass
class MemoryQueueProducer:
    """A QueueProducer that keeps what was sent."""

    messages: list[QueueMessage] = field(default_factory=list)
    backlog_bytes: int = 25_000_000_000

    async def send(self, messages: Sequence[QueueMessage]) -> None:
        held = sum(len(message.body) for message in self.messages)
        if held + sum(len(message.body) for message in messages) > self.backlog_bytes:
            raise OperationError(
                OperationErrorCode.LIMIT_EXCEEDED, f"Storage Limit Exceeded: the queue holds {held} bytes"
            )
        self.messages += messages


@contextmanager
def _charged(charge: Charge) -> Iterator[None]:
    began = time.thread_time_ns()
    try:
        yield
    finally:
        charge(time.thread_time_ns() - began)


@dataclass
class MemorySqlDatabase:
    """A SqlDatabase in memory: SQLite under the same rules, without a file and a thread."""

    limits: D1Limits = field(default_factory=D1Limits)

    def __post_init__(self) -> None:
        self.connection = D1Connection(None, self.limits)

    def query_now(self, statement: SqlStatement, seen: int | None = None) -> SqlResult | None:
        return self.connection.query_now(statement, seen)

    async def query(
        self, statement: SqlStatement, tenant: str, seen: int | None = None, charge: Charge = free
    ) -> SqlResult:
        await asyncio.sleep(0)  # the real one takes a turn of the loop at least
        with _charged(charge):
            return self.connection.query(statement, Asker(), seen)

    async def batch(
        self, statements: Sequence[SqlStatement], tenant: str, seen: int | None = None, charge: Charge = free
    ) -> list[SqlResult]:
        await asyncio.sleep(0)
        with _charged(charge):
            return self.connection.batch(statements, Asker(), seen)

    async def exec(self, script: str, tenant: str, charge: Charge = free) -> SqlExecuted:
        await asyncio.sleep(0)
        with _charged(charge):
            return self.connection.script(script, Asker())

    def close(self) -> None:
        self.connection.close()


@dataclass
class MemorySecret:
    """A SecretStore of one value; None: it has none."""

    value: str | None

    def get(self) -> str | Awaitable[str]:
        if self.value is None:
            raise OperationError(OperationErrorCode.NOT_FOUND, "the secret has no value")
        return self.value


class MemoryCacheStorage:
    """Where a StoredHttpCache keeps responses, in a dict and without a bound."""

    def __init__(self) -> None:
        #: Place → what it varies by → (when, id, record, body).
        self._entries: dict[tuple[str, str, str], dict[bytes, tuple[float, str, bytes, bytes]]] = {}

    def find(self, place: CachePlace) -> list[bytes]:
        found = [entry for entry in self._of(place).values() if entry[0] >= place.since_s]
        return [record for _, _, record, _ in sorted(found, reverse=True)]

    async def body(self, entry_id: str) -> bytes | None:
        bodies = (
            entry[3] for of_url in self._entries.values() for entry in of_url.values() if entry[1] == entry_id
        )
        return next(bodies, None)

    async def put(
        self, place: CachePlace, entry_id: str, record: bytes, varied: bytes, at_s: float, body: bytes
    ) -> None:
        self._of(place)[varied] = (at_s, entry_id, record, body)

    async def delete(self, place: CachePlace) -> bool:
        was_there = bool(self.find(place))
        self._of(place).clear()
        return was_there

    def _of(self, place: CachePlace) -> dict[bytes, tuple[float, str, bytes, bytes]]:
        return self._entries.setdefault((place.owner, place.cache, place.url), {})


@dataclass
class MemoryDataset:
    """An AnalyticsDataset that keeps what was written."""

    points: list[DataPoint] = field(default_factory=list)

    def write(self, point: DataPoint) -> None:
        self.points.append(point)


class MemoryRateLimiter:
    """A RateLimiter in a dict, without a bound."""

    def __init__(self, limit: int, period_s: int, clock: Callable[[], float] = monotonic_s) -> None:
        self._cost_s = period_s / limit
        self._period_s = period_s
        self._clock = clock
        self._keys: dict[str, float] = {}

    def limit(self, key: str) -> bool:
        found = self._keys.get(key, 0.0)
        self._keys[key], wait_s = gcra(found, self._clock(), self._cost_s, self._period_s)
        return wait_s == 0


@dataclass
class MemoryFetcher:
    """A Fetcher that answers by a function and keeps what it was asked."""

    answer: Callable[[OutgoingRequest], Response]
    requests: list[tuple[OutgoingRequest, EventContext]] = field(default_factory=list)

    async def fetch(self, request: OutgoingRequest, context: EventContext) -> Response:
        self.requests.append((request, context))
        return self.answer(request)


@dataclass
class MemoryRunner:
    """A WorkerRunner whose workers are functions."""

    workers: dict[ScriptRef, Callable[[OutgoingRequest], Response]] = field(default_factory=dict)
    calls: list[tuple[ScriptRef, OutgoingRequest, CallOptions]] = field(default_factory=list)

    async def run(
        self, ref: ScriptRef, request: OutgoingRequest, caller: EventContext, options: CallOptions
    ) -> Response:
        self.calls.append((ref, request, options))
        worker = self.workers.get(ref)
        if worker is None:
            raise OperationError(OperationErrorCode.WORKER_NOT_FOUND, f"Worker not found: {ref.script}")
        return worker(request)


class MemoryPermit:
    """A TreePermit that always has room, and counts."""

    def __init__(self) -> None:
        self.held = 0
        self.parked = 0

    def nested(self) -> None:
        self.held += 1

    def release_nested(self) -> None:
        self.held -= 1

    def park(self) -> None:
        self.parked += 1

    def unpark(self) -> None:
        self.parked -= 1


class MemoryEvent:
    """A GuestEvent for calling operations without a guest. `close()` ends it."""

    def __init__(
        self,
        env: WorkerEnv | None = None,
        *,
        script: str = "worker",
        namespace: str | None = None,
        tenant: str = "tenant",
        permit: TreePermit | None = None,
    ) -> None:
        self.env = WorkerEnv() if env is None else env
        self.context = EventContext(
            account=DEFAULT_ACCOUNT,
            namespace=None if namespace is None else NamespaceName(namespace),
            script=ScriptName(script),
            version=VersionId("1"),
            tenant=TenantId(tenant),
            tags=(),
            ray_id=RayId("0" * 16),
            depth=0,
            permit=MemoryPermit() if permit is None else permit,
        )
        self.streams: dict[int, ByteSource] = {}
        #: CPU time in ns that operations said they took.
        self.charged_ns = 0
        self._next_id = 1
        self._closers: list[Callable[[], None]] = []

    def borrow_stream(self, stream_id: object) -> ByteSource:
        if not isinstance(stream_id, int) or isinstance(stream_id, bool):
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, "a stream id is an integer")
        source = self.streams.pop(stream_id, None)
        if source is None:
            raise OperationError(OperationErrorCode.CLOSED_STREAM, f"stream {stream_id} is not open")
        return source

    def lend_stream(self, source: ByteSource) -> int:
        stream_id = self._next_id
        self._next_id += 1
        self.streams[stream_id] = source
        return stream_id

    def lend_budget(self) -> None:
        """It may spend as much as it likes."""

    def check_computing(self) -> None:
        """It may compute as much as it likes."""

    def charge_computing(self, cpu_ns: int) -> None:
        """Counted nowhere."""

    def charge(self, cpu_ns: int) -> None:
        self.charged_ns += cpu_ns

    def close_later(self, close: Callable[[], None]) -> None:
        self._closers.append(close)

    def close(self) -> None:
        """End the event: lent streams are closed, then what asked to be told."""
        for source in self.streams.values():
            source.close()
        self.streams.clear()
        while self._closers:
            self._closers.pop()()


def memory_env(**bindings: Binding) -> WorkerEnv:
    """`memory_env(KV=Binding("kv_namespace", MemoryKvNamespace()))`."""
    return WorkerEnv(bindings=bindings)


async def _opened(entry: KvEntry) -> KvWritten:
    if entry.size <= LARGE_BYTES:
        return entry
    file = SCRATCH.new()
    try:
        file.append(entry.value)
    except BaseException:
        file.close()
        raise
    return KvLargeEntry(file, entry.metadata, entry.expiration)


async def _later(entry: KvEntry) -> KvEntry:
    # A turn of the loop lies between, as with the real one: who forgets to await must notice here too.
    await asyncio.sleep(0)
    return entry
