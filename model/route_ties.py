"""When two routes cannot both stand: nothing would say which of them answers. Pure.

Used where routes are made; dispatch.routing has the precedence list that this completes.
"""

from __future__ import annotations

from model.paths import normalise_prefix
from model.scripts import Route


def tie_key(route: Route) -> tuple[str, str, int]:
    """Routes with different keys are ordered by the precedence list; those with the same one may tie."""
    return route.pattern, normalise_prefix(route.path_prefix), len(route.headers)


def ties(one: Route, other: Route) -> bool:
    """Whether one request could match both routes and nothing says which of them goes first.

    Conditions on one header with two different values can never both hold, so such routes don't tie.
    """
    if tie_key(one) != tie_key(other):
        return False
    wanted = dict(one.headers)
    return all(wanted.get(name, value) == value for name, value in other.headers)
