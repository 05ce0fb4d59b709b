"""`env` in JavaScript: each binding as Workers' API has it, over the operations that every worker has."""

from __future__ import annotations

import json

import pytest

from bindings.cache import StoredHttpCache
from bindings.dispatch_namespace import StoredDispatcher
from bindings.memory import (
    MemoryCacheStorage,
    MemoryDataset,
    MemoryFetcher,
    MemoryKvNamespace,
    MemoryQueueProducer,
    MemoryRateLimiter,
    MemoryRunner,
    MemorySecret,
    MemorySqlDatabase,
)
from bindings.service import NamedService
from model.capabilities import Binding, WorkerEnv
from model.identity import DEFAULT_ACCOUNT, NamespaceName, ScriptName, TenantId, VersionId
from model.messages import OutgoingRequest, Response
from model.scripts import BindingKind, ScriptRef, ScriptVersion
from tests.javascript.harness import Answer, handler, tenant
from tests.support.guests import request

PRODUCTION = NamespaceName("production")


async def run(body: str, env: WorkerEnv, *, path: str = "/") -> Answer:
    answer = await tenant(handler(body), env=env).fetch(request(path=path))
    assert answer.error is None, answer.lines
    return answer


def lent(kind: BindingKind, value: object) -> WorkerEnv:
    return WorkerEnv(bindings={"B": Binding(kind, value)})


async def shown(body: str, kind: BindingKind, value: object) -> object:
    """What `body`, an expression over `env.B`, is."""
    return json.loads(
        (await run(f"return Response.json(await (async () => {{ {body} }})());", lent(kind, value))).body
    )


# -- variables and secrets -----------------------------------------------------------------------------------


async def test_variables_are_strings_and_json_ones_are_values() -> None:
    env = WorkerEnv(vars={"TEXT": "t", "JSON": '{"a":[1]}'})
    worker = tenant(handler("return Response.json([env.TEXT, env.JSON]);"), env=env, json_vars=["JSON"])
    assert json.loads((await worker.get()).body) == ["t", {"a": [1]}]


async def test_a_secret_is_a_string_and_is_asked_for_once_when_it_is_read() -> None:
    env = lent(BindingKind.SECRET_TEXT, MemorySecret("s3cret"))
    assert (await run("return new Response(env.B + env.B);", env)).text == "s3crets3cret"
    assert (await run("return new Response(env.B + env.B);", env)).operations == 1
    assert (await run("return new Response('x');", env)).operations == 0
    assert (await run("return Response.json({ ...env });", env)).text == '{"B":"s3cret"}'


async def test_env_is_there_for_whoever_imports_it() -> None:
    source = "import { env } from 'cloudflare:workers';" + handler(
        "return Response.json([env.A, 'A' in env, Object.keys(env)]);"
    ).replace("(request, env, ctx)", "()")
    answer = await tenant(source, env=WorkerEnv(vars={"A": "1"})).get()
    assert answer.text == '["1",true,["A"]]'


# -- KV ----------------------------------------------------------------------------------------------------------


async def test_kv_reads_what_it_wrote_as_every_type() -> None:
    body = """
        await env.B.put('k', '{"a":1}', { metadata: { m: [1] } });
        const text = async (s) => new TextDecoder().decode(s);
        return Response.json([await env.B.get('k'), await env.B.get('k', 'json'), await env.B.get('k', { type: 'json' }),
            await text(await env.B.get('k', 'arrayBuffer')), await new Response(await env.B.get('k', 'stream')).text(),
            await env.B.getWithMetadata('k'), await env.B.get('none'), await env.B.getWithMetadata('none')]);"""
    text = '{"a":1}'
    answer = await run(body, lent(BindingKind.KV_NAMESPACE, MemoryKvNamespace()))
    nothing = {"value": None, "metadata": None, "cacheStatus": None}
    assert json.loads(answer.body) == [
        text,
        {"a": 1},
        {"a": 1},
        text,
        text,
        {"value": text, "metadata": {"m": [1]}, "cacheStatus": None},
        None,
        nothing,
    ]


