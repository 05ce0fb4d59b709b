"""An upload replaces all of a script or nothing; what it leads to and what leads to it stays whole."""

from __future__ import annotations

from typing import Any

import pytest

from control.publishing import PreparedModule
from model.identity import NamespaceName, ScriptName
from model.scripts import BindingKind, BindingSpec, ScriptRef
from storage.keys import unseal
from tests.control.support import (
    ACCOUNT,
    KV,
    NAMESPACES,
    QUEUES,
    ROUTES,
    Host,
    ok,
    refused,
    script_path,
    upload,
    worker_module,
)

SHOP = ScriptRef(NamespaceName("prod"), ScriptName("shop"))


async def test_an_uploaded_script_is_what_the_data_plane_reads(host: Host) -> None:
    await host.namespace()
    module = worker_module("fetch", "queue")
    before = host.sequence.load()
    result = ok(
        await host.deploy(
            "shop",
            "prod",
            module=module,
            tags=["a", "b"],
            tenant="acme",
            limits={"cpu_ms": 20, "memory_mb": 64, "subrequests": 5, "request_body_bytes": 300 << 20},
            bindings=[{"type": "plain_text", "name": "GREETING", "text": "hi"}],
        )
    )
    version = host.store.script(SHOP)
    assert version is not None
    assert version.tenant == "acme"
    assert version.version == result["deployment_id"]
    assert len(result["deployment_id"]) == 32
    assert version.handlers == {"fetch", "queue"}
    assert version.tags == ("a", "b")
    assert version.limits == {
        "cpu_ms": 20,
        "memory_bytes": 64 << 20,
        "subrequests": 5,
        "request_body_bytes": 300 << 20,
    }
    assert version.bindings == (BindingSpec(BindingKind.PLAIN_TEXT, "GREETING", "hi"),)
    assert host.services.objects.get(version.module_digest) == module
    assert result["startup_time_ms"] == 3
    assert result["etag"] == version.module_digest
    newest, changes = host.store.changes_since(before)
    assert changes == [("script", "prod/shop")]
    assert host.sequence.load() == newest


async def test_what_a_script_was_written_for_is_given_back_as_it_came(host: Host) -> None:
    sent: dict[str, Any] = {
        "compatibility_date": "2026-11-01",
        "compatibility_flags": ["nodejs_compat", "a flag of tomorrow"],
    }
    deployed = ok(await host.deploy("shop", **sent))
    shown = [
        deployed,
        ok(await host.api.get(script_path("shop")))["script"],
        ok(await host.api.get(script_path("shop") + "/settings")),
    ]
    ok(await host.api.put(script_path("shop") + "/tags", json=["a"]))
    shown.append(ok(await host.api.get(script_path("shop") + "/settings")))
    for each in shown:
        assert {key: each[key] for key in sent} == sent
    again = ok(await host.deploy("shop"))
    assert (again["compatibility_date"], again["compatibility_flags"]) == (None, [])


async def test_nothing_but_an_upload_changes_limits_which_were_checked_with_it(host: Host) -> None:
    """What a worker needs of memory is known where it is loaded: no later call sets a limit past that check."""
    ok(await host.deploy("shop", limits={"memory_mb": 64}))
    path = script_path("shop") + "/settings"
    for method in ("PATCH", "PUT", "POST"):
        response = await host.api.request(method, path, json={"limits": {"memory_mb": 1}})
        assert response.status_code == 405
        assert response.json()["success"] is False
    ok(await host.api.put(script_path("shop") + "/tags", json=["a"]))
    assert ok(await host.api.get(path))["limits"] == {"memory_mb": 64}


async def test_a_plain_script_has_its_own_name_space(host: Host) -> None:
    await host.namespace()
    ok(await host.deploy("shop"))
    ok(await host.deploy("shop", "prod"))
    assert host.store.script(ScriptRef(None, ScriptName("shop"))) is not None
    shown = ok(await host.api.get(script_path("shop", "prod")))
    assert shown["dispatch_namespace"] == "prod"
    assert shown["script"]["id"] == "shop"
    assert "dispatch_namespace" not in ok(await host.api.get(script_path("shop")))


