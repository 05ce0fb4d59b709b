"""A backup of a data folder that is in use: one file, which holds everything but the keys.

Each database file is copied as of one moment. Control's comes first: it says what there is, and its last change is the
number of the backup. The others follow, so what they hold may be newer than control's word, and never lacks: modules
before their scripts, a database's file before its record, are how they are made. What was deleted between the copies is
taken out of the copy of control's. AOT images, logs' sums and restore points of databases are not in it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, cast

from storage import sqlite_files
from storage.backup_manifest import MANIFEST, Manifest, Member, encode
from storage.control_records import decode_script
from storage.d1.files import is_id
from storage.d1.lease_record import was_shared
from storage.data_files import (
    D1,
    DATABASES,
    OBJECTS,
    lasting,
    migrations_of,
    require_current,
    shared_platform,
)
from storage.database import Database
from storage.failures import StorageError, StorageLost, from_os_error
from storage.keys import RootKey
from storage.object_cache import CachedObjectStore, RemoteObjects
from storage.object_store import FolderObjectStore, ObjectMissing
from storage.resource_removal import remove_resource

#: Most of a backup is modules and text, and time matters more than the last tenth.
_LEVEL: Final = 1
_PAGE: Final = 500


#: Puts a database that machines share, by its id, into a new file. False: there is none. Raises StorageError.
CopyShared = Callable[[str, Path], bool]


@dataclass(slots=True)
class BackedUp:
    manifest: Manifest
    #: What should have been in it and is not there: `tenantry fsck` says more.
    lacks: list[str] = field(default_factory=list)


def back_up(
    data: Path,
    target: Path,
    root: RootKey,
    release: str,
    now_ms: int,
    remote: RemoteObjects | None = None,
    shared: CopyShared | None = None,
) -> BackedUp:
    """Write `target` (0600), whole or not at all; it must not exist. `remote` has modules that the folder lacks,
    `shared` the SQL databases of a platform of several machines: what is here may be older.

    Raises SchemaMismatch, StorageError.
    """
    if target.exists():
        raise StorageError(f"{target} exists; name a new file")
    require_current(data)
    partial = target.with_name(f".{target.name}.partial")
    try:
        work = Path(tempfile.mkdtemp(prefix=".backup-", dir=target.parent))
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                with gzip.GzipFile("", "wb", _LEVEL, file, 0) as packed:
                    made = _Backup(data, work, packed, remote, shared).make(root, release, now_ms)
                file.flush()
                os.fsync(file.fileno())
            os.rename(partial, target)
            _sync(target.parent)
        finally:
            partial.unlink(missing_ok=True)
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise from_os_error(error, target) from error
    return made


class _Backup:
    """One run."""

    def __init__(
        self,
        data: Path,
        work: Path,
        out: gzip.GzipFile,
        remote: RemoteObjects | None,
        shared: CopyShared | None,
    ) -> None:
        self._data = data
        self._remote = remote
        self._shared = shared
        self._work = work
        self._tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by make
        self._members: list[Member] = []
        self._lacks: list[str] = []
        self._schema: dict[str, list[tuple[str, int, str]]] = {}

    def make(self, root: RootKey, release: str, now_ms: int) -> BackedUp:
        control = self._work / "control.db"
        sqlite_files.copy(self._data / "control.db", control)
        for name in lasting(self._data):
            if name != "control.db":
                self._add_copy(self._data / name, name)
        self._add_objects(control)
        self._add_databases(control)
        with sqlite_files.opened(control) as file:
            self._schema["control.db"] = file.applied()
            change = sqlite_files.newest_change(file)
        self._add_file(control, "control.db")
        shared = shared_platform(self._data)
        manifest = Manifest(release, now_ms, root.key_id, change, shared, self._schema, self._members)
        self._add_bytes(encode(manifest, root), MANIFEST)
        self._tar.close()
        return BackedUp(manifest, self._lacks)

    def _add_copy(self, source: Path, name: str) -> None:
        copied = self._work / source.name
        sqlite_files.copy(source, copied)
        if name in DATABASES:
            with sqlite_files.opened(copied) as file:
                self._schema[name] = file.applied()
        self._add_file(copied, name)
        for left in self._work.glob(f"{source.name}*"):
            left.unlink()

    def _add_objects(self, control: Path) -> None:
        folder = FolderObjectStore(self._data / OBJECTS)
        objects = folder if self._remote is None else CachedObjectStore(folder, self._remote)
        for digest in sorted(_digests(control)):
            try:
                self._add_bytes(objects.get(digest), f"{OBJECTS}/{digest[:2]}/{digest}")
            except (ObjectMissing, StorageLost) as error:
                self._lacks.append(f"module {digest}: {error.message}")

    def _add_databases(self, control: Path) -> None:
        with sqlite_files.opened(control) as file:
            ids = [str(row[0]) for row in file.read("SELECT id FROM d1_databases ORDER BY id")]
        gone = []
        for database_id in filter(is_id, ids):
            path = self._data / D1 / f"{database_id}.sqlite"
            try:
                self._add_database(database_id, path)
            except _NotThere as error:
                with sqlite_files.opened(self._data / "control.db") as file:
                    known = file.read("SELECT 1 FROM d1_databases WHERE id = ?", (database_id,))
                if known:
                    self._lacks.append(f"database {database_id}: {error}")
                else:
                    gone.append(database_id)
        if gone:
            _take_out(control, gone)

    def _add_database(self, database_id: str, path: Path) -> None:
        """Raises _NotThere."""
        name = f"{D1}/{path.name}"
        if self._shared is not None:
            copied = self._work / path.name
            try:
                if self._shared(database_id, copied):
                    self._add_file(copied, name)
                    return
            finally:
                copied.unlink(missing_ok=True)
            if was_shared(path.with_suffix(".lease")):
                raise _NotThere("PostgreSQL does not have it")
            # It is from before this machine was one of several, and was not asked for since.
        try:
            self._add_copy(path, name)
        except StorageLost as error:
            if path.exists():
                raise
            raise _NotThere(error.message) from error

    def _add_file(self, path: Path, name: str) -> None:
        with path.open("rb") as file:
            self._add(file, path.stat().st_size, name)

    def _add_bytes(self, content: bytes, name: str) -> None:
        self._add(io.BytesIO(content), len(content), name)

    def _add(self, content: IO[bytes], size: int, name: str) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        hashing = _Hashing(content)
        self._tar.addfile(info, cast("IO[bytes]", hashing))
        self._members.append(Member(name, size, hashing.digest.hexdigest()))


class _NotThere(Exception):
    """A database of which there is no file."""


class _Hashing:
    """Reads through, and remembers what went by."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._content.read(size)
        self.digest.update(data)
        return data


def _digests(control: Path) -> set[str]:
    return {digest for _, digest in scripts_of(control)}


def scripts_of(control: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """((namespace, name), the module's digest) of every script."""
    place = ("", "")
    with sqlite_files.opened(control) as file:
        while True:
            rows = file.read(
                "SELECT namespace, name, record FROM scripts WHERE (namespace, name) > (?, ?)"
                " ORDER BY namespace, name LIMIT ?",
                (*place, _PAGE),
            )
            for namespace, name, record in rows:
                yield (namespace, name), decode_script(record).module_digest
            if len(rows) < _PAGE:
                return
            place = (rows[-1][0], rows[-1][1])


def _take_out(control: Path, database_ids: list[str]) -> None:
    """Databases that were deleted after the copy was made."""
    copied = Database.open(control, migrations_of("control.db"))
    try:
        for database_id in database_ids:
            copied.write_blocking(
                lambda tx, database_id=database_id: remove_resource(tx, "d1", database_id, force=True)  # type: ignore[misc]
            )
    finally:
        copied.close()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
