"""Rule held: a URL has one reading here, or is refused with a stable reason."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbound.reasons import Reason
from outbound.target import InvalidTarget, parse_target

GOOD = [
    # url, scheme, host, port, path, query
    ("http://example.com", "http", "example.com", 80, "/", ""),
    ("HTTPS://EXAMPLE.com.:8443/a?b=c#d", "https", "example.com", 8443, "/a", "b=c"),
    ("https://example.com?x", "https", "example.com", 443, "/", "x"),
    ("https://example.com#x?y/z", "https", "example.com", 443, "/", ""),
    ("http://bücher.example/ü?q=é", "http", "xn--bcher-kva.example", 80, "/%C3%BC", "q=%C3%A9"),
    ("http://xn--bcher-kva.example/", "http", "xn--bcher-kva.example", 80, "/", ""),
    ("http://a_b.example/", "http", "a_b.example", 80, "/", ""),
    ("http://127.0.0.1:65535/", "http", "127.0.0.1", 65535, "/", ""),
    ("http://[2001:DB8::1]:1/", "http", "2001:db8::1", 1, "/", ""),
    ("http://[::ffff:1.2.3.4]/", "http", "::ffff:102:304", 80, "/", ""),
    ("http://h/a/../b/./c/..", "http", "h", 80, "/b/", ""),
    ("http://h/../../etc", "http", "h", 80, "/etc", ""),
    ("http://h/a/%2e%2E/b", "http", "h", 80, "/b", ""),
    ("http://h//a//b", "http", "h", 80, "//a//b", ""),
    ("http://h/a%2Fb", "http", "h", 80, "/a%2Fb", ""),
    ('http://h/"<{|}>', "http", "h", 80, "/%22%3C%7B%7C%7D%3E", ""),
    ("http://h/a.b/..c", "http", "h", 80, "/a.b/..c", ""),
    ("http://h/@user?@x", "http", "h", 80, "/@user", "@x"),
    ("http://h/" + "a" * 16_000, "http", "h", 80, "/" + "a" * 16_000, ""),
]


@pytest.mark.parametrize(("url", "scheme", "host", "port", "path", "query"), GOOD)
def test_read(url: str, scheme: str, host: str, port: int, path: str, query: str) -> None:
    target = parse_target(url)
    assert (target.scheme, target.host, target.port, target.path, target.query) == (
        scheme,
        host,
        port,
        path,
        query,
    )


BAD = [
    ("", Reason.URL_MALFORMED),
    ("/relative", Reason.URL_MALFORMED),
    ("//h/", Reason.URL_MALFORMED),
    ("http:/h/", Reason.URL_MALFORMED),
    ("http:h", Reason.URL_MALFORMED),
    ("ws://h/", Reason.URL_SCHEME),
    ("wss://h/", Reason.URL_SCHEME),
    ("file:///etc/passwd", Reason.URL_SCHEME),
    ("gopher://h/", Reason.URL_SCHEME),
    ("javascript:alert(1)", Reason.URL_SCHEME),
    ("http://h/" + "a" * 16_400, Reason.URL_TOO_LONG),
    (" http://h/", Reason.URL_CONTROL_BYTE),
    ("http://h/a b", Reason.URL_CONTROL_BYTE),
    ("http://h/\r\nx: y", Reason.URL_CONTROL_BYTE),
    ("ht\ttp://h/", Reason.URL_CONTROL_BYTE),
    ("http://h\x00.evil/", Reason.URL_CONTROL_BYTE),
    ("http://h/\x7f", Reason.URL_CONTROL_BYTE),
    ("http://h/\x85", Reason.URL_CONTROL_BYTE),
    ("http://h/\ud800", Reason.URL_CONTROL_BYTE),
    ("http://h\\@evil/", Reason.URL_BACKSLASH),
    ("http:\\\\h/", Reason.URL_BACKSLASH),
    ("http://u@h/", Reason.URL_USERINFO),
    ("http://u:p@h/", Reason.URL_USERINFO),
    ("http://@h/", Reason.URL_USERINFO),
    ("http://good.test@127.0.0.1/", Reason.URL_USERINFO),
    ("http://h:/", Reason.URL_PORT),
    ("http://h:0/", Reason.URL_PORT),
    ("http://h:65536/", Reason.URL_PORT),
    ("http://h:-1/", Reason.URL_PORT),
    ("http://h:80:80/", Reason.URL_PORT),
    ("http://h:8０/", Reason.URL_PORT),
    ("http://[::1]:x/", Reason.URL_PORT),
    ("http:///", Reason.URL_HOST),
    ("http://:80/", Reason.URL_HOST),
    ("http://a..b/", Reason.URL_HOST),
    ("http://.a/", Reason.URL_HOST),
    ("http://a../", Reason.URL_HOST),
    ("http://-a.b/", Reason.URL_HOST),
    ("http://a%2eb/", Reason.URL_HOST),
    ("http://*.a/", Reason.URL_HOST),
    ("http://" + "a" * 64 + ".b/", Reason.URL_HOST),
    ("http://" + "a." * 127 + "aa/", Reason.URL_HOST),
    ("http://[::1/", Reason.URL_HOST),
    ("http://[::1]x/", Reason.URL_HOST),
    ("http://[1.2.3.4]/", Reason.URL_HOST),
    ("http://[v1.a]/", Reason.URL_HOST),
    ("http://::1/", Reason.URL_HOST),
    ("http://xn--a/", Reason.URL_HOST),
    ("http://a\u200bb\u2028/", Reason.URL_CONTROL_BYTE),
    ("http://a\u2044b/", Reason.URL_HOST),  # fraction slash: a '/' to the eye
    ("http://a℀b/", Reason.URL_HOST),  # UTS 46 maps it to "a/c"
    ("http://[fe80::1%25eth0]/", Reason.URL_ZONE_ID),
    ("http://[fe80::1%eth0]/", Reason.URL_ZONE_ID),
    ("http://127.1/", Reason.URL_IP_SPELLING),
    ("http://127.0.1/", Reason.URL_IP_SPELLING),
    ("http://0x7f.1/", Reason.URL_IP_SPELLING),
    ("http://0x7f000001/", Reason.URL_IP_SPELLING),
    ("http://2130706433/", Reason.URL_IP_SPELLING),
    ("http://017700000001/", Reason.URL_IP_SPELLING),
    ("http://0177.0.0.1/", Reason.URL_IP_SPELLING),
    ("http://127.0.0.01/", Reason.URL_IP_SPELLING),
    ("http://127.0.0.256/", Reason.URL_IP_SPELLING),
    ("http://127.0.0.1./", Reason.URL_IP_SPELLING),
    ("http://1.2.3.4.5/", Reason.URL_IP_SPELLING),
    ("http://0/", Reason.URL_IP_SPELLING),
    ("http://a.0x7f/", Reason.URL_IP_SPELLING),
    ("http://１２７.0.0.1/", Reason.URL_IP_SPELLING),
    ("http://127。0。0。1/", Reason.URL_IP_SPELLING),
    ("http://⑫7.0.0.1/", Reason.URL_IP_SPELLING),
    ("http://h/%", Reason.URL_PATH),
    ("http://h/%2", Reason.URL_PATH),
    ("http://h/%zz", Reason.URL_PATH),
    ("http://h/public/..%2fadmin", Reason.URL_PATH),
    ("http://h/public/%2e%2e%5Cadmin", Reason.URL_PATH),
    ("http://h/a%2F../b%2f..", Reason.URL_PATH),
]


@pytest.mark.parametrize(("url", "reason"), BAD)
def test_refused(url: str, reason: Reason) -> None:
    with pytest.raises(InvalidTarget) as caught:
        parse_target(url)
    assert caught.value.reason is reason


def test_policy_compares_the_path_with_unreserved_escapes_decoded_but_it_is_sent_as_written() -> None:
    target = parse_target("http://h/%61dmin/%7e%2F%41%20")
    assert target.path == "/%61dmin/%7e%2F%41%20"
    assert target.match_path == "/admin/~%2FA%20"


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://h:80/", "h"),
        ("https://h:80/", "h:80"),
        ("https://[::1]:443/", "[::1]"),
        ("http://[::1]:443/", "[::1]:443"),
    ],
)
def test_authority_names_the_port_only_when_it_is_not_the_schemes(url: str, authority: str) -> None:
    assert parse_target(url).authority == authority


@given(st.text(max_size=40), st.text(max_size=40))
def test_anything_is_read_or_refused_and_what_is_read_reads_the_same_again(host: str, rest: str) -> None:
    try:
        target = parse_target(f"http://{host}/{rest}")
    except InvalidTarget:
        return
    again = f"{target.scheme}://{target.authority}{target.path}" + (
        f"?{target.query}" if target.query else ""
    )
    assert again.isascii()
    assert parse_target(again) == target
    split = urlsplit(again)  # an independent parser agrees about where it goes
    assert (split.hostname, split.port or 80, split.username) == (target.host, target.port, None)
