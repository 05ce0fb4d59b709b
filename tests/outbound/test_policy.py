"""Rule held: rules decide in order, the first match wins, nothing matched is a denial; a document with a
mistake says line, field and what would be right.
"""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbound.egress_fields import Facts
from outbound.path_glob import Glob
from outbound.policy import DENY_ALL, Result, decide
from outbound.policy_parse import PolicyError, parse_policy
from outbound.reasons import Reason

SHOP = parse_policy("""
version: 1
defaults: {timeout_ms: 1000}
rules:
  - {name: no-admin, action: deny, path: "/admin*"}
  - name: pay
    action: allow
    scheme: https
    host: [api.pay.test, "*.eu.pay.test"]
    port: [443, 8443]
    method: [get, POST]
    path: [/v1/*, /health]
  - {name: images, action: allow, host: "*.img.test", max_response_bytes: 5, timeout_ms: 7}
  - {name: literal, action: allow, host: "2001:DB8::1"}
  - {name: unicode, action: allow, host: "*.bücher.example"}
  - {name: no-img, action: deny, host: x.img.test}
""")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        # scheme host port method path
        ("https api.pay.test 443 GET /v1/x", "pay"),
        ("https api.pay.test 8443 POST /v1/", "pay"),
        ("https api.pay.test 443 GET /health", "pay"),
        ("https api.pay.test 443 GET /healthy", None),
        ("https api.pay.test 443 GET /v1", None),
        ("https api.pay.test 443 GET /v2/x", None),
        ("https api.pay.test 443 PUT /v1/x", None),
        ("https api.pay.test 444 GET /v1/x", None),
        ("http api.pay.test 443 GET /v1/x", None),
        ("https x.api.pay.test 443 GET /v1/x", None),
        ("https a.eu.pay.test 443 GET /v1/x", "pay"),
        ("https a.b.eu.pay.test 443 GET /v1/x", "pay"),
        ("https eu.pay.test 443 GET /v1/x", None),  # a wildcard never holds its own base
        ("https xeu.pay.test 443 GET /v1/x", None),
        ("https api.pay.test 443 GET /admin", "no-admin"),
        ("https a.img.test 443 GET /admin/x", "no-admin"),
        ("https a.img.test 443 GET /Admin", "images"),
        ("https x.img.test 443 GET /", "images"),  # the earlier rule wins, though the later is more exact
        ("https 2001:db8::1 443 GET /", "literal"),
        ("https a.xn--bcher-kva.example 443 GET /", "unicode"),
        ("https other.test 443 GET /", None),
    ],
)
def test_first_match_decides(url: str, rule: str | None) -> None:
    scheme, host, port, method, path = url.split()
    verdict = decide(SHOP, Facts(scheme, host, int(port), method, path))
    assert verdict.rule_name == (rule or "")
    expected = {None: Reason.POLICY_DEFAULT_DENY, "no-admin": Reason.POLICY_RULE_DENY}
    assert verdict.reason is expected.get(rule, Reason.POLICY_RULE_ALLOW)


def test_limits_come_from_the_rule_then_the_defaults() -> None:
    by_name = {rule.name: rule.limits for rule in SHOP.rules}
    assert (by_name["images"].timeout_ms, by_name["images"].max_response_bytes) == (7, 5)
    assert (by_name["pay"].timeout_ms, by_name["pay"].max_response_bytes) == (1000, 1 << 30)


@pytest.mark.parametrize(
    ("mode", "host", "result", "reason"),
    [
        ("enforce", "a.test", Result.DENY, Reason.POLICY_RULE_DENY),
        ("enforce", "b.test", Result.DENY, Reason.POLICY_DEFAULT_DENY),
        ("enforce", "c.test", Result.ALLOW, Reason.POLICY_RULE_ALLOW),
        ("report", "a.test", Result.ALLOW, Reason.POLICY_REPORT_WOULD_DENY),
        ("report", "b.test", Result.ALLOW, Reason.POLICY_REPORT_WOULD_DENY),
        ("report", "c.test", Result.ALLOW, Reason.POLICY_RULE_ALLOW),
        ("open", "a.test", Result.DENY, Reason.POLICY_RULE_DENY),
        ("open", "b.test", Result.ALLOW, Reason.POLICY_OPEN),
        ("open", "c.test", Result.ALLOW, Reason.POLICY_RULE_ALLOW),
    ],
)
def test_modes(mode: str, host: str, result: Result, reason: Reason) -> None:
    rules = "[{name: a, action: deny, host: a.test}, {name: c, action: allow, host: c.test}]"
    policy = parse_policy(f"version: 1\nmode: {mode}\nrules: {rules}")
    verdict = decide(policy, Facts("https", host, 443, "GET", "/"))
    assert (verdict.result, verdict.reason) == (result, reason)


