"""One database that machines share, on this machine: taken, brought up to date, written, given back. Blocking.

Order is all here. A write can be seen by others of this machine as soon as SQLite has committed it, and is kept in
PostgreSQL after that; so whoever reads looks afterwards whether what he read may be answered (`check_read`). What was
not kept ends this machine's ownership and voids its copy: the next owner, this machine or another, goes on from what
PostgreSQL has.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from storage.d1 import files
from storage.d1.catalog import PART, TERM_S, D1Catalog, Head, Write
from storage.d1.lease_record import LeaseRecord, now_ns
from storage.d1.limits import PAGE_BYTES
from storage.d1.wal import ChangedPages, LogEnd, changed_since, log_end, unpack
from storage.failures import StorageError, StorageLost, WriteUncertain, from_os_error
from storage.postgres.connection import PgDatabase
from storage.replication.postgres_thread import PostgresThread

T = TypeVar("T")

#: Of a term, what its owner counts on: a clock that is slower than the server's by a tenth does no harm.
_SHARE: Final = 0.9
_LOCK_S: Final = 5.0
#: Whoever does not know whether a write was kept asks for so long.
_SETTLE_S: Final = 8.0
_SETTLE_PAUSE_S: Final = 0.1
#: Who reads looks so often whether a write that he may have seen is kept, and then whether its writer lives.
_LOOK_S: Final = 0.001
_LOOKS: Final = 100
_TRANSFER_S: Final = 300.0


class NotHere(Exception):
    """The database is no longer, or not yet, this machine's: nothing was done."""


