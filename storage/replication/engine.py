"""What stands between a file's writer thread and SQLite where the file is a replica.

A batch takes the platform's turn, brings the replica up to date, runs its works, and goes into the log before it
is committed here: docs/decisions/0016-control-replication.md has the order and what each interruption leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from storage.failures import ConstraintViolated, PlatformAway, StorageError, StorageLost
from storage.replication.entries import EntryKind
from storage.replication.local import record
from storage.replication.log import Turn
from storage.replication.replica import Replica
from storage.sqlite_engine import SqliteEngine, translated


class ReplicatedEngine:
    """Implements storage.group_commit.Engine over a SqliteEngine."""

    def __init__(self, inner: SqliteEngine, replica: Replica, path: Path) -> None:
        self._inner = inner
        self._replica = replica
        self._path = path
        self._turn: Turn | None = None
        self._session: apsw.Session | None = None

    def begin(self) -> None:
        replica = self._replica
        try:
            replica.require_platform()
            self._turn = replica.log.take_turn(replica.file)
        except StorageLost as error:
            replica.away(error)
            raise PlatformAway(
                "changes need the database that the platform's machines share, and it does not answer; what is"
                " deployed goes on being served",
                detail=f"{error.message}: {error.detail}",
            ) from error
        try:
            replica.follow_to(self._turn.head)
            self._inner.begin()
            with translated(self._path):
                self._session = record(self._inner.connection())
        except BaseException:
            self.abandon()
            raise

    def run(self, work: Callable[[Any], object]) -> object:
        return self._inner.run(work)

    def commit(self) -> None:
        turn = self._turn
        if turn is None or self._session is None:
            raise StorageError("a commit without its begin")
        connection = self._inner.connection()
        with translated(self._path):
            # SQLite would find it at COMMIT, which comes when others have the entry already.
            if connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0] > 0:
                violated = ConstraintViolated("a row breaks a rule of the schema", detail=str(self._path))
                violated.kind = "foreign_key"
                raise violated
            changeset = self._session.changeset()
            self._end_session()
        if changeset:
            self._replica.commit(turn, EntryKind.CHANGES, changeset)
        else:
            turn.release()
            self._inner.commit()
        self._turn = None

    def committed(self) -> None:
        self._inner.committed()

    def abandon(self) -> None:
        self._end_session()
        self._inner.abandon()
        if self._turn is not None:
            self._turn.release()
            self._turn = None

    def close(self) -> None:
        self._end_session()
        self._inner.close()

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
