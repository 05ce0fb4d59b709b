"""Rule held: a document of cases is read strictly, and a mistake in it names its place."""

from __future__ import annotations

import pytest

from outbound.policy import Result
from outbound.policy_cases import LayerFile, parse_cases
from outbound.policy_document import DocumentError
from outbound.policy_layers import LayerKind

WHOLE = """
layers:
  namespace: policy.yaml
  tags: {"plan:free": free.yaml}
  tenants: {acme: {file: ../acme.yaml, widen: true}}
cases:
  - name: everything
    request: {method: post, url: "https://a.test/", headers: {X-A: ["1", "2"]}}
    tenant: acme
    tags: ["plan:free", beta]
    params: {region: eu}
    script: shop
    namespace: customers
    egress: {allow: ["*.a.test", A.test]}
    dns: 93.184.216.34
    redirects:
      - {status: 302, location: /next, dns: []}
    expected: allow
    rule: ""
    layer: tenant:acme
    reason: policy.rule_allow
    followed: 1
    headers: {sent: {X-Team: shop}, removed: [X-Debug]}
"""


def test_every_field_of_a_case() -> None:
    document = parse_cases(WHOLE)
    assert document.layers == (
        LayerFile(LayerKind.NAMESPACE, "", "policy.yaml", False, 3),
        LayerFile(LayerKind.TAG, "plan:free", "free.yaml", False, 4),
        LayerFile(LayerKind.TENANT, "acme", "../acme.yaml", True, 5),
    )
    (case,) = document.cases
    assert case.request.headers == ((b"X-A", b"1"), (b"X-A", b"2"))
    assert (case.request.method, case.request.answers) == ("post", ("93.184.216.34",))
    assert case.caller.egress_hosts == ("*.a.test", "a.test")
    assert (case.caller.tags, case.caller.outbound_params) == (("plan:free", "beta"), {"region": "eu"})
    assert [(each.status, each.location, each.answers) for each in case.redirects] == [(302, "/next", ())]
    expected = case.expected
    assert (expected.result, expected.rule, expected.layer) == (Result.ALLOW, "", "tenant:acme")
    assert (expected.followed, expected.sent, expected.removed) == (1, (("x-team", "shop"),), ("x-debug",))
    assert case.line == 7


BAD = "cases:\n- name: a\n  request: {url: x}\n  expected: deny\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("cases: []", 1, "no case"),
        ("{}", 1, "no case"),
        ("case: []", 1, "did you mean 'cases'?"),
        ("cases:\n- x", 2, "no case"),
        ("cases:\n- name: a\n  expected: allow", 2, "needs 'request'"),
        ("cases:\n- name: a\n  request: {url: x}\n  expect: allow", 4, "did you mean 'expected'?"),
        ("cases:\n- name: a\n  request: {uri: x}\n  expected: allow", 3, "did you mean 'url'?"),
        ("cases:\n- name: a\n  request: {url: x}", 2, "no 'expected'"),
        ("cases:\n- name: a\n  request: {url: x}\n  expected: yes", 4, "allow or deny"),
        (f"{BAD}  reason: policy.deny", 5, "did you mean"),
        (f"{BAD}  dns: [a.test]", 5, "IPv4 or IPv6"),
        (f"{BAD}  params: [a]", 5, "no mapping of names"),
        (f"{BAD}  params: {{a: [b]}}", 5, "the one value"),
        (
            "cases:\n- name: a\n  request: {url: x,\n    headers: a}\n  expected: deny",
            4,
            "no mapping of header",
        ),
        (f"{BAD}  egress: {{}}", 5, "has no 'allow'"),
        (f"{BAD}  egress: {{allow: ['*']}}", 5, "narrows nothing"),
        (f"{BAD}  egress: {{allow: ['*.com']}}", 5, "public suffix"),
        (f"{BAD}  redirects: [{{status: 304, location: x}}]", 5, "no redirect"),
        (f"{BAD}  redirects: [{{status: 302}}]", 5, "no 'location'"),
        (f"{BAD}  redirects: [x]", 5, "no redirect"),
        (f"{BAD}  headers: {{set: {{a: b}}}}", 5, "did you mean 'sent'?"),
        (f"{BAD}  headers: {{sent: {{a: [b]}}}}", 5, "the one value"),
        (f"layers: {{tag: x}}\n{BAD}", 1, "did you mean 'tags'?"),
        (f"layers: {{tenants: {{'a b': x}}}}\n{BAD}", 1, "tenant:a b"),
        (f"layers:\n  tags: {{a: {{file: x, widen: yes}}}}\n{BAD}", 2, "true or false"),
        (f"layers:\n  tags: {{a: [x]}}\n{BAD}", 2, "a file is right"),
    ],
)
def test_a_mistake_names_its_place(text: str, line: int, words: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_cases(text)
    assert words in str(caught.value)
    assert caught.value.line == line
