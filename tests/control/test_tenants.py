"""Tenants: who there is, what each may have, and that deleting one leaves nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.cache_store import CachePlace
from storage.control_records import Owner
from storage.failures import StorageLost
from storage.tenant_quotas import Quota
from tests.control.support import ACCOUNT, KV, NAMESPACES, QUEUES, ROUTES, Host, ok, refused

TENANTS = f"{NAMESPACES}/prod/tenants"
D1 = f"{ACCOUNT}/d1/database"
MINE = {"tenant": "acme", "namespace": "prod"}


@pytest.fixture
async def platform(host: Host) -> Host:
    """Two tenants, each with one of everything."""
    await host.namespace()
    for tenant in ("acme", "rival"):
        owner = {"tenant": tenant, "namespace": "prod"}
        kv = ok(await host.api.post(KV, json={"title": f"{tenant}-kv", **owner}))["id"]
        ok(await host.api.put(f"{KV}/{kv}/values/key", content=b"value"))
        queue = ok(await host.api.post(QUEUES, json={"queue_name": f"{tenant}-queue", **owner}))["queue_id"]
        ok(await host.api.post(f"{QUEUES}/{queue}/messages", json={"body": {"n": 1}}))
        d1 = ok(await host.api.post(D1, json={"name": f"{tenant}-db", **owner}))["uuid"]
        bindings = [
            {"type": "kv_namespace", "name": "KV", "namespace_id": kv},
            {"type": "queue", "name": "Q", "queue_name": f"{tenant}-queue"},
            {"type": "d1", "name": "DB", "id": d1},
            {"type": "secret_text", "name": "S", "text": f"secret of {tenant}"},
        ]
        for number in range(2):
            ok(await host.deploy(f"{tenant}-{number}", "prod", tenant=tenant, bindings=bindings))
        target = {"namespace": "prod", "script": f"{tenant}-0"}
        ok(await host.api.post(ROUTES, json={"hostname": f"{tenant}.example.com", "target": target}))
        policy = {"policy": "version: 1\nrules: []\n"}
        await host.api.put(f"{NAMESPACES}/prod/egress-policy/tenants/{tenant}", json=policy)
    return host


async def test_every_owner_is_listed_with_what_it_owns(platform: Host) -> None:
    found = ok(await platform.api.get(TENANTS))
    usage = {"scripts": 2, "routes": 1, "kv_namespaces": 1, "queues": 1, "d1_databases": 1}
    assert found == [
        {"tenant": "acme", "namespace": "prod", "usage": usage},
        {"tenant": "rival", "namespace": "prod", "usage": usage},
    ]
    assert ok(await platform.api.get(TENANTS, params={"page": 2, "per_page": 1}))[0]["tenant"] == "rival"


async def test_usage_is_shown_beside_quotas(platform: Host) -> None:
    shown = ok(await platform.api.get(f"{TENANTS}/acme"))
    assert shown["usage"]["kv_bytes"] == 5 + 256
    assert shown["usage"]["queue_bytes"] > 0
    assert shown["usage"]["d1_bytes"] > 0
    assert shown["secrets"] == 2
    assert shown["quotas"]["scripts"] == {"value": 500, "set_by": "default"}


async def test_unknown_tenant_is_not_found(platform: Host) -> None:
    refused(await platform.api.get(f"{TENANTS}/nobody"), 404, 20030)
    refused(await platform.api.delete(f"{TENANTS}/nobody"), 404, 20030)
    refused(await platform.api.get(f"{NAMESPACES}/none/tenants"), 404, 100119)


async def test_quota_of_the_tenant_wins_over_the_hosts_and_that_over_the_default(platform: Host) -> None:
    platform.store.tenants.put_host_quotas({Quota.QUEUES: 7, Quota.SCRIPTS: None})
    shown = ok(await platform.api.put(f"{TENANTS}/acme/quotas", json={"queues": 3}))
    assert shown["queues"] == {"value": 3, "set_by": "tenant"}
    assert shown["scripts"] == {"value": None, "set_by": "host"}
    assert shown["routes"] == {"value": 1000, "set_by": "default"}
    assert ok(await platform.api.get(f"{TENANTS}/rival/quotas"))["queues"] == {"value": 7, "set_by": "host"}
    shown = ok(await platform.api.put(f"{TENANTS}/acme/quotas", json={}))
    assert shown["queues"] == {"value": 7, "set_by": "host"}


@pytest.mark.parametrize("body", [{"pears": 1}, {"queues": -1}, {"queues": 1 << 63}])
async def test_strange_quotas_are_refused(platform: Host, body: dict[str, int]) -> None:
    refused(await platform.api.put(f"{TENANTS}/acme/quotas", json=body), 400, 10021, next(iter(body)))


@pytest.mark.parametrize("quota", ["scripts", "routes", "kv_namespaces", "queues", "d1_databases"])
async def test_one_more_than_the_quota_is_refused_and_says_which(platform: Host, quota: str) -> None:
    async def make(tenant: str) -> object:
        owner = {"tenant": tenant, "namespace": "prod"}
        match quota:
            case "scripts":
                return await platform.deploy(f"{tenant}-more", "prod", tenant=tenant)
            case "routes":
                target = {"namespace": "prod", "script": f"{tenant}-1"}
                return await platform.api.post(ROUTES, json={"hostname": f"{tenant}-x.org", "target": target})
            case "kv_namespaces":
                return await platform.api.post(KV, json={"title": f"{tenant}-more", **owner})
            case "queues":
                return await platform.api.post(QUEUES, json={"queue_name": f"{tenant}-more", **owner})
            case _:
                return await platform.api.post(D1, json={"name": f"{tenant}-more", **owner})

    used = ok(await platform.api.get(f"{TENANTS}/acme"))["usage"][quota]
    ok(await platform.api.put(f"{TENANTS}/acme/quotas", json={quota: used}))
    message = refused(await make("acme"), 403, 20033)  # type: ignore[arg-type]
    assert quota in message
    assert f"has {used} of {used} (set for this tenant)" in message
    assert f"tenantry tenants quota prod acme {quota}=VALUE" in message
    ok(await make("rival"))  # type: ignore[arg-type]
    ok(await platform.api.put(f"{TENANTS}/acme/quotas", json={quota: used + 1}))
    ok(await make("acme"))  # type: ignore[arg-type]


async def test_script_that_is_there_is_deployed_again_at_its_quota(platform: Host) -> None:
    ok(await platform.api.put(f"{TENANTS}/acme/quotas", json={"scripts": 0}))
    ok(await platform.deploy("acme-0", "prod", tenant="acme"))
    refused(await platform.deploy("rival-0", "prod", tenant="acme"), 403, 20033)


async def test_bytes_beyond_a_quota_are_refused_and_room_that_was_made_is_used(platform: Host) -> None:
    kv = ok(await platform.api.get(KV, params={"order": "title"}))[0]["id"]
    ok(await platform.api.put(f"{TENANTS}/acme/quotas", json={"kv_bytes": 1000, "queue_bytes": 100}))
    answer = await platform.api.put(f"{KV}/{kv}/values/big", content=b"x" * 500)
    message = refused(answer, 413, 10027)
    assert "kv_bytes: tenant 'acme'" in message
    assert "has 261 of 1000" in message
    ok(await platform.api.put(f"{KV}/{kv}/values/big", content=b"x" * 400))
    # In place of what is there it needs no more room than it had.
    ok(await platform.api.put(f"{KV}/{kv}/values/big", content=b"y" * 450))
    refused(await platform.api.put(f"{KV}/{kv}/values/more", content=b"x"), 413, 10027)
    ok(await platform.api.delete(f"{KV}/{kv}/values/big"))
    ok(await platform.api.put(f"{KV}/{kv}/values/more", content=b"x"))
    queue = ok(await platform.api.get(QUEUES))[0]["queue_id"]
    answer = await platform.api.post(f"{QUEUES}/{queue}/messages", json={"body": "x" * 200})
    assert "queue_bytes: tenant 'acme'" in refused(answer, 413, 10027)


async def test_database_beyond_its_quota_takes_no_more_and_can_be_emptied(platform: Host) -> None:
    d1 = next(row["uuid"] for row in ok(await platform.api.get(D1)) if row["name"] == "acme-db")

    async def run(sql: str) -> object:
        return await platform.api.post(f"{D1}/{d1}/query", json={"sql": sql})

    ok(await run("CREATE TABLE t (x BLOB)"))  # type: ignore[arg-type]
    ok(await platform.api.put(f"{TENANTS}/acme/quotas", json={"d1_bytes": 200_000}))
    ok(await run("INSERT INTO t VALUES (zeroblob(100000))"))  # type: ignore[arg-type]
    answer = await run("INSERT INTO t VALUES (zeroblob(150000))")
    assert "d1_bytes: tenant 'acme'" in answer.text  # type: ignore[attr-defined]
    assert answer.status_code == 400  # type: ignore[attr-defined]
    ok(await run("DELETE FROM t"))  # type: ignore[arg-type]
    ok(await run("INSERT INTO t VALUES (zeroblob(100000))"))  # type: ignore[arg-type]


def traces(host: Host, tenant: str) -> list[str]:
    """Where a tenant's name is still found in what control keeps, or its ids in what holds contents."""
    found = [name for name, rows in host.state() if tenant in str(rows)]
    return [name for name in found if name not in ("changes", "tenant_deletions")]