async def test_kv_lists_deletes_and_reads_several() -> None:
    body = """
        for (const k of ['a1', 'a2', 'b1']) await env.B.put(k, k);
        await env.B.delete('a1');
        const page = await env.B.list({ prefix: 'a' });
        const many = await env.B.get(['a1', 'b1']);
        return [page.keys, page.list_complete, [...many]];"""
    assert await shown(body, BindingKind.KV_NAMESPACE, MemoryKvNamespace()) == [
        [{"name": "a2"}],
        True,
        [["a1", None], ["b1", "b1"]],
    ]


async def test_kv_takes_and_gives_values_that_are_larger_than_a_call() -> None:
    kv = MemoryKvNamespace()
    body = """
        const big = new Uint8Array(3_000_000).fill(7);
        await env.B.put('bytes', big);
        await env.B.put('text', 'ü'.repeat(700_000));
        await env.B.put('stream', new Response(big).body);
        const read = await env.B.get('bytes', 'arrayBuffer');
        return [read.byteLength, new Uint8Array(read)[2_999_999], (await env.B.get('text')).length];"""
    assert await shown(body, BindingKind.KV_NAMESPACE, kv) == [3_000_000, 7, 700_000]
    assert kv.entries[b"stream"].value == bytes([7]) * 3_000_000


async def test_kv_reads_numbers_as_workers_do() -> None:
    """Text is read, a fraction cut off; what is no number never reaches the host."""
    body = """
        const soon = Math.floor(Date.now() / 1000) + 1000;
        await env.B.put('a', '1', { expiration: `${soon}` });
        await env.B.put('b', '1', { expiration: soon + 0.9 });
        await env.B.put('c', '1', { expirationTtl: '900' });
        await env.B.put('d', '1', { expirationTtl: 900.9, expiration: null });
        const { keys } = await env.B.list({ limit: '4.5' });
        const [a, b, c, d] = keys.map(({ expiration }) => expiration - soon);
        const said = [];
        for (const f of [() => env.B.put('e', '1', { expirationTtl: NaN }), () => env.B.put('e', '1', { expiration: 'soon' }),
            () => env.B.put('e', '1', { expiration: Infinity }), () => env.B.put('e', '1', { expiration: 90n }),
            () => env.B.put('e', '1', { expiration: new Date(NaN) }), () => env.B.get('a', { cacheTtl: NaN }), () => env.B.list({ limit: {} })])
            await f().catch((e) => said.push(e.name));
        const read = [await env.B.get('a', { cacheTtl: '30' }), await env.B.get('a', { cacheTtl: 30.9 }), await env.B.get('e')];
        await env.B.get('a', { cacheTtl: 29.9 }).catch((e) => said.push(e.code));
        return [a, b, c === d || c + 1 === d, -110 < c && c < -90, said, read];"""
    assert await shown(body, BindingKind.KV_NAMESPACE, MemoryKvNamespace()) == [
        0,
        0,
        True,
        True,
        [*["TypeError"] * 7, "invalid_argument"],
        ["1", "1", None],
    ]


async def test_kv_refuses_what_the_platform_refuses_with_its_words() -> None:
    body = """
        const said = [];
        for (const f of [() => env.B.put('', 'x'), () => env.B.put('k', 1), () => env.B.put('k', 'v', { expirationTtl: 1 }), () => env.B.get('k', 'xml')])
            await f().catch((e) => said.push(e.name + ' ' + (e.code ?? '')));
        return said;"""
    assert await shown(body, BindingKind.KV_NAMESPACE, MemoryKvNamespace()) == [
        "Error invalid_argument",
        "TypeError ",
        "Error invalid_argument",
        "TypeError ",
    ]


