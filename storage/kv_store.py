"""Key-value namespaces in one SQLite file, for the worker's binding and the control API alike.

The unit is a namespace's id; nothing of one namespace is reachable with another's. Keys, sizes and
expirations were checked by who calls (`bindings.kv` has the rules). Reads up to 64 KiB answer on the calling
thread: a point read is 8 µs, a thread hop ten times that.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, cast

from model.capabilities import KvEntry, KvKey, KvPage
from model.clock import unix_s
from model.errors import OperationError, OperationErrorCode
from storage.database import Database, SqlValue, StorageError, Transaction
from storage.migrations import Migrations, load_queries

LOG = logging.getLogger("tenantry.kv")

#: Larger values are read in a thread: copying them would hold the loop.
LOOP_VALUE_BYTES: Final = 64 * 1024
#: More keys than this at once are read in a thread.
LOOP_KEYS: Final = 8
#: Of names and metadata in one page: a reply to a guest holds at most 1 MiB.
PAGE_BYTES: Final = 512 * 1024
#: Rows that one transaction of the sweep or of a namespace's deletion removes: others wait for it.
SWEEP_ROWS: Final = 500
_MAC_BYTES: Final = 16


def kv_migrations() -> Migrations:
    """What `Database.open` needs for the file that a KvStore stands on."""
    return Migrations.load("kv")


class KvStore:
    """Use from one event loop; several processes may hold the same file.

    Raises StorageError subclasses when the disk fails, OperationError as each method says.
    """

    def __init__(self, database: Database, now_s: Callable[[], float] = unix_s) -> None:
        self._database = database
        self._now_s = now_s
        self._sql = load_queries("kv")
        self._get_sql = self._sql["get"]
        self._cursor_key = cast("bytes", database.read(self._sql["cursor_key"])[0][0])

    def get(self, namespace_id: str, key: str) -> KvEntry | Awaitable[KvEntry | None] | None:
        """The entry, or None; an awaitable of it when the value is larger than 64 KiB."""
        rows = self._database.read(
            self._get_sql, (namespace_id, key.encode(), LOOP_VALUE_BYTES, self._now_s())
        )
        if not rows:
            return None
        value, metadata, expiration = rows[0]
        if value is None:
            return self._get_whole(namespace_id, key)
        return KvEntry(cast("bytes", value), cast("str | None", metadata), cast("int | None", expiration))

    async def get_entry(self, namespace_id: str, key: str) -> KvEntry | None:
        """As `get`, for who awaits anyway."""
        found = self.get(namespace_id, key)
        return found if found is None or isinstance(found, KvEntry) else await found

    def get_many(
        self, namespace_id: str, keys: Sequence[str], max_bytes: int
    ) -> Mapping[str, KvEntry] | Awaitable[Mapping[str, KvEntry]]:
        """Those of `keys` that exist, all as of one moment.

        Raises OperationError(limit_exceeded) when their values together are above `max_bytes`.
        """
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
            raise OperationError(
                OperationErrorCode.LIMIT_EXCEEDED,
                f"the values of these {len(keys)} keys are {total} bytes; {max_bytes} at once is the most:"
                " ask for fewer keys",
            )
        # The values may have grown since: the statement itself answers nothing above the limit.
        params = [*params, *params, max_bytes]
        if len(keys) <= LOOP_KEYS and total <= LOOP_VALUE_BYTES:
            return _entries(self._database.read(entries, params))
        return self._get_many_in_thread(entries, params)

    async def put(self, namespace_id: str, key: str, entry: KvEntry) -> None:
        """Durable and visible everywhere when it returns. Raises OperationError(not_found): deleted."""
        await self.put_many(namespace_id, [(key, entry)])

    async def put_many(self, namespace_id: str, entries: Sequence[tuple[str, KvEntry]]) -> None:
        """All or none."""
        sql = self._sql["put"]
        rows: list[tuple[SqlValue, ...]] = [
            (namespace_id, key.encode(), entry.expiration, entry.metadata, len(entry.value), entry.value)
            for key, entry in entries
        ]

        def work(tx: Transaction) -> None:
            for row in rows:
                tx.execute(sql, row)
                if tx.changes() != 1:
                    raise OperationError(
                        OperationErrorCode.NOT_FOUND, "this KV namespace was deleted; bind another one"
                    )

        await self._database.write(work)

    async def delete(self, namespace_id: str, key: str) -> None:
        await self.delete_many(namespace_id, [key])

    async def delete_many(self, namespace_id: str, keys: Sequence[str]) -> None:
        """All or none; keys that aren't there are no error."""
        sql = self._sql["delete"]
        rows = [(namespace_id, key.encode()) for key in keys]

        def work(tx: Transaction) -> None:
            for row in rows:
                tx.execute(sql, row)

        await self._database.write(work)

    async def list(self, namespace_id: str, prefix: str, limit: int, cursor: str | None) -> KvPage:
        """At most `limit` keys that begin with `prefix`, in UTF-8 byte order.

        Fewer when their names and metadata reach 512 KiB. The cursor names the last key given, so keys
        written or deleted in between move nothing. Raises OperationError(invalid_argument) for a cursor
        that this namespace and prefix did not give.
        """
        start = prefix.encode()
        after = start if cursor is None else decode_cursor(self._cursor_key, namespace_id, start, cursor)
        rows = await self._database.read_in_thread(
            self._sql["list"],
            # UTF-8 has no byte 0xff: it is above everything that begins with the prefix.
            (namespace_id, after, start + b"\xff", self._now_s(), cursor is None, limit + 1),
        )
        keys: list[KvKey] = []
        size = 0
        for key, metadata, expiration in rows[:limit]:
            size += len(cast("bytes", key)) + len(cast("str", metadata or ""))
            if size > PAGE_BYTES and keys:
                break
            keys.append(
                KvKey(
                    cast("bytes", key).decode(),
                    cast("str | None", metadata),
                    cast("int | None", expiration),
                )
            )
        if len(keys) == len(rows):
            return KvPage(keys, None)
        return KvPage(keys, encode_cursor(self._cursor_key, namespace_id, start, keys[-1].name.encode()))

    async def usage(self, namespace_id: str) -> tuple[int, int]:
        """(keys, bytes of their values); reads the whole namespace, so not for requests."""
        rows = await self._database.read_in_thread(self._sql["usage"], (namespace_id,))
        return cast("int", rows[0][0]), cast("int", rows[0][1])

    async def delete_namespace(self, namespace_id: str) -> int:
        """Refuse writes to it from now on, then remove its keys in batches. Returns how many there were.

        The id must never be used again. Ended in the middle, it can be called again.
        """
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
        """Remove at most 500 expired rows; returns how many: 500 means that there may be more."""
        sql, now = self._sql["sweep"], self._now_s()

        def work(tx: Transaction) -> int:
            tx.execute(sql, (now, SWEEP_ROWS))
            return tx.changes()

        return await self._database.write(work)

    async def sweep_forever(self, interval_s: float = 30.0) -> None:
        """Remove expired rows until cancelled; one process of the host is enough."""
        while True:
            try:
                swept = await self.sweep()
            except StorageError as error:
                # Readers skip expired rows anyway; the disk's trouble is reported by who needs it.
                LOG.warning("expired keys were not swept: %s", error)
                swept = 0
            await asyncio.sleep(0 if swept == SWEEP_ROWS else interval_s)

    async def _get_whole(self, namespace_id: str, key: str) -> KvEntry | None:
        rows = await self._database.read_in_thread(
            self._sql["get_whole"], (namespace_id, key.encode(), self._now_s())
        )
        if not rows:
            return None
        value, metadata, expiration = rows[0]
        return KvEntry(cast("bytes", value), cast("str | None", metadata), cast("int | None", expiration))

    async def _get_many_in_thread(self, sql: str, params: Sequence[SqlValue]) -> Mapping[str, KvEntry]:
        return _entries(await self._database.read_in_thread(sql, params))


