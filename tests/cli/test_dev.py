"""`tenantry dev`: what is refused before a host is started. What it does then, tests/acceptance/test_dev.py has."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cli.errors import ExitCode
from tests.cli.conftest import Run

HELLO = "export default { fetch() { return new Response('hello'); } };\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.js"], "none.js"),
        (["-"], "name a file or a folder"),
        (["worker.js", "--host", "example.com"], "is no IP address"),
        (["worker.js", "--cron", "every day"], "--cron"),
        (["worker.js", "--var", "A=1", "--kv", "A=x"], "--var has that name already"),
        (["worker.js", "--limit", "cpu_ms=x"], "a whole number is right"),
        (["worker.js", "--host", "192.0.2.7", "--port", "0"], "this machine has no such address"),
    ],
)
def test_wrong_usage_is_told_and_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "worker.js").write_text(HELLO)
    ended = run("dev", *arguments)
    assert ended.code == ExitCode.USAGE
    assert said in ended.err
    assert not (tmp_path / ".tenantry").exists()


def test_a_port_in_use_says_what_to_do(run: Run, tmp_path: Path) -> None:
    (tmp_path / "worker.js").write_text(HELLO)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("dev", str(tmp_path / "worker.js"), "--port", str(port))
    assert ended.code == ExitCode.REFUSED
    assert ended.err.splitlines() == [
        f"error: port {port} of 127.0.0.1 is in use",
        "hint: --port NUMBER names another one, --port 0 takes a free one",
    ]


def test_without_esbuild_it_says_how_to_get_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    (tmp_path / "worker.ts").write_text(HELLO)
    ended = run("dev", str(tmp_path / "worker.ts"), "--port", "0")
    assert ended.code == ExitCode.REFUSED
    assert "npm install --save-dev esbuild" in ended.err
