"""Help teaches and loads little; every end of a command is a message and an exit code."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from cli import reference
from cli.main import SECTIONS
from tests.cli.conftest import Run
from tests.cli.recording_api import Answer, RecordingApi, ok, refused

NAMES = [name for commands in SECTIONS.values() for name in commands]


def every_command() -> Iterator[tuple[str, click.Command]]:
    def below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            for name, child in command.commands.items():
                yield from below(f"{path} {name}", child)

    for name in NAMES:
        yield from below(name, import_module(f"cli.commands.{name}").command)


COMMANDS = dict(every_command())


@pytest.mark.parametrize("path", COMMANDS)
def test_help_of_every_command_has_an_example_of_it(path: str) -> None:
    text = inspect.cleandoc(COMMANDS[path].help or "")
    assert "\b\nExample" in text
    assert f"tenantry {path}" in text


@pytest.mark.parametrize("name", NAMES)
def test_one_line_help_is_the_command_s_own(name: str) -> None:
    listed = next(commands[name] for commands in SECTIONS.values() if name in commands)
    assert COMMANDS[name].short_help == listed


def test_every_file_in_commands_is_listed() -> None:
    folder = Path(import_module("cli.commands").__file__ or "").parent
    assert sorted(NAMES) == sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def test_reading_commands_have_json() -> None:
    for path, command in COMMANDS.items():
        if path.split()[-1] in ("list", "get", "logs", "doctor", "test", "deploy"):
            assert "--json" in [opt for param in command.params for opt in param.opts], path


def test_help_loads_no_command_and_no_network_or_database_library() -> None:
    script = (
        "import sys; from cli.main import main; main(['--help']); "
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('aiohttp', 'apsw', 'wasmtime', 'asyncio', 'http', 'ssl', 'model', 'idna') "
        "or m.startswith('cli.commands.')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "Run a host:" in done.stdout


def test_version_is_printed(run: Run) -> None:
    assert run("--version").out.startswith("tenantry ")


def test_unknown_command_is_a_usage_error(run: Run) -> None:
    ended = run("depoly")
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert "depoly" in ended.err


def test_missing_argument_names_it_and_where_help_is(run: Run) -> None:
    ended = run("kv", "get", "settings")
    assert ended.code == 2
    assert "KEY" in ended.err
    assert "see tenantry kv get --help" in ended.err


def test_no_command_shows_help(run: Run) -> None:
    ended = run()
    assert ended.code == 2
    assert "tenantry serve --data" in ended.err


def test_no_host_is_exit_3_and_says_how_to_start_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("TENANTRY_TOKEN", "t")
    ended = run("namespaces", "list")
    assert ended.code == 3
    assert "cannot reach the control API at http://127.0.0.1:1: Connection refused" in ended.err
    assert "tenantry serve --data DIR" in ended.err


def test_no_token_is_exit_4_and_says_the_ways_to_have_one(
    api: RecordingApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENANTRY_TOKEN")
    ended = run("namespaces", "list")
    assert ended.code == 4
    assert "TENANTRY_TOKEN" in ended.err
    assert "--data DIR" in ended.err
    assert api.asked == []


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (401, 9106, 4),
        (403, 10000, 4),  # the token's scopes
        (403, 10021, 1),  # another tenant's resource: no other token would help
        (400, 10016, 1),
        (404, 10007, 1),
        (409, 20002, 1),
        (503, 10002, 1),
    ],
)
def test_refusal_shows_the_host_s_words_and_code(
    api: RecordingApi, run: Run, status: int, code: int, exit_code: int
) -> None:
    api.on("GET", "/workers/dispatch/namespaces", refused(status, code, "name: has a space"))
    ended = run("namespaces", "list")
    assert ended.code == exit_code
    assert f"error: name: has a space (code {code})\n" in ended.err


def test_several_errors_are_all_shown(api: RecordingApi, run: Run) -> None:
    errors = [{"code": 1, "message": "one"}, {"code": 2, "message": "two"}]
    body = json.dumps({"success": False, "errors": errors, "messages": [], "result": None}).encode()
    api.on("GET", "/workers/dispatch/namespaces", Answer(400, body))
    assert "one (code 1); two (code 2)" in run("namespaces", "list").err


def test_answer_that_is_no_envelope_is_explained(api: RecordingApi, run: Run) -> None:
    api.on("GET", "/workers/dispatch/namespaces", Answer(200, b"<html>"))
    ended = run("namespaces", "list")
    assert ended.code == 1
    assert "no envelope" in ended.err
    assert "8788" in ended.err


def test_token_comes_from_the_data_folder(
    api: RecordingApi, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "admin-token").write_text("from-the-file\n")
    api.on("GET", "/workers/dispatch/namespaces", ok([]))
    run("namespaces", "list", "--data", str(tmp_path))  # the flag wins over TENANTRY_TOKEN …
    monkeypatch.setenv("TENANTRY_DATA", str(tmp_path))
    run("namespaces", "list")  # … which wins over TENANTRY_DATA
    monkeypatch.delenv("TENANTRY_TOKEN")
    run("namespaces", "list")
    sent = [asked.headers["authorization"] for asked in api.asked]
    assert sent == ["Bearer from-the-file", "Bearer token-of-the-test", "Bearer from-the-file"]


def test_data_folder_without_token_says_who_makes_it(api: RecordingApi, run: Run, tmp_path: Path) -> None:
    ended = run("namespaces", "list", "--data", str(tmp_path))
    assert ended.code == 4
    assert "admin-token" in ended.err
    assert "token create --local" in ended.err


def test_token_that_would_break_a_header_is_refused(
    api: RecordingApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTRY_TOKEN", "a\r\nX-Evil: 1")
    ended = run("namespaces", "list")
    assert ended.code == 4
    assert "X-Evil" not in ended.err  # a token is never shown
    assert api.asked == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ftp://127.0.0.1", "http:// or https://"),
        ("127.0.0.1:8788", "http:// or https://"),
        ("http://", "http:// or https://"),
        ("http://127.0.0.1:99999", "Port out of range"),
        ("http://me:pw@127.0.0.1", "has a user"),
        ("http://example.com", "would show the token to the network"),
        ("http://10.0.0.1:8788", "would show the token to the network"),
    ],
)
def test_bad_url_is_a_usage_error(run: Run, monkeypatch: pytest.MonkeyPatch, url: str, expected: str) -> None:
    monkeypatch.setenv("TENANTRY_TOKEN", "t")
    ended = run("namespaces", "list", "--url", url)
    assert ended.code == 2
    assert expected in ended.err


def test_url_may_hold_the_api_s_prefix(api: RecordingApi, run: Run) -> None:
    api.on("GET", "/workers/dispatch/namespaces", ok([]))
    assert run("namespaces", "list", "--url", f"{api.url}/client/v4/").code == 0


def test_account_is_part_of_every_path(api: RecordingApi, run: Run) -> None:
    path = "/client/v4/accounts/other/workers/dispatch/namespaces"
    api.on("GET", path, ok([]))
    assert run("namespaces", "list", "--account", "other").code == 0
    assert run("namespaces", "list", "--account", "o/../x").code == 2


def test_what_a_tenant_named_cannot_move_the_terminal(api: RecordingApi, run: Run) -> None:
    api.on("GET", "/workers/dispatch/namespaces", ok([{"namespace_name": "a\x1b[2J\u202eb\n\x9b\u2028"}]))
    out = run("namespaces", "list").out
    assert "a\\x1b[2J\\u202eb\\n\\x9b\\u2028" in out


def test_reader_that_closes_early_is_no_error(api: RecordingApi) -> None:
    api.on("GET", "/workers/dispatch/namespaces", ok([{"namespace_name": "n" * 60}] * 5000))
    environment = {**os.environ}
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; '{sys.executable}' -m cli.main namespaces list | head -1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("NAME")


def test_reference_in_docs_is_what_the_commands_say() -> None:
    assert (Path(__file__).parents[2] / "docs/cli.md").read_text() == reference.page()
