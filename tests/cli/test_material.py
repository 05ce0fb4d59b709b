"""`tenantry material`: values come from files and stdin, never from arguments, and go nowhere but to the host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.recording_api import RecordingApi, ok, refused

NS = "/workers/dispatch/namespaces/production/egress-materials"
SHOWN = {
    "name": "key",
    "kind": "secret",
    "version": 7,
    "modified_on": "2026-11-26",
    "author": {"name": "ops"},
}


def test_a_secret_comes_from_stdin_or_a_file_without_its_line_break(
    api: RecordingApi, run: Run, tmp_path: Path
) -> None:
    api.on("PUT", f"{NS}/key", ok(SHOWN))
    (tmp_path / "key.txt").write_text("from-file\n")
    ended = run("material", "put", "production", "key", stdin=b"from-stdin\r\n")
    assert ended.code == 0, ended.err
    assert run("material", "put", "production", "key", "--file", str(tmp_path / "key.txt")).code == 0
    assert [asked.json for asked in api.asked] == [
        {"kind": "secret", "value": "from-stdin"},
        {"kind": "secret", "value": "from-file"},
    ]
    assert "from-stdin" not in ended.out + ended.err
    assert run("material", "put", "production", "key", "a-value").code == 2


def test_certificates_come_from_files(api: RecordingApi, run: Run, tmp_path: Path) -> None:
    for name in ("c.pem", "k.pem", "roots.pem"):
        (tmp_path / name).write_text(name)
    api.on("PUT", "/workers/egress-materials/mtls", ok({**SHOWN, "not_after": "2030-01-01T00:00:00Z"}))
    api.on("PUT", "/workers/egress-materials/roots", ok(SHOWN))
    pair = ("--certificate", str(tmp_path / "c.pem"), "--key", str(tmp_path / "k.pem"))
    assert "valid until 2030-01-01" in run("material", "put", "-", "mtls", *pair).out
    assert run("material", "put", "-", "roots", "--ca-bundle", str(tmp_path / "roots.pem")).code == 0
    assert [asked.json for asked in api.asked] == [
        {"kind": "client_certificate", "certificate_pem": "c.pem", "key_pem": "k.pem"},
        {"kind": "ca_bundle", "pem": "roots.pem"},
    ]


def test_options_that_do_not_belong_together_send_nothing(
    api: RecordingApi, run: Run, tmp_path: Path
) -> None:
    file = str(tmp_path / "f")
    (tmp_path / "f").write_text("x")
    for options in (("--certificate", file), ("--key", file), ("--file", file, "--ca-bundle", file)):
        assert run("material", "put", "-", "m", *options).code == 2
    (tmp_path / "f").write_bytes(b"\xff")
    assert run("material", "put", "-", "m", "--file", file).code == 2
    assert run("material", "put", "-", "-m").code == 2
    assert run("material", "put", "-", "m", stdin=b"").code == 2
    assert api.asked == []


def test_a_warning_of_the_host_is_said(api: RecordingApi, run: Run) -> None:
    answer = ok(SHOWN)
    body = json.loads(answer.body)
    body["messages"] = [{"code": 20027, "message": "it has\x1b expired"}]
    answer.body = json.dumps(body).encode()
    api.on("PUT", f"{NS}/key", answer)
    ended = run("material", "put", "production", "key", stdin=b"v")
    assert "warning: it has\\x1b expired" in ended.err
    assert ended.code == 0


def test_the_list_shows_what_may_be_seen(api: RecordingApi, run: Run) -> None:
    api.on("GET", NS, ok([SHOWN], total_count=1))
    shown = run("material", "list", "production").out
    assert "key" in shown
    assert "ops" in shown
    assert json.loads(run("material", "list", "production", "--json").out) == [SHOWN]


@pytest.mark.parametrize("force", [False, True])
def test_one_that_is_used_is_deleted_by_force_alone(api: RecordingApi, run: Run, force: bool) -> None:
    api.on("DELETE", f"{NS}/key", ok() if force else refused(409, 20025, "used by the policy"))
    ended = run("material", "delete", "production", "key", *(("--force",) if force else ()))
    assert ended.code == (0 if force else 1)
    assert force or "--force" in ended.err
    assert api.only("DELETE").query == ({"force": ["true"]} if force else {})
