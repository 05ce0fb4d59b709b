"""A response that came as gzip reads as text, and travels on as it came; one that says it is gzip is made so."""

from __future__ import annotations

import gzip
import json

import pytest

from bindings.memory import MemoryFetcher
from model.capabilities import Binding, WorkerEnv
from model.messages import Response
from model.scripts import BindingKind
from tests.javascript.harness import Answer, handler, tenant

TEXT = b"text " * 1000
GZIP = gzip.compress(TEXT)
_HEADERS = [
    (b"content-encoding", "gzip"),
    (b"content-length", str(len(GZIP))),
    (b"content-type", "text/plain"),
]


class Parts:
    """A body that comes in pieces."""

    def __init__(self, data: bytes) -> None:
        self._parts = [data[:10], data[10:]]

    async def read(self) -> bytes:
        return self._parts.pop(0) if self._parts else b""

    def close(self) -> None:
        self._parts.clear()


async def run(body: str, *, streams: bool, data: bytes = GZIP) -> Answer:
    headers = tuple((name, value.encode()) for name, value in _HEADERS)
    origin = MemoryFetcher(lambda _: Response(200, headers, Parts(data) if streams else data))
    env = WorkerEnv(bindings={"B": Binding(BindingKind.SERVICE, origin)})
    answer = await tenant(handler(f"const r = await env.B.fetch('https://o/'); {body}"), env=env).get()
    assert answer.error is None, answer.lines
    return answer


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_it_is_read_as_what_it_stands_for(streams: bool) -> None:
    body = """
        const kept = r.clone();
        let size = 0;
        for await (const part of kept.body) size += part.length;
        return Response.json([(await r.text()).length, size, r.headers.get('content-encoding'), r.bodyUsed]);"""
    assert json.loads((await run(body, streams=streams)).text) == [5000, 5000, "gzip", True]


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "passed", ["return r;", "return new Response(r.body, r);", "r.body; return new Response(r.body, { headers: { 'content-encoding': 'gzip' } });"]
)  # fmt: skip
async def test_what_nobody_reads_travels_on_as_it_came(passed: str, streams: bool) -> None:
    answer = await run(passed, streams=streams)
    assert (dict(answer.headers)["content-encoding"], answer.body) == ("gzip", GZIP)


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_without_its_header_it_travels_decoded(streams: bool) -> None:
    body = "const h = new Headers(r.headers); h.delete('content-encoding'); return new Response(r.body, { headers: h });"
    answer = await run(body, streams=streams)
    assert answer.body == TEXT
    assert "content-length" not in dict(answer.headers)


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_what_was_changed_is_coded_anew(streams: bool) -> None:
    body = "return new Response((await r.text()).toUpperCase(), r);"
    answer = await run(body, streams=streams)
    assert gzip.decompress(answer.body) == TEXT.upper()
    assert dict(answer.headers).get("content-length", str(len(answer.body))) == str(len(answer.body))


async def test_a_worker_may_say_that_it_codes_by_itself() -> None:
    body = "return new Response(await new Response(new Blob(['x']).stream().pipeThrough(new CompressionStream('gzip'))).bytes(), { encodeBody: 'manual', headers: { 'content-encoding': 'gzip' } });"
    assert gzip.decompress((await tenant(handler(body)).get()).body) == b"x"
    made = "return new Response('made here', { headers: { 'content-encoding': 'gzip' } });"
    assert gzip.decompress((await tenant(handler(made)).get()).body) == b"made here"
    wrong = "try { new Response('', { encodeBody: 'x' }); } catch (e) { return new Response(e.name); }"
    assert (await tenant(handler(wrong)).get()).text == "TypeError"


async def test_what_is_no_gzip_is_an_error_of_who_reads_it() -> None:
    body = "return new Response(await r.text().then(() => 'read', (e) => 'refused'));"
    assert (await run(body, streams=False, data=b"no gzip")).text == "refused"


async def test_as_a_request_s_body_it_travels_decoded() -> None:
    seen: list[bytes] = []

    def answered(request: object) -> Response:
        body = getattr(request, "body", None)
        if isinstance(body, bytes):
            seen.append(body)
        return Response(200, ((b"content-encoding", b"gzip"),), GZIP)

    env = WorkerEnv(bindings={"B": Binding(BindingKind.SERVICE, MemoryFetcher(answered))})
    source = handler(
        "const r = await env.B.fetch('https://o/'); await env.B.fetch('https://o/', { method: 'POST', body: await r.text() }); return new Response('x');"
    )
    assert (await tenant(source, env=env).get()).error is None
    assert seen == [TEXT]
