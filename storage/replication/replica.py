"""One machine's replica of one file: it comes to what the log says, and commits into it.

Whoever calls holds the file's lock (`storage.file_lock`), whether it is the writer's thread or the follower's; the
two share the writer's connection that way. `storage.replication.joining` starts, `…engine` writes, `…follower` follows.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
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
    check_entry,
    check_platform,
    differs,
    next_entry,
)
from storage.replication.local import (
    apply_changes,
    apply_step,
    copy_file,
    load_snapshot,
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
    """`file` is its name in the log ("control"); `root_key_ids`, of the keys that this machine holds, are compared with
    the platform's.
    """

    def __init__(
        self,
        log: ReplicationLog,
        file: str,
        root_key_ids: Sequence[str],
        *,
        on_applied: Callable[[], None] = nothing,
        on_loaded: Callable[[], None] = nothing,
    ) -> None:
        """`on_applied`: others' changes are here. `on_loaded`: the file is another than it was, without a change
        log that leads there. Both are called on the thread that did it.
        """
        self.log = log
        self.file = file
        self._root_key_ids = root_key_ids
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

    def follow_to(self, head: Head) -> None:
        """Apply what is missing up to `head`, which was read while the lock was held. Raises StorageError."""
        try:
            self._apply_to(head)
        except ReplicaBehind as error:
            self.stop(error)
            raise
        except Diverged as error:
            if not self._stopped:
                self.conflicts += 1
            self.stop(error)
            if monotonic_s() - self._loaded_at < RELOAD_S:
                raise
            LOG.error("%s: %s (%s): it is loaded anew", self.file, error.message, error.detail)
            self._set_aside()
            self.load()
            self._apply_to(self.head())
        self._stopped = ""
        self.head_seq = self.state.seq
        self._current_at = monotonic_s()

    def follow(self) -> None:
        """As follow_to, to where the log ends now."""
        self.require_platform()
        self.follow_to(self.head())

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

    def require_platform(self) -> str:
        """Which platform the database is of. Raises JoinRefused, StorageLost."""
        if self._platform is None:
            self.log.make_schema()
            platform = self.log.platform(self._root_key_ids)
            check_platform(self.state, platform)
            self._platform = platform
        return self._platform

    def head(self) -> Head:
        """Where the log ends now. Raises StorageLost."""
        head = self.log.head(self.file)
        if head is None:
            raise StorageLost(f"the database has lost the log of {self.file}: restore it from its backup")
        return head

    def load(self) -> None:
        """Make the file what the newest snapshot is. Raises StorageError."""
        connection = self._engine.connection()
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
                    self.load()
                    before = self.state.seq
                    continue
                entries = self.log.entries(self.file, self.state.seq)
                if entries and entries[0].seq == self.state.seq + 1:
                    for entry in entries:
                        self._apply(connection, entry)
                else:  # pruned since `head` was read, or lost
                    again = self.head()
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

        self.within(work)
        self.state = state
        self.applied += 1

    def within(self, work: Callable[[], None]) -> None:
        """A transaction of this machine alone."""
        self._engine.begin()
        try:
            with translated(self._path):
                work()
            self._engine.commit()
        except BaseException:
            self._engine.abandon()
            raise

    def stop(self, error: StorageError) -> None:
        """Nothing is applied, for this reason, until something was."""
        if self._stopped != error.message:
            LOG.error("%s: %s (%s)", self.file, error.message, error.detail)
        self._stopped = error.message
