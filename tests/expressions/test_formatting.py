"""The one form of an expression: spelling → form."""

from __future__ import annotations

import pytest

from expressions.formatting import formatted
from expressions.grammar import parse

FORMS = [
    ("ssl", "ssl"),
    ("  (( ssl ))\n", "ssl"),
    ("!ssl&&!(a||b)", "not ssl and not (a or b)"),
    ("not(not ssl)", "not not ssl"),
    ("(a and b) and c", "(a and b) and c"),  # grouped by whoever wrote it
    ("a and b and c", "a and b and c"),
    ("(a and b) or c", "a and b or c"),
    ("a and (b or c)", "a and (b or c)"),
    ("(a xor b) or c", "a xor b or c"),
    ("a xor (b or c)", "a xor (b or c)"),
    ("(a and b) xor c", "a and b xor c"),
    ("(a xor b) and c", "(a xor b) and c"),
    ("a or (b or c)", "a or (b or c)"),
    ('a=="x"', 'a eq "x"'),
    ('a != "x"', 'a ne "x"'),
    ("a<0x10", "a lt 16"),
    ("a >= -5", "a ge -5"),
    ("a & 1", "a bitwise_and 1"),
    ('a ~ "b\\"c"', 'a matches r#"b"c"#'),
    (r'a matches "\d+\.x"', r'a matches r"\d+\.x"'),
    ('a matches r##"x"#y"##', 'a matches r##"x"#y"##'),
    (r'a eq "\x41\101\"\\"', r'a eq "AA\"\\"'),
    (r'a eq "\xff\n"'.replace(r"\n", r"\x0a"), r'a eq "\xff\x0a"'),
    (r'a eq "\xc3\xa9"', 'a eq "é"'),
    ('a eq r"\\n"', r'a eq "\\n"'),
    (r'a strict wildcard r"\*.x"', r'a strict wildcard "\\*.x"'),
    ('a in{"x""y"}', 'a in {"x" "y"}'),
    ("a in {0x1..5 7}", "a in {1..5 7}"),
    ("a in {}", "a in {}"),
    ("a in {10.0.0.0/8 2001:DB8::0:1 ::1..::2}", "a in {10.0.0.0/8 2001:db8::1 ::1..::2}"),
    ("a in $list", "a in $list"),
    ('any( a[ "k" ] [*]eq "x" )', 'any(a["k"][*] eq "x")'),
    ("any((a[*] eq 1 and b[*] eq 2))", "any((a[*] eq 1 and b[*] eq 2))"),
    ('f( a,-5 , "x" )[0]', 'f(a, -5, "x")[0]'),
    ("f()", "f()"),
]


@pytest.mark.parametrize(("text", "form"), FORMS)
def test_form(text: str, form: str) -> None:
    assert formatted(parse(text)) == form
    assert parse(form) == parse(text)
