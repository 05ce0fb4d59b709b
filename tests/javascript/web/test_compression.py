"""CompressionStream and DecompressionStream."""

from __future__ import annotations

import gzip
import zlib

import pytest

from tests.javascript.harness import handler, tenant
from tests.javascript.web.told import told
from tests.support.guests import request

TEXT = b"abc" * 100_000


@pytest.mark.parametrize("form", ["gzip", "deflate", "deflate-raw"])
async def test_what_is_compressed_is_in_its_format(form: str) -> None:
    source = handler(f"return new Response(request.body.pipeThrough(new CompressionStream({form!r})));")
    answer = await tenant(source).fetch(request("POST", body=TEXT))
    assert len(answer.body) < 2000
    wbits = {"gzip": 31, "deflate": 15, "deflate-raw": -15}[form]
    assert zlib.decompress(answer.body, wbits) == TEXT


async def test_what_a_visitor_compressed_is_read() -> None:
    source = handler("return new Response(request.body.pipeThrough(new DecompressionStream('gzip')));")
    answer = await tenant(source).fetch(request("POST", body=gzip.compress(TEXT)))
    assert answer.body == TEXT


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("new Uint8Array([1, 2, 3])", "TypeError: it is no gzip data"),
        ("packed.subarray(0, packed.length - 1)", "TypeError: the gzip data has no end"),
        ("new Uint8Array([...packed, 0])", "TypeError: there is something behind the end of the gzip data"),
        ("packed", "ok"),
    ],
)
async def test_data_that_is_wrong_is_an_error_of_the_reader(data: str, message: str) -> None:
    body = f"""
        const packed = await new Response(new Blob(['some text']).stream().pipeThrough(new CompressionStream('gzip'))).bytes();
        return thrown(() => new Response(new Blob([{data}]).stream().pipeThrough(new DecompressionStream('gzip'))).text());"""
    assert (await told(body)).startswith(message)
