"""The log of control data in PostgreSQL: whose turn it is to write, what was written, the snapshots.

The log's COMMIT is what counts: what is in it will be on every machine, what is not was never done. Calls block:
they come from SQLite's writer threads and the followers.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from storage.failures import StorageBusy, StorageError, StorageLost, WriteUncertain
from storage.migrations import load_queries
from storage.postgres.connection import PgDatabase, PgRow, PgTransaction
from storage.postgres.schema import POSTGRES_SQL, PgMigrations
from storage.replication.entries import NO_CHAIN, Entry, EntryKind, Head, JoinRefused
from storage.replication.machines import Machines
from storage.replication.postgres_thread import PostgresThread

#: What machines tell one another: that the log has grown.
TOPIC: Final = "control"
#: How long a writer waits for another machine's: a batch takes some milliseconds.
TURN_S: Final = 3.0
#: A writer that does not know whether its entry was committed asks for so long.
SETTLE_S: Final = 8.0
_SETTLE_PAUSE_S: Final = 0.05
#: Entries a page: a machine that was away reads in pages.
PAGE: Final = 200
CHUNK: Final = 1 << 20
#: Of an unpacked snapshot of control data.
MAX_SNAPSHOT: Final = 4 << 30


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole file after entry `seq`, compressed."""

    seq: int
    data: bytes


class ReplicationLog:
    """Of one platform; `machine` is who writes."""

    def __init__(self, thread: PostgresThread, machine: str, name: str = "") -> None:
        self._thread = thread
        self._sql = load_queries("replication", POSTGRES_SQL)
        self.machine = machine
        self.machines = Machines(thread, machine, name or machine)

    def make_schema(self) -> None:
        """Bring the log's own tables up to date. Raises SchemaMismatch, StorageLost."""
        self._thread.call(PgMigrations.load("replication").apply)

    def on_news(self, look: Callable[[], None]) -> None:
        """Call `look` when some machine has written, and now and then without."""
        self._thread.on_signal(TOPIC, look)

    def platform(self, root_key_ids: Sequence[str]) -> str:
        """The platform's id, made up by the first machine. `root_key_ids`: of the keys that this machine holds, the
        one that a platform is founded under first. Raises JoinRefused for other keys than the platform's.
        """

        async def work(tx: PgTransaction) -> list[PgRow]:
            await tx.execute(self._sql["found_platform"], uuid.uuid4().hex, root_key_ids[0])
            return await tx.fetch(self._sql["platform"])

        async def found(database: PgDatabase) -> list[PgRow]:
            return await database.write(work, repeatable=True)

        platform, of_key = self._thread.call(found)[0]
        if of_key not in root_key_ids:
            raise JoinRefused(
                "this machine's root key is not the platform's: copy the root-key file of a machine that is part"
                " of it (or name it with --root-key-file), or, where there is one from before a rotation, copy it"
                " beside that as root-key.next; with another key no secret could be opened",
                detail=f"platform's key: {of_key}, this machine's: {' '.join(root_key_ids)}",
            )
        return str(platform)

    def head(self, file: str) -> Head | None:
        async def read(database: PgDatabase) -> list[PgRow]:
            return await database.fetch(self._sql["head"], file)

        rows = self._thread.call(read)
        return _to_head(rows[0]) if rows else None

    def entries(self, file: str, after: int, limit: int = PAGE) -> list[Entry]:
        """The next ones after `after`, at most `limit`."""

        async def read(database: PgDatabase) -> list[PgRow]:
            return await database.fetch(self._sql["entries"], file, after, limit)

        return [
            Entry(seq, EntryKind(kind), payload, chain, batch, machine, at_ms)
            for seq, kind, payload, chain, batch, machine, at_ms in self._thread.call(read)
        ]

    def take_turn(self, file: str) -> Turn:
        """Until it is given back nobody else writes to the log of `file`. Raises StorageBusy, StorageLost."""
        return Turn(self._thread, file)

    def settle(self, file: str, entry: Entry) -> bool:
        """Whether an entry is in the log whose commit nobody saw the end of. Raises WriteUncertain when that
        can't be learnt now.

        The head's lock is the answer's warranty: the transaction in question has it until it is over.
        """
        until = time.monotonic() + SETTLE_S
        while True:
            try:
                with self.take_turn(file) as turn:
                    return turn.has(entry.batch)
            except (StorageLost, StorageBusy) as error:
                if time.monotonic() > until:
                    raise WriteUncertain(
                        "the database was lost while a change was being committed: it may have been made; look"
                        " before you make it again",
                        detail=error.detail,
                    ) from error
            time.sleep(_SETTLE_PAUSE_S)

    def found(self, file: str, snapshot: Snapshot) -> bool:
        """Begin the log of `file` with `snapshot`; False when another machine did."""

        async def work(tx: PgTransaction) -> bool:
            if not await tx.fetch(self._sql["found_file"], file, self.machine, NO_CHAIN):
                return False
            await self._add_snapshot(tx, file, snapshot)
            return True

        async def write(database: PgDatabase) -> bool:
            return await database.write(work)

        return self._thread.call(write)

    def newest_snapshot(self, file: str) -> Snapshot:
        """Raises StorageLost when there is none, or it is damaged."""

        async def read(database: PgDatabase) -> Snapshot:
            # A newer snapshot may take this one away meanwhile: then that is it.
            for _ in range(5):
                rows = await database.fetch(self._sql["newest_snapshot"], file)
                if not rows:
                    break
                seq, chunks, sha256 = rows[0]
                parts = [
                    await database.fetch(self._sql["snapshot_chunk"], file, seq, number)
                    for number in range(chunks)
                ]
                if not all(parts):
                    continue
                data = b"".join(part[0][0] for part in parts)
                if hashlib.sha256(data).digest() != sha256:
                    raise StorageLost(f"the snapshot of {file} at entry {seq} is damaged in the database")
                return Snapshot(seq, data)
            raise StorageLost(f"the database has no snapshot of {file}")

        return self._thread.call(read, timeout_s=300.0)

    def keep_snapshot(self, file: str, snapshot: Snapshot, every: int) -> bool:
        """Keep it, and prune what the one before it made needless; False when somebody else is about it or has
        just kept one, fewer than `every` entries ago.
        """

        async def work(tx: PgTransaction) -> bool:
            if not (await tx.fetch(self._sql["snapshot_turn"], file))[0][0]:
                return False
            head = await tx.fetch(self._sql["head"], file)
            if snapshot.seq - _to_head(head[0]).snapshot_seq < every:
                return False
            await self._add_snapshot(tx, file, snapshot)
            # Last, since it locks the head: nobody's write waits for an upload.
            pruned = (await tx.fetch(self._sql["note_snapshot"], file, snapshot.seq))[0][0]
            await tx.execute(self._sql["prune_log"], file, pruned)
            await tx.execute(self._sql["prune_snapshots"], file, pruned)
            return True

        async def write(database: PgDatabase) -> bool:
            return await database.write(work)

        return self._thread.call(write, timeout_s=300.0)

    async def _add_snapshot(self, tx: PgTransaction, file: str, snapshot: Snapshot) -> None:
        chunks = [snapshot.data[at : at + CHUNK] for at in range(0, len(snapshot.data), CHUNK)]
        digest = hashlib.sha256(snapshot.data).digest()
        await tx.execute(self._sql["add_snapshot"], file, snapshot.seq, len(chunks), digest)
        for number, chunk in enumerate(chunks):
            await tx.execute(self._sql["add_snapshot_chunk"], file, snapshot.seq, number, chunk)


