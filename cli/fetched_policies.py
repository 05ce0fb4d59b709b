"""The egress policies that a host has in force, fetched layer by layer as they are needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from cli.client import ApiClient
from cli.errors import ApiError, CliError
from cli.kept_policies import Document, egress_path

if TYPE_CHECKING:
    from outbound.policy import EgressPolicy
    from outbound.policy_layers import Layer
    from outbound.policy_replay import Recorded
    from outbound.policy_set import PolicySet

#: Of the API: this place, tag or tenant has no policy.
_NO_POLICY: Final = 20021


class FetchedPolicies:
    """Of one dispatch namespace, `-` for plain scripts. Each document is asked for once."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._layers: dict[str, Layer | None] = {}

    def holding(self, tenants: Iterable[str], tags: Iterable[str]) -> PolicySet:
        """The namespace's, and those of these tenants and tags. Raises CliError."""
        from outbound.policy_set import PolicySet

        names = ["namespace", *(f"tag:{tag}" for tag in tags), *(f"tenant:{tenant}" for tenant in tenants)]
        layers = [self._layer(name) for name in dict.fromkeys(names)]
        return PolicySet(layer for layer in layers if layer is not None)

    def of_records(
        self,
        records: Iterable[Recorded],
        new: EgressPolicy,
        *,
        tag: str | None,
        tenant: str | None,
        widen: bool | None,
    ) -> PolicySet:
        """Those of all records' tenants and tags, with `new` in the place of one. `widen` None: as what is in
        force there does. Raises CliError.
        """
        from outbound.policy_layers import Layer, LayerKind

        tags: set[str] = set()
        tenants: set[str] = set()
        for record in records:
            tags.update(record.tags)
            tenants.add(record.tenant)
        found = self._client.pages(egress_path(self._client, self._namespace, "egress-policy", "layers"))
        kept = {(each["layer"], each["name"]) for each in found}
        policies = self.holding(
            [name for name in sorted(tenants) if ("tenant", name) in kept],
            [name for name in sorted(tags) if ("tag", name) in kept],
        )
        kind = LayerKind.TAG if tag is not None else LayerKind.TENANT if tenant is not None else None
        if kind is None:
            return policies.replaced(Layer(LayerKind.NAMESPACE, new))
        key = tag or tenant or ""
        there = next((layer for layer in policies.layers if (layer.kind, layer.key) == (kind, key)), None)
        if widen is None:
            widen = there is not None and there.widen
        return policies.replaced(Layer(kind, new, key, widen))

    def _layer(self, name: str) -> Layer | None:
        if name not in self._layers:
            self._layers[name] = self._fetch(name)
        return self._layers[name]

    def _fetch(self, name: str) -> Layer | None:
        from outbound.policy_layers import Layer, LayerKind
        from outbound.policy_parse import PolicyError, parse_policy
        from outbound.policy_set import parse_layer_name

        kind, key = parse_layer_name(name)
        document = Document(
            self._namespace,
            key if kind is LayerKind.TAG else None,
            key if kind is LayerKind.TENANT else None,
        )
        try:
            found = self._client.get(document.path(self._client))
        except ApiError as error:
            if error.code == _NO_POLICY:
                return None
            raise
        try:
            return Layer(kind, parse_policy(str(found["policy"])), key, bool(found["widen"]))
        except PolicyError as error:
            raise CliError(
                f"the egress policy of {document} can't be read: {error}",
                hint="this command is of another release than the host",
            ) from None
