"""A policy document (YAML or JSON) → EgressPolicy. Pure: a large one may be parsed in a thread.

```yaml
version: 1
mode: enforce            # report: allow what would be denied, and record it; open: default allow
defaults: {timeout_ms: 30000, max_response_bytes: 1073741824, max_request_bytes: 1073741824}
quotas: {requests_per_minute: 600}                   # of each tenant
rules:                   # in order; the first that matches decides; no match is a denial
  - name: payments
    action: allow        # or deny
    scheme: https        # each condition may be left out; a list means any of them
    host: [api.example.com, "*.pay.example.com"]     # exact, an IP literal, or all names below one
    port: 443
    method: [GET, POST]
    path: /v1/*          # '*' stands for any characters, '/' too; compared without the query
    tags: [shop]         # the script has one of them
    params: {region: [eu, us]}                       # the dispatcher gave this call one of them
    when: tenant.plan in {"pro" "team"}              # outbound.egress_fields
    open_cidrs: [10.1.2.0/24]                        # private addresses that this rule may reach
    timeout_ms: 10000
    headers: {set: {x-team: shop}}                   # outbound.policy_actions has the rest
```
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable
from typing import Final, TypeVar

from model.hostname import InvalidHostname, host_matches, is_ip_literal, parse_pattern
from outbound.addresses import IPNetwork
from outbound.fetch_limits import LIMIT_NAMES, NOTHING_STATED, StatedLimits, lowest
from outbound.path_glob import Glob
from outbound.policy import Action, EgressPolicy, Mode, Rule
from outbound.policy_actions import ACTION_FIELDS, read_actions
from outbound.policy_conditions import Conditions, When
from outbound.policy_document import DocumentError, Fields, Scalar, read_document
from outbound.policy_when import read_when
from outbound.rule_actions import NO_ACTIONS, NO_QUOTAS, TenantQuotas

T = TypeVar("T")

MAX_RULES: Final = 10_000

TOP_FIELDS: Final = ("version", "mode", "defaults", "quotas", "rules")
QUOTA_FIELDS: Final = ("requests_per_minute", "bytes_per_minute", "concurrent_requests")
CONDITION_FIELDS: Final = ("scheme", "host", "port", "method", "path", "tags", "params", "when")
OPENING_FIELDS: Final = ("open_cidrs", "open_hosts")
RULE_FIELDS: Final = ("name", "action", *CONDITION_FIELDS, *OPENING_FIELDS, *LIMIT_NAMES, *ACTION_FIELDS)

_RULE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,79}")
_METHOD = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
_TIMES: Final = frozenset({"timeout_ms", "connect_ms", "total_ms"})
# The widest that can be opened: whole registered private blocks, never "everything".
_WIDEST: Final = {4: 8, 6: 7}
_TIB: Final = 1 << 40

#: The document is wrong; the message has line, column and field.
PolicyError = DocumentError


def parse_policy(text: str) -> EgressPolicy:
    """Read and compile a policy document. Raises PolicyError naming line, column and field."""
    document = read_document(text, "policy")
    document.only(TOP_FIELDS)
    document.required("version").integer(1, 1)
    mode = document.scalar("mode")
    stated = NOTHING_STATED
    if (defaults := _mapping(document, "defaults", LIMIT_NAMES)) is not None:
        stated = _limits(defaults, NOTHING_STATED)
    entries = document.items("rules")
    if len(entries) > MAX_RULES:
        raise document.fail(f"has {len(entries)} rules; at most {MAX_RULES} are right")
    rules: list[Rule] = []
    lines: dict[str, int] = {}
    for entry in entries:
        if not isinstance(entry, Fields):
            raise entry.fail("is no rule; a rule is a mapping with 'name' and 'action'")
        rule = _rule(entry, stated, text)
        if rule.name in lines:
            raise entry.fail(f"the name {rule.name!r} is taken by the rule in line {lines[rule.name]}")
        lines[rule.name] = rule.line
        rules.append(rule)
    return EgressPolicy(
        mode=Mode(mode.choice(tuple(Mode))) if mode else Mode.ENFORCE,
        rules=tuple(rules),
        defaults=lowest((stated,)),
        version=hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16],
        quotas=_quotas(document),
        stated=stated,
    )


def _rule(fields: Fields, defaults: StatedLimits, document: str) -> Rule:
    fields.only(RULE_FIELDS)
    name = fields.required("name")
    if not _RULE_NAME.fullmatch(name.text):
        raise name.fail(f"is {name.text[:40]!r}; 1 to 80 letters, digits, '_', '.', '-' and spaces are right")
    action = Action(fields.required("action").choice(tuple(Action)))
    if action is Action.DENY:
        for field, node in fields.values.items():
            if field in OPENING_FIELDS or field in ACTION_FIELDS:
                raise node.fail("stands in a rule that denies; only 'allow' rules can have it")
    conditions = _conditions(fields, document)
    return Rule(
        name=name.text,
        action=action,
        conditions=conditions,
        stated=_limits(fields, defaults),
        actions=read_actions(fields) if action is Action.ALLOW else NO_ACTIONS,
        open_cidrs=_each(fields, "open_cidrs", _cidr) or (),
        open_hosts=frozenset(_open_host(entry, conditions) for entry in fields.scalars("open_hosts")),
        line=fields.line,
    )


def _conditions(fields: Fields, document: str) -> Conditions:
    return Conditions(
        schemes=_set(fields, "scheme", _scheme),
        hosts=_each(fields, "host", _host),
        ports=_set(fields, "port", _port),
        methods=_set(fields, "method", _method),
        paths=_each(fields, "path", _path),
        tags=_set(fields, "tags", _tag),
        params=_params(fields),
        when=_when(fields, document),
    )


def _each(fields: Fields, name: str, read: Callable[[Scalar], T]) -> tuple[T, ...] | None:
    """None: left out."""
    return tuple([read(entry) for entry in fields.scalars(name)]) if name in fields.values else None


def _set(fields: Fields, name: str, read: Callable[[Scalar], T]) -> frozenset[T] | None:
    return frozenset([read(entry) for entry in fields.scalars(name)]) if name in fields.values else None


def _mapping(fields: Fields, name: str, known: tuple[str, ...]) -> Fields | None:
    node = fields.values.get(name)
    if node is None:
        return None
    if not isinstance(node, Fields):
        raise node.fail(f"is no mapping; it may hold {', '.join(known)}")
    node.only(known)
    return node


def _limits(fields: Fields, defaults: StatedLimits) -> StatedLimits:
    found: dict[str, int] = {}
    for name in _LIMITS.intersection(fields.values):
        entry = fields.required(name)
        found[name] = entry.integer(1, 900_000) if name in _TIMES else entry.integer(0, _TIB)
    return StatedLimits(**found).over(defaults) if found else defaults


_LIMITS: Final = frozenset(LIMIT_NAMES)


def _quotas(document: Fields) -> TenantQuotas:
    fields = _mapping(document, "quotas", QUOTA_FIELDS)
    if fields is None:
        return NO_QUOTAS

    def read(name: str, high: int) -> int | None:
        entry = fields.scalar(name)
        return entry.integer(1, high) if entry is not None else None

    return TenantQuotas(
        requests_per_minute=read("requests_per_minute", 1_000_000_000),
        bytes_per_minute=read("bytes_per_minute", _TIB),
        concurrent_requests=read("concurrent_requests", 1_000_000),
    )


def _scheme(entry: Scalar) -> str:
    return entry.choice(("http", "https"))


def _port(entry: Scalar) -> int:
    return entry.integer(1, 65_535)


def _tag(entry: Scalar) -> str:
    return entry.string(128)


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


def _open_host(entry: Scalar, conditions: Conditions) -> str:
    host = _host(entry)
    if host.startswith("*"):
        raise entry.fail(f"is {host!r}; each name by itself is right, since its private addresses are opened")
    if is_ip_literal(host):
        raise entry.fail(f"is the address {host}; open it with open_cidrs")
    if conditions.hosts is not None and not any(host_matches(pattern, host) for pattern in conditions.hosts):
        raise entry.fail(f"is {host!r}, which 'host' of this rule does not hold")
    return host


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


def _params(fields: Fields) -> tuple[tuple[str, frozenset[str]], ...] | None:
    node = fields.values.get("params")
    if node is None:
        return None
    if not isinstance(node, Fields) or not node.values:
        raise node.fail("is no mapping of names to a value or a list of values")
    return tuple((name, frozenset(entry.text for entry in node.scalars(name))) for name in node.values)


def _when(fields: Fields, document: str) -> When | None:
    entry = fields.scalar("when")
    return None if entry is None else read_when(entry, document)


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
