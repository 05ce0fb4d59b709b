"""Which addresses a tenant's request may reach: a table of our own, and one decision over it. Pure.

Order, first that applies: (1) IPv4-mapped IPv6 is unwrapped; (2) a listener of this platform is never
reached, whatever was opened; (3) a metadata service is reached only if the operator opened exactly that
one address; (4) networks that the operator opened; (5) the host's own addresses are refused; (6) private
addresses of a name that the operator opened; (7) the table; (8) IPv4 is global, IPv6 is global only inside 2000::/3.

Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), IANA IPv6 Address Space, and
the RFC beside each row. Where a registry says "globally reachable" of a block that holds infrastructure
and no web servers (AS112, AMT, TURN anycast), it is refused here all the same.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressClass(StrEnum):
    """GLOBAL and OPENED may be reached, nothing else. The value is the tail of Reason.ADDRESS_…"""

    GLOBAL = "global"
    OPENED = "opened"
    SELF_CONNECTION = "self_connection"
    THIS_HOST = "this_host"
    METADATA_SERVICE = "metadata_service"
    UNSPECIFIED = "unspecified"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    SHARED = "shared"
    LINK_LOCAL = "link_local"
    UNIQUE_LOCAL = "unique_local"
    SITE_LOCAL = "site_local"
    DOCUMENTATION = "documentation"
    BENCHMARKING = "benchmarking"
    MULTICAST = "multicast"
    RESERVED = "reserved"
    PROTOCOL = "protocol"
    ORCHID = "orchid"
    IPV6_EMBEDDED = "ipv6_embedded"
    UNALLOCATED = "unallocated"


ALLOWED: Final = frozenset({AddressClass.GLOBAL, AddressClass.OPENED})

#: What opening a name opens: addresses that networks give to machines. Not link-local: clouds keep services there.
PRIVATE_CLASSES: Final = frozenset(
    {AddressClass.PRIVATE, AddressClass.SHARED, AddressClass.UNIQUE_LOCAL, AddressClass.SITE_LOCAL}
)

#: (network, class, source). The longest prefix that holds an address names it.
SPECIAL_RANGES: Final[tuple[tuple[str, AddressClass, str], ...]] = (
    ("0.0.0.0/8", AddressClass.UNSPECIFIED, "RFC 791 §3.2: this network; Linux connects 0.0.0.0 to itself"),
    ("10.0.0.0/8", AddressClass.PRIVATE, "RFC 1918"),
    ("100.64.0.0/10", AddressClass.SHARED, "RFC 6598: carrier-grade NAT"),
    ("127.0.0.0/8", AddressClass.LOOPBACK, "RFC 1122 §3.2.1.3"),
    ("169.254.0.0/16", AddressClass.LINK_LOCAL, "RFC 3927"),
    ("172.16.0.0/12", AddressClass.PRIVATE, "RFC 1918"),
    (
        "192.0.0.0/24",
        AddressClass.PROTOCOL,
        "RFC 6890 §2.1: IETF protocol assignments, DS-Lite, NAT64 discovery",
    ),
    ("192.0.2.0/24", AddressClass.DOCUMENTATION, "RFC 5737: TEST-NET-1"),
    ("192.31.196.0/24", AddressClass.PROTOCOL, "RFC 7535: AS112-v4"),
    ("192.52.193.0/24", AddressClass.PROTOCOL, "RFC 7450: AMT"),
    ("192.88.99.0/24", AddressClass.PROTOCOL, "RFC 7526: 6to4 relay anycast, deprecated"),
    ("192.168.0.0/16", AddressClass.PRIVATE, "RFC 1918"),
    ("192.175.48.0/24", AddressClass.PROTOCOL, "RFC 7534: AS112 direct delegation"),
    ("198.18.0.0/15", AddressClass.BENCHMARKING, "RFC 2544"),
    ("198.51.100.0/24", AddressClass.DOCUMENTATION, "RFC 5737: TEST-NET-2"),
    ("203.0.113.0/24", AddressClass.DOCUMENTATION, "RFC 5737: TEST-NET-3"),
    ("224.0.0.0/4", AddressClass.MULTICAST, "RFC 5771"),
    ("240.0.0.0/4", AddressClass.RESERVED, "RFC 1112 §4; holds 255.255.255.255, RFC 919"),
    ("::/128", AddressClass.UNSPECIFIED, "RFC 4291 §2.5.2"),
    ("::1/128", AddressClass.LOOPBACK, "RFC 4291 §2.5.3"),
    ("::/96", AddressClass.IPV6_EMBEDDED, "RFC 4291 §2.5.5.1: IPv4-compatible, deprecated"),
    ("::ffff:0:0:0/96", AddressClass.IPV6_EMBEDDED, "RFC 2765 §2.1: IPv4-translated"),
    ("64:ff9b:1::/48", AddressClass.IPV6_EMBEDDED, "RFC 8215: local-use NAT64"),
    ("100::/64", AddressClass.RESERVED, "RFC 6666: discard only"),
    ("100:0:0:1::/64", AddressClass.RESERVED, "RFC 9780: dummy prefix"),
    ("2001::/23", AddressClass.PROTOCOL, "RFC 2928: IETF protocol assignments, AMT, AS112, DRIP"),
    ("2001::/32", AddressClass.IPV6_EMBEDDED, "RFC 4380: Teredo"),
    ("2001:2::/48", AddressClass.BENCHMARKING, "RFC 5180"),
    ("2001:10::/28", AddressClass.ORCHID, "RFC 4843: ORCHID, deprecated"),
    ("2001:20::/28", AddressClass.ORCHID, "RFC 7343: ORCHIDv2"),
    ("2001:db8::/32", AddressClass.DOCUMENTATION, "RFC 3849"),
    ("2002::/16", AddressClass.IPV6_EMBEDDED, "RFC 3056, 7526: 6to4"),
    ("2620:4f:8000::/48", AddressClass.PROTOCOL, "RFC 7534: AS112 direct delegation"),
    ("3ffe::/16", AddressClass.RESERVED, "RFC 3701: 6bone, returned"),
    ("3fff::/20", AddressClass.DOCUMENTATION, "RFC 9637"),
    ("5f00::/16", AddressClass.PROTOCOL, "RFC 9602: SRv6 segment identifiers"),
    ("fc00::/7", AddressClass.UNIQUE_LOCAL, "RFC 4193"),
    ("fe80::/10", AddressClass.LINK_LOCAL, "RFC 4291 §2.5.6"),
    ("fec0::/10", AddressClass.SITE_LOCAL, "RFC 3879: deprecated, some stacks still route it"),
    ("ff00::/8", AddressClass.MULTICAST, "RFC 4291 §2.7"),
    # Instance metadata: credentials of the machine for whoever can send a GET. Some lie in public space.
    ("100.100.100.200/32", AddressClass.METADATA_SERVICE, "Alibaba Cloud ECS"),
    ("168.63.129.16/32", AddressClass.METADATA_SERVICE, "Azure WireServer, a public address"),
    (
        "169.254.169.254/32",
        AddressClass.METADATA_SERVICE,
        "AWS, GCP, Azure, OpenStack, DigitalOcean, Hetzner",
    ),
    ("169.254.0.23/32", AddressClass.METADATA_SERVICE, "Tencent Cloud"),
    ("169.254.169.250/32", AddressClass.METADATA_SERVICE, "Rancher"),
    ("169.254.169.252/32", AddressClass.METADATA_SERVICE, "GKE metadata server"),
    ("169.254.170.2/32", AddressClass.METADATA_SERVICE, "AWS ECS task credentials"),
    ("169.254.170.23/32", AddressClass.METADATA_SERVICE, "AWS EKS pod identity"),
    ("192.0.0.192/32", AddressClass.METADATA_SERVICE, "Oracle Cloud (older)"),
    ("fd00:ec2::254/128", AddressClass.METADATA_SERVICE, "AWS EC2 over IPv6"),
    ("fd00:ec2::23/128", AddressClass.METADATA_SERVICE, "AWS EKS pod identity over IPv6"),
    ("fd00:a9fe:a9fe::1/128", AddressClass.METADATA_SERVICE, "Linode over IPv6"),
    ("fd00:c1::a9fe:a9fe/128", AddressClass.METADATA_SERVICE, "Oracle Cloud over IPv6"),
    ("fd20:ce::254/128", AddressClass.METADATA_SERVICE, "GCP over IPv6"),
    ("fd00:42::42/128", AddressClass.METADATA_SERVICE, "Scaleway over IPv6"),
    ("fe80::a9fe:a9fe/128", AddressClass.METADATA_SERVICE, "OpenStack over IPv6"),
)


@dataclass(frozen=True, slots=True)
class AddressRanges:
    """What this host is. One a process; what a rule opens is given to each call beside it.

    `own` are the host's own addresses, `listener_ports` the ports that the platform listens on, on any of
    them (a port is refused on all own addresses: listeners may be bound to any).
    """

    own: frozenset[IPAddress] = field(default_factory=frozenset)
    listener_ports: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Opened:
    """What a rule opens of the addresses that are closed to all others."""

    networks: tuple[IPNetwork, ...] = ()
    #: The name that is asked for was opened: whichever PRIVATE_CLASSES address it has may be reached.
    private: bool = False


NOTHING_OPENED: Final = Opened()


@dataclass(frozen=True, slots=True)
class Pinned:
    """An address that was checked. `others` were checked too, and may be tried if it doesn't connect."""

    address: str
    port: int
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Denied:
    address: str
    address_class: AddressClass


