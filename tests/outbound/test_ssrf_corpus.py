"""Rule held: nothing of the corpus is connected to, in whichever way it is asked for: by the worker, by a redirect
that is followed, again after a fault, through an egress proxy; and whatever the policy's mode is. Every name leads
inside here, so that no case is refused only because nobody knows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from model.errors import OperationError, OperationErrorCode
from outbound.policy_parse import parse_policy
from tests.outbound.conftest import CLOSED, WayOut, read_all
from tests.outbound.ssrf_corpus import CHAINS, METADATA_ADDRESSES, NAMES, SPELLINGS, URLS
from tests.outbound.test_ssrf import HOSTS
from tests.outbound.test_ssrf import URLS as MORE_URLS
from tests.support.connect_proxy import ConnectProxy
from tests.support.upstream import Upstream, UpstreamRequest, respond

Dialled = list[tuple[str, int]]


def corpus(port: int) -> list[str]:
    hosts = [*METADATA_ADDRESSES, *NAMES, *CHAINS, *SPELLINGS, *HOSTS]
    urls = [f"http://{host}:{port}/" for host in hosts]
    urls += [f"https://{host}/latest/meta-data/" for host in (*NAMES, *CHAINS, *METADATA_ADDRESSES)]
    urls += [url.replace("HERE", str(port)) for url in (*URLS, *MORE_URLS)]
    return list(dict.fromkeys(urls))


def fill(way_out: WayOut) -> None:
    for name, addresses in NAMES.items():
        way_out.dns.set(name, *addresses)
    for name, (*aliases, address) in CHAINS.items():
        kind = "AAAA" if ":" in address else "A"
        links = [(f"{one}.", "CNAME", f"{two}.") for one, two in pairwise([name, *aliases])]
        answer = [*links, (f"{aliases[-1]}.", kind, address)]
        way_out.dns.set_answer(name, kind, lambda count, answer=answer: answer)  # type: ignore[misc]
        other = "A" if kind == "AAAA" else "AAAA"
        way_out.dns.set_answer(name, other, lambda count: [])
    way_out.dns.fallback = ("127.0.0.1", "::1")


@asynccontextmanager
async def inside() -> AsyncIterator[Upstream]:
    """What must not be reached: by IPv4 here, and by nothing else on this port."""
    async with Upstream() as upstream:
        yield upstream
        assert upstream.connections == 0


def test_the_corpus_is_as_large_as_it_says() -> None:
    assert len(METADATA_ADDRESSES) + len(NAMES) + len(CHAINS) + len(set(SPELLINGS)) + len(set(URLS)) >= 480
    assert len(corpus(80)) >= 700


@pytest.mark.parametrize("mode", ["enforce", "report", "open"])
async def test_no_case_is_connected_to(way_out: WayOut, dialled: Dialled, mode: str) -> None:
    rules = "rules: [{name: any, action: allow, timeout_ms: 2000}]" if mode == "enforce" else "rules: []"
    way_out.policy = parse_policy(f"version: 1\nmode: {mode}\n{rules}")
    fill(way_out)
    passed: dict[str, str] = {}
    async with inside() as upstream:
        for url in corpus(upstream.port):
            try:
                passed[url] = str((await way_out.fetch(url)).status)
            except OperationError as error:
                if error.code is not OperationErrorCode.DENIED:
                    passed[url] = error.message
    assert dialled == []
    # Names that no resolver can ask for, and chains that are cut, are faults, and reach nothing either.
    assert {url: why for url, why in passed.items() if "(resolve." not in why} == {}
    assert len(passed) <= 5, passed


async def test_no_redirect_and_no_retry_leads_there(way_out: WayOut, dialled: Dialled) -> None:
    """The worker may ask one address alone, and that one answers with each case in turn."""
    way_out.policy = parse_policy("""
version: 1
rules:
  - name: any
    action: allow
    open_cidrs: [127.9.9.9/32]
    timeout_ms: 2000
    follow_redirects: 3
    retries: {attempts: 1, backoff_ms: 1, statuses: [503]}
""")
    fill(way_out)
    location = b""
    asked = 0

    async def redirect(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        if request.target != "/start":
            respond(writer, 200, b"a relative one")
        elif asked % 2:
            respond(writer, 503, b"")
        else:
            writer.write(b"HTTP/1.1 307 X\r\ncontent-length: 0\r\nlocation: " + location + b"\r\n\r\n")

    async with inside() as upstream, Upstream(redirect, host="127.9.9.9") as outside:
        for url in corpus(upstream.port):
            if any(byte < " " or byte == "\x7f" or "\ud800" <= byte < "\ue000" for byte in url):
                continue  # no header can say it
            location, asked = url.encode("utf-8"), 0
            try:
                await read_all(await way_out.fetch(f"http://127.9.9.9:{outside.port}/start"))
            except OperationError:
                pass
        assert set(dialled) == {("127.9.9.9", outside.port)}


async def test_no_egress_proxy_is_asked_for_it(way_out: WayOut, dialled: Dialled) -> None:
    fill(way_out)
    async with inside() as upstream, ConnectProxy() as proxy:
        way_out.policy = parse_policy(
            f"version: 1\nrules: [{{name: any, action: allow, proxy: {{url: 'http://127.0.0.1:{proxy.port}'}}}}]"
        )
        for url in corpus(upstream.port):
            with pytest.raises(OperationError):
                await way_out.fetch(url)
        assert proxy.requests == []
    assert dialled == []


async def test_names_of_every_kind_lead_somewhere_here(way_out: WayOut) -> None:
    """So that the corpus is refused for its addresses, not because the test's DNS does not know its names."""
    way_out.policy = CLOSED
    fill(way_out)
    for name in (*NAMES, *CHAINS):
        with pytest.raises(OperationError, match=r"\(address\."):
            await way_out.fetch(f"http://{name}/")
