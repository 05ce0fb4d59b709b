"""What a start has to do for a replica: found the platform, join it or follow on, and run this release's migrations."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import apsw

from storage.failures import StorageLost
from storage.migrations import Migrations
from storage.replication.entries import (
    NO_CHAIN,
    EntryKind,
    LocalState,
    ReplicaBehind,
    Step,
    Way,
    way_in,
)
from storage.replication.local import (
    applied_steps,
    apply_step,
    has_data,
    read_state,
    take_snapshot,
    write_state,
)
from storage.replication.replica import Replica
from storage.sqlite_engine import SqliteEngine, translated

LOG = logging.getLogger("tenantry.replication")


class Joining:
    """Of one replica. Whoever calls holds the file's lock."""

    def __init__(self, replica: Replica, engine: SqliteEngine, path: Path, migrations: Migrations) -> None:
        self._replica = replica
        self._engine = engine
        self._path = path
        self._migrations = migrations

    def prepare(self) -> None:
        """Without the database, or behind a newer release's migration, a machine that has joined goes on with what
        it has, unless there are migrations of its own to run. Raises StorageError subclasses.
        """
        replica = self._replica
        with translated(self._path):
            connection = self._engine.connection()
            local = read_state(connection)
            if local is not None:
                replica.state = local
            try:
                self._come_in(connection, local)
            except ReplicaBehind as error:
                replica.stop(error)
            except StorageLost as error:
                replica.away(error)
                self._go_on_alone(connection, error)
            else:
                replica.back()

    def _come_in(self, connection: apsw.Connection, local: LocalState | None) -> None:
        replica, machine = self._replica, self._replica.log.machine
        platform = replica.require_platform()
        head = replica.log.head(replica.file)
        has_own = (local is None or not local.joined) and has_data(connection)
        way = way_in(local, has_own, platform, head, machine, self._migrations)
        if way is Way.FOUND and not self._found(connection, platform):
            # Two machines started at once, and the other was first.
            way = way_in(replica.state, has_own, platform, replica.head(), machine, self._migrations)
        if way is Way.LOAD:
            replica.load()
        elif not replica.state.joined:
            state = replace(replica.state, joined=True)
            replica.within(lambda: write_state(connection, state))
            replica.state = state
        replica.follow_to(replica.head())
        self._migrate(connection)

    def _go_on_alone(self, connection: apsw.Connection, error: StorageLost) -> None:
        if not self._replica.state.joined:
            raise StorageLost(
                f"the first start needs the database: {error.message}", detail=error.detail
            ) from error
        if self._migrations.pending(applied_steps(connection)):
            raise StorageLost(
                f"this release has migrations to run, and they need the database: {error.message}",
                detail=error.detail,
            ) from error

    def _found(self, connection: apsw.Connection, platform: str) -> bool:
        """This machine's file becomes the platform's; False when another machine's has."""
        replica, engine = self._replica, self._engine
        engine.begin()
        try:
            engine.run(self._migrations.apply)
            replica.state = LocalState(platform, joined=False, seq=0, chain=NO_CHAIN)
            write_state(connection, replica.state)
            engine.commit()
        except BaseException:
            engine.abandon()
            raise
        engine.committed()
        _, snapshot = take_snapshot(self._path)
        if not replica.log.found(replica.file, snapshot):
            return False
        LOG.info("%s: this machine founded the platform %s", replica.file, platform)
        return True

    def _migrate(self, connection: apsw.Connection) -> None:
        """Each step is an entry, so that every machine runs it between the same two changes."""
        replica = self._replica
        while self._migrations.pending(applied_steps(connection)):
            with replica.log.take_turn(replica.file) as turn:
                replica.follow_to(turn.head)
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
                replica.commit(turn, EntryKind.MIGRATION, step.pack())
                LOG.info("%s: ran migration %s for the platform", replica.file, step)
