"""Egress policies between those who keep them and those who decide by them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from outbound.policy import EgressPolicy
from outbound.policy_layers import EffectivePolicy, Layer, LayerKind, effective_policy
from outbound.policy_parse import parse_policy
from storage.egress_records import MaterialKind, PolicyLayer


def named_materials(text: str) -> frozenset[tuple[str, str]]:
    """(kind, name) of each material that the document's rules use. Raises PolicyError."""
    found: set[tuple[str, str]] = set()
    for rule in parse_policy(text).rules:
        actions = rule.actions
        found.update((MaterialKind.SECRET, secret.secret) for secret in actions.secrets)
        if actions.proxy is not None and actions.proxy.credentials is not None:
            found.add((MaterialKind.SECRET, actions.proxy.credentials))
        if actions.tls.ca_bundle is not None:
            found.add((MaterialKind.CA_BUNDLE, actions.tls.ca_bundle))
        if actions.tls.client_certificate is not None:
            found.add((MaterialKind.CLIENT_CERTIFICATE, actions.tls.client_certificate))
    return frozenset(found)


def join_layers(layers: Sequence[tuple[PolicyLayer, EgressPolicy]]) -> EffectivePolicy:
    """What decides, of the layers that are in force for one caller."""
    return effective_policy(
        Layer(LayerKind(layer.layer), policy, layer.name, layer.widen) for layer, policy in layers
    )
