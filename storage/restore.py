"""A backup made into a data folder again. Nothing of it is used before all of it was read and compared."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import IO, Final

from storage.backup_manifest import MANIFEST, MEMBER, BackupInvalid, Manifest, Member, decode
from storage.data_files import DATABASES, migrations_of
from storage.failures import StorageError, from_os_error
from storage.keys import RootKey

_STAGE: Final = ".restore"
_BLOCK: Final = 1 << 20
_MOST_MANIFEST: Final = 1 << 30


class FolderInUse(StorageError):
    """There is something in the folder that a backup was to be restored into."""


def restore(source: Path, data: Path, root: RootKey | None, keep: frozenset[str]) -> Manifest:
    """`data` (made, 0700, when missing) must be empty but for the names in `keep`. `root` None: of no use to the
    secrets in it. What fails leaves the folder as it was.

    Raises FolderInUse, BackupInvalid, OtherRootKey, SchemaMismatch, StorageError.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = {path.name for path in data.iterdir()} - keep
        if held - {_STAGE}:
            raise FolderInUse(f"{data} is not empty: it holds {', '.join(sorted(held)[:5])}")
        stage = data / _STAGE
        shutil.rmtree(stage, ignore_errors=True)  # of one that was cut short
        stage.mkdir(mode=0o700)
        try:
            manifest = _unpack(source, stage, root)
            # Control's last: without it nothing else is found.
            for name in sorted(os.listdir(stage), key=lambda name: name == "control.db"):
                os.rename(stage / name, data / name)
            _sync(data)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        return manifest
    except OSError as error:
        raise from_os_error(error, data) from error


def _unpack(source: Path, stage: Path, root: RootKey | None) -> Manifest:
    found: dict[str, Member] = {}
    manifest = b""
    try:
        with (
            source.open("rb") as file,
            gzip.GzipFile(fileobj=file) as packed,
            tarfile.open(fileobj=packed, mode="r|") as tar,
        ):
            for info in tar:
                content = tar.extractfile(info) if info.isreg() else None
                if content is None or manifest or (info.name != MANIFEST and not MEMBER.fullmatch(info.name)):
                    raise BackupInvalid(f"the backup holds {info.name[:80]!r}, which is no part of one")
                if info.name == MANIFEST:
                    manifest = content.read(_MOST_MANIFEST)
                    continue
                if info.name in found:
                    raise BackupInvalid(f"the backup holds {info.name} twice")
                found[info.name] = _write(content, stage / info.name, info.name)
            # What follows the archive's end has a sum of its own.
            while packed.read(_BLOCK):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BackupInvalid("the backup is damaged or cut short", detail=f"{source}: {error}") from error
    if not manifest:
        raise BackupInvalid("the backup is cut short: it has no manifest", detail=str(source))
    told = decode(manifest, root)
    _compare(told, found)
    return told


def _compare(told: Manifest, found: dict[str, Member]) -> None:
    for member in told.members:
        if found.get(member.name) != member:
            raise BackupInvalid(f"{member.name} in the backup is not what its manifest says")
        folder, _, digest = member.name.rpartition("/")
        if folder.startswith("objects") and member.sha256 != digest:
            raise BackupInvalid(f"module {digest} in the backup has other bytes than its name says")
    if more := found.keys() - {member.name for member in told.members}:
        raise BackupInvalid(f"the backup holds {min(more)}, which its manifest does not name")
    if "control.db" not in found:
        raise BackupInvalid("the backup holds no control.db")
    for name, applied in told.schema.items():
        if name in DATABASES:
            migrations_of(name).pending(applied)


def _write(content: IO[bytes], path: Path, name: str) -> Member:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        while block := content.read(_BLOCK):
            digest.update(block)
            size += len(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return Member(name, size, digest.hexdigest())


def _sync(folder: Path) -> None:
    """The folder, and those in it."""
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
