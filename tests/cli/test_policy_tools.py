"""`tenantry policy test`, `coverage` and `check` with several layers: what files and flags may say together."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Run

POLICY = """\
version: 1
rules:
  - {name: web, action: allow, host: web.test}
  - {name: unused, action: allow, host: b.test}
"""
FREE = "version: 1\nrules: [{name: reads, action: allow, method: GET, open_cidrs: [10.0.0.0/24]}]"
ACME = "version: 1\nrules: [{name: extra, action: allow, host: extra.test}]"
LAYERED = """\
layers:
  namespace: policy.yaml
  tags: {"plan:free": free.yaml}
  tenants: {acme: {file: acme.yaml, widen: true}}
cases:
  - {name: read, request: {url: "https://web.test/"}, tags: ["plan:free"], expected: allow, layer: "tag:plan:free"}
  - name: extra
    request: {url: "https://extra.test/"}
    tenant: acme
    expected: allow
    rule: extra
"""
CASES = """\
cases:
  - {name: posts, request: {method: POST, url: "https://web.test/"}, tags: ["plan:free"], expected: deny}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (
        ("policy.yaml", POLICY),
        ("free.yaml", FREE),
        ("acme.yaml", ACME),
        ("layered.policy.yaml", LAYERED),
        ("cases.yaml", CASES),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_cases_alone_name_their_layers(run: Run, folder: Path) -> None:
    ended = run("policy", "test", str(folder / "layered.policy.yaml"))
    assert ended.out == (
        "pass  read: allow by rule 'reads' of tag:plan:free, policy.rule_allow\n"
        "pass  extra: allow by rule 'extra' of tenant:acme, policy.rule_allow\n"
        "2 of 2 passed\n"
    )


def test_layers_by_flags_hold_for_all_files(run: Run, folder: Path) -> None:
    policy, cases = str(folder / "policy.yaml"), str(folder / "cases.yaml")
    assert run("policy", "test", policy, cases).code == 1
    flag = f"tag:plan:free={folder / 'free.yaml'}"
    ended = run("policy", "test", policy, cases, cases, "--layer", flag, "--json")
    assert ended.code == 0
    assert [(each["layer"], each["file"]) for each in json.loads(ended.out)] == [("tag:plan:free", cases)] * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cases.yaml"], "names no policy"),
        (["policy.yaml", "layered.policy.yaml"], "the command line names a policy for namespace too"),
        (["policy.yaml", "cases.yaml", "--layer", "x"], "tag:NAME=FILE"),
        (["policy.yaml", "cases.yaml", "--layer", "call=acme.yaml"], "namespace, tag:NAME or tenant:ID"),
        (["policy.yaml", "cases.yaml", "--layer", "tenant:a b=acme.yaml"], "tenant:a b"),
        (["policy.yaml", "cases.yaml", "--layer", "namespace=acme.yaml"], "two layers have one name"),
        (["policy.yaml", "cases.yaml", "--widen", "tenant:acme"], "no --layer of that name"),
        (["policy.yaml", "cases.yaml", "--layer", "tenant:acme=none.yaml"], "none.yaml: No such file"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(folder)
    ended = run("policy", "test", *arguments)
    assert ended.code == 2
    assert words in ended.err


def test_junit_names_each_file(run: Run, folder: Path) -> None:
    report = folder / "report.xml"
    run("policy", "test", str(folder / "layered.policy.yaml"), "--junit", str(report))
    cases = ElementTree.parse(report).getroot().findall("testcase")  # noqa: S314 - our own file
    assert [(case.get("name"), case.get("line")) for case in cases] == [("read", "6"), ("extra", "7")]


def test_coverage_names_what_no_case_touches(run: Run, folder: Path) -> None:
    policy, cases = folder / "policy.yaml", folder / "cases.yaml"
    ended = run("policy", "coverage", str(policy), str(cases))
    assert (ended.code, ended.out) == (
        0,
        f"{policy}:4: no case touches rule 'unused'\n1 of 2 rules touched, 50.0 %\n",
    )
    assert run("policy", "coverage", str(policy), str(cases), "--min", "50").code == 0
    ended = run("policy", "coverage", str(folder / "layered.policy.yaml"), "--min", "75.1", "--json")
    assert ended.code == 1
    found = json.loads(ended.out)
    assert found["per_cent"] == 75.0
    assert {(each["layer"], each["rule"]): each["requests"] for each in found["rules"]} == {
        ("namespace", "web"): 1,
        ("namespace", "unused"): 0,
        ("tag:plan:free", "reads"): 1,
        ("tenant:acme", "extra"): 1,
    }
    assert found["rules"][1]["line"] == 4


def test_check_looks_at_layers_together(run: Run, folder: Path) -> None:
    free, acme = folder / "free.yaml", folder / "acme.yaml"
    layers = ("--layer", f"tag:plan:free={free}", "--layer", f"tenant:acme={acme}")
    ended = run("policy", "check", str(folder / "policy.yaml"), *layers)
    assert [line.rpartition(" ")[2] for line in ended.out.splitlines()] == [
        "(layer.opens_nothing)",
        "(layer.allows_nothing)",
    ]
    assert ended.out.splitlines()[1].startswith(f"{acme}:2: rule 'extra' allows nothing")
    ended = run("policy", "check", str(folder / "policy.yaml"), *layers, "--widen", "tenant:acme", "--json")
    assert [(each["layer"], each["problem"]) for each in json.loads(ended.out)] == [
        ("tag:plan:free", "layer.opens_nothing")
    ]
