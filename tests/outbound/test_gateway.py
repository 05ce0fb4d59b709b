"""Rule held: a request leaves only along parse → policy → resolve → classify → pinned connect; every
refusal says why, names its rule, and is on record; nothing of one tenant's way out is used by another.
"""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from msgspec.structs import replace

from model.errors import OperationError, OperationErrorCode, UpstreamError
from model.messages import Body, ByteSource, Headers, OutgoingRequest, StreamClosed
from outbound.addresses import AddressRanges
from outbound.connector import Connector
from outbound.gateway import Gateway
from outbound.hops import HopSigner
from outbound.policy import DENY_ALL, EgressPolicy, Result
from outbound.policy_layers import EffectivePolicy
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from tests.outbound.conftest import CLOSED, WayOut, alone, event, read_all, server_tls
from tests.support.upstream import Upstream, UpstreamRequest, respond


class PieceSource:
    """`count` pieces of `size` bytes; then the end, or a break."""

    def __init__(self, count: int, size: int = 65_536, breaks: bool = False) -> None:
        self.left = count
        self.piece = b"x" * size
        self.breaks = breaks
        self.closed = False
        self.reads = 0

    async def read(self) -> bytes:
        self.reads += 1
        if self.left == 0:
            if self.breaks:
                raise StreamClosed
            return b""
        self.left -= 1
        return self.piece

    def close(self) -> None:
        self.closed = True


async def test_an_allowed_request_reaches_the_pinned_address_with_the_names_host(way_out: WayOut) -> None:
    way_out.dns.set("api.test", "127.0.0.1")
    async with Upstream() as upstream:
        response = await way_out.fetch(f"http://api.test:{upstream.port}/a?b=1#c", "POST", body=b"ping")
        assert response.status == 200
        expected = f"POST /a?b=1 api.test:{upstream.port} ping".encode()
        assert await read_all(response) == expected
    record = way_out.last_record()
    assert (record.result, record.rule, record.reason) == (Result.ALLOW, "local", Reason.POLICY_RULE_ALLOW)
    assert (record.address, record.status, record.bytes_up, record.path) == ("127.0.0.1", 200, 4, "/a")
    assert record.bytes_down == len(expected)


async def test_without_a_policy_nothing_leaves(way_out: WayOut, dialled: list[tuple[str, int]]) -> None:
    way_out.policy = DENY_ALL
    with pytest.raises(OperationError, match=r"no rule of the egress policy") as caught:
        await way_out.fetch("https://example.com/")
    assert caught.value.code is OperationErrorCode.DENIED
    assert dialled == []
    assert not way_out.dns.asked
    record = way_out.last_record()
    assert (record.result, record.reason) == (Result.DENY, Reason.POLICY_DEFAULT_DENY)


async def test_a_denial_names_its_rule(way_out: WayOut) -> None:
    way_out.policy = parse_policy("version: 1\nrules: [{name: no-ads, action: deny, host: '*.ads.test'}]")
    with pytest.raises(OperationError, match=r"GET http://x.ads.test/: rule 'no-ads' .*\(policy.rule_deny\)"):
        await way_out.fetch("http://x.ads.test/")
    assert way_out.last_record().rule == "no-ads"


@pytest.mark.parametrize("mode", ["enforce", "report", "open"])
async def test_no_mode_relaxes_the_address_rules(
    way_out: WayOut, dialled: list[tuple[str, int]], mode: str
) -> None:
    rules = "rules: [{name: any, action: allow}]" if mode == "enforce" else "rules: []"
    way_out.policy = parse_policy(f"version: 1\nmode: {mode}\n{rules}")
    way_out.dns.set("inside.test", "10.0.0.1")
    for url in ("http://inside.test/", "http://127.0.0.1/", "http://[::ffff:169.254.169.254]/"):
        with pytest.raises(OperationError) as caught:
            await way_out.fetch(url)
        assert caught.value.code is OperationErrorCode.DENIED
        assert way_out.last_record().result is Result.DENY
    assert dialled == []


async def test_report_allows_what_enforce_would_deny_and_says_so(way_out: WayOut) -> None:
    way_out.policy = parse_policy("version: 1\nmode: report\nrules: [{name: no, action: deny}]")
    with pytest.raises(OperationError, match="loopback"):
        await way_out.fetch("http://127.0.0.1:9/")
    record = way_out.last_record()
    assert record.policy_reason is Reason.POLICY_REPORT_WOULD_DENY
    assert record.reason is Reason.ADDRESS_LOOPBACK


