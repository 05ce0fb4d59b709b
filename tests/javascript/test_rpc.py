"""Entry points over service bindings: methods that one worker calls of another, with what can be copied between them;
what can't is refused by name, and a hostile text is plain values or an error.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.capabilities import Binding, EventContext, WorkerEnv
from model.messages import Client, Entry, IncomingRequest, OutgoingRequest, Response
from model.scripts import BindingKind
from tests.javascript.harness import Answer, Tenant, handler, tenant

CALLEE = """
    import { WorkerEntrypoint, RpcTarget } from 'cloudflare:workers';
    class Base extends WorkerEntrypoint { inherited() { return 'inherited'; } }
    class Shape { side = 1; }
    export default class extends Base {
        own = () => 'own';
        add(a, b) { return a + b; }
        async echo(value) { await scheduler.wait(1); return value; }
        props() { return [this.ctx.props, this.env.NAME]; }
        fails(what) { throw what === 'type' ? new TypeError('no', { cause: { code: 7 } }) : what === 'own' ? Object.assign(new Error('mine'), { name: 'OwnError' }) : what === 'shape' ? new Shape() : 'a string'; }
        shape() { return new Shape(); }
        stub() { return () => 1; }
        target() { return new RpcTarget(); }
        big(size) { return 'x'.repeat(size); }
        later() { this.ctx.waitUntil(scheduler.wait(1).then(() => console.log('later'))); return 1; }
        get getter() { return 'read'; }
        #hidden() {}
        fetch(request) { return new Response('default ' + request.method); }
    }
    export class Admin extends WorkerEntrypoint {
        who() { return `admin for ${this.ctx.props.of}`; }
        fetch(request) { return new Response(`admin ${new URL(request.url).pathname} for ${this.ctx.props.of}`); }
    }
    export const plain = { fetch(request, env, ctx) { return new Response(`plain ${env.NAME} ${ctx.props.of}`); } };
    export const noEntry = { other() {} };
