"""Rule held: what a dispatcher says of a call's egress takes away, and never adds, whatever was said before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.call_egress import EgressHosts, narrowed, parse_egress_hosts
from model.hostname import InvalidHostname, host_matches

PATTERNS = st.lists(
    st.sampled_from(["a.test", "b.a.test", "*.a.test", "*.b.a.test", "c.b.a.test", "10.0.0.1", "*.c.test"]),
    max_size=5,
)
HOSTS = ["a.test", "b.a.test", "c.b.a.test", "d.c.b.a.test", "10.0.0.1", "x.c.test", "z.test", "2001:db8::1"]


def holds(patterns: EgressHosts | None, host: str) -> bool:
    return patterns is None or any(host_matches(pattern, host) for pattern in patterns)


@given(st.none() | PATTERNS, st.none() | PATTERNS)
def test_both_must_hold_a_host(outer: list[str] | None, inner: list[str] | None) -> None:
    one = None if outer is None else parse_egress_hosts(tuple(outer))
    other = None if inner is None else parse_egress_hosts(tuple(inner))
    both = narrowed(one, other)
    assert [holds(both, host) for host in HOSTS] == [
        holds(one, host) and holds(other, host) for host in HOSTS
    ]
    assert both == narrowed(other, one)


@given(PATTERNS)
def test_a_list_is_brought_to_one_spelling(patterns: list[str]) -> None:
    found = parse_egress_hosts(tuple(patterns))
    assert [holds(found, host) for host in HOSTS] == [
        any(host_matches(pattern, host) for pattern in patterns) for host in HOSTS
    ]
    assert found == parse_egress_hosts((*reversed(patterns), *patterns))
    assert not any(host_matches(one, other) for one in found for other in found if one != other)


def test_spellings_of_one_host_are_one() -> None:
    assert parse_egress_hosts(("API.Example.com", "api.example.com.", "*.example.com")) == ("*.example.com",)


@pytest.mark.parametrize("pattern", ["*", "*.com", "https://a.test", "a..test", "*.10.0.0.1", ""])
def test_what_is_no_host_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidHostname):
        parse_egress_hosts(("a.test", pattern))
