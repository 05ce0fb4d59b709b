"""Who may send what where: an egress policy, parsed and compiled once, then decided by pure look-up.

```yaml
version: 1
mode: enforce            # report: allow what would be denied, and record it; open: default allow
defaults: {timeout_ms: 30000, max_response_bytes: 1073741824, max_request_bytes: 1073741824}
rules:                   # in order; the first that matches decides; no match is a denial
  - name: payments
    action: allow        # or deny
    scheme: https        # each condition may be left out; a list means any of them
    host: [api.example.com, "*.pay.example.com"]     # exact, an IP literal, or all names below one
    port: 443
    method: [GET, POST]
    path: /v1/*          # '*' stands for any characters, '/' too; compared without the query
    open_cidrs: [10.1.2.0/24]                        # private addresses that this rule may reach
    timeout_ms: 10000
```
Neither `report` nor `open` relaxes the address rules.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from model.hostname import InvalidHostname, parse_pattern
from outbound.addresses import NOTHING_OPENED, IPNetwork, Opened
from outbound.policy_document import DocumentError, Fields, Scalar, read_document
from outbound.reasons import Reason
from outbound.rule_actions import NO_ACTIONS, NO_PLAN, NO_QUOTAS, Plan, RuleActions, TenantQuotas

MAX_RULES: Final = 10_000
GIB: Final = 1 << 30

_TOP_FIELDS: Final = ("version", "mode", "defaults", "rules")
_LIMIT_FIELDS: Final = ("timeout_ms", "max_response_bytes", "max_request_bytes")
_RULE_FIELDS: Final = (
    "name",
    "action",
    "scheme",
    "host",
    "port",
    "method",
    "path",
    "open_cidrs",
    *_LIMIT_FIELDS,
)
_RULE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,79}")
_METHOD = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
# The widest that can be opened: whole registered private blocks, never "everything".
_WIDEST: Final = {4: 8, 6: 7}

#: The document is wrong; the message has line, column and field.
PolicyError = DocumentError


class Mode(StrEnum):
    ENFORCE = "enforce"
    REPORT = "report"
    OPEN = "open"


class Action(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Of one request that leaves. All are inclusive."""

    #: The longest silence of the upstream: until it has accepted, until its headers are whole, and
    #: between two pieces of its body.
    timeout_ms: int = 30_000
    max_response_bytes: int = GIB
    max_request_bytes: int = GIB
    #: Until a connection to one address stands, TLS and proxy included; never longer than `timeout_ms`.
    connect_ms: int = 10_000
    #: From the decision to the last byte of the response, retries and redirects included.
    total_ms: int = 900_000


#: What holds where a document names none.
NO_LIMITS: Final = FetchLimits()


@dataclass(frozen=True, slots=True)
class Glob:
    """A path pattern; '*' stands for any characters. Matching takes linear steps, never backtracks."""

    first: str
    middle: tuple[str, ...]
    #: None when there is no '*': then the path is `first` exactly.
    last: str | None

    @staticmethod
    def compile(pattern: str) -> Glob:
        first, *rest = pattern.split("*")
        return Glob(first, tuple(part for part in rest[:-1] if part), rest[-1] if rest else None)

    @property
    def segment(self) -> str:
        """What `_first_segment` of every path that matches is; "" when they differ."""
        if self.last is None or self.first.find("/", 1) > 0:
            return _first_segment(self.first)
        return ""

    def matches(self, path: str) -> bool:
        if self.last is None:
            return path == self.first
        if not path.startswith(self.first) or not path.endswith(self.last):
            return False
        at, end = len(self.first), len(path) - len(self.last)
        for part in self.middle:
            found = path.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return at <= end


