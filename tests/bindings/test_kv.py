"""What a guest may ask of KV: each limit at both edges, each error by name, each result in its shape.

The operations run over the in-memory namespace, which tests/contracts holds to SQLite's behaviour.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any

import pytest

from bindings.kv import parse_expiration
from bindings.memory import MemoryEvent, MemoryKvNamespace
from bindings.operations import OPERATIONS
from model.capabilities import KvEntry, KvWritten
from model.clock import unix_s
from model.errors import OperationError, OperationErrorCode, UpstreamError
from model.messages import BytesSource, StreamClosed
from storage.kv_protocol import CACHE_TTL_S

INVALID = OperationErrorCode.INVALID_ARGUMENT
LIMIT = OperationErrorCode.LIMIT_EXCEEDED
MIB = 1 << 20


class Kv:
    def __init__(self) -> None:
        self.namespace = MemoryKvNamespace()
        self.event = MemoryEvent()

    async def __call__(self, name: str, *args: object) -> Any:
        result = OPERATIONS[f"kv.{name}"].run(self.event, self.namespace, args)
        return await result if inspect.isawaitable(result) else result


@pytest.fixture
def kv() -> Kv:
    return Kv()


class Chunks:
    """A ByteSource of these chunks, then an error if there is one."""

    def __init__(self, *chunks: bytes, error: Exception | None = None) -> None:
        self.chunks = list(chunks)
        self.error = error
        self.closed = False

    async def read(self) -> bytes:
        if self.chunks:
            return self.chunks.pop(0)
        if self.error is not None:
            raise self.error
        return b""

    def close(self) -> None:
        self.closed = True


async def test_absent_key_answers_nil_without_waiting(kv: Kv) -> None:
    assert OPERATIONS["kv.get"].run(kv.event, kv.namespace, ["k"]) is None


async def test_value_answers_in_its_shape_without_waiting(kv: Kv) -> None:
    expiration = int(unix_s()) + 100
    await kv("put", "k", b"v", {"metadata": {"a": [1, None, "ä"]}, "expiration": expiration})
    assert OPERATIONS["kv.get"].run(kv.event, kv.namespace, ["k"]) == {
        "value": b"v",
        "metadata": {"a": [1, None, "ä"]},
        "expiration": expiration,
    }


@pytest.mark.parametrize(("size", "inline"), [(65_536, True), (65_537, False)])
async def test_above_64_kib_a_value_is_a_stream(kv: Kv, size: int, inline: bool) -> None:
    await kv("put", "k", b"v" * size)
    result = await kv("get", "k")
    if inline:
        assert result["value"] == b"v" * size
        return
    assert set(result) == {"value_stream", "size", "metadata", "expiration"}
    assert result["size"] == size
    assert await kv.event.borrow_stream(result["value_stream"]).read() == b"v" * size


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("k", None),
        ("k" * 512, None),
        ("k" * 513, LIMIT),
        ("ä" * 256, None),  # 512 bytes
        ("ä" * 256 + "k", LIMIT),  # bytes are counted, not characters
        ("...", None),
        ("", INVALID),
        (".", INVALID),
        ("..", INVALID),
        (b"k", INVALID),
        (None, INVALID),
        (7, INVALID),
        (["k"], INVALID),
        ("\ud800", INVALID),
    ],
)
@pytest.mark.parametrize("operation", ["get", "get_many", "put", "delete", "increment", "compare_and_swap"])
async def test_key_rules(kv: Kv, operation: str, key: object, code: OperationErrorCode | None) -> None:
    args: list[object] = [[key]] if operation == "get_many" else [key]
    more: dict[str, list[object]] = {"put": [b"v"], "compare_and_swap": [None, b"v"]}
    args += more.get(operation, [])
    if code is None:
        await kv(operation, *args)
        return
    with pytest.raises(OperationError, match="key") as caught:
        await kv(operation, *args)
    assert caught.value.code is code


@pytest.mark.parametrize(("size", "refused"), [(25 * MIB, False), (25 * MIB + 1, True)])
@pytest.mark.parametrize("form", ["bytes", "stream"])
async def test_value_limit(kv: Kv, form: str, size: int, refused: bool) -> None:
    value: object = b"v" * size
    if form == "stream":
        value = {"stream": kv.event.lend_stream(Chunks(b"v" * (size - 5), b"v" * 5))}
    if not refused:
        await kv("put", "k", value)
        assert len(kv.namespace.entries[b"k"].value) == size
        return
    with pytest.raises(OperationError, match="26214400") as caught:
        await kv("put", "k", value)
    assert caught.value.code is LIMIT
    assert not kv.namespace.entries


@pytest.mark.parametrize(
    ("value", "stored"), [(b"\xff", b"\xff"), ("ä", "ä".encode()), ("", b""), (b"", b"")]
)
async def test_string_is_stored_as_utf8(kv: Kv, value: object, stored: bytes) -> None:
    await kv("put", "k", value)
    assert (await kv("get", "k"))["value"] == stored


@pytest.mark.parametrize("value", [None, 1, [b"v"], {}, {"stream": 1, "x": 2}, {"stream": "1"}, "\udfff"])
async def test_value_of_another_type_is_refused(kv: Kv, value: object) -> None:
    with pytest.raises(OperationError) as caught:
        await kv("put", "k", value)
    assert caught.value.code is INVALID


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StreamClosed("the visitor left"), OperationErrorCode.CLOSED_STREAM),
        (UpstreamError("reset"), OperationErrorCode.UPSTREAM_FAILED),
    ],
)
async def test_stream_that_breaks_off_writes_nothing_and_is_closed(
    kv: Kv, error: Exception, code: OperationErrorCode
) -> None:
    source = Chunks(b"half", error=error)
    with pytest.raises(OperationError) as caught:
        await kv("put", "k", {"stream": kv.event.lend_stream(source)})
    assert caught.value.code is code
    assert source.closed
    assert not kv.namespace.entries


async def test_stream_is_not_taken_when_another_argument_is_wrong(kv: Kv) -> None:
    stream = kv.event.lend_stream(BytesSource(b"v"))
    with pytest.raises(OperationError):
        await kv("put", "k", {"stream": stream}, {"expiration_ttl": 1})
    await kv("put", "k", {"stream": stream})
    assert (await kv("get", "k"))["value"] == b"v"


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        (None, None),
        ("m" * 1022, None),  # and two quotes
        ("m" * 1023, LIMIT),
        ("ä" * 511, None),
        ("ä" * 512, LIMIT),
        (nested(24), None),
        (nested(25), INVALID),
        ((1 << 64) - 1, None),
        (1 << 64, INVALID),
        (-(1 << 63), None),
        (-(1 << 63) - 1, INVALID),
        (float("nan"), INVALID),
        (float("inf"), INVALID),
        (b"m", INVALID),
        ({1: "m"}, INVALID),
        ({"\ud800": 1}, INVALID),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_metadata_rules(kv: Kv, metadata: object, code: OperationErrorCode | None) -> None:
    if code is None:
        await kv("put", "k", b"", {"metadata": metadata})
        assert (await kv("get", "k"))["metadata"] == metadata
        return
    with pytest.raises(OperationError, match="metadata") as caught:
        await kv("put", "k", b"", {"metadata": metadata})
    assert caught.value.code is code


async def test_metadata_nested_beyond_the_stack_is_refused_by_name(kv: Kv) -> None:
    with pytest.raises(OperationError, match="nested"):
        await kv("put", "k", b"", {"metadata": nested(100_000)})


@pytest.mark.parametrize(
    ("expiration", "ttl", "expected"),
    [
        (None, None, None),
        (1060, None, 1060),
        (1059, None, INVALID),
        (None, 60, 1060),
        (None, 59, INVALID),
        (2000, 60, 1060),  # ttl wins
        (1, 60, 1060),  # … whatever the other says
        (253_402_300_800, None, INVALID),  # year 10000
        (None, 253_402_300_799, INVALID),
        ("1060", None, INVALID),
        (1060.0, None, INVALID),
        (True, None, INVALID),
        (None, -60, INVALID),
    ],
)
def test_expiration_rules(expiration: object, ttl: object, expected: object) -> None:
    if expected is not INVALID:
        assert parse_expiration(expiration, ttl, 1000.0) == expected
        return
    with pytest.raises(OperationError, match="expiration") as caught:
        parse_expiration(expiration, ttl, 1000.0)
    assert caught.value.code is INVALID


def test_ttl_of_60_s_is_never_less_than_60_s() -> None:
    assert parse_expiration(None, 60, 1000.2) == 1061


@pytest.mark.parametrize(
    ("operation", "args", "message"),
    [
        ("get", [], "takes"),
        ("get", ["k", None, 1], "takes"),
        ("get", ["k", {"type": "text"}], "cache_ttl"),
        ("get", ["k", {"cache_ttl": 0}], "cache_ttl"),
        ("get", ["k", {"cache_ttl": 29}], "cache_ttl: 29; an integer from 30"),
        ("get", ["k", {"cache_ttl": 253_402_300_800}], "cache_ttl"),
        ("get", ["k", {"cache_ttl": 30.0}], "cache_ttl: a float"),
        ("get_many", [["k"], {"cache_ttl": 29}], "cache_ttl: 29; an integer from 30"),
        ("get", ["k", "text"], "a map is right"),
        ("get_many", ["k"], "array"),
        ("get_many", [[]], "1 to 100"),
        ("get_many", [["k"] * 101], "1 to 100"),
        ("put", ["k"], "takes"),
        ("put", ["k", b"v", {"ttl": 60}], "'ttl' is unknown"),
        ("put", ["k", b"v", {1: 60}], "unknown"),
        ("delete", ["k", "l"], "takes"),
        ("increment", [], "takes"),
        ("increment", ["k", 1, 1], "takes"),
        ("increment", ["", 1], "key"),
        ("increment", ["k", 1.0], "delta: a float"),
        ("increment", ["k", True], "delta: a boolean"),
        ("increment", ["k", None], "delta: nil"),
        ("increment", ["k", 1 << 63], "delta"),
        ("increment", ["k", -(1 << 63) - 1], "delta"),
        ("compare_and_swap", ["k", None], "takes"),
        ("compare_and_swap", ["k", None, b"v", None, 1], "takes"),
        ("compare_and_swap", ["", None, b"v"], "key"),
        ("compare_and_swap", ["k", 1, b"v"], "expected: an integer"),
        ("compare_and_swap", ["k", {"stream": 1}, b"v"], "expected: a map"),
        ("compare_and_swap", ["k", "\ud800", b"v"], "surrogate"),
        ("compare_and_swap", ["k", None, None], "value: nil"),
        ("compare_and_swap", ["k", None, b"v", {"expiration_ttl": 59}], "expiration_ttl: 59"),
        ("list", [{"limit": 0}], "limit"),
        ("list", [{"limit": 1001}], "limit"),
        ("list", [{"prefix": b"a"}], "prefix"),
        ("list", [{"prefix": "k" * 513}], "prefix"),
        ("list", [{"cursor": 1}], "cursor"),
        ("list", [{"cursor": ""}], "cursor"),
        ("list", [{"cursor": "c" * 1025}], "cursor"),
        ("list", [{"prefix": ""}, 1], "takes"),
    ],
)
async def test_wrong_argument_is_named(kv: Kv, operation: str, args: list[object], message: str) -> None:
    with pytest.raises(OperationError, match=message) as caught:
        await kv(operation, *args)
    assert caught.value.code is INVALID


class AskedNamespace(MemoryKvNamespace):
    """Remembers how old a value each read allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def open(self, key: str, cache_ttl_s: int = CACHE_TTL_S) -> KvEntry | Awaitable[KvWritten | None] | None:
        self.asked.append(cache_ttl_s)
        return super().open(key, cache_ttl_s)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"cache_ttl": 30}, 30),
        ({"cache_ttl": 253_402_300_799}, 253_402_300_799),
        ({"cache_ttl": None}, CACHE_TTL_S),
        (None, CACHE_TTL_S),
    ],
)
async def test_a_cache_ttl_from_30_s_on_is_what_the_store_is_asked_with(
    kv: Kv, options: object, asked: int
) -> None:
    namespace = kv.namespace = AskedNamespace()
    assert await kv("get", "k", options) is None
    assert namespace.asked == [asked]
    assert await kv("get_many", ["k"], options) == {"k": None}


