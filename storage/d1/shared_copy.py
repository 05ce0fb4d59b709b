"""A database that machines share, as PostgreSQL keeps it, in a file: for who owns nothing and only wants to have it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from storage.d1 import files
from storage.d1.catalog import PART, D1Catalog
from storage.d1.limits import PAGE_BYTES
from storage.d1.wal import unpack
from storage.failures import StorageLost, from_os_error
from storage.postgres.connection import PgDatabase, PgTransaction

_ONE_MOMENT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


async def copy_shared(database: PgDatabase, database_id: str, to: Path) -> bool:
    """As of one moment, whoever writes to it; `to` is new. False: PostgreSQL has none of this id. Raises StorageError.

    It blocks the loop while it writes the file.
    """

    async def work(tx: PgTransaction) -> bool:
        await tx.execute(_ONE_MOMENT)
        catalog = D1Catalog()
        head = await catalog.head(tx, database_id)
        if head is None:
            return False
        if not head.pages:
            files.create_at(to)
            return True
        found = after = 0
        descriptor = _new(to)
        try:
            while rows := await catalog.pages(tx, database_id, 0, after):
                _put(descriptor, rows, to)
                found += len(rows)
                after = rows[-1][0]
                if len(rows) < PART:
                    break
        finally:
            os.close(descriptor)
        if found != head.pages:
            detail = f"{database_id}: {found} of {head.pages} pages are there"
            raise StorageLost("a database is damaged", detail=detail)
        return True

    return await database.write(work, repeatable=True)


def _new(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise from_os_error(error, path) from error


def _put(descriptor: int, rows: Sequence[tuple[int, bytes]], path: Path) -> None:
    try:
        for page, data in rows:
            os.pwrite(descriptor, unpack(data), (page - 1) * PAGE_BYTES)
    except OSError as error:
        raise from_os_error(error, path) from error