async def test_deleted_tenant_leaves_nothing_and_the_other_keeps_all(platform: Host, tmp_path: Path) -> None:
    before = ok(await platform.api.get(f"{TENANTS}/rival"))
    places = [
        CachePlace(f"prod/{tenant}", "pages", "https://a.example/", 0.0) for tenant in ("acme", "rival")
    ]
    for place in places:
        await platform.responses.put(place, place.owner, b"", b"", 1.0, b"page")
    owned = platform.store.tenants.owned(Owner("prod", "acme"))  # type: ignore[arg-type]
    done = ok(await platform.api.delete(f"{TENANTS}/acme"))
    assert done["done"] is True
    assert done["deleted"]["scripts"] == 2
    assert traces(platform, "acme") == []
    assert await platform.services.kv.usage(owned.kv_ids[0]) == (0, 0)
    assert await platform.services.queues.stored(owned.queue_ids[0]) == (0, 0)
    assert list((tmp_path / "d1").glob(f"{owned.d1_ids[0]}*")) == []
    assert [len(platform.responses.find(place)) for place in places] == [0, 1]
    assert ok(await platform.api.get(f"{TENANTS}/rival")) == before
    refused(await platform.api.get(f"{TENANTS}/acme"), 404, 20030)


async def test_deleted_tenant_may_come_back(platform: Host) -> None:
    ok(await platform.api.delete(f"{TENANTS}/acme"))
    ok(await platform.deploy("acme-0", "prod", tenant="acme"))
    assert ok(await platform.api.get(f"{TENANTS}/acme"))["usage"]["scripts"] == 1


