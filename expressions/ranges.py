"""Membership in sets of numbers and addresses: sorted ranges, merged, and one binary search."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable

from expressions.syntax import IPAddress


def integer_member(ranges: Iterable[tuple[int, int]]) -> Callable[[int], bool]:
    """Whether a number is in one of the ranges, both ends included."""
    starts, ends = _merged(ranges)
    if all(start == end for start, end in zip(starts, ends, strict=True)):
        return frozenset(starts).__contains__

    def member(value: int) -> bool:
        at = bisect_right(starts, value) - 1
        return at >= 0 and value <= ends[at]

    return member


def address_member(ranges: Iterable[tuple[IPAddress, IPAddress]]) -> Callable[[object], bool]:
    """Whether an address is in one of the ranges. An IPv4 address is in no range of IPv6, mapped or not."""
    known = list(ranges)
    members = {
        version: integer_member(
            [(int(first), int(last)) for first, last in known if first.version == version]
        )
        for version in (4, 6)
    }

    def member(address: object) -> bool:
        # The schema says address, and facts are trusted to follow it.
        return members[address.version](int(address))  # type: ignore[attr-defined, call-overload]

    return member


def _merged(ranges: Iterable[tuple[int, int]]) -> tuple[list[int], list[int]]:
    starts: list[int] = []
    ends: list[int] = []
    for start, end in sorted(ranges):
        if ends and start <= ends[-1] + 1:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)
    return starts, ends