# -- queues -------------------------------------------------------------------------------------------------------


async def test_queue_sends_json_text_and_bytes() -> None:
    queue = MemoryQueueProducer()
    body = """
        await env.B.send({ at: new Date(0), no: undefined });
        await env.B.sendBatch([{ body: 'x', contentType: 'text', delaySeconds: 5 }, { body: new Uint8Array([1, 2]), contentType: 'bytes' }]);
        return 1;"""
    await shown(body, BindingKind.QUEUE, queue)
    assert [(m.content_type, m.body) for m in queue.messages] == [
        ("json", b'{"at":"1970-01-01T00:00:00.000Z"}'),
        ("text", b"x"),
        ("bytes", b"\x01\x02"),
    ]


async def test_queue_delays_are_read_as_workers_do() -> None:
    queue = MemoryQueueProducer()
    body = """
        await env.B.send(1, { delaySeconds: '7.9' });
        await env.B.sendBatch([{ body: 2, delaySeconds: 0 }, { body: 3 }], { delaySeconds: 5.9 });
        const said = [];
        for (const delaySeconds of [NaN, 'x', Infinity, 1n, Symbol('s')]) {
            await env.B.send(4, { delaySeconds }).catch((e) => said.push(e.name));
            await env.B.sendBatch([{ body: 4 }], { delaySeconds }).catch((e) => said.push(e.name));
        }
        await env.B.send(4, { delaySeconds: 43201 }).catch((e) => said.push(e.code));
        return said;"""
    assert await shown(body, BindingKind.QUEUE, queue) == [*["TypeError"] * 10, "invalid_argument"]
    assert [(m.body, m.delay_s) for m in queue.messages] == [(b"1", 7), (b"2", 0), (b"3", 5)]


async def test_queue_takes_json_by_default_and_no_v8() -> None:
    queue = MemoryQueueProducer()
    body = """
        await env.B.send('text');
        const said = [];
        await env.B.send('x', { contentType: 'v8' }).catch((e) => said.push(`${e.name}: ${e.message}`));
        await env.B.sendBatch([{ body: 'y' }, { body: 'x', contentType: 'v8' }]).catch((e) => said.push(e.name));
        return said;"""
    assert await shown(body, BindingKind.QUEUE, queue) == [
        'TypeError: Content Type "v8" is not taken here: only V8 reads it. Use "json", "text" or "bytes".',
        "TypeError",
    ]
    assert [(m.content_type, m.body) for m in queue.messages] == [("json", b'"text"')]


async def test_queue_handler_acknowledges_and_retries_one_by_one() -> None:
    source = """
        export default { async queue(batch, env, ctx) {
            batch.messages[0].ack(); batch.messages[1].retry({ delaySeconds: 30 }); batch.messages[2].retry();
            console.log(batch.queue, batch.messages[3].body.n, batch.messages[0].timestamp.toISOString(), batch.messages[0].attempts);
        } };"""
    messages = [
        {"id": f"m{n}", "timestamp_ms": 0, "attempts": 1, "body": {"n": n}, "content_type": "json"}
        for n in range(4)
    ]
    answer = await tenant(source).background("queue", {"queue": "q", "messages": messages})
    assert answer.value == {"ack": ["m0", "m3"], "retry": [["m1", 30], "m2"]}
    assert answer.lines == ["q 3 1970-01-01T00:00:00.000Z 1"]


ACKED, LATER = {"ack": ["m"], "retry": []}, {"ack": [], "retry": [["m", 9]]}


