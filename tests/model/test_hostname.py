"""One host, one spelling; whatever two parsers could read as two hosts is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.hostname import InvalidHostname, parse_host, parse_pattern, wildcard_candidates


@pytest.mark.parametrize(
    ("host", "name", "port", "is_ip"),
    [
        (b"a.example", "a.example", None, False),
        (b"A.EXAMPLE", "a.example", None, False),
        (b"a.example.", "a.example", None, False),  # one trailing dot is the root
        (b"a.example.:80", "a.example", 80, False),
        (b"localhost:8787", "localhost", 8787, False),
        (b"a.example:1", "a.example", 1, False),
        (b"a.example:65535", "a.example", 65535, False),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example", None, False),
        (b"under_score.example", "under_score.example", None, False),
        (b"a-b.example", "a-b.example", None, False),
        (b"1.example", "1.example", None, False),
        (b"127.0.0.1", "127.0.0.1", None, True),
        (b"127.0.0.1:80", "127.0.0.1", 80, True),
        (b"[::1]", "::1", None, True),
        (b"[::1]:80", "::1", 80, True),
        (b"[2001:DB8:0:0::1]", "2001:db8::1", None, True),  # one spelling of an address too
        (b"a" * 63 + b".example", "a" * 63 + ".example", None, False),
        (b".".join([b"a" * 49] * 5), ".".join(["a" * 49] * 5), None, False),  # 249 characters
    ],
)
def test_hosts(host: bytes, name: str, port: int | None, is_ip: bool) -> None:
    parsed = parse_host(host)
    assert (parsed.name, parsed.port, parsed.is_ip) == (name, port, is_ip)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b".",
        b"..",
        b".example",
        b"a..example",
        b"a.example..",
        b"-a.example",
        b"a-.example",
        b"a b",
        b" a.example",
        b"a.example\n",
        b"a.example\x00",
        b"a/b",
        b"a?b",
        b"a#b",
        b"user@a.example",
        b"a,b",
        b"*.example",
        b"a%2eexample",
        "bücher.example".encode(),  # U-labels do not travel
        b"a.example:",
        b"a.example:0",
        b"a.example:65536",
        b"a.example:-1",
        b"a.example:+80",
        b"a.example: 80",
        b"a.example:80:80",
        b"a.example:8_0",
        "a.example:8٠".encode(),
        b"::1",  # an IPv6 address needs its brackets
        b"[]",
        b"[::1]x",
        b"[::1",
        b"[::12",
        b"[::1%eth0]",
        b"[::1%?x]",
        b"[fe80::1%a b]",
        b"[127.0.0.1]",
        b"[a.example]",
        b"[::1%eth0]:x",
        b"127.1",  # addresses to some, names to others
        b"0x7f.1",
        b"2130706433",
        b"0x7f000001",
        b"127.0.0.01",
        b"1.2.3.4.5",
        b"256.0.0.1",
        b"a.0x",
        b"a.1",
        b"a" * 64 + b".example",
        b".".join([b"a" * 50] * 5),  # 254 characters
    ],
)
def test_what_is_no_host(host: bytes) -> None:
    with pytest.raises(InvalidHostname):
        parse_host(host)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_host_or_refused(host: bytes) -> None:
    try:
        parsed = parse_host(host)
    except InvalidHostname:
        return
    assert parsed.name == parsed.name.lower()
    again = parse_host((f"[{parsed.name}]" if ":" in parsed.name else parsed.name).encode())
    assert again.name == parsed.name


@pytest.mark.parametrize(
    ("typed", "pattern"),
    [
        ("*", "*"),
        (" A.Example ", "a.example"),
        ("*.Example.com", "*.example.com"),
        ("*.a.b.example.com", "*.a.b.example.com"),
        ("*.localhost", "*.localhost"),  # never leaves this machine: one owner
        ("Bücher.example", "xn--bcher-kva.example"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
    ],
)
def test_patterns(typed: str, pattern: str) -> None:
    assert parse_pattern(typed) == pattern


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "*.",
        "**",
        "a.*",
        "a.*.example",
        "*a.example",
        "*.*.example",
        "*.127.0.0.1",
        "*.com",  # public suffixes: their names belong to different owners
        "*.co.uk",
        "*.github.io",
        "http://a.example",
        "a.example/path",
        "a.example:80",
        "a..example",
        "bü cher.example",
    ],
)
def test_what_is_no_pattern(typed: str) -> None:
    with pytest.raises(InvalidHostname):
        parse_pattern(typed)


@pytest.mark.parametrize(
    ("typed", "says"),
    [("a.example:80", "has a port"), ("http://a.example", "labels of"), ("[::g]", "no IPv6 address")],
)
def test_what_is_wrong_with_a_pattern_is_said(typed: str, says: str) -> None:
    with pytest.raises(InvalidHostname, match=says):
        parse_pattern(typed)


@pytest.mark.parametrize(
    ("name", "patterns"),
    [
        ("a.b.example", ["a.b.example", "*.b.example", "*.example", "*"]),
        ("localhost", ["localhost", "*"]),
    ],
)
def test_candidates_go_from_exact_to_general_and_never_take_the_apex(name: str, patterns: list[str]) -> None:
    assert wildcard_candidates(name) == patterns
    assert f"*.{name}" not in patterns
