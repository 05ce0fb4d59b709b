"""multipart/form-data within bounds: how many parts, how large their heads, how large each and all.

Source: RFC 7578, and what wrangler and Cloudflare's SDKs really send (names with and without file names).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from control.call import Call
from control.envelope import ApiError, Code

MOST_PARTS: Final = 512
_HEAD_BYTES: Final = 4_096
_HEADERS: Final = 16


@dataclass(slots=True)
class Part:
    """`file_name` is None when the sender gave none. `content_type` is lower-case, without parameters."""

    name: str
    file_name: str | None
    content_type: str
    data: bytes


@dataclass(slots=True)
class _Collector:
    """Takes the parser's call-backs."""

    parts: list[Part] = field(default_factory=list)
    ended: bool = False
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _name: bytes = b""
    _value: bytes = b""
    _chunks: list[bytes] = field(default_factory=list)

    def on_part_begin(self) -> None:
        if len(self.parts) >= MOST_PARTS:
            raise ApiError(
                400, Code.BODY, f"body: more than {MOST_PARTS} parts, the most; bundle the modules", "body"
            )
        self._headers, self._chunks = {}, []

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def on_part_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name")
        if name is None:
            raise ApiError(400, Code.BODY, f"body: part {len(self.parts) + 1} has no name", "body")
        file_name = options.get(b"filename")
        content_type, _ = parse_options_header(self._headers.get(b"content-type", b""))
        self.parts.append(
            Part(
                name.decode("utf-8", "replace"),
                None if file_name is None else file_name.decode("utf-8", "replace"),
                content_type.decode("latin-1").lower(),
                b"".join(self._chunks),
            )
        )
        self._chunks = []

    def on_end(self) -> None:
        self.ended = True


def is_multipart(call: Call) -> bool:
    return call.request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def read_multipart(call: Call) -> list[Part]:
    """The parts in order. Raises ApiError: 400 where it is no such body, 413 beyond the endpoint's limit."""
    _, options = parse_options_header(call.request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    collector = _Collector()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": collector.on_part_begin,
                "on_part_data": collector.on_part_data,
                "on_part_end": collector.on_part_end,
                "on_header_field": collector.on_header_field,
                "on_header_value": collector.on_header_value,
                "on_header_end": collector.on_header_end,
                "on_end": collector.on_end,
            },
            max_header_count=_HEADERS,
            max_header_size=_HEAD_BYTES,
        )
        if not boundary:
            raise _malformed("Content-Type names no boundary")

        def feed(chunk: bytes) -> None:
            parser.write(chunk)

        await call.chunks(feed)
    except FormParserError as error:
        raise _malformed(str(error)) from error
    if not collector.ended:
        raise _malformed("it ends before its last boundary")
    return collector.parts


def _malformed(why: str) -> ApiError:
    return ApiError(400, Code.BODY, f"body: this is no multipart/form-data: {why}", "body")


def write_multipart(parts: Sequence[Part], boundary: str) -> bytes:
    """A body of `parts`. Names are quoted as browsers do it (WHATWG, "multipart/form-data boundary string")."""
    pieces: list[bytes] = []
    for part in parts:
        name = _quoted(part.name)
        file_name = "" if part.file_name is None else f'; filename="{_quoted(part.file_name)}"'
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"{file_name}\r\n'
        pieces += (f"{head}content-type: {part.content_type}\r\n\r\n".encode(), part.data, b"\r\n")
    return b"".join([*pieces, f"--{boundary}--\r\n".encode()])


def _quoted(name: str) -> str:
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
