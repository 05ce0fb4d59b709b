"""`tenantry dev`: what is refused before a host is started. What it does then, tests/acceptance/test_dev.py has."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cli.deployment import Deployment
from cli.dev.host import prepare_folder
from cli.dev.plan import FOLDER, NAMESPACE, Plan
from cli.errors import ExitCode
from processes.listeners import parse_listen_address
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


@pytest.mark.parametrize("link", [".tenantry", ".tenantry/dev"])
def test_a_project_s_link_leads_nowhere(run: Run, tmp_path: Path, link: str) -> None:
    """Whoever made the project would have what lies behind it written over, or thrown away."""
    elsewhere, project = tmp_path / "elsewhere", tmp_path / "project"
    (elsewhere / "dev").mkdir(parents=True)
    (elsewhere / ".gitignore").write_text("kept")
    (project / link).parent.mkdir(parents=True)
    (project / link).symlink_to(elsewhere)
    (project / "worker.js").write_text(HELLO)
    ended = run("dev", str(project / "worker.js"), "--port", "0", "--fresh")
    assert ended.code == ExitCode.REFUSED
    assert ended.err.startswith(f"error: {project / link} is a link\n")
    assert (elsewhere / ".gitignore").read_text() == "kept"
    assert (elsewhere / "dev").is_dir()


def test_what_a_link_leads_to_is_not_written_over(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / ".gitignore").symlink_to(kept)
    listen = parse_listen_address("127.0.0.1:0")
    plan = Plan(tmp_path / "worker.js", tmp_path, Deployment("worker", NAMESPACE), listen, False, (), ())
    prepare_folder(plan, fresh=False)
    assert kept.read_text() == "kept"
    assert (tmp_path / FOLDER / ".gitignore").read_text() == "*\n"
