"""Modules on their way into the object store, which leave nothing there when nobody comes to refer to them.

A module is stored while it is still being looked at. One that is refused then goes at once, if the upload brought it
there and no other of the same bytes is under way or was taken meanwhile: names are digests, so a second upload of the
same bytes stands on the first one's file. Where machines share a store, what one of them refuses another may just have
taken, so there it is left to the sweep (control.leftovers).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from storage.failures import StorageError

_log = logging.getLogger("tenantry.control")


class Objects(Protocol):
    def put(self, data: bytes) -> str:
        """Its digest, once it is durable."""


class OwnObjects(Objects, Protocol):
    """A store that nobody else writes to."""

    def exists(self, digest: str) -> bool: ...

    def delete(self, digest: str) -> bool: ...


@dataclass(slots=True)
class _UnderWay:
    """Uploads of the same bytes that have begun and not ended."""

    was_there: bool
    count: int = 0
    taken: bool = False


class ModuleUploads:
    """`own` is the same store as `objects`, or None where others write to it. `begin` and `end` block: they are made in
    threads, by any number at once.
    """

    def __init__(self, objects: Objects, own: OwnObjects | None = None) -> None:
        self._objects = objects
        self._own = own
        self._lock = threading.Lock()
        self._under_way: dict[str, _UnderWay] = {}

    @property
    def under_way(self) -> int:
        """Modules that are, however many uploads bring each of them."""
        return len(self._under_way)

    def begin(self, module: bytes) -> str:
        """Store it; its digest, which `end` is due. Raises StorageError, and then it is not."""
        digest = hashlib.sha256(module).hexdigest()
        with self._lock:
            uploads = self._under_way.get(digest)
            if uploads is None:
                was_there = self._own is None or self._own.exists(digest)
                uploads = self._under_way[digest] = _UnderWay(was_there)
            uploads.count += 1
        try:
            self._objects.put(module)
        except BaseException:
            self.end(digest, taken=False)
            raise
        return digest

    def end(self, digest: str, *, taken: bool) -> None:
        """`taken`: a script refers to it now. Never raises StorageError: the sweep comes for what can't be deleted."""
        # Deleted under the lock: whoever begins afterwards finds it gone, and stores it anew.
        with self._lock:
            uploads = self._under_way[digest]
            uploads.count -= 1
            uploads.taken |= taken
            if uploads.count:
                return
            del self._under_way[digest]
            if self._own is None or uploads.was_there or uploads.taken:
                return
            try:
                self._own.delete(digest)
            except StorageError as error:
                _log.warning("a module that was refused is left to the sweep: %s", error.message)

    @contextmanager
    def storing(self, module: bytes) -> Iterator[StoringModule]:
        """One upload, on the event loop. Leaving it waits for nothing."""
        one = StoringModule(self, module)
        try:
            yield one
        finally:
            one.leave()


class StoringModule:
    def __init__(self, uploads: ModuleUploads, module: bytes) -> None:
        self._uploads = uploads
        self._module = module
        self._stored: asyncio.Future[str] | None = None
        self._taken = False

    def begin(self) -> asyncio.Future[str]:
        if self._stored is None:
            self._stored = asyncio.ensure_future(asyncio.to_thread(self._uploads.begin, self._module))
        return self._stored

    async def digest(self) -> str:
        """Once it is stored. Raises StorageError."""
        # Who stops waiting stops nobody: a thread that writes goes on, and what it wrote is to be ended.
        return await asyncio.shield(self.begin())

    @contextmanager
    def commit(self, *refusals: type[Exception]) -> Iterator[None]:
        """What is done in it makes a script refer to the module, unless it raises one of `refusals`. Where it is cut
        off, it may have been done.
        """
        self._taken = True
        try:
            yield
        except refusals:
            self._taken = False
            raise

    def leave(self) -> None:
        if self._stored is not None:
            self._stored.add_done_callback(self._end)

    def _end(self, stored: asyncio.Future[str]) -> None:
        if stored.cancelled() or stored.exception() is not None:
            return  # who waited was told
        end = asyncio.get_running_loop().run_in_executor(None, self._end_it, stored.result())
        end.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    def _end_it(self, digest: str) -> None:
        self._uploads.end(digest, taken=self._taken)
