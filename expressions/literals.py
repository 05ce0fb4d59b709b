"""What a literal's spelling means, and how a literal is spelt."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from expressions.syntax import (
    Address,
    AddressRange,
    Integer,
    IntegerRange,
    IPAddress,
    Literal,
    Network,
    Text,
)

_ESCAPE: Final = re.compile(r'\\(?:(["\\])|x([0-9A-Fa-f]{2})|([0-3][0-7]{2}))')
_PATTERN_ESCAPE: Final = re.compile(r"\[(?:\\.|[^\]\\])*\]|\\.", re.DOTALL)
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)|0x[0-9A-Fa-f]+")
_LEADING_ZERO: Final = re.compile(r"0[0-9]+")
_INT64: Final = range(-(2**63), 2**63)


class LiteralError(Exception):
    """`offset` is where in the literal's spelling it goes wrong."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def quoted(spelling: str) -> str:
    """The meaning of a string in quotes: `\\"`, `\\\\`, `\\xHH` and three octal digits are escapes."""
    parts: list[bytes] = []
    at, end = 1, len(spelling) - 1
    while at < end:
        backslash = spelling.find("\\", at, end)
        if backslash < 0:
            backslash = end
        parts.append(spelling[at:backslash].encode())
        if backslash == end:
            break
        escape = _ESCAPE.match(spelling, backslash, end)
        if escape is None:
            raise LiteralError(
                'after \\ comes ", another \\, xHH (two hex digits) or three octal digits; for a regular '
                'expression or a literal backslash, r"…" needs no escapes',
                backslash,
            )
        character, hexadecimal, octal = escape.groups()
        parts.append(
            character.encode()
            if character
            else bytes([int(hexadecimal, 16) if hexadecimal else int(octal, 8)])
        )
        at = escape.end()
    return b"".join(parts).decode("utf-8", "surrogateescape")


def raw(spelling: str) -> str:
    """The meaning of r"…" or r#"…"#."""
    hashes = spelling.index('"') - 1
    return spelling[hashes + 2 : len(spelling) - hashes - 1]


def pattern(spelling: str) -> str:
    """The regular expression in quotes: all of it stays, but `\\"` outside of [ ] loses its backslash."""
    return _PATTERN_ESCAPE.sub(lambda found: '"' if found[0] == '\\"' else found[0], spelling[1:-1])


def integer(spelling: str) -> int:
    """Decimal, or hexadecimal after 0x; 64 bits with a sign."""
    if _INTEGER.fullmatch(spelling) is None:
        if _LEADING_ZERO.fullmatch(spelling):
            raise LiteralError(
                f"{spelling} could be read as octal: write {int(spelling)}, or 0x before hex digits"
            )
        raise LiteralError(f"{spelling} is not a number")
    value = int(spelling, 16 if spelling.startswith("0x") else 10)
    if value not in _INT64:
        raise LiteralError("a number has 64 bits at the most, its sign included")
    return value


def atom(spelling: str, at: int) -> Literal:
    """A number, an address, a network or a range of the first two: what is written without quotes."""
    first, dots, last = spelling.partition("..")
    if dots:
        return _range(first, last, at)
    if "/" in spelling:
        return Network(_network(spelling), at=at)
    if ":" in spelling or spelling.count(".") == 3:
        return Address(_address(spelling), at=at)
    if spelling[0].isdigit() or spelling[0] == "-":
        return Integer(integer(spelling), at=at)
    if spelling in ("true", "false"):
        raise LiteralError("a boolean field stands alone: write the field, or not and the field")
    raise LiteralError(f'strings are written in quotes: "{spelling}"')


def _range(first: str, last: str, at: int) -> IntegerRange | AddressRange:
    if not first or not last:
        raise LiteralError("a range has two ends, without spaces in between, as in 1..5")
    if ":" in first or "." in first:
        low, high = _address(first), _address(last)
        if low.version != high.version:
            raise LiteralError("both ends of a range are of one IP version")
        if int(low) > int(high):
            raise LiteralError(f"the range ends before it begins: write {high}..{low}")
        return AddressRange(low, high, at=at)
    start, end = integer(first), integer(last)
    if start > end:
        raise LiteralError(f"the range ends before it begins: write {end}..{start}")
    return IntegerRange(start, end, at=at)


def _address(spelling: str) -> IPAddress:
    try:
        return ip_address(spelling)
    except ValueError:
        raise LiteralError(
            f"{spelling} is not an IP address; bytes are written in quotes, as \\xHH"
        ) from None


def _network(spelling: str) -> IPv4Network | IPv6Network:
    address, _, bits = spelling.partition("/")
    _address(address)
    if not bits.isdecimal():
        raise LiteralError(f"{spelling} is not a network: after the / comes its number of bits")
    try:
        return ip_network(spelling)
    except ValueError:
        pass
    try:
        network = ip_network(spelling, strict=False)
    except ValueError:
        raise LiteralError(f"/{bits} is more bits than the address has") from None
    raise LiteralError(f"{address} has bits beyond the first {bits}: write {network}")


def spelt(literal: Literal) -> str:
    """How `format` writes it: what `atom` or `quoted` read back as the same."""
    match literal:
        case Text(value):
            return in_quotes(value)
        case Integer(value):
            return str(value)
        case IntegerRange(first, last) | AddressRange(first, last):
            return f"{first}..{last}"
        case Address(address):
            return str(address)
        case Network(network):
            return str(network)


def in_quotes(value: str) -> str:
    """`value` in quotes, with the escapes of `quoted`."""
    return '"' + "".join(_escaped(char) for char in value) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if 0xDC80 <= ord(char) <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char if char.isprintable() else "".join(f"\\x{byte:02x}" for byte in char.encode())


def as_pattern(value: str) -> str:
    """A regular expression as a raw string, in which nothing is escaped."""
    hashes = ""
    while f'"{hashes}' in value:
        hashes += "#"
    return f'r{hashes}"{value}"{hashes}'
