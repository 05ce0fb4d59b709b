"""`wrangler deploy --dispatch-namespace`, unchanged, of projects as their authors have them: it ends well, and the
customer's worker answers through the dispatch worker. Whatever is refused is told so that its author can mend it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from model.identity import DEFAULT_ACCOUNT
from tests.acceptance.platform import SAMPLES, Platform, wait_until
from tests.wrangler.conftest import NAMESPACE, Wrangler, write_config

pytestmark = pytest.mark.usefixtures("door")

ACCOUNT = f"/client/v4/accounts/{DEFAULT_ACCOUNT}"
SCRIPTS = f"{ACCOUNT}/workers/dispatch/namespaces/{NAMESPACE}/scripts"


def write(folder: Path, **sources: str) -> None:
    for name, source in sources.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


def test_a_javascript_project_answers_through_the_dispatch_worker(
    wrangler: Wrangler, host: Platform, tmp_path: Path
) -> None:
    write_config(
        tmp_path,
        name="plain",
        main="src/index.js",
        vars={"SHOP": "teapots", "OPEN": {"days": [1, 2]}},
        compatibility_flags=["nodejs_compat"],
    )
    write(
        tmp_path,
        src__index_js="""
          import { greeting } from "./greeting.js";
          import page from "./page.html";
          export default {
            async fetch(request, env) {
              const { pathname } = new URL(request.url);
              console.log("asked for", pathname);
              return Response.json([greeting(env.SHOP), env.OPEN.days, pathname, page]);
            },
          };""",
        src__greeting_js="export const greeting = (name) => `hello from ${name}`;",
        src__page_html="<p>page</p>",
    )
    printed = wrangler.deploy(tmp_path)
    assert f"Dispatch Namespace: {NAMESPACE}" in printed
    assert "Current Version ID:" in printed
    answer = host.request("plain.apps.localhost", "/a")
    assert (answer.status, json.loads(answer.body)) == (
        200,
        ["hello from teapots", [1, 2], "/a", "<p>page</p>"],
    )
    wait_until(lambda: "asked for /a" in host.run("logs", NAMESPACE, "plain"))
    settings = host.api("GET", f"{SCRIPTS}/plain/settings")[1]["result"]
    assert (settings["compatibility_date"], settings["compatibility_flags"]) == (
        "2026-11-01",
        ["nodejs_compat"],
    )


def test_a_typescript_project_with_hono_kv_d1_and_a_variable_answers(
    wrangler: Wrangler, host: Platform, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(SAMPLES / "hono_notes", project, ignore=shutil.ignore_patterns("node_modules"))
    wrangler.tools.install(project)
    printed = wrangler.deploy(project)
    # Without ids it makes the KV namespace and the database itself.
    assert "env.NOTES" in printed
    assert "env.DB" in printed
    name = "hono-notes.apps.localhost"
    assert host.request(name, "/").body.startswith("Notes: ")
    assert host.request(name, "/notes/a", method="PUT", body=b"a note").status == 201
    assert host.request(name, "/notes/a").body == "a note"
    assert json.loads(host.request(name, "/notes").body) == [{"name": "a", "bytes": 6}]
    assert host.request(name, "/notes/b").status == 404

    # Once more, with the ids that wrangler tells; a secret that was set meanwhile stays.
    bindings = host.api("GET", f"{SCRIPTS}/hono-notes/bindings")[1]["result"]
    ids = {binding["name"]: binding.get("namespace_id") or binding.get("id") for binding in bindings}
    status, _ = host.api("PUT", f"{SCRIPTS}/hono-notes/secrets", {"name": "KEY", "text": "s3cret"})
    assert status == 200
    (project / "wrangler.jsonc").unlink()
    write_config(
        project,
        name="hono-notes",
        main="src/index.ts",
        minify=True,
        upload_source_maps=True,
        vars={"GREETING": "Again"},
        kv_namespaces=[{"binding": "NOTES", "id": ids["NOTES"]}],
        d1_databases=[{"binding": "DB", "database_id": ids["DB"], "database_name": "hono-notes-db"}],
    )
    wrangler.deploy(project)
    assert host.request(name, "/").body.startswith("Again: ")
    assert host.request(name, "/notes/a").body == "a note"
    _, secrets = host.api("GET", f"{SCRIPTS}/hono-notes/secrets")
    assert [secret["name"] for secret in secrets["result"]] == ["KEY"]


def test_modules_that_are_not_bundled_go_up_by_their_rules(
    wrangler: Wrangler, host: Platform, tmp_path: Path
) -> None:
    rules = (("ESModule", "js"), ("Text", "md"), ("Data", "dat"), ("CompiledWasm", "wasm"))
    write_config(
        tmp_path,
        name="modules",
        main="src/index.js",
        no_bundle=True,
        find_additional_modules=True,
        base_dir="src",
        rules=[{"type": kind, "globs": [f"**/*.{suffix}"], "fallthrough": False} for kind, suffix in rules],
    )
    write(
        tmp_path,
        src__index_js="""
          import { five } from "./lib/five.js";
          import text from "./text.md";
          import data from "./bytes.dat";
          import wasm from "./module.wasm";
          export default { fetch: () => Response.json([five, text, data.byteLength, wasm.byteLength]) };""",
        src__lib__five_js="export const five = 5;",
        src__text_md="# text",
        src__bytes_dat="123",
    )
    (tmp_path / "src" / "module.wasm").write_bytes(b"\0asm\x01\0\0\0")
    wrangler.deploy(tmp_path)
    assert json.loads(host.request("modules.apps.localhost").body) == [5, "# text", 3, 8]


def test_a_service_worker_goes_up(wrangler: Wrangler, host: Platform, tmp_path: Path) -> None:
    write_config(tmp_path, name="old", main="index.js", vars={"GREETING": "hello"})
    write(
        tmp_path,
        index_js='addEventListener("fetch", (e) => e.respondWith(new Response(`${GREETING}, old`)));',
    )
    wrangler.deploy(tmp_path)
    assert host.request("old.apps.localhost").body == "hello, old"


def test_what_a_script_throws_at_the_top_is_told_with_the_line_of_its_source(
    wrangler: Wrangler, tmp_path: Path
) -> None:
    write_config(tmp_path, name="fails", main="src/index.ts")
    write(
        tmp_path,
        src__index_ts="import { price } from './price';\nexport default { fetch: () => new Response(price) };",
        src__price_ts=(
            "interface Item { cents?: number }\n\nfunction read(item: Item): string {\n"
            "  return item.cents!.toFixed(2);\n}\nexport const price = read({});\n"
        ),
    )
    printed = wrangler.deploy(tmp_path, expect=1)
    assert "[code: 10021]" in printed
    assert "price.ts:4" in printed


def test_a_namespace_that_is_not_there_is_named(wrangler: Wrangler, tmp_path: Path) -> None:
    write_config(tmp_path, name="lost", main="index.js")
    write(tmp_path, index_js="export default { fetch: () => new Response() };")
    printed = wrangler(tmp_path, "deploy", "--dispatch-namespace", "nowhere", expect=1)
    assert "there is no dispatch namespace 'nowhere'" in printed
