"""Rule held: a rule is touched when it decided about a request that a case leads to, and only then."""

from __future__ import annotations

from outbound.policy_coverage import Coverage, coverage
from outbound.policy_judge import Answer, Caller, Request, judge
from outbound.policy_layers import Layer, LayerKind
from outbound.policy_parse import parse_policy
from outbound.policy_set import PolicySet

POLICIES = PolicySet(
    [
        Layer(
            LayerKind.NAMESPACE,
            parse_policy("""
version: 1
rules:
  - {name: first, action: allow, host: a.test, follow_redirects: 1}
  - {name: shadowed, action: deny, host: a.test, path: /x}
  - {name: next, action: deny, host: b.test}
"""),
        ),
        Layer(
            LayerKind.TENANT,
            parse_policy("version: 1\nrules: [{name: first, action: deny, port: 1}]"),
            "acme",
        ),
    ]
)


def of(*judged: tuple[Request, Caller, tuple[Answer, ...]]) -> Coverage:
    return coverage([(POLICIES, [judge(POLICIES, *each) for each in judged])])


def names(found: Coverage) -> list[tuple[str, str]]:
    return [(use.layer, use.rule.name) for use in found.untouched]


def test_without_a_case_nothing_is_touched() -> None:
    assert names(of()) == [
        ("namespace", "first"),
        ("namespace", "shadowed"),
        ("namespace", "next"),
        ("tenant:acme", "first"),
    ]
    assert of().per_cent == 0


def test_a_rule_behind_another_is_not_touched() -> None:
    found = of((Request("https://a.test/x"), Caller(), ()))
    assert ("namespace", "shadowed") in names(found)
    assert found.per_cent == 25


def test_what_a_redirect_leads_to_is_touched() -> None:
    found = of((Request("https://a.test/"), Caller(), (Answer(302, "https://b.test/"),)))
    assert names(found) == [("namespace", "shadowed"), ("tenant:acme", "first")]


def test_rules_of_each_layer_count_by_themselves() -> None:
    found = of((Request("https://a.test:1/"), Caller(tenant="acme"), ()))
    assert names(found) == [("namespace", "shadowed"), ("namespace", "next")]
    assert [use.requests for use in found.rules] == [1, 0, 0, 1]


def test_what_was_refused_before_the_policy_touches_nothing() -> None:
    assert of((Request("https://a@a.test/"), Caller(), ())).per_cent == 0


def test_a_policy_without_rules_is_covered() -> None:
    assert coverage([(PolicySet([]), [])]).per_cent == 100


def test_a_document_that_two_sets_share_counts_once() -> None:
    alone = PolicySet(POLICIES.layers[:1])
    first = [judge(POLICIES, Request("https://a.test/"))]
    second = [judge(alone, Request("https://b.test/"), Caller(egress_hosts=("b.test",)))]
    found = coverage([(POLICIES, first), (alone, second)])
    assert names(found) == [("namespace", "shadowed"), ("tenant:acme", "first")]
    assert len(found.rules) == 4