def test_without_rules_nothing_is_allowed() -> None:
    for policy in (DENY_ALL, parse_policy("version: 1"), parse_policy('{"version": 1, "rules": []}')):
        verdict = decide(policy, Facts("https", "a.test", 443, "GET", "/"))
        assert verdict.result is Result.DENY
        assert verdict.rule is None


def test_json_and_yaml_are_one_language() -> None:
    rule = {
        "name": "a",
        "action": "allow",
        "host": ["a.test"],
        "port": 443,
        "path": "/x*",
        "open_cidrs": ["10.0.0.0/8"],
    }
    as_json = parse_policy(json.dumps({"version": 1, "mode": "open", "rules": [rule]}))
    as_yaml = parse_policy(
        "version: 1\nmode: open\nrules:\n"
        "- name: a\n  action: allow\n  host: a.test\n  port: 443\n  path: /x*\n  open_cidrs: [10.0.0.0/8]\n"
    )
    assert as_json.mode is as_yaml.mode
    assert [(r.conditions, r.open_cidrs) for r in as_json.rules] == [
        (r.conditions, r.open_cidrs) for r in as_yaml.rules
    ]
    assert as_json.version != as_yaml.version, "connections are kept apart by text, not by meaning"


R = "version: 1\nrules:\n- name: a\n  action: allow\n"
BAD = [
    # text, line, field, words
    ("", 1, "", "empty or no mapping"),
    ("[]", 1, "", "empty or no mapping"),
    ("a: ]", 1, "", "neither YAML nor JSON"),
    ("version: 1\nmode: \x00", 1, "", "neither YAML nor JSON"),
    ("rules: []", 1, "", "no 'version'"),
    ("version: 2", 1, "version", "from 1 to 1"),
    ("version: 1\nmode: enforced", 2, "mode", "did you mean 'enforce'?"),
    ("version: 1\nrule: []", 2, "", "did you mean 'rules'?"),
    ("version: 1\nrules: x", 2, "rules", "no list"),
    ("version: 1\nrules:\n- x", 3, "rules[0]", "no rule"),
    ("version: 1\nversion: 1", 2, "", "twice"),
    ("version: 1\n---\nversion: 1", 2, "", "second document"),
    ("version: 1\nrules: &a []", 2, "rules", "anchor"),
    ("version: 1\nrules: !!python/object:os.system []", 2, "rules", "tag"),
    ("version: 1\nrules: " + "[" * 40 + "]" * 40, 2, "rules" + "[0]" * 8, "deeper than 8"),
    ("version: 1\nrules:\n- action: allow", 3, "rules[0]", "no 'name'"),
    ("version: 1\nrules:\n- name: a", 3, "rules[0]", "no 'action'"),
    ("version: 1\nrules:\n- name: 'a/b'\n  action: allow", 3, "rules[0].name", "letters, digits"),
    ("version: 1\nrules:\n- name: a\n  action: permit", 4, "rules[0].action", "allow or deny"),
    (R + "- name: a\n  action: deny", 5, "rules[1]", "taken by the rule in line 3"),
    (R + "  hosts: x", 5, "rules[0]", "did you mean 'host'?"),
    (R + "  scheme: ws", 5, "rules[0].scheme", "http or https"),
    (R + "  host: '*'", 5, "rules[0].host", "leave the field out"),
    (R + "  host: []", 5, "rules[0].host", "empty list"),
    (R + "  host: ''", 5, "rules[0].host", "is empty"),
    (R + "  host:", 5, "rules[0].host", "is empty"),
    (R + "  host: {a: b}", 5, "rules[0].host", "a mapping"),
    (R + "  host:\n  - a.test\n  - '*.co.uk'", 7, "rules[0].host[1]", "public suffix"),
    (R + "  host: '*.github.io'", 5, "rules[0].host", "public suffix"),
    (R + "  host: '*.com'", 5, "rules[0].host", "public suffix"),
    (R + "  host: a.*.test", 5, "rules[0].host", "first label"),
    (R + "  host: 'https://a.test'", 5, "rules[0].host", "a host alone"),
    (R + "  host: 'a.test:443'", 5, "rules[0].host", "has a port"),
    (R + "  host: '127.1'", 5, "rules[0].host", "four decimal parts"),
    (R + "  host: 'fe80::1%eth0'", 5, "rules[0].host", "zone id"),
    (R + "  port: 0", 5, "rules[0].port", "from 1 to 65535"),
    (R + "  port: 65536", 5, "rules[0].port", "from 1 to 65535"),
    (R + "  port: 0x50", 5, "rules[0].port", "from 1 to 65535"),
    (R + "  port: [80, http]", 5, "rules[0].port[1]", "from 1 to 65535"),
    (R + "  method: 'GE T'", 5, "rules[0].method", "a method such as"),
    (R + "  path: v1/", 5, "rules[0].path", "begins with '/'"),
    (R + "  path: '/a?b'", 5, "rules[0].path", "without query"),
    (R + "  open_cidrs: 10.0.0.1/8", 5, "rules[0].open_cidrs", "host bits"),
    (R + "  open_cidrs: [0.0.0.0/0]", 5, "rules[0].open_cidrs[0]", "/8 is the widest"),
    (R + "  open_cidrs: ['::/0']", 5, "rules[0].open_cidrs[0]", "/7 is the widest"),
    (R + "  open_cidrs: ['::ffff:10.0.0.0/104']", 5, "rules[0].open_cidrs[0]", "write the IPv4"),
    (R + "  open_cidrs: [office]", 5, "rules[0].open_cidrs[0]", "no CIDR"),
    (
        "version: 1\nrules:\n- name: a\n  action: deny\n  open_cidrs: 10.0.0.0/8",
        5,
        "rules[0].open_cidrs",
        "only 'allow'",
    ),
    (R + "  timeout_ms: 0", 5, "rules[0].timeout_ms", "from 1 to 900000"),
    (R + "  timeout_ms: 5s", 5, "rules[0].timeout_ms", "whole number"),
    (R + "  max_response_bytes: -1", 5, "rules[0].max_response_bytes", "whole number"),
    ("version: 1\ndefaults: 5", 2, "defaults", "no mapping"),
    ("version: 1\ndefaults: {timeout: 5}", 2, "defaults", "did you mean 'timeout_ms'?"),
    ('{"version": 1,\n "rules": [{"name": "a", "action": "allow",\n "ports": 1}]}', 3, "rules[0]", "'port'"),
]


