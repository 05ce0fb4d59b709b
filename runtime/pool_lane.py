"""The threads of the pool lane, and whose slice is next: tenants in turn, whatever each has waiting.

A thread takes one slice of one guest; between slices a guest waits in its tenant's queue. So a hundred hogs of
one tenant share that tenant's part, and the one hog of another gets its own.

What frees memory goes ahead of slices, which take more: behind a hundred guests that grow, a deletion would wait
until they all had grown. It counts as its tenant's turn, and every second job is a slice, so that a tenant whose
guests are deleted by the hundred keeps nobody from going on.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Job:
    """One slice that waits or runs. `done` is set when the thread has let go of it, with its result."""

    __slots__ = ("begun", "done", "owner", "work")

    def __init__(self, owner: str, work: Callable[[], bool]) -> None:
        self.begun = False
        self.owner = owner
        self.work = work
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class PoolLane:
    """`threads` slices at once, at nice 19. For one event loop."""

    def __init__(self, threads: int) -> None:
        self._free = threads
        self._executor = ThreadPoolExecutor(threads, "pool-lane", initializer=_be_nice)
        #: Owners with jobs that wait, the one whose turn is next first.
        self._queues: OrderedDict[str, deque[Job]] = OrderedDict()
        self._deletions: deque[Job] = deque()
        self._was_deletion = False

    @property
    def waiting(self) -> int:
        return len(self._deletions) + sum(map(len, self._queues.values()))

    def submit(self, owner: str, work: Callable[[], bool], *, deletes: bool = False) -> Job:
        """Run `work` in a thread when `owner`'s turn comes, or soon if it `deletes`. Await `job.done`, shielded: once a
        thread has begun it can't be stopped, and what it touches is not yours before it is done.
        """
        job = Job(owner, work)
        if self._free:
            self._start(job)
        elif deletes:
            self._deletions.append(job)
        else:
            queue = self._queues.get(owner)
            if queue is None:
                queue = self._queues[owner] = deque()
            queue.append(job)
        return job

    def withdraw(self, job: Job) -> bool:
        """Take back a slice that no thread has begun; False when one has."""
        if not self._take_out(job):
            return False
        job.done.cancel()
        return True

    def skip(self, job: Job) -> None:
        """A slice that no thread has begun ends now, with False: there is no more to be done in it."""
        if self._take_out(job):
            job.done.set_result(False)

    def _take_out(self, job: Job) -> bool:
        queue = self._queues.get(job.owner)
        if job.begun or queue is None or job not in queue:
            return False
        queue.remove(job)
        if not queue:
            del self._queues[job.owner]
        return True

    def close(self) -> None:
        """Wait for what runs. Nothing may be submitted any more."""
        self._executor.shutdown(wait=True)

    def _start(self, job: Job) -> None:
        self._free -= 1
        job.begun = True
        loop = job.done.get_loop()

        def run() -> None:
            try:
                result = job.work()
            except BaseException as error:  # it belongs to whoever awaits the job
                loop.call_soon_threadsafe(self._ended, job, None, error)
            else:
                loop.call_soon_threadsafe(self._ended, job, result, None)

        self._executor.submit(run)

    def _ended(self, job: Job, result: bool | None, error: BaseException | None) -> None:
        self._free += 1
        following = self._next()
        if following is not None:
            self._start(following)
        if not job.done.done():
            if error is not None:
                job.done.set_exception(error)
            else:
                job.done.set_result(bool(result))

    def _next(self) -> Job | None:
        if self._deletions and not (self._was_deletion and self._queues):
            self._was_deletion = True
            job = self._deletions.popleft()
            if job.owner in self._queues:
                self._queues.move_to_end(job.owner)
            return job
        self._was_deletion = False
        if not self._queues:
            return None
        owner, queue = next(iter(self._queues.items()))
        job = queue.popleft()
        if queue:
            self._queues.move_to_end(owner)
        else:
            del self._queues[owner]
        return job


def _be_nice() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
