"""`tenantry token create --local` makes a token that the host knows, and touches nothing that is not its."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from storage.token_store import TokenStore
from tests.cli.conftest import Run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    TokenStore.open(tmp_path / "tokens.db").close()
    return tmp_path


def test_token_is_printed_alone_and_known_to_the_host(run: Run, data: Path) -> None:
    ended = run("token", "create", "--local", "--data", str(data), "--name", "ci")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    store = TokenStore.open(data / "tokens.db")
    record = store.verify(ended.out.strip())
    store.close()
    assert record is not None
    assert record.name == "ci"


def test_it_works_beside_a_host_that_has_the_file_open(run: Run, data: Path) -> None:
    host = TokenStore.open(data / "tokens.db")
    token = json.loads(run("token", "create", "--local", "--data", str(data), "--json").out)["token"]
    assert host.verify(token) is not None
    host.close()


def test_folder_that_is_no_data_folder_is_left_alone(run: Run, tmp_path: Path) -> None:
    ended = run("token", "create", "--local", "--data", str(tmp_path))
    assert ended.code == 1
    assert "is no data folder" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_another_user_s_folder_is_left_alone(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    ended = run("token", "create", "--local", "--data", str(data))
    assert ended.code == 1
    assert "run this as that user" in ended.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--local --data DIR"),
        (("--local",), "needs --data DIR"),
        (("--local", "--data", "/d", "--name", ""), "1 to 128"),
        (("--local", "--data", "/d", "--name", "a\nb"), "1 to 128"),
    ],
)
def test_wrong_usage_says_what_is_right(run: Run, arguments: tuple[str, ...], expected: str) -> None:
    ended = run("token", "create", *arguments)
    assert ended.code == 2
    assert expected in ended.err


def test_file_that_is_no_database_is_an_error_not_a_crash(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tokens.db").write_bytes(b"not a database at all" * 50)
    ended = run("token", "create", "--local", "--data", str(tmp_path))
    assert ended.code == 1
    assert ended.err.startswith("error: ")