class Turn:
    """The right to append to the log of one file: a transaction that holds the lock of its head."""

    def __init__(self, thread: PostgresThread, file: str) -> None:
        """Waits for it. Raises StorageBusy, StorageLost."""
        self._thread = thread
        self._sql = load_queries("replication", POSTGRES_SQL)
        self._file = file
        self._got: concurrent.futures.Future[tuple[Head, PgTransaction]] = concurrent.futures.Future()
        self._wanted: concurrent.futures.Future[list[Entry]] = concurrent.futures.Future()
        self._done = thread.start(self._hold)
        self._done.add_done_callback(self._failed_early)
        try:
            self.head, self._tx = self._got.result(TURN_S + 15.0)
        except concurrent.futures.TimeoutError:
            self._done.cancel()
            raise StorageLost("the database does not answer") from None

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def has(self, batch: str) -> bool:
        """Whether the log holds this batch. Raises StorageLost."""

        async def read(database: PgDatabase) -> bool:
            return bool(await self._tx.fetch(self._sql["has_batch"], self._file, batch))

        return self._thread.call(read)

    def append(self, entries: Sequence[Entry]) -> None:
        """Commit `entries`, and give the turn back. Raises StorageLost (nothing was kept), WriteUncertain."""
        self._wanted.set_result(list(entries))
        try:
            self._done.result(60.0)
        except concurrent.futures.TimeoutError:
            self._done.cancel()
            raise WriteUncertain(WriteUncertain.TEXT) from None
        except concurrent.futures.CancelledError:
            raise WriteUncertain(WriteUncertain.TEXT) from None
        self._thread.tell(TOPIC)

    def release(self) -> None:
        """Without writing. Idempotent; never raises."""
        if not self._wanted.done():
            self._wanted.set_result([])
        try:
            self._done.result(15.0)
        except (StorageError, concurrent.futures.CancelledError, concurrent.futures.TimeoutError):
            self._done.cancel()

    async def _hold(self, database: PgDatabase) -> None:
        await database.write(self._work)

    async def _work(self, tx: PgTransaction) -> None:
        await tx.execute(f"SET LOCAL lock_timeout = {int(TURN_S * 1000)}")
        rows = await tx.fetch(self._sql["take_turn"], self._file)
        if not rows:
            raise StorageLost(f"the database has lost the log of {self._file}")
        self._got.set_result((_to_head(rows[0]), tx))
        for entry in await asyncio.wrap_future(self._wanted):
            await tx.execute(
                self._sql["append"],
                *(self._file, entry.seq, entry.kind, entry.payload, entry.chain),
                *(entry.batch, entry.machine, entry.at_ms),
            )
            if await tx.execute(self._sql["move_head"], self._file, entry.seq, entry.chain) != 1:
                raise StorageError(f"entry {entry.seq} of {self._file} does not follow the log's head")

    def _failed_early(self, done: concurrent.futures.Future[None]) -> None:
        if self._got.done():
            return
        if done.cancelled():
            self._got.set_exception(StorageLost("the database does not answer"))
        else:
            self._got.set_exception(done.exception() or StorageError("a turn ended before it began"))


def _to_head(row: PgRow) -> Head:
    founder, seq, chain, pruned, snapshot_seq = row
    return Head(founder, seq, chain, pruned, snapshot_seq)
