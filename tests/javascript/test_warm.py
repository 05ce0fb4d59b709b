"""A worker that is warmed when it is deployed: what it makes at its first request is there at each one."""

from __future__ import annotations

from typing import Any

import msgpack

from runtime.abi.core_module import codec
from tests.javascript.harness import _run, compile_modules, deploy_call, handler, instance, load
from tests.support.guests import request

EVENT = msgpack.unpackb(codec.encode_request(request(path="/warm"), {}, {}, None))


def warmed(source: str) -> tuple[Any, Any]:
    """What js_warm told, and the Response of the next request."""
    code = compile_modules([("index.js", "esm", source.encode())], "index.js")
    with instance() as guest:
        load(guest, code)
        told = deploy_call(guest, "js_warm", EVENT)
        result = _run(guest, "fetch", msgpack.packb(EVENT))
        return told, msgpack.unpackb(guest.read(result >> 32, result & 0xFFFF_FFFF))


def test_what_the_first_request_made_is_there_at_the_next() -> None:
    told, answer = warmed(
        handler(
            "router ??= { made: request.url }; n++; return new Response(router.made + n);",
            "let router, n = 0;",
        )
    )
    assert told == {"answered": True, "error": None}
    assert answer["body"] == "http://a.example.com/warm2"


def test_a_request_that_asks_the_host_fails_alone_and_says_why() -> None:
    told, answer = warmed(
        handler("if (!n++) await fetch('https://a.example.com/'); return new Response('fine');", "let n = 0;")
    )
    assert told["answered"] is False
    assert "Disallowed operation" in told["error"]["message"]
    assert answer["body"] == "fine"


def test_two_warmings_leave_the_same_memory() -> None:
    source = handler("x ??= Math.random(); return new Response(String(x));", "let x;")
    code = compile_modules([("index.js", "esm", source.encode())], "index.js")
    images = []
    for _ in range(2):
        with instance() as guest:
            load(guest, code)
            deploy_call(guest, "js_warm", EVENT)
            images.append(guest.read(0, guest.memory_size()))
    assert images[0] == images[1]
