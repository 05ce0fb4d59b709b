"""Nothing that a tenant writes, or sends, makes parsing or judging long, deep, loud or large."""

from __future__ import annotations

import inspect
import random
import sys
import time
from collections.abc import Callable

import pytest

from expressions.errors import ExpressionError
from expressions.filters import compile_filter
from expressions.formatting import formatted
from expressions.grammar import MAX_BYTES, MAX_DEPTH, parse
from tests.expressions.facts import FACTS, LISTS, SCHEMA, verdict

# Generous for a shared machine; what grows out of bounds would take seconds or hours.
_PARSING_S = 1.0
_JUDGING_S = 0.5
# Frames that are left to parsing, checking and judging when a server is already deep in its own.
_FRAMES = 620


def _filled(head: str, part: str, tail: str = "") -> str:
    """As many of `part` as fit."""
    return head + part * ((MAX_BYTES - len(head.encode()) - len(tail.encode())) // len(part.encode())) + tail


def _within_frames(work: Callable[[], object]) -> object:
    depth = len(inspect.stack(0))
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + _FRAMES)
    try:
        return work()
    finally:
        sys.setrecursionlimit(before)


ACCEPTED = {
    "many clauses": _filled("ssl", " or ssl"),
    "many operators": _filled("ssl", "||ssl&&ssl^^ssl"),
    "a large set": _filled("cf.waf.score in {", "1..5 ", "}"),
    "a set of strings": _filled("http.host in {", '"a"', "}"),
    "a set of networks": _filled("ip.src in {", "10.0.0.0/8 ", "}"),
    "a long string": _filled('http.host eq "', "a", '"'),
    "a string of escapes": _filled('http.host eq "', "\\x41", '"'),
    "a raw string of almost-ends": _filled('http.host eq r##"', '"#', 'x"##'),
    "a raw string of hashes": _filled(f'http.host eq r{"#" * 255}"', '"' + "#" * 254, f' "{"#" * 255}'),
    "a long key": _filled('any(http.request.headers["', "k", '"][*] eq "a")'),
    "many patterns": " or ".join('http.host ~ "^[a-z]+x{20}$"' for _ in range(64)),
    "a pattern of many repeats": 'http.host matches "' + "(a+)+" * 200 + '$"',
    "the largest pattern": 'http.host matches "a{1000}b{990}"',
    "a wildcard of many stars": _filled('http.host wildcard "', "*a", '"'),
    "many arguments": _filled("concat(http.host", ',"a"', ') eq "x"'),
    "spaces": _filled("ssl", " "),
    "nested parentheses": "(" * MAX_DEPTH + "ssl" + ")" * MAX_DEPTH,
    "nested nots": "not " * MAX_DEPTH + "ssl",
    "nested calls": "lower(" * (MAX_DEPTH - 1) + "http.host" + ")" * (MAX_DEPTH - 1) + ' eq "x"',
    "calls of comparisons of calls": "to_string(" * 64 + "ssl" + ') eq "true"' * 64,
    "groups of groups": "(ssl and " * MAX_DEPTH + "ssl" + ")" * MAX_DEPTH,
    "nots of groups": "!(ssl or " * (MAX_DEPTH // 2) + "ssl" + ")" * (MAX_DEPTH // 2),
    "quantifiers of groups": "any((tenant.trials and "
    + "(tenant.trials or " * 126
    + "tenant.trials"
    + ")" * 128,
}

REFUSED = {
    "too many parentheses": ("(" * 2000 + "ssl" + ")" * 2000, "128 parentheses"),
    "too many nots": ("!" * 4000 + "ssl", "128 parentheses"),
    "too many calls": ("lower(" * 129 + "http.host" + ")" * 129 + ' eq "x"', "128 parentheses"),
    "one parenthesis too many": ("(" * 129 + "ssl" + ")" * 129, "128 parentheses"),
    "too many comparisons of calls": (
        "to_string(" * 65 + "ssl" + ') eq "true"' * 65, "128 parentheses"),
    "parentheses without end": ("(" * 4096, "ends too early"),
    "a string without end": (_filled('http.host eq "', "a"), "no closing quote"),
    "a string of backslashes": (_filled('http.host eq "', "\\"), "no closing quote"),
    "a raw string without end": (_filled("http.host eq r###", '"##'), "no closing quote"),
    "a pattern of open classes": (_filled('http.host matches "', "["), "no closing quote"),
    "a pattern of closed classes without end": (_filled('http.host matches "', "[a]"), "no closing quote"),
    "a pattern that grows": ('http.host matches "((a{100}){100}){100}"', "invalid repetition size"),
    "a pattern too large for its memory": ('http.host matches "' + "a{1000}" * 60 + '"', "too large"),
    "a pattern of long repeats": ('http.host matches "a{1000}b{1000}"', "2,004 steps a byte; at most 2,000"),
    "patterns of many steps": (" or ".join('http.host ~ "a{500}"' for _ in range(4)), "at most 2,000"),
    "a pattern of many repeats": (_filled('http.host matches "', "(a+)+", '$"'), "at most 2,000"),
    "a pattern too many": (" or ".join('http.host ~ "a"' for _ in range(65)), "64 regular expressions"),
    "a long number": (_filled("cf.waf.score eq ", "9"), "64 bits"),
    "a long hexadecimal number": (_filled("cf.waf.score eq 0x", "f"), "64 bits"),
    "a long address": (_filled("ip.src eq ", "1:"), "not an IP address"),
    "a long range": (_filled("ip.src in {", "..", "}"), "a range has two ends"),
    "a long field": (_filled("a", ".a"), "no field"),
    "a long list": (_filled("ip.src in $", "a"), "no list"),
    "one byte too many": ("ssl" + " " * (MAX_BYTES - 2), "4097 bytes long; an expression has at most 4096"),
    "too many bytes, not characters": ('http.host eq "' + "é" * 2041 + '"', "4097 bytes long"),
    "a megabyte": ("(" * 1_000_000, "1000000 bytes long"),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_worst_cases_are_parsed_and_judged_in_time(name: str) -> None:
    text = ACCEPTED[name]
    assert len(text.encode()) <= MAX_BYTES
    started = time.process_time()
    made = compile_filter(text, SCHEMA, LISTS)
    parsed = time.process_time()
    made.matches(FACTS)
    judged = time.process_time()
    assert parsed - started < _PARSING_S
    assert judged - parsed < _JUDGING_S


@pytest.mark.parametrize("name", ACCEPTED)
def test_worst_cases_leave_stack_to_others(name: str) -> None:
    def work() -> None:
        made = compile_filter(ACCEPTED[name], SCHEMA, LISTS)
        made.matches(FACTS)
        assert made.explain(FACTS)
        assert formatted(parse(ACCEPTED[name]))

    _within_frames(work)


@pytest.mark.parametrize("name", REFUSED)
def test_worst_cases_are_refused_in_time(name: str) -> None:
    text, message = REFUSED[name]
    started = time.process_time()
    with pytest.raises(ExpressionError, match=message):
        compile_filter(text, SCHEMA, LISTS)
    assert time.process_time() - started < _PARSING_S


def test_limit_of_length_is_an_argument() -> None:
    with pytest.raises(ExpressionError, match="at most 10"):
        compile_filter("ssl and ssl", SCHEMA, max_bytes=10)
    text = " or ".join(["ssl"] * 5_000)
    assert compile_filter(text, SCHEMA, max_bytes=len(text)).matches(FACTS)


LARGE = 1_000_000
HOSTILE_VALUES = {
    "a pattern that backtracks elsewhere": ('http.cookie matches "(a+)+$"', "a" * LARGE + "b"),
    "alternatives that backtrack elsewhere": ('http.cookie matches "^(a|a|aa)*c"', "a" * LARGE),
    "an automaton that would explode": ('http.cookie matches "(a|b)*a(a|b){40}c"', "ab" * (LARGE // 2)),
    "a wildcard of many stars": ('http.cookie wildcard "*a*a*a*a*a*a*a*a*a*c"', "a" * LARGE),
    "layers of encoding": ('url_decode(http.cookie, "r") eq "x"', "%" + "25" * (LARGE // 2)),
    "deep JSON": ('lookup_json_string(http.cookie, "a") eq "x"', '{"a":' * (LARGE // 5)),
    "long numbers in JSON": ("lookup_json_integer(http.cookie, 0) eq 1", "[" + "9" * LARGE + "]"),
    "Base64 that is none": ('decode_base64(http.cookie) eq "x"', "A" * LARGE + "*"),
    "separators": ('any(split(http.cookie, "aa", 128)[*] eq "x")', "a" * LARGE),
    "characters beyond ASCII": ('lower(http.cookie) contains "\\xa9\\xa9"', "é" * (LARGE // 2)),
}


@pytest.mark.parametrize("name", HOSTILE_VALUES)
def test_hostile_values_are_judged_in_time(name: str) -> None:
    text, value = HOSTILE_VALUES[name]
    started = time.process_time()
    assert verdict(text, http__cookie=value) is False
    # A megabyte, sixteen times over at the worst; what is quadratic would take minutes.
    assert time.process_time() - started < 5


def test_the_worst_pattern_is_judged_in_time() -> None:
    """Random letters, of which RE2 can keep no automaton, so that it tries all places of the pattern at once."""
    letters = "".join(random.Random(1).choices("ab", k=8_192))
    started = time.process_time()
    assert verdict('http.cookie matches "a[ab]{980}c|b[ab]{980}d"', http__cookie=letters) is False
    assert time.process_time() - started < _JUDGING_S


def test_refused_pattern_is_not_logged(capfd: pytest.CaptureFixture[str]) -> None:
    for pattern in ("(", "(?=a)", "((a{100}){100}){100}", r"\8"):
        with pytest.raises(ExpressionError):
            compile_filter(f'http.host matches r"{pattern}"', SCHEMA)
    assert verdict('http.cookie matches "(a|b)*a(a|b){40}c"', http__cookie="ab" * 50_000) is False
    assert capfd.readouterr() == ("", "")
