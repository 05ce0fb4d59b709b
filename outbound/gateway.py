"""The only door out: parse → decide → resolve → choose → connect → stream → audit.

Each step is a function of the one before; every refusal is a value until here, and becomes an
OperationError once, with its reason's name, the rule that decided, and what would be right. A redirect is
handed to the worker: following it is a new request through this door.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from model.capabilities import EventContext
from model.clock import monotonic_s, unix_ms
from model.errors import OperationError, OperationErrorCode, UpstreamError
from model.messages import Header, OutgoingRequest, Response
from outbound.addresses import AddressRanges, Denied, Pinned, choose
from outbound.audit import AuditRecord, AuditSink
from outbound.connector import Connector, PoolKey, UpstreamFailure, UpstreamResponse
from outbound.header_hygiene import RequestRefused, check_method, incoming_headers, outgoing_headers
from outbound.hops import HOP_HEADER, MAX_HOPS, HopSigner
from outbound.policy import EgressPolicy, Facts, FetchLimits, Result, Verdict, decide
from outbound.reasons import Reason
from outbound.resolver import NameNotFound, Resolution, ResolveError, ResolveTimeout
from outbound.target import InvalidTarget, Target, parse_target
from outbound.upload import BodyRefused, Upload
from outbound.upstream_body import too_large

#: How many of a name's checked addresses are tried before it counts as down.
MAX_CONNECTS = 3

_CODES = {
    Reason.URL_SCHEME: OperationErrorCode.DENIED,
    Reason.REQUEST_METHOD: OperationErrorCode.DENIED,
    Reason.REQUEST_UPGRADE: OperationErrorCode.DENIED,
    Reason.REQUEST_HOST_OVERRIDE: OperationErrorCode.DENIED,
    Reason.REQUEST_LOOP: OperationErrorCode.DENIED,
    Reason.REQUEST_TOO_LARGE: OperationErrorCode.LIMIT_EXCEEDED,
    Reason.RESPONSE_TOO_LARGE: OperationErrorCode.LIMIT_EXCEEDED,
    Reason.REQUEST_HEADER: OperationErrorCode.INVALID_ARGUMENT,
    Reason.REQUEST_BODY: OperationErrorCode.INVALID_ARGUMENT,
    Reason.RESOLVE_NOT_FOUND: OperationErrorCode.UPSTREAM_FAILED,
    Reason.RESOLVE_FAILED: OperationErrorCode.UPSTREAM_FAILED,
    Reason.RESOLVE_TIMEOUT: OperationErrorCode.TIMEOUT,
    Reason.CONNECT_FAILED: OperationErrorCode.UPSTREAM_FAILED,
    Reason.CONNECT_TIMEOUT: OperationErrorCode.TIMEOUT,
    Reason.TLS_FAILED: OperationErrorCode.UPSTREAM_FAILED,
    Reason.UPSTREAM_FAILED: OperationErrorCode.UPSTREAM_FAILED,
    Reason.UPSTREAM_TIMEOUT: OperationErrorCode.TIMEOUT,
}


class NameResolver(Protocol):
    async def resolve(self, host: str) -> Resolution: ...


def code_of(reason: Reason) -> OperationErrorCode:
    """The guest's error code: URL, policy and address reasons are refusals, the table names the rest."""
    return _CODES.get(reason, OperationErrorCode.DENIED)


class Gateway:
    """Implements model.capabilities.Fetcher. One a process, shared by every tenant.

    `policy_for` answers at once where the policy is in memory; else it gives what to await. `hops_of` says
    how many hosts of this platform lie behind an event (HopSigner.verify of the header that its visitor's
    request came with).
    """

    def __init__(
        self,
        policy_for: Callable[[EventContext], EgressPolicy | Awaitable[EgressPolicy]],
        resolver: NameResolver,
        connector: Connector,
        audit: AuditSink,
        *,
        hop_key: bytes,
        ranges: AddressRanges | None = None,
        hops_of: Callable[[EventContext], int] = lambda context: 0,
    ) -> None:
        self._policy_for = policy_for
        self._resolver = resolver
        self._connector = connector
        self._audit = audit
        self._ranges = ranges if ranges is not None else AddressRanges()
        self._signer = HopSigner(hop_key)
        self._hops_of = hops_of

    async def fetch(self, request: OutgoingRequest, context: EventContext) -> Response:
        """As Fetcher.fetch. Raises OperationError: denied, invalid_argument, limit_exceeded, timeout,
        upstream_failed. The request's body is closed in every case.
        """
        fetch = _Fetch(self, request, context)
        try:
            return await fetch.run()
        except _Refused as refused:
            fetch.finish(refused.reason)
            raise OperationError(code_of(refused.reason), refused.message) from refused.__cause__
        except asyncio.CancelledError:
            fetch.finish(Reason.CANCELLED)
            raise
        except BaseException:  # a bug of ours: on record like everything else, and the body is let go
            fetch.finish(Reason.INTERNAL)
            raise


