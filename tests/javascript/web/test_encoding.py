"""TextEncoder, TextDecoder and their streams."""

from __future__ import annotations

import pytest

from tests.javascript.web.told import told


async def test_encode_into_writes_what_fits() -> None:
    body = """
        const to = new Uint8Array(5), encoder = new TextEncoder(), large = new Uint8Array(9000);
        const text = '😀ä'.repeat(1500);
        const all = encoder.encodeInto(text, large);
        return [encoder.encodeInto('aä€', to), [...to], encoder.encodeInto('', to), encoder.encodeInto('\\ud800', new Uint8Array(3)), all,
                new TextDecoder().decode(large) === text, encoder.encodeInto(text, new Uint8Array(7)), await thrown(() => encoder.encodeInto('a', []))];"""
    assert await told(body) == [
        {"read": 2, "written": 3}, [97, 195, 164, 0, 0], {"read": 0, "written": 0}, {"read": 1, "written": 3},
        {"read": 4500, "written": 9000}, True, {"read": 3, "written": 6},
        "TypeError: TextEncoder.encodeInto: the target is a Uint8Array",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "data", "text"),
    [
        ("utf-8", "[0xef, 0xbb, 0xbf, 0x61, 0xff]", "a�"),
        (" UTF8\t", "[0xc3, 0xa4]", "ä"),
        ("utf-16", "[0xff, 0xfe, 0x61, 0, 0x3d, 0xd8, 0, 0xde]", "a😀"),
        ("utf-16le", "[0, 0xd8, 0x61, 0, 0x61]", "�a�"),
        ("utf-16be", "[0, 0x61]", "a"),
        ("latin1", "[0x61, 0x80, 0xe4, 0x81, 0x9f]", "a€ä\x81Ÿ"),
    ],
)
async def test_bytes_are_decoded(label: str, data: str, text: str) -> None:
    assert await told(f"return new TextDecoder({label!r}).decode(new Uint8Array({data}));") == text


async def test_decoding_goes_on_where_a_chunk_ended() -> None:
    body = """
        const bytes = new TextEncoder().encode('\\ufeffaä€😀z'), out = [];
        for (let size = 1; size <= 5; size++) {
            const decoder = new TextDecoder();
            let text = '';
            for (let at = 0; at < bytes.length; at += size) text += decoder.decode(bytes.subarray(at, at + size), { stream: true });
            out.push(text + decoder.decode());
        }
        const cut = new TextDecoder();
        const wide = new TextDecoder('utf-16le');
        return [[...new Set(out)], cut.decode(bytes.subarray(3, 5), { stream: true }) + cut.decode(), cut.decode(bytes),
                wide.decode(new Uint8Array([0x3d]), { stream: true }) + wide.decode(new Uint8Array([0xd8, 0]), { stream: true }) + wide.decode(new Uint8Array([0xde]))];"""
    assert await told(body) == [["aä€😀z"], "a�", "aä€😀z", "😀"]


async def test_fatal_throws_and_the_mark_is_kept_when_asked_for() -> None:
    body = """
        return [await thrown(() => new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([0xff]))),
                await thrown(() => new TextDecoder('utf-16le', { fatal: true }).decode(new Uint8Array([0, 0xd8]))),
                new TextDecoder('utf-8', { ignoreBOM: true }).decode(new Uint8Array([0xef, 0xbb, 0xbf])).length,
                await thrown(() => new TextDecoder('shift_jis')), new TextDecoder('ascii').encoding];"""
    assert await told(body) == [
        "TypeError: The encoded data was not valid for encoding utf-8",
        "TypeError: The encoded data was not valid for encoding utf-16",
        1,
        'RangeError: "shift_jis" is no encoding that TextDecoder knows here: utf-8, utf-16le, utf-16be, windows-1252 are.',
        "windows-1252",
    ]


async def test_text_streams_join_what_chunks_cut() -> None:
    body = """
        const text = ReadableStream.from(['a\\ud83d', '\\ude00b', '\\ud83d']).pipeThrough(new TextEncoderStream());
        const bytes = ReadableStream.from([new Uint8Array([0xe2, 0x82]), new Uint8Array([0xac])]).pipeThrough(new TextDecoderStream());
        return [await new Response(text).text(), await Array.fromAsync(bytes)];"""
    assert await told(body) == ["a😀b�", ["€"]]