@pytest.mark.parametrize(
    ("calls", "verdict"),
    [
        ("m.ack(); m.retry();", ACKED),
        ("m.retry({ delaySeconds: 9 }); m.ack();", LATER),
        ("m.ack(); m.ack();", ACKED),
        ("m.retry({ delaySeconds: 9 }); m.retry({ delaySeconds: 1 });", LATER),
        ("m.retry(); m.retry({ delaySeconds: 1 });", {"ack": [], "retry": ["m"]}),
        ("batch.ackAll(); batch.retryAll();", ACKED),
        ("batch.retryAll({ delaySeconds: 9 }); batch.ackAll();", LATER),
        ("batch.ackAll(); batch.ackAll();", ACKED),
        ("batch.retryAll({ delaySeconds: 9 }); batch.retryAll({ delaySeconds: 1 });", LATER),
        ("m.ack(); batch.retryAll();", ACKED),
        ("batch.retryAll(); m.ack();", ACKED),
        ("m.retry({ delaySeconds: 9 }); batch.ackAll();", LATER),
        ("batch.ackAll(); m.retry({ delaySeconds: 9 });", LATER),
        ("m.ack(); batch.ackAll();", ACKED),
        ("m.retry({ delaySeconds: 9 }); batch.retryAll({ delaySeconds: 1 });", LATER),
        ("batch.retryAll({ delaySeconds: 1 }); m.retry({ delaySeconds: 9 });", LATER),
        ("m.retry({ delaySeconds: '9.9' });", LATER),
        ("try { m.retry({ delaySeconds: NaN }); } catch (e) { if (e instanceof TypeError) m.ack(); }", ACKED),
        ("try { batch.retryAll({ delaySeconds: NaN }); } catch (e) { if (e instanceof TypeError) batch.ackAll(); }", ACKED),
        ("try { m.retry({ delaySeconds: NaN }); } catch { m.retry({ delaySeconds: 9 }); }", LATER),
    ],
)  # fmt: skip
async def test_the_first_word_of_a_message_holds_and_goes_before_the_batch_s(
    calls: str, verdict: object
) -> None:
    worker = tenant(f"export default {{ queue(batch) {{ const [m] = batch.messages; {calls} }} }};")
    message = {"id": "m", "timestamp_ms": 0, "attempts": 1, "body": None, "content_type": "json"}
    answer = await worker.background("queue", {"queue": "q", "messages": [message]})
    assert answer.value == verdict


async def test_queue_handler_that_throws_is_an_exception_of_the_batch() -> None:
    answer = await tenant("export default { queue() { throw new Error('no'); } };").background(
        "queue", {"queue": "q", "messages": []}
    )
    assert answer.error == "exception: Error: no"


# -- D1 -----------------------------------------------------------------------------------------------------------


async def test_d1_prepares_binds_and_gives_rows_in_every_shape() -> None:
    body = """
        await env.B.exec('CREATE TABLE t (a INTEGER, b TEXT)');
        const made = await env.B.prepare('INSERT INTO t VALUES (?, ?)').bind(1, 'x').run();
        await env.B.batch([env.B.prepare('INSERT INTO t VALUES (?1, ?2)').bind(2, null), env.B.prepare('INSERT INTO t VALUES (3, ?)').bind('z')]);
        const all = env.B.prepare('SELECT * FROM t ORDER BY a');
        return [made.success, made.meta.changes, (await all.all()).results, await all.first(), await all.first('b'),
            await all.raw(), await all.raw({ columnNames: true }), await env.B.prepare('SELECT * FROM t WHERE a = 9').first()];"""
    database = MemorySqlDatabase()
    try:
        assert await shown(body, BindingKind.D1, database) == [
            True,
            1,
            [{"a": 1, "b": "x"}, {"a": 2, "b": None}, {"a": 3, "b": "z"}],
            {"a": 1, "b": "x"},
            "x",
            [[1, "x"], [2, None], [3, "z"]],
            [["a", "b"], [1, "x"], [2, None], [3, "z"]],
            None,
        ]
    finally:
        database.close()


