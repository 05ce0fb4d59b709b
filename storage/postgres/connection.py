"""Connections to one PostgreSQL database: a bounded pool, time limits, reconnecting, failures as StorageError.

Nothing is connected until something is asked for, so a host starts and runs while the server is away: what is
asked for then raises StorageLost at once (after a failed attempt nobody tries again for a back-off, so that
thousands of requests are not thousands of connects), and works again as soon as the server is back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

import asyncpg

from model.clock import monotonic_s
from storage.failures import StorageBusy, StorageClosed, StorageError, StorageLost, WriteUncertain
from storage.postgres.address import DatabaseAddress
from storage.postgres.failures import FOREIGN, translate, translated

LOG = logging.getLogger("tenantry.postgres")

T = TypeVar("T")
#: A row answers by position; the statement knows the columns' types, the type checker can't.
PgRow = Sequence[Any]

#: Of one statement, in the server and at our end (which also notices a server that is gone without a word).
STATEMENT_S: Final = 10.0
CONNECT_S: Final = 5.0
#: For one of the pool's connections: beyond it the work is shed, as StorageBusy.
ACQUIRE_S: Final = 5.0
#: How long nobody tries to connect after a failed attempt: doubled from the first to the last.
BACKOFF_S: Final = (0.05, 1.0)
#: What lost its connection, and may be repeated, is repeated for so long.
RETRY_S: Final = 5.0


class PgTransaction:
    """What a work sees; no longer usable when the work has returned. Raises StorageError subclasses."""

    __slots__ = ("_connection", "_where")

    def __init__(self, connection: Any, where: str) -> None:
        self._connection = connection
        self._where = where

    async def fetch(self, sql: str, *args: object) -> list[PgRow]:
        """All rows of one statement; `$1`, `$2`… are `args`."""
        with translated(self._where):
            return cast("list[PgRow]", await self._connection.fetch(sql, *args))

    async def execute(self, sql: str, *args: object) -> int:
        """Rows that the statement touched. Without `args`, `sql` may hold several statements."""
        with translated(self._where):
            status = cast("str", await self._connection.execute(sql, *args))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0


class PgDatabase:
    """Use from one running event loop. Several processes and machines may use the same database."""

    def __init__(
        self,
        address: DatabaseAddress,
        *,
        name: str = "tenantry",
        connections: int = 8,
        statement_s: float = STATEMENT_S,
    ) -> None:
        """`name` is what the server's activity shows. Connects nowhere yet."""
        self.address = address
        self._where = str(address)
        self._name = name
        self._statement_s = statement_s
        self._free = asyncio.Semaphore(connections)
        #: The last that was given back is the first that is taken: those unused go stale, and only those.
        self._idle: list[Any] = []
        self._busy: set[Any] = set()
        self._closed = False
        self._backoff_s = 0.0
        self._retry_at = 0.0
        self._failure: StorageError | None = None

    @property
    def failure(self) -> StorageError | None:
        """Why the last attempt to connect failed; None when it did not."""
        return self._failure

    async def fetch(self, sql: str, *args: object) -> list[PgRow]:
        """All rows of one statement that changes nothing, so it is asked again when its connection was lost."""
        while True:
            async with self._connection() as (connection, reused):
                try:
                    return cast("list[PgRow]", await connection.fetch(sql, *args))
                except FOREIGN as error:
                    failure = self._failed(error, connection)
                    # One that had lain idle may have died with a server that is back by now.
                    if not (reused and isinstance(failure, StorageLost) and connection.is_closed()):
                        raise failure from error

    async def write(self, work: Callable[[PgTransaction], Awaitable[T]], *, repeatable: bool = False) -> T:
        """What `work` returned, once its transaction (READ COMMITTED) is committed and durable.

        What `work` raises undoes it and is raised here. With `repeatable`, `work` does the same when it runs
        again, even if it had been committed before: it is run again when the connection was lost in between,
        or another transaction stood in the way, for RETRY_S. Else, or after that: WriteUncertain, when the
        connection was lost while the commit was on its way: it may have been made.
        """
        until = monotonic_s() + RETRY_S
        uncertain: WriteUncertain | None = None
        while True:
            try:
                return await self._write_once(work)
            except (StorageLost, StorageBusy) as error:
                if isinstance(error, WriteUncertain):
                    uncertain = error
                # While the server is away, only what may have been committed is worth the wait.
                is_away = self._failure is not None and uncertain is None
                if not repeatable or is_away or monotonic_s() > until:
                    raise uncertain or error from error
            pause_s = max(self._retry_at - monotonic_s(), 0.0) + random.uniform(0.005, 0.02)  # noqa: S311
            await asyncio.sleep(pause_s)

    async def _write_once(self, work: Callable[[PgTransaction], Awaitable[T]]) -> T:
        while True:
            async with self._connection() as (connection, reused):
                try:
                    await connection.execute("BEGIN")
                except FOREIGN as error:
                    failure = self._failed(error, connection)
                    if reused and isinstance(failure, StorageLost) and connection.is_closed():
                        continue
                    raise failure from error
                try:
                    value = await work(PgTransaction(connection, self._where))
                except BaseException:
                    await self._undo(connection)
                    raise
                try:
                    status = await connection.execute("COMMIT")
                except FOREIGN as error:
                    failure = self._failed(error, connection)
                    if isinstance(failure, StorageLost):
                        raise WriteUncertain(WriteUncertain.TEXT, detail=failure.detail) from error
                    raise failure from error
                if status != "COMMIT":
                    raise StorageError("a work went on after its transaction had failed", detail=self._where)
                return value

    async def probe(self) -> None:
        """Raises StorageError unless the server answers and keeps what it acknowledges."""
        await self.fetch("SELECT 1")

    async def connect_alone(self) -> Any:
        """A connection outside the pool, for who listens; theirs to close. Raises StorageError."""
        return await self._connect()

    async def close(self) -> None:
        """Close what is idle now, and what is busy as it is given back. Idempotent."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await _close(connection)
        for connection in list(self._busy):
            connection.terminate()
        # What was terminated lets go of its socket in the loop's next turn.
        await asyncio.sleep(0)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[Any, bool]]:
        """(a connection, whether it had been used before). It is the caller's until the block ends."""
        if not self._free.locked():
            await self._free.acquire()  # does not wait
        else:
            try:
                async with asyncio.timeout(ACQUIRE_S):
                    await self._free.acquire()
            except TimeoutError as error:
                raise StorageBusy("the database has no connection free", detail=self._where) from error
        try:
            connection, reused = self._take_idle(), True
            if connection is None:
                connection, reused = await self._connect(), False
            self._busy.add(connection)
            try:
                yield connection, reused
            finally:
                self._busy.discard(connection)
                if self._closed or connection.is_closed():
                    connection.terminate()
                elif connection.is_in_transaction():
                    # Its owner was cancelled and could not undo it; the server does, when it is gone.
                    connection.terminate()
                else:
                    self._idle.append(connection)
        finally:
            self._free.release()

    def _take_idle(self) -> Any | None:
        if self._closed:
            raise StorageClosed("the database is closed")
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _connect(self) -> Any:
        if self._closed:
            raise StorageClosed("the database is closed")
        if self._failure is not None and monotonic_s() < self._retry_at:
            raise self._failure.again()
        # Whoever comes while this attempt runs makes one, too, as many as the pool has; after a failure nobody.
        try:
            connection = await self._dial()
        except FOREIGN as error:
            least, most = BACKOFF_S
            self._backoff_s = min(most, max(least, self._backoff_s * 2))
            self._retry_at = monotonic_s() + self._backoff_s * random.uniform(0.5, 1.0)  # noqa: S311
            if self._failure is None:
                LOG.error("no connection to %s: %s: %s", self._where, type(error).__name__, error)
            self._failure = translate(error, self._where)
            raise self._failure.again() from error
        if self._failure is not None:
            LOG.warning("%s answers again", self._where)
        self._failure, self._backoff_s = None, 0.0
        return connection

    async def _dial(self) -> Any:
        address = self.address
        settings = {"application_name": self._name}
        if not address.pooled:
            limit = f"{int(self._statement_s * 1000)}"
            # A transaction whose process hangs must not hold its locks for ever.
            settings |= {"statement_timeout": limit, "idle_in_transaction_session_timeout": limit}
        connection = await asyncpg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            # Not None: then asyncpg would look for one in files and the environment.
            password=address.password or "",
            database=address.database,
            ssl=tls_context(address),
            timeout=CONNECT_S,
            command_timeout=self._statement_s + 1.0,
            statement_cache_size=0 if address.pooled else 256,
            server_settings=settings,
        )
        try:
            if await connection.fetchval("SHOW synchronous_commit") == "off":
                raise asyncpg.ObjectNotInPrerequisiteStateError(
                    "synchronous_commit is off: what is acknowledged would be lost in a crash; set it to on"
                )
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _undo(self, connection: Any) -> None:
        try:
            await connection.execute("ROLLBACK")
        except (*FOREIGN, asyncio.CancelledError):
            connection.terminate()

    def _failed(self, error: BaseException, connection: Any) -> StorageError:
        failure = translate(error, self._where, closed=self._closed)
        if isinstance(failure, StorageLost) and not connection.is_closed():
            # It is in an unknown state: a statement may still run there.
            connection.terminate()
        return failure


def tls_context(address: DatabaseAddress) -> ssl.SSLContext | bool:
    """For asyncpg; False: in the clear."""
    if address.ssl_mode == "disable":
        return False
    context = ssl.create_default_context(cafile=address.ssl_root_cert and str(address.ssl_root_cert))
    context.check_hostname = address.ssl_mode == "verify-full"
    if address.ssl_mode == "require" and address.ssl_root_cert is None:
        context.verify_mode = ssl.CERT_NONE
    return context


async def end(task: asyncio.Task[None]) -> None:
    """Cancel it and wait. Again, when that is swallowed: asyncpg waits with `wait_for`, which does so when what it
    waited for has just come.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.2)


async def _close(connection: Any) -> None:
    try:
        await connection.close(timeout=1.0)
    except FOREIGN:
        connection.terminate()
