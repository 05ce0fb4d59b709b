"""Patterns in which `*` stands for any bytes, none included. Matched without backtracking."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from expressions.strings import lower

_TOKEN: Final = re.compile(r"\\(?P<escaped>.)|(?P<star>\*)|(?P<plain>[^\\*]+)|(?P<wrong>\\)", re.DOTALL)


class WildcardError(Exception):
    """Why a pattern is none."""


def check_wildcard(pattern: str) -> None:
    _pieces(pattern)


def matcher(pattern: str, *, strict: bool) -> Callable[[str], bool]:
    """Whether a whole value fits the pattern; ASCII letters of either case are the same unless `strict`."""
    pieces = _pieces(pattern) if strict else [lower(piece) for piece in _pieces(pattern)]
    if strict:
        return lambda value: _fits(value, pieces)
    return lambda value: _fits(lower(value), pieces)


def _pieces(pattern: str) -> list[str]:
    """What stands before, between and behind the stars."""
    pieces = [""]
    starred = False
    for token in _TOKEN.finditer(pattern):
        star = token["star"] is not None
        if star and starred:
            raise WildcardError("two stars in a row say no more than one: write *")
        starred = star
        if star:
            pieces.append("")
            continue
        escaped = token["escaped"]
        if token["wrong"] or escaped not in (None, "*", "\\"):
            raise WildcardError('after \\ comes * or another \\; r"…" needs no more escapes than these')
        pieces[-1] += escaped or token["plain"]
    return pieces


def _fits(value: str, pieces: list[str]) -> bool:
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return value == first
    if not value.startswith(first):
        return False
    at, end = len(first), len(value) - len(last)
    # The leftmost place for each piece leaves the most room for the next ones.
    for piece in pieces[1:-1]:
        found = value.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return at <= end and value.endswith(last)
