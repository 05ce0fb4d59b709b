"""Whether a bucket has the modules of all scripts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from storage.control_records import decode_script
from storage.fsck_findings import Finding, error
from storage.object_cache import RemoteObjects
from storage.object_store import ObjectMissing
from storage.sqlite_files import ReadOnlyFile, opened


def modules_of(control: ReadOnlyFile) -> set[str]:
    """Digests of the modules that scripts have. A record that can't be read is told by who looks at those."""
    found: set[str] = set()
    for (record,) in control.read("SELECT record FROM scripts"):
        try:
            found.add(decode_script(record).module_digest)
        except msgspec.MsgspecError:
            continue
    return found


def check_bucket(remote: RemoteObjects, data: Path, *, deep: bool) -> Iterator[Finding]:
    """`deep` fetches each, and hashes it. Raises StorageError: it can't be asked."""
    for digest in sorted(_wanted(data)):
        problem = _problem(remote, digest, deep=deep)
        # Of a script that was deleted meanwhile it may be gone.
        if problem and digest in _wanted(data):
            yield error("modules", f"module {digest} {problem} {remote.where}, and a script has it")


def _problem(remote: RemoteObjects, digest: str, *, deep: bool) -> str:
    try:
        if not deep:
            return "" if remote.exists(digest) else "is not in"
        return "" if hashlib.sha256(remote.fetch(digest)).hexdigest() == digest else "is damaged in"
    except ObjectMissing:
        return "is not in"


def _wanted(data: Path) -> set[str]:
    with opened(data / "control.db") as control:
        return modules_of(control)
