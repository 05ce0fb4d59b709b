"""Streams, and how they and bodies meet."""

from __future__ import annotations

from tests.javascript.harness import handler, tenant
from tests.javascript.web.told import told
from tests.support.guests import request


async def test_streams_are_made_piped_split_and_iterated() -> None:
    body = """
        const upper = () => new TransformStream({ transform(chunk, c) { c.enqueue(chunk.toUpperCase()); } });
        const [one, other] = ReadableStream.from(['a', 'b']).pipeThrough(upper()).tee();
        const written = [];
        await other.pipeTo(new WritableStream({ write(chunk) { written.push(chunk); } }));
        return [await Array.fromAsync(one), written];"""
    assert await told(body) == [["A", "B"], ["A", "B"]]


async def test_a_body_is_read_into_a_buffer_of_the_readers() -> None:
    posted = request("POST", body=b"abcdefgh")
    body = """
        const reader = request.body.getReader({ mode: 'byob' });
        const first = await reader.read(new Uint8Array(3)), rest = await reader.read(new Uint8Array(100)), end = await reader.read(new Uint8Array(1));
        return [new TextDecoder().decode(first.value), new TextDecoder().decode(rest.value), end.done, request.bodyUsed];"""
    assert await told(body, posted) == ["abc", "defgh", True, True]


async def test_a_transformed_body_reaches_the_visitor() -> None:
    source = handler(
        "return new Response(request.body.pipeThrough(new TextDecoderStream())"
        ".pipeThrough(new TransformStream({ transform(t, c) { c.enqueue(t.toUpperCase()); } })).pipeThrough(new TextEncoderStream()));"
    )
    assert (await tenant(source).fetch(request("POST", body=b"loud"))).text == "LOUD"


async def test_a_stream_is_pulled_only_as_fast_as_the_visitor_reads() -> None:
    source = handler(
        """
        let made = 0, gone = 0;
        const body = new ReadableStream({
            pull(c) { made++; if (made > 20) c.close(); else c.enqueue(new Uint8Array(1000)); most = Math.max(most, made - gone); },
        }, { highWaterMark: 0 });
        const counted = body.pipeThrough(new IdentityTransformStream());
        ctx.waitUntil((async () => { console.log('most', most); })());
        const reader = counted.getReader();
        return new Response(new ReadableStream({ async pull(c) { const { done, value } = await reader.read(); gone++; if (done) { console.log(most); c.close(); } else c.enqueue(value); } }, { highWaterMark: 0 }));
        """,
        "let most = 0;",
    )
    answer = await tenant(source).get()
    assert len(answer.body) == 20_000
    assert int(answer.lines[-1]) <= 3


async def test_an_identity_stream_hands_over_bytes_alone() -> None:
    body = """
        const { readable, writable } = new IdentityTransformStream(), writer = writable.getWriter();
        const sent = (async () => { await writer.write('ab'); await writer.write(new Uint8Array([99])); await writer.close(); })();
        const text = await new Response(readable).text();
        await sent;
        const bad = new IdentityTransformStream(), badWriter = bad.writable.getWriter();
        bad.readable.getReader().read().catch(() => {});
        return [text, new IdentityTransformStream() instanceof TransformStream, (await thrown(() => badWriter.write(5))).slice(0, 10)];"""
    assert await told(body) == ["abc", True, "TypeError:"]


async def test_what_a_transform_passes_through_is_whole_when_a_reader_cancels() -> None:
    body = """
        const { readable, writable } = new IdentityTransformStream(), writer = writable.getWriter();
        const write = thrown(() => writer.write('ab'));
        await readable.cancel(new Error('enough'));
        return [await write, await thrown(() => writer.closed)];"""
    assert await told(body) == ["Error: enough", "Error: enough"]


async def test_a_fixed_length_is_said_and_held_to() -> None:
    source = handler(
        """
        const { readable, writable } = new FixedLengthStream(3), writer = writable.getWriter();
        ctx.waitUntil(writer.write('abc').then(() => writer.close()));
        return new Response(readable);
        """
    )
    answer = await tenant(source).get()
    assert (answer.text, dict(answer.headers)["content-length"]) == ("abc", "3")
    body = """
        const long = new FixedLengthStream(1), short = new FixedLengthStream(2);
        for (const s of [long, short]) s.readable.getReader().read().catch(() => {});
        const writer = short.writable.getWriter();
        await writer.write('a');
        return [await thrown(() => long.writable.getWriter().write('ab')), await thrown(() => writer.close()), await thrown(() => new FixedLengthStream('x'))];"""
    long, short, wrong = await told(body)
    assert "too many bytes" in long
    assert "1 are missing" in short
    assert wrong.startswith("TypeError")


async def test_the_same_body_read_twice_is_refused_and_a_clone_is_not() -> None:
    body = """
        const response = new Response(ReadableStream.from([new Uint8Array([97])]));
        const copy = response.clone();
        return [await response.text(), await copy.text(), (await thrown(() => response.text())).slice(0, 35)];"""
    assert await told(body) == ["a", "a", "TypeError: Body has already been us"]
