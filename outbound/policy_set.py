"""The policy documents of one namespace, and what of them holds for whom. Pure.

For tools: `storage.policy_records` finds the same layers for a worker process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from model.call_egress import EgressHosts
from model.identity import InvalidName, parse_tag, parse_tenant_id
from outbound.call_layer import narrowed_by_call
from outbound.policy import EgressPolicy
from outbound.policy_layers import EffectivePolicy, Layer, LayerKind, effective_policy

_KINDS_WITH_KEYS = {LayerKind.TAG: parse_tag, LayerKind.TENANT: parse_tenant_id}


class PolicySet:
    """Raises ValueError when two documents are of one layer. A layer of a call is not among them: each call has
    its own.
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers: tuple[Layer, ...] = effective_policy(layers).layers
        self._by_name = {layer.name: layer for layer in self.layers}
        self._joined: dict[tuple[str, ...], EffectivePolicy] = {}

    @staticmethod
    def of(policy: EgressPolicy) -> PolicySet:
        """A namespace's policy, and nothing beside it."""
        return PolicySet([Layer(LayerKind.NAMESPACE, policy)])

    def holding(
        self, tenant: str, tags: Sequence[str], egress_hosts: EgressHosts | None = None
    ) -> EffectivePolicy:
        """What holds for a call of this tenant's script with these tags."""
        names = ["namespace", *(f"tag:{tag}" for tag in dict.fromkeys(tags)), f"tenant:{tenant}"]
        key = tuple(name for name in names if name in self._by_name)
        found = self._joined.get(key)
        if found is None:
            found = self._joined[key] = effective_policy(self._by_name[name] for name in key)
        return narrowed_by_call(found, egress_hosts)

    def replaced(self, layer: Layer) -> PolicySet:
        """With this one in place of the one of its name."""
        return PolicySet([*(each for each in self.layers if each.name != layer.name), layer])


def parse_layer_name(text: str) -> tuple[LayerKind, str]:
    """`namespace`, `tag:NAME` or `tenant:ID`, as verdicts name layers. Raises ValueError saying what is right."""
    name, _, key = text.partition(":")
    if name == LayerKind.NAMESPACE and not key:
        return LayerKind.NAMESPACE, ""
    try:
        kind = LayerKind(name)
        return kind, _KINDS_WITH_KEYS[kind](key)
    except InvalidName as error:
        raise ValueError(f"{text[:80]!r}: {error}") from None
    except (KeyError, ValueError):
        raise ValueError(f"{text[:80]!r}: namespace, tag:NAME or tenant:ID is right") from None
