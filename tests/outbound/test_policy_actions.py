"""Rule held: a document says exactly what a rule does, opens and asks for, and a mistake in it names its place."""

from __future__ import annotations

import pytest

from outbound.policy import Rule
from outbound.policy_conditions import Condition
from outbound.policy_parse import CONDITION_FIELDS, PolicyError, parse_policy
from outbound.rule_actions import (
    NO_ACTIONS,
    NO_PLAN,
    Proxy,
    RateLimit,
    RateScope,
    Retries,
    RuleActions,
    SecretInjection,
    TenantQuotas,
    TlsSettings,
)

TOP = "version: 1\nrules:\n- name: a\n  action: allow\n"


def rule(text: str) -> Rule:
    return parse_policy(TOP + text).rules[0]


def test_every_action_is_read() -> None:
    actions = rule("""
  scheme: https
  host: api.test
  headers: {set: {X-Team: " shop ", X-Empty: ""}, remove: [Cookie]}
  secrets:
  - {header: Authorization, secret: pay-key, template: "Bearer {secret}"}
  - {header: x-key, secret: other, plaintext: true}
  rate_limit: {requests: 100, period_s: 60, per: tenant_and_destination}
  retries: {attempts: 2, backoff_ms: 50, statuses: [429, 503]}
  tls: {minimum_version: 1.3, ca_bundle: corp, client_certificate: shop}
  proxy: {url: "http://[2001:db8::1]:3128", credentials: login}
  follow_redirects: 3
""").actions
    assert actions == RuleActions(
        set_headers=(("x-team", "shop"), ("x-empty", "")),
        remove_headers=("cookie",),
        secrets=(
            SecretInjection("authorization", "pay-key", "Bearer {secret}"),
            SecretInjection("x-key", "other", allow_plaintext=True),
        ),
        rate_limit=RateLimit(100, 60, RateScope.TENANT_AND_DESTINATION),
        retries=Retries(2, 50, frozenset((429, 503))),
        tls=TlsSettings("1.3", "corp", "shop"),
        proxy=Proxy("http", "2001:db8::1", 3128, "login"),
        follow_redirects=3,
    )


def test_what_is_left_out_has_its_default() -> None:
    bare = rule("  host: a.test")
    assert bare.actions is NO_ACTIONS
    assert bare.plan is NO_PLAN
    assert rule("  rate_limit: {requests: 1, period_s: 1}").actions.rate_limit == RateLimit(1, 1)
    assert rule("  retries: {attempts: 1}").actions.retries == Retries(1)
    assert rule("  proxy: {url: https://p.test}").actions.proxy == Proxy("https", "p.test", 443)
    assert rule("  tls: {client_certificate: c}").plan.tls == TlsSettings("1.2", None, "c")


def test_quotas_and_limits_are_read() -> None:
    policy = parse_policy("""
version: 1
defaults: {connect_ms: 5, total_ms: 7}
quotas: {requests_per_minute: 1, bytes_per_minute: 2, concurrent_requests: 3}
rules: [{name: a, action: allow, total_ms: 9}, {name: b, action: allow}]
""")
    assert policy.quotas == TenantQuotas(1, 2, 3)
    assert [(each.limits.connect_ms, each.limits.total_ms) for each in policy.rules] == [(5, 9), (5, 7)]
    assert (policy.defaults.connect_ms, policy.defaults.total_ms) == (5, 7)


