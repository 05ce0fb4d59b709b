"""Rule held: what one tenant does with the gateway is no other tenant's: neither its connections nor its limits, and
no number of names that it invents takes the room of others.
"""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from model.capabilities import EventContext
from model.errors import OperationError, OperationErrorCode
from model.identity import NamespaceName, TenantId
from model.messages import OutgoingRequest
from outbound.connector import Connector
from outbound.policy_parse import parse_policy
from outbound.quotas import Admitted, OverLimit, Usage
from outbound.rate_limits import RateTable
from outbound.reasons import Reason
from outbound.resolver import Resolver
from outbound.rule_actions import NO_QUOTAS, NamedRateLimit, RateLimit, RateScope
from tests.outbound.conftest import WayOut, event, read_all, server_tls
from tests.support.connect_proxy import ConnectProxy
from tests.support.upstream import Upstream, UpstreamRequest, respond

MINE = event("acme")


@pytest.mark.parametrize(
    ("other", "connections"),
    [
        (MINE, 1),
        (replace(MINE, ray_id=event(ray_id="2").ray_id), 1),
        (replace(MINE, tenant=TenantId("other")), 2),
        # A tenant's name is unique in one namespace only, and two namespaces may have one policy.
        (replace(MINE, namespace=NamespaceName("staging")), 2),
        (replace(MINE, namespace=None), 2),
    ],
)
async def test_connections_are_one_tenants(way_out: WayOut, other: EventContext, connections: int) -> None:
    async with Upstream() as upstream:
        for context in (MINE, other):
            request = OutgoingRequest("GET", f"http://127.0.0.1:{upstream.port}/")
            await read_all(await way_out.gateway.fetch(request, context))
        assert upstream.connections == connections


ONCE_A_DAY = (NamedRateLimit("namespace/a", RateLimit(1, 86_400, RateScope.TENANT_AND_DESTINATION)),)
TEN_A_DAY = (NamedRateLimit("namespace/b", RateLimit(10, 86_400, RateScope.TENANT_AND_DESTINATION)),)


def test_a_tenant_that_invents_hosts_locks_nobody_out_and_frees_nobody() -> None:
    """Each of its limits waits for a day, and they fill the table."""
    usage = Usage(capacity=500)
    flooder, victim = (NamespaceName("n"), TenantId("flooder")), (NamespaceName("n"), TenantId("victim"))

    def ask(owner: tuple[NamespaceName, TenantId], host: str, limits: tuple[NamedRateLimit, ...]) -> bool:
        admitted = usage.admit(owner, host, limits, NO_QUOTAS)
        if isinstance(admitted, Admitted):
            admitted.release()
        else:
            assert admitted.reason is Reason.LIMIT_RATE
        return isinstance(admitted, Admitted)

    assert ask(victim, "spent.test", ONCE_A_DAY)
    assert [ask(victim, "most.test", TEN_A_DAY) for _ in range(9)] == [True] * 9
    for number in range(2_000):
        ask(flooder, f"{number}.flood.test", ONCE_A_DAY)
    assert len(usage.rates) == 500
    assert not ask(flooder, "0.flood.test", ONCE_A_DAY), "it did not get rid of its own"
    assert not ask(victim, "spent.test", ONCE_A_DAY)
    assert [ask(victim, "most.test", TEN_A_DAY) for _ in range(2)] == [True, False]
    assert all(ask(victim, f"{number}.new.test", ONCE_A_DAY) for number in range(100))
    assert len(usage.rates) == 500


def test_whoever_holds_most_gives_way_until_all_hold_the_same() -> None:
    table = RateTable(capacity=90)
    for number in range(90):
        assert table.take(("a", number), 1, 1_000, "a") == 0
    for holder in ("b", "c"):
        for number in range(40):
            table.take((holder, number), 1, 1_000, holder)
    counts = {holder: sum(key[0] == holder for key in table) for holder in "abc"}  # type: ignore[index]
    assert sum(counts.values()) == 90
    assert all(20 <= count <= 45 for count in counts.values()), counts


async def test_look_ups_that_nobody_answers_leave_room_for_others(way_out: WayOut) -> None:
    """A tenant with a silent name server of its own can keep every question open for seconds."""
    resolver = Resolver([way_out.dns.server], timeout_s=5.0, max_in_flight=64)
    way_out.resolver, kept = resolver, way_out.resolver
    way_out.rebuild()
    way_out.policy = parse_policy("version: 1\nrules: [{name: a, action: allow, open_cidrs: [127.0.0.0/8]}]")
    way_out.dns.set("shop.test", "127.0.0.1")
    way_out.dns.mute = "slow.test"
    floods = [
        asyncio.create_task(way_out.fetch(f"http://{number}.slow.test/", tenant=f"evil{number % 2}"))
        for number in range(200)
    ]
    try:
        refused, _ = await asyncio.wait(floods, return_when=asyncio.FIRST_COMPLETED)
        assert len(refused) >= 100
        for task in refused:
            assert isinstance(task.exception(), OperationError)
            assert "too many look-ups" in str(task.exception())
        async with Upstream() as upstream:
            for tenant in ("t1", "t2", "t3"):
                response = await way_out.fetch(f"http://shop.test:{upstream.port}/", tenant=tenant)
                assert response.status == 200
    finally:
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
        await resolver.close()
        way_out.resolver = kept


