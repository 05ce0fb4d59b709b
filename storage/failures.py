"""What can go wrong with what we keep: one class for each thing that a caller would do differently.

`message` says what happened, in words that are safe to show; `detail` has the file and the engine's text.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Self

from model.errors import PlatformFault


class StorageError(PlatformFault):
    """Base of all below; by itself: the engine refused a statement, which is a bug of ours."""

    def again(self) -> Self:
        """A copy to raise elsewhere: one exception object raised in several tasks mixes their tracebacks."""
        return type(self)(self.message, detail=self.detail)


class DiskFull(StorageError):
    """No room for what was to be written. Nothing of it was kept; works again once there is room."""


class StorageBusy(StorageError):
    """Somebody else held the file longer than the busy timeout. Trying again later is right."""


class StorageReadOnly(StorageError):
    """The file, or the way it was opened, does not allow writing."""


class StorageLost(StorageError):
    """The file is missing, damaged, or the disk fails. An operator has to look."""


class WriteUncertain(StorageLost):
    """The connection was lost while a commit was on its way: the write may have been made, or not."""

    TEXT = "the connection to the database was lost while a write was being committed; it may have been made"


class PlatformAway(StorageLost):
    """The database that a platform's machines share does not answer: nothing was changed, and reading goes on."""


class StorageClosed(StorageError):
    """The database was closed: the process is stopping."""


class ConstraintViolated(StorageError):
    """A unique, foreign-key, check or not-null rule refused a row.

    `kind` is "unique", "foreign_key", "check", "not_null" or "other".
    """

    kind = "other"

    def again(self) -> Self:
        copy = super().again()
        copy.kind = self.kind
        return copy


class ValueTooLarge(StorageError):
    """One value, or one row, is over what the engine can hold (1 GB)."""


class SchemaMismatch(StorageError):
    """The file was made by a newer release, or by migrations that were changed afterwards."""


def from_os_error(error: OSError, path: Path) -> StorageError:
    """The failure that an operating system's error on one of our files is."""
    detail = f"{path}: {error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("the storage is full", detail=detail)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageReadOnly("the storage may not be accessed or written", detail=detail)
    return StorageLost("the storage can't be read or written", detail=detail)
