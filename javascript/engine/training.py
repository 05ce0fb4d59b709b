"""Workers that are run while the engine is built, to see which memory an event writes to (placing.py).

What is only written for a while, as the count of what is referred to is, is seen where a worker reads a secret: it
waits there for the host, in the middle of what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

import msgpack

from javascript.engine.placing import written_units
from runtime.capi.guest import Guest

_SECRETS: Final = [f"S{number}" for number in range(8)]
_EVENT: Final = {
    "method": "POST",
    "url": "https://shop.example.com/path?x=1",
    "headers": [
        ["host", "shop.example.com"],
        ["user-agent", "x"],
        ["accept", "*/*"],
        ["content-type", "a/b"],
    ],
    "vars": {"NAME": "value"},
    "params": {},
    "client": {"ip": "192.0.2.1", "tls": True, "ray": "0"},
    "env": [*([name, "secret_text"] for name in _SECRETS), ["KV", "kv_namespace"]],
    "body": b'{"a": 1}',
}

_BODIES: Final = (
    "return new Response('hello');",
    "return new Response('hello ' + new URL(request.url).pathname, { status: 201 });",
    "return Response.json({ a: 1 });",
    "return Response.json(await request.json());",
    "return new Response(await env.KV.get('key'));",
    "await 0; return new Response(request.headers.get('host'), { headers: { 'x-a': 'b' } });",
    "request.headers; request.method; env.S0; return new Response(new URL(request.url).searchParams.get('x'));",
    # A probe in the middle of what makes a response.
    "return new Response({ toString() { env.S0; return 'x'; } });",
    "return new Response('', { get status() { env.S0; return 200; }, headers: { get 'a'() { env.S1; return 1; } } });",
    "return new Response(JSON.stringify({ toJSON() { env.S0; return 1; } }));",
    "return new Response('', { headers: [['a', { toString() { env.S0; return 'b'; } }]] });",
    "await new Promise((resolve) => { env.S0; resolve(); }).then(() => env.S1); return new Response(env.S2);",
    "throw new TypeError(env.S0);",
)
_SHAPES: Final = (
    "export default {{ async fetch(request, env, ctx) {{ {} }} }};",
    "export default class {{ constructor(ctx, env) {{ this.env = env; }}"
    " async fetch(request) {{ const {{ env }} = this; {} }} }}",
)
#: Without a promise.
_PLAIN: Final = "export default { fetch(request, env) { env.S0; return new Response('hello'); } };"


Call = Callable[[Guest, str, bytes], bytes]


class TrainingFailed(Exception):
    """One of the workers here is refused by the engine that it is to train."""


def written_by_workers(instances: Callable[[], AbstractContextManager[Guest]], call: Call) -> list[set[int]]:
    """The units that each worker wrote to, its top level and an event together."""
    sources = [_PLAIN, *(shape.format(body) for shape in _SHAPES for body in _BODIES)]
    return [_written_by(source, instances, call) for source in sources]


def _written_by(
    source: str,
    instances: Callable[[], AbstractContextManager[Guest]],
    call: Call,
) -> set[int]:
    with instances() as guest:
        modules = [["index.js", "esm", source.encode()]]
        compiled = _deploy(call, guest, "js_compile", {"main": "index.js", "modules": modules, "flags": []})
    with instances() as guest:
        guest.find_exports("js_load", needs_alloc=True)
        before = guest.read(0, guest.memory_size())
        _deploy(call, guest, "js_load", {"code": compiled["code"], "seed": bytes(16)})
        memory = guest.read(0, guest.memory_size())
        written = written_units(before, memory)
        for now in _moments(guest):
            written |= written_units(before, now)
    return written


def _deploy(call: Call, guest: Guest, export: str, argument: dict[str, object]) -> Any:
    answer = msgpack.unpackb(call(guest, export, msgpack.packb(argument)))
    if "ok" not in answer:
        raise TrainingFailed(f"{export}: {answer}")
    return answer["ok"]


def _moments(guest: Guest) -> Iterator[bytes]:
    """Serves an event, and gives the memory as it is each time that the worker waits, and at the end."""
    data = msgpack.packb(_EVENT)
    guest.find_exports("fetch", needs_alloc=True)
    guest.begin_call("alloc", len(data))
    while not guest.poll():
        pass
    guest.finish()
    pointer = guest.result_i32()
    guest.write(pointer, data)
    guest.begin_call("handler", pointer, len(data))
    while not guest.poll():
        if guest.wanted is None:
            guest.resume_yielded()
            continue
        yield guest.read(0, guest.memory_size())
        asked = msgpack.unpackb(guest.wanted)["ops"]
        guest.reply = msgpack.packb(
            {"pending": 0, "done": [[row[0], {"ok": _answer(row[1])}] for row in asked]}
        )
        guest.resume(len(guest.reply))
    guest.finish()
    yield guest.read(0, guest.memory_size())


def _answer(operation: str) -> object:
    return {"value": b"v", "metadata": None, "expiration": None} if operation == "kv.get" else "s"
