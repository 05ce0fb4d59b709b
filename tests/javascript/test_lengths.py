"""How long bodies are said to be: the host says it of those that are whole, and a stream that is passed on as it came has the
length that came with it.
"""

from __future__ import annotations

import pytest

from bindings.memory import MemoryFetcher
from model.capabilities import WorkerEnv
from model.messages import Headers, Response
from tests.javascript.harness import handler, tenant
from tests.support.guests import request


class Parts:
    """A ByteSource of these parts."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)

    async def read(self) -> bytes:
        return self.parts.pop(0) if self.parts else b""

    def close(self) -> None:
        self.parts.clear()


SAID = ((b"content-length", b"6"),)


async def length_sent(body: str, headers: Headers = SAID) -> bytes | None:
    """What the worker says of the request that it makes of one with six bytes."""
    fetcher = MemoryFetcher(lambda _request: Response(200, [], b"ok"))
    worker = tenant(handler(body), env=WorkerEnv(fetcher=fetcher))
    answer = await worker.fetch(request("POST", "/", headers, Parts(b"abc", b"def")))
    assert answer.error is None, answer.lines
    ((asked, _),) = fetcher.requests
    return dict(asked.headers).get(b"content-length")


PASSED_ON = {
    "the request": "return fetch(request);",
    "one made of it": "return fetch(new Request('https://up.example.com/', request));",
    "another method": "return fetch(new Request('https://up.example.com/', new Request(request, { method: 'PUT' })));",
    "its body alone": "return fetch('https://up.example.com/', { method: 'POST', body: request.body });",
    "its body in a Response": "return fetch('https://up.example.com/', { method: 'POST', body: new Response(request.body).body });",
}
READ = {
    "with another length's header": "return fetch('https://up.example.com/', { method: 'POST', headers: request.headers, body: request.body.pipeThrough(new IdentityTransformStream()) });",
    "a clone": "request.clone(); return fetch(request);",
    "what is here": "return fetch('https://up.example.com/', { method: 'POST', headers: request.headers, body: 'two' });",
}


@pytest.mark.parametrize("kind", PASSED_ON)
async def test_a_request_that_is_passed_on_says_how_long_it_is(kind: str) -> None:
    assert await length_sent(PASSED_ON[kind]) == b"6"


async def test_what_came_without_a_length_goes_without() -> None:
    assert await length_sent(PASSED_ON["one made of it"], ()) is None


@pytest.mark.parametrize("kind", READ)
async def test_of_what_was_made_here_a_copied_length_is_left_out(kind: str) -> None:
    assert await length_sent(READ[kind]) is None


async def test_a_stream_of_a_fixed_length_is_sent_with_it() -> None:
    body = """
        const { readable, writable } = new FixedLengthStream(3);
        const writer = writable.getWriter(); writer.write(new Uint8Array(3)); writer.close();
        return fetch('https://up.example.com/', { method: 'POST', body: readable });"""
    assert await length_sent(body) == b"3"


HEAD = {
    "text": "'x'",
    "nothing": "null",
    "a stream": "new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(5)); } })",
    "a stream of the host's": "(await fetch('https://up.example.com/')).body",
}


@pytest.mark.parametrize("kind", HEAD)
@pytest.mark.parametrize(
    "more", ["", "ctx.waitUntil(scheduler.wait(1));", "headers['content-encoding'] = 'gzip';"]
)
async def test_the_length_that_a_handler_says_to_head_is_kept(kind: str, more: str) -> None:
    fetcher = MemoryFetcher(lambda _request: Response(200, [], b"y" * 300_000))
    body = f"const headers = {{ 'content-length': '5000' }}; {more} return new Response({HEAD[kind]}, {{ headers }});"
    answer = await tenant(handler(body), env=WorkerEnv(fetcher=fetcher)).fetch(request("HEAD"))
    assert answer.error is None, answer.lines
    assert dict(answer.headers)["content-length"] == "5000"
    assert answer.body == b""


async def test_to_get_the_length_is_that_of_the_body() -> None:
    body = "return new Response('x', { headers: { 'content-length': '5000' } });"
    answer = await tenant(handler(body)).get()
    assert (answer.body, dict(answer.headers).get("content-length")) == (b"x", None)
