"""The thread that keeps a replica up to date while nobody writes here: woken by the others, and once a second."""

from __future__ import annotations

import logging
import threading
from typing import Final

from model.clock import monotonic_s
from storage.failures import StorageBusy, StorageError, StorageLost
from storage.file_lock import FileLock
from storage.replication.entries import JoinRefused
from storage.replication.replica import Replica

LOG = logging.getLogger("tenantry.replication")

POLL_S: Final = 1.0
LOCK_S: Final = 5.0
#: A machine says of itself where it is this often.
SAY_S: Final = 10.0
#: A snapshot for so many entries: a machine that joins reads one, and at most two times so many entries.
SNAPSHOT_EVERY: Final = 1_000


class Follower:
    """`start` it once the replica is prepared; `close` it before the file."""

    def __init__(self, replica: Replica, lock: FileLock, snapshot_every: int = SNAPSHOT_EVERY) -> None:
        """`lock`: of the file, and nobody else's object."""
        self._replica = replica
        self._lock = lock
        self._snapshot_every = snapshot_every
        self._wake = threading.Event()
        self._closing = False
        self._said_at = -SAY_S
        self._listens = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"follow-{self._replica.file}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Idempotent."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._lock.close()

    def _run(self) -> None:
        while not self._closing:
            try:
                self._look()
            except JoinRefused as error:
                self._replica.stop(error)
            except StorageLost as error:
                self._replica.away(error)
            except StorageError as error:
                # Said by the replica itself where it stops; a busy file is tried again.
                LOG.debug("%s: %s (%s)", self._replica.file, error.message, error.detail)
            except Exception:  # the thread must live: nothing else would bring this machine up to date
                LOG.exception("%s: a look into the log failed", self._replica.file)
            self._wake.wait(POLL_S)
            self._wake.clear()

    def _look(self) -> None:
        replica = self._replica
        if not self._listens:
            replica.log.on_news(self._wake.set)
            self._listens = True
        replica.require_platform()
        head = replica.log.head(replica.file)
        if head is None:
            raise StorageLost(f"the database has lost the log of {replica.file}: restore it from its backup")
        if not replica.looked(head):
            if not self._lock.acquire(LOCK_S):
                raise StorageBusy("another process holds the file")
            try:
                replica.follow()
            finally:
                self._lock.release()
        replica.back()
        if monotonic_s() - self._said_at >= SAY_S:
            replica.log.machines.say(replica.file, replica.state.seq)
            self._said_at = monotonic_s()
        if head.seq - head.snapshot_seq >= self._snapshot_every:
            replica.take_snapshot(self._snapshot_every)
