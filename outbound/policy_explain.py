"""One request's decision, with all that led to it. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from outbound.addresses import AddressClass, AddressRanges, classify
from outbound.policy import Result
from outbound.policy_judge import Caller, Hop, Request, judge
from outbound.policy_layers import EffectivePolicy
from outbound.policy_set import PolicySet
from outbound.policy_walk import Step, walk


@dataclass(frozen=True, slots=True)
class Explained:
    caller: Caller
    #: What held for the caller.
    effective: EffectivePolicy
    hop: Hop
    #: Empty when the request was refused before the policy was asked.
    steps: tuple[Step, ...]
    #: Each address that the name leads to, as far as the policy lets the request come there.
    addresses: tuple[tuple[str, AddressClass], ...]

    @property
    def allowed(self) -> bool:
        return self.hop.result is Result.ALLOW


def explain_request(
    policies: PolicySet, request: Request, caller: Caller, ranges: AddressRanges
) -> Explained:
    """Never raises."""
    effective = policies.holding(caller.tenant, caller.tags, caller.egress_hosts)
    hop = judge(policies, request, caller, ranges=ranges).last
    steps = () if hop.facts is None else tuple(walk(effective, hop.facts))
    return Explained(caller, effective, hop, steps, _addresses(hop, ranges))


def _addresses(hop: Hop, ranges: AddressRanges) -> tuple[tuple[str, AddressClass], ...]:
    target, verdict = hop.target, hop.verdict
    if target is None or verdict is None or verdict.result is Result.DENY:
        return ()
    answers = (target.host,) if target.is_ip else hop.request.answers or ()
    return tuple(
        (text, classify(ipaddress.ip_address(text), target.port, ranges, verdict.opened)) for text in answers
    )
