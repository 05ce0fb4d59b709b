"""Rule held: an egress policy changes whole or not at all, by whom it may be, and what was before can come back."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from control.authorization import require_platform
from control.envelope import ApiError
from model.identity import NamespaceName, TenantId
from storage.egress_records import Layer, PolicyKey
from storage.policy_records import VERSIONS_KEPT
from storage.token_store import ADMIN_SCOPE, TokenRecord
from tests.control.support import ACCOUNT, NAMESPACES, Host, ok, refused

NS = f"{NAMESPACES}/prod/egress-policy"
PLAIN = f"{ACCOUNT}/workers/egress-policy"
PROD = NamespaceName("prod")
DOCUMENTS = [
    (NS, PolicyKey(PROD)),
    (PLAIN, PolicyKey(None)),
    (f"{NS}/tags/plan%2Fpro", PolicyKey(PROD, Layer.TAG, "plan/pro")),
    (f"{NS}/tenants/acme", PolicyKey(PROD, Layer.TENANT, "acme")),
    (f"{PLAIN}/tenants/acme", PolicyKey(None, Layer.TENANT, "acme")),
]


def text(note: str) -> str:
    return f"version: 1  # {note}\nrules: []\n"


async def put(host: Host, path: str, note: str, **query: str) -> dict[str, Any]:
    made: dict[str, Any] = ok(await host.api.put(path, content=text(note), params=query))
    return made


@pytest.mark.parametrize(("path", "key"), DOCUMENTS)
async def test_a_policy_is_kept_as_written_with_version_digest_author_and_message(
    host: Host, path: str, key: PolicyKey
) -> None:
    await host.namespace()
    before = host.sequence.load()
    made = await put(host, path, "ours", message="as agreed: ü")
    assert host.store.changes_since(before)[1] == [("policy", key.change_key)]
    assert made["digest"] == hashlib.sha256(text("ours").encode()).hexdigest()
    assert (made["policy"], made["message"], made["widen"]) == (text("ours"), "as agreed: ü", False)
    assert (made["layer"], made["name"]) == (key.layer, key.name)
    assert made["author"] == {"token_id": "admin", "name": "admin"}
    answer = await host.api.get(path)
    assert ok(answer) == made
    assert answer.headers["etag"] == f'"{made["version"]}"'
    assert ok(await host.api.get(f"{path}/versions/{made['version']}")) == made


@pytest.mark.parametrize(("path", "key"), DOCUMENTS)
async def test_a_deleted_policy_keeps_its_past_and_who_deleted_it(
    host: Host, path: str, key: PolicyKey
) -> None:
    await host.namespace()
    first = await put(host, path, "first")
    ok(await host.api.delete(path, params={"message": "no longer"}))
    refused(await host.api.get(path), 404, 20021)
    refused(await host.api.delete(path), 404, 20021)
    newest, oldest = ok(await host.api.get(f"{path}/versions"))
    assert (newest["deleted"], newest["message"], newest["author"]["name"]) == (True, "no longer", "admin")
    assert (oldest["deleted"], oldest["version"]) == (False, first["version"])
    assert "policy" not in oldest
    back = ok(await host.api.post(f"{path}/rollback", json={"version": first["version"]}))
    assert back["policy"] == text("first")
    assert back["message"] == f"rolled back to version {first['version']}"
    message = refused(
        await host.api.post(f"{path}/rollback", json={"version": newest["version"]}), 400, 10021, "version"
    )
    assert "deletion" in message


async def test_rollback_makes_a_new_version_with_the_old_text_and_one_change(host: Host) -> None:
    await host.namespace()
    first = await put(host, NS, "first")
    second = await put(host, NS, "second")
    before = host.sequence.load()
    third = ok(await host.api.post(f"{NS}/rollback", json={"version": first["version"]}))
    assert third["version"] > second["version"] > first["version"]
    assert third["digest"] == first["digest"]
    assert host.store.changes_since(before)[1] == [("policy", "prod/namespace/")]
    listed = ok(await host.api.get(f"{NS}/versions"))
    assert [each["version"] for each in listed] == [each["version"] for each in (third, second, first)]
    for wrong in (0, -1, second["version"] + 1_000):
        answer = await host.api.post(f"{NS}/rollback", json={"version": wrong})
        assert answer.status_code == (404 if wrong > 0 else 400)


async def test_versions_of_one_document_are_not_another_ones(host: Host) -> None:
    await host.namespace()
    own = await put(host, NS, "namespace")
    tenant = await put(host, f"{NS}/tenants/acme", "tenant")
    refused(await host.api.get(f"{NS}/versions/{tenant['version']}"), 404, 20022)
    refused(await host.api.get(f"{NS}/tenants/other/versions/{tenant['version']}"), 404, 20022)
    refused(await host.api.get(f"{PLAIN}/versions/{own['version']}"), 404, 20022)
    refused(
        await host.api.post(f"{NS}/tenants/other/rollback", json={"version": tenant["version"]}), 404, 20022
    )


async def test_versions_are_paged(host: Host) -> None:
    await host.namespace()
    made = [(await put(host, NS, str(number)))["version"] for number in range(5)]
    answer = await host.api.get(f"{NS}/versions", params={"per_page": 2, "page": 2})
    assert [each["version"] for each in ok(answer)] == [made[2], made[1]]
    assert answer.json()["result_info"]["total_count"] == 5


async def test_the_last_thousand_versions_are_kept_and_the_one_in_force_always(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert VERSIONS_KEPT == 1_000
    monkeypatch.setattr("storage.policy_records.VERSIONS_KEPT", 3)
    await host.namespace()
    other = await put(host, f"{NS}/tenants/acme", "another document's")
    made = [(await put(host, NS, str(number)))["version"] for number in range(5)]
    assert [each["version"] for each in ok(await host.api.get(f"{NS}/versions"))] == made[:1:-1]
    refused(await host.api.get(f"{NS}/versions/{made[1]}"), 404, 20022)
    assert ok(await host.api.get(f"{NS}/tenants/acme"))["version"] == other["version"]


async def test_large_versions_are_kept_up_to_a_size(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    await host.namespace()
    size = len(text("0").encode())
    monkeypatch.setattr("storage.policy_records.VERSION_BYTES_KEPT", 3 * size)
    made = [(await put(host, NS, str(number)))["version"] for number in range(5)]
    ok(await host.api.delete(NS))
    assert [each["version"] for each in ok(await host.api.get(f"{NS}/versions"))][1:] == made[:1:-1]


async def test_a_change_on_top_of_somebody_elses_is_refused(host: Host) -> None:
    await host.namespace()
    first = await put(host, NS, "first")
    stale = {"if-match": f'"{first["version"]}"'}
    second = ok(await host.api.put(NS, content=text("second"), headers=stale))
    state = host.state()
    for answer in (
        await host.api.put(NS, content=text("third"), headers=stale),
        await host.api.put(NS, content=text("third"), headers=stale, params={"validate_only": "true"}),
        await host.api.delete(NS, headers=stale),
        await host.api.post(f"{NS}/rollback", json={"version": first["version"]}, headers=stale),
        await host.api.put(NS, content=text("third"), headers={"if-none-match": "*"}),
    ):
        assert str(second["version"]) in refused(answer, 412, 20023)
    assert host.state() == state
    # Not set yet: made only if nobody else was faster.
    new = f"{NS}/tenants/acme"
    refused(await host.api.put(new, content=text("x"), headers=stale), 412, 20023)
    ok(await host.api.put(new, content=text("x"), headers={"if-none-match": "*"}))


@pytest.mark.parametrize(
    "headers",
    [
        {"if-match": "*"},
        {"if-match": '"abc"'},
        {"if-match": '"1", "2"'},
        {"if-match": 'W/"1"'},
        {"if-none-match": '"1"'},
        {"if-match": '"1"', "if-none-match": "*"},
    ],
)
async def test_a_condition_of_another_form_is_refused_and_never_ignored(
    host: Host, headers: dict[str, str]
) -> None:
    await host.namespace()
    refused(await host.api.put(NS, content=text("x"), headers=headers), 400, 10021)
    assert host.store.policies.layers_of_call(PROD, TenantId("acme"), ()) == []


async def test_of_many_changes_on_top_of_one_version_one_wins(host: Host) -> None:
    await host.namespace()
    first = await put(host, NS, "first")
    condition = {"if-match": f'"{first["version"]}"'}
    answers = await asyncio.gather(
        *(host.api.put(NS, content=text(str(number)), headers=condition) for number in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    (won,) = (answer.json()["result"] for answer in answers if answer.status_code == 200)
    assert ok(await host.api.get(NS))["policy"] == won["policy"]
    assert len(ok(await host.api.get(f"{NS}/versions"))) == 2


async def test_a_dry_run_judges_and_changes_nothing(host: Host) -> None:
    await host.namespace()
    state = host.state()
    dry = {"validate_only": "true"}
    assert ok(await host.api.put(NS, content=text("x"), params=dry)) == {"valid": True}
    refused(await host.api.put(NS, content="version: 2\n", params=dry), 400, 20020, "version")
    refused(
        await host.api.put(f"{NAMESPACES}/none/egress-policy", content=text("x"), params=dry), 404, 100119
    )
    assert host.state() == state


async def test_widening_is_kept_with_the_version_and_comes_back_with_it(host: Host) -> None:
    await host.namespace()
    path = f"{NS}/tenants/acme"
    wide = await put(host, path, "wide", widen="true")
    assert wide["widen"] is True
    narrow = await put(host, path, "narrow")
    assert narrow["widen"] is False
    (layer,) = host.store.policies.layers_of_call(PROD, TenantId("acme"), ())
    assert (layer.widen, layer.version) == (False, narrow["version"])
    ok(await host.api.post(f"{path}/rollback", json={"version": wide["version"]}))
    (layer,) = host.store.policies.layers_of_call(PROD, TenantId("acme"), ())
    assert layer.widen is True
    refused(await host.api.put(NS, content=text("x"), params={"widen": "true"}), 400, 10021, "widen")


def test_only_a_token_of_the_platform_may_widen() -> None:
    platform = TokenRecord("1", "ops", frozenset({ADMIN_SCOPE}), 0)
    require_platform(platform, "widen", "to widen")
    for token in (None, TokenRecord("2", "tenant", frozenset({"tenant:acme", "policy"}), 0)):
        with pytest.raises(ApiError) as caught:
            require_platform(token, "widen", "to widen")
        assert (caught.value.status, caught.value.field) == (403, "widen")


async def test_what_is_in_force_for_a_script_is_its_namespaces_its_tags_and_its_tenants(host: Host) -> None:
    await host.namespace()
    await host.namespace("other")
    for place in (NS, f"{NAMESPACES}/other/egress-policy", PLAIN):
        for suffix in ("", "/tags/pro", "/tags/eu", "/tenants/acme", "/tenants/globex"):
            await put(host, place + suffix, place + suffix)

    def named(namespace: NamespaceName | None, tenant: str, *tags: str) -> list[tuple[str, str]]:
        found = host.store.policies.layers_of_call(namespace, TenantId(tenant), tags)
        return [(layer.layer, layer.name) for layer in found]

    own = ("namespace", "")
    assert named(PROD, "acme") == [own, ("tenant", "acme")]
    assert named(PROD, "nobody", "pro", "none", "eu") == [own, ("tag", "eu"), ("tag", "pro")]
    assert named(None, "globex", "pro", "pro") == [own, ("tag", "pro"), ("tenant", "globex")]
    # A tag named as a tenant, and a name that would be SQL or JSON, are that name and nothing else.
    assert named(PROD, "nobody", "acme", "' OR 1=1 --", '"]') == [own]
    (layer, _) = host.store.policies.layers_of_call(PROD, TenantId("acme"), ())
    assert await host.store.policies.text(PROD, layer) == text(NS)


async def test_layers_in_force_are_listed_by_page(host: Host) -> None:
    await host.namespace()
    for suffix in ("/tenants/b", "", "/tags/x", "/tenants/a"):
        await put(host, NS + suffix, suffix)
    await put(host, PLAIN, "not of this namespace")
    ok(await host.api.delete(f"{NS}/tags/x"))
    answer = await host.api.get(f"{NS}/layers", params={"per_page": 2})
    assert [(each["layer"], each["name"]) for each in ok(answer)] == [("namespace", ""), ("tenant", "a")]
    assert answer.json()["result_info"]["total_count"] == 3


async def test_a_deleted_namespace_leaves_nothing_to_one_that_takes_its_name(host: Host) -> None:
    await host.namespace()
    for suffix in ("", "/tags/x", "/tenants/a"):
        await put(host, NS + suffix, suffix)
    ok(await host.api.put(f"{NAMESPACES}/prod/egress-materials/k", json={"kind": "secret", "value": "x"}))
    kept = await put(host, PLAIN, "plain")
    before = host.sequence.load()
    ok(await host.api.delete(f"{NAMESPACES}/prod"))
    changes = host.store.changes_since(before)[1] or []
    assert {("policy", "prod//"), ("material", "prod/")} <= set(changes)
    await host.namespace()
    assert ok(await host.api.get(f"{NS}/layers")) == []
    assert ok(await host.api.get(f"{NS}/tenants/a/versions")) == []
    assert ok(await host.api.get(f"{NAMESPACES}/prod/egress-materials")) == []
    assert ok(await host.api.get(PLAIN))["version"] == kept["version"]


@pytest.mark.parametrize("message", ["x" * 501, "two\nlines", "bell\a"])
async def test_a_message_is_one_bounded_line(host: Host, message: str) -> None:
    await host.namespace()
    refused(await host.api.put(NS, content=text("x"), params={"message": message}), 400, 10021, "message")
