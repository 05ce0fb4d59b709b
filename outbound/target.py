"""A URL, read strictly: where a request would go, in the one spelling that policy and connector share.

Rule of this file: what two parsers could read differently is refused, never repaired. Pure.
Sources: RFC 3986, the WHATWG URL standard (where browsers depart from it), RFC 6874 (zone ids), UTS 46.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from model.hostname import InvalidHostname, parse_host
from model.paths import remove_dot_segments
from outbound.mixed_scripts import is_mixed
from outbound.reasons import Reason

MAX_URL_LENGTH: Final = 16_384
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# C0, space, DEL, C1 and lone surrogates: some parsers strip them, some stop there, some send them.
_CONTROL = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PORT = re.compile(r"[0-9]{1,5}")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED_ESCAPE = re.compile(r"%(2[dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])")
# What some upstreams read as '/', '.' and ';': encoded, or in more bytes than UTF-8 has for it (RFC 3629 §10).
_OTHERS_SLASH = re.compile(r"(?i)%(?:2f|5c|c1%9c|(?:c0|e0%80|f0%80%80)%af)")
_OTHERS_DOT = re.compile(r"(?i)%(?:c0|e0%80|f0%80%80)%ae")
_OTHERS_SEMICOLON = re.compile(r"(?i)%3b")
# Servers of Java take path parameters off before they resolve dot segments.
_HIDDEN_DOTS = re.compile(r"(?:^|/)\.\.?(?:;[^/]*)?(?:/|$)")
_ESCAPE_IN_PATH = re.compile('[^\x21-\x7e]|["<>^`{|}]')
_ESCAPE_IN_QUERY = re.compile('[^\x21-\x7e]|["<>]')


class InvalidTarget(ValueError):
    """The URL is refused. `reason` is stable; the message says what would be right and is safe to show."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. Only `parse_target` makes one that may be trusted."""

    #: "http" or "https".
    scheme: str
    #: Lower-case A-labels without trailing dot, or an IP literal in its canonical spelling, no brackets.
    host: str
    port: int
    #: As it is sent: begins with "/", dot segments removed, nothing outside printable ASCII.
    path: str
    #: As it is sent, without "?"; "" when there is none.
    query: str
    is_ip: bool
    #: What policy compares: `path` with the escapes of unreserved bytes decoded (RFC 3986 §6.2.2.2).
    match_path: str

    @property
    def authority(self) -> str:
        """What the Host header says: brackets around IPv6, the port only when it isn't the scheme's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def canonical_url(url: str) -> str | None:
    """`url` in the spelling that leaves; None for one that `parse_target` refuses."""
    try:
        target = parse_target(url)
    except InvalidTarget:
        return None
    query = f"?{target.query}" if target.query else ""
    return f"{target.scheme}://{target.authority}{target.path}{query}"


def parse_target(url: str) -> Target:
    """Read an absolute http or https URL. Raises InvalidTarget. The fragment is dropped.

    Refused: other schemes, userinfo, control bytes and spaces, backslashes, ports that are none, empty
    labels, zone ids, spellings of an address other than the canonical kind (127.1, 0x7f.1, 2130706433,
    0177.0.0.1, full-width digits, a trailing dot), labels that mix scripts, bad escapes and dot segments hidden
    behind `%2f`, `;` or overlong bytes.
    """
    return _remembered(url) if len(url) <= 512 else _parse(url)


def _parse(url: str) -> Target:
    if len(url) > MAX_URL_LENGTH:
        raise InvalidTarget(
            Reason.URL_TOO_LONG, f"the URL has {len(url)} characters; at most {MAX_URL_LENGTH} are right"
        )
    if _CONTROL.search(url):
        raise InvalidTarget(
            Reason.URL_CONTROL_BYTE, "the URL has a space or a control byte; write it as %20 or the like"
        )
    if "\\" in url:
        raise InvalidTarget(
            Reason.URL_BACKSLASH, "the URL has a backslash, which some parsers read as '/'; write %5C"
        )
    scheme, rest = _split_scheme(url)
    rest = rest.partition("#")[0]
    authority, path, query = _split_rest(rest)
    host, port, is_ip = _split_authority(authority, DEFAULT_PORTS[scheme])
    path = _clean_path(path)
    return Target(
        scheme=scheme,
        host=host,
        port=port,
        path=path,
        query=_ESCAPE_IN_QUERY.sub(_escape, query),
        is_ip=is_ip,
        match_path=_UNRESERVED_ESCAPE.sub(_unescape, path) if "%" in path else path,
    )


#: Workers repeat themselves. Short URLs only, so that the memory is bounded: some 8 MiB at the worst.
_remembered = lru_cache(maxsize=4_096)(_parse)


def _split_scheme(url: str) -> tuple[str, str]:
    match = _SCHEME.match(url)
    if match is None:
        raise InvalidTarget(
            Reason.URL_MALFORMED, "the URL is not absolute; begin it with https:// or http://"
        )
    scheme = match[1].lower()
    if scheme not in DEFAULT_PORTS:
        raise InvalidTarget(
            Reason.URL_SCHEME, f"the scheme {scheme[:20]!r} can't leave here; https and http can"
        )
    rest = url[match.end() :]
    if not rest.startswith("//"):
        raise InvalidTarget(Reason.URL_MALFORMED, f"the URL has no '//' after {scheme!r}:")
    return scheme, rest[2:]


def _split_rest(rest: str) -> tuple[str, str, str]:
    before_query, _, query = rest.partition("?")
    authority, slash, path = before_query.partition("/")
    return authority, slash + path, query


def _split_authority(authority: str, default_port: int) -> tuple[str, int, bool]:
    if "@" in authority:
        raise InvalidTarget(
            Reason.URL_USERINFO,
            "the URL has a user name or '@' before its path; send an Authorization header",
        )
    if authority.startswith("["):
        inside, bracket, after = authority[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise InvalidTarget(Reason.URL_HOST, "the URL's host has an unclosed '[' or something after ']'")
        return _ipv6(inside), _port(after, default_port), True
    name, colon, digits = authority.partition(":")
    host, is_ip = _host(name)
    return host, _port(colon + digits, default_port), is_ip


def _port(text: str, default: int) -> int:
    if not text:
        return default
    if not _PORT.fullmatch(text[1:]) or not 0 < int(text[1:]) < 65_536:
        raise InvalidTarget(Reason.URL_PORT, f"the port {text[1:][:20]!r} is none; 1 to 65535 is right")
    return int(text[1:])


def _ipv6(text: str) -> str:
    if "%" in text:
        raise InvalidTarget(Reason.URL_ZONE_ID, "the URL's IPv6 address has a zone id; it must have none")
    try:
        return ipaddress.IPv6Address(text).compressed
    except ValueError:
        raise InvalidTarget(
            Reason.URL_HOST, "the URL's host has brackets but holds no IPv6 address"
        ) from None


@lru_cache(maxsize=16_384)
def _host(name: str) -> tuple[str, bool]:
    """The canonical spelling and whether it is an address. Cached, since workers repeat themselves."""
    if not name or len(name) > 1_024:
        raise InvalidTarget(Reason.URL_HOST, "the URL has no host, or one longer than 253 characters")
    ascii_name = name if name.isascii() else _to_ascii(name)
    try:
        host = parse_host(ascii_name.encode("ascii"))
    except InvalidHostname as error:
        numeric = re.fullmatch(r"[0-9.]*|.*(^|\.)(0[xX][0-9a-fA-F]*|[0-9]+)\.?", ascii_name)
        raise InvalidTarget(
            Reason.URL_IP_SPELLING if numeric else Reason.URL_HOST, f"the URL's {error}"
        ) from error
    if host.is_ip and host.name != name:
        # Full-width digits, or a trailing dot: an address to some parsers, a name to others.
        raise InvalidTarget(
            Reason.URL_IP_SPELLING, f"the URL's host spells an address oddly; write {host.name}"
        )
    if not host.is_ip and "xn--" in host.name:
        _check_a_labels(host.name)
    return host.name, host.is_ip


def _to_ascii(name: str) -> str:
    import idna  # 20 ms to load, and only a U-label needs it

    try:
        return idna.encode(name, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise InvalidTarget(
            Reason.URL_HOST, f"the URL's host {name[:80]!r} is no domain name: {error}"
        ) from error


def _check_a_labels(name: str) -> None:
    import idna

    for label in name.split("."):
        if label.startswith("xn--"):
            try:
                spelled = idna.ulabel(label)
            except (idna.IDNAError, UnicodeError) as error:
                raise InvalidTarget(Reason.URL_HOST, f"the URL's label {label!r} is no A-label") from error
            if is_mixed(spelled):
                raise InvalidTarget(
                    Reason.URL_MIXED_SCRIPT,
                    f"the URL's label {label!r} mixes scripts, as look-alikes of other names do; one script is right",
                )


def _clean_path(path: str) -> str:
    if not path:
        return "/"
    if "%" in path:
        if _BAD_ESCAPE.search(path):
            raise InvalidTarget(Reason.URL_PATH, "the URL's path has a '%' without two hex digits; write %25")
        path = re.sub(r"%2[eE]", ".", path)
    if "/." in path:
        path = remove_dot_segments(path)
    if ("%" in path or ";" in path) and _HIDDEN_DOTS.search(_as_others_read(path)):
        # /public/..%2fadmin is one segment here and /admin at an upstream that decodes first.
        raise InvalidTarget(
            Reason.URL_PATH, "the URL's path hides '.' or '..' beside %2F, %5C or ';', or in overlong bytes"
        )
    return _ESCAPE_IN_PATH.sub(_escape, path)


def _as_others_read(path: str) -> str:
    for pattern, plain in ((_OTHERS_SLASH, "/"), (_OTHERS_DOT, "."), (_OTHERS_SEMICOLON, ";")):
        path = pattern.sub(plain, path)
    return path


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8"))


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))
