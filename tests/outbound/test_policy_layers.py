"""Rule held: layers only narrow, unless one was marked to widen; what they say together of an allowed request
is never more than any of them says.
"""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbound.addresses import Opened
from outbound.egress_fields import Facts
from outbound.policy import DENY_ALL, Result, decide
from outbound.policy_layers import EffectivePolicy, Layer, LayerKind, decide_layers, effective_policy
from outbound.policy_parse import parse_policy
from outbound.policy_walk import walk
from outbound.reasons import Reason
from outbound.rule_actions import NO_PLAN, Plan, RateLimit, Retries, SecretInjection, TlsSettings
from tests.outbound.policies import FACTS, POLICIES

REQUEST = Facts("https", "a.test", 443, "GET", "/")
R = Reason
ALLOW = "[{name: yes, action: allow, host: a.test}]"
DENY = "[{name: no, action: deny, host: a.test}]"
OTHER = "[{name: other, action: allow, host: b.test}]"


def policy(rules: str, mode: str = "enforce", more: str = "") -> str:
    return f"version: 1\nmode: {mode}\n{more}\nrules: {rules}"


def layers(*each: tuple[str, str]) -> EffectivePolicy:
    """(`namespace`, `tag:x`, `tenant:t`, `call`, with `!` in front when it widens; document)."""
    found = []
    for name, document in each:
        kind, _, key = name.removeprefix("!").partition(":")
        found.append(Layer(LayerKind(kind), parse_policy(document), key, name.startswith("!")))
    return effective_policy(found)


#: layers, result, layer that decided, rule, reason
TABLE = [
    ([("namespace", ALLOW)], "allow namespace yes", R.POLICY_RULE_ALLOW),
    ([("namespace", OTHER)], "deny namespace -", R.POLICY_DEFAULT_DENY),
    ([], "deny namespace -", R.POLICY_DEFAULT_DENY),
    (
        [("tenant:t", ALLOW)],
        "deny namespace -",
        R.POLICY_DEFAULT_DENY,
    ),  # without a namespace's, nothing leaves
    ([("namespace", ALLOW), ("tenant:t", ALLOW)], "allow tenant:t yes", R.POLICY_RULE_ALLOW),
    ([("namespace", ALLOW), ("tenant:t", OTHER)], "deny tenant:t -", R.POLICY_DEFAULT_DENY),
    ([("namespace", ALLOW), ("tenant:t", DENY)], "deny tenant:t no", R.POLICY_RULE_DENY),
    ([("namespace", DENY), ("tenant:t", ALLOW)], "deny namespace no", R.POLICY_RULE_DENY),
    ([("namespace", ALLOW), ("tag:x", DENY), ("tenant:t", ALLOW)], "deny tag:x no", R.POLICY_RULE_DENY),
    ([("namespace", ALLOW), ("call", OTHER)], "deny call -", R.POLICY_DEFAULT_DENY),
    # widen
    ([("!tenant:t", ALLOW)], "allow tenant:t yes", R.POLICY_RULE_ALLOW),
    ([("namespace", DENY), ("!tenant:t", ALLOW)], "allow tenant:t yes", R.POLICY_RULE_ALLOW),
    ([("namespace", DENY), ("tag:x", DENY), ("!tenant:t", ALLOW)], "allow tenant:t yes", R.POLICY_RULE_ALLOW),
    ([("namespace", ALLOW), ("!tenant:t", OTHER)], "allow namespace yes", R.POLICY_RULE_ALLOW),
    ([("namespace", OTHER), ("!tenant:t", OTHER)], "deny namespace -", R.POLICY_DEFAULT_DENY),
    ([("namespace", ALLOW), ("!tenant:t", DENY)], "deny tenant:t no", R.POLICY_RULE_DENY),
    ([("namespace", DENY), ("!tag:x", ALLOW), ("tenant:t", DENY)], "deny tenant:t no", R.POLICY_RULE_DENY),
    (
        [("namespace", DENY), ("!tag:x", ALLOW), ("tenant:t", ALLOW)],
        "allow tenant:t yes",
        R.POLICY_RULE_ALLOW,
    ),
    ([("namespace", DENY), ("!tag:x", ALLOW), ("call", OTHER)], "deny call -", R.POLICY_DEFAULT_DENY),
    (
        [("namespace", DENY), ("!tag:x", DENY), ("!tenant:t", ALLOW)],
        "allow tenant:t yes",
        R.POLICY_RULE_ALLOW,
    ),
]


@pytest.mark.parametrize(("each", "expected", "reason"), TABLE)
def test_layers_decide_together(each: list[tuple[str, str]], expected: str, reason: Reason) -> None:
    verdict = decide_layers(layers(*((name, policy(rules)) for name, rules in each)), REQUEST)
    assert f"{verdict.result} {verdict.layer} {verdict.rule_name or '-'}" == expected
    assert verdict.reason is reason