def encode_cursor(secret: bytes, namespace_id: str, prefix: bytes, last: bytes) -> str:
    """Names the last key of a page. Signed, so that a cursor made up or of another listing is refused."""
    mac = _cursor_mac(secret, namespace_id, prefix, last)
    return base64.urlsafe_b64encode(mac + last).rstrip(b"=").decode()


def decode_cursor(secret: bytes, namespace_id: str, prefix: bytes, cursor: str) -> bytes:
    """The last key of the page before. Raises OperationError(invalid_argument)."""
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raw = b""
    last = raw[_MAC_BYTES:]
    if not hmac.compare_digest(raw[:_MAC_BYTES], _cursor_mac(secret, namespace_id, prefix, last)):
        raise OperationError(
            OperationErrorCode.INVALID_ARGUMENT,
            "cursor: not one that a listing of this namespace with this prefix gave; pass it on unchanged",
        )
    return last


def _cursor_mac(secret: bytes, namespace_id: str, prefix: bytes, last: bytes) -> bytes:
    text = b"%s\0%d\0%s%s" % (namespace_id.encode(), len(prefix), prefix, last)
    return hmac.digest(secret, text, hashlib.sha256)[:_MAC_BYTES]


def _entries(rows: Sequence[Sequence[SqlValue]]) -> dict[str, KvEntry]:
    return {
        cast("bytes", key).decode(): KvEntry(
            cast("bytes", value), cast("str | None", metadata), cast("int | None", expiration)
        )
        for key, value, metadata, expiration in rows
    }