MOST, LEAST = (1 << 63) - 1, -(1 << 63)


@pytest.mark.parametrize(
    ("held", "delta", "total"),
    [
        (None, (), 1),
        (None, (MOST,), MOST),
        (None, (LEAST,), LEAST),
        (MOST - 1, (1,), MOST),
        (MOST, (1,), None),
        (MOST, (LEAST,), -1),
        (LEAST + 1, (-1,), LEAST),
        (LEAST, (-1,), None),
        (1, (MOST,), None),
    ],
)
async def test_increment_ends_where_64_bits_do(
    kv: Kv, held: int | None, delta: tuple[int, ...], total: int | None
) -> None:
    if held is not None:
        await kv("put", "k", str(held))
    if total is not None:
        assert await kv("increment", "k", *delta) == total
        assert (await kv("get", "k"))["value"] == b"%d" % total
        return
    with pytest.raises(OperationError) as caught:
        await kv("increment", "k", *delta)
    assert caught.value.code is INVALID
    assert (await kv("get", "k"))["value"] == str(held).encode()


async def test_compare_and_swap_says_whether_it_wrote(kv: Kv) -> None:
    expiration = int(unix_s()) + 100
    assert await kv("compare_and_swap", "k", None, "ä") is True
    assert await kv("compare_and_swap", "k", None, b"w") is False
    assert await kv("compare_and_swap", "k", b"w", b"w") is False
    options = {"metadata": [1], "expiration": expiration}
    assert await kv("compare_and_swap", "k", "ä", b"w", options) is True
    assert await kv("get", "k") == {"value": b"w", "metadata": [1], "expiration": expiration}
    stream = kv.event.lend_stream(Chunks(b"s", b"t"))
    assert await kv("compare_and_swap", "k", b"w", {"stream": stream}) is True
    assert (await kv("get", "k"))["value"] == b"st"


