"""docs/expressions.md has every function and limit as the code has them, and its example runs."""

from __future__ import annotations

import octorules_wirefilter as oracle

from expressions import checks, grammar, reference, regex
from expressions.functions import FUNCTIONS
from expressions.syntax import Logic, Operator
from tests.docs.pages import blocks, number, read, section, table, tables

PAGE = read("expressions.md")
# What the oracle knows and Cloudflare does not document.
_UNDOCUMENTED = {
    "coalesce",
    "contains",
    "hash_in_range",
    "hmac",
    "ip_in_range",
    "is_jwt_present",
    "is_jwt_valid",
    "trim",
    "trim_end",
    "trim_start",
    "wildcard",
}


def test_table_of_functions_is_that_of_the_code() -> None:
    """`python -m expressions.reference` prints it."""
    assert [tuple(row) for row in table(PAGE, "## Functions")] == reference.rows()


def test_every_function_is_there_or_left_out_with_a_reason() -> None:
    _, rows = tables(section(PAGE, "## Differences from Cloudflare"))
    left_out = {name.strip(" `") for row in rows for name in row[0].split(",")}
    known = set(oracle.get_schema_info()["functions"]) - _UNDOCUMENTED
    assert known == set(FUNCTIONS) | left_out
    assert not set(FUNCTIONS) & left_out


def test_every_operator_has_a_row() -> None:
    written = " ".join(row[0] for row in table(PAGE, "## Operators"))
    for name in (*Operator, *Logic, "not", "in {…}", "in $name"):
        assert f"`{name}`" in written


def test_limits_are_those_of_the_code() -> None:
    limits = [number(row[1]) for row in table(PAGE, "## Limits")]
    assert limits == [
        grammar.MAX_BYTES,
        grammar.MAX_DEPTH,
        checks.MAX_PATTERNS,
        checks.MAX_PATTERN_STEPS,
        regex.MAX_PATTERN_MEMORY_BYTES >> 10,
    ]


def test_example_runs() -> None:
    (example,) = [block for block in blocks(PAGE) if block.language == "python"]
    exec(compile(example.text, "docs/expressions.md", "exec"), {})  # noqa: S102 - our own page
