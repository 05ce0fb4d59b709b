"""A real DNS server on loopback, whose answers a test may change between two questions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

#: (owner, type, data), e.g. ("a.test.", "A", "192.0.2.1").
Record = tuple[str, str, str]
#: Called with how often this (name, type) was asked before; None: no such name.
Answer = Callable[[int], Sequence[Record] | None]


class DnsServer(asyncio.DatagramProtocol):
    """`async with DnsServer() as dns:`; `dns.server` is (address, port) for a Resolver.

    Names without an answer do not exist. `ttl` is of every record; 0 keeps c-ares from caching, too.
    """

    def __init__(self, ttl: int = 0) -> None:
        self.ttl = ttl
        self.asked: Counter[tuple[str, str]] = Counter()
        self.silent = False
        #: Names below this one are not answered; "": none.
        self.mute = ""
        #: What every name has that has no answer of its own.
        self.fallback: Sequence[str] = ()
        self.rcode = dns.rcode.NOERROR
        self._answers: dict[tuple[str, str], Answer] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._closed = asyncio.Event()

    def set(self, name: str, *addresses: str) -> None:
        """`name` has exactly these addresses, by type."""
        for kind, colon in (("A", False), ("AAAA", True)):
            records = [(f"{name}.", kind, a) for a in addresses if (":" in a) is colon]
            self._answers[name, kind] = lambda count, records=records: records  # type: ignore[misc]

    def set_answer(self, name: str, kind: str, answer: Answer) -> None:
        self._answers[name, kind] = answer

    @property
    def server(self) -> tuple[str, int]:
        assert self._transport is not None
        address: tuple[str, int] = self._transport.get_extra_info("sockname")[:2]
        return address

    async def __aenter__(self) -> DnsServer:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._closed.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        if self.silent or self._transport is None:
            return
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = str(question.name).lower().removesuffix(".")
        kind = dns.rdatatype.to_text(question.rdtype)
        count = self.asked[name, kind]
        self.asked[name, kind] += 1
        if self.mute and name.endswith(self.mute):
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        response.set_rcode(self.rcode)
        answer = self._answers.get((name, kind))
        records = answer(count) if answer is not None else None
        if answer is None and self.fallback:
            owner = str(question.name)
            records = [(owner, kind, a) for a in self.fallback if (":" in a) is (kind == "AAAA")]
        if records is None and not self.fallback and not any(known == name for known, _ in self._answers):
            response.set_rcode(dns.rcode.NXDOMAIN)
        for owner, rtype, text in records or ():
            response.answer.append(dns.rrset.from_text(owner, self.ttl, "IN", rtype, text))
        if not records:
            # Without an SOA, c-ares keeps the absence for an hour.
            soa = "ns.test. root.test. 1 1 1 1 0"
            response.authority.append(dns.rrset.from_text("test.", 0, "IN", "SOA", soa))
        self._transport.sendto(response.to_wire(), addr)
