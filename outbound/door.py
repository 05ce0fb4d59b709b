"""What every attempt to go out needs, and what the attempts of one fetch share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from model.capabilities import EventContext
from model.clock import monotonic_s
from model.messages import OutgoingRequest, Response
from outbound.addresses import AddressRanges, Denied, Opened, Pinned, choose
from outbound.audit import AuditSink
from outbound.connector import Connector
from outbound.egress_proxy import NameResolver
from outbound.fetch_limits import FetchLimits
from outbound.following import START, Way
from outbound.hops import HopSigner
from outbound.policy_layers import EffectivePolicy
from outbound.quotas import Usage
from outbound.rule_actions import Materials
from outbound.secret_injection import Redactor
from outbound.target import Target


class LocalDispatch(Protocol):
    """Answers for hostnames that this very host serves."""

    def __call__(
        self, target: Target, request: OutgoingRequest, context: EventContext
    ) -> Awaitable[Response] | None:
        """None: not one of ours. `request` is as it would have left, the signed hop header among its headers:
        it is to be treated like one that came by a connection. Raises UpstreamError.
        """


@dataclass(frozen=True, slots=True)
class Door:
    """One a process."""

    policy_for: Callable[[EventContext], EffectivePolicy | Awaitable[EffectivePolicy]]
    resolver: NameResolver
    connector: Connector
    audit: AuditSink
    signer: HopSigner
    ranges: AddressRanges
    hops_of: Callable[[EventContext], int]
    materials: Materials
    usage: Usage
    local: LocalDispatch | None
    #: `choose` for this host; remembered, since the same names are asked for again and again.
    choose: Callable[[tuple[str, ...], int, Opened], Pinned | Denied] = field(init=False)

    def __post_init__(self) -> None:
        def chosen(candidates: tuple[str, ...], port: int, opened: Opened) -> Pinned | Denied:
            return choose(candidates, port, self.ranges, opened)

        object.__setattr__(self, "choose", lru_cache(maxsize=4_096)(chosen))


@dataclass(slots=True)
class Trip:
    #: Monotonic; set by the first decision.
    until_s: float | None = None
    total_ms: int = 0
    retries: int = 0
    way: Way = START
    redactor: Redactor | None = None
    _secrets: list[str] = field(default_factory=list)

    @property
    def left_s(self) -> float:
        return float("inf") if self.until_s is None else self.until_s - monotonic_s()

    def begin(self, now_s: float, limits: FetchLimits) -> None:
        self.until_s = now_s + limits.total_ms / 1_000
        self.total_ms = limits.total_ms

    def keep_from_worker(self, secret: str) -> None:
        self._secrets.append(secret)
        self.redactor = Redactor(self._secrets)

    def clean(self, message: str) -> str:
        return message if self.redactor is None else self.redactor.text(message)