def classify(
    address: IPAddress, port: int, ranges: AddressRanges, opened: Opened = NOTHING_OPENED
) -> AddressClass:
    """Name the special-purpose block that `address` falls in, or GLOBAL, or OPENED. Never raises.

    `port` is 1 to 65535 and matters only for the platform's own listeners. The order is the module's.
    """
    if isinstance(address, ipaddress.IPv6Address) and (mapped := address.ipv4_mapped) is not None:
        address = mapped  # RFC 4291 §2.5.5.2: the kernel connects it as IPv4
    registry = registry_class(address)
    if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
        return _behind_translator(address, port, ranges, opened)
    own = address in ranges.own
    here = own or registry is AddressClass.LOOPBACK or registry is AddressClass.UNSPECIFIED
    if here and port in ranges.listener_ports:
        return AddressClass.SELF_CONNECTION
    if _is_opened(address, registry, opened):
        return AddressClass.OPENED
    if own and (registry in ALLOWED or opened.private):
        return AddressClass.THIS_HOST
    if opened.private and registry in PRIVATE_CLASSES:
        return AddressClass.OPENED
    return registry


def _behind_translator(
    address: ipaddress.IPv6Address, port: int, ranges: AddressRanges, opened: Opened
) -> AddressClass:
    """What the translator would reach is what counts: a listener of ours behind it, too, and metadata."""
    found = classify(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), port, ranges)
    if found is not AddressClass.SELF_CONNECTION and _is_opened(address, found, opened):
        return AddressClass.OPENED
    return found