async def test_missing_scripts_have_the_codes_that_wrangler_acts_on(host: Host) -> None:
    await host.namespace()
    refused(await host.api.get(script_path("none", "prod")), 404, 10092)
    refused(await host.api.get(script_path("none")), 404, 10007)
    refused(await host.api.get(script_path("none", "nowhere")), 404, 100119)
    refused(await host.api.delete(script_path("none", "prod")), 404, 10092)


@pytest.mark.parametrize(
    "files",
    [
        # wrangler: part name = file name, metadata without a type
        [("metadata", (None, b'{"main_module":"x.wasm"}')), ("x.wasm", ("x.wasm", b"", "application/wasm"))],
        # the Python SDK 5: parts called `files`, told apart by file name
        [("metadata", (None, b'{"main_module":"x.wasm"}')), ("files", ("x.wasm", b"", "application/wasm"))],
        # main_module by part name
        [("metadata", (None, b'{"main_module":"x"}')), ("x", ("other.wasm", b"", "application/wasm"))],
        # wrangler with a shim and unsafe metadata
        [
            ("metadata", (None, b'{"main_module":"index.js","wasm_main":"x.wasm"}')),
            ("index.js", ("index.js", b"export default {}", "application/javascript+module")),
            ("x.wasm", ("x.wasm", b"", "application/wasm")),
        ],
        # nothing named
        [("metadata", (None, b"{}")), ("file", ("x", b"", "application/octet-stream"))],
    ],
)
async def test_the_module_is_found_however_a_client_sends_it(
    host: Host, files: list[tuple[str, tuple[str | None, bytes] | tuple[str, bytes, str]]]
) -> None:
    module = worker_module()
    sent = [
        (name, (part[0], module, part[2]) if len(part) == 3 and part[1] == b"" else part)
        for name, part in files
    ]
    ok(await host.api.put(script_path("shop"), files=sent))
    assert host.publisher.prepared == [module]


async def test_a_deploy_that_fails_leaves_the_version_before_serving(host: Host) -> None:
    ok(await host.deploy("shop", bindings=[{"type": "secret_text", "name": "KEY", "text": "1"}]))
    state = host.state()
    refused(await host.deploy("shop", module=b"not wasm"), 400, 10021, "main_module")
    host.publisher.failure = RuntimeError("the compile child fell over")
    refused(await host.deploy("shop", module=worker_module(note="2")), 500, 10002)
    assert host.state() == state


async def test_content_is_the_module_as_it_was_sent(host: Host) -> None:
    # A module that holds the boundary must not break out of its part.
    module = worker_module(note="\r\n--tenantry-module-7f3a9c\r\n")
    ok(await host.deploy("shop", module=module))
    response = await host.api.get(script_path("shop") + "/content")
    assert response.headers["cf-entrypoint"] == "main.wasm"
    boundary = response.headers["content-type"].partition("boundary=")[2].encode()
    _, part, end = response.content.split(b"--" + boundary)
    assert part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") == module
    assert end == b"--\r\n"


async def test_lists_go_by_name_with_cursor_and_tags(host: Host) -> None:
    await host.namespace()
    for name, tags in (("a", ["pro"]), ("b", []), ("c", ["pro", "eu"]), ("d", ["eu"])):
        ok(await host.deploy(name, "prod", tags=tags))
    path = f"{NAMESPACES}/prod/scripts"

    async def names(query: str) -> list[str]:
        return [script["id"] for script in ok(await host.api.get(path + query))]

    assert await names("") == ["a", "b", "c", "d"]
    assert await names("?tags=pro:yes") == ["a", "c"]
    assert await names("?tags=pro:no") == ["b", "d"]
    assert await names("?tags=pro:yes,eu:no") == ["a"]
    first = (await host.api.get(path + "?limit=3")).json()
    assert first["result_info"]["count"] == 3
    rest = (await host.api.get(path, params={"limit": 3, "cursor": first["result_info"]["cursor"]})).json()
    assert [script["id"] for script in rest["result"]] == ["d"]
    assert rest["result_info"]["cursor"] == ""
    # Pagers go on until a page is empty.
    assert await names("?page=2") == []
    refused(await host.api.get(path + "?tags=pro"), 400, 10021, "tags")


