"""One machine's replica of one file: how it comes to what the log says, and what a start has to do for that.

Whoever calls holds the file's lock (`storage.file_lock`), whether it is the writer's thread or the follower's; the
two share the writer's connection that way. `storage.replication.engine` writes, `…follower` follows.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import apsw

from model.clock import monotonic_s, unix_ms
from storage.failures import PlatformAway, StorageError, StorageLost, WriteUncertain
from storage.migrations import Migrations
from storage.replication.entries import (
    NO_CHAIN,
    Diverged,
    Entry,
    EntryKind,
    Head,
    LocalState,
    ReplicaBehind,
    Step,
    Way,
    check_entry,
    differs,
    next_entry,
    way_in,
)
from storage.replication.local import (
    applied_steps,
    apply_changes,
    apply_step,
    copy_file,
    has_data,
    load_snapshot,
    read_state,
    take_snapshot,
    write_state,
)
from storage.replication.log import ReplicationLog, Turn
from storage.replication.status import ReplicaStatus
from storage.sqlite_engine import SqliteEngine, translated

LOG = logging.getLogger("tenantry.replication")

#: A replica that does not fit the log is loaded anew; one that then does not again waits so long for the next try.
RELOAD_S: Final = 60.0


def nothing() -> None:
    """For who is not told."""


class Replica:
    """`file` is its name in the log ("control"); `root_key_id` is compared with the platform's."""

    def __init__(
        self,
        log: ReplicationLog,
        file: str,
        root_key_id: str,
        *,
        on_applied: Callable[[], None] = nothing,
        on_loaded: Callable[[], None] = nothing,
    ) -> None:
        """`on_applied`: others' changes are here. `on_loaded`: the file is another than it was, without a change
        log that leads there. Both are called on the thread that did it.
        """
        self.log = log
        self.file = file
        self._root_key_id = root_key_id
        self._on_applied = on_applied
        self._on_loaded = on_loaded
        self._engine: SqliteEngine
        self._path: Path
        self._migrations: Migrations
        #: None: nobody has asked the database yet which platform it is of.
        self._platform: str | None = None
        self.state = LocalState("", joined=False, seq=0, chain=NO_CHAIN)
        self.head_seq = 0
        self._current_at = monotonic_s()
        self._away_at: float | None = None
        self._stopped = ""
        self._loaded_at = -RELOAD_S
        self.applied = self.conflicts = self.loaded = 0

    def attach(self, engine: SqliteEngine, path: Path, migrations: Migrations) -> None:
        self._engine, self._path, self._migrations = engine, path, migrations

    def status(self) -> ReplicaStatus:
        now = monotonic_s()
        away_s = None if self._away_at is None else now - self._away_at
        behind = away_s is not None or self._stopped or self.state.seq < self.head_seq
        return ReplicaStatus(
            self.file,
            self.state.seq,
            self.head_seq,
            now - self._current_at if behind else 0.0,
            away_s,
            self._stopped,
            self.applied,
            self.conflicts,
            self.loaded,
        )

    def prepare(self) -> None:
        """What a start does: found, join or follow, and run the migrations that are this release's.

        Without the database a machine that has joined goes on with what it has, unless there are migrations to
        run. Raises StorageError subclasses, JoinRefused among them.
        """
        connection = self._engine.connection()
        with translated(self._path):
            local = read_state(connection)
            if local is not None:
                self.state = local
            try:
                self.require_platform()
                head = self.log.head(self.file)
            except StorageLost as error:
                self.away(error)
                self._go_on_alone(connection, local, error)
                return
            has_own = (local is None or not local.joined) and has_data(connection)
            platform, machine = self._known_platform(), self.log.machine
            way = way_in(local, has_own, platform, head, machine, self._migrations)
            if way is Way.FOUND and not self._found(connection):
                # Two machines started at once, and the other was first.
                way = way_in(self.state, has_own, platform, self._head(), machine, self._migrations)
            if way is Way.LOAD:
                self._load(connection)
            elif not self.state.joined:
                self._mark_joined(connection)
            self.follow_to(self._head())
            self._migrate(connection)
        self.back()

    def follow_to(self, head: Head) -> None:
        """Apply what is missing up to `head`, which was read while the lock was held. Raises StorageError."""
        try:
            self._apply_to(head)
        except ReplicaBehind as error:
            self._stop(error)
            raise
        except Diverged as error:
            self.conflicts += 1
            self._stop(error)
            if monotonic_s() - self._loaded_at < RELOAD_S:
                raise
            LOG.error("%s: %s (%s): it is loaded anew", self.file, error.message, error.detail)
            self._set_aside()
            self._load(self._engine.connection())
            self._apply_to(self._head())
        self._stopped = ""
        self.head_seq = self.state.seq
        self._current_at = monotonic_s()

    def follow(self) -> None:
        """As follow_to, to where the log ends now."""
        self.require_platform()
        self.follow_to(self._head())

    def looked(self, head: Head) -> bool:
        """Whether all that `head` has is here. Needs no lock."""
        self.head_seq = max(head.seq, self.head_seq)
        if head.seq == self.state.seq and head.chain == self.state.chain and not self._stopped:
            self._current_at = monotonic_s()
            return True
        return False

    def commit(self, turn: Turn, kind: EntryKind, payload: bytes) -> None:
        """Write an entry into the log, then commit the transaction that is open here. Raises StorageError, with
        the transaction undone; of WriteUncertain nobody knows, until the log is read again.
        """
        connection = self._engine.connection()
        entry = next_entry(self.state, kind, payload, uuid.uuid4().hex, self.log.machine, unix_ms())
        state = replace(self.state, seq=entry.seq, chain=entry.chain)
        try:
            with translated(self._path):
                write_state(connection, state)
            try:
                turn.append([entry])
            except WriteUncertain:
                if not self.log.settle(self.file, entry):
                    raise PlatformAway(
                        "the database was lost before a change was committed: nothing was changed"
                    ) from None
        except BaseException:
            self._engine.abandon()
            raise
        try:
            self._engine.commit()
        except StorageError as error:
            self._engine.abandon()
            LOG.error("entry %d of %s is committed, and not yet here: %s", entry.seq, self.file, error.detail)
            raise
        self.state = state
        self.head_seq = max(self.head_seq, entry.seq)
        self._current_at = monotonic_s()

    def take_snapshot(self, every: int) -> bool:
        """Make one if the log has grown by `every` entries since the last. Needs no lock. Raises StorageError."""
        head = self.log.head(self.file)
        if head is None or self.state.skipped or head.seq - head.snapshot_seq < every:
            return False
        state, snapshot = take_snapshot(self._path)
        if state.skipped or snapshot.seq - head.snapshot_seq < every:
            return False
        return self.log.keep_snapshot(self.file, snapshot, every)

    def away(self, error: StorageError) -> None:
        if self._away_at is None:
            self._away_at = monotonic_s()
            LOG.error("%s: changes wait for the database: %s (%s)", self.file, error.message, error.detail)

    def back(self) -> None:
        if self._away_at is not None:
            LOG.warning("%s: the database answers again", self.file)
        self._away_at = None

    def require_platform(self) -> None:
        """Which platform the database is of. Raises JoinRefused, StorageLost."""
        if self._platform is None:
            self.log.make_schema()
            platform = self.log.platform(self._root_key_id)
            if self.state.joined and platform != self.state.platform:
                way_in(self.state, False, platform, None, self.log.machine, self._migrations)
            self._platform = platform

    def _known_platform(self) -> str:
        if self._platform is None:
            raise StorageLost("nobody has asked the database which platform it is of")
        return self._platform

    def _head(self) -> Head:
        head = self.log.head(self.file)
        if head is None:
            raise StorageLost(f"the database has lost the log of {self.file}: restore it from its backup")
        return head

    def _go_on_alone(self, connection: apsw.Connection, local: LocalState | None, error: StorageLost) -> None:
        if local is None or not local.joined:
            raise StorageLost(
                f"the first start needs the database: {error.message}", detail=error.detail
            ) from error
        if self._migrations.pending(applied_steps(connection)):
            raise StorageLost(
                f"this release has migrations to run, and they need the database: {error.message}",
                detail=error.detail,
            ) from error

    def _found(self, connection: apsw.Connection) -> bool:
        """This machine's file becomes the platform's."""
        engine = self._engine
        engine.begin()
        try:
            engine.run(self._migrations.apply)
            self.state = LocalState(self._known_platform(), joined=False, seq=0, chain=NO_CHAIN)
            write_state(connection, self.state)
            engine.commit()
        except BaseException:
            engine.abandon()
            raise
        engine.committed()
        _, snapshot = take_snapshot(self._path)
        if not self.log.found(self.file, snapshot):
            return False
        LOG.info("%s: this machine founded the platform %s", self.file, self.state.platform)
        return True

    def _mark_joined(self, connection: apsw.Connection) -> None:
        self._within(lambda: write_state(connection, replace(self.state, joined=True)))
        self.state = replace(self.state, joined=True)

    def _load(self, connection: apsw.Connection) -> None:
        snapshot = self.log.newest_snapshot(self.file)
        self._loaded_at = monotonic_s()
        self.state = load_snapshot(connection, self._path, snapshot)
        self.loaded += 1
        LOG.warning("%s: loaded the snapshot at entry %d", self.file, snapshot.seq)
        self._engine.committed()
        self._on_loaded()

    def _set_aside(self) -> None:
        copy = self._path.with_name(f"{self._path.name}.diverged-{int(time.time())}")
        copy_file(self._path, copy)
        LOG.error("%s: what this machine held is kept as %s", self.file, copy)

    def _apply_to(self, head: Head) -> None:
        connection = self._engine.connection()
        before = self.state.seq
        try:
            if why := differs(self.state, head):
                raise Diverged(why)
            while self.state.seq < head.seq:
                if self.state.seq < head.pruned:
                    self._load(connection)
                    before = self.state.seq
                    continue
                entries = self.log.entries(self.file, self.state.seq)
                if entries and entries[0].seq == self.state.seq + 1:
                    for entry in entries:
                        self._apply(connection, entry)
                else:  # pruned since `head` was read, or lost
                    again = self._head()
                    if again.pruned <= self.state.seq:
                        raise Diverged(f"the log has lost entry {self.state.seq + 1}")
                    head = again
        finally:
            if self.state.seq != before:
                self._engine.committed()
                self._on_applied()

    def _apply(self, connection: apsw.Connection, entry: Entry) -> None:
        check_entry(self.state, entry)
        state = replace(self.state, seq=entry.seq, chain=entry.chain)

        def work() -> None:
            nonlocal state
            if entry.kind is EntryKind.MIGRATION:
                step = Step.unpack(entry.payload)
                if not apply_step(connection, step, self._migrations):
                    LOG.warning(
                        "%s: migration %s is passed over: this release does not know it", self.file, step
                    )
                    state = replace(state, skipped=(*state.skipped, step))
            else:
                apply_changes(connection, entry.payload, lacks_tables=bool(state.skipped))
            write_state(connection, state)

        self._within(work)
        self.state = state
        self.applied += 1

    def _within(self, work: Callable[[], None]) -> None:
        self._engine.begin()
        try:
            with translated(self._path):
                work()
            self._engine.commit()
        except BaseException:
            self._engine.abandon()
            raise

    def _migrate(self, connection: apsw.Connection) -> None:
        """Each step is an entry, so that every machine runs it between the same two changes."""
        while self._migrations.pending(applied_steps(connection)):
            with self.log.take_turn(self.file) as turn:
                self.follow_to(turn.head)
                pending = self._migrations.pending(applied_steps(connection))
                if not pending:
                    return
                step = Step.of(pending[0])
                self._engine.begin()
                try:
                    apply_step(connection, step, self._migrations)
                except BaseException:
                    self._engine.abandon()
                    raise
                self.commit(turn, EntryKind.MIGRATION, step.pack())
                LOG.info("%s: ran migration %s for the platform", self.file, step)

    def _stop(self, error: StorageError) -> None:
        if self._stopped != error.message:
            LOG.error("%s: %s (%s)", self.file, error.message, error.detail)
        self._stopped = error.message
