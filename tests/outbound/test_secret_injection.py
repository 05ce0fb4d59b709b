"""Rule held: a secret goes to the host that its rule names, over TLS, and is seen nowhere else: in no redirect,
header that comes back, error, log or record.
"""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import OperationError, OperationErrorCode
from outbound.memory_materials import MemoryMaterials
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from outbound.secret_injection import Redactor, spellings_of
from tests.outbound.conftest import WayOut, read_all, server_tls
from tests.support.upstream import Upstream, UpstreamRequest, respond

SECRET = "s3cr/t+va lue~9f8e"


def policy(secrets: str, more: str = "", scheme: str = "https") -> str:
    return f"""
version: 1
rules:
  - name: pay
    action: allow
    scheme: {scheme}
    host: pay.test
    open_cidrs: [127.0.0.0/8]
    timeout_ms: 5000
    secrets: [{secrets}]
    {more}
  - {{name: rest, action: allow, open_cidrs: [127.0.0.0/8], timeout_ms: 5000}}
"""


BEARER = "{header: Authorization, secret: stripe, template: 'Bearer {secret}'}"


@pytest.fixture
def paying(way_out: WayOut) -> WayOut:
    way_out.materials = MemoryMaterials(secrets={"stripe": SECRET})
    way_out.rebuild()
    way_out.dns.set("pay.test", "127.0.0.1")
    way_out.dns.set("other.test", "127.0.0.1")
    way_out.policy = parse_policy(policy(BEARER))
    return way_out


async def test_a_secret_replaces_what_the_worker_sent_and_goes_to_its_host_alone(paying: WayOut) -> None:
    async with Upstream(tls=server_tls("pay.test", "other.test")) as upstream:
        for host in ("pay.test", "other.test"):
            await read_all(
                await paying.fetch(
                    f"https://{host}:{upstream.port}/", headers=[(b"Authorization", b"mine"), (b"x", b"y")]
                )
            )
        sent = [
            [value for name, value in request.headers if name == "authorization"]
            for request in upstream.requests
        ]
    assert sent == [[f"Bearer {SECRET}"], ["mine"]]


def echoes(secret: str) -> list[bytes]:
    plain = secret.encode()
    return [
        plain,
        b"Bearer " + plain,
        base64.b64encode(plain),
        base64.urlsafe_b64encode(plain).rstrip(b"="),
        base64.b64encode(b"user:" + plain),
        base64.b64encode(b"ab:" + plain + b"tail"),
        base64.b64encode(b"abc:" + plain),
        quote(secret, safe="").encode(),
        quote(secret, safe="").lower().encode(),
        quote(quote(secret, safe=""), safe="").encode(),
        plain.hex().encode(),
        plain.hex().upper().encode(),
        plain.upper(),
        plain.title(),
        json.dumps({"seen": secret}).encode(),
        html.escape(secret).encode(),
        quote(base64.b64encode(plain).decode(), safe="").encode(),
        quote("Basic " + base64.b64encode(b"u:" + plain).decode(), safe="").encode(),
    ]


@pytest.mark.parametrize("secret", [SECRET, "q\"uo\\te<d>&'s", "ab+cd/ef=="])
def test_every_spelling_is_taken_out(secret: str) -> None:
    for value in echoes(secret):
        ((_, came),) = Redactor([secret]).headers([(b"x", value)])
        assert b"[removed]" in came, value
        assert secret.encode() not in came


@pytest.mark.parametrize(
    "echo", ["user:hunter22", "hunter22", "Basic dXNlcjpodW50ZXIyMg==", "user%3Ahunter22"]
)
def test_what_basic_credentials_hold_is_taken_out_too(echo: str) -> None:
    ((_, came),) = Redactor(["dXNlcjpodW50ZXIyMg=="]).headers([(b"x", echo.encode())])
    assert b"hunter22" not in came
    assert b"dXNlcjpodW50ZXIyMg" not in came


async def test_echoed_headers_come_back_without_it(paying: WayOut) -> None:
    async def echo(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        lines = [f"x-echo-{number}: {value.decode()}" for number, value in enumerate(echoes(SECRET))]
        respond(writer, 200, SECRET.encode(), "x-plain: kept", *lines)

    async with Upstream(echo, tls=server_tls("pay.test")) as upstream:
        response = await paying.fetch(f"https://pay.test:{upstream.port}/")
        body = await read_all(response)
    headers = dict(response.headers)
    assert headers[b"x-plain"] == b"kept"
    for number, value in enumerate(echoes(SECRET)):
        came = headers[f"x-echo-{number}".encode()]
        assert b"[removed]" in came, value
        assert SECRET.encode() not in came
    assert body == SECRET.encode(), "bodies are the upstream's own affair, as docs/policy.md says"


@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60),
    before=st.binary(max_size=9),
    after=st.binary(max_size=9),
)
def test_base64_of_anything_around_a_secret_is_found(secret: str, before: bytes, after: bytes) -> None:
    value = base64.b64encode(before + secret.encode() + after)
    (header,) = Redactor([secret]).headers([(b"x", value)])
    assert b"[removed]" in header[1]


