"""Rule held: what the policy judged is what the upstream gets to see, in whichever way that one reads it: no header
that is dropped, padded or spelled with underscores, and no path with a hidden step up, is one thing here and another
thing there.
"""

from __future__ import annotations

import pytest

from model.errors import OperationError
from model.messages import Headers
from outbound.memory_materials import MemoryMaterials
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from outbound.target import InvalidTarget, parse_target
from tests.outbound.conftest import WayOut, read_all, server_tls
from tests.support.upstream import Upstream

LOCAL = "open_cidrs: [127.0.0.0/8], timeout_ms: 2000"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ([(b"x-mode", b"safe")], True),
        ([(b"X-Mode", b" safe\t")], True),
        ([], False),
        ([(b"x-mode", b"safe"), (b"connection", b"x-mode")], False),  # it does not leave
        ([(b"x-mode", b"other")], False),
    ],
)
async def test_a_header_that_a_rule_asks_for_is_one_that_leaves(
    way_out: WayOut, headers: Headers, allowed: bool
) -> None:
    way_out.policy = parse_policy(f"""
version: 1
rules:
  - {{name: a, action: allow, {LOCAL}, when: 'any(http.request.headers["x-mode"][*] eq "safe")'}}
""")
    async with Upstream() as upstream:
        url = f"http://127.0.0.1:{upstream.port}/"
        if allowed:
            await read_all(await way_out.fetch(url, headers=headers))
            assert upstream.requests[0].header("x-mode") == "safe"
        else:
            with pytest.raises(OperationError, match=r"policy\.default_deny"):
                await way_out.fetch(url, headers=headers)
            assert upstream.connections == 0


@pytest.mark.parametrize("value", [b"evil", b" evil", b"evil\t"])
async def test_a_header_that_a_rule_denies_is_denied_however_it_is_padded(
    way_out: WayOut, value: bytes
) -> None:
    way_out.policy = parse_policy(f"""
version: 1
rules:
  - {{name: no, action: deny, when: 'any(http.request.headers["x-mode"][*] eq "evil")'}}
  - {{name: a, action: allow, {LOCAL}}}
""")
    async with Upstream() as upstream:
        with pytest.raises(OperationError, match="rule 'no'"):
            await way_out.fetch(f"http://127.0.0.1:{upstream.port}/", headers=[(b"x-mode", value)])
        assert upstream.connections == 0


async def test_a_workers_header_is_no_second_one_beside_a_rules_for_gateways_that_read_underscores(
    way_out: WayOut,
) -> None:
    """CGI and WSGI make one variable of `x-team` and `x_team`: whichever comes last would speak for the platform."""
    way_out.materials = MemoryMaterials(secrets={"key": "s3cret"})
    way_out.rebuild()
    way_out.dns.set("api.test", "127.0.0.1")
    way_out.policy = parse_policy(f"""
version: 1
rules:
  - name: a
    action: allow
    scheme: https
    host: api.test
    {LOCAL.replace(", ", chr(10) + "    ")}
    headers: {{set: {{x-team: shop}}, remove: [x-debug]}}
    secrets: [{{header: x-api-key, secret: key}}]
""")
    async with Upstream(tls=server_tls("api.test")) as upstream:
        sent = [(b"X_Team", b"root"), (b"x_debug", b"1"), (b"x_api-key", b"mine"), (b"x_other", b"1")]
        await read_all(await way_out.fetch(f"https://api.test:{upstream.port}/", headers=sent))
        seen = {(n, v) for n, v in upstream.requests[0].headers if n.startswith("x")}
    assert seen == {("x-team", "shop"), ("x-api-key", "s3cret"), ("x_other", "1")}


@pytest.mark.parametrize(
    "path",
    [
        "/public/..;/admin",  # path parameters: Tomcat and Jetty drop them, then step up
        "/public/..;a=b/admin",
        "/public/..;",
        "/public/.;x/../admin/..;/b",
        "/public/%2e%2e;/admin",
        "/public/..%3b/admin",
        "/public/..%3Bx/admin",
        "/public/%c0%ae%c0%ae/admin",  # RFC 3629 §10: overlong; no reader should, some do
        "/public/..%c0%afadmin",
        "/public/%C0%AE./admin",
        "/public/%e0%80%ae%e0%80%ae/admin",
        "/public/..%2f..%2fadmin",
        "/public/..%5c..%5cadmin",
    ],
)
def test_a_step_up_that_only_some_would_take_is_refused(path: str) -> None:
    with pytest.raises(InvalidTarget) as caught:
        parse_target(f"https://a.test{path}")
    assert caught.value.reason is Reason.URL_PATH


@pytest.mark.parametrize(
    "path", ["/a;b/c", "/a..;b/c", "/..a;/c", "/...;/c", "/caf%C3%A9/%E2%80%A6", "/a%3Bb"]
)
def test_what_only_looks_like_one_is_not(path: str) -> None:
    assert parse_target(f"https://a.test{path}").path == path
