"""structuredClone, and small globals."""

from __future__ import annotations

import pytest

from tests.javascript.web.told import told


async def test_everything_that_has_a_copy_is_copied() -> None:
    body = """
        const ring = { list: [1, , undefined, null, -0], date: new Date(5), pattern: /a/gi, big: 5n, wrapped: Object('s'), nothing: undefined };
        ring.self = ring; ring.map = new Map([[ring, new Set([1])]]);
        const bytes = new Uint8Array([1, 2, 3, 4]); ring.view = bytes.subarray(1, 3); ring.same = new DataView(bytes.buffer, 2);
        ring.error = new RangeError('m', { cause: 'c' }); ring.blob = new File(['x'], 'n'); ring.odd = new (class Odd { a = 1 })();
        const c = structuredClone(ring);
        return [c !== ring, c.self === c, c.map.get(c).has(1), 1 in c.list, 2 in c.list, Object.is(c.list[4], -0), c.date.getTime(), String(c.pattern), c.big === 5n,
                typeof c.wrapped, [...c.view], c.view.buffer === c.same.buffer, c.view.buffer !== bytes.buffer, c.same.byteOffset, 'nothing' in c,
                c.error instanceof RangeError, c.error.message, c.error.cause, c.blob.name, await c.blob.text(), c.odd.constructor === Object, c.odd.a];"""
    assert await told(body) == [
        True, True, True, False, True, True, 5, "/a/gi", True, "object", [2, 3], True, True, 2, True,
        True, "m", "c", "n", "x", True, 1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value", ["() => 1", "Symbol('s')", "{ a: [() => 1] }", "Promise.resolve()", "new WeakMap()", "new Headers()", "new Response('x')", "new EventTarget()"]
)  # fmt: skip
async def test_what_has_none_is_a_data_clone_error(value: str) -> None:
    body = f"try {{ structuredClone({value}); }} catch (e) {{ return [e.name, e.code, e instanceof DOMException]; }}"
    assert await told(body) == ["DataCloneError", 25, True]


async def test_what_is_transferred_is_gone() -> None:
    body = """
        const buffer = new ArrayBuffer(8), kept = new ArrayBuffer(4);
        const made = structuredClone({ buffer }, { transfer: [buffer] });
        const failed = await thrown(() => structuredClone({ kept, f() {} }, { transfer: [kept] }));
        return [made.buffer.byteLength, buffer.detached, kept.detached, failed.slice(0, 14), (await thrown(() => structuredClone(1, { transfer: [buffer] }))).slice(0, 14)];"""
    assert await told(body) == [8, True, False, "DataCloneError", "DataCloneError"]


async def test_base64_and_the_small_globals() -> None:
    body = """
        return [btoa('h\\xff'), atob(' aP8= ') === 'h\\xff', (await thrown(() => btoa('€'))).slice(0, 21), (await thrown(() => atob('a'))).slice(0, 21),
                navigator.userAgent, typeof performance.now(), typeof scheduler.wait, typeof reportError, self === globalThis];"""
    assert await told(body) == [
        "aP8=", True, "InvalidCharacterError", "InvalidCharacterError", "Cloudflare-Workers", "number", "function", "function", True,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["WebSocketPair", "WebSocket", "HTMLRewriter", "EventSource"])
async def test_what_there_is_not_says_so(name: str) -> None:
    assert (await told(f"return thrown(() => new {name}('x'));")).startswith(
        f"Error: {name} is not supported here: "
    )
