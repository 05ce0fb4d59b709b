"""Rule held: whatever DNS answers from one question to the next, whatever upstreams redirect to, whichever features of
a rule are on, nothing is dialled but what the rule opens. The oracle shares nothing with the gateway: it knows which
sockets were connected, and the two addresses that any rule here opens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.errors import OperationError, UpstreamError
from outbound.connector import Connector
from outbound.policy_parse import parse_policy
from outbound.resolver import Resolver
from tests.outbound.conftest import WayOut, authority, read_all
from tests.support.connect_proxy import ConnectProxy
from tests.support.upstream import Upstream, UpstreamRequest, respond

OPENED = {"127.1.1.1", "127.1.1.2"}
PROXY = "127.0.0.1"
NAMES = ["a.test", "b.test", "c.test"]
#: No public address: a gateway that lets one through would have to be stopped by the tests' own guard.
ADDRESSES = [
    *sorted(OPENED),
    "127.0.0.1",
    "127.1.1.3",
    "10.0.0.1",
    "169.254.169.254",
    "192.0.2.1",
    "0.0.0.0",
    "::1",
    "::ffff:127.1.1.1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f01:101",
    "fd00::1",
    "2001:db8::1",
]
ANSWER = st.lists(st.sampled_from([*sorted(OPENED) * 4, *ADDRESSES]), min_size=1, max_size=3)
HOSTS = st.sampled_from(
    [*NAMES, "127.1.1.1", "127.1.1.3", "127.0.0.1", "[::1]", "[::ffff:127.1.1.1]", "127.1"]
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    answers=st.dictionaries(st.sampled_from(NAMES), st.lists(ANSWER, min_size=1, max_size=4), min_size=1),
    redirects=st.lists(HOSTS, max_size=4),
    start=st.lists(HOSTS, min_size=1, max_size=3),
    statuses=st.lists(st.sampled_from([200, 302, 307, 503]), min_size=1, max_size=6),
    follows=st.integers(0, 3),
    attempts=st.integers(0, 2),
    by_proxy=st.booleans(),
    mode=st.sampled_from(["enforce", "report", "open"]),
)
async def test_nothing_is_dialled_but_what_the_rule_opens(
    way_out: WayOut,
    dialled: list[tuple[str, int]],
    answers: dict[str, list[Sequence[str]]],
    redirects: list[str],
    start: list[str],
    statuses: list[int],
    follows: int,
    attempts: int,
    by_proxy: bool,
    mode: str,
) -> None:
    asked = 0

    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        status = statuses[asked % len(statuses)]
        where = redirects[asked % len(redirects)] if redirects else "a.test"
        asked += 1
        respond(writer, status, b"", f"location: http://{where}:{first.port}/{asked}")

    # A resolver and connections of its own for each example: nothing may be left from the one before.
    way_out.resolver, kept = Resolver([way_out.dns.server], timeout_s=2.0), way_out.resolver
    way_out.connector, connector = (
        Connector(extra_ca_pem=authority().cert_pem.bytes().decode()),
        way_out.connector,
    )
    way_out.rebuild()
    for name in NAMES:
        way_out.dns.asked.pop((name, "A"), None)
        way_out.dns.asked.pop((name, "AAAA"), None)
        for kind in ("A", "AAAA"):
            changing = [
                [(f"{name}.", kind, one) for one in answer if (":" in one) is (kind == "AAAA")]
                for answer in answers.get(name, [["10.0.0.1"]])
            ]
            way_out.dns.set_answer(name, kind, lambda n, all_=changing: all_[n % len(all_)])  # type: ignore[misc]
    dialled.clear()
    async with Upstream(reply, host="127.1.1.1") as first, ConnectProxy() as proxy:
        proxied = f", proxy: {{url: 'http://{PROXY}:{proxy.port}'}}" if by_proxy else ""
        way_out.policy = parse_policy(
            f"version: 1\nmode: {mode}\nrules:\n"
            f"  - {{name: l, action: allow, open_cidrs: [127.1.1.1/32, 127.1.1.2/32], timeout_ms: 1000, "
            f"follow_redirects: {follows}, retries: {{attempts: {attempts}, backoff_ms: 1}}{proxied}}}\n"
        )
        for host in start:
            try:
                await read_all(await way_out.fetch(f"http://{host}:{first.port}/"))
            except (OperationError, UpstreamError):
                continue
        own = {f"http://{address}:{first.port}/" for address in OPENED}
        through = [request.line.split(" ")[1] for request in proxy.requests]
        assert all(any(url.startswith(one) for one in own) for url in through), through
        # The proxy is of this process, and dials what it is told: its connections are seen, too.
        reached = {address for address, port in dialled if port == first.port}
        assert reached <= OPENED
        others = {(address, port) for address, port in dialled if port != first.port}
        assert others <= ({(PROXY, proxy.port)} if by_proxy else set())
        await way_out.connector.close()
        await way_out.resolver.close()
    way_out.resolver, way_out.connector = kept, connector
