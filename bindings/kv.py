"""KV: what a guest may ask of a namespace, and the rules that the control API shares.

Source of rules and limits: Cloudflare's Workers KV, but for its one write a second and key, which comes from how
it spreads writes: here they are ordered by one database, and as many as that bears are taken. Up to 64 KiB a value
travels in the reply, above it as a stream, and above 1 MiB it is never held whole.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeVar, cast

from bindings.arguments import (
    check_count,
    decode_json,
    encode_json,
    invalid,
    parse_int,
    parse_options,
    parse_str,
    type_name,
    utf8_size,
)
from bindings.failures import broken_stream, unavailable
from bindings.large_values import LARGE_VALUES, LargeValue, StoredValue, Upload
from model.capabilities import (
    GuestEvent,
    KvEntry,
    KvLargeEntry,
    KvNamespace,
    KvPage,
    KvWritten,
    OperationResult,
)
from model.clock import unix_s
from model.errors import OperationError, OperationErrorCode, UpstreamError
from model.messages import StreamClosed
from storage.database import StorageError
from storage.kv_protocol import CACHE_TTL_S, KvStorage

T = TypeVar("T")

KEY_BYTES: Final = 512
VALUE_BYTES: Final = 25 << 20
METADATA_BYTES: Final = 1024
#: An expiration nearer than this is refused, as elsewhere: it would be gone before it had spread.
LEAST_TTL_S: Final = 60
#: Year 9999: JSON and every guest can hold it.
MOST_EXPIRATION_S: Final = 253_402_300_799
LIST_LIMIT: Final = 1000
GET_MANY_KEYS: Final = 100
#: All values of one get_many together.
GET_MANY_BYTES: Final = VALUE_BYTES
INLINE_BYTES: Final = 64 * 1024
#: A reply holds at most 1 MiB; values of a get_many beyond this much together are streams.
INLINE_BYTES_TOGETHER: Final = 256 * 1024
CURSOR_BYTES: Final = 1024
LEAST_CACHE_TTL_S: Final = 30
LEAST_INTEGER, MOST_INTEGER = -(1 << 63), (1 << 63) - 1

_GET_OPTIONS: Final = frozenset({"cache_ttl"})
_PUT_OPTIONS: Final = frozenset({"expiration", "expiration_ttl", "metadata"})
_LIST_OPTIONS: Final = frozenset({"prefix", "limit", "cursor"})


class StoredKvNamespace:
    """A KvNamespace over the store: the namespace that a binding names."""

    __slots__ = ("_namespace_id", "_store")

    def __init__(self, store: KvStorage, namespace_id: str) -> None:
        self._store = store
        self._namespace_id = namespace_id

    def get(self, key: str, cache_ttl_s: int = CACHE_TTL_S) -> KvEntry | Awaitable[KvEntry | None] | None:
        return self._store.get(self._namespace_id, key, cache_ttl_s)

    def open(self, key: str, cache_ttl_s: int = CACHE_TTL_S) -> KvEntry | Awaitable[KvWritten | None] | None:
        return self._store.open(self._namespace_id, key, cache_ttl_s)

    def get_many(
        self, keys: Sequence[str], max_bytes: int
    ) -> Mapping[str, KvEntry] | Awaitable[Mapping[str, KvEntry]]:
        return self._store.get_many(self._namespace_id, keys, max_bytes)

    async def put(self, key: str, entry: KvWritten) -> None:
        await self._store.put(self._namespace_id, key, entry)

    async def delete(self, key: str) -> None:
        await self._store.delete(self._namespace_id, key)

    async def increment(self, key: str, delta: int) -> int:
        return await self._store.increment(self._namespace_id, key, delta)

    async def compare_and_swap(self, key: str, expected: bytes | None, entry: KvWritten) -> bool:
        return await self._store.compare_and_swap(self._namespace_id, key, expected, entry)

    async def list(self, prefix: str, limit: int, cursor: str | None) -> KvPage:
        return await self._store.list(self._namespace_id, prefix, limit, cursor)


# Rules that the control API shares. Each raises OperationError(invalid_argument | limit_exceeded).


def parse_key(value: object) -> str:
    """A key: 1 to 512 bytes of UTF-8, not "." or ".."."""
    if not isinstance(value, str):
        invalid(f"key: {type_name(value)}; a string is right")
    if value in ("", ".", ".."):
        invalid(f"key: {value!r} can't be a key; 1 to {KEY_BYTES} bytes of UTF-8, not '.' or '..', are right")
    size = utf8_size("key", value)
    if size > KEY_BYTES:
        _too_large(f"key: {size} bytes of UTF-8", KEY_BYTES)
    return value


def check_value_size(size: int) -> None:
    """`size` in bytes."""
    if size > VALUE_BYTES:
        _too_large(f"value: {size} bytes", VALUE_BYTES)


def parse_metadata(value: object) -> str | None:
    """Any JSON value → its text, at most 1,024 bytes of it; nil → None."""
    if value is None:
        return None
    text = encode_json("metadata", value)
    size = len(text.encode())
    if size > METADATA_BYTES:
        _too_large(f"metadata: {size} bytes of JSON", METADATA_BYTES)
    return text


def parse_expiration(expiration: object, expiration_ttl: object, now_s: float) -> int | None:
    """Either form → UNIX seconds, at least 60 s from `now_s`; `expiration_ttl` wins; None for neither."""
    if expiration_ttl is not None:
        now = math.ceil(now_s)
        return now + parse_int("expiration_ttl", expiration_ttl, LEAST_TTL_S, MOST_EXPIRATION_S - now)
    if expiration is None:
        return None
    at = parse_int("expiration", expiration, 0, MOST_EXPIRATION_S)
    if at < now_s + LEAST_TTL_S:
        invalid(
            f"expiration: {at} is less than {LEAST_TTL_S} s after now ({int(now_s)}); UNIX seconds from"
            f" {math.ceil(now_s) + LEAST_TTL_S} on are right"
        )
    return at


def parse_limit(value: object) -> int:
    """How many keys a page may hold: 1 to 1,000, which is also the default."""
    return LIST_LIMIT if value is None else parse_int("limit", value, 1, LIST_LIMIT)


# The operations: docs/bindings.md gives their shapes.


def kv_get(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    check_count("kv.get", args, 1, 2, "key, options?")
    ttl_s = _cache_ttl("kv.get", args[1]) if len(args) == 2 else CACHE_TTL_S
    try:
        found = cast("KvNamespace", lent).open(parse_key(args[0]), ttl_s)
    except StorageError as error:
        raise unavailable(error) from error
    if found is None:
        return None
    if isinstance(found, KvEntry):
        return _entry_value(event, found, INLINE_BYTES)
    return _get_later(event, found)


def kv_get_many(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    check_count("kv.get_many", args, 1, 2, "keys, options?")
    if len(args) == 2:
        _cache_ttl("kv.get_many", args[1])
    wanted = args[0]
    if not isinstance(wanted, list | tuple) or not 1 <= len(wanted) <= GET_MANY_KEYS:
        invalid(f"keys: an array of 1 to {GET_MANY_KEYS} keys is right")
    keys = list(dict.fromkeys([parse_key(key) for key in wanted]))
    try:
        found = cast("KvNamespace", lent).get_many(keys, GET_MANY_BYTES)
    except StorageError as error:
        raise unavailable(error) from error
    if isinstance(found, Mapping):
        return _entries_value(event, keys, found)
    return _get_many_later(event, keys, found)


async def kv_put(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("kv.put", args, 2, 3, "key, value, options?")
    key = parse_key(args[0])
    options = args[2] if len(args) == 3 else None
    await _write("kv.put", event, args[1], options, lambda entry: cast("KvNamespace", lent).put(key, entry))
    return None


async def kv_compare_and_swap(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("kv.compare_and_swap", args, 3, 4, "key, expected, value, options?")
    key, expected = parse_key(args[0]), args[1]
    if expected is not None:
        if not isinstance(expected, bytes | str):
            invalid(f"expected: {type_name(expected)}; bytes, a string, or nil for no value is right")
        expected = _inline_value(expected)
    swap = cast("KvNamespace", lent).compare_and_swap
    options = args[3] if len(args) == 4 else None
    return await _write(
        "kv.compare_and_swap", event, args[2], options, lambda entry: swap(key, expected, entry)
    )


async def kv_increment(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("kv.increment", args, 1, 2, "key, delta?")
    key = parse_key(args[0])
    delta = parse_int("delta", args[1], LEAST_INTEGER, MOST_INTEGER) if len(args) == 2 else 1
    try:
        return await cast("KvNamespace", lent).increment(key, delta)
    except StorageError as error:
        raise unavailable(error) from error


async def _write(
    operation: str,
    event: GuestEvent,
    given: object,
    options: object,
    write: Callable[[KvWritten], Awaitable[T]],
) -> T:
    """What `write` answers for the entry that a guest gave."""
    wanted = parse_options(operation, options, _PUT_OPTIONS)
    metadata = parse_metadata(wanted.get("metadata"))
    expiration = parse_expiration(wanted.get("expiration"), wanted.get("expiration_ttl"), unix_s())
    upload = Upload(LARGE_VALUES)
    try:
        if isinstance(given, bytes | str):
            return await write(KvEntry(_inline_value(given), metadata, expiration))
        await _read_value(event, given, upload)
        value = await upload.value()
        if isinstance(value, bytes):
            return await write(KvEntry(value, metadata, expiration))
        return await write(KvLargeEntry(value, metadata, expiration))
    except StorageError as error:
        raise unavailable(error) from error
    finally:
        upload.close()


async def kv_delete(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("kv.delete", args, 1, 1, "key")
    try:
        await cast("KvNamespace", lent).delete(parse_key(args[0]))
    except StorageError as error:
        raise unavailable(error) from error
    return None


async def kv_list(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("kv.list", args, 0, 1, "options?")
    options = parse_options("kv.list", args[0] if args else None, _LIST_OPTIONS)
    prefix = options.get("prefix")
    prefix = "" if prefix is None else parse_str("prefix", prefix, KEY_BYTES)
    limit = parse_limit(options.get("limit"))
    cursor = options.get("cursor")
    if cursor is not None:
        cursor = parse_str("cursor", cursor, CURSOR_BYTES)
    try:
        page = await cast("KvNamespace", lent).list(prefix, limit, cursor)
    except StorageError as error:
        raise unavailable(error) from error
    keys: list[dict[str, Any]] = []
    for key in page.keys:
        row: dict[str, Any] = {"name": key.name}
        if key.expiration is not None:
            row["expiration"] = key.expiration
        if key.metadata is not None:
            row["metadata"] = decode_json(key.metadata)
        keys.append(row)
    result: dict[str, Any] = {"keys": keys, "list_complete": page.cursor is None}
    if page.cursor is not None:
        result["cursor"] = page.cursor
    return result


def _cache_ttl(operation: str, value: object) -> int:
    ttl = parse_options(operation, value, _GET_OPTIONS).get("cache_ttl")
    return CACHE_TTL_S if ttl is None else parse_int("cache_ttl", ttl, LEAST_CACHE_TTL_S, MOST_EXPIRATION_S)


async def _get_later(event: GuestEvent, found: Awaitable[KvWritten | None]) -> object:
    try:
        entry = await found
    except StorageError as error:
        raise unavailable(error) from error
    return None if entry is None else _entry_value(event, entry, INLINE_BYTES)


async def _get_many_later(
    event: GuestEvent, keys: Sequence[str], found: Awaitable[Mapping[str, KvEntry]]
) -> object:
    try:
        entries = await found
    except StorageError as error:
        raise unavailable(error) from error
    return _entries_value(event, keys, entries)


def _entry_value(event: GuestEvent, entry: KvWritten, inline_bytes: int) -> dict[str, Any]:
    metadata = None if entry.metadata is None else decode_json(entry.metadata)
    if isinstance(entry, KvLargeEntry):
        return {
            "value_stream": event.lend_stream(StoredValue(entry.value)),
            "size": entry.size,
            "metadata": metadata,
            "expiration": entry.expiration,
        }
    if len(entry.value) <= inline_bytes:
        return {"value": entry.value, "metadata": metadata, "expiration": entry.expiration}
    stream = event.lend_stream(LargeValue(entry.value, LARGE_VALUES))
    return {
        "value_stream": stream,
        "size": len(entry.value),
        "metadata": metadata,
        "expiration": entry.expiration,
    }


def _entries_value(event: GuestEvent, keys: Sequence[str], entries: Mapping[str, KvEntry]) -> dict[str, Any]:
    room = INLINE_BYTES_TOGETHER
    result: dict[str, Any] = {}
    for key in keys:
        entry = entries.get(key)
        if entry is None:
            result[key] = None
            continue
        result[key] = _entry_value(event, entry, min(INLINE_BYTES, room))
        if "value" in result[key]:
            room -= len(entry.value)
    return result


def _inline_value(value: bytes | str) -> bytes:
    """A string is kept as UTF-8."""
    if isinstance(value, bytes):
        check_value_size(len(value))
        return value
    check_value_size(utf8_size("value", value))
    return value.encode()


async def _read_value(event: GuestEvent, value: object, upload: Upload) -> None:
    """`{stream: id}`, to its end: at most 25 MiB of it."""
    if not isinstance(value, dict) or set(value) != {"stream"}:
        invalid(f"value: {type_name(value)}; bytes, a string or a map {{stream: id}} is right")
    source = event.borrow_stream(value["stream"])
    try:
        while chunk := await source.read():
            check_value_size(upload.size + len(chunk))
            await upload.add(chunk)
    except (StreamClosed, UpstreamError) as error:
        raise broken_stream(error) from error
    finally:
        source.close()


def _too_large(what: str, most: int) -> NoReturn:
    raise OperationError(OperationErrorCode.LIMIT_EXCEEDED, f"{what}; at most {most} are allowed")
