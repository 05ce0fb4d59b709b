"""The way of a data point from the worker process to the file that control keeps.

The worker's side never waits: what finds no room is dropped and counted, and no tenant takes all of the room. Whose a
point is control says, by the script that it is of. It writes in batches, and forgets what is too old, too much, or of a
tenant that is gone. A worker process that dies takes what it had not sent (a tenth of a second), control what it had
not written (GATHER_S), unless it ends in order.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from model.analytics import BLOB_BYTES, BLOBS, DOUBLES, INDEX_BYTES, DataPoint, parse_dataset_name
from model.clock import unix_ms
from model.identity import InvalidName, TenantId, parse_namespace_name, parse_script_name
from model.scripts import ScriptRef
from storage.analytics_store import AnalyticsStore, StoredPoint
from storage.control_records import ACCOUNT_OWNED, Owner
from storage.failures import StorageError

_log = logging.getLogger("tenantry.control")

#: A point as it travels: namespace ("": a plain script), script, dataset, UNIX ms, index, blobs, doubles.
WirePoint = list[object]
#: Of one message, about.
MESSAGE_BYTES: Final = 256 * 1024
#: Points take room until they are sent, or written: so much of all, and of one tenant.
WORKER_BYTES: Final = 8 << 20
CONTROL_BYTES: Final = 64 << 20
ONE_TENANTS: Final = 8
#: How long control gathers points before it writes them.
GATHER_S: Final = 0.5
_POINTS_A_WRITE: Final = 2_000
_PRUNE_S: Final = 60.0
#: What a point takes beside its texts, about: Python's objects.
_POINT_BYTES: Final = 600
_EARLIEST_MS: Final = 1_600_000_000_000


class Room:
    """How many bytes wait, for whom."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._all = 0
        self._held: Counter[object] = Counter()

    def take(self, owner: object, size: int) -> bool:
        """False: there is none for this one."""
        if self._all + size > self._most or self._held[owner] + size > self._most // ONE_TENANTS:
            return False
        self._all += size
        self._held[owner] += size
        return True

    def give(self, owner: object, size: int) -> None:
        self._all -= size
        self._held[owner] -= size
        if not self._held[owner]:
            del self._held[owner]


class PointOutbox:
    """A worker process's points on their way to control. `send` is Channel.notify of one message: False when there is
    no room just now.
    """

    def __init__(
        self,
        send: Callable[[list[WirePoint]], bool],
        now_ms: Callable[[], int] = unix_ms,
        most_bytes: int = WORKER_BYTES,
    ) -> None:
        self._send = send
        self._now_ms = now_ms
        self._room = Room(most_bytes)
        self._waiting: deque[tuple[object, int, WirePoint]] = deque()
        #: Points that nobody will see.
        self.dropped = 0

    def add(self, ref: ScriptRef, tenant: TenantId, dataset: str, point: DataPoint) -> None:
        owner, size = (ref.namespace, tenant), _POINT_BYTES + point.size
        if not self._room.take(owner, size):
            self.dropped += 1
            return
        wire: WirePoint = [
            ref.namespace or "",
            ref.script,
            dataset,
            self._now_ms(),
            point.index,
            list(point.blobs),
            list(point.doubles),
        ]
        self._waiting.append((owner, size, wire))

    def flush(self) -> None:
        """Send what waits, as far as there is room; the rest waits for the next time."""
        while self._waiting:
            count = size = 0
            for _, taken, _ in self._waiting:
                count, size = count + 1, size + taken
                if size > MESSAGE_BYTES:
                    break
            if not self._send([wire for _, _, wire in islice(self._waiting, count)]):
                return
            for _ in range(count):
                owner, taken, _ = self._waiting.popleft()
                self._room.give(owner, taken)