"""


class Target:
    """A ServiceTarget: the other worker, run in an instance of its own."""

    def __init__(self, callee: Tenant, name: str | None = None, props: str | None = None) -> None:
        self.callee = callee
        self.name, self.props = name, props
        self.answers: list[Answer] = []

    async def fetch(
        self, request: OutgoingRequest, caller: EventContext, call: str | None = None
    ) -> Response:
        entry = Entry(self.name, self.props, call)
        incoming = IncomingRequest(
            request.method,
            request.url,
            "a",
            "/",
            request.headers,
            request.body,
            None,
            Client("", True, "r"),
            entry,
        )
        answer = await self.callee.fetch(incoming)
        self.answers.append(answer)
        assert answer.error is None, answer.error
        return Response(answer.status, [(n.encode(), v.encode()) for n, v in answer.headers], answer.body)


@pytest.fixture(scope="module")
def callee() -> Tenant:
    return tenant(CALLEE, env=WorkerEnv(vars={"NAME": "callee"}))


async def called(target: Target, body: str, top: str = "") -> Any:
    env = WorkerEnv(bindings={"SVC": Binding(BindingKind.SERVICE, target)})
    answer = await tenant(
        handler(f"return Response.json(await (async () => {{ {body} }})());", top), env=env
    ).get()
    assert answer.error is None, answer.error
    return json.loads(answer.text)


def test_what_can_be_bound_to_is_told(callee: Tenant) -> None:
    assert callee.loaded == {"handlers": ["fetch"], "entrypoints": ["default", "Admin", "plain"]}


def test_a_worker_may_have_nothing_but_methods() -> None:
    source = (
        "import { WorkerEntrypoint } from 'cloudflare:workers'; export class A extends WorkerEntrypoint {}"
    )
    assert tenant(source).loaded == {"handlers": [], "entrypoints": ["A"]}


async def test_a_method_is_called_with_values_and_gives_one(callee: Tenant) -> None:
    body = """
        const [sum, echoed, inherited] = await Promise.all([env.SVC.add(1, 2), env.SVC.echo({ a: [1, null, 'x'] }), env.SVC.inherited()]);
        return [sum, echoed, inherited, await env.SVC.echo() === undefined];"""
    assert await called(Target(callee), body) == [3, {"a": [1, None, "x"]}, "inherited", True]


async def test_every_kind_of_value_that_is_copied_arrives_as_it_was(callee: Tenant) -> None:
    body = r"""
        const ring = { name: 'ring' }; ring.self = ring;
        const shared = { n: 1 };
        const buffer = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]).buffer;
        const given = {
            words: [undefined, NaN, Infinity, -Infinity, -0, 1e21, '\ud800', '', true, 12345678901234567890n],
            holes: [1, , 3], date: new Date(5), bad: new Date(NaN), re: /a\/b/giu, map: new Map([[shared, 'v'], ['k', shared]]),
            set: new Set([1, shared]), shared, ring, bytes: new Uint8Array(buffer, 2, 3), view: new DataView(buffer, 1, 2),
            floats: new Float64Array([0.5]), big: new BigInt64Array([-1n]), buffer, none: Object.assign(Object.create(null), { a: 1 }),
            error: new RangeError('far', { cause: ring }), ['__proto__']: 'own', deep: null,
        };
        for (let i = 0; i < 300; i++) given.deep = { below: given.deep };
        const got = await env.SVC.echo(given);
        const is = (a, b) => Object.is(a, b);
        return [
            given.words.every((word, at) => is(word, got.words[at])), !(1 in got.holes) && got.holes.length === 3,
            got.date.getTime() === 5, Number.isNaN(got.bad.getTime()), String(got.re) === String(given.re),
            got.map.get(got.shared) === 'v', got.map.get('k') === got.shared, got.set.has(got.shared), got.ring.self === got.ring,
            String([...got.bytes]) === '3,4,5', got.bytes.buffer === got.buffer, got.view.getUint8(0) === 2 && got.view.byteLength === 2,
            got.floats[0] === 0.5, got.big[0] === -1n, got.none.a === 1,
            got.error instanceof RangeError && got.error.message === 'far' && got.error.cause === got.ring,
            Object.hasOwn(got, '__proto__') && Object.getPrototypeOf(got) === Object.prototype,
        ];"""
    got = await called(Target(callee), body)
    assert [at for at, is_right in enumerate(got) if not is_right] == []


async def test_what_a_method_throws_is_thrown_to_its_caller(callee: Tenant) -> None:
    target = Target(callee)
    body = """
        const said = [];
        for (const what of ['type', 'own', 'string', 'shape']) {
            try { await env.SVC.fails(what); } catch (e) { said.push([e instanceof TypeError, e?.name, e?.message ?? e, e?.cause ?? null, e?.remote]); }
        }
        return said;"""
    assert await called(target, body) == [
        [True, "TypeError", "no", {"code": 7}, True],
        [False, "OwnError", "mine", None, True],
        [False, None, "a string", None, None],
        [False, "Error", "The other worker threw a value that can not be passed on.", None, True],
    ]
    assert target.answers[0].lines[0].startswith("Uncaught (in fails) TypeError: no\n    at fails (index.js:")


async def test_what_can_not_be_copied_is_refused_by_name(callee: Tenant) -> None:
    body = """
        import('cloudflare:workers');
        const said = [];
        class Point {}
        for (const value of [() => 1, Symbol('s'), new Point(), new Response('x'), new Headers(), new ReadableStream(), Promise.resolve(1), new WeakMap(), new Blob([])]) {
            try { await env.SVC.echo({ list: [0, value] }); said.push(null); } catch (e) { said.push([e.name, e.message.split(',')[0]]); }
        }
        for (const method of ['shape', 'stub', 'target']) {
            try { await env.SVC[method](); said.push(null); } catch (e) { said.push([e.name, e.message.split(',')[0]]); }
        }
        return said;"""
    kinds = ["a function", "a symbol", "a Point", "a Response", "a Headers", "a ReadableStream", "a Promise"]
    kinds += ["a WeakMap", "a Blob"]
    target = Target(callee)
    assert await called(target, body) == [
        *(["DataCloneError", f"arguments[0].list[1] is {kind}"] for kind in kinds),
        *(["DataCloneError", f"result is {kind}"] for kind in ("a Shape", "a function", "a RpcTarget")),
    ]


async def test_only_methods_of_the_class_can_be_called(callee: Tenant) -> None:
    body = """
        const said = [];
        for (const name of ['missing', 'own', 'getter', 'toLocaleString', 'hidden', '__proto__', 'hasOwnProperty', 'scheduled', 'dup', 'queue']) {
            const call = Object.hasOwn(Object.prototype, name) ? null : env.SVC[name];
            if (!call) { said.push('none'); continue; }
            try { await call(); said.push('called'); } catch (e) { said.push(`${e.name}: ${e.message}`); }
        }
        return [said, typeof env.SVC.then, (await env.SVC) === env.SVC, typeof env.SVC.constructor, JSON.stringify(env.SVC)];"""
    got, then, is_awaited, constructor, text = await called(Target(callee), body)
    assert got == [
        f'TypeError: The RPC receiver does not implement the method "{name}".'
        if name not in ("toLocaleString", "__proto__", "hasOwnProperty")
        else "none"
        for name in (
            *("missing", "own", "getter", "toLocaleString", "hidden", "__proto__", "hasOwnProperty"),
            *("scheduled", "dup", "queue"),
        )
    ]
    assert (then, is_awaited, constructor, text) == ("undefined", True, "function", "{}")


async def test_props_and_env_are_those_of_the_other_end(callee: Tenant) -> None:
    props = '{"of":"shop","n":1}'
    body = "return [await env.SVC.props(), await (await env.SVC.fetch('/')).text()];"
    assert await called(Target(callee, None, props), body) == [
        [{"of": "shop", "n": 1}, "callee"],
        "default GET",
    ]
    assert await called(Target(callee), body) == [[{}, "callee"], "default GET"]


async def test_a_named_entry_point_answers_calls_and_requests(callee: Tenant) -> None:
    body = "return [await env.SVC.who(), await (await env.SVC.fetch('https://a/path')).text()];"
    assert await called(Target(callee, "Admin", '{"of":"shop"}'), body) == [
        "admin for shop",
        "admin /path for shop",
    ]
    told = "return (await env.SVC.fetch('https://a/')).text();"
    assert await called(Target(callee, "plain", '{"of":"shop"}'), told) == "plain callee shop"


async def test_what_has_no_methods_says_so() -> None:
    target = Target(tenant(handler("return new Response('x');")))
    said = await called(target, "return env.SVC.add(1).catch((e) => [e.name, e.message]);")
    assert said == [
        "TypeError",
        'The entry point has no methods to call: it is no class that extends WorkerEntrypoint of "cloudflare:workers".',
    ]


async def test_a_result_of_a_megabyte_streams(callee: Tenant) -> None:
    assert await called(Target(callee), "return (await env.SVC.big(3 << 20)).length;") == 3 << 20


async def test_what_a_method_hands_to_wait_until_goes_on(callee: Tenant) -> None:
    target = Target(callee)
    assert await called(target, "return env.SVC.later();") == 1
    assert target.answers[0].lines == ["later"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"null",
        b"[0]",
        b'[0, "x"]',
        b"[5, []]",
        b"[-9, []]",
        b"[0.5, [1]]",
        b'[0, [["a", 7]]]',
        b'[0, [["z"]]]',
        b'[0, [["b", "!"]]]',
        b'[0, [["n", "x"]]]',
        b'[0, [["v", "Uint8Array", 0, 9, 1], ["b", "AAAA"]]]',
        b'[0, [["v", "constructor", 0, 1, 1], ["b", "AAAA"]]]',
        b'[0, [["v", "Uint8Array", 0, 1, 0]]]',
        b'[0, [["r", "(", ""]]]',
        b"[" * 500,
    ],
)
async def test_hostile_arguments_are_an_error_of_the_call(callee: Tenant, text: bytes) -> None:
    entry = Entry(None, None, "echo")
    incoming = IncomingRequest("POST", "https://a/", "a", "/", [], text, None, Client("", True, "r"), entry)
    answer = await callee.fetch(incoming)
    assert answer.error is None
    assert answer.text.startswith("-"), answer.text