@pytest.mark.parametrize(
    ("namespace", "tenant", "widen", "result", "reason"),
    [
        ("report", "enforce", False, "allow", R.POLICY_REPORT_WOULD_DENY),
        ("enforce", "report", False, "deny", R.POLICY_RULE_DENY),
        ("enforce", "report", True, "deny", R.POLICY_RULE_DENY),  # a trial of rules lets nobody out
        ("open", "open", True, "deny", R.POLICY_RULE_DENY),  # a rule that denies, denies
    ],
)
def test_modes_of_layers(namespace: str, tenant: str, widen: bool, result: str, reason: Reason) -> None:
    name = "!tenant:t" if widen else "tenant:t"
    rules = ALLOW if (namespace, tenant) == ("report", "enforce") else DENY
    verdict = decide_layers(
        layers(("namespace", policy(DENY, namespace)), (name, policy(rules, tenant))), REQUEST
    )
    assert (verdict.result, verdict.reason) == (result, reason)


def test_an_open_layer_that_widens_lets_out_what_no_rule_of_it_matches() -> None:
    effective = layers(("namespace", policy(DENY)), ("!tenant:t", policy(OTHER, "open")))
    assert decide_layers(effective, REQUEST).reason is R.POLICY_OPEN


def test_only_an_operators_layer_of_a_tag_or_tenant_widens() -> None:
    for kind in (LayerKind.NAMESPACE, LayerKind.CALL):
        with pytest.raises(ValueError, match="can't widen"):
            Layer(kind, DENY_ALL, widen=True)
    with pytest.raises(ValueError, match="one name"):
        effective_policy([Layer(LayerKind.TAG, DENY_ALL, "x"), Layer(LayerKind.TAG, DENY_ALL, "x")])


NAMESPACE = policy(
    """
- name: pay
  action: allow
  scheme: https
  host: a.test
  timeout_ms: 60000
  max_response_bytes: 10
  open_cidrs: [10.0.0.0/8]
  headers: {set: {x-a: "1", x-b: "1", x-c: "1"}, remove: [cookie]}
  secrets: [{header: authorization, secret: key}]
  rate_limit: {requests: 5, period_s: 1}
  retries: {attempts: 2}
  tls: {minimum_version: 1.3, ca_bundle: corp}
  proxy: {url: "http://proxy.test:3128"}
  follow_redirects: 3
""",
    more="quotas: {requests_per_minute: 10, bytes_per_minute: 5}",
)
TENANT = policy(
    """
- name: pay less
  action: allow
  max_response_bytes: 20
  max_request_bytes: 7
  open_cidrs: [192.168.0.0/16]
  headers: {set: {x-b: "2", cookie: mine}, remove: [x-c]}
  rate_limit: {requests: 3, period_s: 60, per: destination}
  tls: {minimum_version: 1.2, client_certificate: own}
  follow_redirects: 0
""",
    more="quotas: {requests_per_minute: 4, concurrent_requests: 2}",
)


def test_of_an_allowed_request_holds_what_all_layers_say() -> None:
    effective = layers(("namespace", NAMESPACE), ("tenant:t", TENANT))
    verdict = decide_layers(effective, REQUEST)
    limits = verdict.limits
    assert (limits.timeout_ms, limits.max_response_bytes, limits.max_request_bytes) == (60_000, 10, 7)
    plan = verdict.actions
    assert dict(plan.set_headers) == {"x-a": "1", "x-b": "2", "cookie": "mine"}
    assert plan.remove_headers == ("x-c",)
    assert plan.secrets == (SecretInjection("authorization", "key"),)
    assert [(each.name, each.limit.requests) for each in plan.rate_limits] == [
        ("namespace/pay", 5),
        ("tenant:t/pay less", 3),
    ]
    assert plan.retries == Retries(attempts=2)
    assert plan.tls == TlsSettings("1.3", "corp", "own")
    assert plan.proxy is not None
    assert (plan.proxy.host, plan.follow_redirects) == ("proxy.test", 0)
    assert verdict.trail == "namespace/pay + tenant:t/pay less"
    assert verdict.opened == Opened((ipaddress.ip_network("10.0.0.0/8"),)), "a layer below opens nothing"
    quotas = effective.quotas
    assert (quotas.requests_per_minute, quotas.bytes_per_minute, quotas.concurrent_requests) == (4, 5, 2)
    assert decide_layers(effective, REQUEST) == verdict, "the second time, from memory"


def test_a_layer_that_widens_opens_too_and_what_was_denied_says_nothing() -> None:
    effective = layers(("namespace", policy(DENY)), ("!tenant:t", TENANT))
    verdict = decide_layers(effective, REQUEST)
    assert verdict.opened == Opened((ipaddress.ip_network("192.168.0.0/16"),))
    assert verdict.trail == "tenant:t/pay less"
    both = decide_layers(layers(("namespace", NAMESPACE), ("!tenant:t", TENANT)), REQUEST).opened
    assert both == Opened((ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("192.168.0.0/16")))


