"""Rule held: through an egress proxy the same addresses are judged and the same names verified; the proxy is told
the pinned address, never a name; what goes wrong on its side has a reason of its own.
"""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest

from model.errors import OperationError, OperationErrorCode
from outbound.addresses import Pinned
from outbound.egress_proxy import MAX_ANSWER_BYTES, ProxyFailed, connect_request, read_answer
from outbound.memory_materials import MemoryMaterials
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from tests.outbound.conftest import WayOut, read_all, server_tls
from tests.outbound.test_gateway import PieceSource
from tests.support.connect_proxy import ConnectProxy
from tests.support.upstream import Upstream, UpstreamRequest, respond

BASIC = "Basic dXNlcjpwYXNz"
PLAIN = "user:pass"


def policy(proxy_url: str, opened: str = "127.0.0.0/8", credentials: str = "") -> str:
    return f"""
version: 1
rules:
  - name: out
    action: allow
    open_cidrs: [{opened}]
    timeout_ms: 5000
    proxy: {{url: "{proxy_url}"{credentials}}}
"""


@pytest.mark.parametrize("proxy_scheme", ["http", "https"])
async def test_https_goes_through_a_tunnel_to_the_pinned_address(way_out: WayOut, proxy_scheme: str) -> None:
    way_out.dns.set("api.test", "127.0.0.1")
    way_out.dns.set("proxy.test", "127.0.0.1")
    sni: list[str | None] = []
    tls = server_tls("api.test")
    tls.sni_callback = lambda socket, name, context: sni.append(name)
    proxy_tls = server_tls("proxy.test") if proxy_scheme == "https" else None
    async with Upstream(tls=tls) as upstream, ConnectProxy(proxy_tls) as proxy:
        way_out.policy = parse_policy(policy(f"{proxy_scheme}://proxy.test:{proxy.port}"))
        for _ in range(2):
            response = await way_out.fetch(
                f"https://api.test:{upstream.port}/a?b=1", "POST", body=PieceSource(2, 3)
            )
            assert await read_all(response) == f"POST /a?b=1 api.test:{upstream.port} xxxxxx".encode()
        assert [request.line for request in proxy.requests] == [
            f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.1"
        ], "one tunnel, kept, and no name in it"
        assert "api.test" not in repr(proxy.requests)
        assert sni == ["api.test"]
    record = way_out.last_record()
    assert (record.address, record.status) == ("127.0.0.1", 200)


@pytest.mark.parametrize("proxy_scheme", ["http", "https"])
async def test_http_is_asked_of_the_proxy_by_address_with_the_names_host(
    way_out: WayOut, proxy_scheme: str
) -> None:
    way_out.dns.set("api.test", "127.0.0.1")
    way_out.dns.set("proxy.test", "127.0.0.1")
    proxy_tls = server_tls("proxy.test") if proxy_scheme == "https" else None
    async with Upstream() as upstream, ConnectProxy(proxy_tls) as proxy:
        way_out.policy = parse_policy(policy(f"{proxy_scheme}://proxy.test:{proxy.port}"))
        response = await way_out.fetch(f"http://api.test:{upstream.port}/a?b=1")
        assert await read_all(response) == f"GET /a?b=1 api.test:{upstream.port} ".encode()
        assert proxy.requests[0].line == f"GET http://127.0.0.1:{upstream.port}/a?b=1 HTTP/1.1"
        assert proxy.requests[0].headers["host"] == f"api.test:{upstream.port}"


async def test_an_ipv6_address_is_asked_for_in_brackets(way_out: WayOut) -> None:
    way_out.dns.set("six.test", "2001:db8::1")
    async with ConnectProxy(authorization="nobody's") as proxy:
        way_out.policy = parse_policy(policy(f"http://127.0.0.1:{proxy.port}", opened="2001:db8::/32"))
        for url in ("http://six.test:81/x", "https://six.test/", "http://[2001:db8::1]/"):
            with pytest.raises(OperationError, match="proxy"):
                await way_out.fetch(url)
        assert [request.line for request in proxy.requests] == [
            "GET http://[2001:db8::1]:81/x HTTP/1.1",
            "CONNECT [2001:db8::1]:443 HTTP/1.1",
            "GET http://[2001:db8::1]/ HTTP/1.1",
        ]


