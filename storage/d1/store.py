"""Tenants' databases as one process serves them: off the loop, a few threads, each database one request at a time.

Any process of the machine may serve any database (docs/decisions/0014-d1-placement.md). Bounded are: open files
(least recently used first), what waits for one database and for all, how long it waits, and how many threads one
tenant has. One loop, its thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import apsw

from model.capabilities import Charge, free
from model.errors import OperationError, OperationErrorCode
from model.sql import SqlExecuted, SqlResult, SqlStatement
from storage.d1.connection import D1Connection
from storage.d1.failures import missing, sql_error
from storage.d1.files import NoSuchDatabase, path_of
from storage.d1.guard import Asker
from storage.d1.jobs import D1Room, Job, Served
from storage.d1.leased_database import LeasedDatabase, NotHere
from storage.d1.limits import D1Limits
from storage.d1.open_database import DatabaseGone
from storage.d1.placement import Placement
from storage.failures import StorageClosed

T = TypeVar("T")


class D1Store:
    """See model.capabilities.SqlDatabase for what its methods promise."""

    def __init__(
        self,
        folder: Path,
        limits: D1Limits | None = None,
        room: D1Room | None = None,
        placement: Placement | None = None,
    ) -> None:
        """`placement`: databases are shared with other machines."""
        self.folder = folder
        self.placement = placement
        self.limits = limits = limits or D1Limits()
        self._room = room = room or D1Room()
        #: Those with a file open or something to do; the least recently used first.
        self._databases: OrderedDict[str, Served] = OrderedDict()
        self._ready: deque[Served] = deque()
        self._of_tenant: Counter[str] = Counter()
        self._busy = 0
        self._waiting = 0
        self._closed = False
        self._threads = ThreadPoolExecutor(room.threads, "d1", initializer=_be_nice)
        #: Called on the loop after a write, with the database's id.
        self.on_write: Callable[[str], None] = _nothing
        #: How large a database may become, and what to say then: D1Connection.limit_to.
        self.room_for: Callable[[str], Awaitable[tuple[int, str] | None]] = _any_room
        apsw.hard_heap_limit(limits.hard_memory_bytes)

    def query_now(
        self, database_id: str, statement: SqlStatement, seen: int | None = None
    ) -> SqlResult | None:
        """As `query`, at once: a small read that is known here, of a database that nobody else waits for. None: ask
        `query`, nothing was done.
        """
        database = self._databases.get(database_id)
        if database is None or database.running is not None or database.jobs or self._closed:
            return None
        if database.connection is None:
            return None
        result = database.connection.query_now(statement, seen)
        if result is not None:
            self._databases.move_to_end(database_id)
        return result

    async def query(
        self,
        database_id: str,
        statement: SqlStatement,
        tenant: str,
        seen: int | None = None,
        charge: Charge = free,
    ) -> SqlResult:
        def work(connection: D1Connection, asker: Asker) -> SqlResult:
            return connection.query(statement, asker, seen)

        result = await self.run(database_id, tenant, work, charge)
        if result.meta.changed_db:
            self.on_write(database_id)
        return result

    async def batch(
        self,
        database_id: str,
        statements: Sequence[SqlStatement],
        tenant: str,
        seen: int | None = None,
        charge: Charge = free,
    ) -> list[SqlResult]:
        def work(connection: D1Connection, asker: Asker) -> list[SqlResult]:
            return connection.batch(statements, asker, seen)

        results = await self.run(database_id, tenant, work, charge)
        if any(result.meta.changed_db for result in results):
            self.on_write(database_id)
        return results

    async def exec(self, database_id: str, script: str, tenant: str, charge: Charge = free) -> SqlExecuted:
        try:
            return await self.run(
                database_id, tenant, lambda connection, asker: connection.script(script, asker), charge
            )
        finally:
            self.on_write(database_id)

    async def load(self, database_id: str, script: str, tenant: str) -> SqlExecuted:
        """A dump, in one transaction."""
        executed = await self.run(
            database_id, tenant, lambda connection, asker: connection.load(script, asker)
        )
        self.on_write(database_id)
        return executed

    async def bookmark(self, database_id: str, tenant: str) -> int:
        return await self.run(database_id, tenant, lambda connection, asker: connection.bookmark())

    async def run(
        self,
        database_id: str,
        tenant: str,
        work: Callable[[D1Connection, Asker], T],
        charge: Charge = free,
    ) -> T:
        """What `work` returned, in a thread, in the database's turn. Cancelling ends what only reads. `charge` is told
        on the loop what the thread's CPU time was, in ns.
        """
        if self.placement is None:
            return await self._run(database_id, tenant, work, charge, None)
        until = time.monotonic() + self._room.wait_s
        while True:
            try:
                leased = await self.placement.ensure(database_id)
                return await self._run(database_id, tenant, work, charge, leased)
            except NotHere:
                # Another machine was given it while this one waited for a thread.
                if time.monotonic() > until:
                    raise _overloaded("Other machines use it, too.") from None
            except NoSuchDatabase as error:
                raise missing(database_id) from error

    async def _run(
        self,
        database_id: str,
        tenant: str,
        work: Callable[[D1Connection, Asker], T],
        charge: Charge,
        leased: LeasedDatabase | None,
    ) -> T:
        room = await self.room_for(database_id)
        if self._closed:
            raise StorageClosed("the database is closed")
        database = self._databases.get(database_id)
        if database is None:
            database = self._databases[database_id] = Served(database_id)
        self._databases.move_to_end(database_id)
        if len(database.jobs) >= self._room.waiting_a_database or self._waiting >= self._room.waiting:
            self._forget_if_idle(database)
            raise _overloaded("Too many requests queued.")
        loop = asyncio.get_running_loop()
        job = Job(work, tenant, loop.create_future(), time.monotonic(), room, charge, leased)
        database.jobs.append(job)
        self._waiting += 1
        if database.running is None and len(database.jobs) == 1:
            self._ready.append(database)
        self._start_ready(loop)
        try:
            return cast("T", await job.future)
        except asyncio.CancelledError:
            job.asker.gone = True
            raise

    async def close(self) -> None:
        """End what reads, let writes finish for a moment, and let go of the files."""
        self._closed = True
        for database in self._databases.values():
            for job in database.jobs:
                _fail(job, StorageClosed("the database is closed"))
            database.jobs.clear()
            if database.running is not None:
                database.running.asker.closing = True
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        for database in self._databases.values():
            if database.connection is not None:
                database.connection.close()
        self._databases.clear()
        if self.placement is not None:
            await self.placement.close()

    # -- turns -------------------------------------------------------------------------------------------

    def _start_ready(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give free threads to databases in turn; those of a tenant that has its threads wait."""
        for _ in range(len(self._ready)):
            if self._busy >= self._room.threads or self._closed:
                return
            database = self._ready.popleft()
            job = self._next_job(database)
            if job is None:
                self._forget_if_idle(database)
            elif self._of_tenant[job.tenant] >= self._room.threads_a_tenant:
                database.jobs.appendleft(job)
                self._waiting += 1
                self._ready.append(database)
            else:
                self._start(database, job, loop)

    def _next_job(self, database: Served) -> Job | None:
        now = time.monotonic()
        while database.jobs:
            job = database.jobs.popleft()
            self._waiting -= 1
            if now - job.since <= self._room.wait_s:
                return job
            _fail(job, _overloaded("Requests queued for too long."))
        return None

    def _start(self, database: Served, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        database.running = job
        self._busy += 1
        self._of_tenant[job.tenant] += 1
        victim = self._one_to_close() if database.connection is None else None

        def done(future: Future[Any]) -> None:
            try:
                loop.call_soon_threadsafe(self._done, database, job, future, loop)
            except RuntimeError:
                pass  # the loop has ended: nobody waits

        self._threads.submit(self._work, database, job, victim).add_done_callback(done)

    def _one_to_close(self) -> D1Connection | None:
        """The connection whose place the next one takes; None while there is room."""
        is_open = [one for one in self._databases.values() if one.connection is not None]
        starting = sum(
            1 for one in self._databases.values() if one.running is not None and one.connection is None
        )
        if len(is_open) + starting <= self._room.open_databases:
            return None
        for one in is_open:
            if one.running is None:
                victim, one.connection = one.connection, None
                self._forget_if_idle(one)
                return victim
        return None

    def _work(self, database: Served, job: Job, victim: D1Connection | None) -> object:
        """On a thread."""
        began = time.thread_time_ns()
        try:
            return self._do(database, job, victim)
        finally:
            job.cpu_ns = time.thread_time_ns() - began

    def _do(self, database: Served, job: Job, victim: D1Connection | None) -> object:
        if victim is not None:
            victim.close()
        try:
            if database.connection is None:
                path = path_of(self.folder, database.id)
                database.connection = D1Connection(path, self.limits, job.leased)
            database.connection.limit_to(job.room)
            return job.work(database.connection, job.asker)
        except (DatabaseGone, NoSuchDatabase) as error:
            if database.connection is not None:
                database.connection.close()
                database.connection = None
            raise missing(database.id) from error

    def _done(self, database: Served, job: Job, future: Future[Any], loop: asyncio.AbstractEventLoop) -> None:
        database.running = None
        job.charge(job.cpu_ns)
        self._busy -= 1
        self._of_tenant[job.tenant] -= 1
        if not self._of_tenant[job.tenant]:
            del self._of_tenant[job.tenant]
        if not job.future.done():
            error = future.exception()
            if error is None:
                job.future.set_result(future.result())
            else:
                job.future.set_exception(error)
        if database.jobs:
            self._ready.append(database)
        else:
            self._forget_if_idle(database)
        self._start_ready(loop)

    def _forget_if_idle(self, database: Served) -> None:
        is_idle = database.connection is None and database.running is None and not database.jobs
        if is_idle and self._databases.get(database.id) is database:
            del self._databases[database.id]


def _fail(job: Job, error: Exception) -> None:
    if not job.future.done():
        job.future.set_exception(error)


def _overloaded(why: str) -> OperationError:
    return sql_error(OperationErrorCode.LOAD_SHED, f"D1 DB is overloaded. {why}")


def _be_nice() -> None:
    """What tenants compute here gives way to the loop, and no more is taken than a host that was started nicely has."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, max(10, os.getpriority(os.PRIO_PROCESS, thread)))


async def _any_room(database_id: str) -> None:
    """No quota holds it."""


def _nothing(database_id: str) -> None:
    """Nobody listens for writes."""
