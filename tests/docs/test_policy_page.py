"""docs/policy.md: its examples are right, and it has every field and every reason."""

from __future__ import annotations

import re

from cli.policy_reading import named_materials
from outbound import policy, policy_actions, policy_check, policy_parse, policy_when
from outbound.egress_fields import FIELDS
from outbound.fetch_limits import FetchLimits
from outbound.policy_cases import parse_cases
from outbound.policy_parse import parse_policy
from outbound.policy_set import PolicySet
from outbound.policy_tests import run_cases
from outbound.reasons import Reason
from outbound.refusal import code_of
from tests.docs.pages import blocks, code, read, section, table

PAGE = read("policy.md")


def test_the_example_policy_passes_the_example_cases() -> None:
    document, cases, with_materials = [block.text for block in blocks(PAGE) if block.language == "yaml"]
    assert named_materials(with_materials) == {
        ("secret", "payments-key"),
        ("ca_bundle", "internal-ca"),
        ("client_certificate", "partner"),
    }
    results = run_cases(PolicySet.of(parse_policy(document)), parse_cases(cases).cases)
    assert results
    assert [result.problem for result in results if not result.passed] == []


def test_every_field_is_in_the_reference() -> None:
    reference = section(PAGE, "## Reference")
    inside = {name for names in policy_actions.ACTION_FIELDS.values() for name in names}
    inside |= set(policy_parse.QUOTA_FIELDS)
    wanted = {
        *inside,
        *policy_parse.TOP_FIELDS,
        *policy_parse.RULE_FIELDS,
        *policy.Mode,
        *policy.Action,
    }
    assert {name for name in wanted if f"`{name}`" not in reference} == set()


def test_every_fact_of_an_expression_is_there_as_the_code_has_it() -> None:
    told = {code(name): (kind, meaning) for name, kind, meaning in table(PAGE, "### Expressions")}
    assert told == {name: (str(kind), meaning) for name, (kind, _, meaning) in FIELDS.items()}


def test_the_limits_are_those_of_the_code() -> None:
    reference = section(PAGE, "### A rule")
    for name in ("timeout_ms", "connect_ms", "total_ms"):
        (row,) = [line for line in reference.splitlines() if line.startswith(f"| `{name}` |")]
        assert row.endswith(f"| {getattr(FetchLimits(), name):,} |")
    assert f"at most {policy_when.MAX_LENGTH:,} characters" in reference
    assert f"At most {policy_actions.MAX_HEADERS} each" in reference
    assert f"at most {policy_actions.MAX_SECRETS}, each" in reference
    assert f"`requests` (to {policy_actions.MAX_RATE:,})" in reference
    assert f"seconds (to {policy_actions.DAY_S:,})" in reference
    assert f"beside the first (to {policy_actions.MAX_RETRIES})" in reference
    assert f"itself (to {policy_actions.MAX_FOLLOWED})" in reference


def test_every_problem_is_there_and_no_other() -> None:
    told = [name for row in table(PAGE, "### Problems") for name in re.findall(r"`([^`]+)`", row[0])]
    assert sorted(told) == sorted(policy_check.Problem)


def test_every_reason_is_there_and_no_other() -> None:
    told = re.findall(
        r"`([a-z]+(?:\.[a-z0-9_]+)?)`",
        "".join(
            line.partition("|")[2].partition("|")[0] for line in section(PAGE, "## Reasons").splitlines()
        ),
    )
    assert sorted(told) == sorted(reason.value for reason in Reason)


def test_each_reason_stands_beside_the_code_that_a_worker_gets() -> None:
    page = read("errors.md").partition("| code of a fetch | reasons |")[2]
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", page.partition("\n\n")[0], re.MULTILINE))
    told = {reason: code for code, cell in rows.items() for reason in re.findall(r"`([a-z_.]+)`", cell)}
    # Who is cancelled gets no answer; a fault of ours is `internal`.
    coded = {reason.value: code_of(reason).value for reason in Reason}
    assert told == {reason: code for reason, code in coded.items() if code != "denied"}
