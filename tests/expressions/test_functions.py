"""What each function gives: value → result, with the edges of each; and that the table is all there is."""

from __future__ import annotations

import base64
import hashlib
from ipaddress import ip_address

import pytest

from expressions.errors import ExpressionError
from expressions.filters import compile_filter
from expressions.functions import FUNCTIONS
from tests.expressions.facts import FACTS, SCHEMA, verdict

# expression about http.cookie, the cookie, verdict
_TEXTS = [
    ('lower(http.cookie) eq "abcé-1"', "ABCé-1", True),
    ('lower(http.cookie) eq "É"', "É", True),  # bytes beyond ASCII stay
    ('upper(http.cookie) eq "ABCé-1"', "abcé-1", True),
    ('upper(lower(http.cookie)) eq "A"', "a", True),
    ("len(http.cookie) eq 0", "", True),
    ("len(http.cookie) eq 3", "abc", True),
    ("len(http.cookie) eq 2", "é", True),  # bytes, not characters
    (r'len(http.cookie) eq 1', "\udcff", True),  # … a byte that is no UTF-8 among them
    ('starts_with(http.cookie, "ab")', "abc", True),
    ('starts_with(http.cookie, "")', "abc", True),
    ('starts_with(http.cookie, "B")', "bc", False),
    ('starts_with(http.cookie, http.cookie)', "bc", True),
    ('ends_with(http.cookie, "bc")', "abc", True),
    ('ends_with(http.cookie, "abcd")', "abc", False),
    ('concat(http.cookie, "-", "x") eq "a-x"', "a", True),
    ('concat("x", http.cookie) eq "xa"', "a", True),
    ('substring(http.cookie, 2, 5) eq "dfg"', "asdfghjk", True),
    ('substring(http.cookie, 2) eq "dfghjk"', "asdfghjk", True),
    ('substring(http.cookie, -2) eq "jk"', "asdfghjk", True),
    ('substring(http.cookie, 0, -2) eq "asdfgh"', "asdfghjk", True),
    ('substring(http.cookie, 5, 2) eq ""', "asdfghjk", True),
    ('substring(http.cookie, 0, 99) eq "ab"', "ab", True),
    (r'substring(http.cookie, 0, 2) eq "a\xc3"', "aéb", True),  # cuts between bytes
    ('url_decode(http.cookie) eq "John Doe"', "John%20Doe", True),
    ('url_decode(http.cookie) eq "John Doe"', "John+Doe", True),
    ('url_decode(http.cookie) eq "%20"', "%2520", True),
    ('url_decode(http.cookie, "r") eq " "', "%2520", True),
    ('url_decode(http.cookie) eq "%u2601"', "%u2601", True),
    ('url_decode(http.cookie, "u") eq "☁"', "%u2601", True),
    ('url_decode(http.cookie, "ur") eq "☁"', "%25u2601", True),
    ('url_decode(http.cookie) eq "%g0%"', "%g0%", True),  # what is no escape stays
    (r'url_decode(http.cookie) eq "\xff"', "%FF", True),
    ('url_decode(http.cookie) eq "é"', "%c3%a9", True),
    (r'remove_bytes(http.cookie, "\x2e\x77") eq "cloudflarecom"', "www.cloudflare.com", True),
    ('remove_bytes(http.cookie, "") eq "a"', "a", True),
    (r'remove_bytes(http.cookie, "\xa9") eq "\xc3"', "é", True),
    ('encode_base64(http.cookie) eq "aGVsbG8gd29ybGQ"', "hello world", True),
    ('encode_base64(http.cookie, "p") eq "aGVsbG8gd29ybGQ="', "hello world", True),
    ('encode_base64(http.cookie, "u") eq "-_8"', "\udcfb\udcff", True),
    ('encode_base64(http.cookie, "up") eq "-_8="', "\udcfb\udcff", True),
    ('encode_base64("hi") eq "aGk"', "", True),
    ('decode_base64(http.cookie) eq "123abc"', "MTIzYWJj", True),
    ('decode_base64(http.cookie) eq "hi"', "aGk", True),
    ('decode_base64(http.cookie) eq "hi"', "aGk=", True),
    (r'decode_base64(http.cookie) eq "\xfb\xff"', "-_8", True),
    (r'decode_base64(http.cookie) eq "\xfb\xff"', "+/8=", True),
    ('decode_base64(http.cookie) eq ""', "", True),
    ('decode_base64(http.cookie) ne "x"', "a", False),  # six bits are no byte: missing
    ('decode_base64(http.cookie) ne "x"', "a*b=", False),
    ('decode_base64(http.cookie) ne "x"', "é", False),
    ('decode_base64(http.cookie) ne "x"', "aGk=\n", False),
    ('split(http.cookie, ",", 64)[3] eq "auto"', "groceries,electronics,diy,auto", True),
    ('split(http.cookie, ",", 3)[2] eq "diy,auto"', "groceries,electronics,diy,auto", True),
    ('split(http.cookie, ",", 1)[0] eq "a,b"', "a,b", True),
    ('split(http.cookie, ",", 64)[1] eq ""', "a,,b", True),
    ('len(split(http.cookie, ",", 128)) eq 3', "a,,b", True),
    ('len(split(http.cookie, ",", 128)) eq 128', "," * 500, True),
    ('any(split(http.cookie, "; ", 8)[*] eq "b=2")', "a=1; b=2", True),
    ('join(split(http.cookie, ",", 64), ";") eq "a;;b"', "a,,b", True),
    ('lookup_json_string(http.cookie, "company") eq "c"', '{"company": "c"}', True),
    ('lookup_json_string(http.cookie, "a", "b") eq "c"', '{"a": {"b": "c"}}', True),
    ('lookup_json_string(http.cookie, 1) eq "c"', '["a", "c"]', True),
    ('lookup_json_string(http.cookie, "n", 1) eq "c"', '{"n": ["a", "c"]}', True),
    ('lookup_json_string(http.cookie, 1, "n") eq "c"', '[{}, {"n": "c"}]', True),
    ('lookup_json_string(http.cookie, "n") ne "x"', '{"n": 5}', False),  # no string: missing
    ('lookup_json_string(http.cookie, "n") ne "x"', "{", False),
    ('lookup_json_string(http.cookie, 5) ne "x"', '["a"]', False),
    ('lookup_json_string(http.cookie, "a") ne "x"', '["a"]', False),
    ('lookup_json_string(http.cookie, 0) ne "x"', '{"0": "a"}', False),
    ('lookup_json_string(http.cookie, "a") ne "x"', '"a"', False),
    ('lookup_json_string(http.cookie, 0) ne "x"', "[" * 100_000, False),  # deeper than the parser goes
    ('lookup_json_integer(http.cookie, "version") eq 2', '{"version": 2}', True),
    ("lookup_json_integer(http.cookie, 1) eq -234", '["a", -234]', True),
    ('lookup_json_integer(http.cookie, "n") ge 0', '{"n": 42.0}', False),
    ('lookup_json_integer(http.cookie, "n") ge 0', '{"n": true}', False),
    ('lookup_json_integer(http.cookie, "n") ge 0', '{"n": "42"}', False),
    ('lookup_json_integer(http.cookie, "n") eq 9223372036854775807', '{"n": 9223372036854775807}', True),
    ('lookup_json_integer(http.cookie, "n") ge 0', '{"n": 9223372036854775808}', False),
    ('lookup_json_integer(http.cookie, "n") ge 0', '{"n": ' + "9" * 5000 + "}", False),
    ('encode_base64(sha256(http.cookie), "p") eq "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="', "abc", True),
    ("len(sha256(http.cookie)) eq 32", "\udcff", True),
    ("len(sha512(http.cookie)) eq 64", "abc", True),
]  # fmt: skip

