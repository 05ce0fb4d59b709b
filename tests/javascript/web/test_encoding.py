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
        'RangeError: "shift_jis" is no encoding that TextDecoder knows here: UTF-8, UTF-16 and those of one byte a character are.',
        "windows-1252",
    ]


async def test_text_streams_join_what_chunks_cut() -> None:
    body = """
        const text = ReadableStream.from(['a\\ud83d', '\\ude00b', '\\ud83d']).pipeThrough(new TextEncoderStream());
        const bytes = ReadableStream.from([new Uint8Array([0xe2, 0x82]), new Uint8Array([0xac])]).pipeThrough(new TextDecoderStream());
        return [await new Response(text).text(), await Array.fromAsync(bytes)];"""
    assert await told(body) == ["a😀b�", ["€"]]


#: CPython's codec of each; where the Encoding Standard has another character, that is named.
_SINGLE_BYTE: dict[str, tuple[str, dict[int, str]]] = {
    "ibm866": ("cp866", {}),
    "koi8-r": ("koi8_r", {}),
    "koi8-u": ("koi8_u", {0xAE: "ў", 0xBE: "Ў"}),
    "macintosh": ("mac_roman", {}),
    "x-mac-cyrillic": ("mac_cyrillic", {}),
    "windows-874": ("cp874", {}),
    "windows-1255": ("cp1255", {0xCA: "\u05ba"}),
    **{f"windows-{n}": (f"cp{n}", {}) for n in (1250, 1251, 1253, 1254, 1256, 1257, 1258)},
    **{f"iso-8859-{n}": (f"iso8859_{n}", {}) for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
}


async def test_encodings_of_one_byte_are_as_everywhere() -> None:
    expected = {}
    for label, (codec, other) in _SINGLE_BYTE.items():
        text = [bytes([byte]).decode(codec, "replace") for byte in range(256)]
        # What Windows leaves free below A0 is the control character of that number.
        text[0x80:0xA0] = [chr(0x80 + at) if c == "\ufffd" else c for at, c in enumerate(text[0x80:0xA0])]
        expected[label] = "".join(other.get(byte, character) for byte, character in enumerate(text))
    labels = list(expected)
    body = f"const all = Uint8Array.from({{ length: 256 }}, (_, byte) => byte); return {labels}.map((label) => new TextDecoder(label).decode(all));"
    assert dict(zip(labels, await told(body), strict=True)) == expected


async def test_labels_lead_to_their_encodings_and_what_is_none_is_refused() -> None:
    body = """
        const fatal = new TextDecoder('iso-8859-3', { fatal: true });
        return [new TextDecoder(' LATIN5 ').encoding, new TextDecoder('cp1251').encoding, new TextDecoder('logical').encoding,
          new TextDecoder('logical').decode(new Uint8Array([0xe0])), new TextDecoder('x-user-defined').decode(new Uint8Array([0x41, 0xff])),
          await thrown(() => fatal.decode(new Uint8Array([0xa5])))];"""
    assert await told(body) == [
        *("windows-1254", "windows-1251", "iso-8859-8-i", "א", "A\uf7ff"),
        "TypeError: The encoded data was not valid.",
    ]
