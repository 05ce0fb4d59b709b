"""An egress proxy on the way: where it is, and what is said to it before it lets bytes through.

The proxy is the operator's, so its own address is not judged. It is never told a name of a target: the CONNECT
target, and the address in a request for plain HTTP, is the pinned address (RFC 9110 §9.3.6, RFC 9112 §3.2.2).
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Protocol

from model.identity import NamespaceName
from outbound.addresses import Pinned
from outbound.resolver import Resolution, ResolveError
from outbound.rule_actions import Materials, Proxy

#: Of the proxy's answer to CONNECT.
MAX_ANSWER_BYTES: Final = 16 * 1024

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?\r\n")
_BAD_CREDENTIALS = re.compile(r"[\x00-\x1f\x7f]")


class ProxyFailed(Exception):
    """The message is for the tenant: it says what failed, never which proxy or with which credentials."""


class NameResolver(Protocol):
    async def resolve(self, host: str, asker: Hashable = None) -> Resolution: ...


@dataclass(frozen=True, slots=True)
class ProxyHop:
    """A proxy, ready to be dialled. `addresses` are tried in their order."""

    scheme: str
    host: str
    addresses: tuple[Pinned, ...]
    #: Value of Proxy-Authorization, or "".
    authorization: str

    @property
    def credentials(self) -> tuple[str, ...]:
        """As they are written, and as they are sent; none without."""
        sent = self.authorization.removeprefix("Basic ")
        return (base64.b64decode(sent).decode("utf-8"), sent) if sent else ()

    @property
    def identity(self) -> str:
        """For the pool's key: the same proxy, with the same credentials."""
        digest = hashlib.sha256(self.authorization.encode()).hexdigest()[:32]
        where = ",".join(f"{one.address}|{one.port}" for one in self.addresses)
        return f"{self.scheme}|{self.host}|{where}|{digest}"


async def ready_proxy(
    proxy: Proxy, resolver: NameResolver, materials: Materials, namespace: NamespaceName | None
) -> ProxyHop:
    """Raises ProxyFailed, MaterialMissing."""
    authorization = ""
    if proxy.credentials is not None:
        credentials = await materials.secret(namespace, proxy.credentials)
        if ":" not in credentials or _BAD_CREDENTIALS.search(credentials):
            raise ProxyFailed("the egress proxy's credentials are not of the form user:password")
        authorization = "Basic " + base64.b64encode(credentials.encode("utf-8")).decode("ascii")
    try:
        addresses: tuple[str, ...] = (str(ipaddress.ip_address(proxy.host)),)
    except ValueError:
        try:
            addresses = (await resolver.resolve(proxy.host)).addresses
        except ResolveError as error:
            raise ProxyFailed("the egress proxy's name did not resolve") from error
    pinned = tuple(Pinned(address, proxy.port) for address in addresses)
    return ProxyHop(proxy.scheme, proxy.host, pinned, authorization)


def connect_request(pinned: Pinned, authorization: str) -> bytes:
    host = f"[{pinned.address}]" if ":" in pinned.address else pinned.address
    authority = f"{host}:{pinned.port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"host: {authority}"]
    if authorization:
        lines.append(f"proxy-authorization: {authorization}")
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"


def read_answer(received: bytes) -> bool:
    """Whether the tunnel stands; False: more of the answer is to come. Raises ProxyFailed."""
    head, end, rest = received.partition(b"\r\n\r\n")
    if not end:
        if len(received) > MAX_ANSWER_BYTES:
            raise ProxyFailed("the egress proxy's answer has no end")
        return False
    status = _STATUS.match(head + b"\r\n")
    if status is None:
        raise ProxyFailed("the egress proxy does not speak HTTP/1.1")
    if not 200 <= int(status[1]) < 300:
        raise ProxyFailed(f"the egress proxy refused the connection with status {status[1].decode()}")
    if rest:
        # The target speaks only after us: these bytes are the proxy's, and TLS must not take them for its own.
        raise ProxyFailed("the egress proxy sent bytes of its own into the tunnel")
    return True
