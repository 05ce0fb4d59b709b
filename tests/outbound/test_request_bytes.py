"""Rule held: whatever a worker puts into URL, method, headers and body, what arrives is exactly one request, that two
readers would read alike: one line, one Host, one length or one coding, and no header that is the connection's or ours.
"""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.errors import OperationError
from model.messages import Headers
from outbound.hops import HOP_HEADER
from outbound.policy_parse import parse_policy
from outbound.target import InvalidTarget, parse_target
from tests.outbound.conftest import WayOut, read_all

#: RFC 9112 §3 and §5, without what may be but shouldn't: no bare CR, no folding, no space before the colon.
LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Z-]+ /[\x21-\x7e]* HTTP/1\.1")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9a-zA-Z-]+): ?([\x20-\x7e\x80-\xff\t]*)")
CHUNK = re.compile(rb"([0-9a-f]+)\r\n")
NEVER = {
    b"connection",
    b"keep-alive",
    b"te",
    b"trailer",
    b"upgrade",
    b"proxy-connection",
    b"proxy-authorization",
}


class Tap:
    """Keeps the bytes of each connection, and answers as soon as a request's headers are there."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Tap:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        try:
            while b"\r\n\r\n" not in data or not self._is_whole(data):
                piece = await reader.read(65_536)
                if not piece:
                    break
                data += piece
            self.received.append(data)
            writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            # Whatever comes after a whole request would be a second one.
            self.received[-1] += await reader.read()
        finally:
            writer.close()

    @staticmethod
    def _is_whole(data: bytes) -> bool:
        head, _, rest = data.partition(b"\r\n\r\n")
        lower = head.lower()
        if b"\r\ntransfer-encoding:" in lower:
            return rest.endswith(b"0\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: ?([0-9]+)", lower)
        return len(rest) >= (int(length[1]) if length else 0)


def read_strictly(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """The request line, headers in lower case, and the body of exactly one request."""
    head, end, rest = data.partition(b"\r\n\r\n")
    assert end
    line, *lines = head.split(b"\r\n")
    assert LINE.fullmatch(line), line
    fields = []
    for one in lines:
        match = FIELD.fullmatch(one)
        assert match, one
        fields.append((match[1].lower(), match[2]))
    names = [name for name, _ in fields]
    assert names.count(b"host") == 1
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    assert len(lengths) + len(codings) <= 1
    if codings:
        assert codings == [b"chunked"]
        body = b""
        while True:
            match = CHUNK.match(rest)
            assert match, rest[:40]
            size = int(match[1], 16)
            rest = rest[match.end() :]
            body, mark, rest = body + rest[:size], rest[size : size + 2], rest[size + 2 :]
            assert mark == b"\r\n"
            if size == 0:
                break
        assert rest == b""
    else:
        body = rest
        assert len(body) == (int(lengths[0]) if lengths else 0)
    return line, fields, body


class Pieces:
    def __init__(self, pieces: list[bytes]) -> None:
        self._left = list(pieces)
        self.whole = b"".join(pieces)

    async def read(self) -> bytes:
        return self._left.pop(0) if self._left else b""

    def close(self) -> None:
        self._left.clear()


SPECIAL = [
    b"host",
    b"Host",
    b"content-length",
    b"Transfer-Encoding",
    b"transfer-encoding",
    b"connection",
    b"upgrade",
    b"te",
    b"trailer",
    b"expect",
    b"tenantry-hop",
    b"proxy-authorization",
    b"keep-alive",
    b"x-a",
    b"x_a",
    b"cookie",
    b"",
    b"x a",
    b"x:",
    b"x\r\n",
    b"\xc3\xa9",
    b"http2-settings",
    b":authority",
]
VALUES = st.one_of(
    st.sampled_from(
        [
            b"",
            b"1",
            b"chunked",
            b"x-a, cookie",
            b"close",
            b"127.0.0.1",
            b"evil.test",
            b"a\r\nx: y",
            b"a\nb",
            b"a\rb",
            b"a\x00b",
            b"\x0bchunked",
            b" \t",
            "é".encode(),
            "\u560d\u560a".encode(),
            "\u2028".encode(),
            b"\xff",
            b"5, 5",
            b"+5",
            b"100-continue",
            b"\x85",
            b"\xc2\x85x",
        ]
    ),
    st.binary(max_size=12),
)
#: What the gateway takes: most examples must get as far as the wire.
TAME = st.tuples(
    st.sampled_from(
        [b"x-a", b"X_a", b"cookie", b"te", b"connection", b"transfer-encoding", b"expect", b"keep-alive"]
    ),
    st.sampled_from(
        [b"", b"1", b"chunked", b"x-a, cookie", b"close", b" \t", "é".encode(), b"\xc2\x85x", b"a\tb"]
    ),
)
HOSTILE = st.lists(
    st.tuples(st.one_of(st.sampled_from(SPECIAL), st.binary(min_size=1, max_size=8)), VALUES), max_size=3
)
HEADERS = st.one_of(st.lists(TAME, max_size=6), st.lists(TAME, max_size=6), HOSTILE)
PATHS = st.one_of(
    st.sampled_from(
        ["/", "//evil.test/x", "/é?ü#f", "/%0d%0ax:%20y", "/\u560d\u560a", '/"<>`{}|^', "?", "/;a"]
    ),
    st.sampled_from(
        [
            "/",
            "",
            "?a=b",
            "/a b",
            "/a%0d%0aHost:%20evil",
            "//evil.test/x",
            "/\u560d\u560a",
            "/é?ü#f",
            "/a HTTP/1.1\r\nx: y",
            "/%00",
            "/?\x7f",
            "/*",
            "*",
            "/;a",
            "/#x",
            "/a\tb",
            "/\u2028",
            "/?a=%zz",
            '/"<>`{}|^',
        ]
    ),
    st.text(max_size=12).map(lambda text: f"/{text}"),
)
METHODS = st.one_of(
    st.sampled_from(["GET", "POST", "head", "PATCH"]),
    st.sampled_from(["GET", "POST", "put", "DELETE"]),
    st.sampled_from(
        [
            "GET",
            "POST",
            "head",
            "PATCH",
            "OPTIONS",
            "CONNECT",
            "TRACE",
            "PRI",
            "GET /",
            "G\r\nT",
            "QUERY",
            "get",
        ]
    ),
    st.text(max_size=5),
)
BODIES = st.one_of(
    st.none(), st.binary(max_size=40), st.lists(st.binary(min_size=1, max_size=20), max_size=4).map(Pieces)
)


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(method=METHODS, path=PATHS, headers=HEADERS, body=BODIES)
async def test_what_arrives_is_one_request_with_one_reading(
    way_out: WayOut, method: str, path: str, headers: Headers, body: bytes | Pieces | None
) -> None:
    way_out.policy = parse_policy(
        "version: 1\nrules: [{name: a, action: allow, open_cidrs: [127.0.0.0/8], timeout_ms: 3000}]"
    )
    async with asyncio.timeout(60), Tap() as tap:
        url = f"http://127.0.0.1:{tap.port}{path}"
        try:
            await read_all(await way_out.fetch(url, method, headers, body))
        except OperationError:
            received = [one for one in tap.received if one]
            if not received:
                return
        assert len(tap.received) == 1
    line, fields, sent = read_strictly(tap.received[0])
    try:
        target = parse_target(url)
    except InvalidTarget:
        pytest.fail("what was refused has left")
    whole = target.path + (f"?{target.query}" if target.query else "")
    assert line == f"{method.upper()} {whole} HTTP/1.1".encode()
    names = [name for name, _ in fields]
    assert dict(fields)[b"host"] == target.authority.encode()
    assert sent == (body.whole if isinstance(body, Pieces) else body or b"")
    assert NEVER.isdisjoint(names)
    assert names.count(HOP_HEADER) == 1
    own = {name.lower() for name, _ in headers}
    framing = {b"host", b"content-length", b"transfer-encoding", HOP_HEADER}
    assert set(names) - framing <= own, "nothing is added"
