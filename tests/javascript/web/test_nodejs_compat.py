"""The compatibility flag `nodejs_compat`: globals of Node.js, its modules without `node:`, and modules that are made when wanted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from bindings.memory import MemorySecret
from model.capabilities import Binding, WorkerEnv
from model.scripts import BindingKind
from tests.javascript.harness import Refused, handler, tenant

FLAG = ("nodejs_compat",)


async def told(body: str, top: str = "", flags: tuple[str, ...] = FLAG, env: WorkerEnv | None = None) -> Any:
    source = handler(f"return Response.json(await (async () => {{ {body} }})() ?? null);", top)
    answer = await tenant(source, flags=flags, env=env).get()
    assert answer.error is None, answer.error
    return json.loads(answer.text)


async def test_globals_are_there_with_the_flag_alone() -> None:
    body = "return ['Buffer', 'process', 'global', 'setImmediate'].map((name) => typeof globalThis[name]);"
    assert await told(body) == ["function", "object", "object", "function"]
    assert await told(body, flags=()) == ["undefined", "undefined", "undefined", "function"]
    assert await told("return [global === globalThis, Buffer.from('a').toString('hex')];") == [True, "61"]


async def test_names_without_node_are_modules_with_the_flag_alone() -> None:
    top = "import EventEmitter from 'events'; import { Buffer as B } from 'buffer'; import process from 'process';"
    body = "return [typeof EventEmitter, B === Buffer, process === globalThis.process];"
    assert await told(body, top) == ["function", True, True]
    with pytest.raises(Refused, match='No such module "events"'):
        await told(body, top, flags=())


async def test_commonjs_requires_them_without_node_too() -> None:
    others = [
        ("c.cjs", "cjs", b"module.exports = [require('events') === require('node:events'), typeof process]")
    ]
    worker = tenant(
        handler("return Response.json(c);", "import c from './c.cjs';"), others=others, flags=FLAG
    )
    assert json.loads((await worker.get()).text) == [True, "object"]


async def test_variables_and_secrets_are_in_process_env() -> None:
    env = WorkerEnv(
        vars={"NAME": "v"}, bindings={"SECRET": Binding(BindingKind.SECRET_TEXT, MemorySecret("s"))}
    )
    top = "const early = process.env.NAME ?? 'none'; process.env.SET = 1;"
    body = """
      const seen = [early, process.env.NAME, process.env.SECRET, process.env.SET, process.env.NONE ?? null, 'NAME' in process.env];
      process.env.NAME = 'mine';
      const keys = Object.keys(process.env).sort();
      delete process.env.NAME;
      return [...seen, keys, process.env.NAME, { ...process.env }.SECRET];"""
    expected = [
        "none",
        "v",
        "s",
        "1",
        None,
        True,
        ["NAME", "SECRET", "SET"],
        "v",
        "s",
    ]
    assert await told(body, top, env=env) == expected
    kept = (*FLAG, "nodejs_compat_do_not_populate_process_env")
    assert await told("return process.env.NAME;", flags=kept, env=env) is None


async def test_process_says_what_libraries_ask() -> None:
    body = """
      const order = [];
      process.nextTick((x) => order.push(x), 'tick');
      order.push('now');
      await null;
      const since = process.hrtime();
      return [order, process.platform, process.versions.node.split('.').length, process.cwd(), typeof process.hrtime.bigint(), since.length, typeof process.on];"""
    assert await told(body) == [["now", "tick"], "linux", 3, "/", "bigint", 2, "function"]


@pytest.mark.parametrize(
    ("imports", "value", "result"),
    [
        ("import qs from 'node:querystring';", "[qs.parse('a=1&a=2&b=x+y&c=%zz&d=%C3%A4'), qs.stringify({ a: [1, 'x y'], b: true, c: null }), qs.parse('a:1;b:2', ';', ':')]",
         [{"a": ["1", "2"], "b": "x y", "c": "%zz", "d": "ä"}, "a=1&a=x%20y&b=true&c=", {"a": "1", "b": "2"}]),
        ("import { StringDecoder } from 'node:string_decoder';", "(() => { const d = new StringDecoder('utf8'), e = new StringDecoder('base64'); return [d.write(Buffer.from([0xe2, 0x82])), d.write(Buffer.from([0xac])), d.end(Buffer.from([0xc3])), e.write(Buffer.from('ab')), e.end(Buffer.from('c'))]; })()",
         ["", "€", "�", "", "YWJj"]),
        ("import url from 'node:url';", "[url.fileURLToPath('file:///a%20b'), url.pathToFileURL('/a b%').href, url.parse('http://u:p@h:81/p?q=1#x'), url.parse('/p?q=1', true).query, url.format({ protocol: 'https', host: 'h', pathname: 'p', query: { a: 1 } }), url.resolve('/one/two', 'three'), url.resolve('http://a/b', '/c')]",
         ["/a b", "file:///a%20b%25",
          {"protocol": "http:", "slashes": True, "auth": "u:p", "host": "h:81", "port": "81", "hostname": "h", "hash": "#x", "search": "?q=1", "query": "q=1", "pathname": "/p", "path": "/p?q=1", "href": "http://u:p@h:81/p?q=1#x"},
          {"q": "1"}, "https://h/p?a=1", "/one/three", "http://a/c"]),
        ("import timers, { setTimeout as later } from 'node:timers'; import { setTimeout as pause } from 'node:timers/promises';", "(async () => [await pause(1, 'x'), typeof later, timers.promises.setTimeout === pause, await pause(1, 0, { signal: AbortSignal.abort() }).catch((e) => e.code)])()",
         ["x", "function", True, "ABORT_ERR"]),
        ("import { channel, subscribe, tracingChannel } from 'node:diagnostics_channel'; import { AsyncLocalStorage } from 'node:async_hooks';", "(() => { const seen = [], als = new AsyncLocalStorage(); subscribe('c', (m, n) => seen.push(m, n)); subscribe('c', () => { throw new Error('lost'); }); channel('c').publish(1); channel('c').bindStore(als); channel('c').runStores(2, () => seen.push(als.getStore())); const t = tracingChannel('t'); t.subscribe({ start: () => seen.push('s'), end: (c) => seen.push(c.result) }); t.traceSync(() => 5); return [seen, channel('none').hasSubscribers]; })()",
         [[1, "c", 2, "c", 2, "s", 5], False]),
    ],
    ids=["querystring", "string_decoder", "url", "timers", "diagnostics_channel"],
)  # fmt: skip
async def test_modules_that_are_made_when_wanted(imports: str, value: str, result: object) -> None:
    assert await told(f"return await ({value});", imports) == result


async def test_hashes_are_node_s() -> None:
    body = """
      const h = crypto.createHash('sha256').update('a').update(Buffer.from('ä'));
      const copy = h.copy();
      return [h.digest('hex'), copy.update('b').digest('base64'), crypto.createHmac('sha1', 'key').update('data').digest('hex'),
        crypto.createHash('MD5').update('').digest('hex'), crypto.pbkdf2Sync('p', 's', 10, 16, 'sha256').toString('hex')];"""
    assert await told(body, "import crypto from 'node:crypto';") == [
        hashlib.sha256("aä".encode()).hexdigest(),
        base64.b64encode(hashlib.sha256("aäb".encode()).digest()).decode(),
        hmac.new(b"key", b"data", "sha1").hexdigest(),
        "d41d8cd98f00b204e9800998ecf8427e",
        hashlib.pbkdf2_hmac("sha256", b"p", b"s", 10, 16).hex(),
    ]


async def test_random_values_and_comparison_are_node_s() -> None:
    body = """
      const thrown = (run) => { try { return run(); } catch (e) { return e.code; } };
      const given = await new Promise((done) => randomBytes(4, (error, bytes) => done([error, bytes.length])));
      return [randomBytes(100000).length, new Set([1, 2, 3].map(() => randomUUID())).size, given, [1, 2, 3].every(() => randomInt(5, 7) < 7),
        timingSafeEqual(Buffer.from('a'), Buffer.from('a')), timingSafeEqual(Buffer.from('a'), Buffer.from('b')),
        thrown(() => timingSafeEqual(Buffer.from('a'), Buffer.from('ab'))), thrown(() => createHash('none'))];"""
    top = "import { createHash, randomBytes, randomInt, randomUUID, timingSafeEqual } from 'node:crypto';"
    codes = ["ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH", "ERR_CRYPTO_INVALID_DIGEST"]
    assert await told(body, top) == [100000, 3, [None, 4], True, True, False, *codes]


def test_a_hash_can_not_be_made_at_the_top_level() -> None:
    with pytest.raises(Refused, match="Disallowed operation") as refused:
        tenant("import { createHash } from 'node:crypto';\ncreateHash('md5').digest();")
    assert (refused.value.error["file"], refused.value.error["line"]) == ("index.js", 2)
