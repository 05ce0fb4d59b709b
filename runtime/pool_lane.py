"""The threads of the pool lane, and whose slice is next: tenants in turn, whatever each has waiting.

A thread takes one slice of one guest; between slices a guest waits in its tenant's queue. So a hundred hogs of
one tenant share that tenant's part, and the one hog of another gets its own.
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

    __slots__ = ("done", "owner", "work")

    def __init__(self, owner: str, work: Callable[[], bool]) -> None:
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

    @property
    def waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    def submit(self, owner: str, work: Callable[[], bool]) -> Job:
        """Run `work` in a thread when `owner`'s turn comes. Await `job.done`, shielded: once a thread has begun
        it can't be stopped, and what it touches is not yours before it is done.
        """
        job = Job(owner, work)
        if self._free:
            self._start(job)
        else:
            queue = self._queues.get(owner)
            if queue is None:
                queue = self._queues[owner] = deque()
            queue.append(job)
        return job

    def withdraw(self, job: Job) -> bool:
        """Take back a job that no thread has begun; False when one has."""
        queue = self._queues.get(job.owner)
        if queue is None or job not in queue:
            return False
        queue.remove(job)
        if not queue:
            del self._queues[job.owner]
        job.done.cancel()
        return True

    def close(self) -> None:
        """Wait for what runs. Nothing may be submitted any more."""
        self._executor.shutdown(wait=True)

    def _start(self, job: Job) -> None:
        self._free -= 1
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
        if self._queues:
            owner, queue = next(iter(self._queues.items()))
            following = queue.popleft()
            if queue:
                self._queues.move_to_end(owner)
            else:
                del self._queues[owner]
            self._start(following)
        if not job.done.done():
            if error is not None:
                job.done.set_exception(error)
            else:
                job.done.set_result(bool(result))


def _be_nice() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
