"""Rule held: what is judged without a network is what the gateway does with one: the same hops, decided for the
same reasons by the same rules, with the same headers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from model.errors import OperationError
from model.messages import Header
from outbound.memory_materials import MemoryMaterials
from outbound.policy import Result
from outbound.policy_judge import Answer, Caller, Judgement, Request, judge
from outbound.policy_parse import parse_policy
from outbound.policy_set import PolicySet
from outbound.reasons import Reason
from tests.outbound.conftest import CLOSED, WayOut, read_all
from tests.support.upstream import Upstream, UpstreamRequest, respond

POLICY = """
version: 1
rules:
  - {name: no, action: deny, path: /denied}
  - name: secret
    action: allow
    host: secret.test
    open_cidrs: [127.0.0.1/32]
    follow_redirects: 2
    headers: {set: {x-team: shop}, remove: [x-debug]}
    secrets: [{header: authorization, secret: key, template: "Bearer {secret}", plaintext: true}]
  - {name: by header, action: allow, when: 'any(http.request.headers["upgrade-insecure"][*] eq "1")'}
  - {name: by hand, action: allow, host: hand.test, open_cidrs: [127.0.0.1/32]}
  - {name: closed, action: allow, host: closed.test}
  - {name: more, action: allow, host: more.test, open_cidrs: [127.0.0.1/32], follow_redirects: 1}
"""
#: Where each name of the tests leads.
DNS = {name: ["127.0.0.1"] for name in ("secret.test", "hand.test", "closed.test", "more.test", "other.test")}
ASIDE = frozenset({"host", "tenantry-hop", "user-agent", "accept-encoding", "content-length", "connection"})


@dataclass
class Chain:
    """Answers with the redirects of one case, in order, then 200; keeps what it was sent."""

    answers: list[tuple[int, str]]
    seen: list[list[Header]] = field(default_factory=list)

    async def __call__(self, request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        await request.body()
        self.seen.append([(name.lower().encode(), value.encode()) for name, value in request.headers])
        if len(self.seen) <= len(self.answers):
            status, location = self.answers[len(self.seen) - 1]
            respond(writer, status, b"", f"location: {location}")
        else:
            respond(writer, 200, b"")


#: name, method, url, headers, redirects
CASES: list[tuple[str, str, list[Header], list[tuple[int, str]]]] = [
    ("GET", "http://hand.test:P/", [], []),
    ("get", "http://HAND.test.:P/a/../b", [(b"X-A", b"1"), (b"Connection", b"x-a")], []),
    ("GET", "http://hand.test:P/denied", [], []),
    ("GET", "http://hand.test:P/%64enied", [], []),
    ("GET", "http://other.test:P/", [], []),
    ("GET", "http://closed.test:P/", [], []),
    ("GET", "http://u@hand.test:P/", [], []),
    ("TRACE", "http://hand.test:P/", [], []),
    ("GET", "http://hand.test:P/", [(b"upgrade", b"x")], []),
    ("GET", "http://secret.test:P/", [(b"Authorization", b"own"), (b"X-Debug", b"1"), (b"X-Team", b"a")], []),
    ("GET", "http://secret.test:P/", [(b"X-Debug", b"1")], [(302, "/next")]),
    ("POST", "http://secret.test:P/", [(b"Cookie", b"c")], [(307, "http://more.test:P/")]),
    (
        "GET",
        "http://secret.test:P/",
        [(b"Cookie", b"c")],
        [(302, "http://more.test:P/"), (303, "http://secret.test:P/back")],
    ),
    ("GET", "http://more.test:P/", [], [(302, "/1"), (302, "/2")]),
    ("GET", "http://more.test:P/", [], [(302, "/")]),
    ("GET", "http://more.test:P/", [], [(302, "/denied")]),
    ("GET", "http://more.test:P/", [], [(302, "http://closed.test:P/")]),
    ("GET", "http://more.test:P/", [], [(302, "http://0x7f.1/")]),
    ("GET", "http://more.test:P/", [], [(302, "ftp://more.test/")]),
    ("GET", "http://hand.test:P/", [], [(302, "http://closed.test:P/")]),
    # What decides by headers sees those that the worker sent, also one that would not leave.
    ("GET", "http://other.test:P/", [(b"Upgrade-Insecure", b"1"), (b"Connection", b"upgrade-insecure")], []),
]


@pytest.mark.parametrize(("method", "url", "headers", "answers"), CASES)
async def test_the_gateway_does_as_was_judged(
    way_out: WayOut, method: str, url: str, headers: list[Header], answers: list[tuple[int, str]]
) -> None:
    way_out.policy = parse_policy(POLICY)
    way_out.materials = MemoryMaterials(secrets={"key": "{secret:key}"})
    way_out.rebuild()
    for name, addresses in DNS.items():
        way_out.dns.set(name, *addresses)
    chain = Chain([])
    async with Upstream(chain) as upstream:
        at = str(upstream.port)
        chain.answers = [(status, location.replace("P", at)) for status, location in answers]
        url = url.replace("P", at)
        try:
            response = await way_out.fetch(url, method, headers)
            await read_all(response)
            refused = False
        except OperationError:
            refused = True
    way_out.audit.flush()
    found = judged(url, method, headers, chain.answers)
    assert (found.result is Result.DENY) == refused
    got = [(record.rule, record.policy_reason) for record in way_out.records]
    assert [
        (hop.verdict.rule_name, hop.verdict.reason) if hop.verdict is not None else ("", None)
        for hop in found.hops
    ] == got
    if refused:
        assert found.reason is way_out.records[-1].reason
    sent = [hop.headers for hop in found.hops if hop.result is Result.ALLOW]
    assert [_own(headers) for headers in chain.seen] == [_own(headers) for headers in sent]


def judged(url: str, method: str, headers: list[Header], answers: list[tuple[int, str]]) -> Judgement:
    here = ("127.0.0.1",)
    return judge(
        PolicySet.of(parse_policy(POLICY)),
        Request(url, method, headers, here),
        Caller(tenant="t1", script="shop", namespace="customers"),
        [Answer(status, location, here) for status, location in answers],
    )


def _own(headers: object) -> list[Header]:
    assert isinstance(headers, list | tuple)
    return sorted(header for header in headers if header[0].decode() not in ASIDE)


def test_judging_needs_no_network() -> None:
    policies = PolicySet.of(CLOSED)
    assert judge(policies, Request("https://a.test/", "CONNECT")).reason is Reason.REQUEST_METHOD
    assert judge(policies, Request("https://[::1]/")).reason is Reason.ADDRESS_LOOPBACK
    assert judge(policies, Request("https://a.test/", answers=("8.8.8.8",))).result is Result.ALLOW
    assert judge(policies, Request("https://a.test/")).result is Result.ALLOW  # addresses are not judged