@dataclass(frozen=True, slots=True)
class Rule:
    """Each condition is None when the document left it out: then it holds."""

    name: str
    action: Action
    limits: FetchLimits
    schemes: frozenset[str] | None = None
    hosts: tuple[str, ...] | None = None
    ports: frozenset[int] | None = None
    methods: frozenset[str] | None = None
    paths: tuple[Glob, ...] | None = None
    open_cidrs: tuple[IPNetwork, ...] = ()
    line: int = 0
    actions: RuleActions = NO_ACTIONS


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision is made of. `host`, `path` as in outbound.target.Target (`path` is its match_path)."""

    scheme: str
    host: str
    port: int
    #: Upper case.
    method: str
    path: str
    tenant: str = ""


class Result(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rule` is the one that decided, or None when none matched."""

    result: Result
    rule: Rule | None
    reason: Reason
    #: What holds of a request that is allowed: the lower of each of all layers' rules.
    limits: FetchLimits = NO_LIMITS
    #: What is done to it.
    actions: Plan = NO_PLAN
    #: The addresses that it may reach beside public ones.
    opened: Opened = NOTHING_OPENED
    #: Which layers and rules allowed it; part of a pooled connection's key.
    trail: str = ""

    @property
    def rule_name(self) -> str:
        return self.rule.name if self.rule is not None else ""


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Compiled. `index` holds (order, rule) by what a request must share with the rule: its host ("" for
    any, ".base" for names below one) and the first segment of its path ("" for any).
    """

    mode: Mode
    rules: tuple[Rule, ...]
    defaults: FetchLimits
    #: Names the content: connections made under one version are never used under another.
    version: str
    quotas: TenantQuotas = NO_QUOTAS
    index: dict[tuple[str, str], list[tuple[int, Rule]]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for order, rule in enumerate(self.rules):
            hosts = [h[1:] if h.startswith("*.") else h for h in rule.hosts or ("",)]
            segments = [glob.segment for glob in rule.paths] if rule.paths else [""]
            for key in {(host, segment) for host in hosts for segment in segments}:
                self.index.setdefault(key, []).append((order, rule))


#: What holds where no policy was set: nothing leaves.
DENY_ALL: Final = EgressPolicy(Mode.ENFORCE, (), FetchLimits(), "none")


def decide(policy: EgressPolicy, facts: Facts) -> Verdict:
    """The first rule that matches decides; without one the mode does. Never raises.

    The cost follows the rules that name this host (or none), not all rules of the policy.
    """
    rule = _first_match(policy, facts)
    if rule is not None and rule.action is Action.ALLOW:
        return Verdict(
            Result.ALLOW,
            rule,
            Reason.POLICY_RULE_ALLOW,
            limits=rule.limits,
            opened=Opened(rule.open_cidrs),
            trail=rule.name,
        )
    if policy.mode is Mode.REPORT:
        limits = rule.limits if rule is not None else policy.defaults
        return Verdict(Result.ALLOW, rule, Reason.POLICY_REPORT_WOULD_DENY, limits=limits)
    if rule is not None:
        return Verdict(Result.DENY, rule, Reason.POLICY_RULE_DENY)
    if policy.mode is Mode.OPEN:
        return Verdict(Result.ALLOW, None, Reason.POLICY_OPEN, limits=policy.defaults)
    return Verdict(Result.DENY, None, Reason.POLICY_DEFAULT_DENY)


def parse_policy(text: str) -> EgressPolicy:
    """Read and compile a policy document (YAML or JSON). Raises PolicyError naming line, column and field."""
    document = read_document(text, "policy")
    document.only(_TOP_FIELDS)
    document.required("version").integer(1, 1)
    mode = document.scalar("mode")
    defaults = document.values.get("defaults")
    limits = FetchLimits()
    if defaults is not None:
        if not isinstance(defaults, Fields):
            raise defaults.fail(f"is no mapping; it may hold {', '.join(_LIMIT_FIELDS)}")
        defaults.only(_LIMIT_FIELDS)
        limits = _limits(defaults, limits)
    entries = document.items("rules")
    if len(entries) > MAX_RULES:
        raise document.fail(f"has {len(entries)} rules; at most {MAX_RULES} are right")
    rules: list[Rule] = []
    lines: dict[str, int] = {}
    for entry in entries:
        if not isinstance(entry, Fields):
            raise entry.fail("is no rule; a rule is a mapping with 'name' and 'action'")
        rule = _rule(entry, limits)
        if rule.name in lines:
            raise entry.fail(f"the name {rule.name!r} is taken by the rule in line {lines[rule.name]}")
        lines[rule.name] = rule.line
        rules.append(rule)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    return EgressPolicy(
        Mode(mode.choice(tuple(Mode))) if mode else Mode.ENFORCE, tuple(rules), limits, digest
    )


def _first_match(policy: EgressPolicy, facts: Facts) -> Rule | None:
    index = policy.index
    if not index:
        return None
    segment = _first_segment(facts.path)
    hosts = ["", facts.host]
    if ":" not in facts.host:
        at = facts.host.find(".")
        while at >= 0:
            hosts.append(facts.host[at:])
            at = facts.host.find(".", at + 1)
    best: Rule | None = None
    best_order = len(policy.rules)
    for host in hosts:
        for key in ((host, segment), (host, "")):
            for order, rule in index.get(key, ()):
                if order >= best_order:
                    break
                if _holds(rule, facts):
                    best, best_order = rule, order
                    break
    return best


def _first_segment(path: str) -> str:
    """`/a/b` → `/a/`, `/a` → `/a`."""
    slash = path.find("/", 1)
    return path if slash < 0 else path[: slash + 1]


def _holds(rule: Rule, facts: Facts) -> bool:
    """Every condition but the host, which the index has checked."""
    return (
        (rule.ports is None or facts.port in rule.ports)
        and (rule.methods is None or facts.method in rule.methods)
        and (rule.schemes is None or facts.scheme in rule.schemes)
        and (rule.paths is None or any(glob.matches(facts.path) for glob in rule.paths))
    )


def _rule(fields: Fields, defaults: FetchLimits) -> Rule:
    fields.only(_RULE_FIELDS)
    name = fields.required("name")
    if not _RULE_NAME.fullmatch(name.text):
        raise name.fail(f"is {name.text[:40]!r}; 1 to 80 letters, digits, '_', '.', '-' and spaces are right")
    action = Action(fields.required("action").choice(tuple(Action)))
    cidrs = tuple(_cidr(entry) for entry in fields.scalars("open_cidrs"))
    if cidrs and action is Action.DENY:
        raise fields.values["open_cidrs"].fail(
            "opens addresses in a rule that denies; only 'allow' rules can"
        )
    return Rule(
        name=name.text,
        action=action,
        limits=_limits(fields, defaults),
        schemes=frozenset(s.choice(("http", "https")) for s in fields.scalars("scheme")) or None,
        hosts=tuple(_host(entry) for entry in fields.scalars("host")) or None,
        ports=frozenset(entry.integer(1, 65_535) for entry in fields.scalars("port")) or None,
        methods=frozenset(_method(entry) for entry in fields.scalars("method")) or None,
        paths=tuple(_path(entry) for entry in fields.scalars("path")) or None,
        open_cidrs=cidrs,
        line=fields.line,
    )


def _limits(fields: Fields, defaults: FetchLimits) -> FetchLimits:
    def read(name: str, low: int, high: int, default: int) -> int:
        entry = fields.scalar(name)
        return entry.integer(low, high) if entry is not None else default

    return FetchLimits(
        timeout_ms=read("timeout_ms", 1, 900_000, defaults.timeout_ms),
        max_response_bytes=read("max_response_bytes", 0, 1 << 40, defaults.max_response_bytes),
        max_request_bytes=read("max_request_bytes", 0, 1 << 40, defaults.max_request_bytes),
    )


def _host(entry: Scalar) -> str:
    text = entry.string(300)
    if text == "*":
        raise entry.fail("is '*'; leave the field out for any host")
    if "%" in text or "/" in text:
        raise entry.fail(f"is {text[:60]!r}; a host alone is right: no scheme, path or zone id")
    try:
        return parse_pattern(text)
    except InvalidHostname as error:
        raise entry.fail(str(error)) from error


def _method(entry: Scalar) -> str:
    method = entry.string(32).upper()
    if not _METHOD.fullmatch(method):
        raise entry.fail(f"is {entry.text!r}; a method such as GET or POST is right")
    return method


def _path(entry: Scalar) -> Glob:
    text = entry.string()
    if not text.startswith(("/", "*")):
        raise entry.fail(f"is {text[:60]!r}; a path begins with '/'")
    if "?" in text or "#" in text:
        raise entry.fail("has a '?' or '#'; paths are compared without query and fragment")
    return Glob.compile(text)


def _cidr(entry: Scalar) -> IPNetwork:
    text = entry.string(64)
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise entry.fail(f"is {text!r}, no CIDR: {error}") from error
    if network.prefixlen < _WIDEST[network.version]:
        raise entry.fail(
            f"is {text!r}, too wide; /{_WIDEST[network.version]} is the widest for IPv{network.version}"
        )
    if network.version == 6 and network.subnet_of(ipaddress.IPv6Network("::ffff:0:0/96")):
        raise entry.fail(f"is {text!r}, IPv4-mapped; write the IPv4 network")
    return network
