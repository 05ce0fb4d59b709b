"""Rule held: names are resolved by asking DNS for A and AAAA of exactly that name; nothing local answers;
answers are kept no longer than they say; one question serves all who ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import dns.rcode
import pytest

from outbound import resolver as resolver_module
from outbound.resolver import NameNotFound, ResolveFailed, Resolver, ResolveTimeout
from tests.support.dns_server import DnsServer


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer() as dns_server:
        yield dns_server


@pytest.fixture
async def resolver(server: DnsServer) -> AsyncIterator[Resolver]:
    made = Resolver([server.server], timeout_s=1.0)
    yield made
    await made.close()


async def test_a_and_aaaa_both_answer(server: DnsServer, resolver: Resolver) -> None:
    server.set("a.test", "2001:DB8:0::1", "192.0.2.1", "192.0.2.2")
    found = await resolver.resolve("a.test")
    assert found.addresses == ("192.0.2.1", "192.0.2.2", "2001:db8::1")


@pytest.mark.parametrize("name", ["localhost", "foo.localhost", "ip6-localhost", "127.0.0.1", "single"])
async def test_nothing_local_answers(server: DnsServer, resolver: Resolver, name: str) -> None:
    """c-ares' getaddrinfo answers localhost by itself and reads /etc/hosts: that way is not taken."""
    server.set(name, "192.0.2.7")
    assert (await resolver.resolve(name)).addresses == ("192.0.2.7",)
    assert server.asked[name, "A"] == 1
    assert {asked for asked, _ in server.asked} == {name}, "no search list is tried"


async def test_a_name_without_addresses_is_not_found(server: DnsServer, resolver: Resolver) -> None:
    server.set("empty.test")
    for name in ("empty.test", "absent.test"):
        with pytest.raises(NameNotFound, match=name):
            await resolver.resolve(name)
    before = server.asked.total()
    with pytest.raises(NameNotFound):
        await resolver.resolve("absent.test")
    assert server.asked.total() == before, "absence is remembered for a moment"


async def test_servers_that_fail_or_are_silent_have_their_own_errors(
    server: DnsServer, resolver: Resolver
) -> None:
    server.rcode = dns.rcode.REFUSED
    server.set("refused.test", "192.0.2.1")
    with pytest.raises(ResolveFailed, match=r"refused\.test"):
        await resolver.resolve("refused.test")
    server.silent = True
    with pytest.raises(ResolveTimeout, match=r"silent\.test"):
        await resolver.resolve("silent.test")


async def test_cname_chains_are_followed_and_capped(server: DnsServer, resolver: Resolver) -> None:
    whole = [("w.test.", "CNAME", "x.test."), ("x.test.", "CNAME", "y.test."), ("y.test.", "A", "192.0.2.1")]
    server.set_answer("w.test", "A", lambda count: whole)
    found = await resolver.resolve("w.test")
    assert (found.addresses, found.chain) == (("192.0.2.1",), ("x.test", "y.test"))
    # A server that gives one link at a time is asked on.
    server.set_answer("step.test", "A", lambda count: [("step.test.", "CNAME", "end.test.")])
    server.set("end.test", "192.0.2.2")
    assert (await resolver.resolve("step.test")).addresses == ("192.0.2.2",)
    loop = [("l.test.", "CNAME", "m.test."), ("m.test.", "CNAME", "l.test.")]
    server.set_answer("l.test", "A", lambda count: loop)
    with pytest.raises(ResolveFailed, match="loop"):
        await resolver.resolve("l.test")
    long = [(f"n{i}.test.", "CNAME", f"n{i + 1}.test.") for i in range(9)]
    server.set_answer("n0.test", "A", lambda count: [*long, ("n9.test.", "A", "192.0.2.3")])
    with pytest.raises(ResolveFailed, match="more than 8"):
        await resolver.resolve("n0.test")
    just = [*long[1:], ("n9.test.", "A", "192.0.2.3")]
    server.set_answer("n1.test", "A", lambda count: just)
    assert (await resolver.resolve("n1.test")).addresses == ("192.0.2.3",)


async def test_records_of_other_names_are_ignored(server: DnsServer, resolver: Resolver) -> None:
    records = [("a.test.", "A", "192.0.2.1"), ("victim.test.", "A", "192.0.2.66")]
    server.set_answer("a.test", "A", lambda count: records)
    assert (await resolver.resolve("a.test")).addresses == ("192.0.2.1",)


async def test_too_many_addresses_are_refused(server: DnsServer, resolver: Resolver) -> None:
    server.set("max.test", *[f"192.0.2.{i}" for i in range(64)])
    assert len((await resolver.resolve("max.test")).addresses) == 64
    server.set("many.test", *[f"192.0.2.{i}" for i in range(65)])
    with pytest.raises(ResolveFailed, match="more than 64"):
        await resolver.resolve("many.test")


async def test_answers_are_kept_as_long_as_their_ttl_says(
    server: DnsServer, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(resolver_module, "monotonic_s", lambda: now)
    server.ttl = 30
    server.set("kept.test", "192.0.2.1")
    assert (await resolver.resolve("kept.test")).ttl_s == 30
    server.set("kept.test", "192.0.2.2")
    now = 1_029.9
    assert (await resolver.resolve("kept.test")).addresses == ("192.0.2.1",)
    server.ttl = 0
    server.set("fresh.test", "192.0.2.1")
    await resolver.resolve("fresh.test")
    server.set("fresh.test", "192.0.2.2")
    assert (await resolver.resolve("fresh.test")).addresses == ("192.0.2.2",)


async def test_the_cache_is_bounded(server: DnsServer) -> None:
    server.ttl = 60
    small = Resolver([server.server], cache_size=2)
    for name in ("a.test", "b.test", "c.test"):
        server.set(name, "192.0.2.1")
        await small.resolve(name)
    assert list(small._cache) == ["b.test", "c.test"]
    await small.close()


async def test_one_question_serves_all_and_survives_a_cancel(server: DnsServer, resolver: Resolver) -> None:
    server.set("busy.test", "192.0.2.1")
    first = asyncio.create_task(resolver.resolve("busy.test"))
    others = [asyncio.create_task(resolver.resolve("busy.test")) for _ in range(20)]
    await asyncio.sleep(0)
    first.cancel()
    answers = await asyncio.gather(*others)
    assert all(answer.addresses == ("192.0.2.1",) for answer in answers)
    assert server.asked["busy.test", "A"] == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_too_many_questions_at_once_are_refused(server: DnsServer) -> None:
    server.silent = True
    narrow = Resolver([server.server], timeout_s=0.3, max_in_flight=1)
    first = asyncio.create_task(narrow.resolve("a.test"))
    await asyncio.sleep(0)
    with pytest.raises(ResolveFailed, match="too many look-ups"):
        await narrow.resolve("b.test")
    with pytest.raises(ResolveTimeout):
        await first
    await narrow.close()
