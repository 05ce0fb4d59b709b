"""SQL databases that machines share, for who opens none of them: made, measured, deleted."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from storage.d1.catalog import D1Catalog
from storage.d1.limits import PAGE_BYTES
from storage.d1.placement import WAIT_S, topic
from storage.failures import StorageBusy
from storage.replication.postgres_thread import PostgresThread

_PAUSE_S: Final = 0.02


class SharedDatabases:
    """Use from one event loop. Methods raise StorageError."""

    def __init__(self, thread: PostgresThread, machine: str) -> None:
        self._thread = thread
        #: Not the machine's own name: its worker processes own what is theirs, and have to give it back, too.
        self._remover = f"{machine} deletes"
        self._catalog = D1Catalog()

    async def create(self, database_id: str) -> None:
        """An empty one. Idempotent."""
        await asyncio.wrap_future(self._thread.start(lambda pg: self._catalog.create(pg, database_id)))

    async def bytes_of(self, database_id: str) -> int:
        """As large as it is, wherever it is now; 0: there is none."""
        head = await asyncio.wrap_future(self._thread.start(lambda pg: self._catalog.head(pg, database_id)))
        return 0 if head is None else max(1, head.pages) * PAGE_BYTES

    async def delete(self, database_id: str) -> None:
        """Once its owner has given it back, or its lease is over: nobody reads it after that. Idempotent."""
        until = time.monotonic() + WAIT_S
        while await self._is_anothers(database_id):
            owner = await asyncio.wrap_future(
                self._thread.start(lambda pg: self._catalog.want(pg, database_id, self._remover))
            )
            if owner is not None:
                self._thread.tell(topic(owner))
            if time.monotonic() > until:
                raise StorageBusy("another machine has the database, and does not give it back")
            await asyncio.sleep(_PAUSE_S)
        await asyncio.wrap_future(self._thread.start(lambda pg: self._catalog.delete(pg, database_id)))

    async def _is_anothers(self, database_id: str) -> bool:
        take = self._thread.start(lambda pg: self._catalog.take(pg, database_id, self._remover))
        if await asyncio.wrap_future(take) is not None:
            return False
        head = self._thread.start(lambda pg: self._catalog.head(pg, database_id))
        return await asyncio.wrap_future(head) is not None
