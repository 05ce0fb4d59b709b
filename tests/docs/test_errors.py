"""docs/errors.md says of outcomes, codes of operations, API codes and refused modules what the code says."""

from __future__ import annotations

import re

from control.envelope import _RULES, Code
from dispatch import app, received
from model.errors import OperationErrorCode
from model.outcome import PAGES
from runtime.module_problems import ModuleProblem
from tests.docs.pages import ROOT, code, read, table

PAGE = read("errors.md")


def test_outcomes_are_those_of_the_table_in_the_code() -> None:
    told = [(code(row[0]), int(row[1]), int(row[2]), row[3]) for row in table(PAGE, "### Outcomes")]
    assert told == [(str(o), page.status, page.code, page.title) for o, page in PAGES.items()]


def test_each_outcome_says_when() -> None:
    assert [row for row in table(PAGE, "### Outcomes") if not row[4]] == []


def test_codes_of_operations_are_those_of_the_enum() -> None:
    told = [code(row[0]) for row in table(PAGE, "## Codes of failed operations")]
    assert told == [str(each) for each in OperationErrorCode]


def test_pages_of_requests_that_no_worker_saw() -> None:
    told = set(re.findall(r"^\| (\d{3}) \| (\d{4}) \|", PAGE, re.MULTILINE))
    assert told == {
        ("404", str(app.NO_ROUTE)),
        ("400", str(received.BAD_REQUEST)),
        ("413", str(received.BODY_TOO_LARGE)),
        ("408", str(received.BODY_TOO_SLOW)),
    }


def api_codes() -> dict[int, set[int]]:
    """Code → statuses, as the page has them."""
    rows = table(PAGE, "## What the API answers")
    return {int(row[0]): {int(status) for status in row[1].split(", ")} for row in rows}


def test_every_rule_of_control_has_its_code_and_status() -> None:
    told = api_codes()
    for rule, (status, number) in _RULES.items():
        assert status in told.get(number, set()), f"{rule}: {number} with status {status} is missing"


def test_every_code_of_the_api_has_a_row() -> None:
    constants = {value for name, value in vars(Code).items() if isinstance(value, int) and name.isupper()}
    literals = {
        int(found)
        for path in (ROOT / "control").rglob("*.py")
        for found in re.findall(r"\b(?:400|401|403|404|409|413),\s+(\d{4,6})\b", path.read_text())
    }
    known = constants | literals | {number for _, number in _RULES.values()}
    assert set(api_codes()) == known


def test_every_reason_to_refuse_a_module_has_a_row() -> None:
    told = [code(row[0]) for row in table(PAGE, "## Why a module is refused")]
    assert told == [str(problem) for problem in ModuleProblem]
