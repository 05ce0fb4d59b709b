"""The egress policies of a worker process: what is in force for a script's events, joined of its layers.

In memory it is one look-up. What is not is read and parsed in a thread (1,000 rules take 24 ms), once for all
documents with the same text, and whoever needs it waits. A change is seen by the next request: the keys of the
change log evict what is joined, and what did not change is not parsed again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Generic, TypeVar

from bindings.failures import unavailable
from dispatch.generation_cache import GenerationCache
from dispatch.route_index import ALL
from model.capabilities import EventContext
from model.errors import OperationError, OperationErrorCode
from model.identity import NamespaceName, TenantId
from outbound.policy import DENY_ALL, EgressPolicy
from outbound.policy_parse import PolicyError, parse_policy
from storage.egress_records import Layer, PolicyLayer
from storage.failures import StorageError
from storage.policy_records import PolicyRecords

_log = logging.getLogger("tenantry.data_plane")

#: Joined policies that a process keeps.
_JOINED: Final = 20_000
#: Of them, those that differ and are not forgotten before a tenant asks for the first time.
_DISTINCT: Final = 2_000
#: Of texts whose parsed policies are kept; parsed they take some ten times that.
_TEXT_BYTES: Final = 16 << 20
#: How often a policy is read again because it was changed while it was read.
_MOST_READS: Final = 8

#: Namespace ("" for plain scripts), tenant, tags.
_Key = tuple[str, TenantId, tuple[str, ...]]
#: A layer in force with what its document says, narrowest last.
ParsedLayer = tuple[PolicyLayer, EgressPolicy]
P = TypeVar("P")


class EgressPolicies(Generic[P]):
    """One a process; for one event loop. `join` makes of the layers in force what decides. It is cheap.

    `refresh` tells of changes through `changed` (dispatch.route_index.RouteIndex.refresh and on_change).
    """

    def __init__(
        self,
        records: PolicyRecords,
        refresh: Callable[[], None],
        join: Callable[[Sequence[ParsedLayer]], P],
        text_bytes: int = _TEXT_BYTES,
    ) -> None:
        self._records = records
        self._refresh = refresh
        self._join = join
        self._most_bytes = text_bytes
        self._joined: GenerationCache[_Key, P] = GenerationCache(_JOINED)
        self._by_layers: GenerationCache[tuple[PolicyLayer, ...], P] = GenerationCache(_DISTINCT)
        #: By digest, with the size of its text; the one that was used longest ago comes first.
        self._parsed: OrderedDict[str, tuple[EgressPolicy, int]] = OrderedDict()
        self._bytes = 0
        self._parsing: dict[str, asyncio.Task[EgressPolicy | None]] = {}
        # One: parsing holds the GIL.
        self._thread = ThreadPoolExecutor(1, "policy-parse")

    def policy_for(self, context: EventContext) -> P | Awaitable[P]:
        """What is in force now for this event. Raises OperationError(unavailable)."""
        self._refresh()
        key = (context.namespace or "", context.tenant, context.tags)
        found = self._joined.get(key)
        if found is not None:
            return found
        joined, missing = self._try(context.namespace, key, {})
        return self._load(context.namespace, key, missing) if joined is None else joined

    def changed(self, kind: str, key: str) -> None:
        """As RouteIndex.on_change calls it."""
        if kind == ALL:
            self._joined.clear()
        elif kind == "policy":
            namespace, layer, name = key.split("/", 2)
            self._joined.discard_where(lambda joined: _concerns(joined, namespace, layer, name))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _try(
        self, namespace: NamespaceName | None, key: _Key, own: Mapping[str, EgressPolicy]
    ) -> tuple[P | None, list[PolicyLayer]]:
        """What is in force, or the layers that have to be parsed for that. `own` are parsed already."""
        try:
            layers = self._records.layers_of_call(namespace, key[1], key[2])
        except StorageError as error:
            raise unavailable(error) from error
        parsed = [(layer, own.get(layer.digest) or self._known(layer.digest)) for layer in layers]
        whole = [(layer, policy) for layer, policy in parsed if policy is not None]
        if len(whole) < len(parsed):
            return None, [layer for layer, policy in parsed if policy is None]
        # Most tenants have no layer of their own: those of a namespace share what is joined.
        alike = tuple(layers)
        joined = self._by_layers.get(alike)
        if joined is None:
            joined = self._join(whole)
            self._by_layers.put(alike, joined)
        # Nothing was awaited since `refresh`: a later change evicts it.
        self._joined.put(key, joined)
        return joined, []

    async def _load(self, namespace: NamespaceName | None, key: _Key, missing: Sequence[PolicyLayer]) -> P:
        own: dict[str, EgressPolicy] = {}
        for _ in range(_MOST_READS):
            for layer in missing:
                policy = await self._parse_once(namespace, layer)
                if policy is not None:
                    own[layer.digest] = policy
            self._refresh()
            joined, missing = self._try(namespace, key, own)
            if joined is not None:
                return joined
        raise OperationError(
            OperationErrorCode.UNAVAILABLE, "the egress policy is being changed all the time; try again"
        )

    def _known(self, digest: str) -> EgressPolicy | None:
        found = self._parsed.get(digest)
        if found is None:
            return None
        self._parsed.move_to_end(digest)
        return found[0]

    async def _parse_once(self, namespace: NamespaceName | None, layer: PolicyLayer) -> EgressPolicy | None:
        """None when the text is no longer kept: something else is in force by now."""
        known = self._known(layer.digest)
        if known is not None:
            return known
        parsing = self._parsing.get(layer.digest)
        if parsing is None:
            parsing = asyncio.get_running_loop().create_task(self._parse(namespace, layer))
            self._parsing[layer.digest] = parsing
            parsing.add_done_callback(partial(self._parsing_ended, layer.digest))
        # Shielded: who leaves must not fail the others.
        try:
            return await asyncio.shield(parsing)
        except StorageError as error:
            raise unavailable(error) from error

    def _parsing_ended(self, digest: str, task: asyncio.Task[EgressPolicy | None]) -> None:
        del self._parsing[digest]
        if not task.cancelled():
            task.exception()  # everybody who waited may have left

    async def _parse(self, namespace: NamespaceName | None, layer: PolicyLayer) -> EgressPolicy | None:
        text = await self._records.text(namespace, layer)
        if text is None:
            return None
        try:
            policy = await asyncio.get_running_loop().run_in_executor(self._thread, parse_policy, text)
        except PolicyError as error:
            # It was parsed when it was set, so another release did that: deny rather than guess.
            _log.error("the egress policy version %d can't be read: %s; it denies all", layer.version, error)
            policy = DENY_ALL
        self._keep(layer.digest, policy, len(text))
        return policy

    def _keep(self, digest: str, policy: EgressPolicy, size: int) -> None:
        self._parsed[digest] = policy, size
        self._bytes += size
        if self._bytes > self._most_bytes:
            while self._bytes > self._most_bytes and len(self._parsed) > 1:
                self._bytes -= self._parsed.popitem(last=False)[1][1]
            # What is joined would hold on to what was dropped.
            self._joined.clear()
            self._by_layers.clear()


def _concerns(joined: _Key, namespace: str, layer: str, name: str) -> bool:
    if joined[0] != namespace:
        return False
    if layer == Layer.TENANT:
        return joined[1] == name
    if layer == Layer.TAG:
        return name in joined[2]
    return True
