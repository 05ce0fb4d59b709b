"""Module bytes for all machines: PostgreSQL holds them, each machine's folder is what it has fetched so far."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Final

from storage.failures import StorageLost
from storage.migrations import load_queries
from storage.object_store import FolderObjectStore, ObjectMissing
from storage.postgres.connection import PgDatabase, PgRow, PgTransaction
from storage.postgres.schema import POSTGRES_SQL
from storage.replication.postgres_thread import PostgresThread

CHUNK: Final = 1 << 20
_PAGE: Final = 1_000
_TRANSFER_S: Final = 300.0


class SharedObjectStore:
    """As FolderObjectStore, over one: what is put is on every machine, what is got is in the folder afterwards.

    Calls block: they belong in a thread.
    """

    def __init__(self, folder: FolderObjectStore, thread: PostgresThread) -> None:
        self._folder = folder
        self._thread = thread
        self._sql = load_queries("replication", POSTGRES_SQL)

    def put(self, data: bytes) -> str:
        """Keep `data`; its digest, once the database has it. Idempotent. Raises StorageError."""
        digest = self._folder.put(data)
        chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]

        async def work(tx: PgTransaction) -> None:
            is_new = (await tx.fetch(self._sql["put_object"], digest, len(data), len(chunks)))[0][0]
            if is_new:
                for number, chunk in enumerate(chunks):
                    await tx.execute(self._sql["put_object_chunk"], digest, number, chunk)

        async def write(database: PgDatabase) -> None:
            await database.write(work, repeatable=True)

        self._thread.call(write, _TRANSFER_S)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes, of the folder or of the database. Raises ObjectMissing, StorageLost."""
        try:
            return self._folder.get(digest)
        except (
            ObjectMissing,
            StorageLost,
        ):  # not here yet, or damaged: the copy of all machines is the answer
            data = self._fetch(digest)
        self._folder.put(data)
        return data

    def _fetch(self, digest: str) -> bytes:
        async def read(database: PgDatabase) -> bytes:
            rows = await database.fetch(self._sql["object"], digest)
            if not rows:
                raise ObjectMissing(f"there is no object {digest}")
            parts: list[PgRow] = []
            for number in range(rows[0][1]):
                parts += await database.fetch(self._sql["object_chunk"], digest, number)
            return b"".join(part[0] for part in parts)

        data = self._thread.call(read, _TRANSFER_S)
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageLost(f"object {digest} is damaged in the database")
        return data


class SharedLeftovers:
    """What of the database's objects the sweep may look at (control.leftovers.Files)."""

    def __init__(self, thread: PostgresThread, is_current: Callable[[], bool]) -> None:
        """`is_current`: this machine knows of all scripts. One that does not takes nothing away."""
        self._thread = thread
        self._is_current = is_current
        self._sql = load_queries("replication", POSTGRES_SQL)

    def digests(self) -> Iterator[str]:
        after = ""
        while self._is_current():

            async def read(database: PgDatabase, after: str = after) -> list[PgRow]:
                return await database.fetch(self._sql["object_digests"], after, _PAGE)

            rows = self._thread.call(read)
            yield from (row[0] for row in rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def remove_stale(self, digest: str, older_than_s: float) -> int:
        """Bytes that were freed; 0 when somebody has put it since, or it is not there."""
        if not self._is_current():
            return 0

        async def work(tx: PgTransaction) -> int:
            rows = await tx.fetch(self._sql["remove_stale_object"], digest, older_than_s)
            return int(rows[0][0]) if rows else 0

        async def write(database: PgDatabase) -> int:
            return await database.write(work)

        return self._thread.call(write)