_OTHERS = [
    # any, all
    ('any(tenant.tags[*] eq "eu")', True),
    ('any(tenant.tags[*] eq "us")', False),
    ('all(tenant.tags[*] ne "us")', True),
    ('all(tenant.tags[*] ne "eu")', False),
    # cidr: the example of each version, and both edges of the bits
    ("cidr(ip.src, 24, 64) eq 203.0.113.0", True),
    ("cidr(ip.src, 32, 1) eq 203.0.113.7", True),
    ("cidr(ip.src, 1, 128) eq 128.0.0.0", True),
    ("cidr6(ip.src, 24) eq 203.0.113.7", True),
    ("cidr(ip.src, 24, 24) in {203.0.113.0/32}", True),
    # to_string
    ('to_string(cf.waf.score) eq "42"', True),
    ('to_string(ssl) eq "true"', True),
    ('to_string(cf.bot_management.verified_bot) eq "false"', True),
    ('to_string(ip.src) eq "203.0.113.7"', True),
    ('any(to_string(cf.bot_management.detection_ids[*])[*] eq "5")', True),
    # collections
    ("len(tenant.tags) eq 2", True),
    ('len(http.request.headers["x-empty"]) eq 0', True),
    ("any(len(tenant.tags[*])[*] eq 4)", True),
    ('has_key(http.request.headers, "accept")', True),
    ('has_key(http.request.headers, "Accept")', False),
    ('has_key(params, "pro")', False),
    ('has_value(tenant.tags, "eu")', True),
    ('has_value(tenant.tags, "e")', False),
    ('has_value(params, "eu")', True),
    ("has_value(limits, 128)", True),
    ("has_value(cf.bot_management.detection_ids, 4)", False),
    ('has_value(http.request.headers["accept"], "*/*")', True),
    ('join(tenant.tags, ", ") eq "beta, eu"', True),
    ('join(http.request.headers["x-empty"], ",") eq ""', True),
    ('join(concat(tenant.tags, http.request.headers.names), " ") eq "beta eu accept X-Token"', True),
    ('concat(tenant.tags, tenant.tags)[3] eq "eu"', True),
    ('any(concat(tenant.tags[*], "-", tenant.plan)[*] eq "eu-pro")', True),
    # of a call for each item, items that come to nothing are left out
    ('any(decode_base64(http.request.headers[*][*])[*] eq "abc")', True),
    ("len(decode_base64(http.request.headers[*][*])) eq 1", True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "cookie", "expected"), _TEXTS)
