"""Keys and values of a KV namespace. The rules on keys, values, metadata, expirations are `bindings.kv`'s."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse

from bindings import kv as rules
from control.call import Call, Endpoint, decode_json
from control.envelope import ApiError, Code, success
from control.multipart import is_multipart, read_multipart
from control.pagination import parse_number
from control.resources.kv import NAMESPACE
from model.capabilities import KvEntry, KvLargeEntry, KvWritten, StoredBytes

_VALUE = f"{NAMESPACE}/values/{{key}}"
_BULK = f"{NAMESPACE}/bulk"
#: A value, and what a form adds to it.
_VALUE_BODY = rules.VALUE_BYTES + (64 << 10)
_BULK_BODY = 100 << 20
_BULK_KEYS = 10_000
_BULK_GET_KEYS = 100
#: One transaction of a bulk write: others wait for it.
_STEP_ENTRIES = 500
_STEP_BYTES = 4 << 20
_CURSOR_BYTES = 1_024
_PIECE_BYTES = 256 << 10
_BYTES = "application/octet-stream"


class BulkEntry(msgspec.Struct):
    key: str
    value: str
    base64: bool = False
    expiration: int | None = None
    expiration_ttl: int | None = None
    metadata: Any = None


class BulkGet(msgspec.Struct):
    keys: list[str]
    type: str = "text"
    withMetadata: bool = False


async def keys(call: Call) -> Response:
    namespace_id = _namespace(call)
    limit = parse_number(call.query, "limit", 1, rules.LIST_LIMIT, rules.LIST_LIMIT)
    prefix, cursor = call.query.get("prefix", ""), call.query.get("cursor", "")
    for name, text, most in (("prefix", prefix, rules.KEY_BYTES), ("cursor", cursor, _CURSOR_BYTES)):
        if len(text.encode()) > most:
            raise ApiError(400, Code.VALIDATION, f"{name}: longer than {most} bytes", name)
    page = await call.services.kv.list(namespace_id, prefix, limit, cursor or None)
    shown: list[dict[str, Any]] = []
    for key in page.keys:
        row: dict[str, Any] = {"name": key.name}
        if key.expiration is not None:
            row["expiration"] = key.expiration
        if key.metadata is not None:
            row["metadata"] = msgspec.Raw(key.metadata.encode())
        shown.append(row)
    return success(shown, {"count": len(shown), "cursor": page.cursor or ""})


async def get(call: Call) -> Response:
    """The bytes themselves, without envelope."""
    entry = await _entry(call)
    response: Response
    if isinstance(entry, KvLargeEntry):
        response = StreamingResponse(_pieces(entry.value), media_type=_BYTES)
        response.headers["content-length"] = str(entry.size)
    else:
        response = Response(entry.value, media_type=_BYTES)
    response.headers["x-content-type-options"] = "nosniff"
    response.headers["cache-control"] = "no-store"
    if entry.expiration is not None:
        response.headers["expiration"] = str(entry.expiration)
    return response


async def _pieces(value: StoredBytes) -> AsyncIterator[bytes]:
    try:
        for at in range(0, value.size, _PIECE_BYTES):
            yield await asyncio.to_thread(value.read_at, at, _PIECE_BYTES)
    finally:
        value.close()


async def metadata(call: Call) -> Response:
    entry = await _entry(call)
    if isinstance(entry, KvLargeEntry):
        entry.value.close()
    return success(None if entry.metadata is None else msgspec.Raw(entry.metadata.encode()))


async def put(call: Call) -> Response:
    namespace_id, key = _namespace(call), rules.parse_key(call.params["key"])
    expiration = rules.parse_expiration(
        _seconds(call, "expiration"), _seconds(call, "expiration_ttl"), call.services.now_s()
    )
    value, stored_metadata = await _value(call)
    rules.check_value_size(len(value))
    await call.services.kv.put_many(namespace_id, [(key, KvEntry(value, stored_metadata, expiration))])
    return success(None)


async def delete(call: Call) -> Response:
    await call.services.kv.delete_many(_namespace(call), [rules.parse_key(call.params["key"])])
    return success(None)


async def bulk_put(call: Call) -> Response:
    """All are checked before the first is written; then written in steps, each all or none."""
    namespace_id = _namespace(call)
    wanted = await call.json(list[BulkEntry])
    _check_count(len(wanted), _BULK_KEYS)
    entries = [_bulk_entry(call, index, entry) for index, entry in enumerate(wanted)]
    for step in _steps(entries):
        await call.services.kv.put_many(namespace_id, step)
    return success({"successful_key_count": len(entries), "unsuccessful_keys": []})


async def bulk_delete(call: Call) -> Response:
    namespace_id = _namespace(call)
    names = [rules.parse_key(key) for key in await call.json(list[str])]
    _check_count(len(names), _BULK_KEYS)
    for start in range(0, len(names), _STEP_ENTRIES):
        await call.services.kv.delete_many(namespace_id, names[start : start + _STEP_ENTRIES])
    return success({"successful_key_count": len(names), "unsuccessful_keys": []})


async def bulk_get(call: Call) -> Response:
    namespace_id = _namespace(call)
    wanted = await call.json(BulkGet)
    _check_count(len(wanted.keys), _BULK_GET_KEYS)
    if wanted.type not in ("text", "json"):
        raise ApiError(400, Code.VALIDATION, f"type: {wanted.type[:40]!r}; text or json is right", "type")
    values: dict[str, Any] = {}
    size = 0
    for key in dict.fromkeys(rules.parse_key(key) for key in wanted.keys):
        entry = await call.services.kv.get_entry(namespace_id, key)
        if entry is None:
            values[key] = None
            continue
        size += len(entry.value)
        rules.check_value_size(size)
        value: Any = entry.value.decode("utf-8", "replace")
        if wanted.type == "json":
            value = decode_json(entry.value, Any, f"keys.{key}")
        if wanted.withMetadata:
            stored = None if entry.metadata is None else msgspec.Raw(entry.metadata.encode())
            value = {"value": value, "metadata": stored}
            if entry.expiration is not None:
                value["expiration"] = entry.expiration
        values[key] = value
    return success({"values": values})


def _namespace(call: Call) -> str:
    """Raises ChangeRefused when there is no such KV namespace."""
    return call.store.kv_namespaces.get(call.params["kv"]).id


async def _entry(call: Call) -> KvWritten:
    key = rules.parse_key(call.params["key"])
    found = call.services.kv.open(_namespace(call), key)
    entry = found if found is None or isinstance(found, KvEntry) else await found
    if entry is None:
        raise ApiError(404, Code.KEY_NOT_FOUND, f"key not found: {key[:80]!r}")
    return entry


def _seconds(call: Call, name: str) -> int | None:
    text = call.query.get(name, "")
    # What is too near or too far is said by the rules, with what would be right.
    return parse_number(call.query, name, 0, 10**17, 0) if text else None


async def _value(call: Call) -> tuple[bytes, str | None]:
    if not is_multipart(call):
        return await call.body(), None
    parts = {part.name: part.data for part in await read_multipart(call)}
    if "value" not in parts:
        raise ApiError(400, Code.BODY, "value: no part of this name; one with the bytes is right", "value")
    text = parts.get("metadata", b"")
    return parts["value"], rules.parse_metadata(decode_json(text, Any, "metadata")) if text else None


def _bulk_entry(call: Call, index: int, wanted: BulkEntry) -> tuple[str, KvEntry]:
    value = wanted.value.encode()
    if wanted.base64:
        try:
            value = base64.b64decode(value, validate=True)
        except binascii.Error:
            raise ApiError(
                400, Code.VALIDATION, f"[{index}].value: this is not base64", f"[{index}].value"
            ) from None
    rules.check_value_size(len(value))
    expiration = rules.parse_expiration(wanted.expiration, wanted.expiration_ttl, call.services.now_s())
    return rules.parse_key(wanted.key), KvEntry(value, rules.parse_metadata(wanted.metadata), expiration)


def _steps(entries: list[tuple[str, KvEntry]]) -> Iterator[list[tuple[str, KvEntry]]]:
    step: list[tuple[str, KvEntry]] = []
    size = 0
    for key, entry in entries:
        if step and (len(step) >= _STEP_ENTRIES or size + len(entry.value) > _STEP_BYTES):
            yield step
            step, size = [], 0
        step.append((key, entry))
        size += len(entry.value)
    if step:
        yield step


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise ApiError(413, Code.TOO_LARGE, f"body: {count} keys; at most {most} are allowed", "body")


ENDPOINTS = [
    Endpoint("GET", f"{NAMESPACE}/keys", keys),
    Endpoint("GET", _VALUE, get),
    Endpoint("PUT", _VALUE, put, body_bytes=_VALUE_BODY),
    Endpoint("DELETE", _VALUE, delete),
    Endpoint("GET", f"{NAMESPACE}/metadata/{{key}}", metadata),
    Endpoint("PUT", _BULK, bulk_put, body_bytes=_BULK_BODY),
    Endpoint("DELETE", _BULK, bulk_delete, body_bytes=_BULK_BODY),
    Endpoint("POST", f"{_BULK}/delete", bulk_delete, body_bytes=_BULK_BODY),
    Endpoint("POST", f"{_BULK}/get", bulk_get, body_bytes=1 << 20),
]