class LeasedDatabase:
    """Of one process. Methods raise StorageError."""

    def __init__(
        self, folder: Path, database_id: str, machine: str, thread: PostgresThread, catalog: D1Catalog
    ) -> None:
        """Raises NoSuchDatabase for what can be no id."""
        self.id = database_id
        self.path = files.path_of(folder, database_id)
        self._lock = self.path.with_suffix(".lock")
        self.record = LeaseRecord(self.path.with_suffix(".lease"))
        self._machine = machine
        self._thread = thread
        self._catalog = catalog
        self._before: LogEnd | None = None

    def close(self) -> None:
        self.record.close()

    # -- whose it is -----------------------------------------------------------------------------------

    def take(self) -> bool:
        """Whether it is this machine's now, with its file up to date. Raises NoSuchDatabase."""
        record = self.record
        with files.turn(self._lock, _LOCK_S):
            self._void_what_died()
            if record.held:
                return True
            record.given_back()
            started_ns = now_ns()
            head = self._call(lambda pg: self._catalog.take(pg, self.id, self._machine))
            if head is None:
                if self._call(lambda pg: self._catalog.head(pg, self.id)) is not None:
                    return False
                head = self._adopt()
            else:
                self._bring_up_to_date(head)
            record.holds(head.seq, head.tag)
            record.taken(head.epoch, secrets.randbits(60) | 1, _until(started_ns))
            return record.held

    def renew(self) -> None:
        """Without the lock: a long write may have it."""
        epoch, started_ns = self.record.epoch, now_ns()
        if epoch and self._call(lambda pg: self._catalog.renew(pg, self.id, epoch)):
            self.record.extend(epoch, _until(started_ns))

    def give_back(self, epoch: int = 0) -> None:
        """After what is being written. `epoch`: only if it is ours by this one."""
        record = self.record
        if not epoch and not record.epoch:
            return
        with files.turn(self._lock, _LOCK_S):
            self._void_what_died()
            ending = epoch or record.epoch
            if record.epoch == ending:
                record.given_back()
            if ending:
                self._call(lambda pg: self._catalog.release(pg, self.id, ending))

    def begin_read(self) -> int:
        """For `check_read`: the ownership under which it is read. Raises NotHere."""
        epoch = self.record.epoch
        if not self.record.held:
            raise NotHere
        return epoch

    def may_answer(self, epoch: int) -> bool:
        """As `check_read`, for who does not wait."""
        record = self.record
        return not record.begun and record.epoch == epoch and record.held

    def check_read(self, epoch: int) -> None:
        """What was read since `begin_read` may be answered. Raises NotHere."""
        record = self.record
        begun = record.begun
        for _ in range(_LOOKS):
            if not record.held:
                raise NotHere
            if not begun or record.begun != begun:
                break
            time.sleep(_LOOK_S)
        else:
            with files.turn(self._lock, _LOCK_S):
                self._void_what_died()
        # Looked at after it was seen that nothing is on its way: a write that is not kept ends the ownership first.
        if record.epoch != epoch or not record.held:
            raise NotHere

    # -- writing, under the lock -------------------------------------------------------------------------

    def begin_write(self) -> None:
        """Raises NotHere."""
        self._void_what_died()
        if not self.record.held:
            raise NotHere
        self._before = log_end(self.path)

    def committing(self, number: int) -> None:
        self.record.begin(number)

    def keep(self, number: int, *, shrinks: bool = False) -> bool:
        record = self.record
        try:
            if self._before is None:
                raise AssertionError("a write was kept that had not begun")
            changed = changed_since(self.path, self._before)
            if changed is None:
                record.begin(0)
                return False
            write = Write(record.epoch, record.seq, number, record.own_tag, changed, shrinks)
            started_ns = now_ns()
            self._keep(write)
        except BaseException:
            record.is_void()
            raise
        record.holds(number, write.tag)
        record.extend(write.epoch, _until(started_ns))
        return True

    def failed(self) -> None:
        """SQLite did not say that it committed: what the file holds is not known."""
        self.record.is_void()

    def _keep(self, write: Write) -> None:
        """Raises StorageLost: it was not kept; WriteUncertain; NoSuchDatabase."""
        until = time.monotonic() + _SETTLE_S
        while True:
            try:
                if self._call(lambda pg: self._catalog.write(pg, self.id, write), _TRANSFER_S):
                    return
                # Ours, perhaps, when its first answer was lost.
                is_kept = self._call(lambda pg: self._catalog.is_kept(pg, self.id, write))
            except StorageError as error:
                if time.monotonic() > until:
                    raise WriteUncertain(WriteUncertain.TEXT, detail=error.detail) from error
                time.sleep(_SETTLE_PAUSE_S)
                continue
            if is_kept is None:
                raise files.NoSuchDatabase
            if not is_kept:
                raise StorageLost(
                    "the database went to another machine before this was kept: nothing was changed; try again"
                )
            return

    def _void_what_died(self) -> None:
        """Under the lock nobody writes: whoever had begun died, and what the file holds is not known."""
        if self.record.begun:
            self.record.is_void()

    # -- the file --------------------------------------------------------------------------------------

    def _bring_up_to_date(self, head: Head) -> None:
        have = self.record.copy if self.path.exists() else None
        if have == (head.seq, head.tag):
            return
        since = 0
        if have is not None and have[0] <= head.seq:
            seq, tag = have
            came = self._call(lambda pg: self._catalog.tag_seq(pg, self.id, tag))
            since = seq if came >= seq else 0
        prepared = self.path.with_suffix(".restoring")
        try:
            _remove(prepared)
            if not head.pages:
                files.create_at(prepared)
            else:
                if since:
                    with files.opened(self.path) as source:
                        files.copy(source, prepared)
                self._fetch(prepared, since, head.pages)
            if self.path.exists():
                # As one write: whoever has it open goes on.
                with files.opened(prepared) as source, files.opened(self.path) as target:
                    files.back_up(target, source)
            else:
                _remove(self.path)
                os.replace(prepared, self.path)
        except OSError as error:
            raise from_os_error(error, self.path) from error
        finally:
            _remove(prepared)

    def _fetch(self, to: Path, since: int, pages: int) -> None:
        """Put what changed after the write `since` into `to`."""
        found = after = 0
        with open(os.open(to, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
            while True:
                rows = self._pages(since, after)
                for page, data in rows:
                    os.pwrite(file.fileno(), unpack(data), (page - 1) * PAGE_BYTES)
                found += len(rows)
                if len(rows) < PART:
                    break
                after = rows[-1][0]
            if not since and found != pages:
                raise StorageLost(
                    "a database is damaged", detail=f"{self.id}: {found} of {pages} pages are there"
                )
            file.truncate(pages * PAGE_BYTES)

    def _pages(self, since: int, after: int) -> Sequence[tuple[int, bytes]]:
        return self._call(lambda pg: self._catalog.pages(pg, self.id, since, after), _TRANSFER_S)

    def _adopt(self) -> Head:
        """A file from before this machine was one of several: from now on it is every machine's."""
        if not self.record.is_new or not self.path.exists():
            raise files.NoSuchDatabase
        copied = self.path.with_suffix(".restoring")
        try:
            with files.opened(self.path) as source:
                files.copy(source, copied)
            with files.opened(copied) as made:
                number = files.number_of(made)
            pages = copied.stat().st_size // PAGE_BYTES
            offsets = {page: (page - 1) * PAGE_BYTES for page in range(1, pages + 1)}
            tag = secrets.randbits(60) | 1
            write = Write(1, 0, number, tag, ChangedPages(copied, offsets, pages), False)
            if not self._call(lambda pg: self._catalog.adopt(pg, self.id, self._machine, write), _TRANSFER_S):
                raise StorageLost("another machine has a database of this id; try again", detail=self.id)
            return Head(self._machine, 1, number, tag, pages)
        except OSError as error:
            raise from_os_error(error, self.path) from error
        finally:
            _remove(copied)

    def _call(self, work: Callable[[PgDatabase], Coroutine[Any, Any, T]], timeout_s: float = 30.0) -> T:
        return self._thread.call(work, timeout_s)


def _until(started_ns: int) -> int:
    return started_ns + int(_SHARE * TERM_S * 1e9)


def _remove(path: Path) -> None:
    """With what SQLite keeps beside it."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)
