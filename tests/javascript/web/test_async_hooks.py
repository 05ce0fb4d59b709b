"""`node:async_hooks`: what is stored for a flow is there in all that it calls later, and in nothing else."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from bindings.memory import MemoryKvNamespace
from model.capabilities import Binding, WorkerEnv
from model.scripts import BindingKind
from runtime.abi.core_module import codec
from tests.javascript.harness import _run, compile_modules, instance, load, tenant
from tests.support.guests import request

_TOP = """
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
const als = new AsyncLocalStorage(), other = new AsyncLocalStorage();
const get = () => als.getStore() ?? null;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
"""


async def told(body: str, env: WorkerEnv | None = None) -> Any:
    source = f"{_TOP} export default {{ async fetch(request, env) {{ return Response.json(await (async () => {{ {body} }})() ?? null); }} }};"
    answer = await tenant(source, env=env).get()
    assert answer.error is None, answer.error
    return json.loads(answer.text)


@pytest.mark.parametrize(
    ("later", "why"),
    [
        ("await null; return get();", "await of a value"),
        ("await pause(1); return get();", "await of a timer"),
        ("return Promise.resolve().then(get);", "then() of what is settled"),
        ("return pause(1).then(get);", "then() of what is pending"),
        ("return Promise.reject(1).catch(get);", "catch()"),
        ("let seen; await Promise.resolve().finally(() => { seen = get(); }); return seen;", "finally()"),
        ("return new Promise((done) => queueMicrotask(() => done(get())));", "queueMicrotask"),
        ("return new Promise((done) => setTimeout(() => done(get()), 1));", "setTimeout"),
        ("return new Promise((done) => setImmediate(() => done(get())));", "setImmediate"),
        ("return new Promise((done) => { const id = setInterval(() => { clearInterval(id); done(get()); }, 1); });", "setInterval"),
        ("await scheduler.wait(1); return get();", "scheduler.wait"),
        ("return await { then(done) { done(get()); } };", "the then() of what is no promise"),
        ("await { then(done) { done(1); } }; return get();", "after what is no promise"),
        ("for await (const _ of (async function* () { yield 1; await null; yield 2; })()) void 0; return get();", "an async generator"),
        ("return (async function* () { await null; yield get(); })().next().then((r) => r.value);", "in an async generator"),
        ("await new Response(new Blob(['a']).stream()).text(); return get();", "a stream"),
        ("await new Blob(['a']).stream().pipeThrough(new TransformStream()).pipeTo(new WritableStream()); return get();", "a pipe"),
        ("await crypto.subtle.digest('SHA-256', new Uint8Array(1)); return get();", "an operation of the host"),
        ("await Promise.all([pause(1), crypto.subtle.digest('SHA-256', new Uint8Array(1))]); return get();", "several at once"),
        ("await Promise.allSettled([fetch('http://nowhere.invalid/')]); return get();", "an operation that fails"),
        ("return (await import('node:async_hooks'), get());", "import()"),
    ],
    ids=lambda value: value if len(value) < 40 and ";" not in value else "",
)  # fmt: skip
async def test_the_store_is_there_after(later: str, why: str) -> None:
    assert await told(f"return als.run('mine', async () => {{ {later} }});") == "mine", why
    assert await told(f"als.run('mine', async () => {{ await null; }}); {later}") is None, why


async def test_parallel_flows_do_not_mix() -> None:
    body = """
      const seen = [];
      const flow = (n) => als.run(n, async () => {
        for (let i = 0; i < 4; i++) {
          await (i % 2 ? pause(n % 3) : null);
          seen.push(get() === n);
        }
        return get();
      });
      const all = await Promise.all([0, 1, 2, 3, 4, 5, 6].map(flow));
      return [all, seen.length, seen.every(Boolean), get()];"""
    assert await told(body) == [[0, 1, 2, 3, 4, 5, 6], 28, True, None]


async def test_runs_nest_and_end_with_an_error_too() -> None:
    body = """
      const seen = [];
      als.run(1, () => {
        als.run(2, () => other.run('o', () => seen.push(get(), other.getStore())));
        seen.push(get(), other.getStore() ?? null);
        try { als.run(3, () => { throw new Error('x'); }); } catch { seen.push(get()); }
        als.exit(() => seen.push(get()));
        seen.push(get());
      });
      await als.run(4, async () => { await null; throw new Error(get()); }).catch((e) => seen.push(e.message, get()));
      return [...seen, als.run(1, (a, b) => a + b, 2, 3)];"""
    assert await told(body) == [2, "o", 1, None, 1, None, 1, "4", None, 5]


async def test_enter_with_holds_from_there_on_and_disable_ends_it() -> None:
    body = """
      const seen = [];
      const inner = async () => { await null; als.enterWith('in'); await pause(1); seen.push(get()); };
      await inner();
      seen.push(get());
      als.enterWith('here');
      await pause(1);
      seen.push(get());
      als.disable();
      await null;
      seen.push(get());
      als.enterWith(undefined);
      return [...seen, get()];"""
    assert await told(body) == ["in", None, "here", None, None]


async def test_what_is_bound_runs_where_it_was_bound() -> None:
    body = """
      const bound = als.run(1, () => AsyncLocalStorage.bind((x) => [get(), x]));
      const inside = als.run(2, () => AsyncLocalStorage.snapshot());
      const resource = als.run(3, () => new AsyncResource('R'));
      const self = { it: als.run(4, () => AsyncResource.bind(function () { return [get(), this === self]; })) };
      return als.run(9, () => [
        bound('x'), inside((x) => [get(), x], 'y'),
        resource.runInAsyncScope(function (x) { return [get(), this.t, x]; }, { t: 't' }, 'z'),
        resource.bind(() => get())(), self.it(), get(), bound.length,
      ]);"""
    assert await told(body) == [[1, "x"], [2, "y"], [3, "t", "z"], 3, [4, True], 9, 1]


async def test_a_default_and_what_is_no_function() -> None:
    body = """
      const d = new AsyncLocalStorage({ defaultValue: 5, name: 'n' });
      const wrong = [];
      for (const run of [() => AsyncResource.bind(1), () => new AsyncResource()]) try { run(); } catch (e) { wrong.push(e.name); }
      return [d.getStore(), d.run(undefined, () => d.getStore() ?? null), d.name, wrong];"""
    assert await told(body) == [5, None, "n", ["TypeError", "TypeError"]]


async def test_the_store_follows_a_binding_s_answers() -> None:
    env = WorkerEnv(bindings={"KV": Binding(BindingKind.KV_NAMESPACE, MemoryKvNamespace())})
    body = """
      const flow = (n) => als.run(n, async () => {
        await env.KV.put(`k${n}`, String(n));
        const read = await env.KV.get(`k${n}`);
        return [get(), read];
      });
      return Promise.all([flow(1), flow(2), flow(3)]);"""
    assert await told(body, env) == [[1, "1"], [2, "2"], [3, "3"]]


def test_nothing_of_an_event_or_of_the_top_level_is_in_the_next_event() -> None:
    source = f"""{_TOP}
      als.enterWith('top');
      const p = Promise.resolve();
      let n = 0;
      export default {{ fetch() {{
        const before = get();
        als.enterWith('event' + ++n);
        return Response.json([before, n]);
      }} }};"""
    code = compile_modules([("index.js", "esm", source.encode())], "index.js")
    event = msgpack.packb(msgpack.unpackb(codec.encode_request(request(), {}, {}, None)))
    with instance() as guest:
        load(guest, code)
        seen = []
        for _ in range(2):
            result = _run(guest, "fetch", event)
            seen.append(json.loads(msgpack.unpackb(guest.read(result >> 32, result & 0xFFFF_FFFF))["body"]))
    assert seen == [[None, 1], [None, 2]]