async def test_one_bad_address_denies_the_whole_answer(
    way_out: WayOut, dialled: list[tuple[str, int]]
) -> None:
    way_out.policy = CLOSED
    for name, bad in (("v4.test", "10.0.0.1"), ("v6.test", "::1")):
        way_out.dns.set(name, "93.184.216.34", bad)
        with pytest.raises(OperationError) as caught:
            await way_out.fetch(f"http://{name}/")
        assert caught.value.code is OperationErrorCode.DENIED
    assert "10.0.0.1" not in caught.value.message, "what internal names resolve to stays inside"
    assert dialled == []


async def test_rebinding_answer_after_check_is_not_dialled(
    way_out: WayOut, dialled: list[tuple[str, int]]
) -> None:
    """The name answers a permitted address first and a forbidden one ever after."""
    way_out.policy = parse_policy(
        "version: 1\nrules: [{name: r, action: allow, open_cidrs: [127.0.0.1/32], timeout_ms: 2000}]"
    )
    answers = ["127.0.0.1", "127.0.0.2"]
    way_out.dns.set_answer("rebind.test", "A", lambda n: [("rebind.test.", "A", answers[min(n, 1)])])
    async with Upstream() as upstream:
        assert (await way_out.fetch(f"http://rebind.test:{upstream.port}/")).status == 200
        with pytest.raises(OperationError, match="loopback"):
            await way_out.fetch(f"http://rebind.test:{upstream.port}/")
        assert {address for address, _ in dialled} == {"127.0.0.1"}
        assert upstream.connections == 1
    assert way_out.dns.asked["rebind.test", "A"] == 2


