"""A name's addresses, asked for by ourselves: A and AAAA of the full name, from a DNS server, nothing else.

No hosts file, no search list, no special case for `localhost`: whatever comes back is classified by
`addresses` before anyone connects to it. Answers are cached as long as their TTL says, within bounds;
one question in flight answers everyone who asks it meanwhile.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import aiodns
import pycares

from model.clock import monotonic_s

MAX_CNAMES: Final = 8
MAX_ADDRESSES: Final = 64

_A, _AAAA, _CNAME = 1, 28, 5
# RFC 1035 §4.1.1 and c-ares' own: the name, or this type of it, does not exist.
_ABSENT: Final = frozenset({pycares.errno.ARES_ENODATA, pycares.errno.ARES_ENOTFOUND})
_TIMEOUTS: Final = frozenset({pycares.errno.ARES_ETIMEOUT, pycares.errno.ARES_ECONNREFUSED})


class ResolveError(Exception):
    """The message names the host and is safe to show to the tenant."""


class NameNotFound(ResolveError):
    """No such name, or it has neither A nor AAAA."""


class ResolveFailed(ResolveError):
    """The server answered with an error, or with something that is no answer."""


class ResolveTimeout(ResolveError):
    """No server answered in time."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """`addresses`: at least one, canonical, A before AAAA. `chain`: the CNAMEs followed. `ttl_s` of all."""

    addresses: tuple[str, ...]
    chain: tuple[str, ...]
    ttl_s: int


@dataclass(slots=True)
class _Cached:
    answer: Resolution | NameNotFound
    until_s: float


class Resolver:
    """Asks `servers` ((address, port) pairs), or those of /etc/resolv.conf for None. One a process.

    `timeout_s` bounds a whole look-up. TTLs are held between 0 and `max_ttl_s`; absence for `absent_s`.
    Make it inside a running loop; `close` it at the end.
    """

    def __init__(
        self,
        servers: Sequence[tuple[str, int]] | None = None,
        *,
        timeout_s: float = 5.0,
        max_ttl_s: int = 300,
        absent_s: float = 5.0,
        cache_size: int = 4_096,
        max_in_flight: int = 1_024,
    ) -> None:
        addresses = None
        if servers is not None:
            addresses = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in servers]
        self._dns = aiodns.DNSResolver(
            nameservers=addresses,
            flags=pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_NOALIASES,
            lookups="b",  # DNS alone, not the hosts file
            timeout=max(0.1, timeout_s / 3),
            tries=3,
        )
        self._timeout_s = timeout_s
        self._max_ttl_s = max_ttl_s
        self._absent_s = absent_s
        self._cache_size = cache_size
        self._max_in_flight = max_in_flight
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._in_flight: dict[str, asyncio.Task[Resolution]] = {}
        #: How many of those each asker began.
        self._asked: dict[Hashable, int] = {}

    async def resolve(self, host: str, asker: Hashable = None) -> Resolution:
        """Every address of `host` (a canonical name without trailing dot). Raises ResolveError.

        Nobody has more questions open than there is room left: whoever's own name servers are silent can't
        keep others from asking. Cancelling it does not disturb others who wait for the same name.
        """
        cached = self._cache.get(host)
        if cached is not None and monotonic_s() < cached.until_s:
            self._cache.move_to_end(host)
            if isinstance(cached.answer, NameNotFound):
                raise NameNotFound(str(cached.answer))
            return cached.answer
        task = self._in_flight.get(host)
        if task is None:
            asked = self._asked.get(asker, 0)
            if asked >= self._max_in_flight - len(self._in_flight):
                raise ResolveFailed(f"{host} was not looked up: too many look-ups at once; try again")
            task = asyncio.create_task(self._look_up(host))
            self._in_flight[host] = task
            self._asked[asker] = asked + 1
            task.add_done_callback(lambda done: self._finished(host, asker, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        for task in list(self._in_flight.values()):
            task.cancel()
        await asyncio.gather(*self._in_flight.values(), return_exceptions=True)
        await self._dns.close()

    def _finished(self, host: str, asker: Hashable, task: asyncio.Task[Resolution]) -> None:
        self._in_flight.pop(host, None)
        self._asked[asker] -= 1
        if not self._asked[asker]:
            del self._asked[asker]
        if task.cancelled():
            return
        error = task.exception()  # also marks it as seen, when everyone who waited has left
        if error is None:
            self._remember(host, task.result(), task.result().ttl_s)
        elif isinstance(error, NameNotFound):
            self._remember(host, error, self._absent_s)

    def _remember(self, host: str, answer: Resolution | NameNotFound, ttl_s: float) -> None:
        if ttl_s <= 0:
            self._cache.pop(host, None)
            return
        self._cache[host] = _Cached(answer, monotonic_s() + ttl_s)
        self._cache.move_to_end(host)
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)

    async def _look_up(self, host: str) -> Resolution:
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = await asyncio.gather(
                    self._one_type(host, "A"), self._one_type(host, "AAAA"), return_exceptions=True
                )
        except TimeoutError:
            raise ResolveTimeout(f"no DNS server answered for {host} within {self._timeout_s} s") from None
        addresses: list[str] = []
        chain: tuple[str, ...] = ()
        ttl_s = self._max_ttl_s
        failure: ResolveError | None = None
        for answer in answers:
            if isinstance(answer, Resolution):
                addresses += answer.addresses
                chain = chain or answer.chain
                ttl_s = min(ttl_s, answer.ttl_s)
            elif isinstance(answer, ResolveError):
                failure = failure or answer
            else:
                raise answer
        if addresses:
            # A server that fails for AAAA alone is common; half an answer is not kept.
            return Resolution(tuple(addresses), chain, 0 if failure else ttl_s)
        raise failure or NameNotFound(f"{host} has no address: DNS knows neither A nor AAAA of it")

    async def _one_type(self, host: str, kind: str) -> Resolution:
        """The addresses of one type, none if there are none. CNAMEs are followed, through the same
        answer or by asking on. Raises ResolveError.
        """
        wanted = _A if kind == "A" else _AAAA
        name, chain, ttl_s = host, [host], self._max_ttl_s
        while True:
            try:
                result = await self._dns.query_dns(f"{name}.", kind)
            except aiodns.error.DNSError as error:
                code = error.args[0] if error.args else None
                if code in _ABSENT:
                    return Resolution((), tuple(chain[1:]), ttl_s)
                if code in _TIMEOUTS:
                    raise ResolveTimeout(f"no DNS server answered for {host}") from error
                raise ResolveFailed(f"DNS failed for {host} (c-ares error {code})") from error
            addresses, asked = [], name
            aliases = {_plain(r.name): r for r in result.answer if r.type == _CNAME}
            while name in aliases:
                record = aliases[name]
                name = _plain(str(getattr(record.data, "cname", "")))
                if name in chain or len(chain) > MAX_CNAMES:
                    raise ResolveFailed(f"DNS of {host} is a loop or has more than {MAX_CNAMES} CNAMEs")
                chain.append(name)
                ttl_s = min(ttl_s, _kept_s(record.ttl))
            for record in result.answer:
                # Records of other names in the answer are nobody's business here.
                if record.type == wanted and _plain(record.name) == name:
                    addresses.append(_address(host, getattr(record.data, "addr", "")))
                    ttl_s = min(ttl_s, _kept_s(record.ttl))
            if len(addresses) > MAX_ADDRESSES:
                raise ResolveFailed(f"DNS gave {host} more than {MAX_ADDRESSES} addresses")
            if addresses or name == asked:
                return Resolution(tuple(addresses), tuple(chain[1:]), ttl_s)


def _kept_s(ttl: int) -> int:
    """RFC 2181 §8: with its highest bit set it is none."""
    return ttl if 0 <= ttl < 1 << 31 else 0


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _address(host: str, value: object) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ResolveFailed(f"DNS gave {host} something that is no address") from None
