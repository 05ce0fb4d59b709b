"""Handlers: their forms, what may go on after the response, and how what they throw is told."""

from __future__ import annotations

import json

import pytest

from tests.javascript.harness import Refused, handler, tenant
from tests.support.guests import request


async def test_an_entry_point_class_is_made_for_each_event() -> None:
    source = """
        import { WorkerEntrypoint } from 'cloudflare:workers';
        export default class extends WorkerEntrypoint { async fetch(request) { return new Response(`${this.env.A} ${typeof this.ctx.waitUntil} ${request.method}`); } }
        export class Other extends WorkerEntrypoint { ping() {} }"""
    worker = tenant(source)
    assert worker.loaded == {"handlers": ["fetch"], "entrypoints": ["default", "Other"]}
    assert (await worker.get()).text == "undefined function GET"


async def test_a_service_worker_answers_through_its_listener() -> None:
    source = """
        addEventListener('fetch', (event) => { event.respondWith(answer(event.request)); });
        async function answer(request) { return new Response('sw ' + request.url); }"""
    worker = tenant(source, kind="script")
    assert worker.loaded["handlers"] == ["fetch"]
    assert (await worker.get("/x")).text == "sw http://a.example.com/x"


async def test_a_service_worker_finds_its_bindings_in_the_global_scope() -> None:
    from model.capabilities import WorkerEnv

    source = "addEventListener('fetch', (event) => event.respondWith(new Response(NAME)));"
    assert (await tenant(source, kind="script", env=WorkerEnv(vars={"NAME": "v"})).get()).text == "v"


async def test_scheduled_gets_its_time_and_may_wait() -> None:
    source = """
        export default { async scheduled(controller, env, ctx) {
            ctx.waitUntil(scheduler.wait(5).then(() => console.log('waited')));
            console.log(controller.cron, controller.scheduledTime);
        } };"""
    answer = await tenant(source).background("scheduled", {"cron": "* * * * *", "scheduled_time_ms": 60_000})
    assert answer.error is None
    assert answer.lines == ["* * * * * 60000", "waited"]


async def test_what_was_handed_to_wait_until_goes_on_after_the_response() -> None:
    body = """
        ctx.waitUntil((async () => { await scheduler.wait(5); console.log('after'); })());
        return new Response('now');"""
    answer = await tenant(handler(body)).get()
    assert (answer.text, answer.lines) == ("now", ["after"])
    assert answer.responder.ended


async def test_timers_run_in_the_order_in_which_they_are_due() -> None:
    body = """
        const seen = [];
        setTimeout(() => seen.push('20'), 20); setTimeout(() => seen.push('5'), 5); const never = setTimeout(() => seen.push('never'), 1);
        clearTimeout(never); setTimeout((a) => seen.push(a), 0, 'zero'); queueMicrotask(() => seen.push('micro'));
        let ticks = 0; await new Promise((done) => { const id = setInterval(() => { if (++ticks === 3) { clearInterval(id); done(); } }, 1); });
        await scheduler.wait(30);
        return Response.json(seen);"""
    assert json.loads((await tenant(handler(body)).get()).body) == ["micro", "zero", "5", "20"]


async def test_time_goes_on_when_the_worker_waits() -> None:
    body = "const a = Date.now(); await scheduler.wait(20); return Response.json(Date.now() - a);"
    assert 20 <= json.loads((await tenant(handler(body)).get()).body) < 5_000


async def test_a_response_that_is_a_stream_of_the_worker_s_own_is_written_as_it_comes() -> None:
    body = """
        const encoder = new TextEncoder(); let n = 0;
        return new Response(new ReadableStream({ async pull(c) { await scheduler.wait(1); if (n === 3) c.close(); else c.enqueue(encoder.encode(`part ${n++} `)); } }));"""
    assert (await tenant(handler(body)).get()).text == "part 0 part 1 part 2 "


async def test_a_large_body_comes_in_as_a_stream() -> None:
    from model.messages import BytesSource

    body = "const read = await request.arrayBuffer(); return Response.json([read.byteLength, new Uint8Array(read)[0]]);"
    big = request("POST", "/", body=BytesSource(b"\x05" * 700_000))
    assert (await tenant(handler(body)).fetch(big)).text == "[700000,5]"


