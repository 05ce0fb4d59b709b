"""docs/policy.md: its examples are right, and it has every field and every reason."""

from __future__ import annotations

import re

from outbound import policy
from outbound.policy_tests import _CASE_FIELDS, run_policy_cases
from outbound.reasons import Reason
from tests.docs.pages import blocks, read, section

PAGE = read("policy.md")


def test_the_example_policy_passes_the_example_cases() -> None:
    document, cases = [block.text for block in blocks(PAGE) if block.language == "yaml"]
    results = run_policy_cases(document, cases)
    assert results
    assert [result.problem for result in results if not result.passed] == []


def test_every_field_is_in_the_reference() -> None:
    reference = section(PAGE, "## Reference")
    wanted = {*policy._TOP_FIELDS, *policy._RULE_FIELDS, *_CASE_FIELDS, *policy.Mode, *policy.Action}
    assert {name for name in wanted if f"`{name}`" not in reference} == set()


def test_every_reason_is_there_and_no_other() -> None:
    told = re.findall(
        r"`([a-z]+(?:\.[a-z0-9_]+)?)`",
        "".join(
            line.partition("|")[2].partition("|")[0] for line in section(PAGE, "## Reasons").splitlines()
        ),
    )
    assert sorted(told) == sorted(reason.value for reason in Reason)
