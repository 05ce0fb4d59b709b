"""A rate-limit binding as uploads say it, in Cloudflare's shape: `{namespace_id, simple: {limit, period}}`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from control.envelope import ApiError, Code
from model.rates import MOST_REQUESTS, PERIODS_S, RateLimit, decode_rate_limit

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def parse_rate_limit(binding: Mapping[str, Any], field: str) -> RateLimit:
    """Raises ApiError(400) naming the field."""
    namespace_id = binding.get("namespace_id")
    if isinstance(namespace_id, int) and not isinstance(namespace_id, bool):
        namespace_id = str(namespace_id)
    if not isinstance(namespace_id, str) or not _ID.fullmatch(namespace_id):
        raise _wrong(f"{field}.namespace_id", "1 to 64 letters, digits, '_' or '-' are right, chosen by you")
    simple = binding.get("simple")
    if not isinstance(simple, Mapping):
        raise _wrong(f"{field}.simple", "{limit, period} is right")
    limit, period = simple.get("limit"), simple.get("period")
    if type(limit) is not int or not 1 <= limit <= MOST_REQUESTS:
        raise _wrong(f"{field}.simple.limit", f"a whole number from 1 to {MOST_REQUESTS} is right")
    if type(period) is not int or period not in PERIODS_S:
        raise _wrong(f"{field}.simple.period", f"{' or '.join(map(str, PERIODS_S))} (seconds) is right")
    return RateLimit(namespace_id, limit, period)


def show_rate_limit(target: str) -> dict[str, Any]:
    """The other way round, from what is stored."""
    limit = decode_rate_limit(target)
    return {
        "namespace_id": limit.namespace_id,
        "simple": {"limit": limit.limit, "period": limit.period_s},
    }


def _wrong(field: str, right: str) -> ApiError:
    return ApiError(400, Code.VALIDATION, f"{field}: {right}", field)
