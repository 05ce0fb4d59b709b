"""Hold what tenants store to their quotas of bytes: asked before each write of KV, queues and databases.

What a tenant holds is measured, not kept: a sum over its own, at most once a second and never for more than a
twentieth of the time, with what this process let through since. So a quota is overshot by what other processes take
within that second and by what is under way, and no write waits for a lock. Before a write is refused, it is measured
again.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from model.capabilities import KvEntry, KvPage, KvWritten, QueueMessage
from model.errors import OperationError, OperationErrorCode
from storage.control_records import Owner, Read, to_owner
from storage.d1 import files
from storage.kv_protocol import KvStorage
from storage.migrations import load_queries
from storage.queue_protocol import QueueStorage
from storage.tenant_quotas import KEY_BYTES, Limit, Quota, refusal
from storage.tenant_room import limits_of

FRESH_S: Final = 1.0
#: Before a refusal: who was refused and deletes something is not to wait a second.
FRESH_FOR_REFUSAL_S: Final = 0.0
#: Of measuring, at most this share of the time, but for refusals.
_SHARE: Final = 20
_MOST_OWNERS: Final = 20_000
_MOST_TENANTS: Final = 2_000

#: Bytes that one KV namespace, queue or database holds.
Measure = Callable[[str], Awaitable[int]]


@dataclass(slots=True)
class _Held:
    """What a tenant held at `at`, and what this process has let through since."""

    bytes: int
    at: float
    took_s: float


class TenantGuard:
    """Use from one event loop."""

    def __init__(
        self,
        read: Read,
        sequence: Callable[[], int],
        measures: Mapping[Quota, Measure],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read` and `sequence` are the control store's; `measures`: of kv_bytes, queue_bytes and d1_bytes."""
        self._read = read
        self._sequence = sequence
        self._measures = measures
        self._now = now
        self._sql = load_queries("tenants")
        #: Whose a resource is never changes, and ids are never used again.
        self._owners: OrderedDict[str, Owner] = OrderedDict()
        #: As they were at one number of the sequence.
        self._limits: dict[Owner, dict[Quota, Limit]] = {}
        self._limits_at = -1
        self._held: OrderedDict[tuple[Owner, Quota], _Held] = OrderedDict()
        self._measuring: dict[tuple[Owner, Quota], asyncio.Task[_Held]] = {}

    def limited(self, quota: Quota, resource_id: str) -> tuple[Owner, Limit] | None:
        """Whose it is and how much it may hold; None when nothing holds it."""
        owner = self._owner(quota, resource_id)
        if owner.tenant is None:
            return None
        sequence = self._sequence()
        if sequence != self._limits_at or len(self._limits) >= _MOST_TENANTS:
            self._limits.clear()
            self._limits_at = sequence
        limits = self._limits.get(owner)
        if limits is None:
            limits = self._limits[owner] = limits_of(self._read, owner)
        limit = limits[quota]
        return None if limit.value is None else (owner, limit)

    async def take(
        self, quota: Quota, resource_id: str, more: int, replaced: Callable[[], Awaitable[int]] | None = None
    ) -> None:
        """Let a write of `more` bytes through. `replaced` measures what it takes the place of, if it has to be known.

        Raises OperationError(limit_exceeded).
        """
        found = self.limited(quota, resource_id)
        if found is None:
            return
        owner, limit = found
        most = limit.value or 0
        held = await self._measured(owner, quota, FRESH_S)
        if held.bytes + more > most:
            held = await self._measured(owner, quota, FRESH_FOR_REFUSAL_S)
        if held.bytes + more > most and replaced is not None:
            more -= await replaced()
        if more > 0 and held.bytes + more > most:
            raise OperationError(
                OperationErrorCode.LIMIT_EXCEEDED, refusal(owner, quota, limit, held.bytes, more)
            )
        held.bytes += more

    async def room(self, quota: Quota, resource_id: str) -> tuple[int, str] | None:
        """How large this one may become beside what the tenant's others hold, and what to say when that is too
        little; None when nothing holds it.
        """
        found = self.limited(quota, resource_id)
        if found is None:
            return None
        owner, limit = found
        most = limit.value or 0
        held = await self._measured(owner, quota, FRESH_S)
        own = await self._measures[quota](resource_id)
        return max(0, most - (held.bytes - own)), refusal(owner, quota, limit, held.bytes, 1)

    def _owner(self, quota: Quota, resource_id: str) -> Owner:
        owner = self._owners.get(resource_id)
        if owner is None:
            kind = quota.removesuffix("_bytes")
            rows = self._read(self._sql[f"{kind}_owner"], (resource_id,))
            if not rows:
                return Owner()  # just deleted: the store itself says so
            if len(self._owners) >= _MOST_OWNERS:
                self._owners.popitem(last=False)
            owner = self._owners[resource_id] = to_owner(rows[0][1], rows[0][0])
        return owner

    async def _measured(self, owner: Owner, quota: Quota, fresh_s: float) -> _Held:
        held, now = self._held.get((owner, quota)), self._now()
        if held is not None and now - held.at < max(fresh_s, held.took_s * (_SHARE if fresh_s else 1)):
            self._held.move_to_end((owner, quota))
            return held
        # Many writes come at once: one measures for all, and all count on what it found.
        measuring = self._measuring.get((owner, quota))
        if measuring is None:
            measuring = asyncio.get_running_loop().create_task(self._measure(owner, quota, now))
            self._measuring[owner, quota] = measuring
            measuring.add_done_callback(partial(self._was_measured, (owner, quota)))
        return await asyncio.shield(measuring)

    async def _measure(self, owner: Owner, quota: Quota, now: float) -> _Held:
        kind = quota.removesuffix("_bytes")
        measure, total = self._measures[quota], 0
        for (each,) in self._read(self._sql[f"{kind}_ids"], (owner.namespace, owner.tenant)):
            total += await measure(each)
        held = _Held(total, now, self._now() - now)
        self._held[owner, quota] = held
        if len(self._held) > _MOST_TENANTS:
            self._held.popitem(last=False)
        return held

    def _was_measured(self, key: tuple[Owner, Quota], task: asyncio.Task[_Held]) -> None:
        del self._measuring[key]
        if not task.cancelled():
            task.exception()  # everybody who waited may have left