async def test_a_body_is_read_once() -> None:
    body = """
        const copy = request.clone(); const first = await request.text();
        return Response.json([first, await copy.text(), request.bodyUsed, await request.text().catch((e) => e.name)]);"""
    assert (
        await tenant(handler(body)).fetch(request("POST", "/", body=b"b"))
    ).text == '["b","b",true,"TypeError"]'


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("throw new RangeError('why');", "RangeError: why"),
        ("throw 'text';", "text"),
        ("return 'no response';", "TypeError: Incorrect type for Promise"),
        ("await new Promise(() => {});", "The Workers runtime canceled this request"),
        ("const f = () => f(); f();", "RangeError: Maximum call stack size exceeded"),
        ("throw { toString() { throw 1; } };", "{ toString: [Function: toString] }"),
    ],
)
async def test_what_a_handler_throws_is_its_error(body: str, told: str) -> None:
    error = (await tenant(handler(body)).get()).error
    assert error is not None
    assert told in error


async def test_a_log_line_of_an_error_names_file_line_and_column_and_its_cause() -> None:
    source = """function deep() {
    throw new Error('inner');
}
export default { async fetch() {
    try { deep(); } catch (cause) { throw new Error('outer', { cause }); }
} };"""
    answer = await tenant(source).get()
    (line,) = answer.lines
    assert line.startswith("Uncaught Error: outer\n")
    assert "index.js:5:" in line
    assert "[cause]: Error: inner" in line
    assert "at deep (index.js:2:" in line
    assert "prelude" not in line


@pytest.mark.parametrize(
    ("thrown", "line", "error"),
    [
        ("{ a: 1, b: ['c'] }", "{ a: 1, b: [ 'c' ] }", "{ a: 1, b: [ 'c' ] }"),
        ("'text'", "text", "text"),
        ("null", "null", "null"),
        ("new Map([[1, 2]])", "Map(1) { 1 => 2 }", "Map(1) { 1 => 2 }"),
        ("new (class Odd { x = 1 })()", "Odd { x: 1 }", "Odd { x: 1 }"),
        (
            "Object.assign(new Error('e', { cause: { c: 1 } }), { stack: '' })",
            "Error: e\n  [cause]: { c: 1 }",
            "Error: e",
        ),
        (
            "{ get a() { throw new Error('sly'); } }",
            "[an object that can't be shown: sly]",
            "[an object that can't be shown: sly]",
        ),
    ],
)
async def test_whatever_is_thrown_is_logged_as_console_log_shows_it(
    thrown: str, line: str, error: str
) -> None:
    answer = await tenant(handler(f"const e = {thrown}; console.log(e); throw e;")).get()
    assert answer.lines == [line, f"Uncaught {line}"]
    assert answer.error == f"exception: {error}"


async def test_errors_that_an_aggregate_error_gathers_are_shown_each_with_its_trace_and_cause() -> None:
    body = """
        const fails = async (n) => { throw new TypeError(`no ${n}`, { cause: n }); };
        await Promise.any(Array.from({ length: 10 }, (_, n) => fails(n)));"""
    (line,) = (await tenant(handler(body)).get()).lines
    rows = line.splitlines()
    assert [row.split(":")[0] for row in rows if "]: TypeError" in row] == [
        f"  [errors.{n}]" for n in range(8)
    ]
    assert rows[-1] == "  … 2 more errors"
    assert sum(row.startswith("    at ") and "index.js:3:" in row for row in rows) == 8
    assert sum(row.startswith("  [cause]: ") for row in rows) == 8


async def test_errors_that_hold_each_other_are_shown_once() -> None:
    body = """
        const a = new AggregateError([], 'a'), b = new Error('b', { cause: { a } });
        a.errors.push(a, b); a.cause = b; throw a;"""
    (line,) = (await tenant(handler(body)).get()).lines
    told = [row for row in line.splitlines() if not row.startswith("    at ")]
    assert told == [
        "Uncaught AggregateError: a",
        "  [cause]: Error: b",
        "  [cause]: { a: [Circular] }",
        "  [errors.0]: [Circular]",
        "  [errors.1]: Error: b",
        "  [cause]: { a: [Circular] }",
    ]