async def test_what_may_not_be_reached_is_not_asked_of_the_proxy(way_out: WayOut) -> None:
    way_out.dns.set("inside.test", "10.0.0.1")
    async with ConnectProxy() as proxy:
        way_out.policy = parse_policy(policy(f"http://127.0.0.1:{proxy.port}", opened="192.168.0.0/16"))
        for url in ("http://inside.test/", "https://inside.test/", "https://127.0.0.1/"):
            with pytest.raises(OperationError, match="address"):
                await way_out.fetch(url)
        assert proxy.requests == []


async def test_only_the_proxy_is_dialled(way_out: WayOut, dialled: list[tuple[str, int]]) -> None:
    way_out.dns.set("api.test", "127.0.0.2")
    async with ConnectProxy(answer=b"HTTP/1.1 502 No\r\n\r\n") as proxy:
        way_out.policy = parse_policy(policy(f"http://127.0.0.1:{proxy.port}"))
        with pytest.raises(OperationError):
            await way_out.fetch("https://api.test/")
        assert dialled == [("127.0.0.1", proxy.port)]
        assert proxy.requests[0].line == "CONNECT 127.0.0.2:443 HTTP/1.1"


async def test_credentials_come_from_materials_and_reach_the_proxy_alone(way_out: WayOut) -> None:
    way_out.dns.set("api.test", "127.0.0.1")
    credentials = ", credentials: corp"
    async with (
        Upstream() as plain,
        Upstream(tls=server_tls("api.test")) as upstream,
        ConnectProxy(authorization=BASIC) as proxy,
    ):
        way_out.policy = parse_policy(policy(f"http://127.0.0.1:{proxy.port}", credentials=credentials))
        urls = (f"https://api.test:{upstream.port}/", f"http://api.test:{plain.port}/")
        for url in urls:
            with pytest.raises(OperationError, match=r"'corp' .*\(secret\.missing\)"):
                await way_out.fetch(url)
        for wrong in ("user:wrong", "nocolon"):
            way_out.materials = MemoryMaterials(secrets={"corp": wrong})
            way_out.rebuild()
            for url in urls:
                with pytest.raises(OperationError) as caught:
                    await way_out.fetch(url)
                assert way_out.last_record().reason is Reason.PROXY_FAILED
                assert wrong not in caught.value.message
        way_out.materials = MemoryMaterials(secrets={"corp": "user:pass"})
        way_out.rebuild()
        for url in urls:
            response = await way_out.fetch(url, headers=[(b"proxy-authorization", b"mine")])
            assert response.status == 200
        for server in (plain, upstream):
            assert all(request.header("proxy-authorization") is None for request in server.requests)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 No\r\n\r\n",
        b"HTTP/1.1 502 No\r\ncontent-length: 2\r\n\r\nno",
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"a" * MAX_ANSWER_BYTES,
        b"",
    ],
)
async def test_a_proxy_that_does_not_open_the_tunnel_is_a_failure_of_its_own(
    way_out: WayOut, answer: bytes
) -> None:
    way_out.dns.set("api.test", "127.0.0.1")
    async with Upstream(tls=server_tls("api.test")) as upstream, ConnectProxy(answer=answer) as proxy:
        way_out.policy = parse_policy(
            policy(f"http://127.0.0.1:{proxy.port}").replace("timeout_ms: 5000", "timeout_ms: 1000")
        )
        with pytest.raises(OperationError, match=r"the egress proxy.*\(proxy\.failed\)") as caught:
            await way_out.fetch(f"https://api.test:{upstream.port}/")
        assert upstream.connections == 0
        assert str(proxy.port) not in caught.value.message
    assert caught.value.code is OperationErrorCode.UPSTREAM_FAILED
    assert way_out.connector.in_use == 0