def test_an_opened_name_is_opened_for_itself_alone() -> None:
    rules = "[{name: in, action: allow, host: '*.corp.test', open_hosts: [search.corp.test]}]"
    for effective in (layers(("namespace", policy(rules))), layers(("!tag:x", policy(rules)))):
        for host, private in (("search.corp.test", True), ("other.corp.test", False)):
            facts = Facts("https", host, 443, "GET", "/")
            assert decide_layers(effective, facts).opened == Opened(private=private)


def test_one_layer_alone_decides_as_its_policy_does() -> None:
    for document in (NAMESPACE, TENANT):
        alone, layered = (
            decide(parse_policy(document), REQUEST),
            decide_layers(layers(("namespace", document)), REQUEST),
        )
        assert (alone.result, alone.reason, alone.rule) == (layered.result, layered.reason, layered.rule)
        assert (alone.limits, alone.opened) == (layered.limits, layered.opened)
        assert alone.actions.set_headers == layered.actions.set_headers
    bare = decide_layers(layers(("namespace", policy(ALLOW))), REQUEST)
    assert bare.actions is NO_PLAN


def test_a_secret_gives_way_to_the_narrower_layers_word() -> None:
    rules = "[{name: n, action: allow, headers: {set: {authorization: mine}}}]"
    plan = decide_layers(layers(("namespace", NAMESPACE), ("call", policy(rules))), REQUEST).actions
    assert plan.secrets == ()
    assert dict(plan.set_headers)["authorization"] == "mine"
    rules = "[{name: n, action: allow, headers: {remove: [authorization]}}]"
    plan = decide_layers(layers(("namespace", NAMESPACE), ("call", policy(rules))), REQUEST).actions
    assert (plan.secrets, plan.remove_headers) == ((), ("cookie", "authorization"))
    assert isinstance(plan, Plan)
    assert plan.rate_limits[0].limit == RateLimit(5, 1)


def test_the_digest_names_the_content_of_all_layers() -> None:
    first = layers(("namespace", NAMESPACE), ("tag:a", TENANT), ("tag:b", TENANT))
    same = layers(("tag:b", TENANT), ("tag:a", TENANT), ("namespace", NAMESPACE))
    assert first.digest == same.digest == "8dafec42efb4b39b", "in every process"
    others = [
        layers(("namespace", NAMESPACE), ("tag:a", TENANT)),
        layers(("namespace", NAMESPACE), ("tag:a", TENANT), ("tag:c", TENANT)),
        layers(("namespace", NAMESPACE), ("tag:a", TENANT), ("tenant:b", TENANT)),
        layers(("namespace", NAMESPACE), ("tag:a", TENANT), ("!tag:b", TENANT)),
        layers(("namespace", NAMESPACE + "\n"), ("tag:a", TENANT), ("tag:b", TENANT)),
        layers(("tag:a", TENANT), ("tag:b", TENANT)),
    ]
    assert len({first.digest, *(other.digest for other in others)}) == 1 + len(others)


LAYERS = st.tuples(POLICIES, st.none() | POLICIES, st.none() | POLICIES, st.booleans(), st.booleans())


@settings(max_examples=100, deadline=None)  # the first makes the grammar
@given(LAYERS, st.lists(FACTS, min_size=2, max_size=4))
def test_a_layer_that_does_not_widen_never_lets_more_out(
    documents: tuple[str, str | None, str | None, bool, bool], requests: list[Facts]
) -> None:
    namespace, tag, tenant, tag_widens, tenant_widens = documents
    broad = [Layer(LayerKind.NAMESPACE, parse_policy(namespace))]
    if tag is not None:
        broad.append(Layer(LayerKind.TAG, parse_policy(tag), "x", tag_widens))
    narrow = [*broad]
    if tenant is not None:
        narrow.append(Layer(LayerKind.TENANT, parse_policy(tenant), "t", tenant_widens))
    for facts in requests:
        above, verdict = (decide_layers(effective_policy(each), facts) for each in (broad, narrow))
        if verdict.result is Result.ALLOW and above.result is Result.DENY:
            assert tenant_widens
            assert verdict.layer == "tenant:t"
            assert verdict.reason in (R.POLICY_RULE_ALLOW, R.POLICY_OPEN, R.POLICY_REPORT_WOULD_DENY)
        steps = walk(effective_policy(narrow), facts)
        told = {step.layer: step for step in steps if step.reason is not None}
        assert list(told) == [layer.name for layer in effective_policy(narrow).layers]
        assert told[verdict.layer].rule is verdict.rule
        for step in steps:
            assert (step.unmet is None) is (step.reason is not None)
