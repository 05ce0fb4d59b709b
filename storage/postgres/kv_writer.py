"""Group commit of a process's puts and deletes: what waits while one transaction is on its way goes with the next.

A statement takes all rows of a group, so a hundred puts are five messages and one fsync. Large ones and bulks
have transactions of their own, beside the groups. All of it may be done twice: the same rows, the same values.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from model.capabilities import KvWritten
from storage.failures import StorageBusy, StorageError, StorageLost
from storage.kv_protocol import LARGE_BYTES, deleted_namespace
from storage.postgres.connection import PgDatabase, PgTransaction
from storage.postgres.kv_cache import CacheKey
from storage.postgres.kv_rows import log_changes, store_entries, turn_of

GROUP_ROWS: Final = 500
GROUP_BYTES: Final = 1 << 20
#: A write with more is no one's neighbour.
ALONE_ROWS: Final = 100
ALONE_BYTES: Final = 256 * 1024
#: Large ones that are on their way at once: the others' connections stay the others'.
LARGE_AT_ONCE: Final = 2


@dataclass(slots=True)
class _Write:
    """`entries` None: these keys are to be deleted."""

    namespace_id: str
    keys: Sequence[bytes]
    entries: Sequence[KvWritten] | None
    size: int
    done: asyncio.Future[None]


class KvWriter:
    """Use from one running event loop. `on_written` is called with the keys of each transaction after its commit,
    before anybody is answered; also when it is not known whether there was one.
    """

    def __init__(
        self,
        database: PgDatabase,
        sql: Mapping[str, str],
        on_written: Callable[[Sequence[CacheKey]], None],
    ) -> None:
        self._database = database
        self._sql = sql
        self._on_written = on_written
        self._waiting: deque[_Write] = deque()
        self._running: asyncio.Task[None] | None = None
        self._alone: set[asyncio.Task[None]] = set()
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def write(
        self, namespace_id: str, keys: Sequence[bytes], entries: Sequence[KvWritten] | None
    ) -> None:
        """All or none; None: delete the keys. Once begun it is done, whatever becomes of who waits.

        Raises OperationError(not_found), StorageError.
        """
        size = sum(entry.size for entry in entries or ())
        loop = asyncio.get_running_loop()
        write = _Write(namespace_id, keys, entries, size, loop.create_future())
        if len(keys) > ALONE_ROWS or size > ALONE_BYTES:
            task = loop.create_task(
                self._commit_large(write) if size > LARGE_BYTES else self._commit([write])
            )
            self._alone.add(task)
            task.add_done_callback(self._alone.discard)
        else:
            self._waiting.append(write)
            if self._running is None:
                self._running = loop.create_task(self._run())
        await write.done

    async def close(self) -> None:
        """What was begun is finished first."""
        tasks = [*self._alone, *([self._running] if self._running else [])]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _commit_large(self, write: _Write) -> None:
        async with self._large:
            await self._commit([write])

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._commit(self._next_group())
        finally:
            self._running = None

    def _next_group(self) -> list[_Write]:
        """The first that waits and what can go with it: of the same kind, so that a group is one statement, whose
        rows are locked in their keys' order and in no other.
        """
        group: list[_Write] = []
        rows = size = 0
        while self._waiting:
            write = self._waiting[0]
            if group and (
                (write.entries is None) != (group[0].entries is None)
                or rows + len(write.keys) > GROUP_ROWS
                or size + write.size > GROUP_BYTES
            ):
                break
            group.append(self._waiting.popleft())
            rows += len(write.keys)
            size += write.size
        return group

    async def _commit(self, group: Sequence[_Write]) -> None:
        keys = [(write.namespace_id, key) for write in group for key in write.keys]
        try:
            deleted = await self._database.write(lambda tx: self._apply(tx, group), repeatable=True)
        except Exception as error:
            self._on_written(keys)
            refused = isinstance(error, StorageError) and not isinstance(error, StorageLost | StorageBusy)
            if refused and len(group) > 1:
                # One that the engine refuses must not take its neighbours with it.
                for write in group:
                    await self._commit([write])
                return
            for write in group:
                if not write.done.done():
                    write.done.set_exception(
                        error.again()
                        if isinstance(error, StorageError)
                        else StorageError(f"a bug: {error!r}")
                    )
            return
        self._on_written(keys)
        for write in group:
            if write.done.done():
                continue
            if write.namespace_id in deleted and write.entries is not None:
                write.done.set_exception(deleted_namespace())
            else:
                write.done.set_result(None)

    async def _apply(self, tx: PgTransaction, group: Sequence[_Write]) -> set[str]:
        """Which of the namespaces were deleted: nothing is written there."""
        if group[0].entries is None:
            keys = sorted({(write.namespace_id, key) for write in group for key in write.keys})
            columns = [pair[0] for pair in keys], [pair[1] for pair in keys]
            # Locked in order first: a DELETE takes its rows in whatever order it finds them.
            await tx.execute(self._sql["lock"], *columns)
            await tx.execute(self._sql["delete"], *columns)
            await log_changes(tx, self._sql, keys)
            return set()
        deleted = await share_namespaces(tx, self._sql, {write.namespace_id for write in group})
        entries = {
            (write.namespace_id, key): entry
            for write in group
            if write.namespace_id not in deleted
            for key, entry in zip(write.keys, write.entries or (), strict=True)
        }
        if entries:
            await store_entries(tx, self._sql, entries)
        return deleted


async def share_namespaces(tx: PgTransaction, sql: Mapping[str, str], namespaces: set[str]) -> set[str]:
    """Keep these from being deleted until `tx` ends; answers which of them already were."""
    await tx.execute(sql["share_namespaces"], sorted(map(turn_of, namespaces)))
    return {row[0] for row in await tx.fetch(sql["deleted_of"], list(namespaces))}