async def test_bindings_are_shown_without_secret_texts(host: Host) -> None:
    kv = ok(await host.api.post(KV, json={"title": "sessions"}))
    ok(await host.api.post(QUEUES, json={"queue_name": "jobs"}))
    ok(await host.deploy("auth"))
    await host.namespace()
    sent: list[dict[str, Any]] = [
        {"type": "plain_text", "name": "TEXT", "text": "hi"},
        {"type": "json", "name": "DOC", "json": {"a": [1, None]}},
        {"type": "secret_text", "name": "KEY", "text": "hunter2"},
        {"type": "kv_namespace", "name": "KV", "namespace_id": kv["id"]},
        {"type": "queue", "name": "JOBS", "queue_name": "jobs"},
        {"type": "service", "name": "AUTH", "service": "auth"},
        {"type": "dispatch_namespace", "name": "TENANTS", "namespace": "prod"},
    ]
    ok(await host.deploy("front", bindings=sent))
    response = await host.api.get(script_path("front") + "/bindings")
    assert "hunter2" not in response.text
    expected = [{k: v for k, v in binding.items() if v != "hunter2"} for binding in sent]
    assert ok(response) == expected
    assert ok(await host.api.get(script_path("front") + "/settings"))["bindings"] == expected


async def test_kept_and_inherited_bindings_survive_a_deploy_and_others_go(host: Host) -> None:
    bindings = [
        {"type": "secret_text", "name": "KEY", "text": "one"},
        {"type": "plain_text", "name": "OLD", "text": "gone"},
        {"type": "plain_text", "name": "STAYS", "text": "kept"},
    ]
    ok(await host.deploy("shop", bindings=bindings))
    ref = ScriptRef(None, ScriptName("shop"))
    sealed = host.store.secret_ciphertext(ref, "KEY")
    ok(
        await host.deploy(
            "shop",
            keep_bindings=["secret_text", "secret_key"],
            bindings=[{"type": "inherit", "name": "STAYS"}],
        )
    )
    version = host.store.script(ref)
    assert version is not None
    assert {spec.name for spec in version.bindings} == {"KEY", "STAYS"}
    assert host.store.secret_ciphertext(ref, "KEY") == sealed
    ok(await host.deploy("shop"))
    assert host.store.secret_ciphertext(ref, "KEY") is None
    refused(
        await host.deploy("shop", bindings=[{"type": "inherit", "name": "STAYS"}]), 400, 10057, "bindings[0]"
    )


async def test_the_tenant_is_given_tagged_or_the_scripts_name_and_stays(host: Host) -> None:
    await host.namespace()
    assert ok(await host.deploy("a", "prod"))["tenant"] == "a"
    assert ok(await host.deploy("b", "prod", tenant="acme"))["tenant"] == "acme"
    assert ok(await host.deploy("c", "prod", tags=["tenant:acme"]))["tenant"] == "acme"
    assert ok(await host.deploy("b", "prod"))["tenant"] == "acme"
    refused(await host.deploy("d", "prod", tenant="x", tags=["tenant:y"]), 400, 10021, "tenant")
    refused(await host.api.put(script_path("b", "prod") + "/tags", json=["tenant:eve"]), 400, 10021, "tags")
    assert ok(await host.api.put(script_path("b", "prod") + "/tags", json=["x"])) == ["x"]
    assert ok(await host.api.get(script_path("b", "prod") + "/tags")) == ["x"]


