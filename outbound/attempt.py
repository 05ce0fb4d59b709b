"""One request on its way through the door: what is known so far, so that its record is whole whatever happens.

parse → decide → admit → prepare → resolve → choose → connect → stream → record. A followed redirect and a
repeated request are attempts of their own, with everything judged anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from model.capabilities import EventContext
from model.clock import monotonic_s, unix_ms
from model.errors import UpstreamError
from model.messages import Header, OutgoingRequest, Response
from outbound.addresses import Denied, Pinned
from outbound.audit import AuditRecord
from outbound.call_layer import narrowed_by_call
from outbound.connector import PoolKey, UpstreamFailure, UpstreamResponse
from outbound.dial import Route
from outbound.door import Door, Trip
from outbound.egress_fields import facts_of
from outbound.fetch_limits import FetchLimits
from outbound.header_hygiene import RequestRefused, check_method, incoming_headers, outgoing_headers
from outbound.hops import HOP_HEADER, MAX_HOPS
from outbound.local_answer import LocalContent, body_for_local, leads_here
from outbound.policy import Result, Verdict
from outbound.policy_layers import EffectivePolicy, decide_layers
from outbound.preparation import Prepared, prepare
from outbound.quotas import Admitted, OverLimit
from outbound.reasons import Reason
from outbound.refusal import Refused, address_reason, address_refusal, policy_refusal
from outbound.resolver import NameNotFound, ResolveError, ResolveTimeout
from outbound.rule_actions import NO_PLAN, Plan
from outbound.target import InvalidTarget, Target, parse_target
from outbound.upload import BodyRefused, Upload
from outbound.upstream_body import Bounds, UpstreamBody, out_of_time, too_large

#: How many of a name's checked addresses are tried before it counts as down.
MAX_CONNECTS: Final = 3
#: A look-up has a limit of its own, of some seconds: a total timeout beyond it needs no second clock.
_LOOK_UP_S: Final = 10.0

_T = TypeVar("_T")


class Attempt:
    """`run` raises Refused; whoever runs it calls `hand_over`, or `finish`."""

    __slots__ = (
        "_admitted",
        "_bytes_down",
        "_context",
        "_door",
        "_finished",
        "_record",
        "_started",
        "_trip",
        "_upload",
        "method",
        "plan",
        "request",
        "target",
    )

    def __init__(self, door: Door, request: OutgoingRequest, context: EventContext, trip: Trip) -> None:
        self._door = door
        self._context = context
        self._trip = trip
        self._started = monotonic_s()
        self._upload: Upload | None = None
        self._admitted: Admitted | None = None
        self._bytes_down = 0
        self._finished = False
        self.request = request
        self.method = request.method
        #: None until the URL was understood.
        self.target: Target | None = None
        #: What the rule says; nothing before it was asked.
        self.plan: Plan = NO_PLAN
        self._record = AuditRecord(
            at_ms=unix_ms(),
            tenant=context.tenant,
            namespace=context.namespace,
            script=context.script,
            ray_id=context.ray_id,
            method=request.method[:32],
            tags=context.tags,
            params=context.outbound_params,
            egress_hosts=context.egress_hosts,
            redirect=trip.way.redirects,
            retry=trip.retries,
            outbound=context.outbound_step,
        )

    async def run(self) -> Response:
        door, context, trip = self._door, self._context, self._trip
        target, headers, declared = self._read()
        found = door.policy_for(context)
        policy = found if isinstance(found, EffectivePolicy) else await found
        policy = narrowed_by_call(policy, context.egress_hosts)
        verdict = self._decide(policy, target, headers)
        limits, plan = verdict.limits, verdict.actions
        self.plan = plan
        if trip.until_s is None:
            trip.begin(self._started, limits)
        upload = self._upload = self._admit(target, limits, plan, policy, declared)
        if plan is NO_PLAN:
            prepared = Prepared(headers, door.connector.tls.default, None)
        else:
            prepared = await self._within(prepare(door, trip, plan, target, headers, context.namespace))
        prepared.headers.append(self._hop())
        candidates = (target.host,) if target.is_ip else await self._resolve(target)
        chosen = door.choose(candidates, target.port, verdict.opened)
        if isinstance(chosen, Denied):
            here = leads_here(candidates, target.port, door.ranges, verdict.opened) and not target.is_ip
            answer = await self._ask_this_host(target, prepared, limits, upload) if here else None
            if answer is None:
                self._record.result = Result.DENY
                self._record.address = chosen.address
                raise Refused(address_reason(chosen), address_refusal(target, chosen))
        else:
            answer = await self._connect(chosen, target, prepared, policy, verdict, upload)
        return self._respond(answer, limits)

    def finish(self, reason: Reason | None, bytes_down: int | None = None) -> None:
        """Write the record, once, and let the request's body and its share of the quotas go."""
        if self._finished:
            return
        self._finished = True
        record = self._record
        if reason is not None:
            record.reason = reason
        record.bytes_down = self._bytes_down if bytes_down is None else bytes_down
        record.duration_ms = int((monotonic_s() - self._started) * 1_000)
        if self._upload is not None:
            record.bytes_up = self._upload.sent
            self._upload.close()
        elif self.request.body is not None and not isinstance(self.request.body, bytes):
            self.request.body.close()
        if self._admitted is not None:
            self._admitted.release()
        self._door.audit.record(record)

    def hand_over(self, response: Response) -> None:
        """The worker gets it: one that has ended is on record now, one that streams when it ends."""
        if response.body is None or isinstance(response.body, bytes):
            self.finish(None)

    def _read(self) -> tuple[Target, list[Header], int | None]:
        try:
            target = self.target = parse_target(self.request.url)
            record = self._record
            record.scheme, record.host, record.port = target.scheme, target.host, target.port
            record.path = target.path[:1_024]
            self.method = check_method(self.request.method)
            headers, declared = outgoing_headers(self.request.headers, target)
        except (InvalidTarget, RequestRefused) as error:
            raise Refused(error.reason, error.message) from error
        return target, headers, declared

    def _decide(self, policy: EffectivePolicy, target: Target, headers: list[Header]) -> Verdict:
        verdict = decide_layers(policy, facts_of(target, self.method, headers, self._context))
        record = self._record
        record.method = self.method
        record.policy_version = policy.digest
        record.layer, record.rule = verdict.layer, verdict.rule_name
        record.reason = record.policy_reason = verdict.reason
        if verdict.result is Result.DENY:
            raise Refused(verdict.reason, policy_refusal(self.method, target, verdict))
        record.result = Result.ALLOW
        return verdict

    def _admit(
        self, target: Target, limits: FetchLimits, plan: Plan, policy: EffectivePolicy, declared: int | None
    ) -> Upload:
        owner = self._context.namespace, self._context.tenant
        admitted = self._door.usage.admit(owner, target.host, plan.rate_limits, policy.quotas)
        if isinstance(admitted, OverLimit):
            raise Refused(admitted.reason, admitted.message)
        self._admitted = admitted
        try:
            return Upload(self.request.body, declared, limits.max_request_bytes, admitted.meter)
        except BodyRefused as error:
            raise Refused(error.reason, error.message) from error

    def _hop(self) -> Header:
        depth = self._door.hops_of(self._context) + 1
        if depth > MAX_HOPS:
            raise Refused(
                Reason.REQUEST_LOOP,
                f"this request has passed {depth - 1} hosts of this platform; {MAX_HOPS} are the limit",
            )
        return HOP_HEADER, self._door.signer.sign(depth, self._context.ray_id)

    async def _resolve(self, target: Target) -> tuple[str, ...]:
        asker = self._context.namespace, self._context.tenant
        looking = self._door.resolver.resolve(target.host, asker)
        try:
            if self._trip.left_s < _LOOK_UP_S:
                return (await self._within(looking)).addresses
            return (await looking).addresses
        except NameNotFound as error:
            raise Refused(Reason.RESOLVE_NOT_FOUND, str(error)) from error
        except ResolveTimeout as error:
            raise Refused(Reason.RESOLVE_TIMEOUT, str(error)) from error
        except ResolveError as error:
            raise Refused(Reason.RESOLVE_FAILED, str(error)) from error

    async def _connect(
        self,
        pinned: Pinned,
        target: Target,
        prepared: Prepared,
        policy: EffectivePolicy,
        verdict: Verdict,
        upload: Upload,
    ) -> UpstreamResponse:
        connector, tls, proxy = self._door.connector, prepared.tls, prepared.proxy
        addresses = (pinned.address, *pinned.others)[:MAX_CONNECTS]
        for last, address in enumerate(addresses, 1):
            self._record.address = address
            key = PoolKey(
                self._context.tenant,
                policy.digest,
                verdict.trail,
                target.scheme,
                target.host,
                address,
                target.port,
                tls.digest,
                "" if proxy is None else proxy.identity,
                self._context.namespace,
            )
            context = tls.context if target.scheme == "https" else None
            proxy_tls = None if proxy is None else connector.tls.default.context
            one = pinned if not pinned.others else Pinned(address, target.port)
            route = Route(one, target.host, context, proxy, proxy_tls)
            try:
                return await connector.request(
                    key,
                    route,
                    target,
                    self.method,
                    prepared.headers,
                    upload,
                    self._bounds(verdict.limits),
                    self._ended,
                    self._meter,
                )
            except BodyRefused as error:
                raise Refused(error.reason, error.message) from error
            except UpstreamFailure as error:
                again = error.reason in (Reason.CONNECT_FAILED, Reason.CONNECT_TIMEOUT)
                if not again or last == len(addresses):
                    raise Refused(error.reason, error.message) from error
        raise AssertionError("a name has at least one address")

    async def _ask_this_host(
        self, target: Target, prepared: Prepared, limits: FetchLimits, upload: Upload
    ) -> UpstreamResponse | None:
        """The name leads to this very host: nothing is connected to, but a worker may answer for it."""
        if self._door.local is None:
            return None
        try:
            body = body_for_local(self.request.body, upload)
            request = OutgoingRequest(self.method, self.request.url, prepared.headers, body)
            answering = self._door.local(target, request, self._context)
            if answering is None:
                return None
            response = await self._within(answering)
        except BodyRefused as error:
            raise Refused(error.reason, error.message) from error
        except UpstreamError as error:
            if upload.refused is not None:
                raise Refused(upload.refused.reason, upload.refused.message) from error
            raise Refused(Reason.UPSTREAM_FAILED, error.message) from error
        bounds, meter = self._bounds(limits), self._meter
        content = response.body or b""
        if not isinstance(content, bytes):
            local = LocalContent(content, bounds.silence_s)
            content = UpstreamBody(local, bounds, self._ended, meter)
        elif len(content) > bounds.max_response_bytes:
            raise Refused(Reason.RESPONSE_TOO_LARGE, too_large(bounds.max_response_bytes))
        elif meter is not None and not meter.pass_bytes(len(content)):
            raise Refused(Reason.LIMIT_QUOTA_BYTES, meter.message)
        return UpstreamResponse(response.status, response.headers, content)

    @property
    def _meter(self) -> Admitted | None:
        return None if self._admitted is None else self._admitted.meter

    def _respond(self, answer: UpstreamResponse, limits: FetchLimits) -> Response:
        self._record.status = answer.status
        headers = incoming_headers(answer.headers)
        if self._trip.redactor is not None:
            headers = self._trip.redactor.headers(headers)
        if isinstance(answer.body, bytes):
            self._bytes_down = len(answer.body)
            return Response(answer.status, headers, answer.body)
        length = next((value for name, value in headers if name == b"content-length"), b"")
        # Python refuses to read a number of thousands of digits.
        if length.isdigit() and (len(length) > 18 or int(length) > limits.max_response_bytes):
            answer.body.fail_too_large()
            raise Refused(Reason.RESPONSE_TOO_LARGE, too_large(limits.max_response_bytes))
        return Response(answer.status, headers, answer.body)

    def _bounds(self, limits: FetchLimits) -> Bounds:
        return Bounds(
            limits.connect_ms / 1_000,
            limits.timeout_ms / 1_000,
            self._trip.until_s or 0.0,
            self._trip.total_ms,
            limits.max_response_bytes,
        )

    def _ended(self, count: int, reason: Reason | None) -> None:
        self.finish(reason, count)

    async def _within(self, work: Awaitable[_T]) -> _T:
        """What `work` gives, unless the total timeout comes first."""
        try:
            async with asyncio.timeout(max(0.0, self._trip.left_s)):
                return await work
        except TimeoutError as error:
            raise Refused(Reason.UPSTREAM_TIMEOUT, out_of_time(self._trip.total_ms)) from error
