"""Whose word is taken for where a request came from: CIDR blocks, none unless the operator names some.

Pure, and cached by address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Of an X-Forwarded-For chain, counted from its end; what is further back is not looked at.
_MAX_HOPS: Final = 32


class TrustedProxies:
    """`some` is False when nobody is trusted."""

    __slots__ = ("_networks", "contains", "some")

    def __init__(self, cidrs: Iterable[str] = ()) -> None:
        """Raises ValueError, naming the entry, for one that is no CIDR block or has host bits set."""
        networks: list[Network] = []
        for cidr in cidrs:
            try:
                networks.append(ipaddress.ip_network(cidr))
            except ValueError as error:
                raise ValueError(f"trusted proxy {cidr!r}: {error}; 10.0.0.0/8 would be right") from None
        self._networks = tuple(networks)
        self.some = bool(networks)
        #: Whether an address, as text, is one of them. False for what is no address.
        self.contains = lru_cache(maxsize=4_096)(self._contains)

    def _contains(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(plain_ip(address))
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


@lru_cache(maxsize=4_096)
def plain_ip(address: str) -> str:
    """`address` in its one spelling: without a zone, and IPv4 where a dual-stack listener says
    `::ffff:192.0.2.1`. What is no address comes back as it is.
    """
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or parsed.compressed)


def forwarded_for(said: bytes, peer: str, trusted: TrustedProxies) -> tuple[str, bytes]:
    """The visitor's address, and the X-Forwarded-For to pass on, from one that a trusted `peer` sent.

    Each proxy adds the address it saw, so the chain is believed from its end: the visitor is the last
    address that is no trusted proxy. Anything that is no address ends the belief: then it is the proxy
    that vouched for it.
    """
    entries = [entry.strip() for entry in said.decode("latin-1").split(",")[-_MAX_HOPS:]]
    visitor = peer
    for entry in reversed(entries):
        address = plain_ip(entry)
        try:
            ipaddress.ip_address(address)
        except ValueError:
            break
        visitor = address
        if not trusted.contains(address):
            break
    return visitor, b", ".join([*(entry.encode("latin-1") for entry in entries), peer.encode()])
