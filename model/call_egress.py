"""The hosts to which a dispatcher narrows what one call may send. Pure.

Only what an egress policy allows leaves in any case; this can take from it, never add.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from model.hostname import InvalidHostname, parse_pattern, wildcard_candidates

#: Of one call.
MAX_EGRESS_HOSTS: Final = 64

#: Patterns in their one spelling, each once, none that another one holds; sorted. Empty: nothing may leave.
EgressHosts = tuple[str, ...]


@lru_cache(maxsize=256)
def parse_egress_hosts(patterns: tuple[str, ...]) -> EgressHosts:
    """Exact names, IP literals, or `*.` and a name. Raises InvalidHostname. Remembered: dispatchers say the same
    of call after call.
    """
    found = [parse_pattern(pattern) for pattern in patterns]
    if "*" in found:
        raise InvalidHostname("'*' holds every host, which narrows nothing; leave `egress` out")
    return _least(found)


def narrowed(outer: EgressHosts | None, inner: EgressHosts | None) -> EgressHosts | None:
    """What both hold; None holds everything."""
    if outer is None or inner is None:
        return inner if outer is None else outer
    holding_outer, holding_inner = set(outer), set(inner)
    found = [host for host in inner if not holding_outer.isdisjoint(_holders(host))]
    found += [host for host in outer if not holding_inner.isdisjoint(_holders(host))]
    return _least(found)


def _least(patterns: Iterable[str]) -> EgressHosts:
    each = set(patterns)
    return tuple(sorted(one for one in each if each.isdisjoint(_holders(one)[1:])))


def _holders(pattern: str) -> list[str]:
    """Every pattern that holds all that this one does, itself first: a look-up each, however long the lists are."""
    return [pattern, *wildcard_candidates(pattern.removeprefix("*."))[1:]]
