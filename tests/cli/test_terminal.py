"""On a terminal: secrets are asked for without an echo, deletions are asked about, values can't move the cursor.

Real terminals (pty), real processes.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.cli.recording_api import Answer, RecordingApi, ok
from tests.cli.wasm import worker_module

KV = "/storage/kv/namespaces"
ID = "a" * 32


def on_terminal(*arguments: str, typed: str = "") -> tuple[int, str]:
    """Exit code, and all that the terminal showed."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments], stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    shown = b""
    with closing(os.fdopen(controller, "rb+", buffering=0)) as screen:
        waiting = typed.encode()
        while True:
            try:
                data = screen.read(4096)
            except OSError:  # EIO: the last holder of the other end is gone
                break
            if not data:
                break
            shown += data
            # Typed only once it is asked for: getpass throws away what came before.
            if waiting and shown.rstrip().endswith(b":"):
                screen.write(waiting)
                waiting = b""
    return process.wait(60), shown.decode().replace("\r\n", "\n")


def test_secret_is_asked_for_and_not_shown(api: RecordingApi) -> None:
    api.on("PUT", "/workers/scripts/s/secrets", ok({"name": "K"}))
    code, shown = on_terminal("secrets", "put", "-", "s", "K", typed="hunter2\n")
    assert code == 0, shown
    assert "hunter2" not in shown
    assert api.asked[0].json["text"] == "hunter2"


def test_deletion_is_asked_about(api: RecordingApi) -> None:
    api.on("DELETE", "/workers/scripts/s", ok())
    code, shown = on_terminal("scripts", "delete", "-", "s", typed="n\n")
    assert code == 1
    assert "Delete the worker -/s? [y/N]" in shown
    assert "nothing was changed" in shown
    assert api.asked == []
    assert on_terminal("scripts", "delete", "-", "s", typed="y\n")[0] == 0
    assert on_terminal("scripts", "delete", "-", "s", "--yes")[0] == 0


def test_value_with_escapes_is_shown_not_obeyed(api: RecordingApi) -> None:
    api.on("GET", KV, ok([{"id": ID, "title": "t"}]))
    api.on("GET", f"{KV}/{ID}/values/k", Answer(200, b"a\x1b[2Jb\nc"))
    assert on_terminal("kv", "get", "t", "k") == (0, "a\\x1b[2Jb\nc\n")


def test_bytes_are_not_thrown_at_a_terminal(api: RecordingApi) -> None:
    api.on("GET", KV, ok([{"id": ID, "title": "t"}]))
    api.on("GET", f"{KV}/{ID}/values/k", Answer(200, b"\xff\xfe"))
    code, shown = on_terminal("kv", "get", "t", "k")
    assert code == 1
    assert "2 bytes that are no text" in shown


def test_upload_shows_progress_and_takes_it_back(api: RecordingApi, tmp_path: Path) -> None:
    api.on("PUT", "/workers/scripts/hello", ok({"id": "hello", "handlers": ["fetch"]}))
    (tmp_path / "hello.wasm").write_bytes(worker_module())
    code, shown = on_terminal("deploy", str(tmp_path / "hello.wasm"), "--name", "hello")
    assert code == 0, shown
    assert "uploading hello: sent; the host compiles it" in shown
    assert shown.rpartition("\x1b[K")[2].startswith("deployed -/hello: ")
