"""Whether a request is sent again, and when. Pure; randomness comes in as a number.

Only what can be repeated without harm: an idempotent method (RFC 9110 §9.2.2) whose body is here whole.
"""

from __future__ import annotations

import re
from typing import Final

from model.messages import Body, Headers
from outbound.reasons import Reason
from outbound.rule_actions import Retries
from outbound.upload import WHOLE_BYTES

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
#: The longest that a back-off grows to.
MAX_BACKOFF_S: Final = 30.0

# Faults that pass, and came before an answer. Not a certificate that does not fit, nor a name that is not there.
_PASSING: Final = frozenset(
    {
        Reason.RESOLVE_FAILED,
        Reason.RESOLVE_TIMEOUT,
        Reason.CONNECT_FAILED,
        Reason.CONNECT_TIMEOUT,
        Reason.PROXY_FAILED,
        Reason.UPSTREAM_FAILED,
        Reason.UPSTREAM_TIMEOUT,
    }
)
_SECONDS: Final = re.compile(rb"[0-9]{1,6}")


def is_repeatable(method: str, body: Body) -> bool:
    return method in IDEMPOTENT and is_here(body)


def is_here(body: Body) -> bool:
    """No body, or a small one in memory: it can be sent a second time."""
    return body is None or (isinstance(body, bytes) and len(body) <= WHOLE_BYTES)


def may_pass(reason: Reason) -> bool:
    return reason in _PASSING


def pause_s(retries: Retries, done: int, left_s: float, jitter: float, asked_s: float = 0.0) -> float | None:
    """Seconds until the next attempt, or None for no other.

    `done` retries were made. The back-off doubles, and a random half of it is taken off (`jitter` is from 0
    to 1), so that clients of one upstream do not come back together. An upstream that asks for more
    (`asked_s`) gets it. No attempt begins that the total timeout (`left_s`) would end at once.
    """
    if done >= retries.attempts:
        return None
    backoff_s = min(retries.backoff_ms / 1_000 * 2.0**done, MAX_BACKOFF_S)
    wait_s = max(backoff_s * (0.5 + jitter / 2), asked_s)
    return wait_s if wait_s < left_s else None


def asked_for_s(headers: Headers) -> float:
    """What Retry-After says in seconds; 0 without, or with a date."""
    value = next((value for name, value in headers if name == b"retry-after"), b"")
    return float(value) if _SECONDS.fullmatch(value) else 0.0
