"""Rule held: a policy's own cases pass when what they say is so, and else say what came instead."""

from __future__ import annotations

import pytest

from outbound.policy_cases import parse_cases
from outbound.policy_layers import Layer, LayerKind
from outbound.policy_parse import parse_policy
from outbound.policy_set import PolicySet
from outbound.policy_tests import CaseResult, run_cases

POLICY = """
version: 1
rules:
  - {name: pay, action: allow, scheme: https, host: api.pay.test, method: POST, open_cidrs: [10.1.0.0/16]}
  - {name: web, action: allow, host: "*.web.test"}
"""

CASES = """
cases:
  - name: payments may be posted
    request: {method: POST, url: "https://api.pay.test/v1"}
    dns: [93.184.216.34, 10.1.2.3]
    expected: allow
    rule: pay
    reason: policy.rule_allow
  - name: not read
    request: {url: "https://api.pay.test/v1"}
    expected: deny
    rule: ""
    reason: policy.default_deny
  - name: nothing inside
    request: {url: "http://a.web.test/"}
    dns: [93.184.216.34, 10.1.2.3]
    expected: deny
    rule: web
    reason: address.private
  - name: nor by number
    request: {url: "http://127.1/"}
    expected: deny
    reason: url.ip_spelling
  - {name: gone, request: {url: "http://a.web.test/"}, dns: [], expected: deny, reason: resolve.not_found}
  - {name: by name alone, tenant: t1, request: {url: "http://a.web.test/"}, expected: allow}
"""


def run(policy: str, cases: str, *layers: Layer) -> list[CaseResult]:
    policies = PolicySet([Layer(LayerKind.NAMESPACE, parse_policy(policy)), *layers])
    return run_cases(policies, parse_cases(cases).cases)


def test_good_cases_pass() -> None:
    results = run(POLICY, CASES)
    assert [(result.case.name, result.problem) for result in results if not result.passed] == []
    assert len(results) == 6
    assert results[2].judgement.address == "10.1.2.3"
    assert [result.case.line for result in results][:2] == [3, 9]


def test_a_case_says_who_asks() -> None:
    policy = """
version: 1
rules:
- {name: tags, action: allow, port: 1, tags: beta}
- {name: params, action: allow, port: 2, params: {region: eu}}
- name: when
  action: allow
  port: 3
  when: >-
    tenant.id eq "t1" and tenant.plan eq "pro" and script.name eq "shop" and namespace.name eq "customers"
    and http.request.headers["x-a"][1] eq "2" and http.request.uri.query eq "q"
"""
    who = "tenant: t1, script: shop, namespace: customers, tags: [beta, 'plan:pro'], params: {region: eu}"
    headers = "{X-A: ['1', '2']}"
    cases = [
        f"{{name: 'c{port}', {caller}, request: {{url: 'https://a.test:{port}/?q', headers: {sent}}}, {expected}}}"
        for port, rule in enumerate(("tags", "params", "when"), 1)
        for caller, sent, expected in (
            (who, headers, f"expected: allow, rule: {rule}"),
            ("tenant: t1", "{}", "expected: deny, reason: policy.default_deny"),
        )
    ]
    results = run(policy, f"cases: [{', '.join(cases)}]")
    assert [result.problem for result in results] == [""] * 6


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("expected: deny", "expected deny, got allow by rule 'web', policy.rule_allow"),
        ("expected: allow, rule: pay", "expected rule 'pay', got allow by rule 'web', policy.rule_allow"),
        ("expected: allow, reason: policy.open", "expected reason policy.open, got allow by rule 'web'"),
        (
            "dns: ['::1'], expected: allow",
            "expected allow, got deny by rule 'web', address.loopback (::1)",
        ),
        ("expected: allow, layer: tenant:t1", "expected layer 'tenant:t1', got allow by rule 'web'"),
        ("expected: allow, followed: 1", "expected 1 redirects to be followed, got 0"),
        ("expected: allow, headers: {sent: {x-a: b}}", "expected header x-a: 'b', got none"),
        ("expected: allow, headers: {removed: accept}", "expected no header accept, got '*/*'"),
        ("egress: {allow: []}, expected: allow", "expected allow, got deny by no rule of call"),
        (
            "dns: [], expected: deny, headers: {removed: accept}",
            "expected headers to be sent, but nothing is",
        ),
        (
            "expected: allow, redirects: [{status: 302, location: /next}]",
            "the redirect to /next is handed to the worker, not followed: say 'followed: 0'",
        ),
    ],
)
def test_a_failed_case_says_what_came_instead(rest: str, problem: str) -> None:
    request = "{url: 'http://a.web.test/', headers: {Accept: '*/*'}}"
    (result,) = run(POLICY, f"cases: [{{name: x, request: {request}, {rest}}}]")
    assert not result.passed
    assert result.problem.startswith(problem)


