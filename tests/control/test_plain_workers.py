"""What clients ask of plain scripts around an upload. Nothing is said to be there that is not; a hostname is never
taken from who has it.
"""

from __future__ import annotations

from typing import Any

from tests.control.support import ACCOUNT, ROUTES, Host, ok, refused, script_path

SERVICES = f"{ACCOUNT}/workers/services"


async def test_every_service_is_said_not_to_be_there_so_that_a_client_uploads_all(host: Host) -> None:
    await host.deploy("door")
    for name in ("door", "nobody"):
        message = refused(await host.api.request("GET", f"{SERVICES}/{name}"), 404, 10090)
        assert "an upload is live at once" in message


async def test_a_script_is_deleted_as_a_service(host: Host) -> None:
    await host.deploy("door")
    ok(await host.api.request("DELETE", f"{SERVICES}/door?force=true"))
    refused(await host.api.request("GET", script_path("door")), 404, 10007)
    refused(await host.api.request("DELETE", f"{SERVICES}/door"), 404, 10007)


async def test_the_only_deployment_is_the_version_that_is_served(host: Host) -> None:
    await host.namespace()
    for namespace in (None, "prod"):
        version = ok(await host.deploy("shop", namespace))["deployment_id"]
        (found,) = ok(await host.api.request("GET", f"{script_path('shop', namespace)}/deployments"))[
            "deployments"
        ]
        assert found["versions"] == [{"version_id": version, "percentage": 100}]
    refused(await host.api.request("GET", f"{script_path('nobody')}/deployments"), 404, 10007)


async def test_there_is_no_workers_dev_and_nothing_turns_it_on(host: Host) -> None:
    await host.deploy("door")
    message = refused(await host.api.request("GET", f"{ACCOUNT}/workers/subdomain"), 404, 10063)
    assert '"workers_dev": false' in message
    off = {"enabled": False, "previews_enabled": False}
    subdomain = f"{script_path('door')}/subdomain"
    assert ok(await host.api.request("GET", f"{ACCOUNT}/workers/workers/door"))["subdomain"] == off
    assert ok(await host.api.request("POST", subdomain, json=off)) == off
    for wanted in ("enabled", "previews_enabled"):
        refused(await host.api.request("POST", subdomain, json=off | {wanted: True}), 400, 10063, wanted)
    assert ok(await host.api.request("GET", subdomain)) == off
    for name in ("subdomain", "domains/changeset"):
        method = "GET" if name == "subdomain" else "POST"
        refused(await host.api.request(method, f"{script_path('nobody')}/{name}", json=[]), 404, 10007)


async def put_domains(host: Host, script: str, *hostnames: str) -> Any:
    origins = [{"hostname": hostname, "zone_id": None} for hostname in hostnames]
    return await host.api.request("PUT", f"{script_path(script)}/domains/records", json={"origins": origins})


async def leads_to(host: Host) -> dict[str, str]:
    return {
        route["hostname"]: route["target"]["script"] for route in ok(await host.api.request("GET", ROUTES))
    }


async def test_a_domain_becomes_a_route_once_and_none_is_taken_away(host: Host) -> None:
    await host.deploy("door")
    ok(await put_domains(host, "door", "shop.example"))
    ok(await put_domains(host, "door", "SHOP.example", "www.shop.example", "www.shop.example"))
    ok(await put_domains(host, "door"))
    assert await leads_to(host) == {"shop.example": "door", "www.shop.example": "door"}


async def test_a_domain_that_leads_elsewhere_is_refused_before_anything_is_changed(host: Host) -> None:
    await host.deploy("door")
    await host.deploy("other")
    ok(await put_domains(host, "other", "taken.example"))
    changes = await host.api.request(
        "POST",
        f"{script_path('door')}/domains/changeset?replace_state=true",
        json=[{"hostname": "new.example"}, {"hostname": "taken.example"}],
    )
    shown = ok(changes)
    assert [found["hostname"] for found in shown["added"]] == ["new.example"]
    assert [found["hostname"] for found in shown["conflicting"]] == ["taken.example"]
    message = refused(await put_domains(host, "door", "new.example", "taken.example"), 409, 20002)
    assert "'taken.example'" in message
    assert await leads_to(host) == {"taken.example": "other"}


async def test_a_domain_that_is_none_is_named(host: Host) -> None:
    await host.deploy("door")
    refused(await put_domains(host, "door", "shop.example", "no host"), 400, 10021, "origins[1].hostname")


async def test_a_token_is_no_users(host: Host) -> None:
    refused(await host.api.request("GET", "/client/v4/user"), 403, 9109)
    refused(await host.api.request("GET", "/client/v4/memberships"), 403, 10000)
