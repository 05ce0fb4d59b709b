"""What was read of KV lately, in this process: bounded in bytes, told what changed, used only while that is so.

A follower reads the log of changes at each wake-up and each turn, and evicts. An entry may be given without asking
the database while the last look at the log is less than a second old: so nobody sees what was replaced longer ago
than that. While the database is away, entries are given for as long as the caller's `cache_ttl` allows.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from model.capabilities import KvEntry
from model.clock import monotonic_s
from storage.failures import StorageError
from storage.postgres.connection import PgDatabase

LOG = logging.getLogger("tenantry.kv")

#: Of keys, values and metadata, with what Python needs around them.
CACHE_BYTES: Final = 64 << 20
_OVERHEAD: Final = 400
#: An answer that is older than this may hide a write that everybody must see by now.
FRESH_S: Final = 1.0
#: More changes than this at one look: all is forgotten instead.
MOST_CHANGES: Final = 10_000
#: The log is kept for longer than this; who has not looked for so long forgets all.
FOLLOWED_S: Final = 300.0

#: Of a namespace's id and a key.
CacheKey = tuple[str, bytes]


class KvCache:
    """For one thread, the loop's."""

    def __init__(self, most_bytes: int = CACHE_BYTES, now_s: Callable[[], float] = monotonic_s) -> None:
        self._most_bytes = most_bytes
        self._now_s = now_s
        self._held: OrderedDict[CacheKey, tuple[KvEntry | None, float, int]] = OrderedDict()
        self._bytes = 0
        #: Counts evictions of keys that were being read, and of everything: what was read across one is not kept.
        self._reading: dict[CacheKey, int] = {}
        self._spoilt: set[CacheKey] = set()
        #: When the log was last seen whole.
        self.looked_at_s = float("-inf")

    @property
    def size(self) -> int:
        return self._bytes

    def get(self, key: CacheKey, ttl_s: float, *, away: bool = False) -> tuple[KvEntry | None] | None:
        """(the entry, or None for an absent one), or None: ask the database. `away`: it can't be asked."""
        now = self._now_s()
        if not away and now - self.looked_at_s > FRESH_S:
            return None
        held = self._held.get(key)
        if held is None or now - held[1] > ttl_s:
            return None
        self._held.move_to_end(key)
        return (held[0],)

    def reads(self, key: CacheKey) -> None:
        """The database is being asked: `keep` or `drop` comes later."""
        self._reading[key] = self._reading.get(key, 0) + 1

    def keep(self, key: CacheKey, entry: KvEntry | None, asked_at_s: float) -> None:
        """What it answered. Not kept when the key was evicted in between."""
        if self._ended(key):
            return
        size = _OVERHEAD + len(key[1])
        if entry is not None:
            size += len(entry.value) + len(entry.metadata or "")
        if size > self._most_bytes // 16:
            return
        self._remove(key)
        self._held[key] = (entry, asked_at_s, size)
        self._bytes += size
        while self._bytes > self._most_bytes:
            self._remove(next(iter(self._held)))

    def drop(self, key: CacheKey) -> None:
        """It did not answer."""
        self._ended(key)

    def evict(self, key: CacheKey) -> None:
        self._remove(key)
        if key in self._reading:
            self._spoilt.add(key)

    def evict_namespace(self, namespace_id: str) -> None:
        for key in [key for key in (*self._held, *self._reading) if key[0] == namespace_id]:
            self.evict(key)

    def clear(self) -> None:
        self._held.clear()
        self._bytes = 0
        self._spoilt.update(self._reading)

    def _ended(self, key: CacheKey) -> bool:
        """Whether what was read is spoilt."""
        spoilt = key in self._spoilt
        left = self._reading.pop(key) - 1
        if left:
            self._reading[key] = left
        elif spoilt:
            self._spoilt.discard(key)
        return spoilt

    def _remove(self, key: CacheKey) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._bytes -= held[2]


class KvFollower:
    """Evicts what others changed. `wake` it when something did; it looks by itself at each turn, too."""

    def __init__(self, database: PgDatabase, sql: Mapping[str, str], cache: KvCache) -> None:
        self._database = database
        self._changes_sql = sql["changes"]
        self._cache = cache
        self._wake = asyncio.Event()
        #: From which transaction on the log has to be read; 0: from now.
        self._from = 0
        self._seen: set[int] = set()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.look()
            except StorageError:
                continue  # the database says so itself; the cache is not used without a look
            except Exception:
                LOG.exception("changes of KV were not read")

    async def look(self) -> None:
        """Once. Raises StorageError."""
        began = monotonic_s()
        first = self._from == 0 or began - self._cache.looked_at_s > FOLLOWED_S
        rows = await self._database.fetch(
            self._changes_sql, str(self._from), 0 if first else MOST_CHANGES + 1
        )
        horizon = int(rows[0][0])
        # The other way round time runs only when the database was restored from a backup.
        if first or len(rows) > MOST_CHANGES or horizon < self._from:
            self._cache.clear()
            self._seen.clear()
        else:
            changes = {(row[1], row[2], int(row[3])) for row in rows if row[1] is not None}
            for namespace_id, key, txid in changes:
                if txid in self._seen:
                    continue
                if key is None:
                    self._cache.evict_namespace(namespace_id)
                else:
                    self._cache.evict((namespace_id, key))
            # A transaction's changes appear all at once: those above the horizon that were seen are not
            # heeded again, however long an old transaction (a dump, say) keeps the horizon back.
            self._seen = {txid for _, _, txid in changes if txid >= horizon}
        self._from = horizon
        self._cache.looked_at_s = began