async def test_a_proxy_that_is_down_unknown_or_not_itself(way_out: WayOut) -> None:
    way_out.dns.set("api.test", "127.0.0.1")
    way_out.dns.set("liar.test", "127.0.0.1")
    async with ConnectProxy(server_tls("proxy.test")) as proxy:
        port = proxy.port
        for url in ("http://nowhere.test:3128", f"https://liar.test:{port}", f"https://127.0.0.1:{port}"):
            way_out.policy = parse_policy(policy(url))
            for scheme in ("http", "https"):
                with pytest.raises(OperationError, match=r"\(proxy\.failed\)"):
                    await way_out.fetch(f"{scheme}://api.test/")
        assert proxy.requests == []
    way_out.policy = parse_policy(policy(f"http://127.0.0.1:{port}"))
    with pytest.raises(OperationError, match=r"\(proxy\.failed\)"):
        await way_out.fetch("https://api.test/")


async def test_the_target_is_verified_by_name_inside_the_tunnel(way_out: WayOut) -> None:
    way_out.dns.set("bad.test", "127.0.0.1")
    async with Upstream(tls=server_tls("good.test")) as upstream, ConnectProxy() as proxy:
        way_out.policy = parse_policy(policy(f"http://127.0.0.1:{proxy.port}"))
        with pytest.raises(OperationError, match=r"TLS with bad\.test failed"):
            await way_out.fetch(f"https://bad.test:{upstream.port}/")
        assert upstream.requests == []


async def test_tenants_do_not_share_a_tunnel(way_out: WayOut) -> None:
    way_out.dns.set("api.test", "127.0.0.1")
    async with Upstream(tls=server_tls("api.test")) as upstream, ConnectProxy() as proxy:
        way_out.policy = parse_policy(policy(f"http://127.0.0.1:{proxy.port}"))
        for tenant in ("a", "b", "a"):
            await read_all(await way_out.fetch(f"https://api.test:{upstream.port}/", tenant=tenant))
        assert len(proxy.requests) == 2


def test_the_connect_target_is_an_address_in_the_form_that_a_port_can_follow() -> None:
    assert connect_request(Pinned("2001:db8::1", 443), "") == (
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nhost: [2001:db8::1]:443\r\n\r\n"
    )
    assert b"\r\nproxy-authorization: Basic x\r\n\r\n" in connect_request(Pinned("192.0.2.1", 1), "Basic x")


def test_an_answer_is_whole_only_with_its_empty_line() -> None:
    assert read_answer(b"HTTP/1.1 200") is False
    assert read_answer(b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n") is True
    assert read_answer(b"HTTP/1.1 200\r\n\r\n") is True
    with pytest.raises(ProxyFailed, match="407"):
        read_answer(b"HTTP/1.1 407 Auth\r\n\r\n")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_upstream_that_was_sent_the_proxys_credentials_does_not_hand_them_to_the_worker(
    way_out: WayOut, scheme: str
) -> None:
    """Proxies exist that forward what was meant for them, and upstreams that say what they were sent."""
    basic = BASIC.removeprefix("Basic ")

    async def echo(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        respond(
            writer, 200, b"", f"x-echo: {BASIC}", f"x-plain: {PLAIN}", f"x-twice: {quote(BASIC)}", "x-k: v"
        )

    way_out.materials = MemoryMaterials(secrets={"corp": PLAIN})
    way_out.rebuild()
    way_out.dns.set("api.test", "127.0.0.1")
    tls = server_tls("api.test") if scheme == "https" else None
    async with Upstream(echo, tls=tls) as upstream, ConnectProxy(authorization=BASIC) as proxy:
        way_out.policy = parse_policy(
            policy(f"http://127.0.0.1:{proxy.port}", credentials=", credentials: corp")
        )
        response = await way_out.fetch(f"{scheme}://api.test:{upstream.port}/")
    headers = dict(response.headers)
    assert headers[b"x-k"] == b"v"
    assert basic not in repr(response.headers)
    assert PLAIN not in repr(response.headers)
    assert headers[b"x-plain"] == b"[removed]"
