"""Files of a worker: ES modules that import each other, text, data, JSON, CommonJS."""

from __future__ import annotations

import json

import pytest

from runtime.abi.core_module.host_calls import GuestIo
from tests.javascript.harness import Refused, compile_modules, handler, instance, load, tenant


async def test_modules_import_each_other_by_relative_names() -> None:
    others = [
        (
            "lib/a.js",
            "esm",
            b"import { b } from './b.js'; import top from '../top.js'; export const a = () => b + top();",
        ),
        ("lib/b.js", "esm", b"export const b = 'b';"),
        ("top.js", "esm", b"import { a } from './lib/a.js'; export default () => typeof a;"),
    ]
    source = handler("return new Response(a());", "import { a } from './lib/a.js';")
    assert (await tenant(source, others=others).get()).text == "bfunction"


async def test_text_data_and_json_are_values() -> None:
    others = [
        ("t.txt", "text", "grüße".encode()),
        ("d.bin", "data", bytes([1, 2, 255])),
        ("m.wasm", "wasm", b"\0asm"),
        ("j.json", "json", b'{"a":[1,null]}'),
    ]
    top = "import t from './t.txt'; import d from './d.bin'; import m from './m.wasm'; import j from './j.json' with { type: 'json' };"
    body = "return Response.json([t, [...new Uint8Array(d)], m.byteLength, j]);"
    answer = await tenant(handler(body, top), others=others).get()
    assert json.loads(answer.body) == ["grüße", [1, 2, 255], 4, {"a": [1, None]}]


async def test_json_that_is_none_is_refused_with_its_file() -> None:
    with pytest.raises(Refused, match="SyntaxError") as refused:
        tenant(
            handler("return new Response(j);", "import j from './j.json';"), others=[("j.json", "json", b"{")]
        )
    assert refused.value.error["file"] == "j.json"


async def test_a_module_can_be_imported_when_it_is_wanted() -> None:
    others = [("later.js", "esm", b"export const x = 'later';"), ("broken.js", "esm", b"export const = ;")]
    body = """
        const seen = [(await import('./later.js')).x];
        await import('./broken.js').catch((e) => seen.push('refused'));
        await import('./none.js').catch((e) => seen.push(e.message));
        return Response.json(seen);"""
    answer = await tenant(handler(body), others=others).get()
    assert json.loads(answer.body) == [
        "later",
        "refused",
        'No such module "none.js", imported from "index.js".',
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"import './none.js';", 'No such module "lib/none.js", imported from "lib/a.js".'),
        (b"import 'node:fs';", 'No such module "node:fs", imported from "lib/a.js": it is none'),
        (b"require('./none.js');", 'require("./none.js"): "lib/a.js" has no such file'),
        (
            b"import { x } from './b.js';",
            "Could not find export 'x' in module 'lib/b.js', imported from 'lib/a.js'",
        ),
        (
            b"export { x } from './b.js';",
            "Could not find export 'x' in module 'lib/b.js', imported from 'lib/a.js'",
        ),
    ],
)
async def test_who_imports_what_is_not_there_is_named(source: bytes, message: str) -> None:
    kind = "cjs" if b"require" in source else "esm"
    with pytest.raises(Refused) as refused:
        tenant(
            handler("return new Response();", "import './lib/a.js';"),
            others=[("lib/a.js", kind, source), ("lib/b.js", "esm", b"export const y = 1;")],
        )
    assert message in refused.value.error["message"]


async def test_commonjs_files_have_their_exports_as_default() -> None:
    others = [
        ("c.cjs", "cjs", b"exports.x = 1; module.exports.name = __filename; exports.self = this === exports;")
    ]
    answer = await tenant(
        handler("return Response.json(c);", "import c from './c.cjs';"), others=others
    ).get()
    assert json.loads(answer.body) == {"x": 1, "name": "c.cjs", "self": True}


async def test_source_text_is_not_kept_and_names_and_places_are() -> None:
    worker = tenant(
        handler(
            "function secretName() { return 'x'; } return Response.json([secretName.name, secretName.toString()]);"
        )
    )
    name, text = json.loads((await worker.get()).body)
    assert name == "secretName"
    assert "return 'x'" not in text
    assert b"return 'x'" not in worker.code


async def test_two_loads_leave_the_same_memory() -> None:
    worker = tenant(
        handler(
            "return new Response(String(x));", "const x = Math.random(); globalThis.m = new Map([[{}, 1]]);"
        )
    )
    images = []
    for _ in range(2):
        with instance() as guest:
            load(guest, worker.code)
            images.append(guest.read(0, guest.memory_size()))
    assert images[0] == images[1]


def test_the_top_level_s_lines_reach_the_host_and_a_rejection_that_nobody_awaited_is_one() -> None:
    source = "console.log('made'); Promise.reject(new Error('lost')); export default { fetch() {} };"
    code = compile_modules([("index.js", "esm", source.encode())], "index.js")
    io = GuestIo(10, 1_000)
    with instance(io) as guest:
        load(guest, code)
    lines = [text.decode() for _, text in io.lines]
    assert lines[0] == "made"
    assert lines[1].startswith("Uncaught (in promise) Error: lost\n    at ")
    assert "index.js:1:" in lines[1]


def test_what_a_top_level_await_is_rejected_with_is_no_line() -> None:
    code = compile_modules(
        [("index.js", "esm", b"await Promise.reject(1); export default { fetch() {} };")], "index.js"
    )
    io = GuestIo(10, 1_000)
    with instance(io) as guest, pytest.raises(Refused):
        load(guest, code)
    assert io.lines == []
