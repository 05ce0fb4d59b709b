"""Module bytes, kept under the SHA-256 of what they are, so that the same bytes are kept once.

`ab/abcdef…` in a folder; a file appears whole (written beside, fsync, rename, fsync of the folder) and is
read only when its bytes still have that digest.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from storage.failures import StorageError, StorageLost, from_os_error
from storage.folders import make_folder, sync_folder

_DIGEST = re.compile(r"[0-9a-f]{64}")
#: A temporary file that is older than this was left by a process that died.
STALE_S = 3600.0


class ObjectMissing(StorageError):
    """There are no bytes with this digest."""


class FolderObjectStore:
    """Use from any thread and process. Calls do file I/O: large ones belong in a thread.

    All raise ValueError for a digest that is not 64 lower-case hex digits, and StorageError subclasses.
    """

    def __init__(self, path: Path) -> None:
        """Makes the folder (0700) when missing and removes what dead writers left."""
        self._path = path
        #: Between looking at a file's age and removing it nobody says that he wants it.
        self._removing = threading.Lock()
        try:
            make_folder(path)
            for temporary in path.glob(".tmp-*"):
                if time.time() - temporary.stat().st_mtime > STALE_S:
                    temporary.unlink(missing_ok=True)
        except OSError as error:
            raise from_os_error(error, path) from error

    def put(self, data: bytes) -> str:
        """Keep `data`; its digest, once it is on the disk. Idempotent; mends a damaged copy, and makes one that
        is there as young as a new one.
        """
        digest = hashlib.sha256(data).hexdigest()
        target = self._file(digest)
        try:
            with self._removing:
                if is_there := _holds(target, data):
                    os.utime(target)
            if not is_there:
                self._write(data, target)
            # Of a file that was there, too: its writer may be between rename and sync, or have died there.
            for folder in (target.parent, self._path):
                sync_folder(folder)
        except OSError as error:
            raise from_os_error(error, target) from error
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes. Raises ObjectMissing; StorageLost when they no longer have this digest."""
        path = self._file(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(f"there is no object {digest}", detail=str(path)) from None
        except OSError as error:
            raise from_os_error(error, path) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageLost(f"object {digest} is damaged", detail=str(path))
        return data

    def exists(self, digest: str) -> bool:
        return self._file(digest).exists()

    def delete(self, digest: str) -> bool:
        """True if it was there. Idempotent."""
        try:
            self._file(digest).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise from_os_error(error, self._path) from error
        return True

    def remove_stale(self, digest: str, older_than_s: float) -> int:
        """Delete what nobody has put for so long; the bytes that were freed, 0 when it stays or is not there."""
        path = self._file(digest)
        try:
            with self._removing:
                found = path.stat()
                if time.time() - found.st_mtime <= older_than_s:
                    return 0
                path.unlink()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise from_os_error(error, path) from error
        return found.st_size

    def digests(self) -> Iterator[str]:
        """Every digest that is kept, in order; one that comes or goes meanwhile may or may not be seen."""
        for folder in sorted(self._path.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                if _DIGEST.fullmatch(path.name):
                    yield path.name

    def _write(self, data: bytes, target: Path) -> None:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._path / f".tmp-{secrets.token_hex(8)}"
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _file(self, digest: str) -> Path:
        check_digest(digest)
        return self._path / digest[:2] / digest


def check_digest(digest: str) -> None:
    """It may come from an API's path, and names a file only after this. Raises ValueError."""
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"digest {digest[:80]!r}: 64 lower-case hex digits are right")


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False
