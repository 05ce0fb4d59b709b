"""Rule held: no spelling of an internal address, and no name that leads to one, is ever connected to,
although the policy allows every URL. The last net, a guard at the socket, holds by itself.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Hashable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.clock import monotonic_s
from model.errors import OperationError, OperationErrorCode
from model.messages import OutgoingRequest
from outbound import door as door_module
from outbound.addresses import (
    ALLOWED,
    AddressClass,
    AddressRanges,
    Denied,
    Opened,
    Pinned,
    choose,
    classify,
)
from outbound.audit import AuditQueue
from outbound.connector import Connector, PoolKey, UpstreamFailure
from outbound.dial import AddressNotApproved, Route, guarded_socket
from outbound.gateway import Gateway
from outbound.policy_parse import parse_policy
from outbound.resolver import Resolution
from outbound.target import parse_target
from outbound.upload import Upload
from outbound.upstream_body import Bounds
from tests.outbound.conftest import CLOSED, WayOut, alone, event, read_all
from tests.support.upstream import Upstream

#: Hosts, as published lists of SSRF tricks and the RFCs spell them.
SPELLINGS = """
127.0.0.1 127.0.0.1. 127.1 127.0.1 127.127.127.127 127.0.0.0 127.255.255.254 127.000.000.001 0127.0.0.1
0177.0.0.1 0177.0.0.01 0177.1 017700000001 00000177.0.0.1 0x7f.0.0.1 0x7f.0x0.0x0.0x1 0x7f.1 0x7f000001
0X7F000001 0x7F.0.0.1 0x7f.0x00000001 2130706433 02130706433 4294967296 6425673729 2130706433. 0 0. 0.0 00
0.0.0.0 0x0 0.0.0.1 000.0.0.0 0x00000000 1.1.1.1.1 256.256.256.256 127.0.0.256 127..0.0.1 .127.0.0.1
127.0.0.1%00 127.0.0.1%20 127。0。0。1 １２７.0.0.1 127．0．0．1 ①②⑦.0.0.1 １２７。１ 127.0.0.１ ⑯⑨。②⑤④。⑯⑨｡②⑤④
localhost LOCALHOST localhost. foo.localhost localhost.localdomain ip6-localhost lōcalhost ⓛocalhost
[::1] [0:0:0:0:0:0:0:1] [0000::1] [::0001] [0000:0000:0000:0000:0000:0000:0000:0001] [::] [0::0] [::0.0.0.1]
[::127.0.0.1] [::7f00:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:127.0.0.1] [::FFFF:7F00:0001]
[::ffff:0:127.0.0.1] [::ffff:0:7f00:1] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1]
[2002:7f00:1::] [2002:a9fe:a9fe::1] [2001:0:0:0:0:0:80ff:fffe] [2606:4700::5efe:127.0.0.1] [::1%25lo] [::1%lo] [::1%1]
[fe80::1%25eth0] [fe80::1] [fec0::1] [fc00::1] [fd00::1] [ff02::1] [100::1] [2001:db8::1] [3fff::1] [5f00::1] [1::1]
[::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [::a9fe:a9fe] [64:ff9b::a9fe:a9fe] [fd00:ec2::254] [fd20:ce::254]
[fe80::a9fe:a9fe] 169.254.169.254 169.254.169.254. 169.254.43518 169.16689662 2852039166 0xa9fea9fe
0xa9.0xfe.0xa9.0xfe 0251.0376.0251.0376 0251.254.169.254 025177524776 169.254.170.2 169.254.0.1
100.100.100.200 168.63.129.16 192.0.0.192 metadata.google.internal metadata instance-data
10.0.0.1 10.255.255.255 10.1 167772161 0xa000001 012.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1 192.168.1.254
192.168.257 3232235521 0xc0a80001 0300.0250.0.1 100.64.0.1 198.18.0.1 192.0.2.1 198.51.100.1 203.0.113.1
192.88.99.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 [::ffff:10.0.0.1] [::ffff:c0a8:1] [::ffff:0.0.0.0]
[::ffff:100.64.0.1] [64:ff9b::10.0.0.1] [::ffff:224.0.0.1] [::ffff:255.255.255.255]
10-0-0-1.nip.test 127.0.0.1.nip.test a.0x7f000001.nip.test mixed.test chain.test v6only.test mapped.test
"""
HOSTS = SPELLINGS.split()

#: Whole URLs, whose trick is elsewhere than in the host's spelling.
URLS = [
    "http://good.test@127.0.0.1/",
    "http://127.0.0.1@good.test/",
    "http://good.test:80@127.0.0.1/",
    "http://good.test%40127.0.0.1/",
    "http://good.test%2f@127.0.0.1/",
    "http://127.0.0.1\\@good.test/",
    "http://good.test\\@127.0.0.1/",
    "http:\\\\127.0.0.1/",
    "http:/127.0.0.1/",
    "http:127.0.0.1/",
    "http:////127.0.0.1/",
    "http:///127.0.0.1/",
    "//127.0.0.1/",
    "http://127.0.0.1#@good.test/",
    "http://127.0.0.1?@good.test/",
    "http://127.0.0.1:80#good.test",
    "http://127.0.0.1\t.good.test/",
    "http://127.0.0.1\n.good.test/",
    "http://127.0.0.1\r\nhost: good.test/",
    "http://127.0.0.1\x00.good.test/",
    "http://good.test\x00@127.0.0.1/",
    " http://127.0.0.1/",
    "\x01http://127.0.0.1/",
    "http ://127.0.0.1/",
    "http://[127.0.0.1]/",
    "http://[::1/",
    "http://::1/",
    "http://[::1]]/",
    "http://[[::1]]/",
    "http://[::1].good.test/",
    "http://good.test[::1]/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:+80/",
    "http://127.0.0.1:8 0/",
    "http://127.0.0.1:٨٠/",
    "HTTP://127.0.0.1/",
    "hTTps://127.0.0.1/",
    "ws://127.0.0.1/",
    "wss://127.0.0.1/",
    "ftp://127.0.0.1/",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "dict://127.0.0.1:11211/stats",
    "ldap://127.0.0.1/",
    "tftp://127.0.0.1/x",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "jar:http://127.0.0.1!/",
    "netdoc:///etc/passwd",
    "data:text/plain,x",
    "javascript:alert(1)",
    "blob:http://127.0.0.1/x",
    "view-source:http://127.0.0.1/",
    "url:http://127.0.0.1/",
    "http://127.0.0.1:6379/\r\nSLAVEOF evil 6379\r\n",
    "http://127.0.0.1/%0d%0aSET%20a%201",
]


def fill(way_out: WayOut) -> None:
    for name in ("10-0-0-1.nip.test", "metadata.google.internal", "metadata", "instance-data"):
        way_out.dns.set(name, "169.254.169.254" if "nip" not in name else "10.0.0.1")
    for name in ("localhost", "foo.localhost", "localhost.localdomain", "ip6-localhost", "xn--lcalhost-s8a"):
        way_out.dns.set(name, "127.0.0.1", "::1")
    way_out.dns.set("a.0x7f000001.nip.test", "127.0.0.1")
    way_out.dns.set("127.0.0.1.nip.test", "127.0.0.1")
    way_out.dns.set("mixed.test", "93.184.216.34", "192.168.1.1")
    way_out.dns.set("v6only.test", "fd00::1")
    way_out.dns.set("mapped.test", "::ffff:127.0.0.1")
    chain = [("chain.test.", "CNAME", "inner.test."), ("inner.test.", "A", "10.0.0.7")]
    way_out.dns.set_answer("chain.test", "A", lambda count: chain)


async def test_no_spelling_of_an_internal_address_is_connected_to(
    way_out: WayOut, dialled: list[tuple[str, int]]
) -> None:
    way_out.policy = CLOSED
    fill(way_out)
    urls = [
        f"{scheme}://{host}{rest}" for host in HOSTS for scheme, rest in (("http", "/"), ("https", ":8443/x"))
    ]
    urls += URLS
    assert len(urls) >= 300
    got: dict[str, str] = {}
    for url in urls:
        try:
            response = await way_out.fetch(url)
            got[url] = str(response.status)
        except OperationError as error:
            if error.code is not OperationErrorCode.DENIED:
                got[url] = error.message
    # Names that no DNS knows are no refusal, but they reach nothing either.
    assert {url: why for url, why in got.items() if "(resolve.not_found)" not in why} == {}
    assert len(got) <= 4
    assert dialled == []


NAMES = st.sampled_from(["a.test", "b.test", "c.test"])
ANSWERS = st.lists(
    st.one_of(
        st.ip_addresses().map(str),
        st.sampled_from(
            ["127.0.0.1", "10.0.0.1", "127.0.0.2", "169.254.169.254", "::1", "192.168.7.7", "127.0.0.3"]
        ),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(NAMES, ANSWERS), min_size=1, max_size=6))
async def test_no_connect_goes_to_an_address_that_was_not_classified(
    steps: list[tuple[str, list[str]]],
    dialled: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever DNS answers, and however it changes: each address dialled was classified, and was allowed,
    in the same fetch. Only loopback is opened, so no packet leaves this machine.
    """
    policy = parse_policy(
        "version: 1\nrules: [{name: l, action: allow, open_cidrs: [127.0.0.0/30], timeout_ms: 500}]"
    )
    answers: dict[str, list[str]] = {}
    judged: set[str] = set()

    def watched(
        candidates: tuple[str, ...], port: int, ranges: AddressRanges, opened: Opened
    ) -> Pinned | Denied:
        # Public addresses are not to be dialled from a test: they are refused once they were judged.
        chosen = choose(candidates, port, ranges, opened)
        if isinstance(chosen, Pinned):
            for text in (chosen.address, *chosen.others):
                found = classify(ipaddress.ip_address(text), port, ranges, opened)
                assert found in ALLOWED
                judged.add(text)
                if not ipaddress.ip_address(text).is_loopback:
                    return Denied(text, AddressClass.RESERVED)
        return chosen

    class Resolving:
        async def resolve(self, host: str, asker: Hashable = None) -> Resolution:
            return Resolution(tuple(answers[host]), (), 0)

    monkeypatch.setattr(door_module, "choose", watched)
    connector = Connector()
    gateway = Gateway(
        lambda context: alone(policy),
        Resolving(),
        connector,
        AuditQueue(lambda record: None),
        hop_key=b"k" * 32,
    )
    try:
        async with Upstream() as upstream:
            for name, addresses in steps:
                answers[name] = addresses
                dialled.clear()
                request = OutgoingRequest("GET", f"http://{name}:{upstream.port}/")
                try:
                    response = await gateway.fetch(request, event())
                except OperationError:
                    pass
                else:
                    await read_all(response)
                assert {address for address, _ in dialled} <= judged
    finally:
        await connector.close()


PINNED = Pinned("192.0.2.1", 443)


@pytest.mark.parametrize(
    "info",
    [
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.2", 443)),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", 80)),
        (socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("192.0.2.1", 443)),
        (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::ffff:192.0.2.1", 443, 0, 0)),
        (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", 443, 0, 0)),
    ],
)
def test_the_guard_makes_no_socket_for_another_address(info: tuple[object, ...]) -> None:
    with pytest.raises(AddressNotApproved):
        guarded_socket(PINNED, info)


def test_the_guard_makes_one_for_the_approved_address() -> None:
    for pinned, info in (
        (PINNED, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))),
        (Pinned("2001:db8::1", 1), (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:DB8:0::1", 1, 0, 0))),
    ):
        made = guarded_socket(pinned, info)
        assert made.getblocking() is False
        made.close()
    scoped = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 1, 0, 3))
    with pytest.raises(AddressNotApproved):
        guarded_socket(Pinned("2001:db8::1", 1), scoped)


async def test_a_target_that_is_an_address_itself_is_not_what_is_dialled(
    dialled: list[tuple[str, int]],
) -> None:
    """Only the pinned address is, even if whoever calls mixes the two up."""
    connector = Connector()
    async with Upstream() as upstream:
        port = upstream.port
        target = parse_target(f"http://127.0.0.1:{port}/")
        route = Route(Pinned("127.0.0.2", port), "127.0.0.1", None)
        key = PoolKey("t", "v", "r", "http", "127.0.0.1", "127.0.0.2", port)
        bounds = Bounds(0.5, 0.5, monotonic_s() + 5, 5_000, 10)

        async def request(key: PoolKey) -> None:
            await connector.request(
                key, route, target, "GET", [], Upload(None, None, 0), bounds, lambda count, reason: None
            )

        with pytest.raises(UpstreamFailure, match="can't be connected to"):
            await request(key)
        assert dialled == [("127.0.0.2", port)]
        with pytest.raises(ValueError, match="differ"):
            await request(key._replace(address="127.0.0.1"))
        assert upstream.connections == 0
    assert dialled == [("127.0.0.2", port)]
    await connector.close()
