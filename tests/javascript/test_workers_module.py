"""`cloudflare:workers`, `ctx` and `request.cf`: what is there works as on Cloudflare, and what is not is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.capabilities import WorkerEnv
from runtime.abi.core_module import codec
from tests.javascript.harness import Refused, Tenant, handler, tenant
from tests.support.guests import request


async def answered(body: str, top: str = "", env: WorkerEnv | None = None) -> Any:
    worker = tenant(handler(f"return Response.json(await (async () => {{ {body} }})());", top), env=env)
    answer = await worker.get()
    assert answer.error is None, answer.error
    return json.loads(answer.text)


ENV = WorkerEnv(vars={"A": "1", "B": "2"})


async def test_env_is_that_of_the_event_wherever_it_is_read() -> None:
    top = "import { env as bindings } from 'cloudflare:workers'; const read = () => bindings.A;"
    body = """
        bindings.C = 'set';
        return [read(), 'B' in bindings, 'Z' in bindings, Object.keys(bindings), { ...bindings }.B, env.C, String(bindings.Z)];"""
    assert await answered(body, top, ENV) == ["1", True, False, ["A", "B", "C"], "2", "set", "undefined"]


@pytest.mark.parametrize("read", ["env.A", "'A' in env", "Object.keys(env)", "({ ...env })", "env.A = 1"])
def test_env_at_the_top_level_is_refused_with_the_line(read: str) -> None:
    """A top level is shared by all versions with the same modules, whatever their variables are."""
    source = f"import {{ env }} from 'cloudflare:workers';\n{read};\nexport default {{ fetch() {{}} }};"
    with pytest.raises(Refused, match="at the top level") as caught:
        tenant(source, env=ENV)
    assert (caught.value.error["file"], caught.value.error["line"]) == ("index.js", 2)


def test_what_only_hands_env_on_at_the_top_level_is_deployed() -> None:
    source = """
        import { env } from 'cloudflare:workers';
        import * as all from 'cloudflare:workers';
        export const kept = { env, all, text: Object.prototype.toString.call(env) };
        export default { fetch() {} };"""
    assert tenant(source).loaded["handlers"] == ["fetch"]


async def test_wait_until_of_the_module_is_that_of_the_event() -> None:
    top = "import { waitUntil } from 'cloudflare:workers';"
    body = "waitUntil(scheduler.wait(1).then(() => console.log('after'))); return new Response('now');"
    answer = await tenant(handler(body, top)).get()
    assert (answer.text, answer.lines) == ("now", ["after"])
    with pytest.raises(Refused, match=r"waitUntil\(\) belongs to an event"):
        tenant(handler("", top + " waitUntil(Promise.resolve());"))


async def test_what_is_missing_of_the_module_is_refused_by_name() -> None:
    top = """import { DurableObject, WorkflowEntrypoint, RpcStub, withEnv, WorkerEntrypoint, RpcTarget } from 'cloudflare:workers';
        class Room extends DurableObject {}"""
    body = """
        const said = [];
        for (const make of [() => new Room(), () => new WorkflowEntrypoint(), () => new RpcStub(), () => withEnv({}, () => {})]) {
            try { make(); said.push(null); } catch (e) { said.push(e.message); }
        }
        return [said, new (class extends WorkerEntrypoint {})(1, 2).env, new RpcTarget() instanceof RpcTarget];"""
    assert await answered(body, top) == [
        [
            "Durable Objects are not supported here.",
            "Workflows are not supported here.",
            "Stubs are not supported here.",
            "withEnv() is not supported here: hand what differs over as an argument.",
        ],
        2,
        True,
    ]


async def test_the_context_has_what_the_page_says() -> None:
    body = """
        let missing;
        try { ctx.exports.Admin; } catch (e) { missing = e.message; }
        return [ctx.props, ctx.passThroughOnException(), missing, Object.prototype.toString.call(ctx)];"""
    assert await answered(body) == [
        {},
        None,
        "ctx.exports is not supported here: give the worker a service binding to itself, with the entry point's name.",
        "[object ExecutionContext]",
    ]
    throws = handler("ctx.passThroughOnException(); throw new Error('mine');")
    assert (await tenant(throws).get()).error == "exception: Error: mine"  # no origin is behind it


async def test_a_background_event_has_props_too() -> None:
    source = "export default { scheduled(controller, env, ctx) { console.log(JSON.stringify(ctx.props)); } };"
    answer = await tenant(source).background("scheduled", {"cron": "* * * * *", "scheduled_time_ms": 0})
    assert answer.lines == ["{}"]


async def cf_of(worker: Tenant, cf: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the worker says, where the event has this."""

    def told(*given: Any) -> bytes:
        return bytes(really(*given, cf=cf))

    really: Any = codec.encode_request
    with monkeypatch.context() as patched:
        patched.setattr(codec, "encode_request", told)
        answer = await worker.fetch(request())
    assert answer.error is None, answer.error
    return json.loads(answer.text)


async def test_cf_is_what_the_host_says_and_undefined_without(monkeypatch: pytest.MonkeyPatch) -> None:
    source = handler("""
        const given = new Request('https://a/', { cf: { cacheTtl: 5 } });
        return Response.json([request.cf ?? 'none', 'cf' in request, new Request(request).cf ?? 'none', request.clone().cf ?? 'none', given.cf]);""")
    worker, given = tenant(source), {"cacheTtl": 5}
    assert await cf_of(worker, None, monkeypatch) == ["none", True, "none", "none", given]
    cf = {"httpProtocol": "HTTP/1.1"}
    assert await cf_of(worker, cf, monkeypatch) == [cf, True, cf, cf, given]
