"""Whatever bytes a guest hands over, the host gets a value of the declared shape or AbiViolation."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.errors import OperationError, OperationErrorCode
from model.messages import Client, IncomingRequest
from runtime.abi.core_module import codec
from runtime.abi.core_module import values as abi_values
from runtime.abi.core_module.calls import CALL_OPERATIONS, Call, decode_call, encode_reply, encode_result
from runtime.abi.core_module.codec import (
    RESPONSE_BYTES,
    STRUCTURE_BYTES,
    GuestException,
    GuestResponse,
    decode_answer,
    decode_response,
    encode_request,
)
from runtime.abi.core_module.guest_headers import decode_headers
from runtime.abi.core_module.values import NESTING, encode
from runtime.capi.guest import AbiViolation

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.binary(), inner), max_leaves=20
)
fields = st.dictionaries(
    st.sampled_from(
        [
            "ops",
            "wait",
            "timeout_ms",
            "cancel",
            "status",
            "headers",
            "body",
            "body_stream",
            "error",
            "continue",
        ]
    ),
    values,
)


def pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def nested(depth: int) -> object:
    value: object = None
    for _ in range(depth):
        value = [value]
    return value


@given(st.binary() | values.map(pack) | fields.map(pack))
@example(b"\xc1")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\x91" * 100_000 + b"\xc0")
@example(b"\x81\xa1\xff\xc0")  # a str that is no UTF-8
@example(b"\x81\x01\x02")  # a map whose key is a number
@example(b"\x81\x91\xc0\x02")  # … or an array
@example(b"\xc0\xc0")  # two values
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_value_or_a_violation(data: bytes) -> None:
    try:
        assert isinstance(decode_call(data), Call)
    except AbiViolation:
        pass
    try:
        assert isinstance(decode_response(data), GuestResponse)
    except (AbiViolation, GuestException):
        pass
    try:
        decode_answer(data)
    except (AbiViolation, GuestException):
        pass


@given(values)
@settings(max_examples=100, deadline=None)
def test_values_survive_the_way_there_and_back(value: Any) -> None:
    assert abi_values.decode(encode(value), "value") == value


def test_nesting_of_32_passes_and_of_33_does_not() -> None:
    assert abi_values.decode(pack(nested(NESTING)), "value") == nested(32)
    with pytest.raises(AbiViolation, match="deeper than 32"):
        abi_values.decode(pack(nested(NESTING + 1)), "value")
    with pytest.raises(AbiViolation, match="deeper than 32"):
        abi_values.decode(pack({"deep": nested(NESTING)}), "value")


@pytest.mark.parametrize("code", [-1, 0, 1, 42, 127])
@pytest.mark.parametrize("size", [1, 4, 8, 12])
def test_extension_types_are_refused_wherever_they_are(code: int, size: int) -> None:
    extension = msgpack.ExtType(code, b"\0" * size) if code >= 0 else None
    raw = b"\xc7" + bytes([size, code & 0xFF]) + b"\0" * size if extension is None else pack(extension)
    for data in (raw, b"\x91" + raw, b"\x81\xa1a" + raw, b"\x81" + raw + b"\xc0"):
        with pytest.raises(AbiViolation):
            abi_values.decode(data, "value")


def test_call_of_64_operations_passes_and_of_65_does_not() -> None:
    ops = [[i, "sleep", None, 0] for i in range(CALL_OPERATIONS)]
    assert len(decode_call(pack({"ops": ops})).ops) == 64
    with pytest.raises(AbiViolation, match="64"):
        decode_call(pack({"ops": [*ops, [64, "sleep", None, 0]]}))


def test_call_is_read_with_its_defaults() -> None:
    call = decode_call(pack({"ops": [[1, "sleep"], [2, "kv.get", "B", "key", {"a": 1}]]}))
    assert call.ops == [(1, "sleep", None, []), (2, "kv.get", "B", ["key", {"a": 1}])]
    assert (call.wait, call.timeout_ms, call.cancel) == ("all", None, [])
    assert decode_call(pack({})).ops == []


@pytest.mark.parametrize(
    "bad",
    [
        [],
        "ops",
        {"ops": {}},
        {"ops": [1]},
        {"ops": [[]]},
        {"ops": [[1]]},
        {"ops": [["1", "sleep"]]},
        {"ops": [[True, "sleep"]]},
        {"ops": [[1.0, "sleep"]]},
        {"ops": [[None, "sleep"]]},
        {"ops": [[1, b"sleep"]]},
        {"ops": [[1, 7]]},
        {"wait": "some"},
        {"wait": None},
        {"wait": ["all"]},
        {"timeout_ms": -1},
        {"timeout_ms": 1.5},
        {"timeout_ms": True},
        {"timeout_ms": "1"},
        {"cancel": 1},
        {"cancel": ["1"]},
        {"cancel": [False]},
    ],
)
def test_malformed_call_is_a_violation(bad: object) -> None:
    with pytest.raises(AbiViolation, match="call: "):
        decode_call(pack(bad))


def test_response_is_read_with_its_defaults() -> None:
    response = decode_response(pack({}))
    assert (response.status, response.headers, response.body, response.body_stream) == (200, [], b"", None)
    response = decode_response(
        pack({"status": 404, "body": "ü", "headers": [["X-A", "1"], ["x-a", b"\xff"]]})
    )
    assert response.body == "ü".encode()
    assert response.headers == [(b"x-a", b"1"), (b"x-a", b"\xff")]
    assert decode_response(pack({"body_stream": 3})).body_stream == 3


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        7,
        {"status": "200"},
        {"status": True},
        {"status": 200.0},
        {"body": 7},
        {"body": []},
        {"body_stream": "1"},
        {"body_stream": True},
        {"body_stream": 1, "body": b""},
        {"headers": {}},
        {"headers": ["a"]},
        {"headers": [["a"]]},
        {"headers": [["a", "b", "c"]]},
        {"headers": [[b"a", "b"]]},
        {"headers": [["a", 1]]},
        {"headers": [["a", None]]},
    ],
)
def test_malformed_response_is_a_violation(bad: object) -> None:
    with pytest.raises(AbiViolation):
        decode_response(pack(bad))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ({"code": "oops", "message": "all gone"}, "oops: all gone"),
        ({"code": 5}, "5: None"),
        ("words", "words"),
        (None, "None"),
        ({"code": "c" * 1000, "message": "m" * 10_000}, f"{'c' * 100}: {'m' * 2000}"),
    ],
)
@pytest.mark.parametrize("read", [decode_response, decode_answer])
def test_returned_error_is_an_exception_of_the_worker(error: object, text: str, read: Any) -> None:
    with pytest.raises(GuestException) as caught:
        read(pack({"error": error}))
    assert str(caught.value) == text


def test_large_response_is_large_by_its_body_only() -> None:
    body = b"x" * (RESPONSE_BYTES - 1024)
    assert decode_response(pack({"status": 200, "body": body})).body == body
    small = decode_response(pack({"body": body, "headers": [["a", "b" * 100]] * 100}))
    assert len(small.headers) == 100
    large: list[object] = [
        [[]] * STRUCTURE_BYTES,
        {str(i): None for i in range(STRUCTURE_BYTES // 4)},
        [[["a", "b"]] * (STRUCTURE_BYTES // 5)],
    ]
    for value in large:
        with pytest.raises(AbiViolation, match="beside its body"):
            decode_response(pack({"headers": value}))
    with pytest.raises(AbiViolation, match="fields"):
        decode_response(pack({str(i): None for i in range(STRUCTURE_BYTES)}))
    for data in (b"\xdd" + b"\xff" * STRUCTURE_BYTES, pack([b"x" * STRUCTURE_BYTES]), b"\x91" * (1 << 20)):
        with pytest.raises(AbiViolation, match="no MessagePack map"):
            decode_response(data)


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (b"plain", "plain"),
        (b"", ""),
        ("ü".encode(), "ü".encode()),
        (b"\xff\x80", b"\xff\x80"),
        (b"\x7f", "\x7f"),
    ],
)
def test_header_value_is_str_when_ascii_and_bin_otherwise(value: bytes, seen: str | bytes) -> None:
    request = IncomingRequest(
        "GET", "http://a/", "a", "/", [(b"x", value)], None, None, Client("1.2.3.4", True, "r")
    )
    decoded = msgpack.unpackb(encode_request(request, {"V": "1"}, {"p": "2"}, None))
    assert decoded["headers"] == [["x", seen]]
    assert decoded["vars"] == {"V": "1"}
    assert decoded["params"] == {"p": "2"}
    assert decoded["client"] == {"ip": "1.2.3.4", "tls": True, "ray": "r"}
    assert decode_headers(decoded["headers"]) == [(b"x", value)]


@pytest.mark.parametrize("odd", [b"\0", b"a\0b", "ü".encode(), b"\xff"])
def test_an_odd_value_takes_nothing_from_its_neighbours(odd: bytes) -> None:
    headers = [(b"a", b"1"), (b"odd", odd), (b"b", b""), (b"c", b"3")]
    request = IncomingRequest("GET", "http://a/", "a", "/", headers, None, None, Client("", False, ""))
    sent = msgpack.unpackb(encode_request(request, {}, {}, None))["headers"]
    assert sent == [["a", "1"], ["odd", codec.header_value(odd)], ["b", ""], ["c", "3"]]


def test_request_has_a_body_or_a_stream_or_neither() -> None:
    def request(body: bytes | None) -> IncomingRequest:
        return IncomingRequest("GET", "http://a/", "a", "/", [], body, None, Client("", False, ""))

    assert msgpack.unpackb(encode_request(request(b""), {}, {}, None))["body"] == b""
    assert "body" not in msgpack.unpackb(encode_request(request(None), {}, {}, None))
    with_stream = msgpack.unpackb(encode_request(request(None), {}, {}, 4))
    assert with_stream["body_stream"] == 4
    assert "body" not in with_stream


def test_reply_holds_results_and_errors() -> None:
    failed = OperationError(OperationErrorCode.NOT_FOUND, "no key")
    reply = encode_reply([encode_result(2**64 - 1, b"v"), encode_result(-1, failed)], 3)
    assert msgpack.unpackb(reply) == {
        "pending": 3,
        "done": [
            [2**64 - 1, {"ok": b"v"}],
            [-1, {"error": {"code": "not_found", "message": "no key"}}],
        ],
    }


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, object(), {1, 2}, 1j])
def test_value_that_messagepack_can_not_carry_is_told(value: object) -> None:
    with pytest.raises(AbiViolation, match="MessagePack"):
        encode(value)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"status": 201, "headers": [["X-Name", "v"], ["x", "ä"]], "body": b"b"},
        {"body": "text ä"},
        {"status": 404, "body": b"", "headers": []},
    ],
)
def test_a_plain_response_is_what_the_closer_look_makes_of_it(value: dict[str, object]) -> None:
    plain = decode_response(pack(value))
    assert plain == decode_response(pack(value | {"unknown": None}))  # which is passed over
    assert plain.body_stream is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"status": True}, "status"),
        ({"body": [1]}, "body"),
        ({"headers": [["a"]]}, "name, value"),
        ({"headers": [["a", 1]]}, "str or bin"),
        ({"body": msgpack.ExtType(3, b"x")}, "extension type 3"),
    ],
)
def test_a_small_wrong_response_is_refused_by_name(value: dict[str, object], why: str) -> None:
    with pytest.raises(AbiViolation, match=why):
        decode_response(pack(value))


@pytest.mark.parametrize("data", [b"\x81\xa4body" + b"\x91" * 16_000 + b"\xc0", b"\x81\xa4body\xa1\xff", b""])
def test_a_small_broken_response_is_refused(data: bytes) -> None:
    with pytest.raises(AbiViolation):
        decode_response(data)


@pytest.mark.parametrize(
    "value",
    [
        {"ops": [[1, "kv.get", "STORE", "/key"]]},
        {"ops": [[1, "kv.get", "STORE", "/key"], [-2, "sleep", None, 1.5]], "wait": "any"},
        {"ops": [[2**64 - 1, "log", None, b"\xff", True, None]], "wait": "none"},
        {"ops": [], "wait": "all"},
        {},
    ],
)
def test_a_plain_call_is_what_the_closer_look_makes_of_it(value: dict[str, object]) -> None:
    plain = decode_call(pack(value))
    assert plain == decode_call(pack(value | {"unknown": None}))  # which is passed over


@pytest.mark.parametrize(
    "op",
    [
        [1, "kv.get"],
        [1, "kv.put", "STORE", "key", "value", {"expiration_ttl": 60}],
        [1, "kv.get_many", "STORE", ["a", "b"]],
    ],
)
def test_an_unusual_call_is_read_as_well(op: list[Any]) -> None:
    identity, name, *rest = op
    binding, args = (rest[0], rest[1:]) if rest else (None, [])
    assert decode_call(pack({"ops": [op]})) == Call([(identity, name, binding, args)])


@pytest.mark.parametrize(
    "op", [[True, "kv.get", None], [1, 2, None], [1.0, "kv.get", None], ["1", "x", None], [1]]
)
def test_a_small_wrong_call_is_refused(op: list[object]) -> None:
    with pytest.raises(AbiViolation, match="an operation is"):
        decode_call(pack({"ops": [op]}))