def from_wire(
    value: object, owner_of: Callable[[ScriptRef], Owner | None], now_ms: int
) -> StoredPoint | None:
    """Check a point that came from a worker process; None when it is none, or its script is not there."""
    if not isinstance(value, list | tuple) or len(value) != 7:
        return None
    namespace, script, dataset, at_ms, index, blobs, doubles = value
    if not (isinstance(namespace, str) and isinstance(script, str) and isinstance(dataset, str)):
        return None
    if type(at_ms) is not int or not isinstance(index, str) or len(index) > INDEX_BYTES:
        return None
    if not _all(blobs, str, BLOBS) or not _all(doubles, float, DOUBLES):
        return None
    size = len(index.encode(errors="replace")) + sum(len(blob.encode(errors="replace")) for blob in blobs)
    if size > INDEX_BYTES + BLOB_BYTES:
        return None
    try:
        where = parse_namespace_name(namespace) if namespace else None
        owner = owner_of(ScriptRef(where, parse_script_name(script)))
        parse_dataset_name(dataset)
    except InvalidName:
        return None
    if owner is None:
        return None
    return StoredPoint(
        owner.namespace or "",
        owner.tenant or "",
        dataset,
        max(_EARLIEST_MS, min(at_ms, now_ms)),
        index,
        tuple(blobs),
        tuple(doubles),
        size,
    )


def _all(values: object, kind: type, most: int) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) <= most
        and all(type(value) is kind for value in values)
    )


def owner_of_points(ref: ScriptRef, tenant: TenantId) -> Owner:
    """Plain scripts are the account's, and so are their points: which tenant one names is for its limits."""
    return ACCOUNT_OWNED if ref.namespace is None else Owner(ref.namespace, tenant)


@dataclass(frozen=True, slots=True)
class PointRetention:
    days: float
    most_bytes: int


#: Whose the points of a script are; None: it is not there, or not the isolation group's that says so.
OwnerOf = Callable[[ScriptRef, str], Owner | None]
#: (namespace, tenant, since when it has data points, in UNIX ms) → those of them that are gone.
Gone = Callable[[Sequence[tuple[str, str, int]]], Collection[tuple[str, str]]]


class PointKeeper:
    """Control's side: `take` is a notification handler of the workers' channels."""

    def __init__(
        self,
        store: AnalyticsStore,
        retention: PointRetention,
        owner_of: OwnerOf,
        gone: Gone,
        most_bytes: int = CONTROL_BYTES,
    ) -> None:
        self._store = store
        self._retention = retention
        self._owner_of = owner_of
        self._gone = gone
        self._room = Room(most_bytes)
        self._waiting: deque[tuple[int, StoredPoint]] = deque()
        self._arrived = asyncio.Event()
        #: Points that were kept, and those that nobody will see.
        self.written = 0
        self.dropped = 0
        self._tasks: list[asyncio.Task[None]] = []

    def take(self, group: str, payload: object) -> None:
        """From a worker process of that isolation group."""
        if not isinstance(payload, list | tuple):
            return
        owners: dict[ScriptRef, Owner | None] = {}

        def owner_of(ref: ScriptRef) -> Owner | None:
            if ref not in owners:
                owners[ref] = self._owner_of(ref, group)
            return owners[ref]

        now_ms = unix_ms()
        for value in payload:
            point = from_wire(value, owner_of, now_ms)
            if point is None or not self._room.take(_owner(point), _POINT_BYTES + point.size):
                self.dropped += 1
            else:
                self._waiting.append((_POINT_BYTES + point.size, point))
        self._arrived.set()

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._write_forever()), loop.create_task(self._prune_forever())]

    async def close(self) -> None:
        """Write what waits, and close the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._waiting:
            await self._write_some()
        self._store.close()

    async def prune(self) -> None:
        """Forget what is too old, too much, or of tenants that are gone."""
        try:
            for namespace, tenant in self._gone(await self._store.owners()):
                await self._store.forget(namespace, tenant)
            await self._store.prune(
                older_than_ms=unix_ms() - int(self._retention.days * 86_400_000),
                most_bytes=self._retention.most_bytes,
            )
        except StorageError as error:
            _log.warning("old data points were not removed: %s (%s)", error.message, error.detail)

    async def _write_forever(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GATHER_S)
            self._arrived.clear()
            while self._waiting:
                await asyncio.shield(self._write_some())

    async def _write_some(self) -> None:
        some = [self._waiting.popleft() for _ in range(min(len(self._waiting), _POINTS_A_WRITE))]
        for size, point in some:
            self._room.give(_owner(point), size)
        try:
            written = await self._store.append([point for _, point in some])
        except StorageError as error:
            written = 0
            _log.error("%d data points were lost: %s (%s)", len(some), error.message, error.detail)
        self.written += written
        self.dropped += len(some) - written

    async def _prune_forever(self) -> None:
        while True:
            await self.prune()
            await asyncio.sleep(_PRUNE_S)


def _owner(point: StoredPoint) -> tuple[str, str]:
    return point.namespace, point.tenant
