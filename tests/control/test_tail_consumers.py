"""Who may be told of a script's events: scripts of the same tenant, and plain ones, with a `tail` handler."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control.support import Host, ok, refused, script_path, worker_module


async def deploy(
    host: Host, name: str, namespace: str | None = "prod", handler: str = "fetch", **metadata: Any
) -> Any:
    return await host.deploy(name, namespace, module=worker_module(handler), **metadata)


async def test_a_consumer_is_kept_and_shown(host: Host) -> None:
    await host.namespace()
    ok(await deploy(host, "own-tail", handler="tail", tenant="acme"))
    ok(await deploy(host, "all-tails", None, handler="tail"))
    named = [
        {"service": "own-tail"},
        {"service": "all-tails", "environment": "production"},
        {"service": "own-tail"},
    ]
    shown = ok(await deploy(host, "shop", tenant="acme", tail_consumers=named))
    wanted = [{"service": "own-tail"}, {"service": "all-tails"}]
    assert shown["tail_consumers"] == wanted
    assert ok(await host.api.get(script_path("shop", "prod") + "/settings"))["tail_consumers"] == wanted
    # An upload replaces them, as it does bindings; a change of tags does not.
    ok(await host.api.put(script_path("shop", "prod") + "/tags", json=["a"]))
    assert ok(await host.api.get(script_path("shop", "prod")))["script"]["tail_consumers"] == wanted
    assert ok(await deploy(host, "shop", tenant="acme"))["tail_consumers"] == []


@pytest.mark.parametrize(
    ("consumers", "status", "words"),
    [
        ([{"service": "gone"}], 400, "there is no script 'gone'"),
        ([{"service": "rivals"}], 403, "belongs to tenant 'rival'"),
        ([{"service": "silent"}], 400, "exports no `tail` handler"),
        ([{"service": "shop"}], 400, "exports no `tail` handler"),  # itself
        ([{"service": "../up"}], 400, "tail_consumers[0].service"),
        ([{}], 400, "tail_consumers[0].service"),
        ([{"service": "mine", "namespace": "other"}], 400, "tail_consumers[0].namespace"),
        ([{"service": f"s{n}"} for n in range(9)], 400, "at most 8"),
        ([7], 400, "tail_consumers"),
    ],
)
async def test_who_can_not_be_told_is_refused(
    host: Host, consumers: list[Any], status: int, words: str
) -> None:
    await host.namespace()
    ok(await deploy(host, "mine", handler="tail", tenant="acme"))
    ok(await deploy(host, "silent", tenant="acme"))
    ok(await deploy(host, "rivals", handler="tail", tenant="rival"))
    response = await deploy(host, "shop", tenant="acme", tail_consumers=consumers)
    assert response.status_code == status
    assert words in response.json()["errors"][0]["message"]
    refused(await host.api.get(script_path("shop", "prod")), 404, 10092)


async def test_a_script_with_a_tail_handler_may_be_told_of_itself(host: Host) -> None:
    await host.namespace()
    shown = ok(await deploy(host, "own", handler="tail", tenant="acme", tail_consumers=[{"service": "own"}]))
    assert shown["tail_consumers"] == [{"service": "own"}]


async def test_nobody_gets_the_traces_of_another_tenant_by_taking_a_consumers_name(host: Host) -> None:
    await host.namespace()
    ok(await deploy(host, "all-tails", None, handler="tail"))
    ok(await deploy(host, "shop", tenant="acme", tail_consumers=[{"service": "all-tails"}]))
    response = await deploy(host, "all-tails", handler="tail", tenant="rival")
    assert response.status_code == 409
    assert "tail_consumers of script 'shop'" in response.json()["errors"][0]["message"]
    # Once nobody's traces go there, the name is free.
    ok(await deploy(host, "shop", tenant="acme"))
    ok(await deploy(host, "all-tails", handler="tail", tenant="rival"))


async def test_a_consumer_in_use_is_deleted_only_by_force(host: Host) -> None:
    await host.namespace()
    ok(await deploy(host, "own-tail", handler="tail", tenant="acme"))
    ok(await deploy(host, "shop", tenant="acme", tail_consumers=[{"service": "own-tail"}]))
    response = await host.api.delete(script_path("own-tail", "prod"))
    assert response.status_code == 409
    assert "tail_consumers of script 'shop'" in response.json()["errors"][0]["message"]
    ok(await host.api.delete(script_path("own-tail", "prod") + "?force=true"))
