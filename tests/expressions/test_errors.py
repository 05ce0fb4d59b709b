"""What is refused, where the caret stands, and what the message says to write instead."""

from __future__ import annotations

import pytest

from expressions.errors import ExpressionError
from expressions.filters import compile_filter
from expressions.schema import STRING, Schema
from tests.expressions.facts import LISTS, SCHEMA

# Each second line has a caret under what is wrong; then comes a part of the message.
REFUSED = r"""
nope eq "a"
^ there is no field nope

ssl and htp.host eq "a"
        ^ there is no field htp.host; near it is http.host

startswith(http.host, "a")
^ there is no function startswith; near it is starts_with

http.host("a")
^ there is no function, but a field, http.host

ip.src in $ofice
^ there is no list ofice; near it is office

ssl and http.host
        ^ it is a string: compare it with something

lower(http.host)
^ it is a string: compare it with something

http.request.headers.names[*] eq "a"
^ wrap it in any(…) or all(…)

ssl and http.request.headers.names[*] eq "a"
        ^ and joins an answer with one for each item: wrap the latter in any(…) or all(…)

tenant.trials
^ wrap it in any(…) or all(…)

http.host eq 5
             ^ a value of type string is compared with a string in quotes

cf.waf.score eq "5"
                ^ a value of type integer is compared with a number

ip.src eq "203.0.113.7"
          ^ a value of type address is compared with an address, without quotes

cf.waf.score in {1 "2"}
                   ^ a value of type integer is compared with a number

ip.src eq 10.0.0.0/8
          ^ a range stands in a set: write in {…}

ip.src eq 10.0.0.1..10.0.0.2
          ^ a range stands in a set: write in {…}

ip.src in {10.0.0.1/8}
           ^ 10.0.0.1 has bits beyond the first 8: write 10.0.0.0/8

ip.src in {10.0.0.0/33}
           ^ /33 is more bits than the address has

ip.src in {10.0.0.0/8.0}
           ^ after the / comes its number of bits

ip.src in {10.0.0}
           ^ 10.0.0 is not a number

ip.src in {10.0.0.256}
           ^ 10.0.0.256 is not an IP address

ip.src in {010.0.0.1}
           ^ 010.0.0.1 is not an IP address

ip.src in {10.0.0.9..10.0.0.1}
           ^ the range ends before it begins: write 10.0.0.1..10.0.0.9

ip.src in {10.0.0.9..::1}
           ^ both ends of a range are of one IP version

cf.waf.score in {5..1}
                 ^ the range ends before it begins: write 1..5

cf.waf.score eq 010
                ^ 010 could be read as octal: write 10, or 0x before hex digits

cf.waf.score eq 9223372036854775808
                ^ a number has 64 bits at the most

cf.waf.score eq 5x
                ^ 5x is not a number

http.host eq example.com
             ^ strings are written in quotes: "example.com"

ssl eq true
       ^ a boolean field stands alone

ssl eq "true"
^ a boolean stands alone, or after not

ip.src contains "1"
^ contains takes strings; this is of type address

http.host & 1
^ bitwise_and takes integers; this is of type string

http.request.headers eq "a"
^ eq can't take a map of array of string: choose a key, as in ["name"]

http.request.headers["a"] eq "a"
^ eq can't take an array of string: choose items with [0] or [*]

http.request.headers[0] eq "a"
^ a map of array of string has keys, as in ["name"]

http.request.headers.names["a"] eq "a"
^ an array of string has positions, as in [0]

http.host[0] eq "a"
^ a string has no items to choose with [ ]

http.request.headers.names[-1] eq "a"
                           ^ an index counts from 0

http.host matches "(?=a)"
                  ^ RE2 can't take this regular expression

http.host matches "("
                  ^ RE2 can't take this regular expression: missing )

http.host wildcard "a**b"
                   ^ two stars in a row say no more than one

http.host wildcard r"a\b\c\.d"
                   ^ after \ comes * or another \

http.host eq "a\n"
               ^ after \ comes ", another \, xHH (two hex digits) or three octal digits

http.host eq "abc
             ^ the string has no closing quote

http.host matches r#"abc"
                  ^ the string has no closing quote

lower("A") eq "a"
      ^ source of lower is a field or a function's result

substring(http.host, cf.waf.score) eq "a"
                     ^ start of substring is written out, as a literal

split(http.host, ",", 129)[0] eq "a"
                      ^ limit of split: 1 to 128 is possible

split(http.host, "", 5)[0] eq "a"
                 ^ separator of split: it can't be empty

cidr(ip.src, 33, 64) eq ::
             ^ ipv4_bits of cidr: 1 to 32 is possible

cidr(ip.src, 32, 0) eq ::
                 ^ ipv6_bits of cidr: 1 to 128 is possible

url_decode(http.host, "x") eq "a"
                      ^ options of url_decode: possible letters are r, u

upper(http.host, "x") eq "a"
^ write upper(source)

substring(http.host) eq "a"
^ write substring(source, start, [end])

lookup_json_string(http.host) eq "a"
^ write lookup_json_string(document, key, …)

lower(cf.waf.score) eq "a"
      ^ lower takes string as source; this is of type integer

any(ssl)
    ^ any takes array of boolean as values; this is of type boolean

any(starts_with(http.host, tenant.tags[*]))
                           ^ [*] can stand in the first argument only

concat(http.host) eq "a"
^ write concat(values, …)

has_key(params, http.host)
                ^ key of has_key is written out, as a literal

http.host matches "[a&&b]"
                  ^ && within [ ] has two readings

http.host matches "a{,5}"
                  ^ { has two readings where no repetition follows

concat(tenant.tags, "a")[0] eq "a"
^ concat takes strings or arrays, and not both

has_value(limits, "a")
                  ^ the values are of type integer, and this one of type string

ssl AND ssl
    ^ AND can't stand here: operators are written in lower case

http.host not in {"a"}
          ^ not can't stand here: not stands before a condition

http.host = "a"
          ^ = can't stand here: equality is eq or ==

http.host in {"a", "b"}
                 ^ , can't stand here: items of a set are separated by spaces

http.host eq 'a'
             ^ ' can't stand here: strings are written in double quotes

http.host starts_with "a"
          ^ starts_with can't stand here: it is a function: starts_with(field, …)

ssl # now
    ^ # can't stand here: there are no comments

http.host in "a"
             ^ " can't stand here: expected {…} or $list

ip.src in $Office
          ^ $ can't stand here: expected {…} or $list

"a" eq http.host
^ " can't stand here: expected a field or function

ssl)
   ^ ) can't stand here: expected the end of the expression

ssl ssl
    ^ ssl can't stand here: expected and, or, xor

(ssl
    ^ the expression ends too early: here comes )

ssl and
       ^ the expression ends too early: here comes a field or function

http.host eq
            ^ the expression ends too early: here comes a string in quotes

http.host in {"a"
                 ^ the expression ends too early: here comes }
"""


