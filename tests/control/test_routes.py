"""A route is kept in one spelling, ties are refused, and the data plane reads each hostname's routes at once."""

from __future__ import annotations

from typing import Any

import pytest

from model.identity import NamespaceName, ScriptName
from model.scripts import HostnameRoutes, Route, ScriptRef, Target
from tests.control.support import ACCOUNT, ROUTES, Host, ok, refused

HOSTNAMES = f"{ACCOUNT}/workers/dispatch/hostnames"
TARGET = {"namespace": "prod", "script": "shop"}


@pytest.fixture
async def shop(host: Host) -> Target:
    await host.namespace()
    ok(await host.deploy("shop", "prod"))
    return Target(script=ScriptRef(NamespaceName("prod"), ScriptName("shop")))


async def create(host: Host, hostname: str, **more: Any) -> str:
    body = {"hostname": hostname, "target": TARGET, **more}
    return str(ok(await host.api.post(ROUTES, json=body))["id"])


@pytest.mark.parametrize(
    ("hostname", "pattern"),
    [
        ("Shop.Example.COM.", "shop.example.com"),
        ("*.example.com", "*.example.com"),
        ("*", "*"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("10.0.0.1", "10.0.0.1"),
        ("*.localhost", "*.localhost"),
    ],
)
async def test_a_hostname_has_one_spelling(host: Host, shop: Target, hostname: str, pattern: str) -> None:
    route_id = await create(host, hostname)
    assert host.store.hostname_routes(pattern) == HostnameRoutes((Route(route_id, pattern, "", (), shop),))
    assert ok(await host.api.get(f"{ROUTES}/{route_id}"))["hostname"] == pattern


@pytest.mark.parametrize(
    ("prefix", "kept"),
    [
        ("", ""),
        ("/", ""),
        ("/api", "/api"),
        ("/api/", "/api"),
        ("/a%2Fb", "/a%2Fb"),
        ("/~x", "/~x"),
        (None, ""),
    ],
)
async def test_a_prefix_has_one_spelling(host: Host, shop: Target, prefix: str | None, kept: str) -> None:
    route_id = await create(host, "a.example.com", path_prefix=prefix)
    assert ok(await host.api.get(f"{ROUTES}/{route_id}"))["path_prefix"] == kept


async def test_routes_of_one_hostname_are_read_together_the_longest_prefix_first(
    host: Host, shop: Target
) -> None:
    for prefix in ("", "/api", "/api/v1"):
        await create(host, "a.example.com", path_prefix=prefix)
    await create(host, "b.example.com")
    found = host.store.hostname_routes("a.example.com")
    assert found is not None
    assert [route.path_prefix for route in found.routes] == ["/api/v1", "/api", ""]
    assert host.store.hostname_routes("c.example.com") is None


async def test_a_tie_is_refused_and_names_the_other(host: Host, shop: Target) -> None:
    ok(await host.api.put(f"{HOSTNAMES}/a.example.com", json={"header_routes": True}))
    headers = [{"name": "X-Beta", "value": "1"}, {"name": "x-a", "value": "2"}]
    route_id = await create(host, "a.example.com", path_prefix="/x", headers=headers)
    state = host.state()
    same = {"hostname": "A.example.com", "path_prefix": "/x/", "headers": headers[::-1], "target": TARGET}
    assert route_id in refused(await host.api.post(ROUTES, json=same), 409, 20002, "hostname")
    assert host.state() == state
    other = {**same, "headers": headers[:1]}
    second = ok(await host.api.post(ROUTES, json=other))["id"]
    refused(await host.api.put(f"{ROUTES}/{second}", json=same), 409, 20002)
    ok(await host.api.put(f"{ROUTES}/{route_id}", json=same))  # a route is no tie with itself


async def test_routes_by_different_headers_tie_where_a_request_could_have_both(
    host: Host, shop: Target
) -> None:
    ok(await host.api.put(f"{HOSTNAMES}/a.example.com", json={"header_routes": True}))
    await create(host, "a.example.com", headers=[{"name": "x", "value": "1"}])
    body: dict[str, Any] = {"hostname": "a.example.com", "target": TARGET}
    refused(await host.api.post(ROUTES, json={**body, "headers": [{"name": "y", "value": "1"}]}), 409, 20002)
    # One header can't have both values, more conditions go first, and so does a longer prefix.
    await create(host, "a.example.com", headers=[{"name": "x", "value": "2"}])
    await create(host, "a.example.com", headers=[{"name": n, "value": "1"} for n in "xy"])
    await create(host, "a.example.com", path_prefix="/p", headers=[{"name": "y", "value": "1"}])


async def test_header_routes_work_only_where_they_are_enabled(host: Host, shop: Target) -> None:
    body = {"hostname": "a.example.com", "headers": [{"name": "x", "value": "1"}], "target": TARGET}
    message = refused(await host.api.post(ROUTES, json=body), 400, 20003, "headers")
    assert '/workers/dispatch/hostnames/a.example.com {"header_routes": true}' in message
    refused(await host.api.get(f"{HOSTNAMES}/a.example.com"), 404, 20005)
    ok(await host.api.put(f"{HOSTNAMES}/A.example.com", json={"header_routes": True}))
    assert ok(await host.api.get(f"{HOSTNAMES}/a.example.com"))["header_routes"] is True
    assert host.store.hostname_routes("a.example.com") == HostnameRoutes((), header_routes=True)
    route_id = ok(await host.api.post(ROUTES, json=body))["id"]
    plain = await create(host, "a.example.com")
    found = host.store.hostname_routes("a.example.com")
    assert found is not None
    assert {route.headers for route in found.routes} == {(("x", "1"),), ()}
    for response in (
        await host.api.put(f"{HOSTNAMES}/a.example.com", json={"header_routes": False}),
        await host.api.delete(f"{HOSTNAMES}/a.example.com"),
    ):
        assert route_id in refused(response, 409, 20004)
    ok(await host.api.delete(f"{HOSTNAMES}/a.example.com?force=true"))
    found = host.store.hostname_routes("a.example.com")
    assert found is not None
    assert [route.id for route in found.routes] == [plain]
    assert found.header_routes is False


async def test_each_change_is_in_the_log_with_its_pattern(host: Host, shop: Target) -> None:
    before = host.sequence.load()
    route_id = await create(host, "a.example.com")
    body = {"hostname": "b.example.com", "target": TARGET}
    ok(await host.api.put(f"{ROUTES}/{route_id}", json=body))
    assert host.store.hostname_routes("a.example.com") is None
    ok(await host.api.delete(f"{ROUTES}/{route_id}"))
    assert host.store.hostname_routes("b.example.com") is None
    _, changes = host.store.changes_since(before)
    assert changes == [("route", "a.example.com"), ("route", "b.example.com")]


async def test_targets_are_scripts_plain_scripts_and_hooks(host: Host, shop: Target) -> None:
    ok(await host.deploy("front"))
    for number, target in enumerate((TARGET, {"script": "front"}, {"hook": "main"})):
        body = {"hostname": f"h{number}.example.com", "target": target}
        assert ok(await host.api.post(ROUTES, json=body))["target"] == target
    plain = host.store.hostname_routes("h1.example.com")
    hook = host.store.hostname_routes("h2.example.com")
    assert plain is not None
    assert hook is not None
    assert plain.routes[0].target == Target(script=ScriptRef(None, ScriptName("front")))
    assert hook.routes[0].target == Target(hook="main")


async def test_lists_go_page_by_page_until_an_empty_one(host: Host, shop: Target) -> None:
    for number in range(5):
        await create(host, f"h{number}.example.com")
    seen = []
    for page in range(1, 5):
        body = (await host.api.get(f"{ROUTES}?per_page=2&page={page}")).json()
        assert body["result_info"] == {
            "page": page,
            "per_page": 2,
            "count": len(body["result"]),
            "total_count": 5,
            "total_pages": 3,
        }
        seen.append([route["hostname"][:2] for route in body["result"]])
    assert seen == [["h0", "h1"], ["h2", "h3"], ["h4"], []]
    assert len(ok(await host.api.get(f"{ROUTES}?hostname=H3.example.com"))) == 1
