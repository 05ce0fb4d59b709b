"""Rule held: a rule's headers replace or remove what the worker sent, and nothing else changes."""

from __future__ import annotations

from outbound.header_hygiene import changed_headers
from outbound.policy_parse import parse_policy
from tests.outbound.conftest import WayOut, read_all
from tests.support.upstream import Upstream


def test_set_replaces_every_one_of_a_name_and_order_is_kept() -> None:
    sent = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", b"4")]
    assert changed_headers(sent, ["c"], [("a", "new"), ("d", "5")]) == [
        (b"b", b"2"),
        (b"a", b"new"),
        (b"d", b"5"),
    ]


async def test_headers_are_set_and_removed_by_the_rule(way_out: WayOut) -> None:
    way_out.policy = parse_policy("""
version: 1
rules:
  - name: local
    action: allow
    open_cidrs: [127.0.0.0/8]
    headers: {set: {X-Team: checkout, Accept: text/plain}, remove: [X-Debug]}
""")
    async with Upstream() as upstream:
        headers = [
            (b"accept", b"*/*"),
            (b"X-DEBUG", b"1"),
            (b"x-team", b"mine"),
            (b"X-Team", b"mine"),
            (b"k", b"v"),
        ]
        await read_all(await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", headers=headers))
        sent = upstream.requests[0].headers
    assert sorted((n, v) for n, v in sent if n not in ("host", "tenantry-hop")) == [
        ("accept", "text/plain"),
        ("k", "v"),
        ("x-team", "checkout"),
    ]
