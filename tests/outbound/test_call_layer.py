"""Rule held: a call that its dispatcher narrowed sends nothing that it could not send otherwise, and only to the
hosts that were named.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from model.call_egress import parse_egress_hosts
from model.hostname import host_matches
from outbound.call_layer import narrowed_by_call
from outbound.egress_fields import Facts
from outbound.policy import Result
from outbound.policy_layers import decide_layers
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from tests.outbound.conftest import CLOSED, alone
from tests.outbound.policies import FACTS, POLICIES

LISTS = st.lists(st.sampled_from(["a.test", "*.a.test", "c.b.a.test", "10.0.0.1"]), max_size=3)


@given(POLICIES, LISTS, FACTS)
def test_it_only_takes_away(document: str, patterns: list[str], facts: Facts) -> None:
    base = alone(parse_policy(document))
    before = decide_layers(base, facts)
    hosts = parse_egress_hosts(tuple(patterns))
    after = decide_layers(narrowed_by_call(base, hosts), facts)
    named = any(host_matches(host, facts.host) for host in hosts)
    assert (after.result is Result.ALLOW) == (before.result is Result.ALLOW and named)
    if after.result is Result.ALLOW:
        assert (after.limits, after.actions, after.opened) == (before.limits, before.actions, before.opened)


def test_the_layer_that_denied_is_named() -> None:
    narrow = narrowed_by_call(alone(CLOSED), ("a.test",))
    verdict = decide_layers(narrow, Facts("https", "b.test", 443, "GET", "/"))
    assert (verdict.layer, verdict.rule_name, verdict.reason) == ("call", "", Reason.POLICY_DEFAULT_DENY)
    verdict = decide_layers(narrow, Facts("https", "a.test", 443, "GET", "/"))
    assert (verdict.layer, verdict.rule_name) == ("call", "egress")


def test_an_empty_list_lets_nothing_out() -> None:
    narrow = narrowed_by_call(alone(CLOSED), ())
    assert decide_layers(narrow, Facts("https", "a.test", 443, "GET", "/")).result is Result.DENY


def test_nothing_said_changes_nothing() -> None:
    base = alone(CLOSED)
    assert narrowed_by_call(base, None) is base


def test_connections_are_not_shared_between_what_calls_may_reach() -> None:
    base = alone(CLOSED)
    one, other = narrowed_by_call(base, ("a.test",)), narrowed_by_call(base, ("a.test", "b.test"))
    assert len({base.digest, one.digest, other.digest}) == 3


def test_few_are_remembered_whatever_dispatchers_say() -> None:
    base = alone(parse_policy("version: 1"))
    first = narrowed_by_call(base, ("h0.test",))
    assert narrowed_by_call(base, ("h0.test",)) is first
    for number in range(100):
        narrowed_by_call(base, (f"h{number}.test",))
    assert len(base.narrowed) <= 8
