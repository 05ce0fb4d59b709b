"""Entry points of workers in JavaScript, over service bindings: methods and requests between scripts of a host, within
one budget and one depth, and clear words where there is nothing at the other end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cli.client import Part
from tests.acceptance.platform import Platform, wait_until
from tests.acceptance.test_javascript import ESM, upload
from tests.support.javascript_engine import built_engine

built_engine()

#: (script, source, service bindings) → the answer's errors; none: it is deployed on SCRIPT.localhost.
Put = Callable[..., list[dict[str, Any]]]

CALLEE = """
    import { WorkerEntrypoint } from 'cloudflare:workers';
    export default class extends WorkerEntrypoint {
        add(a, b) { return a + b; }
        async again(depth) { return depth === 0 ? 0 : 1 + await this.env.SELF.again(depth - 1); }
        spin() { for (;;); }
        fetch() { return new Response('default'); }
    }
    export class Admin extends WorkerEntrypoint {
        greet(name) { return { text: `Hello ${name} from ${this.ctx.props.shop}`, at: new Date(0) }; }
        fails() { throw new RangeError('too far'); }
        fetch(request) { return new Response(`admin of ${this.ctx.props.shop}: ${request.method}`); }
    }
"""


def caller(body: str) -> str:
    asked = f"const asked = async (request, env) => {{ {body} }};"
    return f"{asked} export default {{ async fetch(...given) {{ return Response.json(await asked(...given)); }} }};"


def service(target: str, name: str = "SVC", **more: object) -> dict[str, object]:
    return {"type": "service", "name": name, "service": target, **more}


@pytest.fixture
def put(platform: Platform) -> Put:
    namespaces = "/client/v4/accounts/default/workers/dispatch/namespaces"
    platform.api("POST", namespaces, {"name": "tests"})  # refused where it is there
    routed: set[str] = set()

    def put_script(script: str, source: str, *bindings: dict[str, object], **metadata: object) -> list[Any]:
        part = Part("index.js", source.encode(), ESM, "index.js")
        body: dict[str, Any] = {"main_module": "index.js", "bindings": list(bindings), "tenant": "acme"}
        _, told = upload(platform, script, part, **(body | metadata))
        if told["success"] and script not in routed:
            routed.add(script)
            platform.run("routes", "add", f"{script}.localhost", "--namespace", "tests", "--script", script)
        return list(told["errors"])

    return put_script


def told(platform: Platform, script: str) -> Any:
    answer = platform.request(f"{script}.localhost")
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def test_methods_and_requests_reach_the_entry_point_that_a_binding_names(
    platform: Platform, put: Put
) -> None:
    assert put("rpc-callee", CALLEE) == []
    body = """
        const greeting = await env.ADMIN.greet('you');
        const failed = await env.ADMIN.fails().catch((e) => `${e.name}: ${e.message} ${e instanceof RangeError}`);
        const all = await Promise.all([env.SVC.add(1, 2), env.SVC.add('a', 'b')]);
        return [greeting.text, greeting.at instanceof Date, failed, all, await (await env.ADMIN.fetch(request)).text(),
            await (await env.SVC.fetch('https://a/')).text()];"""
    admin = service("rpc-callee", "ADMIN", entrypoint="Admin", props={"shop": "acme"})
    assert put("rpc-caller", caller(body), service("rpc-callee"), admin) == []
    assert told(platform, "rpc-caller") == [
        "Hello you from acme",
        True,
        "RangeError: too far true",
        [3, "ab"],
        "admin of acme: GET",
        "default",
    ]
    shown = platform.api(
        "GET", "/client/v4/accounts/default/workers/dispatch/namespaces/tests/scripts/rpc-caller/bindings"
    )
    assert shown[1]["result"][1] == admin


def test_an_entry_point_that_is_not_there_is_refused_at_the_upload(platform: Platform, put: Put) -> None:
    assert put("rpc-has", CALLEE) == []
    source = caller("return (await env.SVC.fetch('https://a/')).text();")
    (error,) = put("rpc-wants", source, service("rpc-has", entrypoint="Missing"))
    assert "bindings[0].entrypoint" in error["message"]
    assert "no entry point 'Missing'; there are Admin, default" in error["message"]
    (error,) = put("rpc-own", source, service("rpc-own", entrypoint="Missing"))
    assert "no entry point 'Missing'" in error["message"]
    platform.deploy("hello", "rpc-wasm", "--tenant", "acme")
    (error,) = put("rpc-wants", source, service("rpc-wasm", entrypoint="Admin"))
    assert "it is not in JavaScript" in error["message"]
    # One that went away later is told of by the call.
    assert put("rpc-wants", source, service("rpc-has", entrypoint="Admin")) == []
    assert put("rpc-has", "export default { fetch() { return new Response('other'); } };") == []
    answer = platform.request("rpc-wants.localhost")
    assert answer.status == 500
    assert "no entry point" not in answer.body  # visitors learn nothing of it


def test_a_worker_without_methods_says_so_to_who_calls_them(platform: Platform, put: Put) -> None:
    platform.deploy("hello", "rpc-core", "--tenant", "acme")
    assert put("rpc-object", "export default { fetch() { return new Response('x'); } };") == []
    body = """
        const said = [];
        for (const svc of [env.WASM, env.OBJECT]) said.push(await svc.add(1).catch((e) => e.message));
        return said;"""
    assert put("rpc-asks", caller(body), service("rpc-core", "WASM"), service("rpc-object", "OBJECT")) == []
    wasm, plain = told(platform, "rpc-asks")
    assert wasm.startswith("Worker not found: rpc-core: it is not in JavaScript, and so it has `fetch` alone")
    assert plain.startswith("The entry point has no methods to call")


def test_calls_are_at_most_16_deep(platform: Platform, put: Put) -> None:
    assert put("rpc-deep", CALLEE, service("rpc-deep", "SELF")) == []
    body = "return [await env.SVC.again(15), await env.SVC.again(16).catch((e) => e.message)];"
    assert put("rpc-digs", caller(body), service("rpc-deep")) == []
    deep, deeper = told(platform, "rpc-digs")
    assert (deep, deeper) == (15, "workers called each other more than 16 deep")


def test_what_a_method_spends_is_its_caller_s(platform: Platform, put: Put) -> None:
    assert put("rpc-spins", CALLEE) == []
    source = caller("await env.SVC.spin().catch(() => {}); for (;;);")
    assert put("rpc-waits", source, service("rpc-spins"), limits={"cpu_ms": 100}) == []
    assert platform.request("rpc-waits.localhost").status == 503
    spent: dict[str, int] = {}

    def recorded() -> bool:
        lines = [json.loads(line) for line in platform.log().splitlines() if line.startswith('{"at_ms"')]
        spent.update({line["script"]: line["cpu_us"] for line in lines if "cpu_us" in line})
        return {"rpc-spins", "rpc-waits"} <= spent.keys()

    wait_until(recorded)
    assert spent["rpc-spins"] + spent["rpc-waits"] < 200_000  # and not twice its limit, and more
