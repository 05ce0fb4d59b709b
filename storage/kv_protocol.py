"""What a KV engine does, whichever it is: SQLite in a file (`kv_store`), PostgreSQL (`postgres.kv_store`).

The unit is a namespace's id; nothing of one namespace is reachable with another's. Keys, sizes and expirations
were checked by who calls (`bindings.kv` has the rules). Every method raises StorageError subclasses when the
storage fails, and OperationError as it says.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, Protocol

from model.capabilities import KvEntry, KvKey, KvPage, KvWritten
from model.errors import OperationError, OperationErrorCode
from storage.kv_cursor import encode_cursor

#: Larger values are read aside: copying them would hold the loop.
LOOP_VALUE_BYTES: Final = 64 * 1024
#: Larger ones go through a file (`storage.scratch`), which is read and written in pieces of this size.
LARGE_BYTES: Final = 1 << 20
#: Of names and metadata in one page: a reply to a guest holds at most 1 MiB.
PAGE_BYTES: Final = 512 * 1024
#: Rows that one transaction of the sweep or of a namespace's deletion removes: others wait for it.
SWEEP_ROWS: Final = 500
#: How long a read may be answered from a cache, when its caller says nothing else.
CACHE_TTL_S: Final = 60
#: Decimal, as a 64-bit integer is written: no sign but '-', no leading zero.
_INTEGER: Final = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


class KvStorage(Protocol):
    """Use from one event loop; any number of processes may hold the same storage."""

    def get(
        self, namespace_id: str, key: str, cache_ttl_s: int = CACHE_TTL_S
    ) -> KvEntry | Awaitable[KvEntry | None] | None:
        """The entry, or None: at once where it is at hand, else an awaitable of it.

        An engine that is far away may answer with what it read up to `cache_ttl_s` ago, but for writes that
        are older than a second, which it has heard of, and for what this process wrote. An expired key is gone
        at once.
        """

    def open(
        self, namespace_id: str, key: str, cache_ttl_s: int = CACHE_TTL_S
    ) -> KvEntry | Awaitable[KvWritten | None] | None:
        """As `get`, but a value above 1 MiB is not held: it is a KvLargeEntry, as it was at one moment, whatever
        is written while it is read; the caller closes it. Raises OperationError(load_shed): too many are open.
        """

    async def get_entry(self, namespace_id: str, key: str) -> KvEntry | None:
        """As it is now, for who awaits anyway."""

    async def sizes(self, namespace_id: str, keys: Sequence[str]) -> tuple[int, int]:
        """(how many of `keys`, which are different ones, exist, bytes of their values)."""

    def get_many(
        self, namespace_id: str, keys: Sequence[str], max_bytes: int
    ) -> Mapping[str, KvEntry] | Awaitable[Mapping[str, KvEntry]]:
        """Those of `keys` that exist, all as of one moment, which is now.

        Raises OperationError(limit_exceeded) when their values together are above `max_bytes`.
        """

    async def put(self, namespace_id: str, key: str, entry: KvWritten) -> None:
        """Durable when it returns; until then the entry stays open. Raises OperationError(not_found): the namespace
        was deleted.
        """

    async def put_many(self, namespace_id: str, entries: Sequence[tuple[str, KvEntry]]) -> None:
        """All or none; the last of several for one key counts."""

    async def delete(self, namespace_id: str, key: str) -> None: ...

    async def delete_many(self, namespace_id: str, keys: Sequence[str]) -> None:
        """All or none; keys that aren't there are no error."""

    async def increment(self, namespace_id: str, key: str, delta: int) -> int:
        """The sum, which is the new value: decimal text. An absent key counts as 0; metadata and expiration stay.

        Raises OperationError: invalid_argument (the value is no 64-bit integer, or the sum would be none),
        not_found.
        """

    async def compare_and_swap(
        self, namespace_id: str, key: str, expected: bytes | None, entry: KvWritten
    ) -> bool:
        """Write `entry` if the value now is `expected` (None: there is none); whether it was.

        Raises OperationError(not_found).
        """

    async def list(self, namespace_id: str, prefix: str, limit: int, cursor: str | None) -> KvPage:
        """At most `limit` keys that begin with `prefix`, in UTF-8 byte order.

        Fewer when their names and metadata reach 512 KiB. The cursor names the last key given, so keys
        written or deleted in between move nothing. Raises OperationError(invalid_argument) for a cursor
        that this namespace and prefix did not give.
        """

    async def usage(self, namespace_id: str) -> tuple[int, int]:
        """(keys, bytes of their values); reads the whole namespace, so not for requests."""

    async def delete_namespace(self, namespace_id: str) -> int:
        """Refuse writes to it from now on, then remove its keys in batches. Returns how many there were.

        The id must never be used again. Ended in the middle, it can be called again.
        """

    async def sweep(self) -> int:
        """Remove at most 500 expired rows; returns how many: 500 means that there may be more."""

    async def sweep_forever(self, interval_s: float = 30.0) -> None:
        """Remove expired rows until cancelled; one process is enough, more do no harm."""


# What both engines do alike. Pure.


def deleted_namespace() -> OperationError:
    return OperationError(OperationErrorCode.NOT_FOUND, "this KV namespace was deleted; bind another one")


def too_much_at_once(count: int, total: int, most: int) -> OperationError:
    return OperationError(
        OperationErrorCode.LIMIT_EXCEEDED,
        f"the values of these {count} keys are {total} bytes; {most} at once is the most: ask for fewer keys",
    )


def incremented(now: KvEntry | None, delta: int) -> KvEntry:
    """The entry whose value is the sum. Raises OperationError(invalid_argument)."""
    if now is None:
        before = 0
    elif _INTEGER.fullmatch(now.value) and _LEAST <= int(now.value) <= _MOST:
        before = int(now.value)
    else:
        raise OperationError(
            OperationErrorCode.INVALID_ARGUMENT,
            "this key's value is no 64-bit integer in decimal; put one, or delete the key, to count with it",
        )
    if not _LEAST <= before + delta <= _MOST:
        raise OperationError(
            OperationErrorCode.INVALID_ARGUMENT, f"{before} + {delta} is beyond 64 bits; nothing was written"
        )
    value = str(before + delta).encode()
    return KvEntry(value) if now is None else KvEntry(value, now.metadata, now.expiration)


def page_of(
    rows: Sequence[tuple[bytes, str | None, int | None]],
    limit: int,
    secret: bytes,
    namespace_id: str,
    prefix: bytes,
) -> KvPage:
    """`rows` are (key, metadata, expiration) in order, one more than `limit` when there are more."""
    keys: list[KvKey] = []
    size = 0
    for key, metadata, expiration in rows[:limit]:
        size += len(key) + len(metadata or "")
        if size > PAGE_BYTES and keys:
            break
        keys.append(KvKey(key.decode(), metadata, expiration))
    if len(keys) == len(rows):
        return KvPage(keys, None)
    return KvPage(keys, encode_cursor(secret, namespace_id, prefix, keys[-1].name.encode()))
