"""Only who means this listener is answered: Host and Origin against the names it goes by.

A page on another site can make a browser send requests here: by a form, or by a name of its own that it
rebinds to 127.0.0.1. Such a request has a foreign Origin, or a Host that is not ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from model.hostname import InvalidHostname, parse_host

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Refusal(StrEnum):
    """Why a request is not answered; the values are shown."""

    HOST = "the Host header names another server than this one; configured names are right"
    ORIGIN = "requests from pages of another origin are refused"


@dataclass(frozen=True, slots=True)
class HostRules:
    """`names` are without port and brackets; `port` is the listener's, None where a proxy's may differ."""

    names: frozenset[str]
    port: int | None

    @staticmethod
    def of_listener(host: str, port: int, extra: Iterable[str] = ()) -> HostRules:
        """For a listener bound to `host` (an address or a name) and `port`; `extra` are configured names.

        Loopback's three names are right on loopback and on the any-address (0.0.0.0, ::). With `extra` names any
        port is right, since a proxy before us has its own.
        """
        names = {name.strip("[]").lower() for name in extra}
        bound = host.strip("[]").lower()
        try:
            address = ipaddress.ip_address(bound)
        except ValueError:
            names.add(bound)
            on_loopback = bound == "localhost"
        else:
            on_loopback = address.is_loopback or address.is_unspecified
            if not address.is_unspecified:
                names.add(address.compressed)
        if on_loopback:
            names.update(_LOOPBACK)
        return HostRules(frozenset(names), None if extra else port)

    def check(self, hosts: Sequence[bytes], origins: Sequence[bytes], *, tls: bool = False) -> Refusal | None:
        """Given all Host and Origin headers of a request. A request has exactly one Host, and its own Origin."""
        if len(hosts) != 1 or not self._is_ours(hosts[0], 443 if tls else 80):
            return Refusal.HOST
        for origin in origins:
            scheme, separator, authority = origin.partition(b"://")
            if not separator or scheme.lower() not in (b"http", b"https"):
                return Refusal.ORIGIN
            if not self._is_ours(authority, 443 if scheme.lower() == b"https" else 80):
                return Refusal.ORIGIN
        return None

    def _is_ours(self, authority: bytes, default_port: int) -> bool:
        try:
            host = parse_host(authority)
        except InvalidHostname:
            return False
        return host.name in self.names and self.port in (None, host.port or default_port)
