"""What other processes read: by one indexed look-up, all of a change or nothing, and never what was."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from model.capabilities import RouteStore
from model.identity import NamespaceName, ScriptName
from model.scripts import ScriptRef
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.egress_records import PolicyKey
from storage.failures import StorageReadOnly
from storage.migrations import load_queries
from tests.control.support import ACCOUNT, NAMESPACES, ROUTES, Host, ok, script_path, worker_module

SHOP = ScriptRef(NamespaceName("prod"), ScriptName("shop"))


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("hostname_routes", ("a.example.com",)),
        ("script", ("prod", "shop")),
        ("secret", ("prod", "shop", "KEY")),
        ("users_of_target", ("id", "queue")),
        ("script_users", ("shop",)),
        ("routes_of_script", ("prod", "shop", 1)),
        ("routes_of_pattern", ("a.example.com", -1, 0)),
        ("count_routes_of_pattern", ("a.example.com",)),
        ("queue_producers", ("id",)),
        ("consumers_of_script", ("prod", "shop")),
    ],
)
async def test_a_look_up_scans_nothing(host: Host, query: str, params: tuple[str | int, ...]) -> None:
    plan = host.store.database.read("EXPLAIN QUERY PLAN " + load_queries("control")[query], params)
    assert plan
    assert not [row for row in plan if row[3].startswith("SCAN")], plan


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("layer", ("prod", "tenant", "acme")),
        ("layers_of_call", ("prod", "acme", '["eu","pro"]')),
        ("text", ("prod", "tag", "pro", 7)),
        ("versions", ("prod", "namespace", "", 100, 0)),
        ("prune_versions", ("prod", "namespace", "", 1000, 1)),
        ("material_users", ("prod", "token")),
        ("material_kinds", ("prod", '["token"]')),
        ("sealed_material", ("prod", "token")),
        ("material_version", ("prod", "token")),
    ],
)
async def test_a_look_up_of_egress_scans_nothing(
    host: Host, query: str, params: tuple[str | int, ...]
) -> None:
    plan = host.store.database.read("EXPLAIN QUERY PLAN " + load_queries("egress")[query], params)
    assert plan
    scanned = [row[3] for row in plan if row[3].startswith("SCAN")]
    # The script's own tags, a JSON array of at most eight, and what was searched for are read whole.
    bounded = ("json_each", "VIRTUAL TABLE", "(subquery")
    assert not [text for text in scanned if not any(each in text for each in bounded)], plan


async def test_another_process_sees_a_change_when_it_was_answered(host: Host) -> None:
    sequence = ChangeSequence(host.folder / "changes.seq")
    other = ControlStore.open(host.folder / "control.db", sequence, read_only=True)
    routes: RouteStore = other
    await host.namespace()
    seen = routes.sequence()
    ok(await host.deploy("shop", "prod"))
    target = {"namespace": "prod", "script": "shop"}
    ok(await host.api.post(ROUTES, json={"hostname": "a.example.com", "target": target}))
    assert routes.sequence() > seen
    newest, changes = routes.changes_since(seen)
    assert newest == routes.sequence()
    assert changes == [("script", "prod/shop"), ("route", "a.example.com")]
    assert routes.script(SHOP) == host.store.script(SHOP)
    assert routes.hostname_routes("a.example.com") == host.store.hostname_routes("a.example.com")
    with pytest.raises(StorageReadOnly):
        await other.scripts.delete(SHOP, force=True)
    other.close()
    sequence.close()


async def test_every_kind_of_change_is_logged_by_its_key(host: Host) -> None:
    await host.namespace()
    cases = [
        (
            "PUT",
            f"{ACCOUNT}/workers/dispatch/hostnames/a.example",
            '{"header_routes":true}',
            ("route", "a.example"),
        ),
        ("PUT", f"{NAMESPACES}/prod", '{"trusted_workers":true}', ("namespace", "prod")),
        ("PUT", f"{NAMESPACES}/prod/egress-policy", "version: 1\nrules: []\n", ("policy", "prod/namespace/")),
        ("PUT", f"{ACCOUNT}/workers/egress-policy", "version: 1\nrules: []\n", ("policy", "/namespace/")),
        (
            "PUT",
            f"{NAMESPACES}/prod/egress-policy/tags/a%2Fb",
            "version: 1\nrules: []\n",
            ("policy", "prod/tag/a/b"),
        ),
        (
            "PUT",
            f"{NAMESPACES}/prod/egress-materials/token",
            '{"kind":"secret","value":"x"}',
            ("material", "prod/token"),
        ),
        ("DELETE", f"{NAMESPACES}/prod/egress-materials/token", "", ("material", "prod/token")),
        ("PUT", script_path("shop", "prod") + "/tags", '["a"]', ("script", "prod/shop")),
        ("PUT", script_path("shop", "prod") + "/secrets", '{"name":"K","text":"v"}', ("secret", "prod/shop")),
        ("DELETE", script_path("shop", "prod") + "/secrets/K", "", ("secret", "prod/shop")),
        ("DELETE", script_path("shop", "prod"), "", ("script", "prod/shop")),
    ]
    ok(await host.deploy("shop", "prod"))
    for method, path, body, change in cases:
        before = host.store.sequence()
        ok(await host.api.request(method, path, content=body))
        changes = host.store.changes_since(before)[1]
        assert changes is not None
        assert change in changes, (method, path)


async def test_deploys_at_once_leave_one_of_them_whole(host: Host) -> None:
    modules = [worker_module(note=str(number)) for number in range(8)]
    answers = await asyncio.gather(
        *(
            host.deploy(
                "shop",
                module=module,
                tags=[str(number)],
                bindings=[{"type": "secret_text", "name": f"KEY{number}", "text": "x"}],
            )
            for number, module in enumerate(modules)
        )
    )
    for answer in answers:
        ok(answer)
    version = host.store.script(ScriptRef(None, ScriptName("shop")))
    assert version is not None
    number = version.tags[0]
    assert [spec.name for spec in version.bindings] == [f"KEY{number}"]
    assert host.services.objects.get(version.module_digest) == modules[int(number)]
    assert host.store.secrets.names(ScriptRef(None, ScriptName("shop"))) == [f"KEY{number}"]


_KILLED = """
import asyncio, sys
from pathlib import Path
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.egress_records import Author, PolicyDraft, PolicyKey

async def main(folder):
    store = ControlStore.open(folder / "control.db", ChangeSequence(folder / "changes.seq"))
    for number in range(100_000):
        await store.namespaces.create(f"n{number}", trusted=False)
        await store.policies.put(PolicyKey(f"n{number}"), PolicyDraft("text"), Author())
        print(number, flush=True)

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_what_was_answered_before_a_kill_is_there_and_nothing_is_half_done(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _KILLED,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert child.stdout is not None
    last = -1
    async for line in child.stdout:
        last = int(line)
        if last == 20:
            child.kill()
    await child.wait()
    sequence = ChangeSequence(tmp_path / "changes.seq")
    store = ControlStore.open(tmp_path / "control.db", sequence)
    for number in range(last + 1):
        assert (await store.policies.get(PolicyKey(NamespaceName(f"n{number}")))).text == "text"
    newest, changes = store.changes_since(0)
    assert changes is not None
    logged = {key for kind, key in changes if kind == "policy"}
    kept = {f"{row[0]}/namespace/" for row in store.database.read("SELECT namespace FROM policy_layers")}
    assert len(store.database.read("SELECT 1 FROM policy_versions")) == len(kept)
    assert logged == kept
    assert store.sequence() == newest
    store.close()
    sequence.close()
