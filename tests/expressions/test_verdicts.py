"""What each operator, literal and index means: expression → verdict about the facts of `facts`."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from expressions.filters import compile_filter
from tests.expressions.facts import FACTS, LISTS, SCHEMA, verdict

COMPARED = [
    # strings, byte by byte and case by case
    ('http.host eq "www.Example.com"', True),
    ('http.host == "www.example.com"', False),
    ('http.host ne "www.example.com"', True),
    ('http.host != "www.Example.com"', False),
    ('http.request.method lt "PUT"', True),
    ('http.request.method < "POST"', False),  # not less than itself
    ('http.request.method le "POST"', True),
    ('http.request.method <= "POSS"', False),
    ('http.request.method gt "POSS"', True),
    ('http.request.method > "POST"', False),
    ('http.request.method ge "POST"', True),
    ('http.request.method >= "POSU"', False),
    ('http.request.method lt "POSTS"', True),  # a prefix comes first
    ('http.host contains "Example"', True),
    ('http.host contains "example"', False),
    ('http.host contains ""', True),
    # integers, at both edges
    ("cf.waf.score eq 42", True),
    ("cf.waf.score eq 0x2A", True),
    ("cf.waf.score ne 42", False),
    ("cf.waf.score lt 42", False),
    ("cf.waf.score lt 43", True),
    ("cf.waf.score le 42", True),
    ("cf.waf.score le 41", False),
    ("cf.waf.score gt 42", False),
    ("cf.waf.score gt 41", True),
    ("cf.waf.score ge 42", True),
    ("cf.waf.score ge 43", False),
    ("cf.waf.score gt -1", True),
    ("cf.waf.score gt -9223372036854775808", True),
    ("cf.waf.score lt 9223372036854775807", True),
    ("cf.waf.score & 2", True),  # 42 is 0b101010
    ("cf.waf.score bitwise_and 1", False),
    # addresses
    ("ip.src eq 203.0.113.7", True),
    ("ip.src ne 203.0.113.7", False),
    ("ip.src eq ::ffff:203.0.113.7", False),  # mapped is another address
    ("ip.src ne ::1", True),
    ("ip.src lt 203.0.113.8", True),
    ("ip.src lt 203.0.113.7", False),
    ("ip.src ge 203.0.113.7", True),
    ("ip.src lt ffff::", False),  # no order between the versions
    ("ip.src gt ::", False),
    # booleans
    ("ssl", True),
    ("not ssl", False),
    ("!ssl", False),
    ("not not ssl", True),
    ("cf.bot_management.verified_bot", False),
]

SETS = [
    ('http.host in {"a" "www.Example.com"}', True),
    ('http.host in {"www.example.com"}', False),
    ("http.host in {}", False),
    ('http.host in {"a""www.Example.com"}', True),
    ("not http.host in {}", True),
    ("cf.waf.score in {41 43}", False),
    ("cf.waf.score in {42}", True),
    ("cf.waf.score in {1..41 43..50}", False),  # between two ranges
    ("cf.waf.score in {42..43}", True),  # the lower edge
    ("cf.waf.score in {41..42}", True),  # the upper edge
    ("cf.waf.score in {1..30 20..42}", True),  # ranges may overlap
    ("cf.waf.score in {1..100 5..6}", True),  # a range inside of another one
    ("cf.waf.score in {-5..0x2a}", True),
    ("ip.src in {203.0.113.7}", True),
    ("ip.src in {203.0.113.0/29}", True),  # …0 to …7
    ("ip.src in {203.0.113.8/29}", False),
    ("ip.src in {203.0.113.7..203.0.113.9}", True),
    ("ip.src in {203.0.113.1..203.0.113.6}", False),
    ("ip.src in {::/0}", False),  # all of IPv6 holds no IPv4
    ("ip.src in {0.0.0.0/0}", True),
    ("ip.src in {2001:db8::/32 203.0.113.0/24}", True),
    ("ip.src in $office", True),
    ("http.host in $blocked.hosts", True),
    ("lower(http.host) in $blocked.hosts", False),
    ("ip.src.asnum in $asns", True),
    ("cf.waf.score in $asns", False),
]

WILDCARDS = [
    ('http.host wildcard "www.example.com"', True),
    ('http.host strict wildcard "www.example.com"', False),
    ('http.host strict wildcard "www.Example.com"', True),
    ('http.host wildcard "*.EXAMPLE.com"', True),
    ('http.host wildcard "*example*"', True),
    ('http.host wildcard "*"', True),
    ('http.host wildcard ""', False),
    ('http.host wildcard "www.example.co"', False),  # the whole value
    ('http.host wildcard "w*w.example.com"', True),  # * may be one byte
    ('http.host wildcard "www*.example.com"', True),  # … or none
    ('http.host wildcard "www*w.example.com"', False),  # the ends may not overlap
    ('http.host wildcard "*www.*www.*"', False),
    ('http.host wildcard "*x*m*l*e*.c*m"', True),
    ('http.host wildcard "*l*x*"', False),  # in order
    (r'http.request.headers["accept"][1] wildcard r"\*/\*"', True),
    (r'http.request.headers["accept"][0] wildcard r"\*/\*"', False),
    ('http.request.full_uri wildcard "https://*.example.com/admin/*"', True),
    ('http.request.uri.path strict wildcard "/admin/*"', False),
    ('params["café"] wildcard "MünCHen"', True),
    ('params["café"] wildcard "MÜNCHEN"', False),  # ASCII letters alone have two cases
]

PATTERNS = [
    ('http.host matches "^www"', True),
    ('http.host ~ "com$"', True),
    ('http.host matches "example"', False),
    ('http.host matches "(?i)example"', True),
    (r'http.host matches "\.com$"', True),
    (r'http.request.uri.path matches "^/[^/]+/login\.(php|asp)$"', True),
    (r'http.request.uri.path matches r"\.(?:php)$"', True),
    ('http.request.uri.path matches r#"^"#', True),
    (r'http.request.body.raw matches "\"name\""', True),
    ('http.request.body.raw matches "[{]user"', False),
    ('http.request.body.raw matches "[{"]+user"', True),  # a quote within [ ] needs no escape
    ('http.request.body.raw matches r#""id": [0-9]+"#', True),
    ('params["café"] matches "^m.nchen$"', False),  # `.` is one byte, and ü is two
    ('params["café"] matches "^m..nchen$"', True),
    (r'params["bytes"] matches "^\xff"', True),
    ('params["café"] matches "ü"', True),
]

ITEMS = [
    ('http.request.headers["accept"][0] eq "text/html"', True),
    ('http.request.headers["accept"][1] eq "*/*"', True),
    ('http.request.headers[ "accept" ][ 0 ] eq "text/html"', True),
    ('http.request.headers["Accept"][0] eq "text/html"', False),  # keys are as the facts have them
    ('any(http.request.headers["accept"][*] eq "*/*")', True),
    ('any(http.request.headers["accept"][*] eq "text/plain")', False),
    ('all(http.request.headers["accept"][*] contains "/")', True),
    ('all(http.request.headers["accept"][*] contains "*")', False),
    ('any(http.request.headers[*][*] eq "YWJj")', True),
    ('any(http.request.headers[*][0] eq "*/*")', False),
    ('any(http.request.headers[*][1] eq "*/*")', True),
    ('any(http.request.body.multipart.names[*][*] eq "c")', True),
    ('any(http.request.body.multipart.names[0][*] eq "c")', False),
    ('http.request.body.multipart.names[2][0] eq "c"', True),
    ('any(lower(http.request.headers.names[*])[*] eq "x-token")', True),
    ('any(http.request.headers.names[*] eq "x-token")', False),
    ('lower(http.request.headers.names[*])[1] eq "x-token"', True),
    ("any(cf.bot_management.detection_ids[*] in {4..5})", True),
    ("all(cf.bot_management.detection_ids[*] in {4..5})", False),
    ("any(not cf.bot_management.detection_ids[*] in {4..5})", True),
    ('params["region"] eq "eu"', True),
    (r'params["caf\xc3\xa9"] contains "nchen"', True),  # a key by its bytes
    ('any(params[*] eq "eu")', True),
    ('limits["cpu"] le 50', True),
    ("any(limits[*] gt 100)", True),
    ("any(tenant.trials)", True),
    ("all(tenant.trials)", False),
    ("tenant.trials[0]", True),
    ("not tenant.trials[1]", True),
    ('any(starts_with(tenant.tags[*], "be"))', True),
    # item by item: no item is both
    ('any((tenant.tags[*] eq "beta" and tenant.tags[*] eq "eu"))', False),
    ('any((tenant.tags[*] eq "beta" or tenant.tags[*] eq "eu"))', True),
    ('all((tenant.tags[*] eq "beta" xor tenant.tags[*] eq "eu"))', True),
    ('all((tenant.tags[*] ne "x" and tenant.trials))', False),
    # as long as the shorter of the two
    ('all((tenant.tags[*] ne "x" and http.request.uri.args.names[*] eq "filter"))', True),
]

STRINGS = [
    (r'params["bytes"] eq "\xffa\xc3"', True),
    (r'params["bytes"] contains "\xc3"', True),
    (r'params["café"] contains "\xbc"', True),  # the second byte of ü
    (r'params["bytes"] gt "\xfe"', True),  # bytes have the order of bytes
    (r'params["bytes"] lt "\xffb"', True),
    (r'params["café"] eq "m\303\274nchen"', True),
    (r'http.host eq "www\x2eExample\056com"', True),
    (r'http.host eq r"www.Example.com"', True),
    (r'http.request.uri.path ne r"\x2f"', True),  # no escapes in a raw string
    ('http.request.body.raw contains r#"{"id""#', True),
    (r'http.request.body.raw contains "{\"id\""', True),
    (r'http.request.uri.path ne "\\"', True),
]

MISSING = [
    # whatever is compared with what is missing is false, ne included
    ('http.referer eq "a"', False),
    ('http.referer ne "a"', False),
    ('not http.referer eq "a"', True),
    ('http.referer contains ""', False),
    ('http.referer matches ""', False),
    ('http.referer wildcard "*"', False),
    ('http.referer in {"a"}', False),
    ("http.referer in $blocked.hosts", False),
    ('http.request.headers["nope"][0] ne "a"', False),
    ('http.request.headers["accept"][2] ne "a"', False),
    ('http.request.headers["x-empty"][0] ne "a"', False),
    ('limits["nope"] lt 5', False),
    ('limits["nope"] & 5', False),
    ('params["nope"] lt "5"', False),
    # an array that is missing has no items
    ('any(http.request.headers["nope"][*] ne "a")', False),
    ('all(http.request.headers["nope"][*] eq "a")', True),
    ('all(http.request.headers["x-empty"][*] eq "a")', True),
    ("tenant.trials[7]", False),
    ("not tenant.trials[7]", True),
    # functions hand it on
    ('lower(http.referer) ne "a"', False),
    ('concat(http.host, http.referer) ne "a"', False),
    ('starts_with(http.referer, "")', False),
    ("not starts_with(http.host, http.referer)", True),
    ('len(http.request.uri.args["order"]) ge 0', False),
    ('not len(http.request.uri.args["order"]) ge 0', True),
    ('len(http.request.uri.args["filter"]) ge 0', True),
    ('any(concat(tenant.tags[*], http.referer)[*] ne "x")', False),
    ('any(starts_with(http.request.headers["nope"][*], ""))', False),
]


@pytest.mark.parametrize(
    ("text", "expected"), [*COMPARED, *SETS, *WILDCARDS, *PATTERNS, *ITEMS, *STRINGS, *MISSING]
)
def test_expression_has_its_verdict(text: str, expected: bool) -> None:
    assert verdict(text) is expected


PRECEDENCE = [
    # the left reads as the right
    ("{a} or {b} and {c}", "{a} or ({b} and {c})"),
    ("{a} and {b} or {c}", "({a} and {b}) or {c}"),
    ("{a} or {b} xor {c}", "{a} or ({b} xor {c})"),
    ("{a} xor {b} or {c}", "({a} xor {b}) or {c}"),
    ("{a} xor {b} and {c}", "{a} xor ({b} and {c})"),
    ("{a} and {b} xor {c}", "({a} and {b}) xor {c}"),
    ("not {a} and {b}", "(not {a}) and {b}"),
    ("not {a} or {b}", "(not {a}) or {b}"),
    ("not {a} xor {b}", "(not {a}) xor {b}"),
    ("{a} && {b} || {c}", "{a} and {b} or {c}"),
    ("{a} ^^ {b} || {c}", "{a} xor {b} or {c}"),
    ("!{a} && {b}", "(not {a}) and {b}"),
]
_CLAUSES = {True: "ssl", False: "cf.bot_management.verified_bot"}


@pytest.mark.parametrize(("text", "read"), PRECEDENCE)
def test_operators_bind_not_and_xor_or(text: str, read: str) -> None:
    for bits in range(8):
        clauses = {name: _CLAUSES[bool(bits >> at & 1)] for at, name in enumerate("abc")}
        assert verdict(text.format(**clauses)) is verdict(read.format(**clauses)), clauses


def test_precedence_table_tells_readings_apart() -> None:
    """Each row has a reading that would differ, so that the table can fail."""
    assert verdict("(ssl or ssl) and cf.bot_management.verified_bot") is False
    assert verdict("ssl or ssl and cf.bot_management.verified_bot") is True
    assert verdict("(ssl or ssl) xor ssl") is False
    assert verdict("ssl or ssl xor ssl") is True
    assert verdict("not (cf.bot_management.verified_bot or ssl)") is False
    assert verdict("not cf.bot_management.verified_bot or ssl") is True


def test_chain_of_xor_counts() -> None:
    assert verdict("ssl xor ssl xor ssl") is True
    assert verdict("ssl xor ssl xor ssl xor ssl") is False


def test_ipv6_is_looked_up_among_ipv6() -> None:
    address = ip_address("2001:db8::1")
    assert verdict("ip.src in $office", ip__src=address)
    assert verdict("ip.src in {10.0.0.0/8 2001:db8::/32}", ip__src=address)
    assert not verdict("ip.src in {0.0.0.0/0}", ip__src=address)
    assert verdict("ip.src in {2001:db8::..2001:db8::1}", ip__src=address)
    assert verdict("ip.src gt 2001:db8::", ip__src=address)


def test_none_is_missing() -> None:
    assert not verdict('http.host ne "a"', http__host=None)
    assert not verdict("ssl", ssl=None)


def test_filter_names_the_fields_it_asks_for() -> None:
    text = 'any(lower(http.request.headers["x"][*])[*] in {"a"}) and not ssl or starts_with(http.host, http.cookie)'
    made = compile_filter(text, SCHEMA, LISTS)
    assert made.fields == {"http.request.headers", "ssl", "http.host", "http.cookie"}
    assert made.text == text


def test_facts_that_are_not_asked_for_are_not_read() -> None:
    asked: list[str] = []

    class Watched(dict[str, object]):
        def get(self, key: str, default: object = None) -> object:
            asked.append(key)
            return super().get(key, default)

    made = compile_filter('http.request.method eq "GET" and ip.src in {10.0.0.0/8}', SCHEMA)
    assert not made.matches(Watched(FACTS))
    assert asked == ["http.request.method"]  # the first clause settles it


def test_facts_of_these_tests_are_of_the_schema() -> None:
    assert SCHEMA.problems(FACTS) == []
