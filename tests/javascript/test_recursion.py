"""Recursion of every kind, of code, of data and of source, ends in an error that can be caught: QuickJS looks at the stack in
memory, and the machine's own must not end before.
"""

from __future__ import annotations

import json

import pytest

from tests.javascript.harness import Refused, handler, tenant
from tests.support.guests import request

CODE = {
    "plain": "const f = () => f(); f();",
    "getter": "const o = { get x() { return this.x; } }; o.x;",
    "sort": "const f = () => [1, 2].sort(f); f();",
    "proxy": "const p = new Proxy({}, { get: (t, k, r) => r[k] }); p.x;",
    "toString": "const o = { toString() { return '' + this; } }; '' + o;",
    "replace": "const f = () => 'a'.replace(/a/g, f); f();",
    "toJSON": "const o = { toJSON() { return JSON.stringify(this); } }; JSON.stringify(o);",
    "spread": "const f = (...a) => f(...a, 1); f();",
    "spread of an object": "const o = { get x() { return { ...o }; } }; ({ ...o });",
    "generator": "function* g() { yield* g(); } [...g()];",
    "iterator": "const o = { [Symbol.iterator]: () => [...o] }; [...o];",
    "constructor": "class A { constructor() { new A(); } } new A();",
    "async": "const f = async () => { await f(); }; await f();",
    "Object.assign": "const o = { get x() { return Object.assign({}, o); } }; Object.assign({}, o);",
    "Array.from": "const f = () => Array.from([1], f); f();",
    "valueOf": "const o = { valueOf() { return o < o; } }; o < o;",
    "URL": "const o = { toString() { return new URL(o).href; } }; new URL(o);",
    "Headers": "const o = { get a() { return new Headers(o); } }; new Headers(o);",
}

#: `deep(make)` nests what `make` gives 50,000 times; `text(a, b)` begins as often.
DATA = {
    "JSON.parse of arrays": "JSON.parse(text('[', ']'));",
    "JSON.parse of objects": """JSON.parse(text('{"a":', '}', 1));""",
    "JSON.parse with a reviver": "JSON.parse('[1,2]', function (k, v) { if (k === '0') this[1] = deep((v) => [v]); return v; });",
    "JSON.stringify of arrays": "JSON.stringify(deep((v) => [v]));",
    "JSON.stringify of objects": "JSON.stringify(deep((a) => ({ a })));",
    "JSON.stringify with a replacer": "JSON.stringify(deep((a) => ({ a })), (k, v) => v);",
    "JSON.stringify of proxies": "JSON.stringify(deep((v) => new Proxy([v], {})));",
    "JSON.stringify of what toJSON makes": "JSON.stringify({ toJSON() { return { a: this }; } });",
    "Response.json": "Response.json(deep((v) => [v]));",
    "structuredClone of arrays": "structuredClone(deep((v) => [v]));",
    "structuredClone of maps": "structuredClone(deep((v) => new Map([[1, v]])));",
    "flat": "deep((v) => [v]).flat(Infinity);",
    "String of arrays": "String(deep((v) => [v]));",
    "toLocaleString of arrays": "deep((v) => [v]).toLocaleString();",
    "RegExp of groups": "new RegExp(text('(?:', ')'));",
    "RegExp of lookaheads": "new RegExp(text('(?=', ')'));",
    "RegExp of classes": "new RegExp(text('[', ']'), 'v');",
    "functions that are bound": "deep((f) => f.bind(null), () => 1)();",
    "has of proxies": "'x' in deep((p) => new Proxy(p, {}), {});",
    "get of proxies": "deep((p) => new Proxy(p, {}), {}).x;",
    "set of proxies": "deep((p) => new Proxy(p, {}), {}).x = 1;",
    "delete of proxies": "delete deep((p) => new Proxy(p, {}), {}).x;",
    "keys of proxies": "Object.keys(deep((p) => new Proxy(p, {}), {}));",
    "defineProperty of proxies": "Object.defineProperty(deep((p) => new Proxy(p, {}), {}), 'a', { value: 2 });",
    "getPrototypeOf proxies": "Object.getPrototypeOf(deep((p) => new Proxy(p, {}), {}));",
    "setPrototypeOf proxies": "Object.setPrototypeOf(deep((p) => new Proxy(p, {}), {}), null);",
    "freeze of proxies": "Object.freeze(deep((p) => new Proxy(p, {}), {}));",
    "instanceof of proxies": "deep((p) => new Proxy(p, {}), {}) instanceof Array;",
    "call of proxies": "deep((p) => new Proxy(p, {}), () => 1)();",
    "new of proxies": "new (deep((p) => new Proxy(p, {}), class {}))();",
    "helpers of iterators": "deep((i) => i.map((x) => x), [1].values()).next();",
    "iterators that are concatenated": "deep((i) => Iterator.concat(i), [1].values()).next();",
    "iterators that are wrapped": "deep((i) => Iterator.from({ next: i.next.bind(i) }), [1].values()).next();",
}
#: As deep, and nothing goes down into it.
LONG = {
    "prototypes": "deep((v) => Object.create(v), {}).none;",
    "promises": "await deep((p) => p.then(() => 1), Promise.resolve());",
    "objects that are freed": "deep((a) => ({ a }));",
    "closures that are freed": "deep((f) => () => f);",
    "maps that are freed": "deep((v) => new Map([[1, v]]));",
    "a sum": "'1'.repeat(50_000).split('').map(Number).reduce((a, b) => a + b);",
}
MAKERS = """
    const deep = (make, value = 1) => { for (let i = 0; i < 50_000; i++) value = make(value); return value; };
    const text = (open, close, within = '') => open.repeat(50_000) + within + close.repeat(50_000);"""

