"""What a kept memory could get wrong, and what hostile code tries: randomness and time that were frozen, state that
survives, loops, memory. Recursion is in test_recursion.
"""

from __future__ import annotations

import json

import pytest

from runtime.capi.failures import GuestTrap
from runtime.capi.guest_pages import PageMap
from runtime.fiber import Stopped
from tests.javascript.harness import SEED, Refused, compile_modules, handler, instance, load, tenant

# -- randomness ---------------------------------------------------------------------------------------------------


async def test_each_event_draws_its_own_randomness() -> None:
    worker = tenant(handler("return new Response(String(Math.random()) + crypto.randomUUID());"))
    assert len({(await worker.get()).text for _ in range(3)}) == 3


async def test_what_a_top_level_draws_differs_by_the_seed_and_is_the_same_for_one() -> None:
    worker = tenant(handler("return new Response(String(top));", "const top = Math.random();"))
    with instance() as first, instance() as second, instance() as other:
        load(first, worker.code, SEED)
        load(second, worker.code, SEED)
        load(other, worker.code, b"another seed")
        images = [guest.read(0, guest.memory_size()) for guest in (first, second, other)]
    assert images[0] == images[1]
    assert images[0] != images[2]


async def test_randomness_of_an_event_does_not_go_on_from_the_top_level_s() -> None:
    worker = tenant(handler("return new Response(String(Math.random()));", "Math.random();"))
    assert (await worker.get()).text != (await worker.get()).text


@pytest.mark.parametrize(
    "top",
    [
        "crypto.getRandomValues(new Uint8Array(4));",
        "crypto.randomUUID();",
        "setTimeout(() => {}, 1);",
        "await fetch('https://a.example.com/');",
    ],
)
async def test_a_top_level_that_asks_the_host_is_refused_and_told_where(top: str) -> None:
    with pytest.raises(Refused, match="Disallowed operation called within global scope") as refused:
        tenant(handler("return new Response();", f"\n{top}"))
    assert (refused.value.error["file"], refused.value.error["line"]) == ("index.js", 2)


# -- time ------------------------------------------------------------------------------------------------------------


async def test_a_top_level_sees_the_epoch_and_an_event_the_time() -> None:
    top = "const top = [Date.now(), performance.now(), new Date().getTime()];"
    answer = await tenant(
        handler("return Response.json([top, Date.now() > 1.6e12, new Date().getFullYear() > 2020]);", top)
    ).get()
    assert json.loads(answer.body) == [[0, 0, 0], True, True]


async def test_time_stands_still_while_a_worker_computes() -> None:
    body = "const a = Date.now(); let x = 0; for (let i = 0; i < 300000; i++) x += i; return Response.json(Date.now() - a);"
    assert (await tenant(handler(body)).get()).text == "0"


# -- what is kept, and what is not -----------------------------------------------------------------------------------


async def test_nothing_that_a_request_changes_is_seen_by_the_next() -> None:
    body = """
        n++; globalThis.g = (globalThis.g ?? 0) + 1; Object.prototype.p = (Object.prototype.p ?? 0) + 1; cache.set(n, 1);
        return Response.json([n, g, ({}).p, cache.size]);"""
    worker = tenant(handler(body, "let n = 0; const cache = new Map();"))
    assert [(await worker.get()).text for _ in range(3)] == ["[1,1,1,1]"] * 3


async def test_a_small_request_collects_no_garbage() -> None:
    """A collection marks everything, and so writes every page of a large tenant."""
    top = "const big = Array.from({ length: 20000 }, (_, i) => ({ i, next: [i] }));"
    worker = tenant(
        handler("const ring = {}; ring.ring = ring; return new Response(String(big.length));", top)
    )
    with instance() as guest:
        load(guest, worker.code)
        before = guest.read(0, guest.memory_size())
    answer = await worker.get()
    assert answer.text == "20000"
    assert answer.memory is not None
    pages = range(0, len(before), 4096)
    touched = sum(answer.memory[at : at + 4096] != before[at : at + 4096] for at in pages)
    assert len(before) > 3 << 20
    assert touched < 100


@pytest.mark.parametrize(
    ("garbage", "collects"),
    [
        (0, False),
        (100, False),  # some 20 KiB
        (1_000, True),
    ],
)
def test_a_small_top_level_collects_no_garbage(garbage: int, collects: bool) -> None:
    """A collection counts each object of the prelude down and up again, and so writes to the pages of all of them."""
    top = f"for (let i = 0; i < {garbage}; i++) {{ const ring = [i]; ring.push(ring); }}"
    code = compile_modules([("index.js", "esm", handler("", top).encode())], "index.js")
    pages = PageMap()
    try:
        with instance() as guest:
            load(guest, code)
            written = sum(len(data) for _, data in guest.written(pages)) // 4096
    finally:
        pages.close()
    assert (written > 200) is collects


async def test_garbage_of_a_long_request_is_collected() -> None:
    body = "for (let i = 0; i < 300000; i++) { const a = { b: new Array(20) }; a.b[0] = a; } return new Response('done');"
    answer = await tenant(handler(body), limits={"cpu_ms": 10_000}).get()
    assert answer.text == "done"
    assert answer.memory is not None
    assert len(answer.memory) < 40 << 20


