"""Module bytes that are kept elsewhere, with this machine's folder as what it has of them so far.

Where they are kept is a `RemoteObjects`: the platform's PostgreSQL (`storage.replication.objects`) or a bucket
(`storage.object_bucket`). Nothing that comes from there is believed before it has the digest that was asked for.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from storage.failures import DiskFull, StorageLost
from storage.object_store import FolderObjectStore, ObjectMissing

LOG = logging.getLogger("tenantry.storage")


class RemoteObjects(Protocol):
    """Bytes by digest, for all machines. Calls block: they belong in a thread. All raise StorageError subclasses."""

    #: Where that is, in a message: "the database".
    where: str

    def store(self, digest: str, data: bytes) -> None:
        """Keep `data`, durably; one that is there becomes as young as a new one."""

    def fetch(self, digest: str) -> bytes:
        """Whatever is there under that name. Raises ObjectMissing."""

    def exists(self, digest: str) -> bool: ...

    def digests(self) -> Iterator[str]:
        """Every one, in order; one that comes or goes meanwhile may or may not be seen."""

    def remove_stale(self, digest: str, older_than_s: float) -> int:
        """Delete what nobody has stored for so long; the bytes that were freed, 0 when it stays or is not there."""


class CachedObjectStore:
    """As FolderObjectStore, over one: what is put is everywhere, what is got is in the folder afterwards."""

    def __init__(self, folder: FolderObjectStore, remote: RemoteObjects) -> None:
        self._folder = folder
        self._remote = remote

    def put(self, data: bytes) -> str:
        """Keep `data`; its digest, once both have it. Idempotent. Raises StorageError."""
        digest = self._folder.put(data)
        self._remote.store(digest, data)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes, of the folder or from elsewhere. Raises ObjectMissing, StorageLost, StorageError."""
        try:
            return self._folder.get(digest)
        except (
            ObjectMissing,
            StorageLost,
        ):  # not here yet, or damaged: the copy of all machines is the answer
            data = self._remote.fetch(digest)
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageLost(f"object {digest} is damaged in {self._remote.where}")
        try:
            self._folder.put(data)
        except DiskFull as error:
            LOG.warning("object %s is used, and not kept here: %s", digest, error.message)
        return data

    def exists(self, digest: str) -> bool:
        """Whether it can be got. Raises StorageError when it is not here and it can't be asked there."""
        return self._folder.exists(digest) or self._remote.exists(digest)


class RemoteLeftovers:
    """What of them the sweep may look at (control.leftovers.Files)."""

    def __init__(self, remote: RemoteObjects, is_current: Callable[[], bool]) -> None:
        """`is_current`: this machine knows of all scripts. One that does not takes nothing away."""
        self._remote = remote
        self._is_current = is_current

    def digests(self) -> Iterator[str]:
        for digest in self._remote.digests():
            if not self._is_current():
                return
            yield digest

    def remove_stale(self, digest: str, older_than_s: float) -> int:
        """Bytes that were freed; 0 when somebody has put it since, or it is not there."""
        return self._remote.remove_stale(digest, older_than_s) if self._is_current() else 0


def refill(folder: FolderObjectStore, remote: RemoteObjects, wanted: set[str]) -> int:
    """Give `remote` what it lacks of `wanted` and the folder has; how many that were. Raises StorageError.

    So a host takes along what it had when it is told to use a bucket, and a bucket that lost something gets it back.
    """
    count = 0
    for digest in sorted(wanted - set(remote.digests())):
        try:
            data = folder.get(digest)
        except (ObjectMissing, StorageLost):
            continue  # another machine may have it
        remote.store(digest, data)
        count += 1
    return count
