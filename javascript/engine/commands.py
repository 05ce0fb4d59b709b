"""The tools of the build, as commands."""

from __future__ import annotations

import subprocess
from pathlib import Path


class ToolFailed(Exception):
    """A tool of the build could not be had, or failed; the text is its last words."""


def run(arguments: list[str], what: str, cwd: Path | None = None) -> None:
    """Raises ToolFailed."""
    try:
        done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolFailed(f"{what}: {error}") from error
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise ToolFailed(f"{what} failed: " + "\n".join(words[-8:]))
