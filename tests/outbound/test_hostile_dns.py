"""Rule held: a name server says what it likes, byte by byte; what comes of it is addresses to be judged, or an error
of the resolver's own: nothing else is raised, nothing hangs, and nothing is kept for longer than allowed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outbound.resolver import Resolution, ResolveError, Resolver

A, NS, CNAME, TXT, AAAA, DNAME, HTTPS = 1, 2, 5, 16, 28, 39, 65
#: The name that was asked for, as a pointer (RFC 1035 §4.1.4).
ASKED = b"\xc0\x0c"
LABEL = b"\x3f" + b"a" * 63


def record(kind: int, data: bytes, *, ttl: int = 60, network: int = 1, name: bytes = ASKED) -> bytes:
    return name + struct.pack(">HHIH", kind, network, ttl, len(data)) + data


def answer(query: bytes, *records: bytes, flags: int = 0x8180, count: int | None = None) -> bytes:
    question = query[12 : query.index(b"\0", 12) + 5]
    number = len(records) if count is None else count
    return query[:2] + struct.pack(">HHHHH", flags, 1, number, 0, 0) + question + b"".join(records)


Say = Callable[[bytes], bytes]
ANSWERS: dict[str, Say] = {
    "a CNAME of no text": lambda q: answer(q, record(CNAME, b"\x03\xff\xfe\x00\x04test\x00")),
    "a CNAME with dots in a label": lambda q: answer(q, record(CNAME, b"\x05a.b.c\x04test\x00")),
    "a CNAME to the root": lambda q: answer(q, record(CNAME, b"\x00")),
    "a CNAME to itself": lambda q: answer(q, record(CNAME, ASKED)),
    "a CNAME of 255 bytes": lambda q: answer(q, record(CNAME, LABEL * 3 + b"\x3d" + b"a" * 61 + b"\x00")),
    "a CNAME in UTF-8": lambda q: answer(q, record(CNAME, b"\x02\xc3\xa9\x04test\x00")),
    "a CNAME with a space": lambda q: answer(q, record(CNAME, b"\x03a b\x04test\x00")),
    "a CNAME with a NUL": lambda q: answer(q, record(CNAME, b"\x03a\x00b\x04test\x00")),
    "a CNAME with a backslash": lambda q: answer(q, record(CNAME, b"\x03a\\b\x04test\x00")),
    "a CNAME that looks like an address": lambda q: answer(q, record(CNAME, b"\x09127.0.0.1\x00")),
    "a pointer to itself": lambda q: answer(q, record(CNAME, b"\xc0" + bytes([len(q) + 12]))),
    "an address that is too short": lambda q: answer(q, record(A, b"\x7f\x00\x00")),
    "an address that is too long": lambda q: answer(q, record(A, b"\x7f\x00\x00\x01\x01")),
    "more records than there are": lambda q: answer(q, count=5),
    "a record that ends early": lambda q: answer(q, record(A, b"\x08\x08\x08\x08")[:-2]),
    "garbage": lambda q: q[:2] + b"\xff" * 50,
    "nothing": lambda q: b"",
    "another question's answer": lambda q: b"\x00\x00" + answer(q, record(A, b"\x08\x08\x08\x08"))[2:],
    "another class": lambda q: answer(q, record(A, b"\x08\x08\x08\x08", network=3)),
    "both kinds at once": lambda q: answer(
        q, record(A, b"\x08\x08\x08\x08"), record(AAAA, b"\0" * 15 + b"\1")
    ),
    "other kinds": lambda q: answer(
        q, record(HTTPS, b"\0\1\0"), record(DNAME, b"\x04test\0"), record(TXT, b"\1x")
    ),
    "an address of another name": lambda q: answer(q, record(A, b"\x08\x08\x08\x08", name=b"\x04evil\x00")),
    "refused": lambda q: answer(q, flags=0x8185),
    "a query": lambda q: q,
    "more addresses than one asks": lambda q: answer(
        q, *(record(A, bytes([8, 8, i, i])) for i in range(200))
    ),
}


class Server(asyncio.DatagramProtocol):
    def __init__(self, say: Say) -> None:
        self._say = say

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._transport.sendto(self._say(data), addr)


async def ask(say: Say) -> Resolution | ResolveError:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Server(say), local_addr=("127.0.0.1", 0))
    resolver = Resolver([transport.get_extra_info("sockname")[:2]], timeout_s=0.5)
    try:
        async with asyncio.timeout(60):
            return await resolver.resolve("a.evil.test")
    except ResolveError as error:
        return error
    finally:
        transport.close()
        await resolver.close()


def check(found: Resolution | ResolveError) -> None:
    if isinstance(found, Resolution):
        assert 0 < len(found.addresses) <= 64 * 2
        assert all(str(ipaddress.ip_address(one)) == one for one in found.addresses)
        assert 0 <= found.ttl_s <= 300


@pytest.mark.parametrize("name", ANSWERS)
async def test_whatever_it_says_is_addresses_or_an_error(name: str) -> None:
    check(await ask(ANSWERS[name]))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(noise=st.binary(max_size=60), at=st.integers(2, 60), change=st.integers(1, 255))
async def test_noise_is_no_more_than_an_error(noise: bytes, at: int, change: int) -> None:
    def say(query: bytes) -> bytes:
        said = bytearray(answer(query, record(CNAME, b"\x01b\x00"), record(A, b"\x08\x08\x08\x08")) + noise)
        said[at % len(said)] ^= change
        return bytes(said)

    check(await ask(say))


@pytest.mark.parametrize(("ttl", "kept_s"), [(0, 0), (60, 60), (86_400, 300), (1 << 31, 0), (0xFFFFFFFF, 0)])
async def test_a_ttl_with_its_highest_bit_is_none(ttl: int, kept_s: int) -> None:
    """RFC 2181 §8."""
    found = await ask(lambda q: answer(q, record(A, b"\x08\x08\x08\x08", ttl=ttl)))
    assert isinstance(found, Resolution)
    assert found.ttl_s == kept_s
