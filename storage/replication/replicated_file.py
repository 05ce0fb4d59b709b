"""What `storage.database.Database.open` takes to make its file a replica: engine, start and follower together."""

from __future__ import annotations

from pathlib import Path

from storage.failures import StorageBusy, from_os_error
from storage.file_lock import FileLock
from storage.group_commit import Engine
from storage.migrations import Migrations
from storage.replication.engine import ReplicatedEngine
from storage.replication.follower import LOCK_S, SNAPSHOT_EVERY, Follower
from storage.replication.joining import Joining
from storage.replication.replica import Replica
from storage.replication.status import ReplicaStatus
from storage.sqlite_engine import SqliteEngine


class ReplicatedFile:
    """For one Database. Implements storage.database.Replication."""

    def __init__(
        self, replica: Replica, *, follows: bool = True, snapshot_every: int = SNAPSHOT_EVERY
    ) -> None:
        """`follows`: go on following the log after the start, which who only writes once needs not."""
        self._replica = replica
        self._follows = follows
        self._snapshot_every = snapshot_every
        self._inner: SqliteEngine | None = None
        self._lock: FileLock
        self._joining: Joining
        self._follower: Follower | None = None

    def engine_over(self, engine: SqliteEngine, path: Path, migrations: Migrations) -> Engine:
        try:
            # Of its own: the follower and the writer's thread exclude each other as two processes do.
            self._lock = FileLock(path.with_name(path.name + ".lock"))
        except OSError as error:
            raise from_os_error(error, path) from error
        self._inner = engine
        self._replica.attach(engine, path, migrations)
        self._joining = Joining(self._replica, engine, path, migrations)
        return ReplicatedEngine(engine, self._replica, path)

    def prepare(self) -> None:
        """Found, join or follow the platform; then keep following. Raises StorageError subclasses."""
        assert self._inner is not None, "engine_over comes first"  # noqa: S101
        if not self._lock.acquire(LOCK_S):
            raise StorageBusy(f"another process held the storage for more than {LOCK_S:g} s")
        try:
            self._joining.prepare()
            self._inner.committed()
        finally:
            self._lock.release()
        if self._follows:
            self._follower = Follower(self._replica, self._lock, self._snapshot_every)
            self._follower.start()

    def status(self) -> ReplicaStatus:
        return self._replica.status()

    def close(self) -> None:
        """Before the writer ends. Idempotent."""
        if self._follower is not None:
            self._follower.close()
            self._follower = None
        elif self._inner is not None:
            self._lock.close()
        self._inner = None