@pytest.mark.parametrize(("text", "line", "field", "words"), BAD)
def test_a_mistake_names_its_place(text: str, line: int, field: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text)
    assert words in str(caught.value)
    assert (caught.value.line, caught.value.field) == (line, field)
    assert str(caught.value).startswith(f"line {line}, column ")


def test_a_document_is_bounded() -> None:
    with pytest.raises(PolicyError, match="larger than"):
        parse_policy("#" * ((1 << 20) + 1))
    many = "version: 1\nrules:\n" + "\n".join(f"- {{name: r{i}, action: deny}}" for i in range(10_001))
    with pytest.raises(PolicyError, match="at most 10000"):
        parse_policy(many)


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    with contextlib.suppress(PolicyError):
        assert parse_policy(text).rules == ()


@given(st.text("ab/*", max_size=8), st.text("ab/", max_size=12))
def test_globs_match_as_the_naive_definition_does(pattern: str, path: str) -> None:
    def naive(rest: str, left: str) -> bool:
        if not rest:
            return not left
        if rest[0] == "*":
            return any(naive(rest[1:], left[i:]) for i in range(len(left) + 1))
        return left[:1] == rest[0] and naive(rest[1:], left[1:])

    assert Glob.compile(pattern).matches(path) is naive(pattern, path)
