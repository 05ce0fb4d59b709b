"""How a decision came about: every rule that was asked, in order, with the first condition that did not hold. Pure.

Made for people. Unlike `decide_layers` it asks every rule, so it says the same by another way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from outbound.egress_fields import ExpressionFacts, Facts
from outbound.path_glob import Glob
from outbound.policy import Rule, reason_of
from outbound.policy_conditions import Condition, Conditions
from outbound.policy_layers import EffectivePolicy, Layer
from outbound.reasons import Reason

#: Values of one condition that are shown.
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Step:
    """Of the last step of a layer, `reason` is what the layer says; its rule is None when none matched."""

    layer: str
    rule: Rule | None
    #: None: the rule matched.
    unmet: Condition | None = None
    reason: Reason | None = None
    #: Where a layer that widens has nothing to say, another decides.
    silent: bool = False


def walk(effective: EffectivePolicy, facts: Facts) -> list[Step]:
    return [step for layer in effective.layers for step in _walk_layer(layer, facts)]


def _walk_layer(layer: Layer, facts: Facts) -> Iterable[Step]:
    policy = layer.policy
    for rule in policy.rules:
        unmet = rule.conditions.unmet(facts)
        if unmet is None:
            yield Step(layer.name, rule, reason=reason_of(policy.mode, rule))
            return
        yield Step(layer.name, rule, unmet)
    reason = reason_of(policy.mode, None)
    yield Step(layer.name, None, reason=reason, silent=layer.widen and reason is not Reason.POLICY_OPEN)


def why_unmet(conditions: Conditions, unmet: Condition, facts: Facts) -> str:
    """What was found and what is wanted, for the condition that `walk` says did not hold."""
    match unmet:
        case Condition.HOST:
            return f"host is {facts.host}, not {_one_of(conditions.hosts or ())}"
        case Condition.PORT:
            return f"port is {facts.port}, not {_one_of(sorted(conditions.ports or ()))}"
        case Condition.SCHEME:
            return f"scheme is {facts.scheme}, not {_one_of(sorted(conditions.schemes or ()))}"
        case Condition.METHOD:
            return f"method is {facts.method}, not {_one_of(sorted(conditions.methods or ()))}"
        case Condition.PATH:
            return f"path is {facts.path}, not {_one_of([_pattern(glob) for glob in conditions.paths or ()])}"
        case Condition.TAGS:
            found = ", ".join(facts.tags) or "none"
            return f"tags are {found}, none of them {_one_of(sorted(conditions.tags or ()))}"
        case Condition.PARAMS:
            return _why_params(conditions, facts)
        case Condition.WHEN:
            return _why_when(conditions, facts)


def _why_params(conditions: Conditions, facts: Facts) -> str:
    for name, wanted in conditions.params or ():
        found = facts.params.get(name)
        if found not in wanted:
            has = "is not given" if found is None else f"is {found}"
            return f"param {name} {has}, not {_one_of(sorted(wanted))}"
    raise AssertionError("this condition holds")


def _why_when(conditions: Conditions, facts: Facts) -> str:
    when = conditions.when
    if when is None:
        raise AssertionError("this condition holds")
    clauses = [
        f"{clause.text} (found {'nothing' if clause.found is None else repr(clause.found)[:200]})"
        for clause in when.filter.explain(ExpressionFacts(facts))
    ]
    return f"when: {'; '.join(clauses[:_SHOWN])}"


def _pattern(glob: Glob) -> str:
    return glob.first if glob.last is None else "*".join([glob.first, *glob.middle, glob.last])


def _one_of(values: Collection[object]) -> str:
    shown = [str(value) for value in values][:_SHOWN]
    more = len(values) - len(shown)
    if more:
        return f"{', '.join(shown)} or {more} more"
    return " or ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
