"""Rule: one serve a data folder, whatever way the earlier one ended."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from processes.serve_lock import AlreadyServing, serve_lock


def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "serve.lock"
    with serve_lock(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(AlreadyServing, match=f"process {os.getpid()}"), serve_lock(path):
            pass
        with pytest.raises(AlreadyServing), serve_lock(path):
            pass
    with serve_lock(path):
        pass


def test_a_killed_holder_and_its_children_hold_nothing(tmp_path: Path) -> None:
    path = tmp_path / "serve.lock"
    script = (
        "import os, subprocess, sys; from pathlib import Path; from processes.serve_lock import serve_lock\n"
        "with serve_lock(Path(sys.argv[1])):\n"
        "    child = subprocess.Popen(['sleep', '30'], close_fds=False, stdout=2)\n"
        "    print(child.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, timeout=60, check=False
    )
    assert ended.returncode == -9
    with serve_lock(path):
        os.kill(int(ended.stdout), signal.SIGKILL)


def test_a_lock_file_with_anything_in_it_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "serve.lock"
    path.write_bytes(b"\xff" * 100)
    with serve_lock(path):
        assert path.read_bytes() == f"{os.getpid()}\n".encode()