async def test_tenant_whose_resource_is_lent_out_is_deleted_by_force_alone(platform: Host) -> None:
    kv = ok(await platform.api.get(KV, params={"order": "title"}))[0]["id"]
    lent = {"type": "kv_namespace", "name": "LENT", "namespace_id": kv, "shared": True}
    ok(await platform.deploy("rival-0", "prod", tenant="rival", bindings=[lent]))
    message = refused(await platform.api.delete(f"{TENANTS}/acme"), 409, 20031)
    assert "binding LENT of script 'rival-0'" in message
    assert ok(await platform.api.get(f"{TENANTS}/acme"))["usage"]["scripts"] == 2
    assert ok(await platform.api.delete(f"{TENANTS}/acme", params={"force": "true"}))["done"] is True


async def test_deletion_that_was_cut_short_goes_on_and_nothing_is_made_meanwhile(
    platform: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2, 45):
        ok(await platform.deploy(f"acme-{number}", "prod", tenant="acme"))
    records, calls = platform.store.tenants, 0
    real = records.remove_some

    async def failing(owner: Owner) -> bool:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise StorageLost("the disk fails")
        return await real(owner)

    monkeypatch.setattr(records, "remove_some", failing)
    assert ok(await platform.api.delete(f"{TENANTS}/acme"))["done"] is False
    shown = ok(await platform.api.get(f"{TENANTS}/acme"))
    assert shown["deleting"] is True
    assert shown["usage"]["scripts"] == 25
    refused(await platform.api.post(KV, json={"title": "new", **MINE}), 409, 20032)
    refused(await platform.deploy("acme-44", "prod", tenant="acme"), 409, 20032)
    monkeypatch.undo()
    assert ok(await platform.api.delete(f"{TENANTS}/acme"))["done"] is True
    assert traces(platform, "acme") == []


async def test_deletion_goes_on_at_the_next_start(platform: Host) -> None:
    from control.deletions import finish_deletions

    await platform.store.tenants.begin_deletion(Owner("prod", "acme"), force=False)  # type: ignore[arg-type]
    await finish_deletions(platform.services)
    assert traces(platform, "acme") == []