async def test_a_top_level_that_throws_no_error_is_refused_with_what_it_threw() -> None:
    with pytest.raises(Refused, match=r"object: \{ a: 1 \}"):
        tenant("throw { a: 1 };")


async def test_a_rejection_that_nobody_handles_is_logged_and_ends_nothing() -> None:
    body = "Promise.reject(new Error('lost')); const p = Promise.reject(1); p.catch(() => {}); await scheduler.wait(1); return new Response('fine');"
    answer = await tenant(handler(body)).get()
    assert answer.text == "fine"
    assert [line.split("\n")[0] for line in answer.lines] == ["Uncaught (in promise) Error: lost"]


async def test_an_unhandledrejection_listener_is_told_instead() -> None:
    top = "addEventListener('unhandledrejection', (e) => { e.preventDefault(); console.log('heard', e.reason); });"
    answer = await tenant(
        handler("Promise.reject('r'); await scheduler.wait(1); return new Response();", top)
    ).get()
    assert answer.lines == ["heard r"]


async def test_console_writes_values_as_one_would() -> None:
    body = """
        console.log('a', 1, { b: [1, 'x'], c: new Map([[1, 2]]) }, null, undefined, 3n);
        console.error('%s is %d', 'x', 5);
        const ring = {}; ring.ring = ring; console.log(ring);
        return new Response();"""
    answer = await tenant(handler(body)).get()
    assert answer.lines == [
        "a 1 { b: [ 1, 'x' ], c: Map(1) { 1 => 2 } } null undefined 3n",
        "x is 5",
        "{ ring: [Circular] }",
    ]


@pytest.mark.parametrize(
    ("source", "message", "line"),
    [
        ("export default {", "", 1),
        ("\n\nconst x = ;\nexport default {}", "", 3),
        ("throw new Error('top');\nexport default { fetch() {} }", "top", 1),
        ("\nawait Promise.reject(new TypeError('later'));\nexport default { fetch() {} }", "later", 2),
        ("await new Promise(() => {}); export default { fetch() {} }", "Top-level await", None),
        ("export const x = 1;", "export default", None),
        ("export default {};", "none of the handlers", None),
        ("export default 5;", "none of the handlers", None),
        ("import x from './missing.js'; export default { fetch() {} }", 'No such module "missing.js"', None),
        ("import x from 'node:fs'; export default { fetch() {} }", 'No such module "node:fs"', None),
    ],
)
async def test_what_can_t_be_deployed_is_refused_with_its_place(
    source: str, message: str, line: int | None
) -> None:
    with pytest.raises(Refused) as refused:
        tenant(source)
    assert message in refused.value.error["message"]
    if line is not None:
        assert (refused.value.error["file"], refused.value.error["line"]) == ("index.js", line)


async def test_a_stack_begins_with_name_and_message_and_may_be_set_to_anything() -> None:
    body = """
        class Mine extends Error { name = 'Mine'; }
        const set = new Error('a'); set.stack = undefined;
        return Response.json([new TypeError('no').stack, new Mine('m').stack.split('\\n')[0], set.stack ?? 'none', Object.keys(set)]);"""
    told = json.loads((await tenant(handler(body)).get()).body)
    assert told[0].startswith("TypeError: no\n    at fetch (index.js:5:")
    assert "tenantry:prelude" not in told[0]
    assert told[1:] == ["Mine: m", "none", []]


async def test_headers_that_frame_a_connection_are_passed_over() -> None:
    headers = "{ 'transfer-encoding': 'chunked', connection: 'keep-alive', 'keep-alive': 'timeout=5', te: 'trailers', x: 'kept' }"
    answer = await tenant(handler(f"return new Response('a', {{ headers: {headers} }});")).get()
    assert answer.error is None, answer.lines
    assert {name for name, _ in answer.headers} == {"content-type", "x"}