# -- limits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "for (;;) {}",
        "return new Response(String(/^(a+)+$/.test('a'.repeat(40) + 'b')));",
        "const again = () => queueMicrotask(again); again(); await new Promise(() => {});",
        "const again = () => setTimeout(again); again(); await new Promise(() => {});",
    ],
)
async def test_code_that_never_ends_is_ended_by_its_cpu_limit(body: str) -> None:
    with pytest.raises((Stopped, GuestTrap)):
        await tenant(handler(body), limits={"cpu_ms": 100}).get()


@pytest.mark.parametrize(
    "body",
    [
        "new ArrayBuffer(1e9);",
        "'x'.repeat(500e6);",
        "const all = []; for (;;) all.push(new Uint8Array(1 << 20));",
        "const all = []; for (;;) all.push({ a: [all.length] });",
    ],
)
async def test_memory_that_is_not_there_is_an_error(body: str) -> None:
    source = handler(
        f"let told; try {{ {body} }} catch (e) {{ told = e; }} return new Response(told.message);"
    )
    answer = await tenant(source, limits={"cpu_ms": 10_000}).get()
    assert answer.error is None
    assert "memory" in answer.text or "length" in answer.text


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')",
        "new Function('return 1')()",
        "(async () => {}).constructor('1')",
        "(function* () {}).constructor('1')",
    ],
)
async def test_code_is_not_made_from_text(code: str) -> None:
    answer = await tenant(
        handler(f"try {{ {code}; }} catch (e) {{ return new Response(`${{e.name}}: ${{e.message}}`); }}")
    ).get()
    assert answer.text == "EvalError: Code generation from strings disallowed for this context"


async def test_a_top_level_makes_no_code_from_text_either() -> None:
    with pytest.raises(Refused, match="Code generation from strings"):
        tenant(handler("return new Response();", "eval('1');"))


# -- what a tenant may not reach ----------------------------------------------------------------------------------------


async def test_the_platform_s_own_functions_are_not_in_the_global_scope() -> None:
    body = "return Response.json([typeof host, typeof prelude, Object.getOwnPropertyNames(globalThis).filter((n) => /host|tenantry|prelude/i.test(n))]);"
    assert json.loads((await tenant(handler(body)).get()).body) == ["undefined", "undefined", []]


async def test_a_getter_that_asks_again_while_an_operation_is_packed_breaks_nothing() -> None:
    from bindings.memory import MemoryQueueProducer
    from model.capabilities import Binding, WorkerEnv
    from model.scripts import BindingKind

    queue = MemoryQueueProducer()
    body = """
        const sly = new Proxy({}, { ownKeys() { env.B.send('inner'); return ['a']; }, getOwnPropertyDescriptor: () => ({ value: 1, enumerable: true, configurable: true }), get() { env.B.send('got'); return 'v'; } });
        await env.B.send(sly); await scheduler.wait(1); return new Response();"""
    answer = await tenant(
        handler(body), env=WorkerEnv(bindings={"B": Binding(BindingKind.QUEUE, queue)})
    ).get()
    assert answer.error is None, answer.lines
    assert b'{"a":"v"}' in [message.body for message in queue.messages]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("'\\ud800'", None),  # half of a pair becomes U+FFFD
        ("'x'.repeat(2_000_000)", "too large"),
        ("(() => { let a = []; for (let i = 0; i < 100; i++) a = [a]; return a; })()", ""),
        ("(() => { const a = {}; a.a = a; return a; })()", ""),
        ("new Array(1e6).fill(0)", "too large"),
        ("5n", "BigInt"),
    ],
)
async def test_a_value_that_can_t_be_handed_over_is_refused_here(value: str, told: str | None) -> None:
    from bindings.memory import MemoryQueueProducer
    from model.capabilities import Binding, WorkerEnv
    from model.scripts import BindingKind

    env = WorkerEnv(bindings={"B": Binding(BindingKind.QUEUE, MemoryQueueProducer())})
    body = f"try {{ await env.B.send({value}); return new Response('sent'); }} catch (e) {{ return new Response(e.message); }}"
    answer = await tenant(handler(body), env=env, limits={"cpu_ms": 5_000}).get()
    assert answer.error is None, answer.lines
    assert (answer.text == "sent") == (told is None)
    assert (told or "") in answer.text


async def test_more_is_asked_than_one_call_holds() -> None:
    from bindings.memory import MemoryKvNamespace
    from model.capabilities import Binding, WorkerEnv
    from model.scripts import BindingKind

    env = WorkerEnv(bindings={"B": Binding(BindingKind.KV_NAMESPACE, MemoryKvNamespace())})
    body = """
        const keys = Array.from({ length: 400 }, (_, i) => `k${i}`);
        await Promise.all(keys.map((k) => env.B.put(k, 'v'.repeat(10_000))));
        const read = await Promise.all(keys.map((k) => env.B.get(k)));
        return Response.json([read.length, read.every((v) => v.length === 10_000)]);"""
    answer = await tenant(handler(body), env=env, limits={"operations": 1_000, "subrequests": 1_000}).get()
    assert answer.error is None, answer.lines
    assert answer.text == "[400,true]"


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ("throw new Error('x'.repeat(50e6));", "x" * 2000),
        ("throw Object.assign(new Error('short'), { name: 'N'.repeat(50e6) });", "short"),
    ],
)
async def test_an_error_as_large_as_memory_is_told_in_short(top: str, message: str) -> None:
    with pytest.raises(Refused) as caught:
        tenant(top)
    assert caught.value.error["message"] == message
    assert len(caught.value.error["kind"]) <= 2000
