"""An explanation names the clauses that decided, in their order, with what they found."""

from __future__ import annotations

import pytest

from expressions.explanations import Clause
from expressions.filters import compile_filter
from tests.expressions.facts import FACTS, LISTS, SCHEMA

YES, NO = 'http.host eq "www.Example.com"', "cf.waf.score lt 42"

# expression, and the clauses that decided
DECIDED = [
    (YES, [YES]),
    (NO, [NO]),
    (f"not {NO}", [NO]),
    (f"{YES} and {NO} and ssl", [NO]),  # the first false one settles it
    (f"{YES} and ssl", [YES, "ssl"]),  # all had to be true
    (f"{NO} or {YES} or ssl", [YES]),  # the first true one settles it
    (f"{NO} or {NO}", [NO, NO]),  # all had to be false
    (f"{YES} xor {NO}", [YES, NO]),
    (f"({NO} or {YES}) and not ({NO} and ssl)", [YES, NO]),
    (f"not ({YES} and ({NO} or ssl))", [YES, "ssl"]),
    (f'any(tenant.tags[*] eq "eu") and {NO}', [NO]),
    ('any(tenant.tags[*] eq "eu")', ['any(tenant.tags[*] eq "eu")']),
]


@pytest.mark.parametrize(("text", "clauses"), DECIDED)
def test_clauses_that_decided(text: str, clauses: list[str]) -> None:
    explained = compile_filter(text, SCHEMA, LISTS).explain(FACTS)
    assert [clause.text for clause in explained] == clauses


def test_clause_has_what_was_found() -> None:
    text = 'lower(http.host) in {"a"} or http.referer ne "b" or not ssl or ip.src.asnum in $blocked'
    made = compile_filter(text.replace("$blocked", "{1..5}"), SCHEMA, LISTS)
    assert made.explain(FACTS) == (
        Clause('lower(http.host) in {"a"}', False, "www.example.com"),
        Clause('http.referer ne "b"', False, None),  # missing
        Clause("ssl", True, True),
        Clause("ip.src.asnum in {1..5}", False, 64_500),
    )


def test_spelling_is_the_one_form() -> None:
    made = compile_filter("( ssl&&((cf.waf.score==0x2A)) )", SCHEMA)
    assert made.normalised == "ssl and cf.waf.score eq 42"
    assert [clause.text for clause in made.explain(FACTS)] == ["ssl", "cf.waf.score eq 42"]
