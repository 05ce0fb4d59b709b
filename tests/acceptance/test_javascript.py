"""A worker in JavaScript, from `tenantry deploy` to its answers: a heap of its own for every request, the limits and
bindings of every other worker, and errors that name the line.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.client import Part, encode_multipart
from model.identity import DEFAULT_ACCOUNT
from tests.acceptance.platform import Platform, wait_until
from tests.support.esbuild import install_esbuild
from tests.support.javascript_engine import built_engine

built_engine()

ESM = "application/javascript+module"

#: (name, source, more arguments, expect=exit code) → what the command printed.
Deploy = Callable[..., str]


@pytest.fixture
def deploy(platform: Platform, tmp_path: Path) -> Deploy:
    """Deploy `source` under `name`, on NAME.localhost."""

    def deploy_source(
        name: str, source: str, *arguments: str, on: Platform = platform, expect: int = 0
    ) -> str:
        path = tmp_path / f"{name}.js"
        path.write_text(source)
        where = ("--namespace", "tests", "--hostname", f"{name}.localhost")
        return platform.run("deploy", str(path), "--name", name, *where, *arguments, expect=expect)

    return deploy_source


def upload(platform: Platform, name: str, *parts: Part, **metadata: object) -> tuple[int, Any]:
    """As wrangler does."""
    head = Part("metadata", json.dumps(metadata).encode(), "application/json")
    content_type, body = encode_multipart([head, *parts])
    path = f"/client/v4/accounts/{DEFAULT_ACCOUNT}/workers/dispatch/namespaces/tests/scripts/{name}"
    return platform.api("PUT", path, body, headers={"Content-Type": content_type})


def test_sample_is_deployed_and_answers(platform: Platform) -> None:
    out = platform.deploy("hello_js", "hello-js")
    assert "handlers fetch" in out
    answer = platform.request("hello-js.localhost")
    assert (answer.status, answer.body) == (200, "Hello from JavaScript!\n")


def test_modules_and_kv_work_and_no_global_survives_a_request(platform: Platform) -> None:
    platform.deploy("notes_js", "notes-js", "--kv", "NOTES=notes-js")
    for number in range(5):
        answer = platform.request("notes-js.localhost", "/a", method="PUT", body=f"note {number}".encode())
        assert (answer.status, answer.body, answer.headers["x-served"]) == (201, "stored\n", "1")
        answer = platform.request("notes-js.localhost", "/a")
        assert (answer.body, answer.headers["x-served"]) == (f"note {number}", "1")
    assert platform.request("notes-js.localhost", "/none").status == 404


def test_warm_up_is_there_at_each_request_and_one_that_fails_is_told(
    platform: Platform, deploy: Deploy
) -> None:
    source = "let n = 0; export default { fetch() { return new Response(String(++n)); } };"
    deploy("warmed", source, "--warm-up", "/")
    assert [platform.request("warmed.localhost").body for _ in range(3)] == ["2", "2", "2"]
    deploy("cold", source)  # the same modules, and another bundle
    assert platform.request("cold.localhost").body == "1"
    told = deploy("asks", "export default { fetch: () => fetch('https://a.example.com') };", "--warm-up", "/")
    assert "kept as it was before its warm-up request of /: " in " ".join(told.split())
    assert platform.request("warmed.localhost").body == "2"


def test_what_it_logs_and_throws_is_told_with_the_line(platform: Platform, deploy: Deploy) -> None:
    source = """export default {
      fetch(request) {
        console.log("was asked for", new URL(request.url).pathname);
        return undefinedFunction();
      },
    };"""
    deploy("throws", source)
    assert platform.request("throws.localhost", "/x").status == 500

    def lines() -> str:
        return platform.run("logs", "tests", "throws")

    wait_until(lambda: "undefinedFunction" in lines())
    assert "was asked for /x" in lines()
    assert "throws.js:4" in lines()
    assert lines().count("undefinedFunction") == 1


def test_what_typescript_throws_is_told_with_the_line_of_its_source(
    platform: Platform, tmp_path: Path
) -> None:
    install_esbuild(tmp_path)
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "price.ts").write_text(
        "// What it costs.\n"
        "export function price(of: string | null): number {\n"
        "  if (of === null) {\n"
        '    throw new RangeError("of what?");\n'
        "  }\n"
        "  return of.length;\n"
        "}\n"
    )
    index = tmp_path / "src" / "index.ts"
    index.write_text(
        'import { price } from "./price";\n'
        "export default {\n"
        "  fetch(request: Request): Response {\n"
        "    return Response.json(price(null as string | null));\n"
        "  },\n"
        "};\n"
    )
    where = ("--name", "typed", "--namespace", "tests", "--hostname", "typed.localhost")
    platform.run("deploy", str(index), *where)
    assert platform.request("typed.localhost").status == 500

    def lines() -> str:
        return platform.run("logs", "tests", "typed")

    wait_until(lambda: "of what?" in lines())
    assert "price (src/price.ts:4:" in lines()
    assert "src/index.ts:4:" in lines()
    index.write_text(
        index.read_text().replace("export default", "const x: any = null;\nx.y;\nexport default")
    )
    told = platform.run("deploy", str(index), *where, expect=1)
    assert "TypeError" in told
    assert "src/index.ts:3:" in told


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("export default {\n  fetch( {\n};", ("SyntaxError", "refused.js:3")),
        ("const x = 1;\nx.y.z;\nexport default { fetch() {} };", ("TypeError", "refused.js:2")),
        ("for (;;);\nexport default { fetch() {} };", ("more than 1000 ms of CPU time",)),
        ("export const x = 1;", ("handler",)),
        ("import './missing.js';\nexport default { fetch() {} };", ("missing.js",)),
        (
            "await fetch('http://x.example/');\nexport default { fetch() {} };",
            ("global scope", "refused.js:1"),
        ),
        (
            "const x = 1;\nsetTimeout(() => {}, 1);\nexport default { fetch() {} };",
            ("global scope", "refused.js:2"),
        ),
        ("globalThis.x = 'x'.repeat(1 << 25);\nexport default { fetch() {} };", ("16 MiB",)),
    ],
    ids=[
        "syntax",
        "throws",
        "spins",
        "no handler",
        "missing module",
        "calls out",
        "sets a timer",
        "too much",
    ],
)
def test_script_that_can_not_run_is_refused_with_the_line(
    deploy: Deploy, source: str, words: tuple[str, ...]
) -> None:
    told = deploy("refused", source, expect=1)
    for word in words:
        assert word in told, told


def test_what_the_top_level_logs_is_told_by_the_deployment_alone(deploy: Deploy) -> None:
    source = "console.warn('made', { tables: 2 });\nexport default { fetch() { return new Response('x'); } };"
    assert "warn: made { tables: 2 }" in deploy("tells", source)
    told = deploy("tells", "console.log('so far');\nnull.x;\n", expect=1)
    assert "info: so far" in told
    assert "tells.js:2" in told


def test_the_flag_of_node_reaches_the_engine(platform: Platform, deploy: Deploy) -> None:
    source = """import process from 'node:process';
    const hex = (text) => Buffer.from(text).toString('hex');
    export default { fetch() { return new Response(global.process.env.NAME + hex(process.platform)); } };"""
    deploy("compat", source, "--compatibility-flag", "nodejs_compat", "--var", "NAME=v")
    assert platform.request("compat.localhost").body == "v" + b"linux".hex()


def test_new_version_is_seen_by_the_next_request(platform: Platform, deploy: Deploy) -> None:
    for number in range(4):
        deploy("again", f"export default {{ fetch() {{ return new Response('v{number}'); }} }};")
        assert platform.request("again.localhost").body == f"v{number}"


def test_endless_loop_is_ended_by_its_cpu_limit(platform: Platform, deploy: Deploy) -> None:
    deploy("spins", "export default { fetch() { for (;;); } };", "--limit", "cpu_ms=30")
    answer = platform.request("spins.localhost", headers={"Accept": "application/json"})
    assert answer.status == 503
    assert "1102" in answer.body
    platform.deploy("hello_js", "hello-js-after")
    assert platform.request("hello-js-after.localhost").status == 200


def test_memory_beyond_its_limit_ends_the_request_and_no_other(platform: Platform, deploy: Deploy) -> None:
    source = """export default { fetch() {
      const kept = [];
      for (;;) kept.push(new Uint8Array(1 << 20).fill(1));
    } };"""
    deploy("hoards", source, "--limit", "memory_mb=32", "--limit", "cpu_ms=2000")
    answer = platform.request("hoards.localhost", headers={"Accept": "application/json"})
    assert answer.status == 503
    assert "1102" in answer.body
    deploy("hoards", "export default { fetch() { return new Response('fine'); } };")
    assert platform.request("hoards.localhost").body == "fine"


def test_recursion_is_an_error_that_the_worker_can_catch(platform: Platform, deploy: Deploy) -> None:
    source = """export default { fetch() {
      const deep = () => deep() + 1;
      try { deep(); } catch (error) { return new Response(error.name); }
    } };"""
    deploy("recurses", source)
    assert platform.request("recurses.localhost").body == "RangeError"


def test_random_numbers_differ_between_requests(platform: Platform, deploy: Deploy) -> None:
    source = (
        "export default { fetch() { return new Response([Math.random(), crypto.randomUUID()].join()); } };"
    )
    deploy("random", source)
    assert len({platform.request("random.localhost").body for _ in range(5)}) == 5


def test_host_says_that_its_engine_is_the_one_on_the_disk(platform: Platform) -> None:
    states = {
        state: platform.metrics()[f'tenantry_javascript_engine{{state="{state}"}}']
        for state in ("in_use", "rebuilt", "missing")
    }
    assert states == {"in_use": 1, "rebuilt": 0, "missing": 0}


def test_what_wrangler_sends_is_taken_and_given_back(platform: Platform) -> None:
    platform.deploy("hello_js", "any")  # makes the namespace
    source = b"import text from './page.txt'; export default { fetch() { return new Response(text); } };"
    status, told = upload(
        platform,
        "sent",
        Part("index.js", source, ESM, "index.js"),
        Part("./page.txt", b"a page", "text/plain", "./page.txt"),
        Part("index.js.map", b"{}", "application/source-map", "index.js.map"),
        main_module="index.js",
        compatibility_date="2026-01-01",
        compatibility_flags=["nodejs_compat"],
        bindings=[],
    )
    assert status == 200, told
    assert told["result"]["handlers"] == ["fetch"]
    platform.run("routes", "add", "sent.localhost", "--namespace", "tests", "--script", "sent")
    assert platform.request("sent.localhost").body == "a page"
    path = f"/client/v4/accounts/{DEFAULT_ACCOUNT}/workers/dispatch/namespaces/tests/scripts/sent"
    _, settings = platform.api("GET", f"{path}/settings")
    assert settings["result"]["compatibility_date"] == "2026-01-01"
    assert settings["result"]["compatibility_flags"] == ["nodejs_compat"]
    status, content = platform.api("GET", f"{path}/content")
    assert status == 200
    assert source.decode() in content


def test_service_worker_syntax_works(platform: Platform) -> None:
    platform.deploy("hello_js", "any")
    source = b"addEventListener('fetch', event => event.respondWith(new Response('from ' + event.request.method)));"
    status, told = upload(
        platform, "old", Part("script", source, "application/javascript"), body_part="script"
    )
    assert status == 200, told
    platform.run("routes", "add", "old.localhost", "--namespace", "tests", "--script", "old")
    assert platform.request("old.localhost").body == "from GET"


def test_error_over_the_api_has_file_line_and_column(platform: Platform) -> None:
    platform.deploy("hello_js", "any")
    part = Part("index.js", b"export default {\n  fetch( {\n};", ESM, "index.js")
    status, told = upload(platform, "wrong", part, main_module="index.js")
    [error] = told["errors"]
    assert (status, error["code"]) == (400, 10021)
    assert "SyntaxError" in error["message"]
    assert (error["meta"]["file"], error["meta"]["line"]) == ("index.js", 3)


def test_deltas_are_made_again_after_a_loss_and_a_restart(own_platform: Platform) -> None:
    platform = own_platform
    platform.deploy("hello_js", "hello-js")
    assert platform.request("hello-js.localhost").status == 200
    worker = platform.workers()[0]
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: worker not in platform.workers() and len(platform.workers()) == platform.process_count)
    assert platform.request("hello-js.localhost").status == 200
    assert platform.stop() == 0
    for file in (platform.data / "aot").iterdir():
        file.unlink()
    platform.start()
    assert platform.request("hello-js.localhost").body == "Hello from JavaScript!\n"
    assert any(file.suffix == ".delta" for file in (platform.data / "aot").iterdir())
    assert platform.run("fsck", "--data", str(platform.data))
