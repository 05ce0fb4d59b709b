"""A JavaScript worker answers a request: what goes in, what comes out."""

from __future__ import annotations

from tests.javascript.harness import handler, tenant
from tests.support.guests import request


async def test_a_handler_answers_with_status_headers_and_body() -> None:
    worker = tenant(handler("return new Response('hello', { status: 201, headers: { 'x-a': 'b' } });"))
    answer = await worker.get()
    assert (answer.status, answer.text) == (201, "hello")
    assert dict(answer.headers) == {"content-type": "text/plain;charset=UTF-8", "x-a": "b"}


async def test_a_handler_sees_method_url_headers_and_body() -> None:
    worker = tenant(
        handler(
            "return Response.json([request.method, request.url, request.headers.get('X-In'), await request.text()]);"
        )
    )
    answer = await worker.fetch(request("POST", "/p?q=1", [(b"x-in", b"v")], "grüße".encode()))
    assert answer.text == '["POST","http://a.example.com/p?q=1","v","grüße"]'


async def test_a_request_that_asks_for_nothing_makes_no_crossing() -> None:
    answer = await tenant(handler("return new Response('x');")).get()
    assert answer.calls == 0


async def test_what_is_asked_together_goes_out_in_one_crossing() -> None:
    body = "await Promise.all([1, 2, 3].map((ms) => scheduler.wait(ms))); return new Response('x');"
    answer = await tenant(handler(body)).get()
    assert answer.status == 200
    assert answer.calls <= 3  # a wait for each moment at most


async def test_an_exception_is_the_worker_s_with_its_place_in_the_log() -> None:
    answer = await tenant(handler("null.x;", top="// one\n// two")).get()
    assert answer.error is not None
    assert "TypeError" in answer.error
    assert any("index.js:3:" in line for line in answer.lines)