SOURCE = {
    "brackets": ("(", "1", ")"),
    "arrays": ("[", "1", "]"),
    "objects": ("({a:", "1", "})"),
    "calls": ("f(", "1", ")"),
    "templates": ("`${", "1", "}`"),
    "functions": ("(function(){", "", "})()"),
    "classes": ("(class{a=", "1", "})"),
    "arrows": ("x=>", "1", ""),
    "operators": ("!", "1", ""),
    "conditions": ("x?1:", "1", ""),
    "assignments": ("x=", "1", ""),
    "new": ("new ", "f", ""),
    "blocks": ("{", "", "}"),
    "else if": ("if(x){1}else ", "{}", ""),
    "try": ("try{", "", "}finally{}"),
    "loops": ("for(;;)", ";", ""),
}


async def caught(body: str, top: str = "") -> str:
    source = handler(
        f"try {{ {body} return new Response('ended'); }} catch (e) {{ return new Response(e.name); }}", top
    )
    answer = await tenant(source, limits={"cpu_ms": 10_000}).get()
    assert answer.error is None, answer.lines
    return answer.text


@pytest.mark.parametrize("kind", CODE)
async def test_code_that_calls_itself_without_end_can_be_caught(kind: str) -> None:
    assert await caught(CODE[kind]) in ("RangeError", "InternalError")


@pytest.mark.parametrize("kind", DATA)
async def test_data_that_is_nested_without_end_can_be_caught(kind: str) -> None:
    expected = ("SyntaxError",) if kind.startswith("RegExp") else ("RangeError", "InternalError")
    assert await caught(DATA[kind], MAKERS) in expected


@pytest.mark.parametrize("kind", LONG)
async def test_what_is_only_long_ends(kind: str) -> None:
    assert await caught(LONG[kind], MAKERS) == "ended"


async def test_a_body_s_json_is_read_as_deep_as_one_writes_it_and_no_deeper_than_the_stack() -> None:
    body = """
        try { const read = await request.json(); return new Response(JSON.stringify(read)); }
        catch (e) { return new Response(e.name); }"""
    worker = tenant(handler(body))
    told = []
    for depth in (100, 1_500, 5_000, 200_000):
        nested = "[" * depth + "]" * depth
        answer = await worker.fetch(request("POST", "/", body=nested.encode()))
        told.append("the same" if answer.text == nested else answer.text)
    assert told == ["the same", "the same", "RangeError", "RangeError"]


async def test_what_was_caught_leaves_the_stack_as_it_was() -> None:
    body = """
        const depth = () => { let n = 0; const f = () => { n++; f(); }; try { f(); } catch {} return n; };
        const before = depth();
        for (let i = 0; i < 20; i++) {
          try { JSON.parse('['.repeat(50_000)); } catch {}
          try { 'x' in p; } catch {}
        }
        return Response.json([before > 500, depth() - before]);"""
    top = "let p = {}; for (let i = 0; i < 50_000; i++) p = new Proxy(p, {});"
    assert json.loads((await tenant(handler(body, top)).get()).body) == [True, 0]


@pytest.mark.parametrize("kind", SOURCE)
def test_source_that_is_nested_too_deep_is_refused_with_its_line(kind: str) -> None:
    opening, within, closing = SOURCE[kind]

    def nested(depth: int) -> str:
        source = f"{opening * depth}{within}{closing * depth}"
        return f"function never(x, f) {{\n{source};\n}}\nexport default {{ fetch() {{}} }};"

    tenant(nested(100))
    with pytest.raises(Refused, match="SyntaxError: nested too deep") as refused:
        tenant(nested(20_000))
    assert (refused.value.error["file"], refused.value.error["line"]) == ("index.js", 2)