def test_a_short_secret_has_no_spelling_that_everything_holds() -> None:
    assert spellings_of("ab") == {b"ab", b"6162"}
    assert Redactor(["q"]).headers([(b"a", b"1q2"), (b"q", b"1")]) == [(b"a", b"1[removed]2")]


async def test_a_secret_never_leaves_in_the_clear_unless_the_rule_says_so(paying: WayOut) -> None:
    paying.policy = parse_policy(policy("{header: x-key, secret: stripe, plaintext: true}", scheme="http"))
    async with Upstream() as upstream:
        await read_all(await paying.fetch(f"http://pay.test:{upstream.port}/"))
        assert upstream.requests[0].header("x-key") == SECRET
        plain = parse_policy(policy("{header: x-key, secret: stripe, plaintext: true}", scheme="http"))
        rule = plain.rules[0]
        object.__setattr__(
            rule.plan.secrets[0], "allow_plaintext", False
        )  # no document can say this of an http rule
        paying.policy = plain
        with pytest.raises(OperationError, match="over TLS only") as caught:
            await paying.fetch(f"http://pay.test:{upstream.port}/")
        assert len(upstream.requests) == 1
    assert caught.value.code is OperationErrorCode.DENIED
    assert paying.last_record().reason is Reason.SECRET_PLAINTEXT


@pytest.mark.parametrize("value", [None, "", "a\r\nb: c", "grün"])
async def test_a_secret_that_is_missing_or_no_header_value_stops_the_request(
    paying: WayOut, value: str | None
) -> None:
    paying.materials = MemoryMaterials(secrets={} if value is None else {"stripe": value})
    paying.rebuild()
    async with Upstream(tls=server_tls("pay.test")) as upstream:
        with pytest.raises(OperationError, match=r"secret 'stripe' .*\(secret\.missing\)") as caught:
            await paying.fetch(f"https://pay.test:{upstream.port}/")
        assert upstream.connections == 0
    assert caught.value.code is OperationErrorCode.UNAVAILABLE
    if value:
        assert value not in caught.value.message


async def test_no_redirect_to_another_origin_takes_a_secret_along(paying: WayOut) -> None:
    """Not even to a host that its own rule names: whoever redirects must not choose where secrets go."""
    paying.policy = parse_policy(
        policy(BEARER, "follow_redirects: 5").replace("host: pay.test", "host: [pay.test, two.test]")
    )
    paying.dns.set("two.test", "127.0.0.1")
    ways: dict[str, str] = {}

    async def redirect(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        where = ways.get(f"{(request.header('host') or '').partition(':')[0]}{request.target}")
        if where is None:
            respond(writer, 200, b"end")
        else:
            respond(writer, 302, b"", f"location: {where}")

    async with Upstream(redirect, tls=server_tls("pay.test", "two.test")) as upstream:
        ways["pay.test/"] = "/same"
        ways["pay.test/same"] = f"https://two.test:{upstream.port}/"
        ways["two.test/"] = f"https://pay.test:{upstream.port}/back"
        response = await paying.fetch(
            f"https://pay.test:{upstream.port}/", headers=[(b"cookie", b"c=1"), (b"x-mine", b"1")]
        )
        assert await read_all(response) == b"end"
        seen = [
            (
                request.target,
                request.header("authorization"),
                request.header("cookie"),
                request.header("x-mine"),
            )
            for request in upstream.requests
        ]
    assert seen == [
        ("/", f"Bearer {SECRET}", "c=1", "1"),
        ("/same", f"Bearer {SECRET}", "c=1", "1"),
        ("/", None, None, "1"),
        ("/back", None, None, "1"),
    ]


async def test_a_location_that_holds_the_secret_does_not_take_it_there(paying: WayOut) -> None:
    paying.policy = parse_policy(policy(BEARER, "follow_redirects: 1"))
    stolen: list[str] = []

    async def thief(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        stolen.append(request.target)
        respond(writer, 200, b"")

    async with Upstream(thief) as evil:

        async def redirect(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
            token = quote(SECRET, safe="")
            respond(writer, 302, b"", f"location: https://pay.test:{pay.port}/?t={token}")

        async with Upstream(redirect, tls=server_tls("pay.test")) as pay:
            with pytest.raises(OperationError, match=r"\(redirect\.limit\)"):
                await paying.fetch(f"https://pay.test:{pay.port}/")
            assert "t=[removed]" in pay.requests[1].target
        assert stolen == []
        assert evil.connections == 0


async def test_no_error_log_or_record_holds_it(paying: WayOut, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def rude(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        if request.target == "/location":
            respond(writer, 302, b"", f"location: ftp://{SECRET.replace(' ', '')}/{SECRET}")
        elif request.target == "/garbage":
            writer.write(f"{SECRET}\r\n\r\n".encode())
        else:
            writer.close()

    paying.policy = parse_policy(policy(BEARER, "follow_redirects: 1"))
    async with Upstream(rude, tls=server_tls("pay.test")) as upstream:
        for path in ("location", "garbage", "closed"):
            with pytest.raises(OperationError) as caught:
                await paying.fetch(f"https://pay.test:{upstream.port}/{path}", "POST")
            assert SECRET not in caught.value.message
    paying.audit.flush()
    assert len(paying.records) == 3
    assert SECRET not in repr(paying.records)
    assert SECRET not in caplog.text
