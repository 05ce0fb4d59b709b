"""What a dispatcher narrows one call to, as the narrowest layer of its policy. Pure."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from model.call_egress import EgressHosts
from outbound.fetch_limits import NO_LIMITS
from outbound.policy import Action, EgressPolicy, Mode, Rule
from outbound.policy_conditions import Conditions
from outbound.policy_layers import EffectivePolicy, Layer, LayerKind, effective_policy

#: The one rule of such a layer, as audit and errors name it.
CALL_RULE: Final = "egress"
#: Remembered with each policy: a dispatcher says the same of a script's calls, or a few things in turn.
_REMEMBERED: Final = 8


def narrowed_by_call(policy: EffectivePolicy, hosts: EgressHosts | None) -> EffectivePolicy:
    """`policy`, and nothing but what goes to one of `hosts`. None: the dispatcher said nothing."""
    if hosts is None:
        return policy
    found = policy.narrowed.get(hosts)
    if found is None:
        if len(policy.narrowed) >= _REMEMBERED:
            policy.narrowed.clear()
        layer = Layer(LayerKind.CALL, _call_policy(hosts))
        found = policy.narrowed[hosts] = effective_policy((*policy.layers, layer))
    return found


@lru_cache(maxsize=1_024)
def _call_policy(hosts: EgressHosts) -> EgressPolicy:
    version = hashlib.sha256(repr(hosts).encode()).hexdigest()[:16]
    # A rule without hosts would hold for all of them.
    rules = (Rule(CALL_RULE, Action.ALLOW, Conditions(hosts=hosts)),) if hosts else ()
    return EgressPolicy(Mode.ENFORCE, rules, NO_LIMITS, version)
