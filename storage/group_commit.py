"""One writer thread a process: many small works, one COMMIT with one fsync.

Rules of this file: a work is acknowledged only after COMMIT; a work that fails takes nothing else with it; a
failed COMMIT fails all works of its batch and none of the next. Works are collected for as long as the
writer is busy with the batch before. Nothing here knows SQL: `Engine` does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from storage.failures import ConstraintViolated, StorageBusy, StorageClosed, StorageError
from storage.file_lock import FileLock

#: A batch ends after this many works or this long, so that neither the first work of a batch nor another
#: process waits much longer than a COMMIT takes.
BATCH_WORKS = 256
BATCH_S = 0.005

_log = logging.getLogger("tenantry.storage")


class TransactionLost(Exception):
    """The engine rolled the whole transaction back because of one work; `__cause__` is that work's error.

    SQLite does so for SQLITE_FULL, SQLITE_IOERR and SQLITE_NOMEM in a statement that has no journal of its
    own.
    """


class Engine(Protocol):
    """What the writer needs; called on the writer's thread only."""

    def begin(self) -> None:
        """Open a transaction that may write. Raises StorageError."""

    def run(self, work: Callable[[Any], object]) -> object:
        """Run `work` in a savepoint; raises what it raised after undoing it alone, or TransactionLost."""

    def commit(self) -> None:
        """Raises StorageError: then nothing of the transaction was kept."""

    def committed(self) -> None:
        """Tell whoever must know before anyone is acknowledged."""

    def abandon(self) -> None:
        """Leave the transaction, whatever state it is in. Never raises."""

    def close(self) -> None: ...


@dataclass(slots=True)
class Job:
    """`loop` is None for a caller who blocks a thread on a concurrent future."""

    work: Callable[[Any], object]
    future: asyncio.Future[Any] | concurrent.futures.Future[Any]
    loop: asyncio.AbstractEventLoop | None


@dataclass(slots=True)
class Settled:
    job: Job
    value: object = None
    error: BaseException | None = None


class GroupCommitter:
    """Owns the writer thread, which starts with the first work."""

    def __init__(self, engine: Engine, lock: FileLock, busy_timeout_s: float) -> None:
        self._engine = engine
        self._lock = lock
        self._busy_timeout_s = busy_timeout_s
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, job: Job) -> None:
        """Queue it; from now on it is run whether or not anyone still waits. Raises StorageClosed."""
        with self._guard:
            if self._closed:
                raise StorageClosed("the database is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="storage-writer", daemon=True)
                self._thread.start()
            self._jobs.put(job)

    def close(self) -> None:
        """Run what is queued, then end the thread. Idempotent."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        if self._thread is not None:
            self._thread.join()
        self._engine.close()
        self._lock.close()

    def _serve(self) -> None:
        while (first := self._jobs.get()) is not None:
            if self._lock.acquire(self._busy_timeout_s):
                try:
                    settled = self._batch(first, alone=False)
                finally:
                    self._lock.release()
            else:
                settled = self._give_up(first)
            _deliver(settled)

    def _batch(self, first: Job, *, alone: bool) -> list[Settled]:
        engine = self._engine
        try:
            engine.begin()
        except StorageError as error:
            return [Settled(first, error=error)]
        ends_at = time.monotonic() + BATCH_S
        settled: list[Settled] = []
        job: Job | None = first
        while job is not None:
            try:
                settled.append(Settled(job, engine.run(job.work)))
            except TransactionLost as lost:
                engine.abandon()
                return [Settled(job, error=lost.__cause__), *self._rerun(settled)]
            except BaseException as error:  # whatever a work raises is its caller's, and the thread lives on
                settled.append(Settled(job, error=error))
            if alone or len(settled) >= BATCH_WORKS or time.monotonic() >= ends_at:
                break
            job = self._next()
        try:
            engine.commit()
        except StorageError as error:
            engine.abandon()
            if isinstance(error, ConstraintViolated) and not alone:
                return self._rerun(settled)  # a deferred rule: it is one work's fault, the disk is well
            return [s if s.error else Settled(s.job, error=error.again()) for s in settled]
        try:
            engine.committed()
        except Exception:  # it is committed: to answer with an error would be untrue
            _log.exception("the hook after a commit failed")
        return settled

    def _rerun(self, undone: list[Settled]) -> list[Settled]:
        """These works were undone through another's fault; none was acknowledged, so they run again, each
        in a transaction of its own, where it can only fail by itself."""
        settled: list[Settled] = []
        for one in undone:
            settled += [one] if one.error else self._batch(one.job, alone=True)
        return settled

    def _next(self) -> Job | None:
        try:
            job = self._jobs.get_nowait()
        except queue.Empty:
            return None
        if job is None:
            self._jobs.put(None)  # the end is for `_serve`; nothing can be queued behind it
        return job

    def _give_up(self, first: Job) -> list[Settled]:
        message = f"another process held the storage for more than {self._busy_timeout_s:g} s"
        settled = [Settled(first, error=StorageBusy(message))]
        while (job := self._next()) is not None:
            settled.append(Settled(job, error=StorageBusy(message)))
        return settled


def _deliver(settled: list[Settled]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Settled]] = {}
    for one in settled:
        if isinstance(one.error, StopIteration):  # a future refuses it, as a generator would
            one.error = RuntimeError("a work raised StopIteration")
        if one.job.loop is None:
            _resolve(one)
        else:
            by_loop.setdefault(one.job.loop, []).append(one)
    for loop, ones in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve_all, ones)  # one wake-up a batch: it is a system call
        except RuntimeError:
            _log.debug("a loop was closed before %d of its writes were acknowledged", len(ones))


def _resolve_all(settled: list[Settled]) -> None:
    for one in settled:
        _resolve(one)


def _resolve(one: Settled) -> None:
    future = one.job.future
    if future.done():
        return  # whoever asked has stopped waiting
    if one.error is not None:
        future.set_exception(one.error)
    else:
        future.set_result(one.value)