async def test_a_script_in_use_is_deleted_only_by_force(host: Host) -> None:
    await host.namespace()
    ok(await host.deploy("shop", "prod", module=worker_module("fetch", "queue")))
    ok(await host.deploy("caller", "prod", tenant="shop", bindings=[
        {"type": "service", "name": "SHOP", "service": "shop"}
    ]))  # fmt: skip
    target = {"namespace": "prod", "script": "shop"}
    route = ok(await host.api.post(ROUTES, json={"hostname": "shop.example.com", "target": target}))
    queue = ok(await host.api.post(QUEUES, json={"queue_name": "jobs"}))
    ok(
        await host.api.post(
            f"{QUEUES}/{queue['queue_id']}/consumers",
            json={"type": "worker", "script_name": "shop", "dispatch_namespace": "prod"},
        )
    )
    state = host.state()
    message = refused(await host.api.delete(script_path("shop", "prod")), 409, 10064)
    assert route["id"] in message
    assert "'jobs'" in message
    assert "SHOP" in message
    assert "?force=true" in message
    assert host.state() == state
    before = host.sequence.load()
    ok(await host.api.delete(script_path("shop", "prod") + "?force=true"))
    assert host.store.script(SHOP) is None
    assert host.store.hostname_routes("shop.example.com") is None
    assert host.store.queue_consumers() == []
    _, changes = host.store.changes_since(before)
    assert changes is not None
    assert {("script", "prod/shop"), ("route", "shop.example.com"), ("consumer", queue["queue_id"])} <= set(
        changes
    )


async def test_a_consumer_can_not_lose_its_queue_handler(host: Host) -> None:
    ok(await host.deploy("shop", module=worker_module("fetch", "queue")))
    queue = ok(await host.api.post(QUEUES, json={"queue_name": "jobs"}))
    ok(await host.api.post(f"{QUEUES}/{queue['queue_id']}/consumers", json={"script_name": "shop"}))
    assert "'jobs'" in refused(await host.deploy("shop"), 400, 10069, "main_module")


async def test_a_secret_is_sealed_for_its_script_and_version_alone(host: Host) -> None:
    ok(await host.deploy("shop"))
    path = script_path("shop") + "/secrets"
    shown = ok(await host.api.put(path, json={"name": "KEY", "text": "hunter2", "type": "secret_text"}))
    assert shown == {"name": "KEY", "type": "secret_text"}
    ref = ScriptRef(None, ScriptName("shop"))
    stored = host.store.secret_ciphertext(ref, "KEY")
    assert stored is not None
    version, sealed = stored
    assert b"hunter2" not in sealed
    info = f"default\0shop\0KEY\0{version}".encode()
    assert unseal(host.root_key.derive("secret", info), sealed, info) == b"hunter2"
    first = host.store.script(ref)
    ok(await host.api.put(path, json={"name": "KEY", "text": "other"}))
    second, again = host.store.script(ref), host.store.secret_ciphertext(ref, "KEY")
    assert first is not None
    assert second is not None
    assert again is not None
    assert again[0] > version
    assert second.version != first.version  # a process builds the environment anew
    assert second.bindings == (BindingSpec(BindingKind.SECRET_TEXT, "KEY", ""),)
    assert ok(await host.api.get(path)) == [shown]
    assert ok(await host.api.get(f"{path}/KEY")) == shown
    assert "hunter2" not in (await host.api.get(script_path("shop") + "/settings")).text
    ok(await host.api.delete(f"{path}/KEY"))
    assert host.store.secret_ciphertext(ref, "KEY") is None
    refused(await host.api.delete(f"{path}/KEY"), 404, 10056)
    refused(await host.api.get(f"{path}/KEY"), 404, 10056)


async def test_secrets_change_in_bulk_all_or_none(host: Host) -> None:
    ok(await host.deploy("shop", bindings=[{"type": "plain_text", "name": "TEXT", "text": "hi"}]))
    path = script_path("shop") + "/secrets-bulk"
    ok(await host.api.patch(path, json={"secrets": {"A": {"text": "1"}, "B": {"text": "2"}}}))
    state = host.state()
    refused(await host.api.patch(path, json={"secrets": {"A": None, "TEXT": {"text": "3"}}}), 400, 10021)
    assert host.state() == state
    shown = ok(await host.api.patch(path, json={"secrets": {"A": None, "C": {"text": "3"}}}))
    assert [secret["name"] for secret in shown] == ["B", "C"]


