"""The policy that holds for one call: its namespace's, its tags', its tenant's and its own, as one decision. Pure.

Layers only narrow: a request may leave when every one of them allows it. The exception is a layer that an
operator marked `widen`: what a rule of it allows may leave although a layer above it denied it, what a rule
of it denies may not, and of what no rule of it matches it says nothing. Without a namespace's own policy
everything is denied until a layer that widens allows it.

Of an allowed request holds what the layers that allowed it say, together: of each limit the lowest, of
actions what outbound.plan joins. Closed addresses are opened by the namespace's rule and by those of layers
that widen, by no other's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from model.call_egress import EgressHosts
from outbound.addresses import NOTHING_OPENED, Opened
from outbound.egress_fields import Facts
from outbound.fetch_limits import FetchLimits, lowest
from outbound.plan import plan_of
from outbound.policy import DENIALS, DENY_ALL, EgressPolicy, Result, Rule, Verdict, reason_of
from outbound.reasons import Reason
from outbound.rule_actions import Plan, TenantQuotas

#: Combinations of rules whose limits and plan are remembered.
MAX_REMEMBERED: Final = 1_024


#: Limits, plan and trail of a combination of rules.
_Joined = tuple[FetchLimits, Plan, str]


class LayerKind(StrEnum):
    """The broadest first."""

    NAMESPACE = "namespace"
    TAG = "tag"
    TENANT = "tenant"
    CALL = "call"


_ORDER: Final = tuple(LayerKind)


@dataclass(frozen=True, slots=True)
class Layer:
    """`key` is the tag or the tenant, "" for the others. `widen`: an operator said so, of a tag or a tenant."""

    kind: LayerKind
    policy: EgressPolicy
    key: str = ""
    widen: bool = False

    def __post_init__(self) -> None:
        if self.widen and self.kind not in (LayerKind.TAG, LayerKind.TENANT):
            raise ValueError(f"a layer of kind {self.kind.value} can't widen; a tag's or a tenant's can")

    @property
    def name(self) -> str:
        return f"{self.kind.value}:{self.key}" if self.key else self.kind.value


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """In the order of LayerKind, the tags' by name. `effective_policy` makes one."""

    layers: tuple[Layer, ...]
    #: Names the content of all layers together: part of a pooled connection's key.
    digest: str
    #: Of one tenant: the lower of each.
    quotas: TenantQuotas
    _joined: dict[tuple[int, ...], _Joined] = field(default_factory=dict, repr=False, compare=False)
    #: By the hosts that a call was narrowed to; outbound.call_layer fills and bounds it.
    narrowed: dict[EgressHosts, EffectivePolicy] = field(default_factory=dict, repr=False, compare=False)


def effective_policy(layers: Iterable[Layer]) -> EffectivePolicy:
    """Those that hold for one caller. Without a namespace's, DENY_ALL stands for it. Raises ValueError for two
    of one name.
    """
    ordered = sorted(layers, key=lambda layer: (_ORDER.index(layer.kind), layer.key))
    if not ordered or ordered[0].kind is not LayerKind.NAMESPACE:
        ordered.insert(0, Layer(LayerKind.NAMESPACE, DENY_ALL))
    names = [layer.name for layer in ordered]
    if len(set(names)) != len(names):
        raise ValueError(f"two layers have one name: {', '.join(names)}")
    parts = [(layer.kind.value, layer.key, layer.policy.version, layer.widen) for layer in ordered]
    return EffectivePolicy(
        tuple(ordered),
        hashlib.sha256(repr(parts).encode()).hexdigest()[:16],
        _quotas([layer.policy.quotas for layer in ordered]),
    )


def decide_layers(effective: EffectivePolicy, facts: Facts) -> Verdict:
    """Names the layer that decided, and its rule: the one that denied, or the narrowest that allowed."""
    return decide_matches(
        effective, [layer.policy.first_match(facts) for layer in effective.layers], facts.host
    )


def decide_matches(effective: EffectivePolicy, matches: Sequence[Rule | None], host: str) -> Verdict:
    """What `decide_layers` says where these are each layer's first match."""
    denial: Verdict | None = None
    allowing: list[tuple[Layer, Rule | None]] = []
    reported: tuple[Layer, Rule | None] | None = None
    opened = NOTHING_OPENED
    for layer, rule in zip(effective.layers, matches, strict=True):
        reason = reason_of(layer.policy.mode, rule)
        if layer.widen and rule is None and reason is not Reason.POLICY_OPEN:
            continue
        if layer.widen and reason is Reason.POLICY_REPORT_WOULD_DENY:
            # Nobody is let out by a trial of rules.
            reported = reported or (layer, rule)
            continue
        if reason in DENIALS:
            denial = denial or Verdict(Result.DENY, rule, reason, layer=layer.name)
            continue
        if layer.widen:
            denial = reported = None
        if reason is Reason.POLICY_REPORT_WOULD_DENY:
            reported = reported or (layer, rule)
        if rule is not None and (layer.widen or layer.kind is LayerKind.NAMESPACE):
            opened = _both(opened, rule.opened_for(host))
        allowing.append((layer, rule))
    if denial is not None:
        return denial
    limits, plan, trail = _join(effective, allowing)
    layer, rule = reported or allowing[-1]
    reason = Reason.POLICY_REPORT_WOULD_DENY if reported is not None else reason_of(layer.policy.mode, rule)
    return Verdict(Result.ALLOW, rule, reason, limits, plan, opened, trail, layer.name)


def _join(effective: EffectivePolicy, allowing: Sequence[tuple[Layer, Rule | None]]) -> _Joined:
    # By identity: the layers keep their rules alive, and a rule's hash would cost more than the joining.
    key = tuple(id(layer if rule is None else rule) for layer, rule in allowing)
    found = effective._joined.get(key)
    if found is None:
        if len(effective._joined) >= MAX_REMEMBERED:
            effective._joined.clear()
        names = [f"{layer.name}/{rule.name}" if rule else layer.name for layer, rule in allowing]
        found = effective._joined[key] = (
            lowest(rule.stated if rule else layer.policy.stated for layer, rule in allowing),
            plan_of(
                [
                    (name, rule.actions)
                    for name, (_, rule) in zip(names, allowing, strict=True)
                    if rule is not None
                ]
            ),
            " + ".join(names),
        )
    return found


def _both(first: Opened, second: Opened) -> Opened:
    if first is NOTHING_OPENED or second is NOTHING_OPENED:
        return second if first is NOTHING_OPENED else first
    return Opened(tuple(dict.fromkeys((*first.networks, *second.networks))), first.private or second.private)


def _quotas(quotas: Sequence[TenantQuotas]) -> TenantQuotas:
    def least(values: Iterable[int | None]) -> int | None:
        return min((value for value in values if value is not None), default=None)

    return TenantQuotas(
        requests_per_minute=least(each.requests_per_minute for each in quotas),
        bytes_per_minute=least(each.bytes_per_minute for each in quotas),
        concurrent_requests=least(each.concurrent_requests for each in quotas),
    )
