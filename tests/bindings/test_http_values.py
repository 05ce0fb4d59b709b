"""What a guest hands over as a request is parsed strictly: framing is the host's, a header can't end early,
and nothing of the guest's is taken before all of it was right. What it gets back says the same as was sent.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bindings.http_values import parse_request, response_value
from bindings.memory import MemoryEvent
from model.errors import OperationError, OperationErrorCode
from model.messages import HOP_BY_HOP, BytesSource, OutgoingRequest, Response

URL = "https://example.com/"


def parse(request: object, event: MemoryEvent | None = None) -> OutgoingRequest:
    return parse_request("fetch", event or MemoryEvent(), request)


def test_smallest_request_is_a_get_without_headers_and_body() -> None:
    assert parse({"url": URL}) == OutgoingRequest("GET", URL, (), None)


def test_headers_are_lower_cased_in_order_with_repeats() -> None:
    request = {
        "method": "POST",
        "url": URL,
        "headers": [["Accept", "a"], ("X-B", b"\xff"), ["accept", " c\t"], ["x-a", "ü"]],
        "body": b"x",
    }
    assert parse(request).headers == (
        (b"accept", b"a"),
        (b"x-b", b"\xff"),
        (b"accept", b"c"),
        (b"x-a", "ü".encode()),
    )


@pytest.mark.parametrize(
    ("request_map", "message"),
    [
        (None, "a map"),
        ([], "a map"),
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": b"https://example.com/"}, "url"),
        ({"url": "h" * 16_385}, "16384"),
        ({"url": "\ud800" * 6_000}, "16384"),
        ({"url": URL, "method": ""}, "method"),
        ({"url": URL, "method": "GET /"}, "method"),
        ({"url": URL, "method": "G\r\n"}, "method"),
        ({"url": URL, "method": "GET\n"}, "method"),
        ({"url": URL, "method": "M" * 33}, "method"),
        ({"url": URL, "method": None}, "method"),
        ({"url": URL, "headers": {"a": "b"}}, "array"),
        ({"url": URL, "headers": ["ab"]}, "name, value"),
        ({"url": URL, "headers": [["a"]]}, "name, value"),
        ({"url": URL, "headers": [["a", "b", "c"]]}, "name, value"),
        ({"url": URL, "headers": [["", "b"]]}, "token"),
        ({"url": URL, "headers": [["a b", "b"]]}, "token"),
        ({"url": URL, "headers": [["a:", "b"]]}, "token"),
        ({"url": URL, "headers": [["a\n", "b"]]}, "token"),
        ({"url": URL, "headers": [[b"a", "b"]]}, "token"),
        ({"url": URL, "headers": [["n" * 257, "b"]]}, "token"),
        ({"url": URL, "headers": [["a", 1]]}, "str or bin"),
        ({"url": URL, "headers": [["a", None]]}, "str or bin"),
        ({"url": URL, "headers": [["a", "x\r\nset-cookie: y"]]}, "control"),
        ({"url": URL, "headers": [["a", b"x\ny"]]}, "control"),
        ({"url": URL, "headers": [["a", "x\x00y"]]}, "control"),
        ({"url": URL, "headers": [["a", "x\x7f"]]}, "control"),
        ({"url": URL, "headers": [["a", "\ud800"]]}, "surrogate"),
        ({"url": URL, "headers": [["a", "b"]] * 129}, "128"),
        ({"url": URL, "headers": [["a", "b" * 65_536]] * 2}, "131072"),
        ({"url": URL, "body": b"12", "headers": [["content-length", "3"]]}, "content-length 3"),
        ({"url": URL, "body": b"12", "headers": [["content-length", "2"], ["content-length", "2"]]}, "one"),
        ({"url": URL, "body": b"12", "headers": [["content-length", "+2"]]}, "decimal"),
        ({"url": URL, "headers": [["content-length", "1"]]}, "0 bytes"),
        ({"url": URL, "body": 1}, "body"),
        ({"url": URL, "body": ["x"]}, "body"),
        ({"url": URL, "body": "\ud800"}, "surrogate"),
        ({"url": URL, "body": b"", "body_stream": 1}, "one of them"),
        ({"url": URL, "body_stream": "1"}, "stream id"),
        ({"url": URL, "body_stream": True}, "stream id"),
    ],
)
def test_wrong_request_is_refused_by_name(request_map: object, message: str) -> None:
    with pytest.raises(OperationError, match=message) as caught:
        parse(request_map)
    assert caught.value.code is OperationErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_hop_by_hop_header_is_refused(name: bytes) -> None:
    with pytest.raises(OperationError, match="one connection"):
        parse({"url": URL, "headers": [[name.decode().title(), "x"]]})


def test_received_request_can_be_passed_on_with_a_new_url() -> None:
    event = MemoryEvent()
    received = {
        "method": "POST",
        "url": URL,
        "headers": [["host", "shop.example"], ["content-length", "4"], ["cookie", "a=b"]],
        "body_stream": event.lend_stream(BytesSource(b"body")),
        "vars": {"A": "b"},
        "params": {},
        "host": {},
        "client": {"ip": "192.0.2.1"},
    }
    request = parse(received, event)
    assert request.headers == ((b"content-length", b"4"), (b"cookie", b"a=b"))
    assert isinstance(request.body, BytesSource)


def test_stream_stays_with_the_guest_when_anything_else_is_wrong() -> None:
    event = MemoryEvent()
    stream = event.lend_stream(BytesSource(b"body"))
    with pytest.raises(OperationError):
        parse({"url": URL, "headers": [["te", "trailers"]], "body_stream": stream}, event)
    assert parse({"url": URL, "body_stream": stream}, event).body == BytesSource(b"body")
    with pytest.raises(OperationError) as caught:
        parse({"url": URL, "body_stream": stream}, event)
    assert caught.value.code is OperationErrorCode.CLOSED_STREAM


@pytest.mark.parametrize(("body", "sent"), [(b"", None), ("", None), ("ä", "ä".encode()), (b"\0", b"\0")])
def test_body_of_bytes_or_text(body: object, sent: object) -> None:
    assert parse({"method": "POST", "url": URL, "body": body}).body == sent


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner),
    max_leaves=12,
)
_REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "method": _VALUES,
        "url": _VALUES | st.just(URL),
        "headers": _VALUES | st.lists(st.lists(st.text(max_size=9) | st.binary(max_size=9), max_size=3)),
        "body": _VALUES,
        "body_stream": _VALUES,
    },
)


@given(_VALUES | _REQUESTS)
def test_whatever_a_guest_sends_is_a_request_or_a_named_error(value: Any) -> None:
    refusal: OperationError | None = None
    request = OutgoingRequest("", "")
    try:
        request = parse(value)
    except OperationError as error:
        refusal = error
    named = (OperationErrorCode.INVALID_ARGUMENT, OperationErrorCode.CLOSED_STREAM)
    assert refusal is None or refusal.code in named
    for name, text in request.headers:
        assert name == name.lower()
        assert name not in HOP_BY_HOP
        assert not {0, 10, 13} & set(name + text)


class Source:
    closed = False

    async def read(self) -> bytes:
        return b""

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("body", "inline"),
    [
        (None, None),
        (b"", b""),
        (b"x" * 65_536, b"x" * 65_536),
        (BytesSource(b"x"), b"x"),
    ],
    ids=["none", "empty", "64 KiB", "complete source"],
)
def test_complete_small_body_is_inline(body: Any, inline: bytes | None) -> None:
    event = MemoryEvent()
    value = response_value(event, Response(204, ((b"a", b"b"), (b"c", b"\xff")), body))
    assert value.pop("body", None) == inline
    assert value == {"status": 204, "headers": [["a", "b"], ["c", b"\xff"]]}
    assert event.streams == {}


@pytest.mark.parametrize("body", [b"x" * 65_537, BytesSource(b"x" * 65_537), Source()], ids=type)
def test_large_or_coming_body_is_a_stream(body: Any) -> None:
    event = MemoryEvent()
    value = response_value(event, Response(200, (), body))
    assert set(value) == {"status", "headers", "body_stream"}
    assert value["body_stream"] in event.streams


def test_body_is_let_go_when_it_can_not_be_lent() -> None:
    class Full(MemoryEvent):
        def lend_stream(self, source: object) -> int:
            raise OperationError(OperationErrorCode.LIMIT_EXCEEDED, "too many streams")

    source = Source()
    with pytest.raises(OperationError):
        response_value(Full(), Response(200, (), source))
    assert source.closed
