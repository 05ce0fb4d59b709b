"""Queues without a disk: a QueueStorage in dicts, for tests and for who wants to try a worker's logic.

Public, and held to the contract of the real ones (tests/contracts/test_queue_storage.py). Time is what the caller says;
what a process holds so, no other sees.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from model.capabilities import QueueMessage
from model.clock import unix_ms
from model.queues import QueueSettings, QueueSettingsChange
from storage.queue_protocol import (
    BACKLOG_BYTES,
    RETENTION_MS,
    SWEEP_ROWS,
    Backlog,
    DeadLettering,
    Lease,
    PulledMessage,
    PullsSettled,
    QueueTotals,
    ReadyQueue,
    Settled,
    StoredMessage,
    backlog_full,
    changed,
    deleted_queue,
    nobody,
)


@dataclass(slots=True)
class _Kept:
    """One message, wherever it is on its way. A lease is its `ready_at_ms` moved to the lease's end."""

    sequence: int
    queue_id: str
    message: StoredMessage
    expires_at_ms: int
    ready_at_ms: int
    lease_id: str | None = None


class MemoryQueueStorage:
    """Its methods are QueueStorage's; each does all it does in one turn of the loop."""

    def __init__(
        self,
        now_ms: Callable[[], int] = unix_ms,
        *,
        retention_ms: int = RETENTION_MS,
        backlog_bytes: int = BACKLOG_BYTES,
    ) -> None:
        self._now_ms = now_ms
        self._defaults = QueueSettings(retention_s=retention_ms // 1000)
        self._backlog_bytes = backlog_bytes
        self._sequence = itertools.count(1)
        self._kept: dict[int, _Kept] = {}
        self._settings: dict[str, QueueSettings] = {}
        #: Of bounded consumers: lease id → (queue, end, holder).
        self._leases: dict[str, tuple[str, int, str]] = {}
        self._deleted: set[str] = set()
        self.on_send: Callable[[str], None] = nobody

    @property
    def now_ms(self) -> int:
        return self._now_ms()

    async def send(self, queue_id: str, messages: Sequence[QueueMessage]) -> list[str]:
        if queue_id in self._deleted:
            raise deleted_queue()
        held = self.backlog(queue_id)
        if held.bytes + sum(len(message.body) for message in messages) > self._backlog_bytes:
            raise backlog_full(held, self._backlog_bytes)
        settings, now = self._of(queue_id), self.now_ms
        ids: list[str] = []
        for message in messages:
            delay_s = settings.delivery_delay_s if message.delay_s is None else message.delay_s
            stored = StoredMessage(secrets.token_hex(16), now, 0, message.content_type, message.body)
            self._keep(queue_id, stored, now + settings.retention_s * 1000, now + delay_s * 1000)
            ids.append(stored.id)
        self.on_send(queue_id)
        return ids

    async def ready_queues(self) -> list[ReadyQueue]:
        oldest: dict[str, int] = {}
        for kept in self._kept.values():
            if kept.ready_at_ms <= self.now_ms and not self._of(kept.queue_id).delivery_paused:
                oldest[kept.queue_id] = min(oldest.get(kept.queue_id, kept.ready_at_ms), kept.ready_at_ms)
        return [ReadyQueue(*pair) for pair in sorted(oldest.items(), key=lambda pair: pair[1])]

    async def ready_count(self, queue_id: str, at_most: int) -> int:
        return len(self._ready(queue_id)[:at_most])

    async def lease(
        self,
        queue_id: str,
        count: int,
        lease_ms: int,
        used_up: DeadLettering | None = None,
        at_most: int | None = None,
        holder: str = "",
    ) -> Lease | None:
        now, ends = self.now_ms, self.now_ms + lease_ms
        self._leases = {each: place for each, place in self._leases.items() if place[1] > now}
        if at_most is not None and sum(place[0] == queue_id for place in self._leases.values()) >= at_most:
            return None
        lease_id = secrets.token_hex(16)
        taken = self._take(queue_id, count, ends, used_up, itertools.repeat(lease_id))
        if not taken:
            return None
        if at_most is not None:
            self._leases[lease_id] = (queue_id, ends, holder)
        return Lease(lease_id, queue_id, ends, tuple(kept.message for kept in taken), at_most is not None)

    async def give_back(self, holder: str) -> int:
        ended = {each: place[0] for each, place in self._leases.items() if place[2] == holder}
        for lease_id in ended:
            del self._leases[lease_id]
        for kept in self._kept.values():
            if kept.lease_id in ended:
                kept.ready_at_ms = min(kept.ready_at_ms, self.now_ms)
        for queue_id in set(ended.values()):
            self.on_send(queue_id)
        return len(ended)

    async def renew(self, lease: Lease, lease_ms: int) -> int:
        ends = self.now_ms + lease_ms
        held = [kept for kept in self._kept.values() if kept.lease_id == lease.id]
        for kept in held:
            kept.ready_at_ms = max(kept.ready_at_ms, ends)
        if lease.id in self._leases:
            self._leases[lease.id] = (lease.queue_id, ends, self._leases[lease.id][2])
        return len(held)

    async def settle(
        self, lease: Lease, acknowledged: Sequence[str], retried: Mapping[str, int], used_up: DeadLettering
    ) -> Settled:
        self._leases.pop(lease.id, None)
        held = {kept.message.id: kept for kept in self._kept.values() if kept.lease_id == lease.id}
        return self._settle(lease.queue_id, held, acknowledged, retried, used_up)

    async def put_back(self, lease: Lease, delay_s: int) -> Settled:
        self._leases.pop(lease.id, None)
        held = [kept for kept in self._kept.values() if kept.lease_id == lease.id]
        for kept in held:
            kept.message = replace(kept.message, attempts=kept.message.attempts - 1)
            kept.ready_at_ms, kept.lease_id = self.now_ms + delay_s * 1000, None
        return Settled(not_taken=len(held))

    async def pull(
        self, queue_id: str, count: int, lease_ms: int, used_up: DeadLettering
    ) -> list[PulledMessage]:
        ids = (secrets.token_hex(16) for _ in itertools.repeat(None))
        taken = self._take(queue_id, count, self.now_ms + lease_ms, used_up, ids)
        return [PulledMessage(kept.lease_id or "", kept.message) for kept in taken]

    async def settle_pulled(
        self, queue_id: str, acknowledged: Sequence[str], retried: Mapping[str, int], used_up: DeadLettering
    ) -> PullsSettled:
        named = list(dict.fromkeys([*acknowledged, *retried]))
        held = {
            kept.lease_id or "": kept
            for kept in self._kept.values()
            if kept.lease_id in named and kept.queue_id == queue_id
        }
        late = tuple(each for each in named if each in held and held[each].ready_at_ms <= self.now_ms)
        not_held = tuple(each for each in named if each not in held)
        settled = self._settle(queue_id, held, acknowledged, retried, used_up)
        return PullsSettled(settled, late, not_held)

    async def settings(self, queue_ids: Sequence[str]) -> dict[str, QueueSettings]:
        return {queue_id: self._of(queue_id) for queue_id in queue_ids}

    async def change_settings(self, queue_id: str, change: QueueSettingsChange) -> QueueSettings:
        if queue_id in self._deleted:
            raise deleted_queue()
        self._settings[queue_id] = changed(self._of(queue_id), change)
        self.on_send(queue_id)
        return self._settings[queue_id]

    async def totals(self) -> QueueTotals:
        size = sum(len(kept.message.body) for kept in self._kept.values())
        paused = sum(settings.delivery_paused for settings in self._settings.values())
        return QueueTotals(len(self._kept), size, paused)

    def backlog(self, queue_id: str) -> Backlog:
        held = [kept for kept in self._kept.values() if kept.queue_id == queue_id]
        return Backlog(len(held), sum(len(kept.message.body) for kept in held))

    async def stored(self, queue_id: str) -> tuple[int, int]:
        held = self.backlog(queue_id)
        return held.messages, held.bytes

    async def peek(self, queue_id: str, count: int) -> list[StoredMessage]:
        now = self.now_ms
        found = [
            replace(kept.message, ref=str(kept.sequence))
            for _, kept in sorted(self._kept.items())
            if kept.queue_id == queue_id and kept.expires_at_ms > now
        ]
        return found[:count]

    async def remove(self, queue_id: str, refs: Sequence[str]) -> list[str]:
        there = [str(kept.sequence) for kept in self._kept.values() if kept.queue_id == queue_id]
        removed = [ref for ref in dict.fromkeys(refs) if ref in there]
        for ref in removed:
            del self._kept[int(ref)]
        return removed

    async def purge(self, queue_id: str) -> int:
        gone = [sequence for sequence, kept in self._kept.items() if kept.queue_id == queue_id]
        for sequence in gone:
            del self._kept[sequence]
        return len(gone)

    async def delete_queue(self, queue_id: str) -> int:
        self._deleted.add(queue_id)
        self._settings.pop(queue_id, None)
        return await self.purge(queue_id)

    async def sweep(self) -> int:
        old = [sequence for sequence, kept in self._kept.items() if kept.expires_at_ms <= self.now_ms]
        for sequence in old[:SWEEP_ROWS]:
            del self._kept[sequence]
        return len(old[:SWEEP_ROWS])

    async def sweep_forever(self, interval_s: float = 60.0) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(interval_s)

    def _of(self, queue_id: str) -> QueueSettings:
        return self._settings.get(queue_id, self._defaults)

    def _keep(self, queue_id: str, message: StoredMessage, expires_at_ms: int, ready_at_ms: int) -> None:
        sequence = next(self._sequence)
        self._kept[sequence] = _Kept(sequence, queue_id, message, expires_at_ms, ready_at_ms)

    def _ready(self, queue_id: str) -> list[_Kept]:
        now = self.now_ms
        return sorted(
            (
                kept
                for kept in self._kept.values()
                if kept.queue_id == queue_id and kept.ready_at_ms <= now < kept.expires_at_ms
            ),
            key=lambda kept: (kept.ready_at_ms, kept.sequence),
        )

    def _take(
        self,
        queue_id: str,
        count: int,
        ends_at_ms: int,
        used_up: DeadLettering | None,
        lease_ids: Iterable[str],
    ) -> list[_Kept]:
        if self._of(queue_id).delivery_paused:
            return []
        for kept in self._ready(queue_id):
            if used_up is not None and kept.message.attempts >= used_up.max_attempts:
                self._dead_letter(kept, used_up.queue_id)
        taken = sorted(self._ready(queue_id)[:count], key=lambda kept: kept.sequence)
        for kept, lease_id in zip(taken, lease_ids, strict=False):
            kept.message = replace(kept.message, attempts=kept.message.attempts + 1)
            kept.ready_at_ms, kept.lease_id = ends_at_ms, lease_id
        return taken

    def _settle(
        self,
        queue_id: str,
        held: Mapping[str, _Kept],
        acknowledged: Sequence[str],
        retried: Mapping[str, int],
        used_up: DeadLettering,
    ) -> Settled:
        left = dict(held)
        done = again = lettered = dropped = 0
        for key in acknowledged:
            if (kept := left.pop(key, None)) is not None:
                del self._kept[kept.sequence]
                done += 1
        for key, delay_s in retried.items():
            if (kept := left.pop(key, None)) is None:
                continue
            if kept.message.attempts < used_up.max_attempts:
                kept.ready_at_ms, kept.lease_id = self.now_ms + delay_s * 1000, None
                again += 1
            elif self._dead_letter(kept, used_up.queue_id):
                lettered += 1
            else:
                dropped += 1
        if lettered and used_up.queue_id is not None:
            self.on_send(used_up.queue_id)
        if again:
            self.on_send(queue_id)
        return Settled(done, again, lettered, dropped)

    def _dead_letter(self, kept: _Kept, to_queue_id: str | None) -> bool:
        del self._kept[kept.sequence]
        if to_queue_id is None or to_queue_id in self._deleted:
            return False
        expires = self.now_ms + self._of(to_queue_id).retention_s * 1000
        self._keep(to_queue_id, replace(kept.message, attempts=0), expires, self.now_ms)
        return True
