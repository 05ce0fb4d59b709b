"""A document of cases: what must happen to requests. Pure; docs/policy-testing.md has every field.

```yaml
layers: {namespace: policy.yaml, tags: {"plan:free": free.yaml}}   # where the policy is not named otherwise
cases:
  - name: payments may be posted to
    request: {method: POST, url: "https://api.example.com/v1/pay"}
    tenant: acme
    dns: [93.184.216.34]
    expected: allow
    rule: payments
```
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from model.call_egress import MAX_EGRESS_HOSTS, EgressHosts, parse_egress_hosts
from model.hostname import InvalidHostname
from model.messages import Header
from outbound.policy import Result
from outbound.policy_document import Fields, Items, Node, Scalar, read_document
from outbound.policy_judge import Answer, Caller, Request
from outbound.policy_layers import LayerKind
from outbound.policy_set import parse_layer_name
from outbound.reasons import Reason
from outbound.redirects import STATUSES

MAX_CASES: Final = 10_000
MAX_REDIRECTS: Final = 32

TOP_FIELDS: Final = ("layers", "cases")
LAYER_FIELDS: Final = ("namespace", "tags", "tenants")
CASE_FIELDS: Final = (
    "name",
    "request",
    "tenant",
    "script",
    "namespace",
    "tags",
    "params",
    "egress",
    "dns",
    "redirects",
    "expected",
    "rule",
    "layer",
    "reason",
    "followed",
    "headers",
)
REQUEST_FIELDS: Final = ("method", "url", "headers")
REDIRECT_FIELDS: Final = ("status", "location", "dns")
HEADER_FIELDS: Final = ("sent", "removed")
_NAME_LENGTH: Final = 128
_URL_LENGTH: Final = 20_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LayerFile:
    """Where the document of one layer is, as the cases say it."""

    kind: LayerKind
    key: str
    file: str
    widen: bool
    line: int


@dataclass(frozen=True, slots=True)
class Expected:
    """None: anything is right."""

    result: Result
    rule: str | None = None
    layer: str | None = None
    reason: Reason | None = None
    #: How many redirects the gateway follows.
    followed: int | None = None
    #: Of the last request that leaves. Lower-case names; each value as it is sent, and no other of that name.
    sent: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyCase:
    name: str
    request: Request
    caller: Caller
    redirects: tuple[Answer, ...]
    expected: Expected
    line: int


@dataclass(frozen=True, slots=True)
class Cases:
    layers: tuple[LayerFile, ...]
    cases: tuple[PolicyCase, ...]


def parse_cases(text: str) -> Cases:
    """Read a document of cases (YAML or JSON). Raises DocumentError naming line, column and field."""
    document = read_document(text, "document of cases")
    document.only(TOP_FIELDS)
    entries = document.items("cases")
    if not entries:
        raise document.fail("has no case; 'cases' is a list with at least one")
    if len(entries) > MAX_CASES:
        raise document.fail(f"has {len(entries)} cases; at most {MAX_CASES} are right")
    return Cases(_layers(document), tuple(_case(entry) for entry in entries))


def _layers(document: Fields) -> tuple[LayerFile, ...]:
    fields = _mapping(document, "layers", LAYER_FIELDS)
    if fields is None:
        return ()
    found: list[LayerFile] = []
    if (namespace := fields.scalar("namespace")) is not None:
        found.append(LayerFile(LayerKind.NAMESPACE, "", namespace.string(), False, namespace.line))
    for field, kind in (("tags", LayerKind.TAG), ("tenants", LayerKind.TENANT)):
        for name, node in _entries(fields, field).items():
            try:
                _, key = parse_layer_name(f"{kind.value}:{name}")
            except ValueError as error:
                raise node.fail(str(error)) from None
            found.append(_layer_file(kind, key, node))
    return tuple(found)


def _layer_file(kind: LayerKind, key: str, node: Node) -> LayerFile:
    if isinstance(node, Scalar):
        return LayerFile(kind, key, node.string(), False, node.line)
    if not isinstance(node, Fields):
        raise node.fail("is a list; a file is right, or a mapping with 'file' and 'widen'")
    node.only(("file", "widen"))
    widen = node.scalar("widen")
    return LayerFile(
        kind,
        key,
        node.required("file").string(),
        widen is not None and widen.choice(("true", "false")) == "true",
        node.line,
    )


def _case(entry: Node) -> PolicyCase:
    if not isinstance(entry, Fields):
        raise entry.fail("is no case; a case is a mapping with 'name', 'request' and 'expected'")
    entry.only(CASE_FIELDS)
    request = entry.values.get("request")
    if not isinstance(request, Fields):
        raise (request or entry).fail("needs 'request', a mapping with 'url' and perhaps 'method'")
    request.only(REQUEST_FIELDS)
    method = request.scalar("method")
    return PolicyCase(
        name=entry.required("name").string(),
        request=Request(
            url=request.required("url").string(_URL_LENGTH),
            method=method.string(32) if method else "GET",
            headers=_request_headers(request),
            answers=_dns(entry),
        ),
        caller=_caller(entry),
        redirects=_redirects(entry),
        expected=_expected(entry),
        line=entry.line,
    )


def _expected(case: Fields) -> Expected:
    rule, layer, reason = case.scalar("rule"), case.scalar("layer"), case.scalar("reason")
    followed = case.scalar("followed")
    headers = _mapping(case, "headers", HEADER_FIELDS)
    sent = _entries(headers, "sent") if headers is not None else {}
    return Expected(
        result=Result(case.required("expected").choice(tuple(Result))),
        rule=rule.text if rule else None,
        layer=layer.string(_NAME_LENGTH * 2) if layer else None,
        reason=Reason(reason.choice(tuple(Reason))) if reason else None,
        followed=followed.integer(0, MAX_REDIRECTS) if followed else None,
        sent=tuple((name.lower(), _value(node)) for name, node in sent.items()),
        removed=tuple(entry.string(_NAME_LENGTH).lower() for entry in headers.scalars("removed"))
        if headers is not None
        else (),
    )


def _value(node: Node) -> str:
    if not isinstance(node, Scalar):
        raise node.fail("is a list or a mapping; the one value that is sent is right")
    return node.text


def _caller(case: Fields) -> Caller:
    def read(name: str) -> str:
        entry = case.scalar(name)
        return entry.string(_NAME_LENGTH) if entry is not None else ""

    return Caller(
        tenant=read("tenant"),
        script=read("script"),
        namespace=read("namespace"),
        tags=tuple(entry.string(_NAME_LENGTH) for entry in case.scalars("tags")),
        outbound_params={name: _value(node) for name, node in _entries(case, "params").items()},
        egress_hosts=_egress(case),
    )


def _egress(case: Fields) -> EgressHosts | None:
    fields = _mapping(case, "egress", ("allow",))
    if fields is None:
        return None
    allow = fields.values.get("allow")
    if allow is None:
        raise case.values["egress"].fail("has no 'allow', the list of hosts to which the call is narrowed")
    entries = _list(fields, "allow", lambda entry: entry)
    if len(entries) > MAX_EGRESS_HOSTS:
        raise allow.fail(f"has {len(entries)} hosts; at most {MAX_EGRESS_HOSTS} are right")
    try:
        return parse_egress_hosts(tuple(entry.string(300) for entry in entries))
    except InvalidHostname as error:
        raise allow.fail(str(error)) from error


def _redirects(case: Fields) -> tuple[Answer, ...]:
    found: list[Answer] = []
    for node in case.items("redirects"):
        if not isinstance(node, Fields):
            raise node.fail("is no redirect; a mapping with 'status' and 'location' is right")
        node.only(REDIRECT_FIELDS)
        status = node.required("status")
        code = status.integer(300, 399)
        if code not in STATUSES:
            raise status.fail(f"is {code}, no redirect; {', '.join(map(str, sorted(STATUSES)))} are")
        found.append(Answer(code, node.required("location").string(_URL_LENGTH), _dns(node)))
    if len(found) > MAX_REDIRECTS:
        raise case.values["redirects"].fail(f"has {len(found)} entries; at most {MAX_REDIRECTS} are right")
    return tuple(found)


def _request_headers(request: Fields) -> tuple[Header, ...]:
    node = request.values.get("headers")
    if node is None:
        return ()
    if not isinstance(node, Fields):
        raise node.fail("is no mapping of header names to a value or a list of values")
    return tuple((name.encode(), value.text.encode()) for name in node.values for value in node.scalars(name))


def _dns(fields: Fields) -> tuple[str, ...] | None:
    # An empty list is a case of its own: the name does not exist.
    return tuple(_list(fields, "dns", _address)) if "dns" in fields.values else None


def _address(answer: Scalar) -> str:
    try:
        return str(ipaddress.ip_address(answer.text))
    except ValueError:
        raise answer.fail(f"is {answer.text[:60]!r}; an IPv4 or IPv6 address is right") from None


def _list(fields: Fields, name: str, read: Callable[[Scalar], T]) -> list[T]:
    """A list that may be empty, or one value alone."""
    node = fields.values[name]
    if isinstance(node, Items) and not node.values:
        return []
    return [read(entry) for entry in fields.scalars(name)]


def _mapping(fields: Fields, name: str, known: tuple[str, ...]) -> Fields | None:
    node = fields.values.get(name)
    if node is None:
        return None
    if not isinstance(node, Fields):
        raise node.fail(f"is no mapping; it may hold {', '.join(known)}")
    node.only(known)
    return node


def _entries(fields: Fields, name: str) -> dict[str, Node]:
    """Of a mapping whose names are the author's own."""
    node = fields.values.get(name)
    if node is None:
        return {}
    if not isinstance(node, Fields):
        raise node.fail("is no mapping of names to values")
    return node.values
