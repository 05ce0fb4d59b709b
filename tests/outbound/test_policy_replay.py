"""Rule held: what a replay says it knows is what the gateway would decide; what it can't know it calls unknown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from outbound.egress_fields import Facts
from outbound.policy import Result
from outbound.policy_layers import Layer, LayerKind, decide_layers
from outbound.policy_parse import parse_policy
from outbound.policy_replay import (
    CUT_PATH,
    Decision,
    Missing,
    Recorded,
    Replay,
    Replayed,
    Replayer,
    counted,
    was_decided,
)
from outbound.policy_set import PolicySet
from outbound.reasons import Reason
from tests.outbound.policies import FACTS, POLICIES

RECORD = Recorded(
    tenant="t1",
    namespace="customers",
    script="shop",
    ray_id="8f0e",
    method="GET",
    scheme="https",
    host="a.test",
    port=443,
    path="/v1",
    result=Result.ALLOW,
    layer="namespace",
    rule="old",
    reason=Reason.POLICY_RULE_ALLOW,
    policy_reason=Reason.POLICY_RULE_ALLOW,
    address="93.184.216.34",
)
WAS = Decision(Result.ALLOW, "namespace", "old", "policy.rule_allow")


def record_of(facts: Facts, policies: PolicySet) -> Recorded:
    """As the gateway would have recorded what `policies` decide."""
    verdict = decide_layers(policies.holding(facts.tenant, facts.tags), facts)
    return Recorded(
        facts.tenant,
        facts.namespace,
        facts.script,
        "8f0e",
        facts.method,
        facts.scheme,
        facts.host,
        facts.port,
        facts.path,
        verdict.result,
        verdict.layer,
        verdict.rule_name,
        verdict.reason,
        verdict.reason,
        tags=tuple(facts.tags),
        params=tuple(sorted(facts.params.items())),
    )


def layered(namespace: str, tag: str, tenant: str) -> PolicySet:
    return PolicySet(
        [
            Layer(LayerKind.NAMESPACE, parse_policy(namespace)),
            Layer(LayerKind.TAG, parse_policy(tag), "beta"),
            Layer(LayerKind.TENANT, parse_policy(tenant), "t1", widen=True),
        ]
    )


@given(POLICIES, POLICIES, POLICIES, FACTS)
def test_the_same_policies_change_nothing(namespace: str, tag: str, tenant: str, facts: Facts) -> None:
    policies = layered(namespace, tag, tenant)
    found = Replayer(policies).replay(record_of(facts, policies))
    assert found.now in (None, found.was)
    assert (found.now is None) is bool(found.missing)


@given(POLICIES, POLICIES, POLICIES, FACTS)
def test_what_is_known_is_what_would_be_decided(namespace: str, tag: str, tenant: str, facts: Facts) -> None:
    new = layered(namespace, tag, tenant)
    found = Replayer(new).replay(record_of(facts, PolicySet([])))
    verdict = decide_layers(new.holding(facts.tenant, facts.tags), facts)
    if found.now is not None:
        assert found.now == Decision(verdict.result, verdict.layer, verdict.rule_name, verdict.reason)
    else:
        # Only a rule that asks for a header or the query makes it unknown.
        assert found.missing <= {Missing.HEADERS, Missing.QUERY}
        assert any("http.request" in text for text in (namespace, tag, tenant))


def replayed(rules: str, record: Recorded = RECORD, **changed: Any) -> Replayed:
    policy = parse_policy(f"version: 1\nrules: [{rules}]")
    given = {name: getattr(record, name) for name in Recorded.__slots__} | changed
    return Replayer(PolicySet.of(policy)).replay(Recorded(**given))


def test_another_result_and_another_rule() -> None:
    assert replayed("{name: old, action: allow}") == Replayed(WAS, WAS)
    assert replayed("{name: new, action: allow}").now == Decision(
        Result.ALLOW, "namespace", "new", "policy.rule_allow"
    )
    assert replayed("").now == Decision(Result.DENY, "namespace", "", "policy.default_deny")


BY_HEADER = """{name: h, action: deny, when: 'any(http.request.headers["x"][*] eq "1")'}"""
OLD = "{name: old, action: allow}"


@pytest.mark.parametrize(
    ("rules", "changed", "missing"),
    [
        (f"{BY_HEADER}, {OLD}", {}, {Missing.HEADERS}),
        (f"{OLD}, {BY_HEADER}", {}, set()),  # it stands behind the one that decides
        (
            """{name: q, action: deny, host: b.test, when: 'http.request.uri.query eq "1"'}, """ + OLD,
            {},
            set(),
        ),  # what is known says that it does not match
        (
            """{name: q, action: deny, when: 'tenant.id eq "t2" and http.request.uri.query eq "1"'}, """
            + OLD,
            {},
            set(),
        ),
        (
            """{name: q, action: deny, when: 'http.request.uri contains "x"'}, """ + OLD,
            {},
            {Missing.QUERY},
        ),
        ("{name: p, action: deny, params: {a: b}}, " + OLD, {}, set()),
        ("{name: p, action: deny, params: {a: b}}, " + OLD, {"truncated": True}, {Missing.TRUNCATED}),
        ("{name: p, action: deny, tags: a}, " + OLD, {"tags": ("b",)}, set()),
        ("{name: p, action: deny, tags: a}, " + OLD, {"truncated": True}, {Missing.TRUNCATED}),
        (OLD, {"truncated": True}, {Missing.TRUNCATED}),  # its dispatcher may have narrowed it
        ("{name: n, action: deny}", {"truncated": True}, set()),
        (
            "{name: p, action: deny, path: '*x'}, " + OLD,
            {"path": "/" + "a" * (CUT_PATH - 1)},
            {Missing.PATH},
        ),
        ("{name: p, action: deny, path: '*x'}, " + OLD, {"path": "/" + "a" * (CUT_PATH - 2)}, set()),
        (OLD, {"path": "//..%2f"}, {Missing.REQUEST}),
    ],
)
def test_what_is_not_held_makes_it_unknown_only_where_it_decides(
    rules: str, changed: dict[str, Any], missing: set[Missing]
) -> None:
    found = replayed(rules, **changed)
    assert found.missing == missing
    assert (found.now is None) is bool(missing)


def test_two_ways_with_one_end_are_no_question() -> None:
    """A rule that may match, or not, where each way ends the same."""
    rules = """{name: old, action: allow, when: 'http.request.uri.query eq "1"'}"""
    assert replayed(f"{rules}, {{name: other, action: allow}}").missing == {Missing.QUERY}
    assert replayed("{name: other, action: deny}, " + rules).missing == set()


def test_tags_that_are_lost_leave_open_which_layers_hold() -> None:
    policies = layered("version: 1", "version: 1", "version: 1")
    given = {name: getattr(RECORD, name) for name in Recorded.__slots__} | {"truncated": True}
    assert Replayer(policies).replay(Recorded(**given)).missing == {Missing.TRUNCATED}


@pytest.mark.parametrize(
    ("rules", "changed", "now"),
    [
        # dialled, and no longer opened
        (OLD, {"address": "10.0.0.1"}, "deny address.private"),
        (
            "{name: old, action: allow, open_cidrs: [10.0.0.0/24]}",
            {"address": "10.0.0.1"},
            "allow policy.rule_allow",
        ),
        # denied, and still
        (OLD, {"address": "10.0.0.1", "reason": "address.private"}, "deny address.private"),
        (OLD, {"address": "8.8.8.8", "reason": "address.this_host"}, "deny address.this_host"),
        ("", {"address": "10.0.0.1", "reason": "address.private"}, "deny policy.default_deny"),
        # denied for this address, which is opened now: the others decide
        (
            "{name: old, action: allow, open_cidrs: [10.0.0.0/24]}",
            {"address": "10.0.0.1", "reason": "address.private"},
            "",
        ),
        (
            "{name: old, action: allow, open_cidrs: [127.0.0.0/8]}",
            {"address": "127.0.0.1", "reason": "address.self_connection"},
            "deny address.self_connection",
        ),
        # what became of it afterwards is another matter
        (OLD, {"reason": "limit.rate", "address": ""}, "allow policy.rule_allow"),
        (OLD, {"reason": "upstream.timeout"}, "allow policy.rule_allow"),
    ],
)
def test_the_address_is_judged_by_what_the_new_rule_opens(
    rules: str, changed: dict[str, Any], now: str
) -> None:
    found = replayed(rules, **changed)
    assert (f"{found.now.result} {found.now.reason}" if found.now is not None else "") == now
    if not now:
        assert found.missing == {Missing.ADDRESSES}


def test_a_request_that_was_refused_before_the_policy_is_not_asked_about() -> None:
    found = replayed("", policy_reason="", reason="url.userinfo", result=Result.DENY)
    assert (found.now, found.missing) == (None, frozenset())
    assert found.was.reason == "url.userinfo"


def test_a_call_that_was_narrowed_stays_so() -> None:
    found = replayed(OLD, egress_hosts=("b.test",))
    assert found.now == Decision(Result.DENY, "call", "", "policy.default_deny")


def test_a_recorded_denial_is_of_the_policy_or_the_address() -> None:
    denied = replayed(OLD, policy_reason="policy.rule_deny", reason="policy.rule_deny", address="")
    assert denied.was.result is Result.DENY
    assert denied.now is not None
    assert denied.now.result is Result.ALLOW
    assert was_decided(RECORD) == WAS


def test_what_is_alike_is_asked_about_once() -> None:
    def given(ray_id: str, **changed: Any) -> Recorded:
        values = {name: getattr(RECORD, name) for name in Recorded.__slots__}
        return Recorded(**{**values, "ray_id": ray_id, **changed})

    found = counted([given("1"), given("2", path="/other"), given("3"), given("4", params=(("a", "b"),))])
    assert [(record.ray_id, record.path, count) for record, count in found] == [
        ("1", "/v1", 2),
        ("2", "/other", 1),
        ("4", "/v1", 1),
    ]


def test_records_are_counted_by_what_would_change() -> None:
    counted = Replay()
    deny = Decision(Result.DENY, "namespace", "", "policy.default_deny")
    other = Decision(Result.ALLOW, "namespace", "new", "policy.rule_allow")
    for found in (
        Replayed(WAS, WAS),
        Replayed(WAS, deny),
        Replayed(WAS, deny),
        Replayed(WAS, other),
        Replayed(WAS, missing=frozenset((Missing.QUERY,))),
        Replayed(deny),
    ):
        counted.add(RECORD, found)
    assert (counted.total, counted.unchanged, counted.not_asked) == (6, 1, 1)
    assert [(group.count, group.now, group.ray_id) for group in counted.results] == [(2, deny, "8f0e")]
    assert [group.now for group in counted.others] == [other]
    assert [group.missing for group in counted.unknown] == [{Missing.QUERY}]
