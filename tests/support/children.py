"""Run a piece of Python in a child process: where an abort is possible, its exit status is the verdict."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_child(code: str, *, options: tuple[str, ...] = (), timeout_s: float = 250) -> tuple[int, str]:
    """(exit status, what it wrote). A negative status is the signal that ended it."""
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def expect_ok(code: str, *, timeout_s: float = 250) -> str:
    """What the child wrote; fails unless it ended with 0."""
    status, text = run_child(code, timeout_s=timeout_s)
    assert status == 0, f"the child ended with {status}:\n{text[-4000:]}"
    return text
