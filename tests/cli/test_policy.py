"""`tenantry policy`: tested without a network; a typo is refused here with file, line and field."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cli.junit import TestCase, junit_document
from tests.cli.conftest import Run
from tests.cli.recording_api import RecordingApi, ok, refused

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
    assert ended.out == (
        "pass  payments may be posted to: allow by rule 'payments', policy.rule_allow\n"
        "pass  nothing else may: deny by no rule, policy.default_deny\n"
        "2 of 2 passed\n"
    )


def test_failed_case_says_where_and_why_and_is_exit_1(
    run: Run, files: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "cases.yaml").write_text(CASES.replace("93.184.216.34", "10.0.0.1"))
    ended = run("policy", "test", *files, "--junit", str(tmp_path / "out" / "report.xml"))
    assert ended.code == 1
    place = f"{files[1]}:2: POST https://api.example.com/v1/pay"
    assert f"FAIL  payments may be posted to\n      {place}\n" in ended.out
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


TENANT = f"{NS}/tenants/acme"
MADE = {
    "version": 7,
    "layer": "tenant",
    "name": "acme",
    "digest": "ab" * 32,
    "widen": False,
    "deleted": False,
    "message": "why",
    "author": {"name": "ops"},
    "modified_on": "2026-11-26T05:00:00Z",
    "policy": POLICY,
}


def test_a_tags_and_a_tenants_policy_are_set_beside_the_namespaces(
    api: RecordingApi, run: Run, files: tuple[str, str]
) -> None:
    api.on("PUT", f"{NS}/tags/plan%3Apro", ok(MADE))
    api.on("PUT", TENANT, ok(MADE))
    why = ("--message", "as agreed", "--widen")
    assert run("policy", "set", "production", files[0], "--tag", "plan:pro", *why).code == 0
    ended = run("policy", "set", "production", files[0], "--tenant", "acme")
    assert "tenant acme of namespace production, version 7" in ended.out
    assert api.asked[0].query == {"message": ["as agreed"], "widen": ["true"]}
    assert api.asked[1].query == {}
    assert run("policy", "set", "production", files[0], "--tag", "a", "--tenant", "b").code == 2


def test_a_change_on_top_of_a_version_says_which(api: RecordingApi, run: Run, files: tuple[str, str]) -> None:
    api.on("PUT", NS, ok(MADE), ok(MADE), refused(412, 20023, "changed by somebody else"))
    api.on("DELETE", NS, ok())
    api.on("POST", f"{NS}/rollback", ok(MADE))
    assert run("policy", "set", "production", files[0], "--if-version", "6").code == 0
    assert run("policy", "set", "production", files[0], "--if-version", "0").code == 0
    ended = run("policy", "set", "production", files[0], "--if-version", "5")
    assert (ended.code, "changed by somebody else" in ended.err) == (1, True)
    assert run("policy", "delete", "production", "--if-version", "6").code == 0
    assert run("policy", "rollback", "production", "3", "--if-version", "6").code == 0
    headers = [{name.lower(): value for name, value in asked.headers.items()} for asked in api.asked]
    assert [each.get("if-match") for each in headers] == ['"6"', None, '"5"', '"6"', '"6"']
    assert headers[1]["if-none-match"] == "*"


def test_a_dry_run_says_that_nothing_was_changed(api: RecordingApi, run: Run, files: tuple[str, str]) -> None:
    api.on("PUT", NS, ok({"valid": True}))
    assert "nothing was changed" in run("policy", "set", "production", files[0], "--dry-run").out
    assert api.asked[0].query == {"validate_only": ["true"]}


def test_versions_are_listed_shown_and_brought_back(api: RecordingApi, run: Run) -> None:
    gone = {**MADE, "version": 9, "deleted": True, "policy": None}
    api.on("GET", f"{TENANT}/versions", ok([gone, MADE], total_count=2))
    api.on("GET", f"{TENANT}/versions/7", ok(MADE))
    api.on("GET", f"{TENANT}/versions/9", ok(gone))
    api.on("POST", f"{TENANT}/rollback", ok({**MADE, "version": 10}))
    api.on("GET", f"{NS}/layers", ok([MADE], total_count=1))
    of = ("production", "--tenant", "acme")
    _, newest, oldest = run("policy", "versions", *of).out.splitlines()
    assert ("deleted" in newest, "deleted" in oldest) == (True, False)
    assert oldest.split()[:4] == ["7", "2026-11-26T05:00:00Z", "ops", "ab" * 8]
    assert run("policy", "get", *of, "--version", "7").out == POLICY
    ended = run("policy", "get", *of, "--version", "9")
    assert (ended.out, "version 9 deleted" in ended.err) == ("", True)
    assert "as version 10" in run("policy", "rollback", *of, "7", "--message", "again").out
    assert api.only("POST").json == {"version": 7, "message": "again"}
    assert "acme" in run("policy", "list", "production").out