@pytest.mark.parametrize(("size", "refused"), [(25 * MIB, False), (25 * MIB + 1, True)])
@pytest.mark.parametrize("argument", ["expected", "value", "stream"])
async def test_a_swap_compares_and_writes_at_most_a_value(
    kv: Kv, argument: str, size: int, refused: bool
) -> None:
    await kv("put", "k", b"v" * (25 * MIB if argument == "expected" else 1))
    expected, value = b"v", b"w" * size
    args: list[object] = [expected, value]
    if argument == "expected":
        args = [b"v" * size, b"w"]
    elif argument == "stream":
        args = [expected, {"stream": kv.event.lend_stream(Chunks(value[:-5], value[-5:]))}]
    if not refused:
        assert await kv("compare_and_swap", "k", *args) is True
        assert kv.namespace.entries[b"k"].value.startswith(b"w")
        return
    with pytest.raises(OperationError, match="26214400") as caught:
        await kv("compare_and_swap", "k", *args)
    assert caught.value.code is LIMIT
    assert kv.namespace.entries[b"k"].value.startswith(b"v")


async def test_get_many_answers_every_key_asked_for(kv: Kv) -> None:
    await kv("put", "a", b"1")
    assert await kv("get_many", ["a", "b", "a"]) == {
        "a": {"value": b"1", "metadata": None, "expiration": None},
        "b": None,
    }


