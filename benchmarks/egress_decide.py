"""What an egress decision costs: with a thousand rules, whatever they differ by, and with ten thousand tenants.

In this process, without a network: `decide` is a pure function. p50 of single calls, in turns.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter_ns
from typing import Final, TypeVar

from benchmarks.figures import Figure, from_ratios, percentile
from outbound.egress_fields import Facts
from outbound.policy import EgressPolicy, decide
from outbound.policy_layers import EffectivePolicy, Layer, LayerKind, decide_layers, effective_policy
from outbound.policy_parse import parse_policy

P = TypeVar("P")

RULES: Final = 1_000
TENANTS: Final = 10_000
ROUNDS: Final = 7
CALLS: Final = 2_000
GOAL_NS: Final = 50_000

#: What the rules differ by; {n} is the rule's number.
_DIFFER: Final = {
    "host": "host: h{n}.example.com, path: /v1/*",
    "port": "port: {n}",
    "path": "host: api.example.com, path: /v1/items/{n}/*",
    "tag": "tags: 'team-{n}'",
    "`when`": 'when: \'tenant.id eq "t{n}" and http.request.method in {{"GET" "POST"}}\'',
}


def decide_rules() -> list[Figure]:
    """p50 of a decision that the last of the rules makes, against the goal."""
    return [_rules_that_differ_by(name, rule) for name, rule in _DIFFER.items()]


def decide_tenants() -> list[Figure]:
    """The same thousand rules of a namespace, with a layer of each tenant's own: many tenants against one."""
    namespace = _policy(_DIFFER["host"])
    tenants = [_of_tenant(namespace, number) for number in range(TENANTS)]
    facts = [_facts(random.randint(1, RULES), f"t{number}") for number in range(TENANTS)]
    order = random.sample(range(TENANTS), CALLS)
    ratios: list[float] = []
    shown: list[int] = []
    for _ in range(ROUNDS):
        one = _p50([(tenants[0], facts[number]) for number in order], decide_layers)
        many = _p50([(tenants[number], facts[number]) for number in order], decide_layers)
        ratios.append(many / one)
        shown.append(many)
    note = f"p50 {min(shown) / 1_000:.1f} to {max(shown) / 1_000:.1f} µs"
    return [
        from_ratios(
            f"decide for one of {TENANTS:,} tenants, {RULES:,} rules and a layer of its own",
            "for one tenant",
            ratios,
            2.0,
            at_least=False,
            note=note,
        )
    ]


def _rules_that_differ_by(name: str, rule: str) -> Figure:
    policy = _policy(rule)
    facts = _facts(RULES, f"t{RULES}")
    if name == "path":
        facts = replace(facts, host="api.example.com", path=f"/v1/items/{RULES}/x")
    if decide(policy, facts).rule is not policy.rules[-1]:
        raise AssertionError(f"the last rule is to decide, of those that differ by {name}")
    p50s = [_p50([(policy, facts)] * CALLS, decide) for _ in range(ROUNDS)]
    note = f"p50 {min(p50s) / 1_000:.1f} to {max(p50s) / 1_000:.1f} µs"
    ratios = [p50 / GOAL_NS for p50 in p50s]
    return from_ratios(
        f"decide with {RULES:,} rules that differ by {name}", "50 µs", ratios, 1.0, at_least=False, note=note
    )


def _policy(rule: str) -> EgressPolicy:
    rows = "\n".join(f"- {{name: r{n}, action: allow, {rule.format(n=n)}}}" for n in range(1, RULES + 1))
    return parse_policy(f"version: 1\nrules:\n{rows}")


def _of_tenant(namespace: EgressPolicy, number: int) -> EffectivePolicy:
    own = parse_policy(
        f"version: 1\nrules:\n- {{name: own, action: allow, headers: {{set: {{x-t: t{number}}}}}}}"
    )
    return effective_policy(
        [Layer(LayerKind.NAMESPACE, namespace), Layer(LayerKind.TENANT, own, f"t{number}")]
    )


def _facts(number: int, tenant: str) -> Facts:
    """What rule `number` matches, of each kind but those by path, which have one host."""
    return Facts(
        scheme="https",
        host=f"h{number}.example.com",
        port=number,
        method="GET",
        path="/v1/x",
        tenant=tenant,
        tags=("plan:pro", f"team-{number}"),
    )


def _p50(calls: Sequence[tuple[P, Facts]], judge: Callable[[P, Facts], object]) -> int:
    taken: list[int] = []
    for policy, facts in calls:
        started = perf_counter_ns()
        judge(policy, facts)
        taken.append(perf_counter_ns() - started)
    return percentile(taken, 0.5)
