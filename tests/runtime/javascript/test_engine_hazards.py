"""The hazards of kept memory, with the real engine, through deltas, by both drivers: recursion of every kind ends in an
error that can be caught, nothing that a request changed is there at the next, and no byte of a tenant is
in the slot that another one gets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.abi.core_module.host_calls import GuestIo
from runtime.capi.accelerated_guest import open_guest
from runtime.capi.guest import live_guests
from tests.javascript.harness import handler, instance, tenant
from tests.javascript.test_recursion import CODE, DATA, MAKERS
from tests.support.guests import engine, request
from tests.support.javascript_engine import built_engine
from tests.support.javascript_guests import JavaScriptGuests

built_engine()


@pytest.fixture
async def guests(driver: str) -> AsyncIterator[JavaScriptGuests]:
    made = JavaScriptGuests()
    yield made
    made.close()
    assert live_guests() == 0


async def test_recursion_ends_in_an_error_and_the_next_request_is_served(guests: JavaScriptGuests) -> None:
    cases = CODE | DATA
    ways = ",".join(f"async () => {{ {code} }}" for code in cases.values())
    body = """
        const which = new URL(request.url).pathname.slice(1);
        if (!which) return new Response('served');
        try { await ways[which](); return new Response('ended'); } catch (error) { return new Response(error.name); }"""
    worker = guests.deploy(handler(body, f"{MAKERS}\nconst ways = [{ways}];"), limits={"cpu_ms": 20_000})
    for which, name in enumerate(cases):
        ending, answer = await guests.fetch(worker, request(path=f"/{which}"))
        assert bytes(answer.body) in (b"RangeError", b"InternalError", b"SyntaxError"), (name, ending)
        assert bytes((await guests.answer(worker)).body) == b"served", name


async def test_nothing_that_a_request_changed_is_there_at_the_next(guests: JavaScriptGuests) -> None:
    top = """
        let n = 0; const map = new Map(), list = [], frozen = { a: 1 }, bytes = new Uint8Array(4), pattern = /a/g;
        class Kept { static n = 0; #own = 0; add() { return ++this.#own; } } const kept = new Kept();
        function* counts() { let i = 0; for (;;) yield i++; } const counting = counts();
        const settled = Promise.resolve({ n: 0 }), weak = new WeakMap([[frozen, { n: 0 }]]);"""
    body = """
        n++; map.set(n, n); list.push(n); frozen.a++; bytes[0]++; pattern.exec('aa'); Kept.n++;
        Array.prototype.extra = (Array.prototype.extra ?? 0) + 1; globalThis.fetch.extra = (fetch.extra ?? 0) + 1;
        const gave = [n, map.size, list.length, frozen.a, bytes[0], pattern.lastIndex, Kept.n, kept.add(),
          counting.next().value, ++(await settled).n, ++weak.get(frozen).n, [].extra, fetch.extra,
          Symbol.for('s').description, env.extra ?? 0];
        try { env.extra = 1; } catch {}
        console.extra = 1; return Response.json([...gave, 'extra' in Response]);"""
    worker = guests.deploy(handler(body, top))
    told = {bytes((await guests.answer(worker)).body) for _ in range(5)}
    assert told == {b'[1,1,1,2,1,1,1,1,0,1,1,1,1,"s",0,false]'}


def fresh() -> bytes:
    """The memory of an instance in which nothing ran yet."""
    with instance() as guest:
        guest.find_exports("fetch", needs_alloc=True)
        return guest.read(0, guest.memory_size())


async def test_a_slot_has_no_byte_of_the_tenant_before(driver: str) -> None:
    secret = "a secret of another tenant"
    keeps = f"globalThis.kept = Array.from({{ length: 5000 }}, (_, i) => '{secret}' + i);"
    worker = tenant(handler(f"{keeps} return new Response('kept');"))
    image = fresh()
    for _ in range(5):
        answer = await worker.get()
        assert answer.memory is not None
        assert secret.encode() in answer.memory
        assert fresh() == image


async def test_instance_that_is_used_again_begins_as_the_engine_does(guests: JavaScriptGuests) -> None:
    """Whatever ran in it, by the driver that keeps instances."""
    secret = "a secret of another tenant"
    bodies = (
        "return new Response('hello');",
        f"globalThis.kept = Array.from({{ length: 2000 }}, (_, i) => '{secret}' + i); return new Response('kept');",
        "return Response.json([...'a-b-c'.matchAll(/[a-z]/g)].map(String).sort().reverse());",
        "const f = (n) => { try { return f(n + 1); } catch { return n; } }; return new Response(String(f(0) > 1));",
        "try { null.x } catch (error) { return new Response(error.stack.slice(0, 9)); }",
        "return new Response(new TextDecoder().decode(new Uint8Array(40000).fill(97)));",
        "throw new TypeError('ends its event');",
    )
    workers = [
        guests.deploy(handler(body, f"const table = {{ body: {n} }};")) for n, body in enumerate(bodies)
    ]
    image = fresh()
    used = 0
    for worker in [*workers, *reversed(workers)]:
        await guests.fetch(worker, request())
        loaded = guests.host.pool.get(worker.version.module_digest)
        assert loaded is not None
        if loaded.pre.spares is None:
            assert not engine().accelerated or not Path("/proc/self/pagemap").exists()
            continue
        guest = open_guest(engine(), 128 << 20, 10**9, GuestIo(0, 0), loaded.pre)
        try:
            if guest.begins_with_a_spare:
                guest.find_exports("fetch", needs_alloc=True)
                assert guest.read(0, guest.memory_size()) == image
                used += 1
        finally:
            guest.close()
    assert used >= len(workers) or not engine().accelerated


async def test_what_memory_gives_is_zero_whoever_was_there(guests: JavaScriptGuests) -> None:
    """Some MiB above the image, as far as JavaScript can ask for it."""
    fills = guests.deploy(
        handler(
            "const all = []; for (let i = 0; i < 20; i++) all.push(new Uint8Array(1 << 20).fill(170));"
            "return new Response(String(all.length));"
        ),
        limits={"cpu_ms": 20_000},
    )
    looks = guests.deploy(
        handler(
            "let other = 0;"
            "for (let i = 0; i < 20; i++) other += new Uint32Array(1 << 16).some((word) => word !== 0);"
            "return new Response(String(other));"
        ),
        limits={"cpu_ms": 20_000},
    )
    for _ in range(2):
        assert bytes((await guests.answer(fills)).body) == b"20"
        assert bytes((await guests.answer(looks)).body) == b"0"
