"""Key-value namespaces in one SQLite file: the KvStorage of a host by itself.

Reads up to 64 KiB answer on the calling thread: a point read is 8 µs, a thread hop ten times that. They are never
stale, so nothing is cached.

A row holds its value whole, however large, so that processes of the release before read it: SQLite hands it over and
takes it in one piece. So whole values are in memory only on the threads that speak to SQLite, two readers and one
writer; between these and everybody else they are in files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, cast

from model.capabilities import KvEntry, KvLargeEntry, KvPage, KvWritten
from model.clock import unix_s
from storage.database import Database, SqlValue, StorageError, Transaction
from storage.kv_cursor import decode_cursor
from storage.kv_protocol import (
    CACHE_TTL_S,
    LARGE_BYTES,
    LOOP_VALUE_BYTES,
    SWEEP_ROWS,
    deleted_namespace,
    incremented,
    page_of,
    too_much_at_once,
)
from storage.migrations import Migrations, load_queries
from storage.scratch import PIECE_BYTES, SCRATCH, ScratchFile

LOG = logging.getLogger("tenantry.kv")

#: More keys than this at once are read in a thread.
LOOP_KEYS: Final = 8


def kv_migrations() -> Migrations:
    """What `Database.open` needs for the file that a KvStore stands on."""
    return Migrations.load("kv")


class KvStore:
    """Use from one event loop; several processes may hold the same file. Its methods are KvStorage's."""

    def __init__(self, database: Database, now_s: Callable[[], float] = unix_s) -> None:
        self._database = database
        self._now_s = now_s
        self._sql = load_queries("kv")
        self._get_sql = self._sql["get"]
        self._cursor_key = cast("bytes", database.read(self._sql["cursor_key"])[0][0])

    def get(
        self, namespace_id: str, key: str, cache_ttl_s: int = CACHE_TTL_S
    ) -> KvEntry | Awaitable[KvEntry | None] | None:
        """An awaitable when the value is larger than 64 KiB."""
        rows = self._database.read(
            self._get_sql, (namespace_id, key.encode(), LOOP_VALUE_BYTES, self._now_s())
        )
        if not rows:
            return None
        row = rows[0]
        return self._get_whole(namespace_id, key) if row[0] is None else KvEntry(*row)

    def open(
        self, namespace_id: str, key: str, cache_ttl_s: int = CACHE_TTL_S
    ) -> KvEntry | Awaitable[KvWritten | None] | None:
        rows = self._database.read(
            self._get_sql, (namespace_id, key.encode(), LOOP_VALUE_BYTES, self._now_s())
        )
        if not rows:
            return None
        row = rows[0]
        return self._open_aside(namespace_id, key) if row[0] is None else KvEntry(*row)

    async def get_entry(self, namespace_id: str, key: str) -> KvEntry | None:
        found = self.get(namespace_id, key)
        return found if found is None or isinstance(found, KvEntry) else await found

    def get_many(
        self, namespace_id: str, keys: Sequence[str], max_bytes: int
    ) -> Mapping[str, KvEntry] | Awaitable[Mapping[str, KvEntry]]:
        marks = ", ".join("?" * len(keys))
        where = f"namespace_id = ? AND key IN ({marks}) AND (expiration IS NULL OR expiration > ?)"
        # Only question marks are put into these two: the number of keys varies, and so must the statement.
        sizes = f"SELECT coalesce(sum(size), 0) FROM kv_entries WHERE {where}"  # noqa: S608
        entries = (
            f"SELECT key, value, metadata, expiration FROM kv_entries WHERE {where}"  # noqa: S608
            f" AND (SELECT sum(size) FROM kv_entries WHERE {where}) <= ?"
        )
        params: list[SqlValue] = [namespace_id, *(key.encode() for key in keys), self._now_s()]
        total = cast("int", self._database.read(sizes, params)[0][0])
        if total > max_bytes:
            raise too_much_at_once(len(keys), total, max_bytes)
        # The values may have grown since: the statement itself answers nothing above the limit.
        params = [*params, *params, max_bytes]
        if len(keys) <= LOOP_KEYS and total <= LOOP_VALUE_BYTES:
            return _entries(self._database.read(entries, params))
        return self._get_many_in_thread(entries, params)

    async def sizes(self, namespace_id: str, keys: Sequence[str]) -> tuple[int, int]:
        marks = ", ".join("?" * len(keys))
        # Only question marks are put into it.
        sql = (
            "SELECT count(*), coalesce(sum(size), 0) FROM kv_entries"  # noqa: S608
            f" WHERE namespace_id = ? AND key IN ({marks}) AND (expiration IS NULL OR expiration > ?)"
        )
        params: list[SqlValue] = [namespace_id, *(key.encode() for key in keys), self._now_s()]
        rows = await self._database.read_in_thread(sql, params)
        return cast("int", rows[0][0]), cast("int", rows[0][1])

    async def put(self, namespace_id: str, key: str, entry: KvWritten) -> None:
        await self._database.write(lambda tx: self._put(tx, _row(namespace_id, key, entry)))

    async def put_many(self, namespace_id: str, entries: Sequence[tuple[str, KvEntry]]) -> None:
        rows = [_row(namespace_id, key, entry) for key, entry in entries]

        def work(tx: Transaction) -> None:
            for row in rows:
                self._put(tx, row)

        await self._database.write(work)

    async def delete(self, namespace_id: str, key: str) -> None:
        await self.delete_many(namespace_id, [key])

    async def delete_many(self, namespace_id: str, keys: Sequence[str]) -> None:
        sql = self._sql["delete"]
        rows = [(namespace_id, key.encode()) for key in keys]

        def work(tx: Transaction) -> None:
            for row in rows:
                tx.execute(sql, row)

        await self._database.write(work)

    async def increment(self, namespace_id: str, key: str, delta: int) -> int:
        def work(tx: Transaction) -> int:
            entry = incremented(self._held(tx, namespace_id, key), delta)
            self._put(tx, _row(namespace_id, key, entry))
            return int(entry.value)

        return await self._database.write(work)

    async def compare_and_swap(
        self, namespace_id: str, key: str, expected: bytes | None, entry: KvWritten
    ) -> bool:
        def work(tx: Transaction) -> bool:
            now = self._held(tx, namespace_id, key)
            if (None if now is None else now.value) != expected:
                return False
            self._put(tx, _row(namespace_id, key, entry))
            return True

        return await self._database.write(work)

    async def list(self, namespace_id: str, prefix: str, limit: int, cursor: str | None) -> KvPage:
        start = prefix.encode()
        after = start if cursor is None else decode_cursor(self._cursor_key, namespace_id, start, cursor)
        rows = await self._database.read_in_thread(
            self._sql["list"],
            # UTF-8 has no byte 0xff: it is above everything that begins with the prefix.
            (namespace_id, after, start + b"\xff", self._now_s(), cursor is None, limit + 1),
        )
        return page_of(
            cast("Sequence[tuple[bytes, str | None, int | None]]", rows),
            limit,
            self._cursor_key,
            namespace_id,
            start,
        )

    async def usage(self, namespace_id: str) -> tuple[int, int]:
        rows = await self._database.read_in_thread(self._sql["usage"], (namespace_id,))
        return cast("int", rows[0][0]), cast("int", rows[0][1])

    async def delete_namespace(self, namespace_id: str) -> int:
        bury, some = self._sql["bury_namespace"], self._sql["delete_some_of_namespace"]

        def work(tx: Transaction) -> int:
            tx.execute(bury, (namespace_id,))
            tx.execute(some, (namespace_id, SWEEP_ROWS))
            return tx.changes()

        deleted = 0
        while removed := await self._database.write(work):
            deleted += removed
        return deleted

    async def sweep(self) -> int:
        sql, now = self._sql["sweep"], self._now_s()

        def work(tx: Transaction) -> int:
            tx.execute(sql, (now, SWEEP_ROWS))
            return tx.changes()

        return await self._database.write(work)

    async def sweep_forever(self, interval_s: float = 30.0) -> None:
        while True:
            try:
                swept = await self.sweep()
            except StorageError as error:
                # Readers skip expired rows anyway; the disk's trouble is reported by who needs it.
                LOG.warning("expired keys were not swept: %s", error)
                swept = 0
            await asyncio.sleep(0 if swept == SWEEP_ROWS else interval_s)

    def _held(self, tx: Transaction, namespace_id: str, key: str) -> KvEntry | None:
        """As it is while `tx` runs: nobody else writes meanwhile."""
        rows = tx.execute(self._sql["get_whole"], (namespace_id, key.encode(), self._now_s()))
        return KvEntry(*rows[0]) if rows else None

    def _put(self, tx: Transaction, row: tuple[SqlValue, ...]) -> None:
        tx.execute(self._sql["put"], row)
        if tx.changes() != 1:
            raise deleted_namespace()

    async def _get_whole(self, namespace_id: str, key: str) -> KvEntry | None:
        rows = await self._database.read_in_thread(
            self._sql["get_whole"], (namespace_id, key.encode(), self._now_s())
        )
        if not rows:
            return None
        value, metadata, expiration = rows[0]
        return KvEntry(cast("bytes", value), cast("str | None", metadata), cast("int | None", expiration))

    async def _open_aside(self, namespace_id: str, key: str) -> KvWritten | None:
        file = SCRATCH.new()
        try:
            entry = await self._database.in_thread(lambda: self._read_into(file, namespace_id, key))
        except BaseException:
            file.close()
            raise
        if not isinstance(entry, KvLargeEntry):
            file.close()
        return entry

    def _read_into(self, file: ScratchFile, namespace_id: str, key: str) -> KvWritten | None:
        rows = self._database.read(self._sql["get_whole"], (namespace_id, key.encode(), self._now_s()))
        if not rows:
            return None
        value, metadata, expiration = rows[0]
        if len(value) <= LARGE_BYTES:
            return KvEntry(value, metadata, expiration)
        for at in range(0, len(value), PIECE_BYTES):
            file.append(value[at : at + PIECE_BYTES])
        return KvLargeEntry(file, metadata, expiration)

    async def _get_many_in_thread(self, sql: str, params: Sequence[SqlValue]) -> Mapping[str, KvEntry]:
        return _entries(await self._database.read_in_thread(sql, params))


def _row(namespace_id: str, key: str, entry: KvWritten) -> tuple[SqlValue, ...]:
    value = entry.value
    if not isinstance(value, bytes):
        value = value.read_at(0, value.size)
    return (namespace_id, key.encode(), entry.expiration, entry.metadata, len(value), value)


def _entries(rows: Sequence[Sequence[SqlValue]]) -> dict[str, KvEntry]:
    return {
        cast("bytes", key).decode(): KvEntry(
            cast("bytes", value), cast("str | None", metadata), cast("int | None", expiration)
        )
        for key, value, metadata, expiration in rows
    }
