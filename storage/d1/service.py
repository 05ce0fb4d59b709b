"""What the platform does with a tenant's database, beside running statements: its size, copies of it, dumps.

For whoever runs tenants' SQL: a worker process. Control only makes and removes files, and asks for the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from model.clock import unix_ms
from model.errors import OperationError, OperationErrorCode
from model.sql import SqlExecuted, SqlResult, SqlStatement
from storage.d1 import files
from storage.d1.dump import dump
from storage.d1.failures import missing, sql_error
from storage.d1.leased_database import LeasedDatabase, NotHere
from storage.d1.placement import WAIT_S, Placement
from storage.d1.store import D1Store
from storage.failures import StorageBusy, StorageError

LOG = logging.getLogger("tenantry.storage")

T = TypeVar("T")

#: A restore point is made at most this long after a write, and one a database in that time.
SNAPSHOT_EVERY_S: Final = 900.0
_LOOK_S: Final = 30.0
#: No copy, restore or dump takes so long: what is older was left by a process that died.
UNFINISHED_S: Final = 3600.0
#: Of a dump that is read back.
IMPORT_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Restored:
    """`to` is the write whose state is back, `before` the one that can be gone back to, `now` the number it has."""

    to: int
    at_ms: int
    before: int
    now: int


class D1Service:
    """Over one process's D1Store. Raises OperationError, StorageError."""

    def __init__(self, store: D1Store, now_ms: Callable[[], int] = unix_ms) -> None:
        self.store = store
        self._folder = store.folder
        self._now_ms = now_ms
        self._copies = ThreadPoolExecutor(1, "d1-copies")
        self._written: dict[str, float] = {}
        self._keeping: asyncio.Task[None] | None = None
        store.on_write = self._note_write

    async def batch(
        self, database_id: str, statements: Sequence[SqlStatement], tenant: str
    ) -> list[SqlResult]:
        """One statement by itself, several in one transaction."""
        if len(statements) == 1:
            return [await self.store.query(database_id, statements[0], tenant)]
        return await self.store.batch(database_id, statements, tenant)

    async def tables(self, database_id: str) -> int:
        return await self._copying(database_id, lambda: files.size(self._folder, database_id)[1])

    async def bookmark(self, database_id: str, at_ms: int | None) -> tuple[int, int]:
        """(number, unix ms) of a write that can be gone back to: the last one, or the newest known at `at_ms`."""
        if at_ms is None:
            point = await self._copying(
                database_id, lambda: files.snapshot(self._folder, database_id, self._now_ms())
            )
        else:
            point = await self._copying(database_id, lambda: self._point(database_id, None, at_ms))
        return point.bookmark, point.at_ms

    async def restore(self, database_id: str, bookmark: int | None, at_ms: int | None) -> Restored:
        """To the write `bookmark`, or to what was there at `at_ms`. What is there now becomes a restore point."""

        placement = self.store.placement
        shared = None if placement is None else placement.of(database_id)

        def work() -> Restored:
            point = self._point(database_id, bookmark, at_ms)
            before = files.snapshot(self._folder, database_id, self._now_ms())
            now = files.restore(self._folder, database_id, point, shared)
            return Restored(point.bookmark, point.at_ms, before.bookmark, now)

        return await self._copying(database_id, work)

    async def export(self, database_id: str, *, schema: bool, data: bool, tables: tuple[str, ...]) -> Path:
        """A file with the dump, for the caller to take and remove."""
        path = self._folder / f"{database_id}.{secrets.token_hex(8)}.dump"
        source = files.path_of(self._folder, database_id)

        def work() -> Path:
            if not source.exists():
                raise files.NoSuchDatabase
            try:
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                    out.writelines(dump(source, schema=schema, data=data, tables=tables))
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            return path

        return await self._copying(database_id, work)

    async def load(self, database_id: str, path: Path, tenant: str) -> SqlExecuted:
        """The dump in `path`, a file of this folder, in one transaction; the file stays."""
        text = await self._copying(database_id, lambda: _read(path))
        return await self.store.load(database_id, text, tenant)

    def start(self) -> None:
        """Begin to keep restore points of what is written in this process."""
        if self.store.placement is not None:
            self.store.placement.start()
        self._keeping = asyncio.get_running_loop().create_task(self._keep_snapshots())

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        await self.store.close()
        await asyncio.get_running_loop().run_in_executor(None, self._copies.shutdown)

    async def keep_snapshots(self, written_before: float) -> None:
        """Of each database that this process first wrote to before then (monotonic), unless it has a young one."""
        for database_id, since in list(self._written.items()):
            if since > written_before:
                continue
            del self._written[database_id]
            try:
                if await self._copying(database_id, partial(self._keep, database_id)):
                    continue
            except OperationError:
                continue  # deleted meanwhile
            except StorageError as error:
                LOG.warning("no restore point of a database: %s (%s)", error.message, error.detail)
            self._note_write(database_id)

    def _keep(self, database_id: str) -> bool:
        """Whether it has one of all that was written until now."""
        points = files.snapshots(self._folder, database_id)
        now = self._now_ms()
        if points and now - points[0].at_ms < (SNAPSHOT_EVERY_S - 2 * _LOOK_S) * 1000:
            return False  # another process has just made one; ours comes when its time has come
        files.snapshot(self._folder, database_id, now)
        for point in files.stale(files.snapshots(self._folder, database_id), now):
            point.path.unlink(missing_ok=True)
        return True

    async def _keep_snapshots(self) -> None:
        swept_at = -math.inf
        while True:
            if time.monotonic() - swept_at > UNFINISHED_S:
                try:
                    await self._copying("", partial(files.remove_unfinished, self._folder, UNFINISHED_S))
                    if self.store.placement is not None:
                        await self._look_after_shared(self.store.placement)
                    swept_at = time.monotonic()
                except StorageError as error:
                    LOG.warning("unfinished copies were not removed: %s (%s)", error.message, error.detail)
            await asyncio.sleep(_LOOK_S)
            await self.keep_snapshots(time.monotonic() - SNAPSHOT_EVERY_S)

    async def _look_after_shared(self, placement: Placement) -> None:
        """Files from before this machine was one of several go to the others; copies of what was deleted go."""
        await placement.adopt()
        for database_id in await placement.sweep():
            await self._copying("", partial(files.delete, self._folder, database_id))

    def _note_write(self, database_id: str) -> None:
        self._written.setdefault(database_id, time.monotonic())

    def _point(self, database_id: str, bookmark: int | None, at_ms: int | None) -> files.Snapshot:
        for point in files.snapshots(self._folder, database_id):
            if bookmark is not None and point.bookmark != bookmark:
                continue
            if at_ms is None or point.at_ms <= at_ms:
                return point
        wanted = "with this bookmark" if bookmark is not None else "of then, or before"
        raise sql_error(
            OperationErrorCode.NOT_FOUND,
            f"there is no restore point {wanted}; they are made {SNAPSHOT_EVERY_S / 60:g} min after a write, and"
            " whenever a bookmark is asked for",
        )

    async def _copying(self, database_id: str, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        placement = self.store.placement
        until = time.monotonic() + WAIT_S
        try:
            while placement is not None and database_id:
                leased = await placement.ensure(database_id)

                def checked(leased: LeasedDatabase = leased) -> T:
                    epoch = leased.begin_read()
                    done = work()
                    leased.check_read(epoch)
                    return done

                try:
                    return await loop.run_in_executor(self._copies, checked)
                except NotHere:
                    if time.monotonic() > until:
                        raise StorageBusy("other machines use the database, too; try again") from None
            return await loop.run_in_executor(self._copies, work)
        except files.NoSuchDatabase as error:
            raise missing(database_id) from error


def _read(path: Path) -> str:
    with open(path, "rb") as file:
        data = file.read(IMPORT_BYTES + 1)
    if len(data) > IMPORT_BYTES:
        raise sql_error(OperationErrorCode.LIMIT_EXCEEDED, f"a dump has at most {IMPORT_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise sql_error(OperationErrorCode.INVALID_ARGUMENT, "the dump is no UTF-8") from error
