"""Rule held: what `lint` says of a policy is true of every request; what it can't know it leaves out."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbound import policy_check
from outbound.egress_fields import Facts
from outbound.policy import decide
from outbound.policy_check import Problem, lint
from outbound.policy_parse import parse_policy
from tests.outbound.policies import FACTS, POLICIES

P = Problem
UNREACHABLE = {P.REDUNDANT, P.SHADOWED, P.UNREACHABLE, P.DENY_AFTER_ALLOW_ALL}


def found(rules: str, mode: str = "enforce") -> list[tuple[Problem, str, tuple[str, ...]]]:
    findings = lint(parse_policy(f"version: 1\nmode: {mode}\nrules:\n{rules}"))
    return [(each.problem, each.rule, each.by) for each in findings]


A = "- {name: a, action: allow, "
B = "- {name: b, action: allow, "


@pytest.mark.parametrize(
    ("broad", "narrow"),
    [
        ("host: a.test", "host: a.test"),
        ("host: '*.a.test'", "host: b.a.test"),
        ("host: '*.a.test'", "host: '*.b.a.test'"),
        ("host: [a.test, b.test]", "host: b.test"),
        ("port: [80, 443]", "port: 443"),
        ("port: 443", "port: 443, host: a.test"),
        ("scheme: [http, https]", "scheme: http"),
        ("method: [GET, HEAD]", "method: HEAD"),
        ("tags: [a, b]", "tags: [b]"),
        ("path: /v1/*", "path: /v1/*"),
        ("path: /v1/*", "path: /v1/items/*"),
        ("path: /v1/*", "path: /v1/x"),
        ("path: '/v1/*/x'", "path: /v1/a/x"),
        ("path: /v1/*", "path: ['/v1/a', '/v1/*b']"),
        ("path: '*'", "host: a.test"),
        ("params: {a: [x, y]}", "params: {a: x}"),
        ("params: {a: x}", "params: {a: x, b: z}"),
        ("when: 'tenant.id eq \"t\"'", "when: 'tenant.id eq \"t\"', port: 80"),
        ("host: a.test", "host: a.test, when: 'tenant.id eq \"t\"'"),
    ],
)
def test_a_rule_that_an_earlier_one_covers_is_found(broad: str, narrow: str) -> None:
    assert found(f"{A}{broad}}}\n{B}{narrow}}}") == [(P.REDUNDANT, "b", ("a",))]
    assert found(f"{A}{broad}}}\n- {{name: b, action: deny, {narrow}}}") == [(P.SHADOWED, "b", ("a",))]
    if broad != narrow:
        assert found(f"{A}{narrow}}}\n{B}{broad}}}") == [], "the other way round, both decide"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("host: '*.a.test'", "host: a.test"),  # a wildcard does not hold its base
        ("host: '*.a.test'", "host: '*.xa.test'"),
        ("host: a.test", "host: '*.a.test'"),
        ("host: a.test", "port: 443"),
        ("host: a.test", "host: [a.test, b.test]"),
        ("port: 80", "port: [80, 443]"),
        ("tags: [a]", "tags: [a, b]"),
        ("path: /v1/x", "path: /v1/*"),
        ("path: '/v1/*x'", "path: /v1/*"),
        ("path: '*x'", "host: a.test"),
        ("params: {a: x}", "params: {a: [x, y]}"),
        ("params: {a: x}", "params: {b: x}"),
        ("params: {a: x, b: z}", "params: {a: x}"),
        ("when: 'tenant.id eq \"t\"'", "when: 'tenant.id eq \"u\"'"),
        ("when: 'tenant.id eq \"t\"'", "port: 80"),
    ],
)
def test_a_rule_that_decides_something_is_left_alone(first: str, second: str) -> None:
    assert found(f"{A}{first}}}\n{B}{second}}}") == []


def test_several_rules_may_cover_one_host_by_host() -> None:
    rules = f"{A}host: a.test}}\n- {{name: d, action: deny, host: '*.b.test'}}\n{B}host: [a.test, x.b.test]}}"
    assert found(rules) == [(P.UNREACHABLE, "b", ("a", "d"))]


@pytest.mark.parametrize(
    "more",
    [
        "secrets: [{header: x, secret: k, plaintext: true}]",
        "headers: {set: {x-a: b}}",
        "timeout_ms: 5",
        "rate_limit: {requests: 1, period_s: 1}",
        "open_cidrs: [10.1.2.0/24]",
        "open_hosts: [a.test]",
    ],
)
def test_a_rule_that_would_do_more_is_not_said_to_be_of_no_use(more: str) -> None:
    rules = f"{A}host: a.test}}\n{B}host: a.test, {more}}}"
    assert (P.UNREACHABLE, "b", ("a",)) in found(rules)
    same = f"{A}host: a.test, {more}}}\n{B}host: a.test, {more}}}"
    assert (P.REDUNDANT, "b", ("a",)) in found(same)


def test_a_denial_after_all_is_allowed_is_named_as_such() -> None:
    rules = "- {name: all, action: allow}\n- {name: d, action: deny, host: a.test}\n" + B + "port: 80}"
    assert found(rules) == [(P.DENY_AFTER_ALLOW_ALL, "d", ("all",)), (P.REDUNDANT, "b", ("all",))]
    assert found("- {name: d, action: deny, host: a.test}\n- {name: all, action: allow}") == []


@pytest.mark.parametrize(
    ("rule", "problems"),
    [
        ("host: a.test, scheme: https, secrets: [{header: x, secret: k}]", []),
        ("host: '*.a.test', scheme: https, secrets: [{header: x, secret: k}]", [P.INJECTION_WILDCARD_HOST]),
        ("host: a.test, secrets: [{header: x, secret: k, plaintext: true}]", [P.INJECTION_PLAINTEXT]),
        ("open_cidrs: [10.1.0.0/16, 'fd00:1:2::/48']", []),
        ("open_cidrs: [10.0.0.0/15]", [P.OPEN_CIDRS_WIDE]),
        ("open_cidrs: ['fd00:1::/47']", [P.OPEN_CIDRS_WIDE]),
    ],
)
def test_what_reaches_too_far_is_found(rule: str, problems: list[Problem]) -> None:
    assert [problem for problem, _, _ in found(f"{A}{rule}}}")] == problems


def test_modes_that_deny_nothing_are_found() -> None:
    assert [problem for problem, _, _ in found(" []", "open")] == [P.MODE_OPEN]
    assert [problem for problem, _, _ in found(" []", "report")] == [P.MODE_REPORT]


@settings(max_examples=100, deadline=None)  # the first makes the grammar
@given(POLICIES, st.lists(FACTS, min_size=3, max_size=6))
def test_a_rule_that_is_said_never_to_decide_never_does(document: str, requests: list[Facts]) -> None:
    policy = parse_policy(document)
    never = {finding.rule for finding in lint(policy) if finding.problem in UNREACHABLE}
    for facts in requests:
        assert decide(policy, facts).rule_name not in never


def test_ten_thousand_rules_are_checked_in_seconds() -> None:
    for rule in ("host: h{n}.test", "host: a.test, path: '/x{n}'", "host: a.test, path: '/a*{n}'"):
        rules = "\n".join(f"- {{name: r{n}, action: allow, {rule.format(n=n)}}}" for n in range(10_000))
        policy = parse_policy(f"version: 1\nrules:\n{rules}")
        started = process_time()
        findings = lint(policy)
        assert process_time() - started < 20
        # Where all rules are alike the work is bounded, and that is said.
        assert [finding.problem for finding in findings] == ([P.NOT_ALL_COMPARED] if "*" in rule else [])


def test_what_was_not_compared_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_check, "MAX_COMPARISONS", 1)
    rules = "\n".join(f"- {{name: r{n}, action: allow, path: '/a*{n}'}}" for n in range(3))
    assert [problem for problem, _, _ in found(rules)] == [P.NOT_ALL_COMPARED]