H = "  scheme: https\n  host: a.test\n"
S = "  secrets: [{header: x, secret: k"
BAD = [
    # text, line, field, words
    ("  headers: []", 5, "headers", "no mapping"),
    ("  headers: {}", 5, "headers", "is empty"),
    ("  headers: {add: {a: b}}", 5, "headers", "unknown field 'add'"),
    ("  headers: {set: [a]}", 5, "headers.set", "no mapping of header names"),
    ("  headers: {set: {a b: c}}", 5, "headers", "no header name"),
    ("  headers:\n    set:\n      Host: b.test", 7, "headers.set", "belongs to the connection"),
    ("  headers: {set: {content-length: 1}}", 5, "headers.set", "belongs to the connection"),
    ("  headers: {set: {Transfer-Encoding: x}}", 5, "headers.set", "belongs to the connection"),
    ("  headers: {set: {connection: x}}", 5, "headers.set", "belongs to the connection"),
    ("  headers: {set: {tenantry-hop: x}}", 5, "headers.set", "belongs to the connection"),
    ("  headers: {remove: [te]}", 5, "headers.remove[0]", "belongs to the connection"),
    ('  headers: {set: {a: "b\\r\\nc: d"}}', 5, "headers.set.a", "control byte"),
    ('  headers: {set: {a: "\\0"}}', 5, "headers.set.a", "control byte"),
    ("  headers: {set: {a: ü}}", 5, "headers.set.a", "not ASCII"),
    ("  headers: {set: {a: [b]}}", 5, "headers.set.a", "one value"),
    ("  headers:\n    set: {a: b,\n      A: c}", 7, "headers.set", "sets 'a' twice"),
    ("  headers: {remove: [a, A]}", 5, "headers.remove[1]", "'a' twice"),
    ("  headers: {set: {a: b}, remove: [A]}", 5, "headers.remove[0]", "which 'set' sets"),
    ("  secrets: []", 5, "secrets", "0 entries"),
    ("  scheme: https\n" + S + "}]", 6, "secrets", "needs 'host'"),
    ("  host: a.test\n" + S + "}]", 6, "secrets[0]", "say 'scheme: https'"),
    ("  host: a.test\n  scheme: [https, http]\n" + S + "}]", 7, "secrets[0]", "'plaintext: true'"),
    ("  host: a.test\n  scheme: http\n" + S + ", plaintext: false}]", 7, "secrets[0]", "'plaintext: true'"),
    (H + S + ", plaintext: yes}]", 7, "secrets[0].plaintext", "true or false"),
    (H + S + ", template: Bearer}]", 7, "secrets[0].template", "0 times"),
    (H + S + ", template: '{secret}{secret}'}]", 7, "secrets[0].template", "2 times"),
    (H + S + ', template: "{secret}\\n"}]', 7, "secrets[0].template", "control byte"),
    (H + S + "}, {header: X, secret: j}]", 7, "secrets[1]", "an entry before"),
    (H + "  secrets: [{header: cookie2}]", 7, "secrets[0]", "no 'secret'"),
    (H + "  secrets: [{header: host, secret: k}]", 7, "secrets[0].header", "belongs to the connection"),
    (H + "  secrets: [{header: x, secret: 'a b'}]", 7, "secrets[0].secret", "name of a material"),
    (H + "  secrets: [{header: x, secret: k, value: v}]", 7, "secrets[0]", "unknown field 'value'"),
    (H + "  headers: {set: {x: y}}\n" + S + "}]", 8, "secrets", "both set 'x'"),
    ("  rate_limit: {requests: 0, period_s: 1}", 5, "rate_limit.requests", "from 1 to 1000000"),
    ("  rate_limit: {requests: 1, period_s: 86401}", 5, "rate_limit.period_s", "from 1 to 86400"),
    ("  rate_limit: {requests: 1}", 5, "rate_limit", "no 'period_s'"),
    ("  rate_limit: {requests: 1, period_s: 1, per: host}", 5, "rate_limit.per", "tenant_and_destination"),
    ("  retries: {attempts: 6}", 5, "retries.attempts", "from 0 to 5"),
    ("  retries: {attempts: 1, backoff_ms: 0}", 5, "retries.backoff_ms", "from 1 to 10000"),
    ("  retries: {attempts: 1, statuses: [399]}", 5, "retries.statuses[0]", "from 400 to 599"),
    ("  tls: {minimum_version: 1.1}", 5, "tls.minimum_version", "1.2 or 1.3"),
    ("  tls: {ca_bundle: '../x'}", 5, "tls.ca_bundle", "name of a material"),
    ("  proxy: {url: 'socks5://p.test'}", 5, "proxy.url", "can't leave"),
    ("  proxy: {url: 'http://u:p@p.test'}", 5, "proxy.url", "'credentials' names"),
    ("  proxy: {url: 'http://p.test/x'}", 5, "proxy.url", "path or query"),
    ("  proxy: {url: 'http://p.test?x'}", 5, "proxy.url", "path or query"),
    ("  follow_redirects: 21", 5, "follow_redirects", "from 0 to 20"),
    ("  total_ms: 900001", 5, "total_ms", "from 1 to 900000"),
    ("  tags: ['']", 5, "tags[0]", "is empty"),
    ("  params: [a]", 5, "params", "no mapping"),
    ("  params: {a: {b: c}}", 5, "params.a", "a mapping"),
    ("  params: {a: []}", 5, "params.a", "empty list"),
    ("  open_hosts: '*.a.test'", 5, "open_hosts", "each name by itself"),
    ("  open_hosts: 10.0.0.1", 5, "open_hosts", "open_cidrs"),
    ("  host: '*.a.test'\n  open_hosts: [b.a.test, a.test]", 6, "open_hosts[1]", "does not hold"),
    ("  when: []", 5, "when", "one value"),
    ("  when: ''", 5, "when", "is empty"),
    ("  when: 'a eq 1'", 5, "when", "a"),
]


