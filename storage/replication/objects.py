"""Module bytes for all machines in PostgreSQL: a RemoteObjects (`storage.object_cache`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from storage.migrations import load_queries
from storage.object_store import ObjectMissing, check_digest
from storage.postgres.connection import PgDatabase, PgRow, PgTransaction
from storage.postgres.schema import POSTGRES_SQL
from storage.replication.postgres_thread import PostgresThread

CHUNK: Final = 1 << 20
_PAGE: Final = 1_000
_TRANSFER_S: Final = 300.0


class PgObjects:
    """The thread is its owner's to close."""

    where = "the database"

    def __init__(self, thread: PostgresThread) -> None:
        self._thread = thread
        self._sql = load_queries("replication", POSTGRES_SQL)

    def store(self, digest: str, data: bytes) -> None:
        check_digest(digest)
        chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]

        async def work(tx: PgTransaction) -> None:
            is_new = (await tx.fetch(self._sql["put_object"], digest, len(data), len(chunks)))[0][0]
            if is_new:
                for number, chunk in enumerate(chunks):
                    await tx.execute(self._sql["put_object_chunk"], digest, number, chunk)

        async def write(database: PgDatabase) -> None:
            await database.write(work, repeatable=True)

        self._thread.call(write, _TRANSFER_S)

    def fetch(self, digest: str) -> bytes:
        async def read(database: PgDatabase) -> bytes:
            rows = await database.fetch(self._sql["object"], digest)
            if not rows:
                raise ObjectMissing(f"there is no object {digest}")
            parts: list[PgRow] = []
            for number in range(rows[0][1]):
                parts += await database.fetch(self._sql["object_chunk"], digest, number)
            return b"".join(part[0] for part in parts)

        check_digest(digest)
        return self._thread.call(read, _TRANSFER_S)

    def exists(self, digest: str) -> bool:
        async def read(database: PgDatabase) -> bool:
            return bool(await database.fetch(self._sql["object"], digest))

        check_digest(digest)
        return self._thread.call(read)

    def digests(self) -> Iterator[str]:
        after = ""
        while True:

            async def read(database: PgDatabase, after: str = after) -> list[PgRow]:
                return await database.fetch(self._sql["object_digests"], after, _PAGE)

            rows = self._thread.call(read)
            yield from (row[0] for row in rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def remove_stale(self, digest: str, older_than_s: float) -> int:
        check_digest(digest)

        async def work(tx: PgTransaction) -> int:
            rows = await tx.fetch(self._sql["remove_stale_object"], digest, older_than_s)
            return int(rows[0][0]) if rows else 0

        async def write(database: PgDatabase) -> int:
            return await database.write(work)

        return self._thread.call(write)
