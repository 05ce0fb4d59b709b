"""`tenantry policy`: tested without a network; a typo is refused here with file, line and field."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cli.junit import TestCase, junit_document
from tests.cli.conftest import Run
from tests.cli.recording_api import RecordingApi, ok

POLICY = """\
version: 1
rules:
  - name: payments
    action: allow
    scheme: https
    host: api.example.com
"""
CASES = """\
cases:
  - name: payments may be posted to
    request: {method: POST, url: "https://api.example.com/v1/pay"}
    dns: [93.184.216.34]
    expected: allow
    rule: payments
  - name: nothing else may
    request: {url: "https://example.org/"}
    expected: deny
"""
NS = "/workers/dispatch/namespaces/production/egress-policy"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "cases.yaml").write_text(CASES)
    return str(tmp_path / "policy.yaml"), str(tmp_path / "cases.yaml")


def test_all_cases_pass_is_exit_0(run: Run, files: tuple[str, str]) -> None:
    ended = run("policy", "test", *files)
    assert ended.code == 0, ended.err
    assert ended.out == "pass  payments may be posted to\npass  nothing else may\n2 of 2 passed\n"


def test_failed_case_says_where_and_why_and_is_exit_1(
    run: Run, files: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "cases.yaml").write_text(CASES.replace("93.184.216.34", "10.0.0.1"))
    ended = run("policy", "test", *files, "--junit", str(tmp_path / "out" / "report.xml"))
    assert ended.code == 1
    assert "FAIL  payments may be posted to\n      line 2: POST https://api.example.com/v1/pay\n" in ended.out
    assert "expected allow, got deny by rule 'payments', address." in ended.out
    assert ended.out.endswith("1 of 2 passed\n")
    report = ElementTree.parse(tmp_path / "out" / "report.xml").getroot()  # noqa: S314 - our own file
    assert (report.get("tests"), report.get("failures")) == ("2", "1")
    failure = report.find("testcase/failure")
    assert failure is not None
    assert "expected allow" in (failure.get("message") or "")


def test_results_as_json(run: Run, files: tuple[str, str]) -> None:
    first, second = json.loads(run("policy", "test", *files, "--json").out)
    assert (first["passed"], first["result"], first["rule"]) == (True, "allow", "payments")
    assert (second["passed"], second["result"], second["rule"]) == (True, "deny", "")


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("policy.yaml", "host:", "hots:", "policy.yaml: line 6"),
        ("policy.yaml", "allow", "alow", "policy.yaml: line 4"),
        ("cases.yaml", "expected: deny", "expcted: deny", "cases.yaml: line 9"),
    ],
)
def test_typo_is_refused_with_file_line_and_field(
    run: Run, files: tuple[str, str], tmp_path: Path, name: str, old: str, new: str, expected: str
) -> None:
    text = (tmp_path / name).read_text()
    (tmp_path / name).write_text(text.replace(old, new, 1))
    ended = run("policy", "test", *files)
    assert ended.code == 2
    assert expected in ended.err
    assert new.partition(":")[0] in ended.err


def test_missing_file_is_named(run: Run, files: tuple[str, str]) -> None:
    ended = run("policy", "test", files[0], "none.yaml")
    assert ended.code == 2
    assert "none.yaml: No such file" in ended.err


def test_typo_never_reaches_the_host(
    api: RecordingApi, run: Run, files: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY.replace("rules", "rule"))
    assert run("policy", "set", "production", files[0]).code == 2
    assert api.asked == []


@pytest.mark.parametrize("text", ["", "a & b < c > \"d\" 'e'", "\x00\x1b[31m\n\ud800\ufffe", "]]>"])
def test_junit_is_xml_whatever_a_case_is_called(text: str) -> None:
    document = junit_document(text, [TestCase(text, text, 1, text), TestCase(text, text, 2, "")])
    assert len(ElementTree.fromstring(document.encode())) == 2  # noqa: S314 - our own text


def test_policy_is_set_and_shown_as_written(api: RecordingApi, run: Run, files: tuple[str, str]) -> None:
    api.on("PUT", NS, ok({"version": 7, "policy": POLICY}))
    api.on("GET", NS, ok({"version": 7, "policy": POLICY}))
    assert "version 7" in run("policy", "set", "production", files[0]).out
    assert api.asked[0].body == POLICY.encode()  # kept as it was written, comments and all
    assert run("policy", "get", "production").out == POLICY


def test_dash_is_the_plain_scripts_policy(api: RecordingApi, run: Run, files: tuple[str, str]) -> None:
    api.on("PUT", "/workers/egress-policy", ok({"version": 1}))
    api.on("DELETE", "/workers/egress-policy", ok())
    assert run("policy", "set", "-", files[0]).code == 0
    assert "nothing may leave now" in run("policy", "delete", "-").out


SUSPICIOUS = """\
version: 1
rules:
  - {name: all, action: allow, host: "*.example.com"}
  - {name: less, action: deny, host: a.example.com}
"""


def test_check_says_what_is_suspicious(run: Run, files: tuple[str, str], tmp_path: Path) -> None:
    ended = run("policy", "check", files[0], "--strict")
    assert (ended.code, ended.out) == (0, "")
    policy = tmp_path / "policy.yaml"
    policy.write_text(SUSPICIOUS)
    told = f"{policy}:4: rule 'less' never decides: 'all' before it does the opposite (rule.shadowed)\n"
    assert run("policy", "check", str(policy)).out == told
    assert run("policy", "check", str(policy)).code == 0
    ended = run("policy", "check", str(policy), "--strict", "--json")
    assert ended.code == 1
    (finding,) = json.loads(ended.out)
    assert (finding["problem"], finding["rule"], finding["line"]) == ("rule.shadowed", "less", 4)
    assert finding["by"] == ["all"]
    policy.write_text("rules: 1")
    ended = run("policy", "check", str(policy))
    assert ended.code == 2
    assert f"{policy}: line 1, column 1: has no 'version'" in ended.err
