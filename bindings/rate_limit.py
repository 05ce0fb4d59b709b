"""The rate-limit binding: whether one more use of a key is within the limit, counted over all processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from bindings.arguments import check_count, invalid, parse_str, type_name
from model.capabilities import GuestEvent, OperationResult, RateLimiter
from model.identity import NamespaceName, TenantId
from model.rates import RateLimit
from storage.shared_rates import SharedRates

KEY_BYTES: Final = 512


class SharedRateLimiter:
    """A RateLimiter of one tenant: the bindings with the same `namespace_id` and limit count together."""

    __slots__ = ("_holder", "_limit", "_prefix", "_rates")

    def __init__(
        self, rates: SharedRates, namespace: NamespaceName | None, tenant: TenantId, limit: RateLimit
    ) -> None:
        self._rates = rates
        # Names of namespaces have no "/".
        self._holder = f"{namespace or ''}/{tenant}"
        self._prefix = limit.namespace_id.encode() + b"\0"
        self._limit = limit

    def limit(self, key: str) -> bool:
        return self._rates.take(
            self._holder, self._prefix + key.encode(), self._limit.limit, self._limit.period_s
        )


def rate_limit_limit(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    check_count("rate_limit.limit", args, 1, 1, "options")
    options = args[0]
    if not isinstance(options, dict) or set(options) != {"key"}:
        shown = type_name(options) if not isinstance(options, dict) else "another map"
        invalid(f"options: {shown}; {{key: a string}} is right")
    key = parse_str("options.key", options["key"], KEY_BYTES)
    return {"success": cast("RateLimiter", lent).limit(key)}
