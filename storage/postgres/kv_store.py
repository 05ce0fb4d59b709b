"""Key-value namespaces in PostgreSQL: the KvStorage of many machines.

A key that was read lately is answered at once from this process's cache (`kv_cache` says when); others are
gathered, those of one turn of the loop in one query. Writes go in groups (`kv_writer`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar, cast

from model.capabilities import KvEntry, KvLargeEntry, KvPage, KvWritten
from model.clock import monotonic_s, unix_s
from storage.failures import StorageError, StorageLost
from storage.kv_cursor import decode_cursor
from storage.kv_protocol import (
    CACHE_TTL_S,
    LOOP_VALUE_BYTES,
    SWEEP_ROWS,
    deleted_namespace,
    incremented,
    page_of,
    too_much_at_once,
)
from storage.migrations import load_queries
from storage.postgres.connection import PgDatabase, PgTransaction, end
from storage.postgres.kv_cache import CACHE_BYTES, CacheKey, KvCache, KvFollower
from storage.postgres.kv_rows import PIECE_BYTES, entry_of, store_entries, turn_of
from storage.postgres.kv_writer import KvWriter, share_namespaces
from storage.postgres.schema import POSTGRES_SQL, PgMigrations
from storage.postgres.signals import PgSignals
from storage.scratch import SCRATCH

LOG = logging.getLogger("tenantry.kv")

T = TypeVar("T")

TOPIC: Final = "kv"
#: Large values that are fetched at once: the others' connections stay the others'.
LARGE_AT_ONCE: Final = 2
#: All of a large value's pieces are of one moment: those that a write replaces meanwhile are still seen.
_ONE_MOMENT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
#: Of one query for many keys, and of those on their way at once.
READ_KEYS: Final = 64
READS: Final = 4
#: The log of changes is kept for so long; who has not looked for half of it forgets all (kv_cache.FOLLOWED_S).
CHANGES_S: Final = 600.0
#: A large value that is replaced again and again while it is read is read anew so often.
_READ_TRIES: Final = 5


def kv_migrations() -> PgMigrations:
    return PgMigrations.load("kv")


class PgKvStore:
    """Use from one running event loop; `start` and `close` there. Its methods are KvStorage's."""

    def __init__(
        self,
        database: PgDatabase,
        signals: PgSignals,
        now_s: Callable[[], float] = unix_s,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._database = database
        self._signals = signals
        self._now_s = now_s
        self._sql = load_queries("kv", POSTGRES_SQL)
        self.cache = KvCache(cache_bytes)
        self._follower = KvFollower(database, self._sql, self.cache)
        signals.on(TOPIC, self._follower.wake)
        self._writer = KvWriter(database, self._sql, self._written)
        self._following: asyncio.Task[None] | None = None
        #: Keys that are being read: who comes later waits for the same answer, unless the key was written since.
        self._loading: dict[CacheKey, asyncio.Future[Loaded]] = {}
        self._asked: list[tuple[CacheKey, asyncio.Future[Loaded]]] = []
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._readers: set[asyncio.Task[None]] = set()
        self._cursor_key: bytes | None = None

    def start(self) -> None:
        self._following = asyncio.get_running_loop().create_task(self._follower.run())

    async def close(self) -> None:
        """What was begun is finished. The database and the signals are their owner's to close."""
        await self._writer.close()
        if self._following is not None:
            await end(self._following)
        await asyncio.gather(*self._readers, return_exceptions=True)

    # -- reading -------------------------------------------------------------------------------------

    def get(
        self, namespace_id: str, key: str, cache_ttl_s: int = CACHE_TTL_S
    ) -> KvEntry | Awaitable[KvEntry | None] | None:
        wanted = (namespace_id, key.encode())
        cached = self.cache.get(wanted, cache_ttl_s)
        if cached is not None:
            return self._alive(cached[0])
        return self._get(wanted, cache_ttl_s)

    def open(
        self, namespace_id: str, key: str, cache_ttl_s: int = CACHE_TTL_S
    ) -> KvEntry | Awaitable[KvWritten | None] | None:
        wanted = (namespace_id, key.encode())
        cached = self.cache.get(wanted, cache_ttl_s)
        if cached is not None:
            return self._alive(cached[0])
        return self._open(wanted, cache_ttl_s)

    async def get_entry(self, namespace_id: str, key: str) -> KvEntry | None:
        return await self._get_whole((namespace_id, key.encode()))

    async def sizes(self, namespace_id: str, keys: Sequence[str]) -> tuple[int, int]:
        wanted = [key.encode() for key in keys]
        rows = await self._database.fetch(self._sql["sizes"], namespace_id, wanted, self._now_s())
        return int(rows[0][1]), int(rows[0][0])

    async def _get(self, wanted: CacheKey, cache_ttl_s: int) -> KvEntry | None:
        loaded = await self._loaded(wanted, cache_ttl_s)
        return await self._get_whole(wanted) if isinstance(loaded, _Large) else loaded

    async def _open(self, wanted: CacheKey, cache_ttl_s: int) -> KvWritten | None:
        loaded = await self._loaded(wanted, cache_ttl_s)
        return await self._open_large(wanted) if isinstance(loaded, _Large) else loaded

    async def _open_large(self, wanted: CacheKey) -> KvWritten | None:
        async with self._large:
            file = SCRATCH.new()

            async def work(tx: PgTransaction) -> KvWritten | None:
                await tx.execute(_ONE_MOMENT)
                file.clear()
                rows = await tx.fetch(self._sql["get"], *wanted, self._now_s())
                if not rows:
                    return None
                value, metadata, expiration, size, value_id = rows[0]
                if value_id is None:
                    return KvEntry(value, metadata, expiration)
                for number in range(-(-size // PIECE_BYTES)):
                    piece = await tx.fetch(self._sql["chunk"], value_id, number)
                    await asyncio.to_thread(file.append, piece[0][0])
                return KvLargeEntry(file, metadata, expiration)

            try:
                entry = await self._database.write(work, repeatable=True)
            except BaseException:
                file.close()
                raise
            if not isinstance(entry, KvLargeEntry):
                file.close()
            return entry

    async def _loaded(self, wanted: CacheKey, cache_ttl_s: int) -> Loaded:
        try:
            loaded = await asyncio.shield(self._load(wanted))
            return loaded if isinstance(loaded, _Large) else self._alive(loaded)
        except StorageLost:
            cached = self.cache.get(wanted, cache_ttl_s, away=True)
            if cached is None:
                raise
            return self._alive(cached[0])

    def _load(self, wanted: CacheKey) -> asyncio.Future[Loaded]:
        future = self._loading.get(wanted)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._loading[wanted] = loop.create_future()
            self.cache.reads(wanted)
            self._asked.append((wanted, future))
            if len(self._readers) < READS:
                # By the time that it runs, whoever asks in this turn of the loop has asked.
                task = loop.create_task(self._read_asked())
                self._readers.add(task)
                task.add_done_callback(self._readers.discard)
        return future

    async def _read_asked(self) -> None:
        while self._asked:
            batch, self._asked = self._asked[:READ_KEYS], self._asked[READ_KEYS:]
            began = monotonic_s()
            try:
                found = await self._read_each([wanted for wanted, _ in batch])
            except BaseException as error:
                for wanted, future in batch:
                    self.cache.drop(wanted)
                    self._answer(wanted, future, None, error)
                if not isinstance(error, StorageError):
                    raise
                continue
            for wanted, future in batch:
                loaded = found.get(wanted)
                if isinstance(loaded, _Large):
                    self.cache.drop(wanted)
                else:
                    self.cache.keep(wanted, loaded, began)
                self._answer(wanted, future, loaded, None)

    def _answer(
        self,
        wanted: CacheKey,
        future: asyncio.Future[Loaded],
        loaded: Loaded,
        error: BaseException | None,
    ) -> None:
        if self._loading.get(wanted) is future:
            del self._loading[wanted]
        if error is None:
            future.set_result(loaded)
        elif isinstance(error, StorageError):
            future.set_exception(error.again())
            future.exception()  # who waited may have gone
        else:
            future.cancel()

    async def _read_each(self, wanted: Sequence[CacheKey]) -> dict[CacheKey, KvEntry | _Large]:
        rows = await self._database.fetch(
            self._sql["get_each"],
            [pair[0] for pair in wanted],
            [pair[1] for pair in wanted],
            self._now_s(),
            LOOP_VALUE_BYTES,
        )
        found: dict[CacheKey, KvEntry | _Large] = {}
        for at, value, metadata, expiration in rows:
            pair = wanted[at - 1]
            loaded = await self._read_one(pair) if value is None else KvEntry(value, metadata, expiration)
            if loaded is not None:
                found[pair] = loaded
        return found

    async def _read_one(self, wanted: CacheKey) -> Loaded:
        rows = await self._database.fetch(self._sql["get"], *wanted, self._now_s())
        if not rows:
            return None
        value, metadata, expiration, _, value_id = rows[0]
        return KvEntry(value, metadata, expiration) if value_id is None else _Large()

    async def _get_whole(self, wanted: CacheKey) -> KvEntry | None:
        for _ in range(_READ_TRIES):
            rows = await self._database.fetch(self._sql["get"], *wanted, self._now_s())
            if not rows:
                return None
            entry = await entry_of(self._database.fetch, self._sql["chunk"], rows[0])
            if entry is not None:
                return entry
        raise StorageError("a large value is replaced faster than it is read", detail=wanted[0])

    def get_many(
        self, namespace_id: str, keys: Sequence[str], max_bytes: int
    ) -> Awaitable[Mapping[str, KvEntry]]:
        return self._get_many(namespace_id, [key.encode() for key in keys], max_bytes)

    async def _get_many(
        self, namespace_id: str, keys: Sequence[bytes], max_bytes: int
    ) -> Mapping[str, KvEntry]:
        for _ in range(_READ_TRIES):
            rows = await self._database.fetch(self._sql["sizes"], namespace_id, keys, self._now_s())
            total = int(rows[0][0])
            if total > max_bytes:
                raise too_much_at_once(len(keys), total, max_bytes)
            found = await self._read_many(namespace_id, keys, max_bytes)
            if found is not None and (found or not total):
                return found
        raise StorageError("large values are replaced faster than they are read", detail=namespace_id)

    async def _read_many(
        self, namespace_id: str, keys: Sequence[bytes], max_bytes: int
    ) -> dict[str, KvEntry] | None:
        """None: one of them was replaced on the way."""
        found: dict[str, KvEntry] = {}
        rows = await self._database.fetch(self._sql["get_many"], namespace_id, keys, self._now_s(), max_bytes)
        for key, *row in rows:
            entry = await entry_of(self._database.fetch, self._sql["chunk"], row)
            if entry is None:
                return None
            found[key.decode()] = entry
        return found

    async def list(self, namespace_id: str, prefix: str, limit: int, cursor: str | None) -> KvPage:
        if self._cursor_key is None:
            self._cursor_key = cast("bytes", (await self._database.fetch(self._sql["cursor_key"]))[0][0])
        start = prefix.encode()
        after = start if cursor is None else decode_cursor(self._cursor_key, namespace_id, start, cursor)
        rows = await self._database.fetch(
            self._sql["list"],
            # UTF-8 has no byte 0xff: it is above everything that begins with the prefix.
            *(namespace_id, after, start + b"\xff", self._now_s(), cursor is None, limit + 1),
        )
        return page_of(
            [(row[0], row[1], row[2]) for row in rows], limit, self._cursor_key, namespace_id, start
        )

    async def usage(self, namespace_id: str) -> tuple[int, int]:
        rows = await self._database.fetch(self._sql["usage"], namespace_id)
        return int(rows[0][0]), int(rows[0][1])

    # -- writing -------------------------------------------------------------------------------------

    async def put(self, namespace_id: str, key: str, entry: KvWritten) -> None:
        await self._writer.write(namespace_id, [key.encode()], [entry])

    async def put_many(self, namespace_id: str, entries: Sequence[tuple[str, KvEntry]]) -> None:
        keys = [key.encode() for key, _ in entries]
        await self._writer.write(namespace_id, keys, [entry for _, entry in entries])

    async def delete(self, namespace_id: str, key: str) -> None:
        await self._writer.write(namespace_id, [key.encode()], None)

    async def delete_many(self, namespace_id: str, keys: Sequence[str]) -> None:
        await self._writer.write(namespace_id, [key.encode() for key in keys], None)

    async def increment(self, namespace_id: str, key: str, delta: int) -> int:
        pair = (namespace_id, key.encode())

        async def work(tx: PgTransaction) -> int:
            entry = incremented(await self._hold(tx, pair), delta)
            await store_entries(tx, self._sql, {pair: entry})
            return int(entry.value)

        return await self._write_one(pair, work)

    async def compare_and_swap(
        self, namespace_id: str, key: str, expected: bytes | None, entry: KvWritten
    ) -> bool:
        pair = (namespace_id, key.encode())

        async def work(tx: PgTransaction) -> bool:
            now = await self._hold(tx, pair)
            if (None if now is None else now.value) != expected:
                raise _NotSwapped
            await store_entries(tx, self._sql, {pair: entry})
            return True

        try:
            return await self._write_one(pair, work)
        except _NotSwapped:
            return False

    async def _write_one(self, pair: CacheKey, work: Callable[[PgTransaction], Awaitable[T]]) -> T:
        """Not to be repeated: the second time it would find its own doing."""
        try:
            return await self._database.write(work)
        finally:
            self._written([pair])

    async def _hold(self, tx: PgTransaction, pair: CacheKey) -> KvEntry | None:
        """The entry as it is until `tx` ends. Raises OperationError(not_found)."""
        if await share_namespaces(tx, self._sql, {pair[0]}):
            raise deleted_namespace()
        while True:
            rows = await tx.fetch(self._sql["hold"], *pair, self._now_s())
            if rows:
                *row, alive = rows[0]
                return await entry_of(tx.fetch, self._sql["chunk"], row) if alive else None
            # A row to hold: of two that make it, one waits here for the other's end.
            if await tx.execute(self._sql["claim"], *pair):
                return None

    async def delete_namespace(self, namespace_id: str) -> int:
        async def bury(tx: PgTransaction) -> int:
            await tx.execute(self._sql["bury_turn"], turn_of(namespace_id))
            await tx.execute(self._sql["bury_namespace"], namespace_id)
            await tx.execute(self._sql["log_burial"], namespace_id)
            return await tx.execute(self._sql["delete_some_of_namespace"], namespace_id, SWEEP_ROWS)

        deleted = 0
        while removed := await self._database.write(bury, repeatable=True):
            deleted += removed
        self.cache.evict_namespace(namespace_id)
        self._signals.tell(TOPIC)
        return deleted

    async def sweep(self) -> int:
        async def work(tx: PgTransaction) -> int:
            await tx.execute(self._sql["prune_changes"], CHANGES_S, SWEEP_ROWS * 10)
            return await tx.execute(self._sql["sweep"], int(self._now_s()), SWEEP_ROWS)

        return await self._database.write(work, repeatable=True)

    async def sweep_forever(self, interval_s: float = 30.0) -> None:
        while True:
            try:
                swept = await self.sweep()
            except StorageError as error:
                LOG.warning("expired keys were not swept: %s", error)
                swept = 0
            await asyncio.sleep(0 if swept == SWEEP_ROWS else interval_s)

    def _written(self, keys: Sequence[CacheKey]) -> None:
        for key in keys:
            self.cache.evict(key)
            self._loading.pop(key, None)
        self._signals.tell(TOPIC)

    def _alive(self, entry: KvEntry | None) -> KvEntry | None:
        if entry is not None and entry.expiration is not None and entry.expiration <= self._now_s():
            return None
        return entry


class _Large:
    """Of a key that was read: its value is too large to be held, or to be shared among who waits."""


Loaded = KvEntry | _Large | None


class _NotSwapped(Exception):
    """Undoes the transaction: nothing is written, not even the row that was claimed."""