def test_layers_hold_for_whom_they_are_made() -> None:
    free = parse_policy("version: 1\nrules: [{name: no posts, action: deny, method: POST}]\nmode: open")
    acme = parse_policy("version: 1\nrules: [{name: extra, action: allow, host: extra.test}]")
    request = "request: {method: POST, url: 'https://api.pay.test/'}"
    extra = "request: {url: 'https://extra.test/'}"
    results = run(
        POLICY,
        f"""
cases:
  - {{name: a, {request}, expected: allow, layer: namespace}}
  - {{name: b, {request}, tags: [beta, "plan:free"], expected: deny, rule: no posts, layer: "tag:plan:free"}}
  - {{name: c, {extra}, tenant: acme, expected: allow, layer: tenant:acme, rule: extra}}
  - {{name: d, {extra}, tenant: other, expected: deny, layer: namespace}}
  - {{name: e, {extra}, tenant: acme, egress: {{allow: [a.test]}}, expected: deny, layer: call}}
""",
        Layer(LayerKind.TAG, free, "plan:free"),
        Layer(LayerKind.TENANT, acme, "acme", widen=True),
    )
    assert [result.problem for result in results] == [""] * 5


def test_headers_are_held_as_they_would_leave() -> None:
    policy = """
version: 1
rules:
  - name: pay
    action: allow
    scheme: https
    host: api.pay.test
    follow_redirects: 2
    headers: {set: {x-team: shop}, remove: [x-debug]}
    secrets: [{header: authorization, secret: key, template: "Bearer {secret}"}]
  - {name: cdn, action: allow, host: cdn.test, follow_redirects: 2}
"""
    sent = "headers: {X-Debug: '1', X-Team: mine, Authorization: own, Cookie: c}"
    results = run(
        policy,
        f"""
cases:
  - name: with the secret's name in its place
    request: {{url: "https://api.pay.test/", {sent}}}
    expected: allow
    headers: {{sent: {{x-team: shop, Authorization: "Bearer {{secret:key}}"}}, removed: X-Debug}}
  - name: a redirect to another origin takes neither secret nor cookie along
    request: {{url: "https://api.pay.test/", {sent}}}
    redirects: [{{status: 302, location: "https://cdn.test/file", dns: [93.184.216.34]}}]
    expected: allow
    rule: cdn
    followed: 1
    headers: {{sent: {{x-debug: "1", x-team: mine}}, removed: [authorization, cookie]}}
  - name: nor when it comes back
    request: {{url: "https://api.pay.test/"}}
    redirects:
      - {{status: 302, location: "https://cdn.test/"}}
      - {{status: 302, location: "https://api.pay.test/again"}}
    expected: allow
    rule: pay
    headers: {{sent: {{x-team: shop}}, removed: authorization}}
  - name: nowhere inside
    request: {{url: "https://api.pay.test/"}}
    redirects: [{{status: 302, location: "//cdn.test/", dns: [169.254.169.254]}}]
    expected: deny
    followed: 1
    reason: address.metadata_service
  - name: not to http
    request: {{url: "https://api.pay.test/"}}
    redirects: [{{status: 301, location: "http://cdn.test/"}}]
    expected: deny
    followed: 0
    reason: redirect.downgrade
""",
    )
    assert [result.problem for result in results] == [""] * 5