async def test_d1_reads_blobs_as_arrays_of_bytes_in_every_shape() -> None:
    body = """
        await env.B.exec('CREATE TABLE t (a BLOB)\\nINSERT INTO t VALUES (NULL)');
        const bytes = new Uint8Array([9, 1, 255, 9]);
        const add = env.B.prepare('INSERT INTO t VALUES (?)');
        await env.B.batch([add.bind(bytes.subarray(1, 3)), add.bind(bytes.buffer), add.bind([0, 7]), add.bind(new Uint8Array(0))]);
        const all = env.B.prepare('SELECT a FROM t WHERE a IS NOT NULL ORDER BY rowid');
        return [(await all.all()).results, (await all.run()).results, (await env.B.batch([all]))[0].results,
            await all.raw(), await all.first(), await all.first('a'), await env.B.prepare('SELECT a FROM t').first('a'),
            await env.B.prepare('SELECT 1 AS "__proto__", a FROM t WHERE a = ?').bind([0, 7]).raw({ columnNames: true })];"""
    database = MemorySqlDatabase()
    try:
        found = await shown(body, BindingKind.D1, database)
    finally:
        database.close()
    blobs = [[1, 255], [9, 1, 255, 9], [0, 7], []]
    rows = [{"a": blob} for blob in blobs]
    assert found == [
        *[rows] * 3,
        [[blob] for blob in blobs],
        rows[0],
        blobs[0],
        None,
        [["__proto__", "a"], [1, [0, 7]]],
    ]


async def test_d1_exec_takes_a_statement_a_line_or_statements_that_end() -> None:
    body = """
        const lines = await env.B.exec('CREATE TABLE t (a)\\nINSERT INTO t VALUES (1)\\nINSERT INTO t VALUES (2)');
        const ended = await env.B.exec(`INSERT INTO t
            VALUES (3);
            INSERT INTO t VALUES (4);`);
        const said = await env.B.exec('INSERT INTO t VALUES (5)\\nnonsense').catch((e) => e.message);
        return [lines.count, typeof lines.duration, ended.count, said, await env.B.prepare('SELECT count(*) AS n FROM t').first('n')];"""
    database = MemorySqlDatabase()
    try:
        found = await shown(body, BindingKind.D1, database)
    finally:
        database.close()
    assert isinstance(found, list)
    assert found[3].startswith("D1_EXEC_ERROR: Error in line 2: ")
    assert [*found[:3], found[4]] == [3, "number", 2, 5]


async def test_d1_errors_begin_with_d1_error() -> None:
    body = """
        const said = [];
        await env.B.prepare('SELECT nonsense').all().catch((e) => said.push(e.message));
        try { env.B.prepare('SELECT ?').bind(undefined); } catch (e) { said.push(e.message); }
        return said;"""
    database = MemorySqlDatabase()
    try:
        said = await shown(body, BindingKind.D1, database)
    finally:
        database.close()
    assert isinstance(said, list)
    assert said[0].startswith("D1_ERROR: ")
    assert "nonsense" in said[0]
    assert said[1].startswith("D1_TYPE_ERROR: ")


# -- other workers --------------------------------------------------------------------------------------------------


def echo(outgoing: OutgoingRequest) -> Response:
    body = outgoing.body if isinstance(outgoing.body, bytes) else b""
    headers = [(b"x-method", outgoing.method.encode()), (b"x-url", outgoing.url.encode())]
    return Response(201, headers, b"echo " + body)


def script(name: str, namespace: NamespaceName | None = None) -> tuple[ScriptRef, ScriptVersion]:
    ref = ScriptRef(namespace, ScriptName(name))
    return ref, ScriptVersion(
        DEFAULT_ACCOUNT, ref, TenantId("t"), VersionId("v"), "0" * 64, frozenset({"fetch"})
    )


