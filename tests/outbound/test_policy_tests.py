"""Rule held: a policy's own cases are judged exactly as the gateway would, without a network."""

from __future__ import annotations

import pytest

from outbound.policy import Result
from outbound.policy_parse import PolicyError
from outbound.policy_tests import judge, parse_cases, run_policy_cases
from outbound.reasons import Reason
from tests.outbound.conftest import CLOSED

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


def test_good_cases_pass() -> None:
    results = run_policy_cases(POLICY, CASES)
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
    results = run_policy_cases(policy, f"cases: [{', '.join(cases)}]")
    assert [result.problem for result in results] == [""] * 6


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("expected: deny", "expected deny, got allow by rule 'web', policy.rule_allow"),
        ("expected: allow, rule: pay", "expected rule 'pay', got allow by rule 'web', policy.rule_allow"),
        ("expected: allow, reason: policy.open", "expected reason policy.open, got allow by rule 'web'"),
        ("dns: ['::1'], expected: allow", "expected allow, got deny by rule 'web', address.loopback"),
    ],
)
def test_a_failed_case_says_what_came_instead(rest: str, problem: str) -> None:
    cases = f"cases: [{{name: x, request: {{url: 'http://a.web.test/'}}, {rest}}}]"
    (result,) = run_policy_cases(POLICY, cases)
    assert not result.passed
    assert result.problem.startswith(problem)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("cases: []", 1, "no case"),
        ("{}", 1, "no case"),
        ("case: []", 1, "did you mean 'cases'?"),
        ("cases:\n- x", 2, "no case"),
        ("cases:\n- name: a\n  expected: allow", 2, "needs 'request'"),
        ("cases:\n- name: a\n  request: {url: x}\n  expect: allow", 4, "did you mean 'expected'?"),
        ("cases:\n- name: a\n  request: {uri: x}\n  expected: allow", 3, "did you mean 'url'?"),
        ("cases:\n- name: a\n  request: {url: x}", 2, "no 'expected'"),
        ("cases:\n- name: a\n  request: {url: x}\n  expected: yes", 4, "allow or deny"),
        (
            "cases:\n- name: a\n  request: {url: x}\n  expected: deny\n  reason: policy.deny",
            5,
            "did you mean",
        ),
        ("cases:\n- name: a\n  request: {url: x}\n  expected: deny\n  dns: [a.test]", 5, "IPv4 or IPv6"),
        ("cases:\n- name: a\n  request: {url: x}\n  expected: deny\n  params: [a]", 5, "no mapping of names"),
        (
            "cases:\n- name: a\n  request: {url: x,\n    headers: a}\n  expected: deny",
            4,
            "no mapping of header",
        ),
    ],
)
def test_a_mistake_in_the_cases_names_its_place(text: str, line: int, words: str) -> None:
    with pytest.raises(PolicyError, match=words.replace("?", r"\?")) as caught:
        parse_cases(text)
    assert caught.value.line == line


def test_a_mistake_in_the_policy_is_told_apart() -> None:
    with pytest.raises(PolicyError, match="did you mean 'rules'"):
        run_policy_cases("version: 1\nrulez: []", CASES)


def test_judging_needs_no_network() -> None:
    assert judge(CLOSED, "CONNECT", "https://a.test/").reason is Reason.REQUEST_METHOD
    assert judge(CLOSED, "get", "https://[::1]/").reason is Reason.ADDRESS_LOOPBACK
    assert judge(CLOSED, "get", "https://a.test/", answers=["8.8.8.8"]).result is Result.ALLOW
