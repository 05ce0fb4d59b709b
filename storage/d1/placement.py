"""Whose a database is, of several machines, as one process of a machine sees it (docs/decisions/0014-d1-placement.md).

One machine owns a database, by a lease in PostgreSQL; all its processes serve it from its file, as on a machine that is
alone. Another machine that is asked for it takes the lease: at once when nobody has it, after the owner has given it
back, or after the lease's end; it brings its file up to date, and goes on. A write is answered when its pages are kept
in PostgreSQL under the owner's epoch. Here is the side of the event loop; `LeasedDatabase` is that of the threads.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from storage.d1.catalog import TERM_S, D1Catalog
from storage.d1.files import is_id
from storage.d1.lease_record import was_shared
from storage.d1.leased_database import LeasedDatabase
from storage.failures import StorageBusy, StorageError
from storage.postgres.connection import PgDatabase
from storage.postgres.schema import PgMigrations
from storage.replication.postgres_thread import PostgresThread

LOG = logging.getLogger("tenantry.storage")

#: An owner keeps a database at least so long: two machines that are asked in turn do not spend their time on moving it.
HOLD_S: Final = 0.1
#: Longer than a lease: a request outlives a machine's death.
WAIT_S: Final = 15.0
_PAUSES_S: Final = (0.005, 0.05)
_RENEW_BELOW_S: Final = 2 / 3 * TERM_S
#: How long a copy of a database that is gone stays.
LEFT_S: Final = 7 * 86_400.0
_MOST_KNOWN: Final = 1_000
_THREADS: Final = 4


def topic(machine: str) -> str:
    """What a machine is told when another wants a database of its."""
    return f"d1 {machine}"


class Placement:
    """For one event loop and the threads that work for it. `start`, then `close` when nothing runs any more."""

    def __init__(self, folder: Path, thread: PostgresThread, machine: str) -> None:
        self.folder = folder
        self.machine = machine
        self._thread = thread
        self._catalog = D1Catalog()
        #: The least recently used first.
        self._known: OrderedDict[str, LeasedDatabase] = OrderedDict()
        self._moving: dict[str, asyncio.Task[None]] = {}
        self._renewing: set[str] = set()
        self._moves = ThreadPoolExecutor(_THREADS, "d1-moves")
        self._giving_back: concurrent.futures.Future[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Listen for machines that want what this one has. The server may be away."""
        self._moves.submit(self._listen)

    async def close(self) -> None:
        """Give back what this process has used: whoever wants it need not wait for the lease's end."""
        self._closed = True
        for task in list(self._moving.values()):
            task.cancel()
        await asyncio.gather(*self._moving.values(), return_exceptions=True)
        loop = asyncio.get_running_loop()
        for leased in self._known.values():
            try:
                await loop.run_in_executor(self._moves, leased.give_back)
            except StorageError as error:
                # With the server away the others would only take as long, and their leases end by themselves.
                LOG.info("databases were not given back: %s (%s)", error.message, error.detail)
                break
        await loop.run_in_executor(None, self._moves.shutdown)
        for leased in self._known.values():
            leased.close()
        self._known.clear()
        await loop.run_in_executor(None, self._thread.close)

    def of(self, database_id: str) -> LeasedDatabase:
        """Raises StorageError, NoSuchDatabase."""
        leased = self._known.get(database_id)
        if leased is None:
            leased = LeasedDatabase(self.folder, database_id, self.machine, self._thread, self._catalog)
            self._known[database_id] = leased
            if len(self._known) > _MOST_KNOWN:
                # Whoever uses it keeps it; its lease ends by itself.
                self._known.popitem(last=False)
        self._known.move_to_end(database_id)
        return leased

    async def ensure(self, database_id: str) -> LeasedDatabase:
        """When it is this machine's, and its file is up to date. It may be lost again at any time: what is done with
        it looks once more. Raises StorageBusy, StorageError, NoSuchDatabase.
        """
        leased = self.of(database_id)
        left_s = leased.record.left_s
        if left_s > 0:
            if left_s < _RENEW_BELOW_S and database_id not in self._renewing:
                self._renewing.add(database_id)
                self._renew(leased)
            return leased
        task = self._moving.get(database_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._move_here(leased))
            self._moving[database_id] = task
            task.add_done_callback(lambda done: self._moved(database_id, done))
        await asyncio.shield(task)
        return leased

    async def adopt(self) -> None:
        """Bring files that are from before this machine was one of several to where all machines find them."""
        ids = [
            path.stem
            for path in sorted(self.folder.glob("*.sqlite"))
            if is_id(path.stem) and not was_shared(path.with_suffix(".lease"))
        ]
        for database_id in ids:
            await self.ensure(database_id)
            LOG.info("database %s is now one of all machines", database_id)

    async def sweep(self, older_than_s: float = LEFT_S) -> list[str]:
        """Ids of databases that do not exist any more, of which this machine still has a copy that nobody has used for
        `older_than_s`: if they were not deleted, but the server was restored from a backup, somebody may look for it.
        """
        before = time.time() - older_than_s
        ids = [
            path.stem
            for path in self.folder.glob("*.lease")
            if is_id(path.stem) and was_shared(path) and path.stat().st_mtime < before
        ]
        return await asyncio.wrap_future(
            self._thread.start(lambda database: self._catalog.gone(database, ids))
        )

    # -- taking ------------------------------------------------------------------------------------------

    async def _move_here(self, leased: LeasedDatabase) -> None:
        loop = asyncio.get_running_loop()
        until = time.monotonic() + WAIT_S
        pause_s, most_s = _PAUSES_S
        while not await loop.run_in_executor(self._moves, leased.take):
            owner = await asyncio.wrap_future(
                self._thread.start(lambda database: self._catalog.want(database, leased.id, self.machine))
            )
            if owner is not None:
                self._thread.tell(topic(owner))
            if time.monotonic() > until:
                raise StorageBusy("another machine has the database, and does not give it back; try again")
            await asyncio.sleep(pause_s)
            pause_s = min(most_s, pause_s * 2)

    def _moved(self, database_id: str, task: asyncio.Task[None]) -> None:
        self._moving.pop(database_id, None)
        if not task.cancelled():
            task.exception()  # everybody who waited may have left

    def _renew(self, leased: LeasedDatabase) -> None:
        def renew() -> None:
            try:
                leased.renew()
            except StorageError as error:
                LOG.debug("a lease was not renewed: %s (%s)", error.message, error.detail)
            finally:
                self._renewing.discard(leased.id)

        self._moves.submit(renew)

    # -- giving back -------------------------------------------------------------------------------------

    def _listen(self) -> None:
        while not self._closed:
            try:
                self._thread.on_signal(topic(self.machine), self._look)
                return
            except StorageError:
                time.sleep(1.0)

    def _look(self) -> None:
        """On the thread's loop: somebody may want something. The next look comes if this one is late."""
        if self._closed or (self._giving_back is not None and not self._giving_back.done()):
            return
        self._giving_back = self._thread.start(self._give_back_what_is_wanted)

    async def _give_back_what_is_wanted(self, database: PgDatabase) -> None:
        try:
            while not self._closed and (wanted := await self._catalog.wanted(database, self.machine)):
                loop = asyncio.get_running_loop()
                for database_id, epoch in wanted:
                    await loop.run_in_executor(self._moves, self._give_back, database_id, epoch)
                await asyncio.sleep(0.01)
        except StorageError as error:
            LOG.debug("what others want was not learnt: %s (%s)", error.message, error.detail)

    def _give_back(self, database_id: str, epoch: int) -> None:
        """On a thread of ours. With a record of its own: `_known` is the event loop's."""
        if self._closed:
            return
        leased = LeasedDatabase(self.folder, database_id, self.machine, self._thread, self._catalog)
        try:
            young_s = HOLD_S - leased.record.held_for_s
            if leased.record.epoch == epoch and young_s > 0:
                time.sleep(young_s)
            leased.give_back(epoch)
        except StorageError as error:
            LOG.info("a database was not given back: %s (%s)", error.message, error.detail)
        finally:
            leased.close()


def make_schema(thread: PostgresThread) -> None:
    """For commands and tests: control of a host does it with its other tables. Raises StorageError."""
    thread.call(PgMigrations.load("databases").apply)
