"""Lists that expressions name, as in `ip.src in $office`. Frozen: a filter keeps those it was made with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from expressions.ranges import address_member
from expressions.schema import ADDRESS, INTEGER, STRING, Scalar
from expressions.syntax import IPAddress


@dataclass(frozen=True, slots=True)
class NamedList:
    """`has` is asked for values of type `of`."""

    of: Scalar
    has: Callable[[object], bool]


def strings(items: Iterable[str]) -> NamedList:
    return NamedList(STRING, frozenset(items).__contains__)


def integers(items: Iterable[int]) -> NamedList:
    return NamedList(INTEGER, frozenset(items).__contains__)


def addresses(items: Iterable[IPAddress | IPv4Network | IPv6Network]) -> NamedList:
    """Single addresses and networks."""
    ranges = [
        (item[0], item[-1]) if isinstance(item, IPv4Network | IPv6Network) else (item, item) for item in items
    ]
    return NamedList(ADDRESS, address_member(ranges))
