"""The addresses that this machine answers on, as the kernel lists them (Linux). Reads two files of /proc.

A tenant must not reach the host's other services by its public address, past whatever guards its edge.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from outbound.addresses import IPAddress


def host_addresses(proc_net: Path = Path("/proc/net")) -> frozenset[IPAddress]:
    """Every local address of this network namespace; empty where /proc is not mounted. Call at start-up."""
    found: set[IPAddress] = set()
    try:
        trie = (proc_net / "fib_trie").read_text("ascii", "replace")
    except OSError:
        trie = ""
    last = ""
    for line in trie.splitlines():
        text = line.strip()
        if text.startswith("|-- "):
            last = text[4:]
        elif text.startswith("/32 host LOCAL"):
            found.add(ipaddress.IPv4Address(last))
    try:
        table = (proc_net / "if_inet6").read_text("ascii", "replace")
    except OSError:
        table = ""
    for line in table.splitlines():
        digits = line.partition(" ")[0]
        found.add(ipaddress.IPv6Address(int(digits, 16)))
    return frozenset(found)
