"""Random policies and requests, small enough to collide, and what they mean spelled out rule by rule."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from outbound.egress_fields import Facts

_HOSTS = ["a.test", "b.a.test", "*.a.test", "*.b.a.test", "c.b.a.test", "10.0.0.1", "2001:db8::1"]
_PATHS = ["/", "/a", "/a/", "/a/*", "/a/b", "/*b", "/a*", "*", "*/b", "/a/b*", "/a/b/c*", "/x*y*z"]
_TAGS = ["plan:pro", "plan:free", "beta"]
_FILTERS = [
    'tenant.id eq "t1"',
    'tenant.id in {"t1" "t2"} and http.request.method eq "POST"',
    'tenant.id eq "t1" or tenant.id eq "t3"',
    'tenant.id eq "t1" or http.host eq "a.test"',
    'not tenant.id eq "t1"',
    'tenant.plan eq "pro"',
    'http.host eq "a.test" and http.host eq "b.a.test"',
    'http.request.port gt 443 or script.name eq "shop"',
    'params["region"] eq "eu"',
    'any(http.request.headers["x-a"][*] eq "1")',
    'http.request.uri.query contains "q=1"',
]


def _some(values: list[Any], most: int = 2) -> st.SearchStrategy[list[Any] | None]:
    return st.none() | st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


@st.composite
def _rule(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"action": draw(st.sampled_from(["allow", "deny"]))}
    fields: dict[str, st.SearchStrategy[Any]] = {
        "host": _some(_HOSTS, 3),
        "port": _some([80, 443, 8443]),
        "scheme": _some(["http", "https"]),
        "method": _some(["GET", "POST"]),
        "path": _some(_PATHS),
        "tags": _some(_TAGS),
        "params": st.none()
        | st.dictionaries(
            st.sampled_from(["region", "tier"]), st.sampled_from(["eu", "us", ["eu", "us"]]), min_size=1
        ),
        "when": st.none() | st.none() | st.sampled_from(_FILTERS),
    }
    for name, values in fields.items():
        # Most rules have few conditions, else nothing ever matches.
        value = draw(st.none() | values)
        if value is not None:
            found[name] = value
    return found


#: Documents as text.
POLICIES = st.builds(
    lambda mode, rules: json.dumps(
        {
            "version": 1,
            "mode": mode,
            "rules": [{"name": f"r{order}"} | rule for order, rule in enumerate(rules)],
        }
    ),
    st.sampled_from(["enforce", "report", "open"]),
    st.lists(_rule(), max_size=12),
)

FACTS = st.builds(
    Facts,
    scheme=st.sampled_from(["http", "https"]),
    host=st.sampled_from(["a.test", "b.a.test", "c.b.a.test", "x.test", "10.0.0.1", "2001:db8::1"]),
    port=st.sampled_from([80, 443, 8443, 9]),
    method=st.sampled_from(["GET", "POST", "PUT"]),
    path=st.sampled_from(["/", "/a", "/a/", "/a/b", "/b", "/ab", "/a/b/c", "/a/b/cd", "/xyz", "/x/y/z"]),
    tenant=st.sampled_from(["t1", "t2", "t3"]),
    tags=st.lists(st.sampled_from(_TAGS), max_size=2, unique=True),
    params=st.dictionaries(st.sampled_from(["region", "tier"]), st.sampled_from(["eu", "us", "ap"])),
    script=st.sampled_from(["shop", "blog"]),
    namespace=st.sampled_from(["", "customers"]),
    query=st.sampled_from(["", "q=1"]),
    headers=st.lists(st.tuples(st.just(b"x-a"), st.sampled_from([b"1", b"2"])), max_size=2),
)
