"""A policy's own tests: cases that say what must happen to a request, judged without a network. Pure.

```yaml
cases:
  - name: payments may be posted to
    request: {method: POST, url: "https://api.example.com/v1/pay"}     # method: GET by default
                                      # headers: {name: value or list}, optional
    tenant: t1                        # optional, and so are the script, its tags, its namespace
    tags: [plan:pro]
    params: {region: eu}              # optional: what the dispatcher gives to this call
    dns: [93.184.216.34]              # what the name resolves to; without it, addresses are not judged
    expected: allow                   # or deny
    rule: payments                    # optional: the rule that must have decided ("" for none)
    reason: policy.rule_allow         # optional: outbound.reasons
```
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from model.messages import Header
from outbound.addresses import AddressRanges, Denied, choose
from outbound.egress_fields import Facts
from outbound.header_hygiene import RequestRefused, check_method, outgoing_headers
from outbound.policy import EgressPolicy, Result, decide
from outbound.policy_document import Fields, Node, Scalar, read_document
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from outbound.target import InvalidTarget, parse_target

MAX_CASES: Final = 10_000

_CASE_FIELDS: Final = (
    "name",
    "request",
    "tenant",
    "script",
    "namespace",
    "tags",
    "params",
    "dns",
    "expected",
    "rule",
    "reason",
)
_REQUEST_FIELDS: Final = ("method", "url", "headers")
_NO_RANGES: Final = AddressRanges()
_NAME_LENGTH: Final = 128


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gateway would decide. `rule` is "" when none matched; `address` the one that denied."""

    result: Result
    rule: str
    reason: Reason
    address: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose worker asks."""

    tenant: str = ""
    script: str = ""
    namespace: str = ""
    tags: tuple[str, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)


_NOBODY: Final = Caller()


@dataclass(frozen=True, slots=True)
class PolicyCase:
    name: str
    method: str
    url: str
    headers: tuple[Header, ...]
    caller: Caller
    #: None: addresses are not judged, unless the URL's host is one.
    answers: tuple[str, ...] | None
    expected: Result
    rule: str | None
    reason: Reason | None
    line: int


@dataclass(frozen=True, slots=True)
class CaseResult:
    """`problem` is "" when the case passed, else one readable sentence."""

    case: PolicyCase
    judgement: Judgement
    problem: str

    @property
    def passed(self) -> bool:
        return not self.problem


def run_policy_cases(policy_text: str, cases_text: str) -> list[CaseResult]:
    """Judge each case in order. Raises PolicyError when either document is wrong."""
    policy = parse_policy(policy_text)
    return [_run(policy, case) for case in parse_cases(cases_text)]


def judge(
    policy: EgressPolicy,
    method: str,
    url: str,
    *,
    headers: Sequence[Header] = (),
    caller: Caller = _NOBODY,
    answers: Sequence[str] | None = None,
    ranges: AddressRanges = _NO_RANGES,
) -> Judgement:
    """What the gateway would decide about this request, if DNS answered `answers`. Never raises."""
    try:
        target = parse_target(url)
        method = check_method(method)
        kept, _ = outgoing_headers(headers, target)
    except (InvalidTarget, RequestRefused) as error:
        return Judgement(Result.DENY, "", error.reason)
    facts = Facts(
        scheme=target.scheme,
        host=target.host,
        port=target.port,
        method=method,
        path=target.match_path,
        tenant=caller.tenant,
        tags=caller.tags,
        params=caller.params,
        script=caller.script,
        namespace=caller.namespace,
        query=target.query,
        headers=kept,
    )
    verdict = decide(policy, facts)
    candidates = (target.host,) if target.is_ip else answers
    if verdict.result is Result.DENY or candidates is None:
        return Judgement(verdict.result, verdict.rule_name, verdict.reason)
    if not candidates:
        return Judgement(Result.DENY, verdict.rule_name, Reason.RESOLVE_NOT_FOUND)
    chosen = choose(candidates, target.port, ranges, verdict.opened)
    if isinstance(chosen, Denied):
        reason = Reason(f"address.{chosen.address_class.value}")
        return Judgement(Result.DENY, verdict.rule_name, reason, chosen.address)
    return Judgement(Result.ALLOW, verdict.rule_name, verdict.reason)


def parse_cases(text: str) -> list[PolicyCase]:
    """Read a document of cases (YAML or JSON). Raises PolicyError naming line, column and field."""
    document = read_document(text, "document of cases")
    document.only(("cases",))
    entries = document.items("cases")
    if not entries:
        raise document.fail("has no case; 'cases' is a list with at least one")
    if len(entries) > MAX_CASES:
        raise document.fail(f"has {len(entries)} cases; at most {MAX_CASES} are right")
    return [_case(entry) for entry in entries]


def _case(entry: Node) -> PolicyCase:
    if not isinstance(entry, Fields):
        raise entry.fail("is no case; a case is a mapping with 'name', 'request' and 'expected'")
    entry.only(_CASE_FIELDS)
    request = entry.values.get("request")
    if not isinstance(request, Fields):
        raise (request or entry).fail("needs 'request', a mapping with 'url' and perhaps 'method'")
    request.only(_REQUEST_FIELDS)
    method = request.scalar("method")
    rule, reason = entry.scalar("rule"), entry.scalar("reason")
    dns = entry.values.get("dns")
    answers: tuple[str, ...] | None = None
    if dns is not None:
        # An empty list is a case of its own: the name does not exist.
        entries = entry.scalars("dns") if isinstance(dns, Scalar) or entry.items("dns") else []
        answers = tuple(_address(answer) for answer in entries)
    return PolicyCase(
        name=entry.required("name").string(),
        method=method.string(32) if method else "GET",
        url=request.required("url").string(20_000),
        headers=_headers(request),
        caller=_caller(entry),
        answers=answers,
        expected=Result(entry.required("expected").choice(tuple(Result))),
        rule=rule.text if rule else None,
        reason=Reason(reason.choice(tuple(Reason))) if reason else None,
        line=entry.line,
    )


def _caller(case: Fields) -> Caller:
    def read(name: str) -> str:
        entry = case.scalar(name)
        return entry.string(_NAME_LENGTH) if entry is not None else ""

    params = case.values.get("params")
    if params is not None and not isinstance(params, Fields):
        raise params.fail("is no mapping of names to values")
    return Caller(
        tenant=read("tenant"),
        script=read("script"),
        namespace=read("namespace"),
        tags=tuple(entry.string(_NAME_LENGTH) for entry in case.scalars("tags")),
        params={name: params.required(name).text for name in params.values} if params else {},
    )


def _headers(request: Fields) -> tuple[Header, ...]:
    node = request.values.get("headers")
    if node is None:
        return ()
    if not isinstance(node, Fields):
        raise node.fail("is no mapping of header names to a value or a list of values")
    return tuple((name.encode(), value.text.encode()) for name in node.values for value in node.scalars(name))


def _address(answer: Scalar) -> str:
    try:
        return str(ipaddress.ip_address(answer.text))
    except ValueError:
        raise answer.fail(f"is {answer.text[:60]!r}; an IPv4 or IPv6 address is right") from None


def _run(policy: EgressPolicy, case: PolicyCase) -> CaseResult:
    found = judge(
        policy, case.method, case.url, headers=case.headers, caller=case.caller, answers=case.answers
    )
    by = f"by rule {found.rule!r}" if found.rule else "by no rule"
    actual = f"{found.result.value} {by}, {found.reason.value}"
    problem = ""
    if found.result is not case.expected:
        problem = f"expected {case.expected.value}, got {actual}"
    elif case.rule is not None and found.rule != case.rule:
        problem = f"expected rule {case.rule!r}, got {actual}"
    elif case.reason is not None and found.reason is not case.reason:
        problem = f"expected reason {case.reason.value}, got {actual}"
    return CaseResult(case, found, problem)
