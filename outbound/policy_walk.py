"""How a decision came about: every rule that was asked, in order, with the first condition that did not hold. Pure.

Made for people. Unlike `decide_layers` it asks every rule, so it says the same by another way.
"""

from __future__ import annotations

from dataclasses import dataclass

from outbound.egress_fields import Facts
from outbound.policy import Rule, reason_of
from outbound.policy_conditions import Condition
from outbound.policy_layers import EffectivePolicy
from outbound.reasons import Reason


@dataclass(frozen=True, slots=True)
class Step:
    """Of the last step of a layer, `reason` is what the layer says; its rule is None when none matched."""

    layer: str
    rule: Rule | None
    #: None: the rule matched.
    unmet: Condition | None = None
    reason: Reason | None = None


def walk(effective: EffectivePolicy, facts: Facts) -> list[Step]:
    steps: list[Step] = []
    for layer in effective.layers:
        policy = layer.policy
        for rule in policy.rules:
            unmet = rule.conditions.unmet(facts)
            if unmet is None:
                steps.append(Step(layer.name, rule, reason=reason_of(policy.mode, rule)))
                break
            steps.append(Step(layer.name, rule, unmet))
        else:
            steps.append(Step(layer.name, None, reason=reason_of(policy.mode, None)))
    return steps