async def test_a_redirect_is_handed_back_and_its_target_judged_anew(
    way_out: WayOut, dialled: list[tuple[str, int]]
) -> None:
    async def redirect(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        respond(writer, 302, b"", "location: http://169.254.169.254/latest/meta-data/")

    async with Upstream(redirect) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        location = dict(response.headers)[b"location"].decode()
        assert response.status == 302
        with pytest.raises(OperationError, match="metadata service"):
            await way_out.fetch(location)
        assert dialled == [("127.0.0.1", upstream.port)]


async def test_a_listener_of_the_platform_is_not_reached_even_when_opened(way_out: WayOut) -> None:
    async with Upstream() as control:
        way_out.ranges = AddressRanges(listener_ports=frozenset({control.port}))
        way_out.rebuild()
        for host in ("127.0.0.1", "127.0.0.9", "[::1]", "[::ffff:127.0.0.1]"):
            with pytest.raises(OperationError, match=r"address\.self_connection"):
                await way_out.fetch(f"http://{host}:{control.port}/")
        assert control.connections == 0


@pytest.mark.parametrize("host", ["[::1]", "[0:0:0:0:0:0:0:1]", "six.test", "[::ffff:127.0.0.1]"])
async def test_ipv6_is_spoken_to_like_ipv4(way_out: WayOut, host: str) -> None:
    way_out.dns.set("six.test", "::1")
    listens_on = "127.0.0.1" if "127" in host else "::1"
    async with Upstream(host=listens_on) as upstream:
        response = await way_out.fetch(f"http://{host}:{upstream.port}/a?b=%20")
        assert (await read_all(response)).startswith(b"GET /a?b=%20 ")
    assert way_out.last_record().address == listens_on


async def test_the_next_checked_address_is_tried_when_one_does_not_accept(way_out: WayOut) -> None:
    async with Upstream(host="127.0.0.2") as upstream:
        way_out.dns.set("two.test", "127.0.0.1", "127.0.0.2")
        response = await way_out.fetch(f"http://two.test:{upstream.port}/", "POST", body=PieceSource(2, 3))
        assert (await read_all(response)).endswith(b"xxxxxx")
    assert way_out.last_record().address == "127.0.0.2"


async def test_nobody_listening_is_an_upstream_failure_without_the_address(way_out: WayOut) -> None:
    way_out.dns.set("down.test", "127.0.0.1")
    async with Upstream() as upstream:
        port = upstream.port
    with pytest.raises(OperationError, match="refused") as caught:
        await way_out.fetch(f"http://down.test:{port}/")
    assert caught.value.code is OperationErrorCode.UPSTREAM_FAILED
    assert "127.0.0.1" not in caught.value.message
    assert way_out.last_record().reason is Reason.CONNECT_FAILED


async def test_unknown_names_and_silent_servers_fail_by_name(way_out: WayOut) -> None:
    with pytest.raises(OperationError, match=r"nowhere\.test has no address") as caught:
        await way_out.fetch("http://nowhere.test/")
    assert caught.value.code is OperationErrorCode.UPSTREAM_FAILED
    way_out.dns.silent = True
    with pytest.raises(OperationError, match=r"silent\.test") as caught:
        await way_out.fetch("http://silent.test/")
    assert caught.value.code is OperationErrorCode.TIMEOUT


async def test_tls_is_verified_by_name_and_sent_as_sni(way_out: WayOut) -> None:
    way_out.dns.set("good.test", "127.0.0.1")
    way_out.dns.set("bad.test", "127.0.0.1")
    seen: list[str | None] = []
    tls = server_tls("good.test")
    tls.sni_callback = lambda socket, name, context: seen.append(name)
    async with Upstream(tls=tls) as upstream:
        response = await way_out.fetch(f"https://good.test:{upstream.port}/")
        assert b"good.test" in await read_all(response)
        with pytest.raises(OperationError, match=r"TLS with bad\.test failed") as caught:
            await way_out.fetch(f"https://bad.test:{upstream.port}/")
        assert caught.value.code is OperationErrorCode.UPSTREAM_FAILED
        assert seen == ["good.test", "bad.test"]
        plain = Connector()
        way_out.connector, trusting = plain, way_out.connector
        way_out.rebuild()
        with pytest.raises(OperationError, match=r"\(tls\.failed\)"):
            await way_out.fetch(f"https://good.test:{upstream.port}/")
        await plain.close()
        way_out.connector = trusting


async def test_connections_are_reused_by_one_tenant_and_never_by_another(way_out: WayOut) -> None:
    async with Upstream() as upstream:
        url = f"http://127.0.0.1:{upstream.port}/"
        for _ in range(3):
            await read_all(await way_out.fetch(url, tenant="a"))
        assert upstream.connections == 1
        await read_all(await way_out.fetch(url, tenant="b"))
        assert upstream.connections == 2
        text = "version: 1\nrules: [{name: local, action: allow, open_cidrs: [127.0.0.0/8]}]"
        way_out.policy = parse_policy(text)
        await read_all(await way_out.fetch(url, tenant="a"))
        assert upstream.connections == 3, "a connection made under another policy is not used"


async def test_the_environment_names_no_proxy(way_out: WayOut, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with Upstream() as upstream:
        assert (await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")).status == 200


async def test_nothing_is_added_decoded_or_remembered(way_out: WayOut) -> None:
    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        respond(writer, 200, b"\x1f\x8bzip", "Content-Encoding: gzip", "Set-Cookie: a=1", "set-cookie: b=2")

    async with Upstream(reply) as upstream:
        for _ in range(2):
            response = await way_out.fetch(
                f"http://127.0.0.1:{upstream.port}/x%41?q={{}}", headers=[(b"X-A", b"1")]
            )
            assert await read_all(response) == b"\x1f\x8bzip"
        assert [v for n, v in response.headers if n == b"set-cookie"] == [b"a=1", b"b=2"]
        names = [name for name, _ in upstream.requests[1].headers]
        assert sorted(names) == ["host", "tenantry-hop", "x-a"]
        assert upstream.requests[1].target == "/x%41?q={}"


BAD_HEADERS: list[tuple[Headers, OperationErrorCode, str]] = [
    ([(b"x", b"a\r\nevil: 1")], OperationErrorCode.INVALID_ARGUMENT, "CR, LF"),
    ([(b"x", b"a\nb")], OperationErrorCode.INVALID_ARGUMENT, "CR, LF"),
    ([(b"x", b"a\x00b")], OperationErrorCode.INVALID_ARGUMENT, "NUL"),
    ([(b"x\r\ny", b"a")], OperationErrorCode.INVALID_ARGUMENT, "no HTTP token"),
    ([(b"x y", b"a")], OperationErrorCode.INVALID_ARGUMENT, "no HTTP token"),
    ([(b"", b"a")], OperationErrorCode.INVALID_ARGUMENT, "no HTTP token"),
    ([(b"x", b"\xff\xfe")], OperationErrorCode.INVALID_ARGUMENT, "neither ASCII nor UTF-8"),
    ([(b"content-length", b"1"), (b"content-length", b"2")], OperationErrorCode.INVALID_ARGUMENT, "length"),
    ([(b"content-length", b"1, 1")], OperationErrorCode.INVALID_ARGUMENT, "no single length"),
    ([(b"content-length", b"-1")], OperationErrorCode.INVALID_ARGUMENT, "no single length"),
    ([(b"content-length", b"5")], OperationErrorCode.INVALID_ARGUMENT, "the body has 0 bytes"),
    ([(b"host", b"other.test")], OperationErrorCode.DENIED, "differs from the URL's"),
    ([(b"upgrade", b"websocket")], OperationErrorCode.DENIED, "upgrade"),
    ([(b"x", b"a" * 70_000)], OperationErrorCode.INVALID_ARGUMENT, "at most 65536"),
    ([(b"x", b"a")] * 129, OperationErrorCode.INVALID_ARGUMENT, "at most 128"),
]


@pytest.mark.parametrize(("headers", "code", "words"), BAD_HEADERS)
async def test_headers_that_could_smuggle_are_refused(
    way_out: WayOut, dialled: list[tuple[str, int]], headers: Headers, code: OperationErrorCode, words: str
) -> None:
    with pytest.raises(OperationError, match=words) as caught:
        await way_out.fetch("http://127.0.0.1:9/", headers=headers)
    assert caught.value.code is code
    assert dialled == []


async def test_hop_by_hop_headers_stop_here_both_ways(way_out: WayOut) -> None:
    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        await request.body()
        respond(
            writer, 200, b"ok", "Connection: keep-alive, X-Private", "X-Private: 1", "Keep-Alive: 5", "X-B: 2"
        )

    headers = [
        (b"Connection", b"close, x-mine"),
        (b"x-mine", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"TE", b"trailers"),
        (b"Proxy-Authorization", b"secret"),
        (b"tenantry-hop", b"1.fake.00000000000000000000000000000000"),
        (b"Expect", b"100-continue"),
        (b"x-kept", "grün".encode()),
    ]
    async with Upstream(reply) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", "POST", headers, b"12345")
        assert await read_all(response) == b"ok"
        sent = upstream.requests[0].headers
    assert sorted(name for name, _ in sent) == ["content-length", "host", "tenantry-hop", "x-kept"]
    assert dict(sent)["content-length"] == "5"
    assert [name for name, _ in response.headers] == [b"content-length", b"x-b"]


@pytest.mark.parametrize(
    ("method", "length"), [("GET", None), ("OPTIONS", None), ("POST", "0"), ("DELETE", "0")]
)
async def test_an_empty_body_is_no_body(way_out: WayOut, method: str, length: str | None) -> None:
    async with Upstream() as upstream:
        for body in (None, b""):
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", method, body=body)
        assert [request.header("content-length") for request in upstream.requests] == [length, length]


async def test_a_bug_is_on_record_and_lets_the_body_go(way_out: WayOut) -> None:
    way_out.policy = cast("EgressPolicy", None)
    source = PieceSource(1)
    with pytest.raises(AttributeError):
        await way_out.fetch("http://127.0.0.1/", "POST", body=source)
    assert source.closed
    assert way_out.last_record().reason is Reason.INTERNAL


async def test_a_policy_that_is_not_in_memory_is_awaited_and_then_decides(way_out: WayOut) -> None:
    async def load() -> EffectivePolicy:
        await asyncio.sleep(0)
        return alone(DENY_ALL)

    way_out.gateway = Gateway(
        lambda context: load(), way_out.resolver, way_out.connector, way_out.audit, hop_key=b"k" * 32
    )
    with pytest.raises(OperationError, match=r"\(policy\.default_deny\)"):
        await way_out.fetch("http://127.0.0.1/")
    record = way_out.last_record()
    assert (record.policy_version, record.layer) == (alone(DENY_ALL).digest, "namespace")


async def test_a_record_says_what_else_the_decision_was_made_of(way_out: WayOut) -> None:
    context = replace(event("t1"), tags=("pro", "eu"), outbound_params={"plan": "gold"})
    async with Upstream() as upstream:
        request = OutgoingRequest("GET", f"http://127.0.0.1:{upstream.port}/", (), None)
        await read_all(await way_out.gateway.fetch(request, context))
    record = way_out.last_record()
    assert (record.tags, dict(record.params)) == (("pro", "eu"), {"plan": "gold"})


async def test_a_call_that_its_dispatcher_narrowed_reaches_no_other_host(way_out: WayOut) -> None:
    way_out.dns.set("a.test", "127.0.0.1")
    way_out.dns.set("b.test", "127.0.0.1")
    context = replace(event("t1"), egress_hosts=("a.test",))
    async with Upstream() as upstream:
        for host, reached in (("a.test", True), ("b.test", False)):
            request = OutgoingRequest("GET", f"http://{host}:{upstream.port}/", (), None)
            if reached:
                await read_all(await way_out.gateway.fetch(request, context))
            else:
                with pytest.raises(OperationError, match=r"\(policy\.default_deny\)"):
                    await way_out.gateway.fetch(request, context)
        assert upstream.connections == 1
    record = way_out.last_record()
    assert (record.layer, record.host) == ("call", "b.test")


async def test_loops_are_cut_by_a_signed_header(way_out: WayOut) -> None:
    signer = HopSigner(b"k" * 32)
    async with Upstream() as upstream:
        url = f"http://127.0.0.1:{upstream.port}/"
        way_out.hops = 7
        await read_all(await way_out.fetch(url))
        value = upstream.requests[0].header("tenantry-hop") or ""
        assert signer.verify(value.encode()) == 8
        way_out.hops = 8
        with pytest.raises(OperationError, match=r"\(request\.loop\)") as caught:
            await way_out.fetch(url)
        assert caught.value.code is OperationErrorCode.DENIED


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "track", "GE T", "", "G\r\nET", "X" * 33])
async def test_methods_that_are_no_request_are_refused(way_out: WayOut, method: str) -> None:
    with pytest.raises(OperationError) as caught:
        await way_out.fetch("http://127.0.0.1:9/", method)
    assert caught.value.code is OperationErrorCode.DENIED
    assert way_out.last_record().reason is Reason.REQUEST_METHOD


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_a_response_without_body_frees_its_connection_at_once(way_out: WayOut, method: str) -> None:
    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        head = (
            b"HTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\n" if method == "HEAD" else b"HTTP/1.1 204 X\r\n\r\n"
        )
        writer.write(head)

    async with Upstream(reply) as upstream:
        for _ in range(2):
            response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", method)
            assert response.body == b""
        assert upstream.connections == 1
    assert way_out.connector.in_use == 0
    assert way_out.last_record().reason is Reason.POLICY_RULE_ALLOW


async def test_a_protocol_switch_is_refused(way_out: WayOut) -> None:
    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")

    async with Upstream(reply) as upstream:
        with pytest.raises(OperationError, match="switched protocols"):
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        await upstream.closed()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 40_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: 1\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n"
        + b"x: "
        + b"a" * 30_000
        + b"\r\ny: "
        + b"a" * 30_000
        + b"\r\nz: "
        + b"a" * 9_000
        + b"\r\n\r\n",
        b"",
    ],
)
async def test_an_upstream_that_speaks_no_http_is_an_upstream_failure(way_out: WayOut, answer: bytes) -> None:
    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with Upstream(reply) as upstream:
        with pytest.raises(OperationError) as caught:
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", "POST")
        assert caught.value.code is OperationErrorCode.UPSTREAM_FAILED
    assert way_out.last_record().reason is Reason.UPSTREAM_FAILED
    assert way_out.connector.in_use == 0


def as_source(body: Body) -> ByteSource:
    assert not isinstance(body, bytes)
    assert body is not None
    return body


async def test_a_truncated_body_is_an_error_and_stays_one(way_out: WayOut) -> None:
    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async with Upstream(reply) as upstream:
        response = await way_out.fetch(f"http://127.0.0.1:{upstream.port}/")
        with pytest.raises(UpstreamError, match="broke off"):
            await read_all(response)
        with pytest.raises(UpstreamError, match="broke off"):
            await as_source(response.body).read()
    assert way_out.last_record().reason is Reason.UPSTREAM_FAILED