async def test_a_rate_limit_is_kept_as_it_was_sent(host: Host) -> None:
    sent = {
        "type": "ratelimit",
        "name": "LIMIT",
        "namespace_id": "1001",
        "simple": {"limit": 5, "period": 60},
    }
    ok(await host.deploy("shop", bindings=[sent]))
    assert ok(await host.api.get(script_path("shop") + "/bindings")) == [sent]
    state = host.state()
    wrong = sent | {"simple": {"limit": 5, "period": 61}}
    refused(await host.deploy("shop", bindings=[wrong]), 400, 10021, "bindings[0].simple.period")
    assert host.state() == state
    ok(await host.deploy("shop", bindings=[{"type": "inherit", "name": "LIMIT"}]))
    assert ok(await host.api.get(script_path("shop") + "/bindings")) == [sent]


async def test_a_cache_is_bound_by_its_name(host: Host) -> None:
    sent = {"type": "cache", "name": "PAGES", "cache_name": "pages.v2"}
    ok(await host.deploy("shop", bindings=[sent, {"type": "cache", "name": "CACHE"}]))
    assert ok(await host.api.get(script_path("shop") + "/bindings")) == [
        sent,
        {"type": "cache", "name": "CACHE", "cache_name": "default"},
    ]
    wrong = sent | {"cache_name": "a/b"}
    refused(await host.deploy("shop", bindings=[wrong]), 400, 10016, "bindings[0].cache_name")


async def test_an_event_is_triggered_only_where_there_is_a_handler(host: Host) -> None:
    ok(await host.deploy("plain"))
    ok(await host.deploy("cron", module=worker_module("scheduled")))
    body = {"kind": "scheduled", "cron": "*/5 * * * *", "scheduled_time_ms": 5}
    refused(await host.api.post(script_path("plain") + "/trigger", json=body), 400, 10069)
    assert ok(await host.api.post(script_path("cron") + "/trigger", json=body)) == {
        "outcome": "ok",
        "cpu_us": 12,
    }
    ref = ScriptRef(None, ScriptName("cron"))
    assert host.triggered == [(ref, "scheduled", {"cron": "*/5 * * * *", "scheduled_time_ms": 5})]
    refused(await host.api.post(script_path("cron") + "/trigger", json={"kind": "x"}), 400, 10021, "kind")


async def test_uploads_are_checked_before_they_are_compiled(host: Host) -> None:
    await host.namespace()
    refused(
        await host.deploy("shop", bindings=[{"type": "queue", "name": "Q", "queue_name": "none"}]),
        400,
        10021,
        "bindings[0].queue_name",
    )
    assert host.publisher.prepared == []


async def test_what_changed_while_it_was_compiled_is_seen(host: Host) -> None:
    kv = ok(await host.api.post(KV, json={"title": "sessions"}))
    prepare = host.publisher.prepare

    async def prepare_meanwhile(module: bytes, owner: str) -> PreparedModule:
        ok(await host.api.delete(f"{KV}/{kv['id']}"))
        return await prepare(module, owner)

    host.publisher.prepare = prepare_meanwhile  # type: ignore[method-assign]
    binding = {"type": "kv_namespace", "name": "KV", "namespace_id": kv["id"]}
    refused(await host.deploy("shop", bindings=[binding]), 400, 10021, "bindings[0].namespace_id")
    assert host.store.script(ScriptRef(None, ScriptName("shop"))) is None


async def test_an_upload_for_another_account_finds_none(host: Host) -> None:
    path = script_path("shop").replace("/default/", "/other/")
    refused(await host.api.put(path, files=upload(worker_module())), 404, 7003)
    assert ACCOUNT.endswith("default")
