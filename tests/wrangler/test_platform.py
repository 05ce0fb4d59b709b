"""What the platform's own people do with wrangler: the dispatch worker, and the resources that workers are bound to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.identity import DEFAULT_ACCOUNT
from tests.acceptance.platform import Platform
from tests.wrangler.conftest import NAMESPACE, Wrangler, write_config

ACCOUNT = f"/client/v4/accounts/{DEFAULT_ACCOUNT}"
SOURCE = "export default { fetch: (request, env) => new Response(env.TOKEN) };"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "index.js").write_text(SOURCE)
    return tmp_path


def test_the_dispatch_worker_is_a_plain_script_with_its_hostname(door: str, host: Platform) -> None:
    assert "Deployed door triggers" in door
    assert "door.localhost (custom domain)" in door
    answer = host.request("door.localhost")
    assert (answer.status, answer.body) == (404, "There is no such shop.\n")


@pytest.mark.usefixtures("door")
def test_a_hostname_that_leads_to_another_worker_stays_there(
    wrangler: Wrangler, host: Platform, project: Path
) -> None:
    routes = [{"pattern": name, "custom_domain": True} for name in ("own.localhost", "door.localhost")]
    write_config(project, name="taker", main="index.js", workers_dev=False, routes=routes)
    printed = wrangler(project, "deploy", expect=1)
    assert "'door.localhost' leads to something else" in printed
    assert host.request("own.localhost").status == 404
    assert host.request("door.localhost").body == "There is no such shop.\n"


def test_without_a_hostname_it_is_told_that_there_is_no_workers_dev(
    wrangler: Wrangler, project: Path
) -> None:
    write_config(project, name="unled", main="index.js")
    printed = wrangler(project, "deploy", expect=1)
    assert "there is no workers.dev here" in printed
    assert '"workers_dev": false' in printed


def test_secrets_of_a_plain_script_stay_when_it_is_deployed_again_and_it_is_deleted(
    wrangler: Wrangler, host: Platform, project: Path
) -> None:
    routes = [{"pattern": "secretive.localhost", "custom_domain": True}]
    write_config(project, name="secretive", main="index.js", workers_dev=False, routes=routes)
    wrangler(project, "deploy")
    assert "Success" in wrangler(project, "secret", "put", "TOKEN", stdin="s3cret\n")
    wrangler(project, "deploy")
    assert host.request("secretive.localhost").body == "s3cret"
    wrangler(project, "delete", "--force")
    assert host.api("GET", f"{ACCOUNT}/workers/scripts/secretive")[0] == 404


@pytest.mark.usefixtures("door")
def test_namespaces_are_shown_and_deleted(wrangler: Wrangler, host: Platform, tmp_path: Path) -> None:
    host.run("namespaces", "create", "staging")
    shown = wrangler(tmp_path, "dispatch-namespace", "list")
    assert "namespace_name: 'staging'" in shown
    assert f"namespace_name: '{NAMESPACE}'" in shown  # which wrangler made
    assert "Deleted" in wrangler(tmp_path, "dispatch-namespace", "delete", "staging")
    assert "[code: 100119]" in wrangler(tmp_path, "dispatch-namespace", "get", "staging", expect=1)


def test_kv_is_made_written_and_read(wrangler: Wrangler, host: Platform, tmp_path: Path) -> None:
    wrangler(tmp_path, "kv", "namespace", "create", "prices")
    _, listed = host.api("GET", f"{ACCOUNT}/storage/kv/namespaces")
    (prices,) = (found["id"] for found in listed["result"] if found["title"] == "prices")
    at = ("--remote", "--namespace-id", prices)
    wrangler(tmp_path, "kv", "key", "put", "tea/green", "4.20", *at)
    assert wrangler(tmp_path, "kv", "key", "get", "tea/green", *at) == "4.20"


def test_d1_runs_a_file_and_a_query(wrangler: Wrangler, host: Platform, tmp_path: Path) -> None:
    host.api("POST", f"{ACCOUNT}/d1/database", {"name": "orders"})
    (tmp_path / "schema.sql").write_text("CREATE TABLE orders (id INTEGER); INSERT INTO orders VALUES (7);")
    execute = ("d1", "execute", "orders", "--remote")
    wrangler(tmp_path, *execute, "-y", "--file", "schema.sql")
    printed = wrangler(tmp_path, *execute, "--json", "--command", "SELECT id FROM orders")
    assert json.loads(printed)[0]["results"] == [{"id": 7}]


def test_a_queue_is_made(wrangler: Wrangler, host: Platform, tmp_path: Path) -> None:
    assert "Created queue" in wrangler(tmp_path, "queues", "create", "jobs")
    assert "jobs" in host.run("queues", "list")


def test_who_a_token_is(wrangler: Wrangler, tmp_path: Path) -> None:
    assert DEFAULT_ACCOUNT in wrangler(tmp_path, "whoami")
