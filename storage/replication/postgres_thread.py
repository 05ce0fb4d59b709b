"""PostgreSQL for who may not wait on an event loop: a thread with a loop of its own, and blocking calls into it.

SQLite's writer is a thread that works and commits; the log is reached from there. So that a control process that
is busy with other things holds up no commit, this loop does nothing else.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from storage.failures import StorageClosed, StorageLost
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase
from storage.postgres.signals import PgSignals

LOG = logging.getLogger("tenantry.replication")

T = TypeVar("T")
#: Longer than every limit below it (a connection, a statement): who waits so long waits for a loop that hangs.
CALL_S: Final = 30.0
#: The log, the two followers, and what they ask beside it.
_CONNECTIONS: Final = 6


class PostgresThread:
    """One a process. Calls may come from any thread but its own."""

    def __init__(self, address: DatabaseAddress, name: str = "tenantry replication") -> None:
        """Connects nowhere yet."""
        self._loop = asyncio.new_event_loop()
        self.database = PgDatabase(address, name=name, connections=_CONNECTIONS)
        self._signals: PgSignals | None = None
        self._listening = False
        self._closed = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="replication", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[PgDatabase], Coroutine[Any, Any, T]], timeout_s: float = CALL_S) -> T:
        """What `work` returned. Raises what it raises: StorageError subclasses."""
        future = self.start(work)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise StorageLost("the database does not answer") from None
        except concurrent.futures.CancelledError:
            raise StorageClosed("the database is closed") from None

    def start(self, work: Callable[[PgDatabase], Coroutine[Any, Any, T]]) -> concurrent.futures.Future[T]:
        if self._closed:
            raise StorageClosed("the database is closed")
        return asyncio.run_coroutine_threadsafe(work(self.database), self._loop)

    def on_signal(self, topic: str, look: Callable[[], None]) -> None:
        """Call `look`, on the loop's thread, when any machine has told `topic`, and now and then without."""

        async def listen(database: PgDatabase) -> None:
            signals = self._signals = self._signals or PgSignals(database)
            signals.on(topic, look)
            if not self._listening:
                self._listening = True
                signals.start()

        self.call(listen)

    def tell(self, topic: str) -> None:
        """After a commit. Who does not hear it will look by himself."""
        if not self._closed:
            self._loop.call_soon_threadsafe(self._tell, topic)

    def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        done = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        try:
            done.result(5.0)
        except concurrent.futures.TimeoutError:
            LOG.warning("connections to the database did not close in time")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self._loop.close()

    async def _end(self) -> None:
        if self._signals is not None:
            await self._signals.close()
        await self.database.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for _ in range(3):  # what was cut off is closed in the loop's next turns
            await asyncio.sleep(0)

    def _tell(self, topic: str) -> None:
        if self._signals is None:
            # A command that writes once and ends has nobody to listen.
            self._signals = PgSignals(self.database)
        self._signals.tell(topic)