async def test_a_service_is_fetched_without_the_network() -> None:
    ref, version = script("other")
    runner = MemoryRunner({ref: echo})
    service = NamedService(runner, {ref: version}.get, DEFAULT_ACCOUNT, None, ScriptName("other"))
    body = """
        const answer = await env.B.fetch('https://other/p', { method: 'POST', body: 'hi' });
        const path = await env.B.fetch('/only/a/path');
        return [answer.status, answer.headers.get('x-method'), answer.headers.get('x-url'), await answer.text(), path.headers.get('x-url')];"""
    assert await shown(body, BindingKind.SERVICE, service) == [
        201,
        "POST",
        "https://other/p",
        "echo hi",
        "https://fake-host/only/a/path",
    ]


async def test_a_dispatcher_gives_limits_params_and_outbound_to_a_call() -> None:
    ref, version = script("customer", PRODUCTION)
    runner = MemoryRunner({ref: echo})
    dispatcher = StoredDispatcher(runner, {ref: version}.get, DEFAULT_ACCOUNT, PRODUCTION)
    body = """
        const worker = env.B.get('customer', { plan: 'pro', n: 1 }, { limits: { cpuMs: 10, subRequests: 5 }, outbound: { id: 'c1' } });
        const answer = await worker.fetch(request);
        return [answer.status, await answer.text()];"""
    assert await shown(body, BindingKind.DISPATCH_NAMESPACE, dispatcher) == [201, "echo "]
    options = runner.calls[0][2]
    assert options.limits == {"cpu_ms": 10, "subrequests": 5}
    assert options.params == {"plan": "pro", "n": "1"}
    assert options.outbound_params == {"id": "c1"}


async def test_a_missing_worker_throws_worker_not_found_at_its_fetch() -> None:
    dispatcher = StoredDispatcher(MemoryRunner(), lambda _ref: None, DEFAULT_ACCOUNT, PRODUCTION)
    body = """
        const worker = env.B.get('nobody');
        try { await worker.fetch(request); } catch (e) { return e.message.startsWith('Worker not found'); }"""
    assert await shown(body, BindingKind.DISPATCH_NAMESPACE, dispatcher) is True


async def test_an_outbound_worker_finds_its_parameters_in_env_and_who_asks_in_props() -> None:
    worker = tenant(
        handler("return Response.json([env.plan, env.A, ctx.props['tenantry.tenant']]);"),
        env=WorkerEnv(vars={"A": "own"}),
    )
    told = await worker.fetch(params={"plan": "pro", "A": "given", "tenantry.tenant": "acme"})
    assert json.loads(told.body) == ["pro", "own", "acme"]
    user = await tenant(handler("return Response.json([env.plan ?? null, ctx.props.plan]);")).fetch(
        params={"plan": "pro"}
    )
    assert json.loads(user.body) == [None, "pro"]


# -- the rest ---------------------------------------------------------------------------------------------------------


async def test_a_rate_limit_says_whether_it_holds() -> None:
    body = "return [(await env.B.limit({ key: 'a' })).success, (await env.B.limit({ key: 'a' })).success];"
    assert await shown(body, BindingKind.RATE_LIMIT, MemoryRateLimiter(1, 60)) == [True, False]


async def test_a_data_point_is_written_without_being_waited_for() -> None:
    dataset = MemoryDataset()
    body = "env.B.writeDataPoint({ indexes: ['i'], blobs: ['a'], doubles: [1.5] }); await scheduler.wait(1); return 1;"
    await shown(body, BindingKind.ANALYTICS_ENGINE, dataset)
    assert [(p.index, p.blobs, p.doubles) for p in dataset.points] == [("i", ("a",), (1.5,))]


async def test_a_data_point_of_the_last_moment_is_written_too() -> None:
    dataset = MemoryDataset()
    await shown("env.B.writeDataPoint({ doubles: [1] }); return 1;", BindingKind.ANALYTICS_ENGINE, dataset)
    assert len(dataset.points) == 1


