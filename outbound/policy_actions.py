"""What a document says that an allowing rule does → RuleActions, checked field by field. Pure."""

from __future__ import annotations

import re
from typing import Final

from outbound.header_hygiene import MAX_HEADER_BYTES, OURS
from outbound.policy_document import Fields, Node, Scalar
from outbound.rule_actions import (
    NO_ACTIONS,
    Proxy,
    RateLimit,
    RateScope,
    Retries,
    RuleActions,
    SecretInjection,
    TlsSettings,
)
from outbound.target import InvalidTarget, parse_target

MAX_HEADERS: Final = 32
MAX_SECRETS: Final = 8
MAX_RETRIES: Final = 5
MAX_FOLLOWED: Final = 20
MAX_RATE: Final = 1_000_000
DAY_S: Final = 86_400

#: The fields of a rule, and those inside of each.
ACTION_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "headers": ("set", "remove"),
    "secrets": ("header", "secret", "template", "plaintext"),
    "rate_limit": ("requests", "period_s", "per"),
    "retries": ("attempts", "backoff_ms", "statuses"),
    "tls": ("minimum_version", "ca_bundle", "client_certificate"),
    "proxy": ("url", "credentials"),
    "follow_redirects": (),
}
_PLACE: Final = "{secret}"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,128}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_MATERIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def read_actions(rule: Fields) -> RuleActions:
    """Of a rule that allows. Raises DocumentError."""
    if ACTION_FIELDS.keys().isdisjoint(rule.values):
        return NO_ACTIONS
    headers = _mapping(rule, "headers")
    remove = _removed(headers)
    secrets = _secrets(rule)
    follow = rule.scalar("follow_redirects")
    actions = RuleActions(
        set_headers=_set(headers, remove),
        remove_headers=tuple(remove),
        secrets=tuple(secrets.values()),
        rate_limit=_rate_limit(_mapping(rule, "rate_limit")),
        retries=_retries(_mapping(rule, "retries")),
        tls=_tls(_mapping(rule, "tls")),
        proxy=_proxy(_mapping(rule, "proxy")),
        follow_redirects=None if follow is None else follow.integer(0, MAX_FOLLOWED),
    )
    for name, _ in actions.set_headers:
        if name in secrets:
            raise rule.values["secrets"].fail(f"and 'headers' both set {name!r}; one of them is right")
    return actions


def material_name(entry: Scalar) -> str:
    if not _MATERIAL.fullmatch(entry.text):
        raise entry.fail(f"is {entry.text[:40]!r}; the name of a material is right: letters, digits, _ . -")
    return entry.text


def _mapping(fields: Fields, name: str) -> Fields | None:
    node = fields.values.get(name)
    return None if node is None else _checked(node, ACTION_FIELDS[name])


def _checked(node: Node, known: tuple[str, ...]) -> Fields:
    if not isinstance(node, Fields):
        raise node.fail(f"is no mapping; it may hold {', '.join(known)}")
    if not node.values:
        raise node.fail(f"is empty; leave it out, or say one of {', '.join(known)}")
    node.only(known)
    return node


def _header_name(entry: Scalar) -> str:
    name = entry.text.lower()
    if not _HEADER_NAME.fullmatch(name):
        raise entry.fail(f"is {entry.text[:40]!r}, no header name; a name such as x-team is right")
    if name.encode() in OURS:
        raise entry.fail(f"is {name!r}, which belongs to the connection; rules can't set or remove it")
    return name


def _header_value(entry: Scalar) -> str:
    if not _HEADER_VALUE.fullmatch(entry.text):
        raise entry.fail("has a control byte or is not ASCII; printable ASCII on one line is right")
    if len(entry.text) > MAX_HEADER_BYTES // 8:
        raise entry.fail(f"has {len(entry.text)} characters; at most {MAX_HEADER_BYTES // 8} are right")
    return entry.text.strip(" ")


def _removed(headers: Fields | None) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for entry in headers.scalars("remove") if headers is not None else ():
        name = _header_name(entry)
        if name in found:
            raise entry.fail(f"names {name!r} twice")
        found[name] = entry
    if headers is not None and len(found) > MAX_HEADERS:
        raise headers.values["remove"].fail(f"has {len(found)} names; at most {MAX_HEADERS} are right")
    return found