@pytest.mark.parametrize(("text", "line", "field", "words"), BAD)
def test_a_mistake_names_its_place(text: str, line: int, field: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        rule(text)
    assert words in str(caught.value)
    assert caught.value.line == line
    assert caught.value.field.startswith(f"rules[0].{field}")


@pytest.mark.parametrize(
    "text", ["headers: {remove: [a]}", "follow_redirects: 1", "open_hosts: a.test", "open_cidrs: 10.0.0.0/8"]
)
def test_a_rule_that_denies_does_and_opens_nothing(text: str) -> None:
    with pytest.raises(PolicyError, match="only 'allow' rules"):
        parse_policy(f"version: 1\nrules: [{{name: a, action: deny, {text}}}]")


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ("quotas: 5", 2, "quotas", "no mapping"),
        ("quotas: {requests: 5}", 2, "quotas", "unknown field 'requests'"),
        ("quotas: {concurrent_requests: 0}", 2, "quotas.concurrent_requests", "from 1"),
    ],
)
def test_a_mistake_in_quotas_names_its_place(text: str, line: int, field: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words) as caught:
        parse_policy(f"version: 1\n{text}")
    assert (caught.value.line, caught.value.field) == (line, field)


#: `when` as it is written below `  `, and where `oops` stands: line (5 is that of `when`) and column.
SPELLINGS = [
    ("when: oops eq 1", 5, 9),
    ('when: \'http.host eq "a" and oops eq "b"\'', 5, 31),
    ('when: "http.host eq \\"a\\" and oops eq 1"', 5, 33),
    ("when: 'http.host eq \"it''s\" and oops eq 1'", 5, 35),
    ('when: |\n    http.host eq "ü" and\n    oops eq 1', 7, 5),
    ('when: >-\n    http.host eq "a"\n    and  oops eq 1', 7, 10),
    ('when: http.host eq "a"\n    and oops eq 1', 6, 9),
    ('# a comment\n  when: http.host eq "a" and\n    oops eq 1', 7, 5),
]


@pytest.mark.parametrize(("text", "line", "column"), SPELLINGS)
def test_a_mistake_in_an_expression_is_shown_in_the_document(text: str, line: int, column: int) -> None:
    document = TOP + "  " + text
    with pytest.raises(PolicyError, match="oops") as caught:
        parse_policy(document)
    assert document.splitlines()[line - 1][column - 1 :].startswith("oops")
    assert (caught.value.line, caught.value.column, caught.value.field) == (line, column, "rules[0].when")


def test_a_mistake_that_is_spelled_with_escapes_is_shown_where_the_expression_begins() -> None:
    with pytest.raises(PolicyError) as caught:
        rule('  when: "\\u006fops eq 1"')
    assert (caught.value.line, caught.value.column) == (5, 9)


def test_conditions_are_named_as_the_fields_that_ask_for_them() -> None:
    assert set(Condition) == set(CONDITION_FIELDS)