async def test_the_cache_keeps_what_headers_allow() -> None:
    cache = StoredHttpCache(MemoryCacheStorage(), "owner", "default", 0.0)
    body = """
        const url = 'https://a.example.com/x';
        const before = await caches.default.match(url);
        await caches.default.put(url, new Response('kept', { headers: { 'cache-control': 'max-age=60' } }));
        const found = await env.B.match(url);
        return [before === undefined, await found.text(), await caches.default.delete(url), (await caches.default.match(url)) === undefined];"""
    assert await shown(body, BindingKind.CACHE, cache) == [True, "kept", True, True]


async def test_without_a_cache_binding_the_cache_is_empty_and_says_so_to_nobody() -> None:
    body = """
        await caches.default.put('https://a.example.com/', new Response('x', { headers: { 'cache-control': 'max-age=60' } }));
        return Response.json((await caches.default.match('https://a.example.com/')) === undefined);"""
    assert (await run(body, WorkerEnv())).text == "true"


# -- fetch ---------------------------------------------------------------------------------------------------------------


def redirecting(outgoing: OutgoingRequest) -> Response:
    if outgoing.url.endswith("/from"):
        return Response(302, [(b"location", b"/to")])
    if outgoing.url.endswith("/loop"):
        return Response(302, [(b"location", b"/loop")])
    if outgoing.url.endswith("/away"):
        return Response(307, [(b"location", b"https://other.example.com/to")])
    return echo(outgoing)


@pytest.mark.parametrize(
    ("expression", "shown_as"),
    [
        ("fetch('https://up.example.com/to').then((r) => [r.status, r.redirected, r.url])", [201, False, "https://up.example.com/to"]),
        ("fetch('https://up.example.com/from').then((r) => [r.status, r.redirected, r.url])", [201, True, "https://up.example.com/to"]),
        ("fetch('https://up.example.com/from', { redirect: 'manual' }).then((r) => [r.status, r.headers.get('location')])", [302, "/to"]),
        ("fetch('https://up.example.com/from', { redirect: 'error' }).catch((e) => e.name)", "TypeError"),
        ("fetch('https://up.example.com/loop').catch((e) => e.message)", "Too many redirects."),
        ("fetch('https://up.example.com/from', { method: 'POST', body: 'b' }).then((r) => r.text())", "echo "),
        ("fetch('https://up.example.com/away', { method: 'POST', body: 'b' }).then((r) => r.text())", "echo b"),
        ("fetch('not a url').catch((e) => e.name)", "TypeError"),
    ],
)  # fmt: skip
async def test_fetch_follows_redirects_as_it_is_told(expression: str, shown_as: object) -> None:
    fetcher = MemoryFetcher(redirecting)
    answer = await run(f"return Response.json(await {expression});", WorkerEnv(fetcher=fetcher))
    assert json.loads(answer.body) == shown_as


async def test_a_redirect_to_another_origin_loses_the_credentials() -> None:
    fetcher = MemoryFetcher(redirecting)
    await run(
        "await fetch('https://up.example.com/away', { headers: { authorization: 'x', 'x-a': 'b' } }); return new Response();",
        WorkerEnv(fetcher=fetcher),
    )
    assert dict(fetcher.requests[0][0].headers)[b"authorization"] == b"x"
    assert dict(fetcher.requests[1][0].headers) == {b"x-a": b"b"}


async def test_a_fetched_body_that_is_only_passed_on_never_enters_the_worker() -> None:
    big = Response(200, [(b"content-type", b"text/plain")], b"x" * 1_000_000)
    fetcher = MemoryFetcher(lambda _request: big)
    answer = await run("return fetch('https://up.example.com/');", WorkerEnv(fetcher=fetcher))
    assert len(answer.body) == 1_000_000
    assert answer.operations == 1
    changed = await run(
        "const r = await fetch('https://up.example.com/'); return new Response(r.body, { status: 202, headers: r.headers });",
        WorkerEnv(fetcher=fetcher),
    )
    assert (changed.status, len(changed.body), changed.operations) == (202, 1_000_000, 1)