def _set(headers: Fields | None, removed: dict[str, Scalar]) -> tuple[tuple[str, str], ...]:
    node = headers.values.get("set") if headers is not None else None
    if node is None:
        return ()
    if not isinstance(node, Fields) or not node.values:
        raise node.fail("is no mapping of header names to values")
    if len(node.values) > MAX_HEADERS:
        raise node.fail(f"has {len(node.values)} headers; at most {MAX_HEADERS} are right")
    found: dict[str, str] = {}
    for written, key in node.keys.items():
        name = _header_name(key)
        if name in found:
            raise key.fail(f"sets {name!r} twice; case makes no difference")
        if name in removed:
            raise removed[name].fail(
                f"removes {name!r}, which 'set' sets; to set one replaces what was there"
            )
        value = node.scalar(written)
        if value is None:  # `scalar` has raised for lists and mappings
            raise key.fail("has no value")
        found[name] = _header_value(value)
    return tuple(found.items())


def _secrets(rule: Fields) -> dict[str, SecretInjection]:
    entries = rule.items("secrets")
    if "secrets" not in rule.values:
        return {}
    node = rule.values["secrets"]
    if not entries or len(entries) > MAX_SECRETS:
        raise node.fail(f"has {len(entries)} entries; 1 to {MAX_SECRETS} are right")
    if "host" not in rule.values:
        raise node.fail("needs 'host' in its rule: a secret goes only to hosts that are named")
    over_tls = "scheme" in rule.values and all(entry.text == "https" for entry in rule.scalars("scheme"))
    found: dict[str, SecretInjection] = {}
    for entry in entries:
        secret = _secret(entry)
        if secret.header in found:
            raise entry.fail(f"sets {secret.header!r}, which an entry before it sets")
        if not over_tls and not secret.allow_plaintext:
            raise entry.fail(
                "would go over http too: say 'scheme: https' in the rule, or 'plaintext: true' here"
            )
        found[secret.header] = secret
    return found


def _secret(node: Node) -> SecretInjection:
    fields = _checked(node, ACTION_FIELDS["secrets"])
    template, plaintext = fields.scalar("template"), fields.scalar("plaintext")
    text = _PLACE if template is None else _header_value(template)
    if template is not None and text.count(_PLACE) != 1:
        raise template.fail(f"has {text.count(_PLACE)} times {_PLACE!r}; once is right")
    return SecretInjection(
        header=_header_name(fields.required("header")),
        secret=material_name(fields.required("secret")),
        template=text,
        allow_plaintext=plaintext is not None and plaintext.choice(("true", "false")) == "true",
    )


def _rate_limit(fields: Fields | None) -> RateLimit | None:
    if fields is None:
        return None
    per = fields.scalar("per")
    return RateLimit(
        requests=fields.required("requests").integer(1, MAX_RATE),
        period_s=fields.required("period_s").integer(1, DAY_S),
        per=RateScope(per.choice(tuple(RateScope))) if per else RateScope.TENANT,
    )


def _retries(fields: Fields | None) -> Retries | None:
    if fields is None:
        return None
    default = Retries()
    backoff = fields.scalar("backoff_ms")
    statuses = frozenset(entry.integer(400, 599) for entry in fields.scalars("statuses"))
    return Retries(
        attempts=fields.required("attempts").integer(0, MAX_RETRIES),
        backoff_ms=default.backoff_ms if backoff is None else backoff.integer(1, 10_000),
        statuses=statuses or default.statuses,
    )


def _tls(fields: Fields | None) -> TlsSettings:
    if fields is None:
        return NO_ACTIONS.tls
    version, bundle = fields.scalar("minimum_version"), fields.scalar("ca_bundle")
    certificate = fields.scalar("client_certificate")
    return TlsSettings(
        minimum_version=version.choice(("1.2", "1.3")) if version else "1.2",
        ca_bundle=material_name(bundle) if bundle else None,
        client_certificate=material_name(certificate) if certificate else None,
    )


def _proxy(fields: Fields | None) -> Proxy | None:
    if fields is None:
        return None
    url, credentials = fields.required("url"), fields.scalar("credentials")
    if "@" in url.text:
        raise url.fail("has a user name or password; 'credentials' names the secret that holds them")
    try:
        target = parse_target(url.string())
    except InvalidTarget as error:
        raise url.fail(error.message) from error
    if target.path != "/" or target.query or url.text.endswith(("?", "#")):
        raise url.fail("has a path or query; scheme, host and port are right")
    return Proxy(
        scheme=target.scheme,
        host=target.host,
        port=target.port,
        credentials=material_name(credentials) if credentials else None,
    )
