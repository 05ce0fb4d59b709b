"""Events, and what AbortSignal ends."""

from __future__ import annotations

import asyncio

from bindings.memory import MemoryFetcher
from model.capabilities import WorkerEnv
from model.messages import OutgoingRequest, Response
from tests.javascript.web.told import told


class Stuck:
    """A body that begins, and never ends."""

    def __init__(self) -> None:
        self.parts = [b"begun"]

    async def read(self) -> bytes:
        if self.parts:
            return self.parts.pop()
        await asyncio.Event().wait()
        raise AssertionError("nobody wakes it")

    def close(self) -> None:
        pass


def stuck(_request: OutgoingRequest) -> Response:
    return Response(200, [], Stuck())


async def test_events_carry_what_they_were_made_with() -> None:
    body = """
        const target = new EventTarget(), seen = [];
        target.addEventListener('x', (e) => seen.push(e.detail, e instanceof Event, e.type), { once: true });
        target.dispatchEvent(new CustomEvent('x', { detail: 5 })); target.dispatchEvent(new CustomEvent('x'));
        const error = new ErrorEvent('error', { message: 'm', lineno: 3, error: 1 });
        const close = new CloseEvent('close', { code: 1000, reason: 'r', wasClean: true });
        return [seen, new MessageEvent('message', { data: 'd' }).data, error.message, error.lineno, error.error, close.code, close.wasClean];"""
    assert await told(body) == [[5, True, "x"], "d", "m", 3, 1, 1000, True]


async def test_an_aborted_signal_says_so_to_all_that_depend_on_it() -> None:
    body = """
        const controller = new AbortController(), seen = [];
        const any = AbortSignal.any([controller.signal, new AbortController().signal]);
        const second = AbortSignal.any([any]);
        controller.signal.onabort = () => seen.push(any.aborted, second.aborted);
        any.addEventListener('abort', () => seen.push('any'));
        controller.abort('why'); controller.abort('again');
        return [seen, any.reason, second.reason, await thrown(() => AbortSignal.abort().throwIfAborted()),
                AbortSignal.any([AbortSignal.abort(1)]).reason, await thrown(() => new AbortSignal())];"""
    assert await told(body) == [
        [True, True, "any"], "why", "why", "AbortError: The operation was aborted", 1, "TypeError: Illegal constructor",
    ]  # fmt: skip


async def test_timeout_aborts_after_its_time() -> None:
    body = """
        const signal = AbortSignal.timeout(5);
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        return [signal.reason.name, signal.reason instanceof DOMException, await thrown(() => AbortSignal.timeout(-1))];"""
    name, is_dom, refused = await told(body)
    assert (name, is_dom) == ("TimeoutError", True)
    assert refused.startswith("TypeError")


async def test_an_aborted_fetch_rejects_with_its_reason() -> None:
    body = """
        const controller = new AbortController();
        const asked = thrown(() => fetch('http://never.example.com/', { signal: controller.signal }));
        const before = await thrown(() => fetch('http://never.example.com/', { signal: AbortSignal.abort() }));
        controller.abort(new Error('enough'));
        return [await asked, before];"""
    assert await told(body) == ["Error: enough", "AbortError: The operation was aborted"]


async def test_a_body_that_is_being_read_ends_with_its_signal() -> None:
    body = """
        const whole = await fetch('http://slow.example.com/', { signal: AbortSignal.timeout(20) });
        const controller = new AbortController();
        const reader = (await fetch('http://slow.example.com/', { signal: controller.signal })).body.getReader();
        const first = await reader.read();
        const second = thrown(() => reader.read());
        controller.abort(new Error('enough'));
        return [await thrown(() => whole.text()), new TextDecoder().decode(first.value), await second];"""
    env = WorkerEnv(fetcher=MemoryFetcher(stuck))
    assert await told(body, env=env) == [
        "TimeoutError: The operation was aborted due to timeout", "begun", "Error: enough",
    ]  # fmt: skip
