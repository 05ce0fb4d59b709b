"""What is suspicious about several layers together: rules, and parts of rules, that do nothing where they stand. Pure.

As in `policy_check`, some that do nothing are not found; what is found is true.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from model.hostname import host_matches
from outbound.policy import Action, Mode, Rule
from outbound.policy_check import MAX_COMPARISONS, Finding, Problem, takes_paths_and_params
from outbound.policy_conditions import Conditions
from outbound.policy_layers import Layer, LayerKind


def lint_layers(layers: Sequence[Layer]) -> list[tuple[str, Finding]]:
    """(the layer's name, what was found), in the order of layers and rules."""
    found: list[tuple[str, Finding]] = []
    broader = _Broader(layers)
    for layer in layers:
        if layer.widen or layer.kind is LayerKind.NAMESPACE:
            continue
        for rule in layer.policy.rules:
            problems: list[tuple[Problem, str, tuple[str, ...]]] = []
            if rule.open_cidrs or rule.open_hosts:
                problems.append((Problem.OPENS_NOTHING, _OPENS_NOTHING, ()))
            if rule.action is Action.ALLOW and broader.comparisons <= MAX_COMPARISONS:
                by = broader.denies_all_of(rule)
                if by is not None:
                    problems.append((Problem.LAYER_ALLOWS_NOTHING, _ALLOWS_NOTHING, by))
            found += [
                (layer.name, Finding(problem, rule.name, rule.line, message, by))
                for problem, message, by in problems
            ]
    if broader.comparisons > MAX_COMPARISONS:
        message = f"more than {MAX_COMPARISONS:,} pairs of rules; not all of them were compared"
        found.append((layers[0].name, Finding(Problem.NOT_ALL_COMPARED, "", 1, message)))
    return found


_OPENS_NOTHING: Final = (
    "opens closed addresses, which only the namespace's policy and layers that widen can do; say it there"
)
_ALLOWS_NOTHING: Final = (
    "allows nothing: the namespace's policy denies all that it matches, and this layer does not widen"
)


class _Broader:
    """What a layer that does not widen can only take from: the namespace's policy, and layers that widen."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.comparisons = 0
        namespace = layers[0].policy
        # In other modes a request needs no rule to pass.
        self._decides = namespace.mode is Mode.ENFORCE and not any(
            layer.widen and layer.policy.mode is Mode.OPEN for layer in layers
        )
        self._rules = namespace.rules
        self._widening = [
            rule
            for layer in layers
            if layer.widen
            for rule in layer.policy.rules
            if rule.action is Action.ALLOW
        ]

    def denies_all_of(self, rule: Rule) -> tuple[str, ...] | None:
        """The namespace's rule that denies all that `rule` matches, () for its default; None when some may pass."""
        if not self._decides:
            return None
        asked = rule.conditions
        self.comparisons += len(self._widening)
        if any(may_meet(asked, other.conditions) for other in self._widening):
            return None
        for other in self._rules:
            self.comparisons += 1
            if other.action is Action.ALLOW:
                if may_meet(asked, other.conditions):
                    return None
            elif takes_all(other.conditions, asked):
                return (other.name,)
        return ()


def takes_all(broad: Conditions, narrow: Conditions) -> bool:
    """Whether every request that meets `narrow` meets `broad`; no where a closer look would be needed."""
    return (
        _holds(broad.ports, narrow.ports)
        and _holds(broad.schemes, narrow.schemes)
        and _holds(broad.methods, narrow.methods)
        and _holds(broad.tags, narrow.tags)
        and (
            broad.hosts is None
            or (
                narrow.hosts is not None
                and all(any(host_matches(one, other) for one in broad.hosts) for other in narrow.hosts)
            )
        )
        and (broad.when is None or broad.when == narrow.when)
        and takes_paths_and_params(broad, narrow)
    )


def _holds(broad: Collection[object] | None, narrow: Collection[object] | None) -> bool:
    return broad is None or (narrow is not None and all(value in broad for value in narrow))


def may_meet(one: Conditions, other: Conditions) -> bool:
    """Whether a request may meet both; yes where a closer look would be needed."""
    return (
        _share(one.ports, other.ports)
        and _share(one.schemes, other.schemes)
        and _share(one.methods, other.methods)
        and _hosts_meet(one.hosts, other.hosts)
        and _params_meet(one.params or (), other.params or ())
    )


def _share(one: Collection[object] | None, other: Collection[object] | None) -> bool:
    return one is None or other is None or any(value in other for value in one)


def _hosts_meet(one: Sequence[str] | None, other: Sequence[str] | None) -> bool:
    if one is None or other is None:
        return True
    return any(host_matches(a, b) or host_matches(b, a) for a in one for b in other)


def _params_meet(
    one: Iterable[tuple[str, frozenset[str]]], other: Iterable[tuple[str, frozenset[str]]]
) -> bool:
    values = dict(other)
    return all(name not in values or not wanted.isdisjoint(values[name]) for name, wanted in one)
