"""The pytest plugin, as a user has it: another pytest, with the plugin loaded, in a folder of the user's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

PLUGIN = Path(__file__).parents[2] / "pytest_plugin"

POLICY = "version: 1\nrules: [{name: payments, action: allow, host: api.example.com}]\n"
CASES = """\
layers: {namespace: policy.yaml}
cases:
  - name: payments may be posted to
    request: {method: POST, url: "https://api.example.com/v1/pay"}
    dns: [93.184.216.34]
    expected: allow
  - name: nothing inside
    request: {url: "https://api.example.com/"}
    dns: [10.0.0.7]
    expected: deny
    reason: address.private
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/policy.yaml").write_text(POLICY)
    (tmp_path / "policies/shop.policy.yaml").write_text(CASES)
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    return tmp_path


def run(
    folder: Path, *arguments: str, loaded: str = "pytest_tenantry", path: Path | str = PLUGIN
) -> tuple[int, str]:
    """Exit code, and what pytest wrote."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    load = ("-p", loaded) if loaded else ()
    # No plugin of ours is the user's; pytest's own are enough.
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", *load, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_each_case_is_a_test_beside_the_users_own(folder: Path) -> None:
    code, out = run(folder, "-v")
    assert code == 0, out
    assert "policies/shop.policy.yaml::payments may be posted to PASSED" in out
    assert "policies/shop.policy.yaml::nothing inside PASSED" in out
    assert "test_own.py::test_own PASSED" in out


def test_a_failed_case_says_where_and_what_came(folder: Path) -> None:
    file = folder / "policies/shop.policy.yaml"
    file.write_text(CASES.replace("10.0.0.7", "8.8.8.8"))
    code, out = run(folder, "--junitxml=report.xml")
    assert code == 1
    assert "shop.policy.yaml:7: GET https://api.example.com/\n" in out
    assert "expected deny, got allow by rule 'payments', policy.rule_allow\n" in out
    assert "2 passed" in out
    assert "1 failed" in out
    assert "Traceback" not in out
    report = ElementTree.parse(folder / "report.xml").getroot()  # noqa: S314 - pytest's own
    assert [case.get("name") for case in report.iter("testcase") if case.find("failure") is not None] == [
        "nothing inside"
    ]


def test_one_case_is_run_by_its_name(folder: Path) -> None:
    code, out = run(folder, "policies/shop.policy.yaml::nothing inside", "-v")
    assert code == 0, out
    assert "1 passed" in out


def test_a_mistake_in_the_file_names_its_place(folder: Path) -> None:
    (folder / "policies/shop.policy.yaml").write_text(CASES.replace("expected: deny", "expcted: deny"))
    code, out = run(folder)
    assert code == 2
    assert "shop.policy.yaml: line 10" in out
    assert "did you mean 'expected'?" in out
    assert "Traceback" not in out


def test_packages_of_the_users_do_not_stand_before_tenantrys(folder: Path) -> None:
    for name in ("cli", "model", "outbound"):
        (folder / "own" / name).mkdir(parents=True)
        (folder / "own" / name / "__init__.py").write_text("raise RuntimeError('not Tenantry')")
    code, out = run(folder, path=f"{PLUGIN}{os.pathsep}{folder / 'own'}")
    assert code == 0, out


def test_two_cases_of_one_name_are_two_tests(folder: Path) -> None:
    (folder / "policies/shop.policy.yaml").write_text(
        CASES.replace("nothing inside", "payments may be posted to")
    )
    code, out = run(folder, "-v")
    assert code == 0, out
    assert "shop.policy.yaml::payments may be posted to (2) PASSED" in out


def test_tenantry_that_is_not_there_is_said(folder: Path) -> None:
    (folder / "pytest.ini").write_text("[pytest]\ntenantry_command = nowhere-to-be-found\n")
    code, out = run(folder)
    assert code == 2
    assert "there is no 'nowhere-to-be-found' on the PATH" in out


def test_another_command_may_be_named(folder: Path) -> None:
    main = "import sys; from cli.main import main; sys.exit(main())"
    (folder / "pytest.ini").write_text(f"[pytest]\ntenantry_command = {sys.executable} -c '{main}'\n")
    code, out = run(folder)
    assert (code, "3 passed" in out) == (0, True), out


def test_installed_it_is_loaded_by_itself(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    shutil.copytree(PLUGIN, source, dirs_exist_ok=True)  # a build leaves files beside what it builds
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, timeout=250, cwd=source)
    code, out = run(folder, loaded="", path=target)
    assert (code, "3 passed" in out) == (0, True), out


def test_it_brings_nothing_of_tenantry_along() -> None:
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == ["pytest>=7"]
    assert project["entry-points"]["pytest11"] == {"tenantry": "pytest_tenantry"}