class _Refused(Exception):
    """Carries one reason from a step to the rim."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = f"{message} ({reason.value})"


class _Fetch:
    """One request on its way: what is known so far, so that its record is whole whatever happens."""

    __slots__ = ("_context", "_door", "_finished", "_record", "_request", "_started", "_upload")

    def __init__(self, door: Gateway, request: OutgoingRequest, context: EventContext) -> None:
        self._door = door
        self._request = request
        self._context = context
        self._started = monotonic_s()
        self._upload: Upload | None = None
        self._finished = False
        self._record = AuditRecord(
            at_ms=unix_ms(),
            tenant=context.tenant,
            namespace=context.namespace,
            script=context.script,
            ray_id=context.ray_id,
            method=request.method[:32],
            tags=context.tags,
            params=context.outbound_params,
        )

    async def run(self) -> Response:
        target, method, headers, declared = self._read()
        verdict, policy = await self._decide(target, method)
        limits = verdict.rule.limits if verdict.rule is not None else policy.defaults
        try:
            self._upload = upload = Upload(self._request.body, declared, limits.max_request_bytes)
        except BodyRefused as error:
            raise _Refused(error.reason, error.message) from error
        pinned = self._choose(await self._resolve(target), target, verdict)
        answer = await self._connect(pinned, target, method, headers, upload, verdict, policy)
        return await self._respond(answer, method, limits)

    def finish(self, reason: Reason | None, bytes_down: int = 0) -> None:
        """Write the record, once, and let the request's body go."""
        if self._finished:
            return
        self._finished = True
        record = self._record
        if reason is not None:
            record.reason = reason
        record.bytes_down = bytes_down
        record.duration_ms = int((monotonic_s() - self._started) * 1_000)
        if self._upload is not None:
            record.bytes_up = self._upload.sent
            self._upload.close()
        elif self._request.body is not None and not isinstance(self._request.body, bytes):
            self._request.body.close()
        self._door._audit.record(record)

    def _read(self) -> tuple[Target, str, list[Header], int | None]:
        try:
            target = parse_target(self._request.url)
            record = self._record
            record.scheme, record.host, record.port = target.scheme, target.host, target.port
            record.path = target.path[:1_024]
            method = check_method(self._request.method)
            headers, declared = outgoing_headers(self._request.headers, target)
        except (InvalidTarget, RequestRefused) as error:
            raise _Refused(error.reason, error.message) from error
        depth = self._door._hops_of(self._context) + 1
        if depth > MAX_HOPS:
            raise _Refused(
                Reason.REQUEST_LOOP,
                f"this request has passed {depth - 1} hosts of this platform; {MAX_HOPS} are the limit",
            )
        headers.append((HOP_HEADER, self._door._signer.sign(depth, self._context.ray_id)))
        return target, method, headers, declared

    async def _decide(self, target: Target, method: str) -> tuple[Verdict, EgressPolicy]:
        found = self._door._policy_for(self._context)
        policy = await found if isinstance(found, Awaitable) else found
        verdict = decide(policy, facts_of(target, method, self._context.tenant))
        record = self._record
        record.method = method
        record.policy_version = policy.version
        record.rule = verdict.rule_name
        record.reason = record.policy_reason = verdict.reason
        if verdict.result is Result.DENY:
            raise _Refused(verdict.reason, f"{method} {_shown(target)}: {_refusal(verdict)}")
        record.result = Result.ALLOW
        return verdict, policy

    async def _resolve(self, target: Target) -> tuple[str, ...]:
        if target.is_ip:
            return (target.host,)
        try:
            return (await self._door._resolver.resolve(target.host)).addresses
        except NameNotFound as error:
            raise _Refused(Reason.RESOLVE_NOT_FOUND, str(error)) from error
        except ResolveTimeout as error:
            raise _Refused(Reason.RESOLVE_TIMEOUT, str(error)) from error
        except ResolveError as error:
            raise _Refused(Reason.RESOLVE_FAILED, str(error)) from error

    def _choose(self, candidates: tuple[str, ...], target: Target, verdict: Verdict) -> Pinned:
        chosen = choose(candidates, target.port, self._door._ranges, verdict.opened)
        if isinstance(chosen, Pinned):
            return chosen
        self._record.result = Result.DENY
        self._record.address = chosen.address
        raise _Refused(address_reason(chosen), address_refusal(target, chosen))

    async def _connect(
        self,
        pinned: Pinned,
        target: Target,
        method: str,
        headers: list[Header],
        upload: Upload,
        verdict: Verdict,
        policy: EgressPolicy,
    ) -> UpstreamResponse:
        limits = verdict.rule.limits if verdict.rule is not None else policy.defaults
        addresses = (pinned.address, *pinned.others)[:MAX_CONNECTS]
        for last, address in enumerate(addresses, 1):
            self._record.address = address
            key = PoolKey(
                self._context.tenant,
                policy.version,
                verdict.rule_name,
                target.scheme,
                target.host,
                address,
                target.port,
            )
            try:
                return await self._door._connector.request(
                    key,
                    Pinned(address, target.port),
                    target,
                    method,
                    headers,
                    upload,
                    timeout_ms=limits.timeout_ms,
                    max_response_bytes=limits.max_response_bytes,
                    on_end=lambda count, reason: self.finish(reason, count),
                )
            except BodyRefused as error:
                raise _Refused(error.reason, error.message) from error
            except UpstreamFailure as error:
                retry = error.reason in (Reason.CONNECT_FAILED, Reason.CONNECT_TIMEOUT)
                if not retry or last == len(addresses):
                    raise _Refused(error.reason, error.message) from error
        raise AssertionError("a name has at least one address")

    async def _respond(self, answer: UpstreamResponse, method: str, limits: FetchLimits) -> Response:
        self._record.status = answer.status
        headers = incoming_headers(answer.headers)
        length = next((value for name, value in headers if name == b"content-length"), b"")
        if method == "HEAD" or answer.status in (204, 304) or length == b"0":
            # Nothing will come: end it now, so that the connection is free although nobody reads.
            try:
                await answer.body.read()
            except UpstreamError as error:
                raise _Refused(Reason.UPSTREAM_FAILED, error.message) from error
            finally:
                answer.body.close()
            return Response(answer.status, headers, b"")
        if length.isdigit() and int(length) > limits.max_response_bytes:
            answer.body.fail_too_large()
            raise _Refused(Reason.RESPONSE_TOO_LARGE, too_large(limits.max_response_bytes))
        return Response(answer.status, headers, answer.body)


def facts_of(target: Target, method: str, tenant: str) -> Facts:
    return Facts(target.scheme, target.host, target.port, method, target.match_path, tenant)


def address_reason(denied: Denied) -> Reason:
    return Reason(f"address.{denied.address_class.value}")


def address_refusal(target: Target, denied: Denied) -> str:
    # Not the address: what internal names resolve to is nothing that a tenant should learn.
    kind = denied.address_class.value.replace("_", " ")
    article = "an" if kind[0] in "aeiou" else "a"
    return (
        f"{target.host} has {article} {kind} address; only public ones can be reached, "
        "unless the rule that allows it names theirs in open_cidrs"
    )


def _refusal(verdict: Verdict) -> str:
    if verdict.rule is not None:
        return f"rule {verdict.rule.name!r} of the egress policy denies it"
    return "no rule of the egress policy allows it; the platform can add one"


def _shown(target: Target) -> str:
    return f"{target.scheme}://{target.authority}{target.path[:200]}"
