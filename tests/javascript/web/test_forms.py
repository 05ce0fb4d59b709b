"""Blob, File and FormData, and bodies that are one of them."""

from __future__ import annotations

import pytest

from tests.javascript.harness import handler, tenant
from tests.javascript.web.told import told
from tests.support.guests import request

MULTIPART = (
    b"preamble\r\n--x y\r\n"
    b'Content-Disposition: form-data; name="a%22b"\r\n\r\n1\r\n2\r\n'
    b"--x y \t\r\n"
    b'content-disposition: form-data; filename="p\xc3\xa4.bin"; name=f\r\nContent-Type: image/png\r\n\r\n\x00\xff\r\n--x\r\n'
    b'--x y\r\nContent-Disposition: form-data; name="e"\r\n\r\n\r\n'
    b"--x y--\r\nepilogue"
)


async def test_blob_joins_its_parts_and_slices_share_them() -> None:
    body = """
        const blob = new Blob(['aä', new Uint8Array([98]), new Uint16Array([0x6463]).buffer, new Blob(['ef'])], { type: 'Text/Plain' });
        const slice = blob.slice(-4, -1, 'x/y');
        return [blob.size, blob.type, await blob.text(), slice.type, await slice.text(), (await blob.arrayBuffer()).byteLength,
                await new Response(blob.stream()).text(), String(blob), blob.slice(5, 2).size, new Blob([], { type: 'a\\u0001' }).type];"""
    assert await told(body) == [
        8, "text/plain", "aäbcdef", "x/y", "cde", 8, "aäbcdef", "[object Blob]", 0, "",
    ]  # fmt: skip


async def test_a_large_blob_streams_in_pieces() -> None:
    body = "let n = 0, c = 0; for await (const p of new Blob([new Uint8Array(200000)]).stream()) { n += p.length; c++; } return [n, c];"
    assert await told(body) == [200_000, 4]


async def test_file_has_a_name_and_a_time() -> None:
    body = """
        const file = new File(['x'], 'a/b', { type: 'text/css', lastModified: 5 });
        return [file.name, file.lastModified, file.size, file instanceof Blob, await thrown(() => new File(['x'])), await thrown(() => new Blob('x'))];"""
    assert await told(body) == [
        "a/b", 5, 1, True, "TypeError: File: its parts and its name are needed",
        "TypeError: Blob: its parts are an array, or something else that can be iterated",
    ]  # fmt: skip


async def test_form_data_keeps_the_order_and_set_replaces() -> None:
    body = """
        const form = new FormData();
        form.append('a', 1); form.append('b', 'x'); form.append('a', new Blob(['z'])); form.append('c', '3');
        form.set('a', 'one'); form.delete('c'); form.set('d', new Blob(['q'], { type: 't/t' }), 'n.txt');
        return [[...form].map(([k, v]) => [k, typeof v === 'string' ? v : `${v.name} ${v.type}`]), form.get('nope'), form.has('b'), form.getAll('a'),
                [...form.keys()], await thrown(() => form.append('a', 'b', 'file')), await thrown(() => new FormData({}))];"""
    assert await told(body) == [
        [["a", "one"], ["b", "x"], ["d", "n.txt t/t"]], None, True, ["one"], ["a", "b", "d"],
        "TypeError: FormData: a file name is for a Blob or a File; the value is neither.",
        "TypeError: FormData: there are no form elements here; append() what it should have.",
    ]  # fmt: skip


async def test_a_form_survives_being_a_body() -> None:
    body = """
        const form = new FormData();
        form.append('na"me', 'one\\ntwo'); form.append('file', new File([new Uint8Array([0, 255, 13, 10])], 'ä.bin', { type: 'a/b' })); form.append('empty', '');
        const sent = new Request('http://a/', { method: 'POST', body: form });
        const type = sent.headers.get('content-type');
        const back = await sent.formData();
        return [/^multipart\\/form-data; boundary=\\S{20,}$/.test(type), back.get('na"me'), [...await back.get('file').bytes()], back.get('file').name, back.get('file').type, back.get('empty')];"""
    assert await told(body) == [True, "one\r\ntwo", [0, 255, 13, 10], "ä.bin", "a/b", ""]


async def test_what_a_visitor_posts_is_parsed() -> None:
    posted = request(
        "POST", body=MULTIPART, headers=[(b"content-type", b'Multipart/Form-Data; charset=x; boundary="x y"')]
    )
    body = "const f = await request.formData(); const b = f.get('f'); return [f.get('a\"b'), b.name, b.type, [...await b.bytes()], f.get('e')];"
    assert await told(body, posted) == ["1\r\n2", "pä.bin", "image/png", [0, 255, 13, 10, 45, 45, 120], ""]


@pytest.mark.parametrize(
    ("content_type", "sent", "message"),
    [
        ("multipart/form-data", "", "the content type has no boundary"),
        ("multipart/form-data; boundary=b", "", "its first boundary is missing"),
        ("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx", "a part has no end"),
        ("multipart/form-data; boundary=b", "--bx\r\n", "a boundary is not at the end of its line"),
        ("multipart/form-data; boundary=b", "--b\r\nX: y\r\n\r\nx\r\n--b--", "a part has no `Content-Disposition: form-data`"),
        ("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", "a part has no name"),
        ("text/plain", "a=b", "its content type is text/plain"),
    ],
)  # fmt: skip
async def test_what_is_no_form_is_refused(content_type: str, sent: str, message: str) -> None:
    body = f"return thrown(() => new Response({sent!r}, {{ headers: {{ 'content-type': {content_type!r} }} }}).formData());"
    answer = await told(body)
    assert answer.startswith("TypeError: ")
    assert message in answer


async def test_urlencoded_bodies_are_forms_too() -> None:
    body = "const f = await new Response(new URLSearchParams({ a: 'b c', 'd&': 'ä' })).formData(); return [...f];"
    assert await told(body) == [["a", "b c"], ["d&", "ä"]]


async def test_a_blob_is_a_body_with_its_type_and_a_body_a_blob() -> None:
    source = handler(
        "return new Response(await new Response(new Blob(['abc'], { type: 'image/gif' })).blob());"
    )
    answer = await tenant(source).get()
    assert (answer.text, dict(answer.headers)["content-type"]) == ("abc", "image/gif")


async def test_classes_have_their_names() -> None:
    body = """
        const names = ['Blob', 'File', 'FormData', 'Request', 'Response', 'Headers', 'AbortSignal', 'AbortController', 'FixedLengthStream', 'TextDecoder'];
        return names.filter((name) => globalThis[name].name !== name || globalThis[name].prototype[Symbol.toStringTag] !== name);"""
    assert await told(body) == []