async def test_get_many_keeps_its_reply_small_by_streams(kv: Kv) -> None:
    keys = [f"k{number}" for number in range(10)]
    for key in keys:
        await kv("put", key, b"v" * 60_000)
    result = await kv("get_many", keys)
    inline = [key for key in keys if "value" in result[key]]
    assert len(inline) == 4  # 240,000 of 262,144 bytes
    for key in set(keys) - set(inline):
        assert await kv.event.borrow_stream(result[key]["value_stream"]).read() == b"v" * 60_000


async def test_get_many_is_at_most_25_mib(kv: Kv) -> None:
    await kv("put", "a", b"v" * 20 * MIB)
    await kv("put", "b", b"v" * 6 * MIB)
    with pytest.raises(OperationError) as caught:
        await kv("get_many", ["a", "b"])
    assert caught.value.code is LIMIT


async def test_list_pages_by_cursor(kv: Kv) -> None:
    expiration = int(unix_s()) + 100
    await kv("put", "p1", b"", {"metadata": 1, "expiration": expiration})
    await kv("put", "p2", b"")
    await kv("put", "x", b"")
    first = await kv("list", {"prefix": "p", "limit": 1})
    assert first == {
        "keys": [{"name": "p1", "metadata": 1, "expiration": expiration}],
        "list_complete": False,
        "cursor": first["cursor"],
    }
    second = await kv("list", {"prefix": "p", "limit": 1, "cursor": first["cursor"]})
    assert second == {"keys": [{"name": "p2"}], "list_complete": True}
    assert [key["name"] for key in (await kv("list"))["keys"]] == ["p1", "p2", "x"]
