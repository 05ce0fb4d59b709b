"""The precedence list of dispatch.routing, a row for each of its sentences."""

from __future__ import annotations

import itertools

import pytest

from dispatch.routing import NoRoute, RequestFacts, Routed, route
from model.hostname import wildcard_candidates
from model.messages import Headers
from model.route_ties import tie_key, ties
from model.scripts import HostnameRoutes, Route
from tests.dispatch.support import make_route

ROUTES = {
    "a.example": [
        make_route("exact"),
        make_route("exact-api", prefix="/api"),
        make_route("exact-api-v2", prefix="/api/v2/"),
        make_route("exact-beta", headers={"x-ring": "beta"}),
        make_route("exact-beta-eu", headers={"x-ring": "beta", "x-region": "eu"}),
    ],
    "b.example": [make_route("b-api", "b.example", "/api")],
    "*.example": [make_route("one-label", "*.example")],
    "*.sub.example": [make_route("two-labels", "*.sub.example")],
    "*": [make_route("rest", "*")],
}


def answer(
    hostname: str,
    path: str = "/",
    headers: Headers = (),
    routes: dict[str, list[Route]] = ROUTES,
    header_routes: bool = True,
) -> str | None:
    candidates = [
        HostnameRoutes(tuple(routes[pattern]), header_routes)
        for pattern in wildcard_candidates(hostname)
        if pattern in routes
    ]
    found = route(RequestFacts(hostname, path, headers), candidates)
    return found.route.id if isinstance(found, Routed) else None


@pytest.mark.parametrize(
    ("hostname", "path", "headers", "expected"),
    [
        ("a.example", "/", [], "exact"),
        ("c.example", "/", [], "one-label"),
        ("x.sub.example", "/", [], "two-labels"),  # more labels first
        ("y.x.sub.example", "/", [], "two-labels"),  # a wildcard matches one label or more
        ("sub.example", "/", [], "one-label"),  # … and never its own apex
        ("example", "/", [], "rest"),
        ("elsewhere.test", "/", [], "rest"),
        ("a.example", "/api", [], "exact-api"),
        ("a.example", "/api/v1", [], "exact-api"),
        ("a.example", "/api/v2", [], "exact-api-v2"),  # a longer prefix first
        ("a.example", "/api/v2/x", [], "exact-api-v2"),
        ("a.example", "/api/v20", [], "exact-api"),
        ("a.example", "/apifoo", [], "exact"),  # segment borders
        ("a.example", "/x/../api", [], "exact-api"),
        ("a.example", "/%61pi", [], "exact-api"),
        ("a.example", "/api/../x", [], "exact"),
        ("a.example", "/", [(b"x-ring", b"beta")], "exact-beta"),
        ("a.example", "/", [(b"x-ring", b" beta\t")], "exact-beta"),  # white space is not part of a value
        ("a.example", "/", [(b"x-ring", b"Beta")], "exact"),  # exact value
        ("a.example", "/", [(b"x-ring", b"beta"), (b"x-ring", b"beta")], "exact"),  # exactly once
        ("a.example", "/", [(b"x-ring", b"beta"), (b"x-region", b"eu")], "exact-beta-eu"),  # more conditions
        ("a.example", "/", [(b"x-region", b"eu")], "exact"),
        ("a.example", "/api", [(b"x-ring", b"beta")], "exact-api"),  # path goes before headers
        ("b.example", "/api/x", [], "b-api"),
        ("b.example", "/", [], "one-label"),  # falls to the next pattern
    ],
)
def test_precedence(hostname: str, path: str, headers: Headers, expected: str) -> None:
    assert answer(hostname, path, headers) == expected


def test_the_order_in_which_routes_are_stored_changes_nothing() -> None:
    request = ("a.example", "/api/v2", [(b"x-ring", b"beta")])
    for stored in itertools.permutations(ROUTES["a.example"]):
        assert answer(*request, routes={"a.example": list(stored)}) == "exact-api-v2"


def test_header_routes_count_only_where_they_are_enabled() -> None:
    headers = [(b"x-ring", b"beta")]
    only = {"a.example": [make_route("beta", headers={"x-ring": "beta"})]}
    assert answer("a.example", "/", headers, only) == "beta"
    assert answer("a.example", "/", headers, only, header_routes=False) is None


def test_no_candidates_and_no_match_are_told_apart_for_the_operator() -> None:
    nothing = route(RequestFacts("x.test", "/"), [])
    assert isinstance(nothing, NoRoute)
    other_path = route(
        RequestFacts("b.example", "/"), [HostnameRoutes((make_route("b", "b.example", "/api"),))]
    )
    assert isinstance(other_path, NoRoute)
    assert nothing.reason != other_path.reason


@pytest.mark.parametrize(
    ("one", "other", "tied"),
    [
        (make_route("1"), make_route("2"), True),
        (make_route("1"), make_route("2", "b.example"), False),
        (make_route("1", prefix="/api"), make_route("2", prefix="/api/"), True),  # one border, two spellings
        (make_route("1", prefix="/%61pi"), make_route("2", prefix="/api"), True),
        (make_route("1", prefix="/"), make_route("2"), True),
        (make_route("1", prefix="/api"), make_route("2", prefix="/other"), False),
        (make_route("1", headers={"x": "1"}), make_route("2"), False),
        (make_route("1", headers={"x": "1"}), make_route("2", headers={"x": "2"}), False),  # never both
        (make_route("1", headers={"x": "1"}), make_route("2", headers={"x": "1"}), True),
        (make_route("1", headers={"x": "1"}), make_route("2", headers={"y": "1"}), True),  # both may hold
        (
            make_route("1", headers={"x": "1", "y": "1"}),
            make_route("2", headers={"y": "2", "z": "1"}),
            False,
        ),
    ],
)
def test_ties(one: Route, other: Route, tied: bool) -> None:
    assert ties(one, other) is tied
    assert ties(other, one) is tied
    assert not tied or tie_key(one) == tie_key(other)
