"""Entries ↔ rows: what goes into one row, and what is kept in pieces."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Final

from model.capabilities import KvEntry, KvWritten
from storage.kv_protocol import LARGE_BYTES
from storage.postgres.connection import PgRow, PgTransaction

#: Larger values are kept in pieces, each a row of its own: one piece of a message at a time goes through the loop.
INLINE_BYTES: Final = LARGE_BYTES
PIECE_BYTES: Final = 1 << 20
#: Of one statement.
STATEMENT_BYTES: Final = 4 << 20
STATEMENT_ROWS: Final = 1000

#: (namespace's id, key) → the entry.
Entries = Mapping[tuple[str, bytes], KvWritten]


def turn_of(namespace_id: str) -> int:
    """The advisory lock of a namespace: two that share one only wait a little longer."""
    digest = hashlib.blake2b(b"kv " + namespace_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


async def store_entries(tx: PgTransaction, sql: Mapping[str, str], entries: Entries) -> None:
    """Write them, in the order of their keys, and note them as changed."""
    for step in _steps(sorted(entries.items())):
        ids: list[uuid.UUID | None] = []
        for _, entry in step:
            value_id = uuid.uuid4() if entry.size > INLINE_BYTES else None
            ids.append(value_id)
            if value_id is not None:
                for number, start in enumerate(range(0, entry.size, PIECE_BYTES)):
                    piece = await _piece(entry, start)
                    await tx.execute(sql["add_chunk"], value_id, number, piece)
        await tx.execute(
            sql["put"],
            [namespace_id for (namespace_id, _), _ in step],
            [key for (_, key), _ in step],
            [entry.expiration for _, entry in step],
            [entry.metadata for _, entry in step],
            [entry.size for _, entry in step],
            [
                b"" if value_id else await _piece(entry, 0)
                for (_, entry), value_id in zip(step, ids, strict=True)
            ],
            ids,
        )
    await log_changes(tx, sql, list(entries))


async def _piece(entry: KvWritten, start: int) -> bytes:
    value = entry.value
    if isinstance(value, bytes):
        # One that is a row's whole value is that, and not a copy.
        return value if len(value) <= PIECE_BYTES else value[start : start + PIECE_BYTES]
    return await asyncio.to_thread(value.read_at, start, PIECE_BYTES)


async def log_changes(tx: PgTransaction, sql: Mapping[str, str], keys: Sequence[tuple[str, bytes]]) -> None:
    await tx.execute(sql["log_changes"], [pair[0] for pair in keys], [pair[1] for pair in keys])


async def entry_of(
    fetch: Callable[..., Awaitable[list[PgRow]]], chunk_sql: str, row: Sequence[object]
) -> KvEntry | None:
    """`row` is value, metadata, expiration, size, value_id. None: its pieces are gone, it was replaced."""
    value, metadata, expiration, size, value_id = row
    if not isinstance(value, bytes) or not isinstance(size, int):
        raise TypeError("the statement and its reader disagree")
    if value_id is not None:
        parts: list[bytes] = []
        for number in range(-(-size // PIECE_BYTES)):
            piece = await fetch(chunk_sql, value_id, number)
            if not piece:
                return None
            parts.append(piece[0][0])
        value = b"".join(parts)
    return KvEntry(value, metadata, expiration)  # type: ignore[arg-type]  # the statement knows


def _steps(
    entries: Sequence[tuple[tuple[str, bytes], KvWritten]],
) -> Iterator[Sequence[tuple[tuple[str, bytes], KvWritten]]]:
    start = size = 0
    for index, (_, entry) in enumerate(entries):
        if index > start and (size + entry.size > STATEMENT_BYTES or index - start == STATEMENT_ROWS):
            yield entries[start:index]
            start, size = index, 0
        size += entry.size
    if start < len(entries):
        yield entries[start:]
