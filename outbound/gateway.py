"""The only door out: each fetch is one attempt, or several where a rule says so: after a redirect, after a fault.

Every refusal is a value until here, and becomes an OperationError once, with its reason's name, the rule that
decided, and what would be right. A redirect that no rule lets us follow is handed to the worker.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from model.capabilities import EventContext
from model.errors import OperationError
from model.messages import OutgoingRequest, Response
from outbound import retries
from outbound.addresses import AddressRanges
from outbound.attempt import Attempt
from outbound.audit import AuditSink
from outbound.connector import Connector
from outbound.door import Door, LocalDispatch, Trip
from outbound.egress_proxy import NameResolver
from outbound.following import Sent, follow
from outbound.hops import HopSigner
from outbound.memory_materials import MemoryMaterials
from outbound.policy_layers import EffectivePolicy
from outbound.quotas import Usage
from outbound.reasons import Reason
from outbound.refusal import Refused, code_of
from outbound.rule_actions import NO_PLAN, Materials


class Gateway:
    """Implements model.capabilities.Fetcher. One a process, shared by every tenant.

    `policy_for` answers at once where the policy is in memory; else it gives what to await. `hops_of` says
    how many hosts of this platform lie behind an event (HopSigner.verify of the header that its visitor's
    request came with). `local` answers for names that lead to this host, which are not connected to. Without
    `materials` there are none.
    """

    def __init__(
        self,
        policy_for: Callable[[EventContext], EffectivePolicy | Awaitable[EffectivePolicy]],
        resolver: NameResolver,
        connector: Connector,
        audit: AuditSink,
        *,
        hop_key: bytes,
        ranges: AddressRanges | None = None,
        hops_of: Callable[[EventContext], int] = lambda context: 0,
        materials: Materials | None = None,
        local: LocalDispatch | None = None,
        usage: Usage | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._door = Door(
            policy_for,
            resolver,
            connector,
            audit,
            HopSigner(hop_key),
            ranges or AddressRanges(),
            hops_of,
            materials or MemoryMaterials(),
            usage or Usage(),
            local,
        )
        self._jitter = jitter

    async def fetch(self, request: OutgoingRequest, context: EventContext) -> Response:
        """As Fetcher.fetch. Raises OperationError: denied, invalid_argument, limit_exceeded, timeout,
        upstream_failed, unavailable. The request's body is closed in every case.
        """
        trip = Trip()
        attempt = Attempt(self._door, request, context, trip)
        while True:
            pause_s: float | None
            try:
                response = await attempt.run()
                if attempt.plan is NO_PLAN:
                    attempt.hand_over(response)
                    return response
                following = self._follow(attempt, response, trip)
                pause_s = None if following else self._pause(attempt, response, trip)
                if following is None and pause_s is None:
                    attempt.hand_over(response)
                    return response
                attempt.finish(None)
                if response.body is not None and not isinstance(response.body, bytes):
                    response.body.close()
            except Refused as refused:
                attempt.finish(refused.reason)
                following = None
                pause_s = self._pause_after(attempt, refused.reason, trip)
                if pause_s is None:
                    # What lies behind it may hold the upstream's own words, and those a secret.
                    cause = refused.__cause__ if trip.redactor is None else None
                    raise OperationError(code_of(refused.reason), trip.clean(refused.message)) from cause
            except asyncio.CancelledError:
                attempt.finish(Reason.CANCELLED)
                raise
            except BaseException:  # a bug of ours: on record like everything else, and the body is let go
                attempt.finish(Reason.INTERNAL)
                raise
            if following is not None:
                request = following
            elif pause_s is not None:
                trip.retries += 1
                await asyncio.sleep(pause_s)
            attempt = Attempt(self._door, request, context, trip)

    def _follow(self, attempt: Attempt, response: Response, trip: Trip) -> OutgoingRequest | None:
        """The request that a redirect asks for, or None to hand the response to the worker. Raises Refused."""
        request, most = attempt.request, attempt.plan.follow_redirects
        if not most or attempt.target is None:
            return None
        sent = Sent(attempt.target, attempt.method, request.headers, retries.is_here(request.body))
        try:
            found = follow(most, trip.way, sent, response.status, response.headers)
        except Refused:
            if response.body is not None and not isinstance(response.body, bytes):
                response.body.close()
            raise
        if found is None:
            return None
        trip.way = found.way
        return OutgoingRequest(
            found.method, found.url, found.headers, request.body if found.keeps_body else None
        )

    def _pause(self, attempt: Attempt, response: Response, trip: Trip) -> float | None:
        """Seconds until the request is repeated because of how it was answered, or None."""
        plan = attempt.plan.retries
        if response.status not in plan.statuses or not retries.is_repeatable(
            attempt.method, attempt.request.body
        ):
            return None
        asked_s = retries.asked_for_s(response.headers)
        return retries.pause_s(plan, trip.retries, trip.left_s, self._jitter(), asked_s)

    def _pause_after(self, attempt: Attempt, reason: Reason, trip: Trip) -> float | None:
        if not retries.may_pass(reason) or not retries.is_repeatable(attempt.method, attempt.request.body):
            return None
        return retries.pause_s(attempt.plan.retries, trip.retries, trip.left_s, self._jitter())
