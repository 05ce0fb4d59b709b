"""Folders whose names outlive a power loss: what was made, renamed or removed in one is durable once it was synced."""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(path: Path) -> None:
    """What is in it now, by name, stays so after a power loss; the files' content is another matter. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, *, parents: bool = False) -> None:
    """A folder (0700) that stays; with `parents` those above it are made, too. Idempotent. Raises OSError."""
    if parents and not path.parent.is_dir():
        make_folder(path.parent, parents=True)
    path.mkdir(mode=0o700, exist_ok=True)
    # Even where it was there before: who made it may have died before it came to this.
    try:
        sync_folder(path.parent)
    except PermissionError:
        pass  # it was made for us in a folder that we may not list, and who did so answers for it