def test_function_of_text(text: str, cookie: str, expected: bool) -> None:
    assert verdict(text, http__cookie=cookie) is expected


@pytest.mark.parametrize(("text", "expected"), _OTHERS)
def test_function_of_other_values(text: str, expected: bool) -> None:
    assert verdict(text) is expected


def test_cidr_of_ipv6() -> None:
    address = ip_address("2001:0:130f::9c0:876a:130b")
    assert verdict("cidr(ip.src, 24, 24) eq 2001::", ip__src=address)
    assert verdict("cidr6(ip.src, 24) eq 2001::", ip__src=address)
    assert verdict("cidr(ip.src, 1, 128) eq 2001:0:130f::9c0:876a:130b", ip__src=address)
    assert verdict("cidr6(ip.src, 1) eq ::", ip__src=address)


def test_decoding_again_and_again_ends() -> None:
    """Each pass undoes one layer; 16 are undone, and the seventeenth is left."""
    layers = "%" + "25" * 16 + "41"
    assert verdict('url_decode(http.cookie, "r") eq "%41"', http__cookie=layers)
    assert verdict('url_decode(http.cookie, "r") eq "A"', http__cookie=layers.replace("25", "", 1))


def test_hashes_are_those_of_the_standard_library() -> None:
    for name in ("sha256", "sha512"):
        digest = hashlib.new(name, "néé".encode()).digest()
        encoded = base64.b64encode(digest).decode()
        assert verdict(f'encode_base64({name}(http.cookie), "p") eq "{encoded}"', http__cookie="néé")


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_function_is_in_a_table_above(name: str) -> None:
    assert any(f"{name}(" in text for text in [*(row[0] for row in _TEXTS), *(row[0] for row in _OTHERS)])


@pytest.mark.parametrize(
    "name",
    [
        "bit_slice",
        "is_timed_hmac_valid_v0",
        "regex_replace",
        "remove_query_args",
        "uuidv4",
        "wildcard_replace",
    ],
)
def test_function_that_is_left_out_is_unknown(name: str) -> None:
    with pytest.raises(ExpressionError, match=f"there is no function {name}"):
        compile_filter(f'{name}(http.host, "a") eq "b"', SCHEMA)


def test_functions_leave_facts_as_they_are() -> None:
    before = repr(FACTS)
    assert verdict('any(concat(tenant.tags, http.request.headers.names)[*] eq "X-Token")')
    assert repr(FACTS) == before
