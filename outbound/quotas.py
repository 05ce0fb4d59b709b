"""What a tenant, a rule's tenants or a host may use: rate limits and quotas of one process, asked before a
request leaves and while its bytes pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from model.clock import monotonic_s
from model.identity import NamespaceName, TenantId
from outbound.rate_limits import RateTable
from outbound.reasons import Reason
from outbound.rule_actions import NamedRateLimit, RateScope, TenantQuotas

#: Beyond it, what connections hold in memory is what there is too little of.
MOST_RUNNING: Final = 4_096

_MINUTE_S: Final = 60.0
_RAISE: Final = "; the platform can raise it"

Owner = tuple[NamespaceName | None, TenantId]


@dataclass(frozen=True, slots=True)
class OverLimit:
    """The message names the limit, its value and when to try again."""

    reason: Reason
    message: str


class Admitted:
    """One request's share of its tenant's quotas. `release` it when all of it is over; idempotent."""

    __slots__ = ("_owner", "_quotas", "_released", "_usage", "message")

    def __init__(self, usage: Usage, owner: Owner, quotas: TenantQuotas) -> None:
        self._usage = usage
        self._owner = owner
        self._quotas = quotas
        self._released = False
        #: Why bytes may not go on; "" while they may.
        self.message = ""

    @property
    def meter(self) -> Admitted | None:
        """Whom bytes are to be told to; None where nobody counts them."""
        return None if self._quotas.bytes_per_minute is None else self

    def pass_bytes(self, count: int) -> bool:
        """Count bytes that passed. False: the quota is used up, and what comes after must not pass."""
        bound = self._quotas.bytes_per_minute
        if bound is None:
            return True
        self._usage.tenants.charge(("bytes", self._owner), count / bound, _MINUTE_S, self._owner)
        over = self._usage.bytes_left(self._owner, bound)
        if over is not None:
            self.message = over.message
            return False
        return True

    def release(self) -> None:
        if not self._released:
            self._released = True
            self._usage.left(self._owner)


class Usage:
    """One a process, over all tenants. Never waits.

    `most_running` requests are under way at once, of all tenants: each has a connection, and the process has so many
    descriptors. No tenant has more of them than there is room left, so that none can take all.
    """

    def __init__(
        self,
        capacity: int = 65_536,
        clock: Callable[[], float] = monotonic_s,
        most_running: int = MOST_RUNNING,
    ) -> None:
        self.rates = RateTable(capacity, clock)
        #: Of its own: hosts that one tenant invents must not push out what another has used.
        self.tenants = RateTable(capacity, clock)
        self._running: dict[Owner, int] = {}
        self._all_running = 0
        self._most_running = most_running

    def admit(
        self, owner: Owner, host: str, limits: tuple[NamedRateLimit, ...], quotas: TenantQuotas
    ) -> Admitted | OverLimit:
        """Count one request that is about to leave, or say which limit holds it."""
        running = self._running.get(owner, 0)
        if running >= self._most_running - self._all_running:
            return OverLimit(
                Reason.LIMIT_HOST,
                f"this host has no room for another request now: this tenant has {running} under way, and all "
                f"together may have {self._most_running}; try again",
            )
        most = quotas.concurrent_requests
        if most is not None and running >= most:
            return OverLimit(
                Reason.LIMIT_QUOTA_CONNECTIONS,
                f"this tenant has {running} requests under way; the egress policy's concurrent_requests is {most}; "
                f"read or close a response, then try again{_RAISE}",
            )
        if quotas.bytes_per_minute is not None:
            over = self.bytes_left(owner, quotas.bytes_per_minute)
            if over is not None:
                return over
        for named in limits:
            limit = named.limit
            key = (named.name, limit, owner[0], *_whose(limit.per, owner[1], host))
            wait_s = self.rates.take(key, 1 / limit.requests, limit.period_s, owner)
            if wait_s > 0:
                return OverLimit(
                    Reason.LIMIT_RATE,
                    f"the egress policy's rate limit of {named.name!r} is {limit.requests} requests in "
                    f"{limit.period_s} s for each {limit.per.value.replace('_', ' ')}; {_again(wait_s)}",
                )
        if quotas.requests_per_minute is not None:
            wait_s = self.tenants.take(("requests", owner), 1 / quotas.requests_per_minute, _MINUTE_S, owner)
            if wait_s > 0:
                return OverLimit(
                    Reason.LIMIT_QUOTA_REQUESTS,
                    f"the egress policy's requests_per_minute is {quotas.requests_per_minute} for a tenant; "
                    f"{_again(wait_s)}",
                )
        self._running[owner] = running + 1
        self._all_running += 1
        return Admitted(self, owner, quotas)

    def bytes_left(self, owner: Owner, bound: int) -> OverLimit | None:
        wait_s = self.tenants.wait_s(("bytes", owner))
        if wait_s <= 0:
            return None
        return OverLimit(
            Reason.LIMIT_QUOTA_BYTES,
            f"the egress policy's bytes_per_minute is {bound} for a tenant, up and down together; "
            f"{_again(wait_s)}",
        )

    def left(self, owner: Owner) -> None:
        self._all_running -= 1
        running = self._running[owner] - 1
        if running:
            self._running[owner] = running
        else:
            del self._running[owner]


def _whose(per: RateScope, tenant: TenantId, host: str) -> tuple[str, str]:
    match per:
        case RateScope.TENANT:
            return (tenant, "")
        case RateScope.DESTINATION:
            return ("", host)
        case RateScope.TENANT_AND_DESTINATION:
            return (tenant, host)


def _again(wait_s: float) -> str:
    return f"try again in {math.ceil(wait_s)} s{_RAISE}"
