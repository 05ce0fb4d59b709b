"""Which rules no case touches: the first that matched in its layer, of any request that a case leads to, is
touched. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from outbound.policy import Rule
from outbound.policy_judge import Judgement
from outbound.policy_layers import Layer
from outbound.policy_set import PolicySet


@dataclass(frozen=True, slots=True)
class RuleUse:
    layer: str
    #: Of the layer's document.
    version: str
    rule: Rule
    #: How many requests of cases it decided about.
    requests: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """In the order of layers and rules."""

    rules: tuple[RuleUse, ...]

    @property
    def untouched(self) -> tuple[RuleUse, ...]:
        return tuple(use for use in self.rules if not use.requests)

    @property
    def per_cent(self) -> float:
        """100 of a policy without rules: there is nothing to touch."""
        if not self.rules:
            return 100.0
        return 100.0 * (len(self.rules) - len(self.untouched)) / len(self.rules)


def coverage(judged: Iterable[tuple[PolicySet, Iterable[Judgement]]]) -> Coverage:
    """Of all documents together; one that several sets have in the same layer counts once."""
    layers: dict[tuple[str, str], Layer] = {}
    counts: Counter[tuple[str, str, str]] = Counter()
    for policies, judgements in judged:
        versions = {layer.name: layer.policy.version for layer in policies.layers}
        layers |= {(layer.name, layer.policy.version): layer for layer in policies.layers}
        for judgement in judgements:
            counts.update(
                (layer, versions[layer], rule.name)
                for hop in judgement.hops
                for layer, rule in hop.rules
                if layer in versions  # a call's own layer is no document
            )
    return Coverage(
        tuple(
            RuleUse(name, version, rule, counts[name, version, rule.name])
            for (name, version), layer in layers.items()
            for rule in layer.policy.rules
        )
    )
