"""Materials kept in dictionaries: for tests, and for whoever runs a gateway without a control plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from model.identity import NamespaceName
from outbound.rule_actions import ClientCertificate, MaterialMissing

_T = TypeVar("_T")


@dataclass(slots=True)
class MemoryMaterials:
    """Implements rule_actions.Materials. Keys are names; every namespace has the same."""

    secrets: Mapping[str, str] = field(default_factory=dict)
    ca_bundles: Mapping[str, bytes] = field(default_factory=dict)
    client_certificates: Mapping[str, ClientCertificate] = field(default_factory=dict)

    async def secret(self, namespace: NamespaceName | None, name: str) -> str:
        return _found(self.secrets, "secret", name)

    async def ca_bundle(self, namespace: NamespaceName | None, name: str) -> bytes:
        return _found(self.ca_bundles, "CA bundle", name)

    async def client_certificate(self, namespace: NamespaceName | None, name: str) -> ClientCertificate:
        return _found(self.client_certificates, "client certificate", name)


def _found(kept: Mapping[str, _T], kind: str, name: str) -> _T:
    try:
        return kept[name]
    except KeyError:
        raise MaterialMissing(
            f"the egress {kind} {name!r} is not set; set it, or change the policy"
        ) from None