def _is_opened(address: IPAddress, registry: AddressClass, opened: Opened) -> bool:
    return any(
        network.version == address.version
        and address in network
        and (network.num_addresses == 1 or registry is not AddressClass.METADATA_SERVICE)
        for network in opened.networks
    )


def choose(
    candidates: Iterable[str], port: int, ranges: AddressRanges, opened: Opened = NOTHING_OPENED
) -> Pinned | Denied:
    """Pin the first of `candidates` (canonical text of addresses, at least one), or say which address forbids all.

    One bad address denies the whole answer: a name that points both outside and inside is an attack or
    a mistake, and which address is dialled must not be luck. IPv4 comes first, in the answer's order; what is
    IPv4-mapped is dialled as the IPv4 address that was judged.
    """
    v4: list[str] = []
    v6: list[str] = []
    for text in candidates:
        address = _read(text)
        if isinstance(address, ipaddress.IPv6Address) and (mapped := address.ipv4_mapped) is not None:
            address, text = mapped, str(mapped)
        found = classify(address, port, ranges, opened)
        if found not in ALLOWED:
            return Denied(str(address), found)
        (v4 if address.version == 4 else v6).append(text)
    first, *others = v4 + v6
    return Pinned(first, port, tuple(others))


@lru_cache(maxsize=16_384)
def registry_class(address: IPAddress) -> AddressClass:
    """What the table alone says of an address that is not IPv4-mapped."""
    number = int(address)
    if address.version == 4:
        for network, mask, found in _TABLE_V4:
            if number & mask == network:
                return found
        return AddressClass.GLOBAL
    for network, mask, found in _TABLE_V6:
        if number & mask == network:
            return found
    if (number >> 32) & 0xFDFFFFFF == 0x00005EFE:
        return AddressClass.IPV6_EMBEDDED  # RFC 5214 §6.1: ISATAP, an IPv4 address under any prefix
    if address in _NAT64 or number >> 125 == 0b001:
        return AddressClass.GLOBAL
    return AddressClass.UNALLOCATED


_read = lru_cache(maxsize=16_384)(ipaddress.ip_address)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1


def _table(version: int) -> tuple[tuple[int, int, AddressClass], ...]:
    rows = [(ipaddress.ip_network(text), found) for text, found, _ in SPECIAL_RANGES]
    rows.sort(key=lambda row: -row[0].prefixlen)
    return tuple(
        (int(network.network_address), int(network.netmask), found)
        for network, found in rows
        if network.version == version
    )


_TABLE_V4: Final = _table(4)
_TABLE_V6: Final = _table(6)
