"""`tenantry doctor`: both sides of every bound, and a way out for whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.checks import (
    Check,
    State,
    check_accelerator,
    check_confinement,
    check_folder,
    check_groups,
    check_javascript,
    check_map_count,
    check_nofile,
    check_private,
    check_python,
    check_wasmtime,
)
from tests.cli.conftest import Run
from tests.cli.recording_api import Answer, RecordingApi, ok, refused

NAMESPACES = "/workers/dispatch/namespaces"


@pytest.mark.parametrize(
    ("check", "state"),
    [
        (check_python((3, 10)), State.FAILED),
        (check_python((3, 11)), State.OK),
        (check_python((3, 13)), State.OK),
        (check_python((3, 14)), State.FAILED),
        (check_wasmtime("50.0.1", ["click", "wasmtime==50.0.1"]), State.OK),
        (check_wasmtime("50.0.1", ['wasmtime==50.0.1; python_version > "3"']), State.OK),
        (check_wasmtime("50.0.2", ["wasmtime==50.0.1"]), State.FAILED),
        (check_wasmtime("50.0.1", []), State.FAILED),
        (check_wasmtime(None, ["wasmtime==50.0.1"]), State.FAILED),
        (check_map_count(65_530), State.OK),
        (check_map_count(65_529), State.WARNING),
        (check_map_count(None), State.WARNING),
        (check_nofile(4096, 4096), State.OK),
        (check_nofile(4095, 4096), State.WARNING),
        (check_nofile(-1, -1), State.OK),
        (check_confinement({"worker": ("landlock 7, seccomp", ())}), State.OK),
        (check_confinement({"control": ("seccomp", ()), "worker": ("", ("landlock",))}), State.WARNING),
        (check_accelerator(None), State.OK),
        (check_javascript(None), State.OK),
        (check_javascript("this installation has no JavaScript engine"), State.WARNING),
        (check_accelerator("it is not built here"), State.WARNING),
        (check_private("root-key", "/d/root-key", 0o600, 7, 7), State.OK),
        (check_private("root-key", "/d/root-key", 0o400, 7, 7), State.OK),
        (check_private("root-key", "/d/root-key", 0o640, 7, 7), State.FAILED),
        (check_private("root-key", "/d/root-key", 0o601, 7, 7), State.FAILED),
        (check_private("root-key", "/d/root-key", 0o600, 7, 8), State.FAILED),
        (check_folder("/d", 0o700, 7, 7), State.OK),
        (check_folder("/d", 0o755, 7, 7), State.WARNING),  # files in it are private by themselves
        (check_folder("/d", 0o770, 7, 7), State.FAILED),
        (check_folder("/d", 0o702, 7, 7), State.FAILED),
        (check_folder("/d", 0o700, 7, 8), State.FAILED),
        (check_folder("/d", 0o700, 7, 0), State.OK),  # root may read what it looks after
    ],
)
def test_verdict(check: Check, state: State) -> None:
    assert check.state is state
    assert bool(check.fix) == (state is not State.OK)


def test_folder_and_file_are_told_their_right_mode() -> None:
    assert check_folder("/d", 0o755, 7, 7).fix == "chmod 700 /d"
    assert check_private("root-key", "/d/k", 0o644, 7, 7).fix == "chmod 600 /d/k"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "admin-token").write_text("t\n")
    (folder / "admin-token").chmod(0o600)
    return folder


def states(out: str) -> dict[str, str]:
    return {check["name"]: check["state"] for check in json.loads(out)}


def test_all_is_well(api: RecordingApi, run: Run, data: Path) -> None:
    for path in ("/healthz", "/readyz"):
        api.on("GET", path, Answer(200, b"ok"))
    api.on("GET", NAMESPACES, ok([]))
    ended = run("doctor", "--data", str(data), "--json")
    assert "failed" not in states(ended.out).values(), ended.out
    assert ended.code == 0


def test_what_is_wrong_is_found_and_exit_is_1(
    api: RecordingApi, run: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "admin-token").chmod(0o644)
    api.on("GET", "/healthz", Answer(200, b"ok"))
    api.on("GET", "/readyz", refused(503, 10002, "not ready: storage is lost"))
    api.on("GET", NAMESPACES, refused(401, 10000, "unknown token"))
    ended = run("doctor", "--data", str(data))
    assert ended.code == 1
    assert "failed   admin-token: " in ended.out
    assert f"→ chmod 600 {data / 'admin-token'}" in ended.out
    assert "not ready: storage is lost" in ended.out
    assert "unknown token" in ended.out


def test_no_host_fails_with_how_to_start_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_URL", "http://127.0.0.1:1")
    ended = run("doctor")
    assert ended.code == 1
    assert "tenantry serve --data" in ended.out
    assert "warning  data folder: not checked" in ended.out


def test_folder_that_is_not_there_is_named(api: RecordingApi, run: Run, tmp_path: Path) -> None:
    ended = run("doctor", "--data", str(tmp_path / "none"), "--json")
    assert states(ended.out)["data folder"] == "failed"


def test_doctor_tells_of_each_isolation_group_whether_anybody_runs_its_workers() -> None:
    metrics = (
        "# TYPE tenantry_group_processes gauge\n"
        'tenantry_group_processes{group="free"} 2.0\n'
        'tenantry_group_processes{group="vip-eu"} 0.0\n'
    )
    free, vip = check_groups(metrics)
    assert (free.name, free.state, free.detail) == ("group free", State.OK, "2 worker processes run")
    assert (vip.name, vip.state) == ("group vip-eu", State.FAILED)
    assert "vip-eu-0" in vip.fix
    assert check_groups("tenantry_processes 3") == []
