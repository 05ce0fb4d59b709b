"""Whatever is written: an expression, or an ExpressionError that stands in the text. Nothing else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from expressions.errors import ExpressionError
from expressions.filters import Filter, compile_filter
from tests.expressions.corpus import BROKEN, WRITTEN
from tests.expressions.facts import FACTS, LISTS, SCHEMA

_PARTS = r"""
ssl not and or xor eq ne lt in contains matches wildcard strict & ~ ! && || ^^ == < ( ) { } [ ] [*] [0] , .. / : . -
"a" "\x41" r"a" r#"a"# "a*" " r" # $office $ 5 -5 0x1f 1..5 10.0.0.1 10.0.0.0/8 ::1 ::/0 é http.host ip.src
cf.waf.score http.request.headers http.request.headers["x"] tenant.tags tenant.tags[*] any( all( lower( len(
concat( starts_with( substring( cidr( any(( lookup_json_string( nope nope(
"""
_WORDS = _PARTS.split()


def _judge(text: str) -> None:
    made: Filter | None = None
    refused: ExpressionError | None = None
    try:
        made = compile_filter(text, SCHEMA, LISTS)
    except ExpressionError as error:
        refused = error
    if refused:
        lines = text.split("\n")
        assert 1 <= refused.line <= len(lines)
        assert 1 <= refused.column <= len(lines[refused.line - 1]) + 1
        assert refused.message in refused.pointed()
    if made:
        _hold(made)


def _hold(made: Filter) -> None:
    assert made.matches(FACTS) in (True, False)
    assert made.matches({}) in (True, False)
    assert compile_filter(made.normalised, SCHEMA, LISTS).matches(FACTS) is made.matches(FACTS)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(_WORDS), max_size=12).map(" ".join))
def test_words_in_any_order(text: str) -> None:
    _judge(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    _judge(text)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_expressions_with_a_part_cut_out_or_put_in(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([*WRITTEN, *BROKEN]))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 6)))
    _judge(text[:start] + data.draw(st.sampled_from(["", *_WORDS])) + text[end:])
