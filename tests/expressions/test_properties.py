"""For any expression: what is written is read back as the same, and closures judge as a plain interpreter does."""

from __future__ import annotations

from hypothesis import given, settings

from expressions.filters import compile_filter
from expressions.formatting import formatted
from expressions.grammar import parse
from expressions.lists import strings
from expressions.schema import Schema
from expressions.syntax import Expression
from tests.expressions.trees import FIELDS, expressions, facts, interpret

SCHEMA = Schema(FIELDS)
FEW = frozenset({"a", "b", "ab", ""})
_LONG = 100_000  # of random trees; the limit has tests of its own


@settings(max_examples=100, deadline=None)
@given(expressions)
def test_formatted_expression_is_read_back_as_the_same(expression: Expression) -> None:
    assert parse(formatted(expression), _LONG) == expression


@settings(max_examples=100, deadline=None)
@given(expressions)
def test_one_form_stays(expression: Expression) -> None:
    text = formatted(expression)
    assert formatted(parse(text, _LONG)) == text


@settings(max_examples=400, deadline=None)
@given(expressions, facts())
def test_closures_judge_as_the_interpreter(expression: Expression, known: dict[str, object]) -> None:
    made = compile_filter(formatted(expression), SCHEMA, {"few": strings(FEW)}, max_bytes=_LONG)
    assert SCHEMA.problems(known) == []
    assert made.matches(known) is interpret(expression, known, FEW)


@settings(max_examples=100, deadline=None)
@given(expressions, facts())
def test_explanation_has_the_answer_in_it(expression: Expression, known: dict[str, object]) -> None:
    """What decided says so itself: the clauses, judged alone, have the answers they are given."""
    lists = {"few": strings(FEW)}
    made = compile_filter(formatted(expression), SCHEMA, lists, max_bytes=_LONG)
    clauses = made.explain(known)
    assert clauses
    for clause in clauses:
        alone = compile_filter(clause.text, SCHEMA, lists, max_bytes=_LONG)
        assert alone.matches(known) is clause.answer
