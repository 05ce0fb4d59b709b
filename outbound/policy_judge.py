"""What the gateway would do with a request, judged without a network. Pure.

Every step is the gateway's own: parse_target, check_method, outgoing_headers, decide_layers, plan_headers,
choose, follow. What only time tells is left out: rate limits, quotas, sizes, what upstreams do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from model.call_egress import EgressHosts
from model.messages import Header, Headers
from outbound.addresses import AddressRanges, Denied, choose
from outbound.egress_fields import Facts, facts_of
from outbound.following import START, Following, Sent, Way, follow
from outbound.header_hygiene import RequestRefused, check_method, outgoing_headers
from outbound.header_plan import inject, plan_headers
from outbound.policy import Result, Rule, Verdict
from outbound.policy_layers import EffectivePolicy, decide_layers
from outbound.policy_set import PolicySet
from outbound.reasons import Reason
from outbound.refusal import Refused, address_reason
from outbound.target import InvalidTarget, Target, parse_target

_NO_RANGES: Final = AddressRanges()


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose worker asks."""

    tenant: str = ""
    script: str = ""
    namespace: str = ""
    tags: tuple[str, ...] = ()
    outbound_params: Mapping[str, str] = field(default_factory=dict)
    #: What its dispatcher narrowed the call to.
    egress_hosts: EgressHosts | None = None


NOBODY: Final = Caller()


@dataclass(frozen=True, slots=True)
class Request:
    """`answers` are what the name resolves to; None: addresses are not judged, unless the URL's host is one."""

    url: str
    method: str = "GET"
    headers: Headers = ()
    answers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A redirect that an upstream sends, and what its Location's name resolves to."""

    status: int
    location: str
    answers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """One request: the first, or one that a followed redirect asked for."""

    request: Request
    result: Result
    reason: Reason
    #: None when it was refused before the policy was asked.
    verdict: Verdict | None = None
    #: What the decision was made of.
    facts: Facts | None = None
    #: The address that denied.
    address: str = ""
    #: As they would leave, secrets as `{secret:NAME}`; without what belongs to the connection.
    headers: tuple[Header, ...] = ()
    #: Each layer that had a rule for it, by name, broadest first.
    rules: tuple[tuple[str, Rule], ...] = ()
    target: Target | None = None
    #: The method in upper case.
    method: str = ""
    #: Of what was refused other than by policy and address.
    message: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the worker gets: the last hop's result, and why."""

    hops: tuple[Hop, ...]
    result: Result
    reason: Reason

    @property
    def last(self) -> Hop:
        return self.hops[-1]

    @property
    def followed(self) -> int:
        return len(self.hops) - 1

    @property
    def rule(self) -> str:
        """ "" when none matched."""
        return self.last.verdict.rule_name if self.last.verdict is not None else ""

    @property
    def layer(self) -> str:
        return self.last.verdict.layer if self.last.verdict is not None else ""

    @property
    def address(self) -> str:
        return self.last.address


def judge(
    policies: PolicySet,
    request: Request,
    caller: Caller = NOBODY,
    redirects: Sequence[Answer] = (),
    ranges: AddressRanges = _NO_RANGES,
) -> Judgement:
    """`redirects`: what is answered to the request, then to each that follows. Never raises."""
    effective = policies.holding(caller.tenant, caller.tags, caller.egress_hosts)
    way = START
    hops: list[Hop] = []
    for answer in (*redirects, None):
        hop = _hop(effective, request, caller, way, ranges)
        hops.append(hop)
        if answer is None or hop.result is Result.DENY:
            break
        try:
            following = _follow(hop, way, answer)
        except Refused as refused:
            return Judgement(tuple(hops), Result.DENY, refused.reason)
        if following is None:
            break
        way = following.way
        request = Request(following.url, following.method, following.headers, answer.answers)
    return Judgement(tuple(hops), hops[-1].result, hops[-1].reason)


def _hop(
    effective: EffectivePolicy, request: Request, caller: Caller, way: Way, ranges: AddressRanges
) -> Hop:
    try:
        target = parse_target(request.url)
        method = check_method(request.method)
        headers, _ = outgoing_headers(request.headers, target)
    except (InvalidTarget, RequestRefused) as error:
        return Hop(request, Result.DENY, error.reason, message=error.message)
    facts = facts_of(target, method, headers, caller)
    verdict = decide_layers(effective, facts)
    rules = tuple(
        (layer.name, rule)
        for layer in effective.layers
        if (rule := layer.policy.first_match(facts)) is not None
    )

    def hop(
        result: Result, reason: Reason, address: str = "", sent: Sequence[Header] = (), message: str = ""
    ) -> Hop:
        return Hop(
            request, result, reason, verdict, facts, address, tuple(sent), rules, target, method, message
        )

    if verdict.result is Result.DENY:
        return hop(Result.DENY, verdict.reason)
    try:
        headers, secrets = plan_headers(verdict.actions, target, headers, crossed=way.crossed)
    except Refused as refused:
        return hop(Result.DENY, refused.reason, message=refused.message)
    for injection in secrets:
        headers = inject(headers, injection, f"{{secret:{injection.secret}}}")
    candidates = (target.host,) if target.is_ip else request.answers
    if candidates is not None:
        if not candidates:
            return hop(Result.DENY, Reason.RESOLVE_NOT_FOUND)
        chosen = choose(candidates, target.port, ranges, verdict.opened)
        if isinstance(chosen, Denied):
            return hop(Result.DENY, address_reason(chosen), chosen.address)
    return hop(Result.ALLOW, verdict.reason, sent=headers)


def _follow(hop: Hop, way: Way, answer: Answer) -> Following | None:
    """Raises Refused."""
    if hop.verdict is None or hop.target is None:
        raise AssertionError("what was refused is not answered")
    location = answer.location.encode("utf-8", "surrogateescape")
    sent = Sent(hop.target, hop.method, hop.request.headers)
    return follow(hop.verdict.actions.follow_redirects, way, sent, answer.status, [(b"location", location)])
