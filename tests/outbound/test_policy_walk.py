"""Rule held: an explanation names the condition that did not hold, what was found, and what is wanted."""

from __future__ import annotations

import pytest
from hypothesis import given

from outbound.addresses import AddressClass, AddressRanges
from outbound.egress_fields import Facts
from outbound.policy_explain import explain_request
from outbound.policy_judge import Caller, Request
from outbound.policy_layers import Layer, LayerKind, effective_policy
from outbound.policy_parse import parse_policy
from outbound.policy_set import PolicySet
from outbound.policy_walk import walk, why_unmet
from outbound.reasons import Reason
from tests.outbound.conftest import alone
from tests.outbound.policies import FACTS, POLICIES

FACTS_OF = Facts(
    "https",
    "a.example.com",
    443,
    "GET",
    "/v1",
    tags=("plan:free", "beta"),
    params={"region": "us"},
)


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("host: b.example.com", "host is a.example.com, not b.example.com"),
        ("host: [x.test, y.test, z.test]", "host is a.example.com, not x.test, y.test or z.test"),
        (
            "host: [1.test, 2.test, 3.test, 4.test, 5.test, 6.test, 7.test]",
            "host is a.example.com, not 1.test, 2.test, 3.test, 4.test, 5.test or 2 more",
        ),
        ("port: [80, 8443]", "port is 443, not 80 or 8443"),
        ("scheme: http", "scheme is https, not http"),
        ("method: [POST, PUT]", "method is GET, not POST or PUT"),
        ("path: [/v2/*, /a*b*c, /x]", "path is /v1, not /v2/*, /a*b*c or /x"),
        ("tags: plan:pro", "tags are plan:free, beta, none of them plan:pro"),
        ("params: {region: eu}", "param region is us, not eu"),
        ("params: {region: us, tier: [a, b]}", "param tier is not given, not a or b"),
        (
            """when: 'http.host eq "a.example.com" and tenant.plan in {"pro"}'""",
            "when: tenant.plan in {\"pro\"} (found 'free')",
        ),
        (
            """when: 'tenant.id eq "t" or params["x"] eq "1"'""",
            'when: tenant.id eq "t" (found \'\'); params["x"] eq "1" (found nothing)',
        ),
    ],
)
def test_why_a_rule_does_not_match(condition: str, why: str) -> None:
    policy = parse_policy(f"version: 1\nrules:\n- name: r\n  action: allow\n  {condition}")
    step, last = walk(alone(policy), FACTS_OF)
    assert step.unmet is not None
    assert why_unmet(policy.rules[0].conditions, step.unmet, FACTS_OF) == why
    assert (last.rule, last.reason) == (None, Reason.POLICY_DEFAULT_DENY)


@given(POLICIES, FACTS)
def test_every_rule_that_did_not_match_has_a_reason(document: str, facts: Facts) -> None:
    for step in walk(alone(parse_policy(document)), facts):
        if step.rule is not None and step.unmet is not None:
            assert why_unmet(step.rule.conditions, step.unmet, facts)


def test_a_layer_that_widens_and_has_no_rule_for_it_says_nothing() -> None:
    policy = parse_policy("version: 1")
    layers = effective_policy([Layer(LayerKind.TENANT, policy, "t", widen=True)])
    assert [(step.layer, step.silent) for step in walk(layers, FACTS_OF)] == [
        ("namespace", False),
        ("tenant:t", True),
    ]


def test_each_address_is_judged_as_the_rule_opens_them() -> None:
    policy = parse_policy("version: 1\nrules: [{name: r, action: allow, open_cidrs: [10.0.0.0/24]}]")
    request = Request("https://a.test/", answers=("8.8.8.8", "10.0.0.1", "10.0.1.1"))
    found = explain_request(PolicySet.of(policy), request, Caller(), AddressRanges())
    assert [kind for _, kind in found.addresses] == [
        AddressClass.GLOBAL,
        AddressClass.OPENED,
        AddressClass.PRIVATE,
    ]
    assert (found.allowed, found.hop.reason) == (False, Reason.ADDRESS_PRIVATE)
