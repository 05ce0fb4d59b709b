"""docs/control-api.md has every endpoint there is, and none that isn't."""

from __future__ import annotations

import re
from pathlib import Path

from control.app import ENDPOINTS
from control.envelope import _RULES, Code

PAGE = Path(__file__).parents[2] / "docs" / "control-api.md"
_CALL = re.compile(r"^\| `([A-Z]+) ([^`]+)` \|", re.MULTILINE)
_ACCOUNT = "/client/v4/accounts/{account}"
_NAMESPACE = f"{_ACCOUNT}/workers/dispatch/namespaces/{{namespace}}"
#: What the page's short forms stand for; the first that begins an address is taken.
_SHORT = {
    "NS": [_NAMESPACE],
    "S": [f"{_NAMESPACE}/scripts/{{script}}", f"{_ACCOUNT}/workers/scripts/{{script}}"],
    "KV": [f"{_ACCOUNT}/storage/kv/namespaces/{{kv}}"],
    "D1": [f"{_ACCOUNT}/d1/database/{{database}}"],
    "Q": [f"{_ACCOUNT}/queues/{{queue}}"],
    "P": [
        f"{place}/egress-policy{layer}"
        for place in (_NAMESPACE, f"{_ACCOUNT}/workers")
        for layer in ("", "/tags/{tag}", "/tenants/{tenant}")
    ],
    "M": [f"{place}/egress-materials" for place in (_NAMESPACE, f"{_ACCOUNT}/workers")],
    "A": [_ACCOUNT],
}


def test_the_reference_and_the_endpoints_agree() -> None:
    described: set[tuple[str, str]] = set()
    for method, address in _CALL.findall(PAGE.read_text()):
        head, slash, rest = address.partition("/")
        for whole in _SHORT[head] if head else [""]:
            described.add((method, whole + slash + rest))
    assert described == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}


def test_every_code_is_described_with_its_status() -> None:
    rows = {
        code.strip(): statuses
        for line in PAGE.read_text().partition("## Codes")[2].splitlines()
        if re.match(r"\| \d", line)
        for codes, statuses in [line.split("|")[1:3]]
        for code in codes.split(",")
    }
    own = {value for name, value in vars(Code).items() if name.isupper()}
    assert {str(code) for code in own} | {str(code) for _, code in _RULES.values()} <= set(rows)
    for status, code in _RULES.values():
        assert str(status) in rows[str(code)], code
