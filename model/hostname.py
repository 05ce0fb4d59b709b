"""Turn what a visitor calls a host into the one spelling that routes are compared with.

Sources: RFC 9110 §7.2 (Host), RFC 1035 §2.3.4 (lengths), UTS 46 through `idna`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_LABELS = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_PORT = re.compile(r"[0-9]{1,5}")


class InvalidHostname(ValueError):
    """The message says what was wrong with it, and is safe to show."""


@dataclass(frozen=True, slots=True)
class Hostname:
    """`name` is lower-case A-labels without a trailing dot, or an IP literal without brackets."""

    name: str
    port: int | None
    is_ip: bool


@lru_cache(maxsize=65_536)
def parse_host(host: bytes) -> Hostname:
    """Parse a Host header's value (or an SNI name, which has no port).

    Lower-cases, drops one trailing dot and the port. U-labels are not expected on the wire and are
    refused: a client sends A-labels. Raises InvalidHostname. Cached, since visitors repeat themselves.
    """
    if not host or len(host) > 260:
        raise InvalidHostname("Host is empty or longer than 253 characters")
    try:
        text = host.decode("ascii").lower()
    except UnicodeDecodeError:
        raise InvalidHostname("Host has a byte that is not ASCII; send the A-label (xn--…) form") from None
    name, port = _split_port(text)
    if name.startswith("["):
        if not name.endswith("]") or "%" in name:
            raise InvalidHostname(
                "Host has a bracket that is not closed, or an IPv6 zone; neither names a host"
            )
        try:
            return Hostname(ipaddress.IPv6Address(name[1:-1]).compressed, port, True)
        except ValueError:
            raise InvalidHostname("Host has brackets but is no IPv6 address") from None
    return _parse_name(name, port)


def is_ip_literal(name: str) -> bool:
    """Whether a Hostname's `name` is an address."""
    return ":" in name or (name[-1:].isdigit() and parse_host(name.encode()).is_ip)


def parse_pattern(text: str) -> str:
    """A route's hostname pattern in its one spelling: a hostname, `*.` and a hostname, or `*`.

    U-labels are allowed here, since people type them. Raises InvalidHostname for IP literals with a
    wildcard, empty labels, a wildcard elsewhere than first, and wildcards over a public suffix's parent.
    """
    pattern = text.strip()
    if pattern == "*":
        return pattern
    if pattern.startswith("*."):
        base = _to_ascii(pattern[2:])
        if base.is_ip:
            raise InvalidHostname(f"{text[:80]!r}: an IP address has no subdomains")
        if _is_public_suffix(base.name):
            raise InvalidHostname(
                f"{text[:80]!r}: {base.name} is a public suffix; its names belong to different owners"
            )
        return f"*.{base.name}"
    if "*" in pattern:
        raise InvalidHostname(f"{text[:80]!r}: '*' may only stand alone or as the first label")
    return _to_ascii(pattern).name


def host_matches(pattern: str, host: str) -> bool:
    """Whether a pattern other than `*` holds a name, or all names of another pattern. A wildcard holds every name
    below its base, never the base itself.
    """
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return host == pattern


def wildcard_candidates(name: str) -> list[str]:
    """Every pattern that `name` can match, the most exact first: itself, `*.` parents, `*`."""
    patterns = [name]
    rest = name
    while "." in rest:
        rest = rest.partition(".")[2]
        patterns.append(f"*.{rest}")
    patterns.append("*")
    return patterns


def _split_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        name, bracket, rest = text.partition("]")
        name += bracket
    else:
        name, colon, after = text.partition(":")
        rest = colon + after
    if not rest:
        return name, None
    if not rest.startswith(":") or not _PORT.fullmatch(rest[1:]) or not 0 < int(rest[1:]) < 65_536:
        raise InvalidHostname("Host has a bad port; 1 to 65535 is right")
    return name, int(rest[1:])


def _parse_name(name: str, port: int | None) -> Hostname:
    name = name.removesuffix(".")
    last = name.rpartition(".")[2]
    is_numeric = last[:1].isdigit()
    if is_numeric:  # as an address's last part; for names, 15 µs less
        try:
            return Hostname(str(ipaddress.IPv4Address(name)), port, True)
        except ValueError:
            pass
    if len(name) > 253 or not _LABELS.fullmatch(name):
        raise InvalidHostname("Host is no hostname: labels of 1 to 63 letters, digits, '-' and '_'")
    # 127.1, 0x7f.1 and 2130706433 are addresses to some parsers and names to others: neither here.
    if is_numeric and (last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last)):
        raise InvalidHostname("Host ends in a number but is no IPv4 address of four decimal parts")
    return Hostname(name, port, False)


def _to_ascii(text: str) -> Hostname:
    if text.isascii():
        name, colon, after = text.partition(":")
        if colon and _PORT.fullmatch(after):
            raise InvalidHostname(f"{name[:80]!r} has a port, which is no part of a hostname: leave it out")
        if text.count(":") < 2:
            return _parse_name(text.lower(), None)
        return parse_host((text if text.startswith("[") else f"[{text}]").encode())
    import idna  # 20 ms to load, and only a person's U-label needs it

    try:
        encoded = idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except idna.IDNAError as error:
        raise InvalidHostname(f"{text[:80]!r}: {error}") from error
    return _parse_name(encoded, None)


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList  # 34 ms to load; routes are made seldom

    return PublicSuffixList()


def _is_public_suffix(name: str) -> bool:
    if "." not in name:
        return name != "localhost"  # RFC 6761: it never leaves this machine, so it has one owner
    return bool(_suffixes().publicsuffix(name) == name)
