"""A rate-limit binding: so many in so long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: In seconds, as elsewhere.
PERIODS_S: Final = (10, 60)
MOST_REQUESTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`limit` uses of a key in `period_s`, counted with all bindings of the tenant that have the same of everything."""

    namespace_id: str
    limit: int
    period_s: int


def encode_rate_limit(limit: RateLimit) -> str:
    """As a BindingSpec's target."""
    return f"{limit.limit}/{limit.period_s}/{limit.namespace_id}"


def decode_rate_limit(target: str) -> RateLimit:
    limit, period_s, namespace_id = target.split("/", 2)
    return RateLimit(namespace_id, int(limit), int(period_s))