def _rows() -> list[tuple[str, int, str]]:
    rows = []
    for block in REFUSED.strip().split("\n\n"):
        text, pointer = block.split("\n")
        rows.append((text, pointer.index("^") + 1, pointer.partition("^ ")[2]))
    return rows


@pytest.mark.parametrize(("text", "column", "message"), _rows())
def test_message_says_where_and_what_instead(text: str, column: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_filter(text, SCHEMA, LISTS)
    error = caught.value
    assert (error.line, error.column) == (1, column), str(error)
    assert message in error.message


def test_error_counts_lines_and_points() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_filter('ssl and\n\t(http.host eq "é" or\n\tnope)', SCHEMA)
    error = caught.value
    assert str(error) == "line 3, column 2: there is no field nope"
    assert error.pointed() == "\tnope)\n\t^ there is no field nope"


def test_columns_are_characters() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_filter('http.host eq "éé" and nope', SCHEMA)
    assert caught.value.column == 23


@pytest.mark.parametrize("text", ["", " ", "\n\t\r "])
def test_empty_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match="the expression is empty"):
        compile_filter(text, SCHEMA)


def test_lone_surrogate_is_refused() -> None:
    with pytest.raises(ExpressionError, match="no character of Unicode") as caught:
        compile_filter('http.host eq "\udcff"', SCHEMA)
    assert caught.value.column == 15


def test_list_of_another_type_is_refused() -> None:
    with pytest.raises(ExpressionError, match=r"\$asns is a list of type integer; this is of type string"):
        compile_filter("http.host in $asns", SCHEMA, LISTS)


@pytest.mark.parametrize("name", ["", "a b", "a..b", "5a", "é", "a.b."])
def test_schema_refuses_names_that_no_expression_can_write(name: str) -> None:
    with pytest.raises(ValueError, match="can't name a field"):
        Schema({name: STRING})


def test_schema_tells_facts_of_another_type() -> None:
    assert SCHEMA.problems({"http.host": b"a", "ssl": 1, "cf.waf.score": True, "new": 1}) == [
        "http.host is b'a', and declared as string",
        "ssl is 1, and declared as boolean",
        "cf.waf.score is True, and declared as integer",
        "new is not in the schema",
    ]
    assert SCHEMA.problems(
        {"tenant.tags": "beta", "params": {"a": 5}, "ip.src": "::1", "http.cookie": None}
    ) == [
        "tenant.tags is 'beta', and declared as array of string",
        "params is {'a': 5}, and declared as map of string",
        "ip.src is '::1', and declared as address",
    ]