def measures(kv: KvStorage, queues: QueueStorage, d1_folder: Path) -> dict[Quota, Measure]:
    """Of the stores that a process has."""

    async def kv_bytes(namespace_id: str) -> int:
        keys, size = await kv.usage(namespace_id)
        return size + keys * KEY_BYTES

    async def queue_bytes(queue_id: str) -> int:
        return (await queues.stored(queue_id))[1]

    async def d1_bytes(database_id: str) -> int:
        return files.bytes_of(d1_folder, database_id)

    return {Quota.KV_BYTES: kv_bytes, Quota.QUEUE_BYTES: queue_bytes, Quota.D1_BYTES: d1_bytes}


class KvWithinQuotas:
    """A KvStorage over another one. Reads and deletions are that one's own methods."""

    def __init__(self, inner: KvStorage, guard: TenantGuard) -> None:
        self._inner = inner
        self._guard = guard
        self.get = inner.get
        self.open = inner.open
        self.get_entry = inner.get_entry
        self.sizes = inner.sizes
        self.get_many = inner.get_many
        self.delete = inner.delete
        self.delete_many = inner.delete_many
        self.usage = inner.usage
        self.delete_namespace = inner.delete_namespace
        self.sweep = inner.sweep
        self.sweep_forever = inner.sweep_forever

    async def put(self, namespace_id: str, key: str, entry: KvWritten) -> None:
        await self._take(namespace_id, [(key, entry)])
        await self._inner.put(namespace_id, key, entry)

    async def put_many(self, namespace_id: str, entries: Sequence[tuple[str, KvEntry]]) -> None:
        await self._take(namespace_id, entries)
        await self._inner.put_many(namespace_id, entries)

    async def increment(self, namespace_id: str, key: str, delta: int) -> int:
        await self._take(namespace_id, [(key, KvEntry(b"0"))])
        return await self._inner.increment(namespace_id, key, delta)

    async def compare_and_swap(
        self, namespace_id: str, key: str, expected: bytes | None, entry: KvWritten
    ) -> bool:
        await self._take(namespace_id, [(key, entry)])
        return await self._inner.compare_and_swap(namespace_id, key, expected, entry)

    async def list(self, namespace_id: str, prefix: str, limit: int, cursor: str | None) -> KvPage:
        return await self._inner.list(namespace_id, prefix, limit, cursor)

    async def _take(self, namespace_id: str, entries: Sequence[tuple[str, KvWritten]]) -> None:
        if self._guard.limited(Quota.KV_BYTES, namespace_id) is not None:
            more = sum(entry.size for _, entry in entries) + len(entries) * KEY_BYTES
            replaced = partial(self._replaced, namespace_id, [key for key, _ in entries])
            await self._guard.take(Quota.KV_BYTES, namespace_id, more, replaced)

    async def _replaced(self, namespace_id: str, keys: Sequence[str]) -> int:
        count, size = await self._inner.sizes(namespace_id, list(dict.fromkeys(keys)))
        return size + count * KEY_BYTES


class QueuesWithinQuotas:
    """A queue store's sending end, and what the API does with one: all but sends are that one's own methods.
    `on_sent` is told how many messages were.
    """

    def __init__(
        self, inner: QueueStorage, guard: TenantGuard, on_sent: Callable[[int], None] = lambda count: None
    ) -> None:
        self._inner = inner
        self._guard = guard
        self._on_sent = on_sent
        self.stored = inner.stored
        self.peek = inner.peek
        self.remove = inner.remove
        self.pull = inner.pull
        self.settle_pulled = inner.settle_pulled
        self.settings = inner.settings
        self.change_settings = inner.change_settings
        self.purge = inner.purge
        self.delete_queue = inner.delete_queue

    async def send(self, queue_id: str, messages: Sequence[QueueMessage]) -> Sequence[str]:
        if self._guard.limited(Quota.QUEUE_BYTES, queue_id) is not None:
            await self._guard.take(Quota.QUEUE_BYTES, queue_id, sum(len(each.body) for each in messages))
        ids = await self._inner.send(queue_id, messages)
        self._on_sent(len(ids))
        return ids
