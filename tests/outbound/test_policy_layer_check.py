"""Rule held: what is said of several layers is true: such a rule changes no decision, whatever is asked."""

from __future__ import annotations

import pytest
from hypothesis import given

from outbound.egress_fields import Facts
from outbound.policy import Action, EgressPolicy, Rule
from outbound.policy_check import Finding, Problem
from outbound.policy_conditions import Conditions
from outbound.policy_layer_check import lint_layers, may_meet, takes_all
from outbound.policy_layers import Layer, LayerKind, decide_layers, effective_policy
from outbound.policy_parse import parse_policy
from tests.outbound.policies import FACTS, POLICIES

TENANT = "version: 1\nrules: [{name: r, action: allow, host: a.test, path: /x, port: 443"


def found(namespace: str, tenant: str, *, widen: bool = False, tag: str = "") -> list[tuple[str, Finding]]:
    layers = [
        Layer(LayerKind.NAMESPACE, parse_policy(namespace)),
        Layer(LayerKind.TENANT, parse_policy(tenant), "acme", widen),
    ]
    if tag:
        layers.append(Layer(LayerKind.TAG, parse_policy(tag), "vip", widen=True))
    return lint_layers(effective_policy(layers).layers)


def rules(*each: str, mode: str = "enforce") -> str:
    return f"version: 1\nmode: {mode}\nrules: [{', '.join(each)}]"


#: namespace, whether the tenant's rule r (allow a.test:443/x) allows nothing, by what
TABLE = [
    (rules(), ("",)),
    (rules("{name: n, action: allow, host: b.test}"), ("",)),
    (rules("{name: n, action: allow, host: '*.a.test'}"), ("",)),  # the base is not below itself
    (rules("{name: n, action: allow, port: 80}"), ("",)),
    (rules("{name: n, action: allow}"), None),
    (rules("{name: n, action: allow, host: a.test, method: POST, path: /y}"), None),  # paths are not compared
    (rules("{name: d, action: deny, host: a.test}", "{name: n, action: allow}"), ("d",)),
    (rules("{name: d, action: deny, path: /*}", "{name: n, action: allow}"), ("d",)),
    (rules("{name: d, action: deny, host: a.test, method: POST}", "{name: n, action: allow}"), None),
    (rules("{name: n, action: allow}", "{name: d, action: deny, host: a.test}"), None),
    (rules(mode="report"), None),
    (rules(mode="open"), None),
]


@pytest.mark.parametrize(("namespace", "by"), TABLE)
def test_a_rule_that_allows_what_the_namespace_denies(namespace: str, by: tuple[str, ...] | None) -> None:
    findings = found(namespace, f"{TENANT}}}]")
    if by is None:
        assert findings == []
        return
    ((layer, finding),) = findings
    assert (layer, finding.problem, finding.rule) == ("tenant:acme", Problem.LAYER_ALLOWS_NOTHING, "r")
    assert finding.by == tuple(name for name in by if name)


def test_what_widens_has_an_effect() -> None:
    assert found(rules(), f"{TENANT}}}]", widen=True) == []
    assert found(rules(), f"{TENANT}}}]", tag=rules("{name: t, action: allow, host: a.test}")) == []


def test_what_only_the_namespace_can_open() -> None:
    opening = f"{TENANT}, open_cidrs: [10.0.0.0/24]}}]"
    everything = rules("{name: n, action: allow}")
    ((layer, finding),) = found(everything, opening)
    assert (layer, finding.problem) == ("tenant:acme", Problem.OPENS_NOTHING)
    assert found(everything, opening, widen=True) == []
    assert [one.problem for _, one in found(everything, f"{TENANT}, open_hosts: a.test}}]")] == [
        Problem.OPENS_NOTHING
    ]


@given(POLICIES, POLICIES, FACTS)
def test_a_rule_that_allows_nothing_can_go(namespace: str, tenant: str, facts: Facts) -> None:
    base, narrow = parse_policy(namespace), parse_policy(tenant)
    layers = [Layer(LayerKind.NAMESPACE, base), Layer(LayerKind.TENANT, narrow, "acme")]
    for _, finding in lint_layers(layers):
        if finding.problem is Problem.LAYER_ALLOWS_NOTHING:
            turned = tuple(_denying(rule) if rule.name == finding.rule else rule for rule in narrow.rules)
            other = EgressPolicy(narrow.mode, turned, narrow.defaults, "other", narrow.quotas, narrow.stated)
            without = [layers[0], Layer(LayerKind.TENANT, other, "acme")]
            one = decide_layers(effective_policy(layers), facts)
            two = decide_layers(effective_policy(without), facts)
            assert one.result is two.result


def _denying(rule: Rule) -> Rule:
    return Rule(rule.name, Action.DENY, rule.conditions)


@given(POLICIES, FACTS)
def test_comparisons_of_conditions_are_right(document: str, facts: Facts) -> None:
    conditions: list[Conditions] = [rule.conditions for rule in parse_policy(document).rules]
    met = [each for each in conditions if each.unmet(facts) is None]
    for one in met:
        assert all(may_meet(one, other) for other in met)
        assert not any(takes_all(other, one) for other in conditions if other not in met)
