"""Rule held: however a request with a secret ends, nothing that anybody is shown holds it: no message, none of the
errors behind it, no record, no log line, no header, in whichever of its spellings.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable

import pytest

from model.errors import OperationError, UpstreamError
from model.messages import Body
from outbound.memory_materials import MemoryMaterials
from outbound.policy_parse import parse_policy
from outbound.secret_injection import spellings_of
from tests.outbound.conftest import WayOut, read_all, server_tls
from tests.outbound.test_gateway import PieceSource
from tests.support.connect_proxy import ConnectProxy
from tests.support.upstream import Upstream, UpstreamRequest, respond

SECRET = "s3cr3t-dXNl+cjpw/YXNz=="
PROXY_SECRET = "corp:hunter2-hunter2"
ALL = [*spellings_of(SECRET), *spellings_of(PROXY_SECRET)]

Reply = Callable[[UpstreamRequest, asyncio.StreamWriter], Awaitable[None]]


def says(text: str) -> Reply:
    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(text.encode("latin-1"))
        await writer.drain()
        writer.close()

    return reply


OK = "HTTP/1.1 200 X\r\n"
#: What an upstream does with the header that it was sent: each ends otherwise.
REPLIES: dict[str, Reply] = {
    "closes": says(""),
    "a status line of it": says(f"{SECRET}\r\n\r\n"),
    "a reason of it": says(f"HTTP/1.1 200 {SECRET}\r\ncontent-length: 0\r\n\r\n"),
    "a header's name of it": says(f"{OK}x-{SECRET.lower()}: 1\r\ncontent-length: 0\r\n\r\n"),
    "a name that is none": says(f"{OK}{SECRET} {SECRET}: 1\r\n\r\n"),
    "a header": says(f"{OK}x: Bearer {SECRET}\r\ncontent-length: 0\r\n\r\n"),
    "a cookie": says(f"{OK}set-cookie: t={SECRET.upper()}; path=/\r\ncontent-length: 0\r\n\r\n"),
    "a length of it": says(f"{OK}content-length: {SECRET}\r\n\r\n"),
    "a coding of it": says(f"{OK}transfer-encoding: {SECRET}\r\n\r\n"),
    "a chunk of it": says(f"{OK}transfer-encoding: chunked\r\n\r\n{SECRET}\r\n"),
    "a body that breaks off": says(f"{OK}content-length: 99\r\n\r\nx"),
    "a redirect to a name of it": says(
        f"HTTP/1.1 302 X\r\nlocation: https://{SECRET[:6]}.test/{SECRET}\r\ncontent-length: 0\r\n\r\n"
    ),
    "a redirect to another scheme": says(
        f"HTTP/1.1 302 X\r\nlocation: {SECRET}://x\r\ncontent-length: 0\r\n\r\n"
    ),
    "a redirect with user and password": says(
        f"HTTP/1.1 302 X\r\nlocation: https://u:{SECRET}@pay.test/\r\ncontent-length: 0\r\n\r\n"
    ),
    "two redirects": says(
        f"HTTP/1.1 302 X\r\nlocation: /{SECRET}\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n"
    ),
    "switches": says(f"HTTP/1.1 101 {SECRET}\r\nupgrade: {SECRET}\r\nconnection: upgrade\r\n\r\n"),
    "hints": says(f"HTTP/1.1 103 X\r\nlink: {SECRET}\r\n\r\n" * 20),
}


def policy(port: int | None = None) -> str:
    proxy = "" if port is None else f"proxy: {{url: 'http://127.0.0.1:{port}', credentials: corp}}"
    return f"""
version: 1
rules:
  - name: pay
    action: allow
    scheme: https
    host: pay.test
    open_cidrs: [127.0.0.0/8]
    timeout_ms: 1000
    max_request_bytes: 100000
    follow_redirects: 2
    secrets: [{{header: authorization, secret: stripe, template: 'Bearer {{secret}}'}}]
    {proxy}
"""


def shown(text: str) -> list[str]:
    lower = text.lower()
    return [one.decode() for one in ALL if one.decode().lower() in lower]


@pytest.fixture
def paying(way_out: WayOut, caplog: pytest.LogCaptureFixture) -> WayOut:
    caplog.set_level(logging.DEBUG)
    way_out.materials = MemoryMaterials(secrets={"stripe": SECRET, "corp": PROXY_SECRET})
    way_out.rebuild()
    way_out.dns.set("pay.test", "127.0.0.1")
    way_out.policy = parse_policy(policy())
    return way_out


async def everything_shown(way_out: WayOut, url: str, method: str = "GET", body: Body = None) -> str:
    told = ""
    try:
        response = await way_out.fetch(url, method, [(b"x-mine", b"1")], body)
        told += repr((response.status, response.headers))
        await read_all(response)
    except (OperationError, UpstreamError) as error:
        # As whoever logs it would show it, with the errors behind it.
        told += "".join(traceback.format_exception(error)) + repr(error)
    way_out.audit.flush()
    return told + repr(way_out.records)


@pytest.mark.parametrize("name", REPLIES)
async def test_however_an_upstream_answers(
    paying: WayOut, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    async with Upstream(REPLIES[name], tls=server_tls("pay.test")) as upstream:
        told = await everything_shown(paying, f"https://pay.test:{upstream.port}/")
        assert upstream.requests[0].header("authorization") == f"Bearer {SECRET}"
    assert shown(told) == []
    assert shown(caplog.text) == []


async def test_however_it_fails_before(paying: WayOut, caplog: pytest.LogCaptureFixture) -> None:
    told = ""
    async with Upstream(says(""), tls=server_tls("other.test")) as upstream:
        told += await everything_shown(paying, f"https://pay.test:{upstream.port}/")
        told += await everything_shown(paying, f"https://pay.test:{upstream.port}/", "POST", bytes(100_001))
        told += await everything_shown(paying, f"https://pay.test:{upstream.port}/", "CONNECT")
        port = upstream.port
    told += await everything_shown(paying, f"https://pay.test:{port}/")
    paying.dns.set("pay.test", "10.0.0.1")
    told += await everything_shown(paying, "https://pay.test/")
    paying.dns.silent = True
    told += await everything_shown(paying, "https://pay.test/")
    assert shown(told) == []
    assert shown(caplog.text) == []


async def test_a_body_that_breaks_off_on_its_way(paying: WayOut, caplog: pytest.LogCaptureFixture) -> None:
    async def take(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        await request.body()
        respond(writer, 200, b"")

    async with Upstream(take, tls=server_tls("pay.test")) as upstream:
        told = await everything_shown(
            paying, f"https://pay.test:{upstream.port}/", "POST", PieceSource(2, 10, breaks=True)
        )
    assert shown(told) == []
    assert shown(caplog.text) == []


@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 407 {PROXY_SECRET}\r\nproxy-authenticate: {PROXY_SECRET}\r\n\r\n",
        f"{PROXY_SECRET}\r\n\r\n",
        f"HTTP/1.1 200 X\r\n\r\n{PROXY_SECRET}",
    ],
)
async def test_however_a_proxy_answers(paying: WayOut, caplog: pytest.LogCaptureFixture, answer: str) -> None:
    async with ConnectProxy(answer=answer.encode()) as proxy:
        paying.policy = parse_policy(policy(proxy.port))
        told = await everything_shown(paying, "https://pay.test/")
        assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")
    assert shown(told) == []
    assert shown(caplog.text) == []


def test_the_search_finds_what_it_looks_for() -> None:
    assert shown(f"x {SECRET} y")
    assert shown(f"Basic {PROXY_SECRET.encode().hex()}")
