"""Rule held: every special-purpose range is refused, up to and not beyond its edges; one bad address
denies all; what an operator opens opens no more than it says.
"""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbound.addresses import (
    ALLOWED,
    SPECIAL_RANGES,
    AddressClass,
    AddressRanges,
    Denied,
    Opened,
    Pinned,
    choose,
    classify,
)
from outbound.host_addresses import host_addresses
from outbound.reasons import Reason

C = AddressClass
NOTHING = AddressRanges()

#: address, class: each range at both edges, and the neighbours just outside.
EDGES = [
    ("0.0.0.0", C.UNSPECIFIED),
    ("0.255.255.255", C.UNSPECIFIED),
    ("1.0.0.0", C.GLOBAL),
    ("9.255.255.255", C.GLOBAL),
    ("10.0.0.0", C.PRIVATE),
    ("10.255.255.255", C.PRIVATE),
    ("11.0.0.0", C.GLOBAL),
    ("100.63.255.255", C.GLOBAL),  # just outside CGNAT
    ("100.64.0.0", C.SHARED),
    ("100.100.100.199", C.SHARED),
    ("100.100.100.200", C.METADATA_SERVICE),
    ("100.100.100.201", C.SHARED),
    ("100.127.255.255", C.SHARED),
    ("100.128.0.0", C.GLOBAL),
    ("126.255.255.255", C.GLOBAL),
    ("127.0.0.0", C.LOOPBACK),
    ("127.255.255.255", C.LOOPBACK),
    ("128.0.0.0", C.GLOBAL),
    ("168.63.129.15", C.GLOBAL),
    ("168.63.129.16", C.METADATA_SERVICE),
    ("168.63.129.17", C.GLOBAL),
    ("169.253.255.255", C.GLOBAL),
    ("169.254.0.0", C.LINK_LOCAL),
    ("169.254.169.253", C.LINK_LOCAL),
    ("169.254.169.254", C.METADATA_SERVICE),
    ("169.254.169.255", C.LINK_LOCAL),
    ("169.254.170.2", C.METADATA_SERVICE),
    ("169.254.170.23", C.METADATA_SERVICE),
    ("169.254.255.255", C.LINK_LOCAL),
    ("169.255.0.0", C.GLOBAL),
    ("172.15.255.255", C.GLOBAL),
    ("172.16.0.0", C.PRIVATE),
    ("172.31.255.255", C.PRIVATE),
    ("172.32.0.0", C.GLOBAL),
    ("191.255.255.255", C.GLOBAL),
    ("192.0.0.0", C.PROTOCOL),
    ("192.0.0.192", C.METADATA_SERVICE),
    ("192.0.0.255", C.PROTOCOL),
    ("192.0.1.0", C.GLOBAL),
    ("192.0.1.255", C.GLOBAL),
    ("192.0.2.0", C.DOCUMENTATION),
    ("192.0.2.255", C.DOCUMENTATION),
    ("192.0.3.0", C.GLOBAL),
    ("192.31.195.255", C.GLOBAL),
    ("192.31.196.0", C.PROTOCOL),
    ("192.31.196.255", C.PROTOCOL),
    ("192.31.197.0", C.GLOBAL),
    ("192.52.192.255", C.GLOBAL),
    ("192.52.193.0", C.PROTOCOL),
    ("192.52.193.255", C.PROTOCOL),
    ("192.52.194.0", C.GLOBAL),
    ("192.88.98.255", C.GLOBAL),
    ("192.88.99.0", C.PROTOCOL),
    ("192.88.99.255", C.PROTOCOL),
    ("192.88.100.0", C.GLOBAL),
    ("192.167.255.255", C.GLOBAL),
    ("192.168.0.0", C.PRIVATE),
    ("192.168.255.255", C.PRIVATE),
    ("192.169.0.0", C.GLOBAL),
    ("192.175.47.255", C.GLOBAL),
    ("192.175.48.0", C.PROTOCOL),
    ("192.175.48.255", C.PROTOCOL),
    ("192.175.49.0", C.GLOBAL),
    ("198.17.255.255", C.GLOBAL),
    ("198.18.0.0", C.BENCHMARKING),
    ("198.19.255.255", C.BENCHMARKING),
    ("198.20.0.0", C.GLOBAL),
    ("198.51.99.255", C.GLOBAL),
    ("198.51.100.0", C.DOCUMENTATION),
    ("198.51.100.255", C.DOCUMENTATION),
    ("198.51.101.0", C.GLOBAL),
    ("203.0.112.255", C.GLOBAL),
    ("203.0.113.0", C.DOCUMENTATION),
    ("203.0.113.255", C.DOCUMENTATION),
    ("203.0.114.0", C.GLOBAL),
    ("223.255.255.255", C.GLOBAL),
    ("224.0.0.0", C.MULTICAST),
    ("239.255.255.255", C.MULTICAST),
    ("240.0.0.0", C.RESERVED),
    ("255.255.255.255", C.RESERVED),
    ("::", C.UNSPECIFIED),
    ("::1", C.LOOPBACK),
    ("::2", C.IPV6_EMBEDDED),  # IPv4-compatible 0.0.0.2
    ("::7f00:1", C.IPV6_EMBEDDED),  # IPv4-compatible 127.0.0.1
    ("::ffff:ffff", C.IPV6_EMBEDDED),
    ("::1:0:0", C.UNALLOCATED),  # just above ::/96
    ("::ffff:127.0.0.1", C.LOOPBACK),
    ("::ffff:10.0.0.1", C.PRIVATE),
    ("::ffff:169.254.169.254", C.METADATA_SERVICE),
    ("::ffff:8.8.8.8", C.GLOBAL),
    ("::ffff:0:7f00:1", C.IPV6_EMBEDDED),  # IPv4-translated
    ("::ffff:0:808:808", C.IPV6_EMBEDDED),
    ("64:ff9b::7f00:1", C.LOOPBACK),  # NAT64 of 127.0.0.1
    ("64:ff9b::a00:1", C.PRIVATE),  # NAT64 of 10.0.0.1
    ("64:ff9b::a9fe:a9fe", C.METADATA_SERVICE),
    ("64:ff9b::808:808", C.GLOBAL),  # NAT64 of 8.8.8.8: how an IPv6-only host reaches IPv4
    ("64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", C.UNALLOCATED),
    ("64:ff9b::1:0:0", C.UNALLOCATED),
    ("64:ff9b:1::", C.IPV6_EMBEDDED),
    ("64:ff9b:1:ffff:ffff:ffff:ffff:ffff", C.IPV6_EMBEDDED),
    ("64:ff9b:2::", C.UNALLOCATED),
    ("100::", C.RESERVED),
    ("100::ffff:ffff:ffff:ffff", C.RESERVED),
    ("100:0:0:1::", C.RESERVED),
    ("100:0:0:2::", C.UNALLOCATED),
    ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.UNALLOCATED),
    ("2000::", C.GLOBAL),
    ("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.GLOBAL),
    ("2001::", C.IPV6_EMBEDDED),  # Teredo
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", C.IPV6_EMBEDDED),
    ("2001:0:ffff:ffff:ffff:ffff:ffff:ffff", C.IPV6_EMBEDDED),
    ("2001:1::1", C.PROTOCOL),  # port control protocol anycast
    ("2001:2::", C.BENCHMARKING),
    ("2001:2:0:ffff:ffff:ffff:ffff:ffff", C.BENCHMARKING),
    ("2001:2:1::", C.PROTOCOL),
    ("2001:4:112::1", C.PROTOCOL),  # AS112
    ("2001:10::", C.ORCHID),
    ("2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", C.ORCHID),
    ("2001:20::", C.ORCHID),
    ("2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", C.ORCHID),
    ("2001:30::", C.PROTOCOL),
    ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", C.PROTOCOL),
    ("2001:200::", C.GLOBAL),
    ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", C.GLOBAL),
    ("2001:db8::", C.DOCUMENTATION),
    ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", C.DOCUMENTATION),
    ("2001:db9::", C.GLOBAL),
    ("2002::", C.IPV6_EMBEDDED),  # 6to4
    ("2002:7f00:1::", C.IPV6_EMBEDDED),  # 6to4 of 127.0.0.1
    ("2002:808:808::1", C.IPV6_EMBEDDED),  # of a public address, too: the relays are gone
    ("2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.IPV6_EMBEDDED),
    ("2003::", C.GLOBAL),
    ("2606:4700::5efe:10.0.0.1", C.IPV6_EMBEDDED),  # ISATAP
    ("2606:4700::200:5efe:10.0.0.1", C.IPV6_EMBEDDED),  # ISATAP, universal bit
    ("2606:4700::100:5efe:10.0.0.1", C.GLOBAL),
    ("2606:4700:4700::1111", C.GLOBAL),
    ("2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", C.GLOBAL),
    ("2620:4f:8000::", C.PROTOCOL),
    ("2620:4f:8000:ffff:ffff:ffff:ffff:ffff", C.PROTOCOL),
    ("2620:4f:8001::", C.GLOBAL),
    ("3ffd:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.GLOBAL),
    ("3ffe::", C.RESERVED),
    ("3fff::", C.DOCUMENTATION),
    ("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", C.DOCUMENTATION),
    ("3fff:1000::", C.GLOBAL),
    ("4000::", C.UNALLOCATED),
    ("5eff:ffff::", C.UNALLOCATED),
    ("5f00::", C.PROTOCOL),
    ("5f01::", C.UNALLOCATED),
    ("fbff:ffff::", C.UNALLOCATED),
    ("fc00::", C.UNIQUE_LOCAL),
    ("fd00:ec2::23", C.METADATA_SERVICE),
    ("fd00:ec2::254", C.METADATA_SERVICE),
    ("fd00:42::42", C.METADATA_SERVICE),
    ("fd20:ce::254", C.METADATA_SERVICE),
    ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.UNIQUE_LOCAL),
    ("fe00::", C.UNALLOCATED),
    ("fe80::", C.LINK_LOCAL),
    ("fe80::a9fe:a9fe", C.METADATA_SERVICE),
    ("febf:ffff::", C.LINK_LOCAL),
    ("fec0::", C.SITE_LOCAL),
    ("feff:ffff::", C.SITE_LOCAL),
    ("ff00::", C.MULTICAST),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.MULTICAST),
    # The edges that are not above.
    ("169.254.0.22", C.LINK_LOCAL),
    ("169.254.0.23", C.METADATA_SERVICE),
    ("169.254.0.24", C.LINK_LOCAL),
    ("169.254.169.249", C.LINK_LOCAL),
    ("169.254.169.250", C.METADATA_SERVICE),
    ("169.254.169.251", C.LINK_LOCAL),
    ("169.254.169.252", C.METADATA_SERVICE),
    ("169.254.170.1", C.LINK_LOCAL),
    ("169.254.170.3", C.LINK_LOCAL),
    ("169.254.170.22", C.LINK_LOCAL),
    ("169.254.170.24", C.LINK_LOCAL),
    ("192.0.0.191", C.PROTOCOL),
    ("192.0.0.193", C.PROTOCOL),
    ("::fffe:ffff:ffff:ffff", C.UNALLOCATED),
    ("::ffff:0:0:0", C.IPV6_EMBEDDED),
    ("::ffff:0:ffff:ffff", C.IPV6_EMBEDDED),
    ("::ffff:1:0:0", C.UNALLOCATED),
    ("64:ff9b:0:ffff:ffff:ffff:ffff:ffff", C.UNALLOCATED),
    ("ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.UNALLOCATED),
    ("100::1:ffff:ffff:ffff:ffff", C.RESERVED),
    ("2001:1::", C.PROTOCOL),
    ("2001:1:ffff:ffff:ffff:ffff:ffff:ffff", C.PROTOCOL),
    ("2001:f:ffff:ffff:ffff:ffff:ffff:ffff", C.PROTOCOL),
    ("2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.GLOBAL),
    ("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.RESERVED),
    ("5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.UNALLOCATED),
    ("5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.PROTOCOL),
    ("fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.UNALLOCATED),
    ("fd00:42::41", C.UNIQUE_LOCAL),
    ("fd00:42::43", C.UNIQUE_LOCAL),
    ("fd00:c1::a9fe:a9fd", C.UNIQUE_LOCAL),
    ("fd00:c1::a9fe:a9fe", C.METADATA_SERVICE),
    ("fd00:c1::a9fe:a9ff", C.UNIQUE_LOCAL),
    ("fd00:ec2::22", C.UNIQUE_LOCAL),
    ("fd00:ec2::24", C.UNIQUE_LOCAL),
    ("fd00:ec2::253", C.UNIQUE_LOCAL),
    ("fd00:ec2::255", C.UNIQUE_LOCAL),
    ("fd00:a9fe:a9fe::", C.UNIQUE_LOCAL),
    ("fd00:a9fe:a9fe::1", C.METADATA_SERVICE),
    ("fd00:a9fe:a9fe::2", C.UNIQUE_LOCAL),
    ("fd20:ce::253", C.UNIQUE_LOCAL),
    ("fd20:ce::255", C.UNIQUE_LOCAL),
    ("fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.UNALLOCATED),
    ("fe80::a9fe:a9fd", C.LINK_LOCAL),
    ("fe80::a9fe:a9ff", C.LINK_LOCAL),
    ("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.LINK_LOCAL),
    ("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", C.SITE_LOCAL),
]


#: The IANA special-purpose registries (IPv4, IPv6) as of 2025, and the blocks of the IPv6 address space that are
#: not unicast: written down apart from the table, so that a row which is lost there is missed here.
REGISTERED = """
0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29
192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24
192.88.99.0/24 192.88.99.2/32 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4
240.0.0.0/4 255.255.255.255/32
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128 2001:1::3/128
2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16
2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8 ::/96 ::ffff:0:0:0/96 3ffe::/16
::/8 200::/7 400::/6 800::/5 1000::/4 4000::/3 6000::/3 8000::/3 a000::/3 c000::/3 e000::/4 f000::/5 f800::/6 fe00::/9
"""
REGISTRIES = REGISTERED.split()


@pytest.mark.parametrize("text", REGISTRIES)
@given(data=st.data())
def test_nothing_of_the_registries_is_global(text: str, data: st.DataObject) -> None:
    network = ipaddress.ip_network(text)
    size = network.num_addresses
    inside = data.draw(st.integers(0, size - 1))
    for address in (network[0], network[-1], network[inside]):
        if isinstance(address, ipaddress.IPv6Address) and (
            address.ipv4_mapped is not None or address in ipaddress.ip_network("64:ff9b::/96")
        ):
            continue  # judged by the IPv4 address inside
        assert classify(address, 443, NOTHING) not in ALLOWED


def test_both_edges_of_every_range_are_looked_at_from_both_sides() -> None:
    looked_at = {ipaddress.ip_address(text) for text, _ in EDGES}
    missing = []
    for text, _, _ in SPECIAL_RANGES:
        network = ipaddress.ip_network(text)
        first, last = network[0], network[-1]
        around = [first, last]
        if int(first) > 0:
            around.append(first - 1)
        if int(last) < (1 << network.max_prefixlen) - 1:
            around.append(last + 1)
        missing += [str(address) for address in around if address not in looked_at]
    assert missing == []


@pytest.mark.parametrize(("text", "expected"), EDGES)
def test_class(text: str, expected: AddressClass) -> None:
    assert classify(ipaddress.ip_address(text), 80, NOTHING) is expected


@pytest.mark.parametrize("text", [text for text, _, _ in SPECIAL_RANGES])
def test_no_range_of_the_table_leaks_at_its_edges(text: str) -> None:
    network = ipaddress.ip_network(text)
    for address in (network[0], network[-1]):
        assert classify(address, 80, NOTHING) not in ALLOWED


def test_every_refused_class_has_a_reason() -> None:
    for found in AddressClass:
        if found not in ALLOWED:
            assert Reason(f"address.{found.value}")


@given(st.ip_addresses())
def test_what_the_standard_library_calls_special_is_never_global(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    found = classify(address, 443, NOTHING)
    if address.is_private or address.is_multicast or address.is_reserved or address.is_link_local:
        mapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
        if mapped is None and address not in ipaddress.ip_network("64:ff9b::/96"):
            assert found is not C.GLOBAL


HERE = AddressRanges(
    own=frozenset({ipaddress.ip_address("11.22.33.44"), ipaddress.ip_address("10.9.9.9")}),
    listener_ports=frozenset({8788}),
)


@pytest.mark.parametrize(
    ("text", "port", "opened", "expected"),
    [
        ("11.22.33.44", 22, [], C.THIS_HOST),  # its sshd, by its public address
        ("11.22.33.44", 22, ["11.22.33.44/32"], C.OPENED),
        ("11.22.33.44", 8788, ["11.22.33.44/32"], C.SELF_CONNECTION),
        ("::ffff:11.22.33.44", 8788, [], C.SELF_CONNECTION),
        ("11.22.33.45", 8788, [], C.GLOBAL),
        ("10.9.9.9", 80, [], C.PRIVATE),
        ("10.9.9.9", 8788, ["10.0.0.0/8"], C.SELF_CONNECTION),
        ("127.0.0.1", 8788, ["127.0.0.0/8"], C.SELF_CONNECTION),
        ("127.9.9.9", 8788, ["127.0.0.0/8"], C.SELF_CONNECTION),
        ("0.0.0.0", 8788, ["0.0.0.0/8"], C.SELF_CONNECTION),  # Linux connects it to loopback
        ("::", 8788, ["::/128"], C.SELF_CONNECTION),
        ("::1", 8788, ["::1/128"], C.SELF_CONNECTION),
        ("127.0.0.1", 8789, ["127.0.0.0/8"], C.OPENED),
        ("64:ff9b::b16:212c", 8788, [], C.SELF_CONNECTION),  # NAT64 of 11.22.33.44
        ("64:ff9b::b16:212c", 8788, ["64:ff9b::/96"], C.SELF_CONNECTION),
        ("64:ff9b::7f00:1", 8788, ["64:ff9b::7f00:1/128"], C.SELF_CONNECTION),
        ("64:ff9b::b16:212c", 22, [], C.THIS_HOST),
    ],
)
def test_the_host_itself(text: str, port: int, opened: list[str], expected: AddressClass) -> None:
    networks = Opened(tuple(ipaddress.ip_network(cidr) for cidr in opened))
    assert classify(ipaddress.ip_address(text), port, HERE, networks) is expected


@pytest.mark.parametrize(
    ("text", "opened", "expected"),
    [
        ("10.1.2.3", "10.1.2.0/24", C.OPENED),
        ("10.1.3.0", "10.1.2.0/24", C.PRIVATE),
        ("::ffff:10.1.2.3", "10.1.2.0/24", C.OPENED),
        ("64:ff9b::a01:203", "10.1.2.0/24", C.PRIVATE),  # opened here is not opened behind a translator
        ("169.254.1.1", "169.254.0.0/16", C.OPENED),
        ("169.254.169.254", "169.254.0.0/16", C.METADATA_SERVICE),  # never opened by a range
        ("169.254.169.254", "169.254.169.254/32", C.OPENED),
        ("fd00:ec2::254", "fc00::/7", C.METADATA_SERVICE),
        ("fd00:1::1", "fc00::/7", C.OPENED),
        ("8.8.8.8", "10.0.0.0/8", C.GLOBAL),
        ("64:ff9b::a01:203", "64:ff9b::/96", C.OPENED),  # an operator may open what is behind the translator
        ("64:ff9b::a9fe:a9fe", "64:ff9b::/96", C.METADATA_SERVICE),  # but never metadata by a range
        ("64:ff9b::a9fe:a9fe", "64:ff9b::a9fe:a9fe/128", C.OPENED),
        ("64:ff9b::6464:64c8", "64:ff9b::6464:6400/120", C.METADATA_SERVICE),
        ("fd00:a9fe:a9fe::1", "fd00:a9fe:a9fe::/48", C.METADATA_SERVICE),
    ],
)
def test_an_opened_range_opens_just_itself(text: str, opened: str, expected: AddressClass) -> None:
    networks = Opened((ipaddress.ip_network(opened),))
    assert classify(ipaddress.ip_address(text), 80, NOTHING, networks) is expected


@pytest.mark.parametrize(
    ("text", "port", "expected"),
    [
        ("10.1.2.3", 80, C.OPENED),
        ("192.168.255.255", 80, C.OPENED),
        ("192.169.0.0", 80, C.GLOBAL),
        ("100.64.0.1", 80, C.OPENED),
        ("fd00:1::1", 80, C.OPENED),
        ("fec0::1", 80, C.OPENED),
        ("::ffff:10.1.2.3", 80, C.OPENED),
        ("64:ff9b::a01:203", 80, C.PRIVATE),  # behind a translator is another network
        ("127.0.0.1", 80, C.LOOPBACK),
        ("::1", 80, C.LOOPBACK),
        ("0.0.0.0", 80, C.UNSPECIFIED),
        ("169.254.1.1", 80, C.LINK_LOCAL),
        ("169.254.169.254", 80, C.METADATA_SERVICE),
        ("100.100.100.200", 80, C.METADATA_SERVICE),  # inside 100.64.0.0/10
        ("fd00:ec2::254", 80, C.METADATA_SERVICE),  # inside fc00::/7
        ("224.0.0.1", 80, C.MULTICAST),
        ("10.9.9.9", 80, C.THIS_HOST),
        ("11.22.33.44", 80, C.THIS_HOST),
        ("10.9.9.9", 8788, C.SELF_CONNECTION),
    ],
)
def test_an_opened_name_opens_its_private_addresses(text: str, port: int, expected: AddressClass) -> None:
    assert classify(ipaddress.ip_address(text), port, HERE, Opened(private=True)) is expected


def test_one_bad_address_denies_all() -> None:
    assert choose(["8.8.8.8", "2606:4700::1"], 443, NOTHING) == Pinned("8.8.8.8", 443, ("2606:4700::1",))
    assert choose(["2606:4700::1", "8.8.8.8"], 443, NOTHING) == Pinned("8.8.8.8", 443, ("2606:4700::1",))
    assert choose(["::ffff:8.8.8.8"], 443, NOTHING) == Pinned("8.8.8.8", 443)
    assert choose(["8.8.8.8", "10.0.0.1"], 443, NOTHING) == Denied("10.0.0.1", C.PRIVATE)
    assert choose(["2606:4700::1", "::1", "8.8.8.8"], 443, NOTHING) == Denied("::1", C.LOOPBACK)


def test_this_hosts_addresses_are_found() -> None:
    assert ipaddress.ip_address("127.0.0.1") in host_addresses()