def test_no_tenant_has_more_under_way_than_there_is_room_left() -> None:
    usage = Usage(most_running=64)
    owners = [(NamespaceName("n"), TenantId(f"t{number}")) for number in range(5)]
    running: list[Admitted] = []
    counts = []
    for owner in owners:
        before = len(running)
        while isinstance(admitted := usage.admit(owner, "x.test", (), NO_QUOTAS), Admitted):
            running.append(admitted)
        assert admitted.reason is Reason.LIMIT_HOST
        counts.append(len(running) - before)
    assert counts == [32, 16, 8, 4, 2]
    for admitted in running:
        admitted.release()
        admitted.release()
    assert isinstance(usage.admit(owners[0], "x.test", (), NO_QUOTAS), Admitted)


async def test_a_host_without_room_says_so_and_is_asked_again_later(way_out: WayOut) -> None:
    async def wait(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await go_on.wait()
        respond(writer, 200, b"")

    asked, go_on = asyncio.Event(), asyncio.Event()
    way_out.usage = Usage(most_running=2)
    way_out.rebuild()
    async with Upstream(wait) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/"
        first = asyncio.create_task(way_out.fetch(url))
        await asked.wait()
        with pytest.raises(OperationError, match=r"\(limit\.host\)") as caught:
            await way_out.fetch(url)
        assert caught.value.code is OperationErrorCode.LOAD_SHED
        go_on.set()
        assert (await first).status == 200
        assert (await way_out.fetch(url)).status == 200


@pytest.mark.parametrize(("most_kept", "connections"), [(2, 1), (0, 3)])
async def test_connections_rest_only_while_there_is_room(
    way_out: WayOut, most_kept: int, connections: int
) -> None:
    connector, kept = Connector(max_kept=most_kept), way_out.connector
    way_out.connector = connector
    way_out.rebuild()
    async with Upstream() as upstream:
        for _ in range(3):
            await read_all(await way_out.fetch(f"http://127.0.0.1:{upstream.port}/"))
        assert upstream.connections == connections
        await connector.close()
        await upstream.closed()
    assert connector.open == 0
    way_out.connector = kept


async def test_hosts_without_number_leave_nothing_behind(way_out: WayOut) -> None:
    connector, resolver = Connector(max_pools=8), Resolver([way_out.dns.server], cache_size=16)
    kept = way_out.connector, way_out.resolver
    way_out.connector, way_out.resolver = connector, resolver
    way_out.rebuild()
    way_out.dns.ttl = 60
    way_out.dns.fallback = ("127.0.0.1",)
    async with Upstream() as upstream:
        for number in range(100):
            await read_all(await way_out.fetch(f"http://{number}.test:{upstream.port}/"))
        assert len(tuple(connector.pools)) <= 8
        assert len(resolver._cache) <= 16
        assert connector.open <= 9  # one of them may be on its way out
        await connector.close()
        await resolver.close()
        await upstream.closed()
    assert connector.open == 0
    way_out.connector, way_out.resolver = kept


@pytest.mark.parametrize("through_proxy", [False, True])
async def test_connections_that_tls_refused_are_not_counted_for_ever(
    way_out: WayOut, through_proxy: bool
) -> None:
    way_out.dns.set("api.test", "127.0.0.1")
    async with Upstream(tls=server_tls("other.test")) as upstream, ConnectProxy() as proxy:
        more = f", proxy: {{url: 'http://127.0.0.1:{proxy.port}'}}" if through_proxy else ""
        way_out.policy = parse_policy(
            f"version: 1\nrules: [{{name: a, action: allow, open_cidrs: [127.0.0.0/8]{more}}}]"
        )
        for _ in range(5):
            with pytest.raises(OperationError, match="tls"):
                await way_out.fetch(f"https://api.test:{upstream.port}/")
    assert way_out.connector.open == 0


def test_a_rate_limit_of_a_destination_is_one_for_all_tenants() -> None:
    usage = Usage()
    limit = (NamedRateLimit("namespace/a", RateLimit(1, 60, RateScope.DESTINATION)),)
    first = usage.admit((None, TenantId("a")), "x.test", limit, NO_QUOTAS)
    assert isinstance(first, Admitted)
    assert isinstance(usage.admit((None, TenantId("b")), "x.test", limit, NO_QUOTAS), OverLimit)
